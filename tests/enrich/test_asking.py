"""The stage `enrich` with a server: every clip answered or a fallback with its reason, and none asked twice."""

import json
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from mer_pipeline.datasets.adapter import MER_CLASSES
from tests.enrich.project import make_project, run_stage, set_enrich, settings, start_stage, table
from tests.llm.proxy import Body, Canned, FaultProxy, Refusal
from tests.llm.server import llama_server, transformers_server
from tests.llm.tiny import make_folder, make_gguf

MODEL = {"backend": "openai", "model": "tiny", "max_chars": 40, "max_tokens": 900}


def texts(count: int) -> dict[str, str]:
    return {f"clip{at:04d}": f"{at} is what I said." for at in range(count)}


def spoken(body: Body) -> str:
    return str(json.loads(body["messages"][1]["content"])["english"])


def answer(body: Body) -> str:
    """A reply that can be told from every other clip's."""
    scores = dict(zip(MER_CLASSES, (10, 20, 30, 40, 0, 0), strict=True))
    parts = {"meaning": "m", "cues": [], "context": "c", "intensity": 5, "scores": scores}
    return json.dumps(parts | {"enriched_text": f"heard: {spoken(body)}"})


def own_answers(folder: Path) -> int:
    """Check that every clip that was answered has the answer to its own words; how many were."""
    rows = table(folder, "enriched")
    answered = {name: row for name, row in rows.items() if row["status"] != "fallback"}
    for name, row in answered.items():
        assert row["text"] == f"{row['transcript']} [heard: {row['transcript']}]", name
    return len(answered)


@pytest.mark.slow
def test_five_hundred_clips_through_a_server_that_fails(tmp_path: Path) -> None:
    """A fifth of the requests is refused, cut, garbage or slow: every clip is answered or a fallback with its reason,
    and no clip that was answered is asked again."""
    project = make_project(tmp_path / "p", texts(500), **MODEL)
    # Two seconds: an answer that a busy machine brings too late is asked for again, rightly.
    settings(project, in_flight=32, timeout_s=2.0, tries=4, max_pause_s=0.5)
    faults = FaultProxy(Canned(answer, latency_s=0.01), fault_rate=0.2, seed=3, client_timeout_s=2.0)
    with faults as server:
        run = run_stage(project, MER_LLM_URL=server.url)
    assert run.returncode == 0, run.stderr
    assert {"429", "500", "503", "cut", "garbage", "slow"} < set(server.dealt())
    rows = table(project, "enriched")
    assert len(rows) == 500
    assert own_answers(project) >= 490
    fallbacks = [row for row in rows.values() if row["status"] == "fallback"]
    assert all(re.match("no answer: ", str(row["why"])) and row["text"] == row["transcript"] for row in fallbacks)
    assert max(server.answered.values()) == 1
    # Asked again, only those are asked that had no answer.
    before = len(server.requests)
    with FaultProxy(Canned(answer), fault_rate=0) as healthy:
        again = run_stage(project, MER_LLM_URL=healthy.url)
    assert again.returncode == 0, again.stderr
    assert len(server.requests) == before
    assert len(healthy.requests) == len(fallbacks)
    assert own_answers(project) == 500


def test_requests_overlap(tmp_path: Path) -> None:
    """As many as the settings allow are under way at once, and never more (how fast that is: benchmarks/enrich.md)."""
    for in_flight in (1, 7):
        project = make_project(tmp_path / str(in_flight), texts(21), **MODEL)
        settings(project, in_flight=in_flight)
        with FaultProxy(Canned(answer, latency_s=0.1), fault_rate=0) as server:
            run = run_stage(project, MER_LLM_URL=server.url)
        assert run.returncode == 0, run.stderr
        assert server.max_concurrency == in_flight


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_asks_nothing_twice(tmp_path: Path, how: signal.Signals) -> None:
    """Killed again and again in the middle: every reply that had come is kept, whatever the store's flush interval."""
    project = make_project(tmp_path / "p", texts(300), **MODEL)
    settings(project, in_flight=8)
    with FaultProxy(Canned(answer, latency_s=0.05), fault_rate=0) as server:
        stops: list[float] = []
        while len(stops) < 4:
            process = start_stage(project, MER_LLM_URL=server.url)
            asked = len(server.requests)
            while len(server.requests) < asked + 30 and process.poll() is None:
                time.sleep(0.005)
            stops.append(time.time())
            process.send_signal(how)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == (-how if how is signal.SIGKILL else 128 + how), errors
        final = run_stage(project, MER_LLM_URL=server.url)
        assert final.returncode == 0, final.stderr
    assert own_answers(project) == 300
    twice = {marker for marker, count in server.answered.items() if count > 1}
    if how is signal.SIGKILL:
        # An answer that was on its way at that moment reached nobody.
        first = {r.marker: r.done_at for r in reversed(server.requests) if r.delivered}
        twice = {marker for marker in twice if min(abs(at - (first[marker] or 0)) for at in stops) > 0.5}
    assert not twice
    assert not list((project / ".mer/journal").glob("*.jsonl"))


def test_replies_outlive_the_server(tmp_path: Path) -> None:
    """Once asked, a run without any server gives the same bytes; offline, a miss is named and nothing is asked."""
    project = make_project(tmp_path / "p", texts(6), **MODEL)
    with FaultProxy(Canned(answer), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    first = {path: path.read_bytes() for path in sorted((project / "data").rglob("*.parquet"))}
    gone = {"MER_LLM_URL": server.url}  # nobody listens there any more
    assert run_stage(project, **gone).returncode == 0
    set_enrich(project, **MODEL, offline=True)
    run = run_stage(project, **gone)
    assert run.returncode == 0, run.stderr
    assert {path: path.read_bytes() for path in sorted((project / "data").rglob("*.parquet"))} == first

    set_enrich(project, **MODEL | {"seed": 1}, offline=True)
    run = run_stage(project, **gone)
    assert run.returncode == 1
    assert "no reply is known for 6 clips: clip0000, clip0001" in run.stderr
    assert "Traceback" not in run.stderr
    assert (project / ".mer/no-reply.txt").read_text().split() == sorted(texts(6))
    set_enrich(project, **MODEL | {"seed": 1})
    run = run_stage(project, **gone)
    assert run.returncode == 2
    assert "no server at" in run.stderr


def test_editing_what_decides_no_reply_asks_nobody(tmp_path: Path) -> None:
    """Settings of this machine, and an edit of the prompt that is taken back; an edit that stays asks again."""
    project = make_project(tmp_path / "p", texts(4), **MODEL)
    prompt = project / "prompts/context.en.md"
    text = prompt.read_text()
    with FaultProxy(Canned(answer), fault_rate=0) as server:
        asked = []
        for change in ("first", "settings", "prompt", "back", "tokens"):
            settings(project, in_flight=2 if change == "settings" else 4)
            prompt.write_text(text + ("\nBe brief.\n" if change == "prompt" else ""))
            set_enrich(project, **MODEL | ({"max_tokens": 500} if change == "tokens" else {}))
            run = run_stage(project, MER_LLM_URL=server.url)
            assert run.returncode == 0, run.stderr
            asked.append(len(server.requests))
    assert asked == [4, 4, 8, 8, 12]


@pytest.mark.outcome("two answers do not fit", "`fallback` with the reason; it is remembered")
def test_an_answer_that_does_not_fit_is_asked_for_once_more(tmp_path: Path) -> None:
    """With what is wrong; then it is repaired, or a fallback that is remembered."""

    def reply(body: Body) -> str:
        second = len(body["messages"]) == 4
        words = spoken(body)
        if words.startswith("0") and not second:
            return "I feel that this is sad."
        if words.startswith("1"):
            return json.dumps({"scores": {"disgusted": 100}})
        if second:
            assert body["messages"][2] == {"role": "assistant", "content": "I feel that this is sad."}
            assert "no complete JSON object" in body["messages"][3]["content"]
        return answer(body)

    project = make_project(tmp_path / "p", texts(3), **MODEL)
    with FaultProxy(Canned(reply), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
        assert len(server.requests) == 2 + 2 + 1
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
        assert len(server.requests) == 5
    rows, replies = table(project, "enriched"), table(project, "replies")
    assert [row["status"] for row in rows.values()] == ["repaired", "fallback", "ok"]
    assert [len(row["raw"]) for row in replies.values()] == [2, 2, 1]  # type: ignore[arg-type]
    assert rows["clip0001"]["text"] == "1 is what I said."
    assert "meaning" in str(rows["clip0001"]["why"])
    assert rows["clip0001"]["scores"] is None


def test_everything_about_a_reply_is_kept(tmp_path: Path) -> None:
    """Raw text, parsed parts, the server's name for the model, hash of what was asked, tokens, latency."""
    project = make_project(tmp_path / "p", texts(1), **MODEL)
    with FaultProxy(Canned(answer, latency_s=0.05), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    (reply,) = table(project, "replies").values()
    assert reply["raw"] == [reply["reply"]]
    assert (reply["model"], reply["mode"], reply["status"], reply["requests"]) == ("tiny", "json_schema", "ok", 1)
    assert len(str(reply["asked"])) == 64
    assert all(isinstance(reply[key], int) and reply[key] for key in ("tokens_in", "tokens_out"))
    assert float(str(reply["seconds"])) >= 0.05


def test_clips_that_say_the_same_are_asked_about_once(tmp_path: Path) -> None:
    """And get one reply, so that a run from the store has the same bytes."""
    project = make_project(tmp_path / "p", dict.fromkeys(texts(12), "Yes."), **MODEL)
    settings(project, in_flight=8)
    with FaultProxy(Canned(answer, latency_s=0.1), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    assert len(server.requests) == 1
    first = {path: path.read_bytes() for path in sorted((project / "data").rglob("*.parquet"))}
    assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    assert {path: path.read_bytes() for path in sorted((project / "data").rglob("*.parquet"))} == first


@pytest.mark.slow
@pytest.mark.parametrize("detour", ["other model", "no store"])
def test_a_run_for_something_else_loses_nothing(tmp_path: Path, detour: str) -> None:
    """Killed, then run for another model, or without a store: what the first had bought is still there."""
    project = make_project(tmp_path / "p", texts(40), **MODEL)
    settings(project, in_flight=2)
    with FaultProxy(Canned(answer, latency_s=0.05), fault_rate=0) as server:
        process = start_stage(project, MER_LLM_URL=server.url)
        while sum(server.answered.values()) < 15:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        if detour == "other model":
            set_enrich(project, **MODEL | {"model": "other"})
        store = "none" if detour == "no store" else ""
        assert run_stage(project, MER_LLM_URL=server.url, MER_STORE=store).returncode == 0
        set_enrich(project, **MODEL)
        asked = len(server.requests)
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    again = len(server.requests) - asked
    assert again <= (26 if detour == "other model" else 0)


def test_a_first_answer_is_not_bought_again(tmp_path: Path) -> None:
    """It does not fit, and the server fails at the second request: the next run begins with the second."""
    broken = True

    def reply(body: Body) -> str:
        if len(body["messages"]) == 2:
            return "I feel that this is sad."
        if broken:
            raise Refusal(500, "out of order")
        return answer(body)

    project = make_project(tmp_path / "p", texts(1), **MODEL)
    settings(project, tries=2, max_pause_s=0.1)
    with FaultProxy(Canned(reply), fault_rate=0) as server:
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 1  # of one clip, one failed
        broken = False
        assert run_stage(project, MER_LLM_URL=server.url).returncode == 0
    assert [len(request.body["messages"]) for request in server.requests] == [2, 4, 4, 4]
    assert {row["status"] for row in table(project, "enriched").values()} == {"repaired"}


@pytest.mark.slow
def test_a_real_server_with_a_grammar(tmp_path: Path) -> None:
    """llama.cpp with random weights behind faults: its grammar makes every answer fit, whatever they say."""
    project = make_project(tmp_path / "p", texts(60), **MODEL)
    settings(project, in_flight=4, timeout_s=20, tries=8, max_pause_s=0.5)
    with (
        llama_server(make_gguf(tmp_path / "tiny.gguf")) as llama,
        FaultProxy(
            llama.url, fault_rate=0.2, seed=1, client_timeout_s=20, faults=("429", "500", "cut", "garbage")
        ) as server,
    ):
        run = run_stage(project, MER_LLM_URL=server.url)
        assert run.returncode == 0, run.stderr
    rows, replies = table(project, "enriched"), table(project, "replies")
    assert Counter(row["status"] for row in rows.values())["fallback"] == 0, run.stdout
    assert {row["mode"] for row in replies.values()} == {"json_schema"}
    assert all(abs(sum(row["scores"]) - 1) < 1e-6 for row in rows.values() if row["scores"])  # type: ignore[arg-type]
    assert max(server.answered.values()) == 1


@pytest.mark.slow
def test_a_real_server_without_a_grammar(tmp_path: Path) -> None:
    """`transformers serve` with random weights: nothing fits, so every clip keeps its words, and the run ends well."""
    model = make_folder(tmp_path / "model")
    enrich = MODEL | {"max_tokens": 16}
    with transformers_server(model) as server:
        project = make_project(tmp_path / "p", texts(3), **enrich | {"model": server.model})
        run = run_stage(project, MER_LLM_URL=server.url)
    assert run.returncode == 0, run.stderr
    rows = table(project, "enriched")
    assert {row["status"] for row in rows.values()} == {"fallback"}
    assert all(row["text"] == row["transcript"] for row in rows.values())
    assert all(len(row["raw"]) == 2 for row in table(project, "replies").values())  # type: ignore[arg-type]
