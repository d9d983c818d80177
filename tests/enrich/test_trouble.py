"""What becomes of clips and of a run where a language model's server is in trouble, through the whole stage."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.enrich.project import ROOT, make_project, settings, table
from tests.enrich.test_asking import MODEL, answer, spoken
from tests.llm.proxy import Body, Canned, FaultProxy, Refusal
from tests.project import dvc, mer


def enrich(project: Path, server: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the stage in this process; its exit code."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("MER_LLM_URL", server.url)
    monkeypatch.delenv("MER_STORE", raising=False)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "stages/enrich.py")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return int(stop.value.code or 0)


@pytest.mark.outcome(
    "the server is busy, fails, or answers with an error, a flood or garbage",
    "then the clip is quarantined as `Transient`, with the server's reason, and its text is a `fallback`",
)
@pytest.mark.outcome("it refuses one prompt (400, 422)", "likewise")
def test_what_becomes_of_a_clip_that_has_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is busy for one, refuses another's prompt, and answers the rest."""

    def reply(body: Body) -> str:
        if spoken(body).startswith("busy"):
            raise Refusal(503, "all workers are busy")
        if spoken(body).startswith("long"):
            raise Refusal(400, "the prompt is too long")
        return answer(body)

    words = {f"c{at:02d}": f"{at} is what I said." for at in range(40)} | {"x": "busy as a bee", "y": "long ago"}
    project = make_project(tmp_path / "p", words, **MODEL)
    settings(project, tries=2, max_pause_s=0.05)
    with FaultProxy(Canned(reply), fault_rate=0) as server:
        assert enrich(project, server, monkeypatch) == 0
    problems = pq.read_table(project / "data/quarantine/replies.parquet").to_pylist()
    assert [(row["clip_id"], row["error"]) for row in problems] == [("x", "Transient"), ("y", "Transient")]
    assert "HTTP 503: all workers are busy" in problems[0]["message"]
    assert re.search("HTTP 400.*the prompt is too long", problems[1]["message"])
    rows = table(project, "enriched")
    assert [(rows[name]["status"], rows[name]["text"]) for name in "xy"] == [
        ("fallback", "busy as a bee"), ("fallback", "long ago"),
    ]  # fmt: skip
    assert rows["x"]["why"] == problems[0]["message"]
    assert {row["status"] for name, row in rows.items() if name.startswith("c")} == {"ok"}


@pytest.mark.outcome(
    "the account has no money left, or nobody is answered any more",
    "one sentence with the server's reason, exit code 1; the replies so far are kept",
)
def test_replies_are_kept_when_the_money_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run ends with the server's reason; the next one asks for the rest alone."""
    money = 5

    def reply(body: Body) -> str:
        if len(server.answered) >= money:
            raise Refusal(402, "You exceeded your current quota.")
        return answer(body)

    project = make_project(tmp_path / "p", {f"c{at}": f"{at} is what I said." for at in range(9)}, **MODEL)
    settings(project, in_flight=1, tries=2, max_pause_s=0.05)
    with FaultProxy(Canned(reply), fault_rate=0) as server:
        assert enrich(project, server, monkeypatch) == 1
        last = capfd.readouterr().err.splitlines()[-1]
        assert last.startswith("error: ")
        assert "You exceeded your current quota." in last
        before = sum(server.answered.values())
        money = 100
        assert enrich(project, server, monkeypatch) == 0
        assert before == 5
        assert sum(server.answered.values()) == 9


@pytest.mark.outcome(
    "a failure that may pass (a disk, a server)",
    "but DVC takes the stage for done, so `mer quarantine retry STAGE` tries such clips again too",
)
@pytest.mark.slow
def test_dvc_takes_it_for_done_and_retry_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that fails for one clip: DVC has nothing more to do, and `mer quarantine retry` asks for that clip."""
    busy = True

    def reply(body: Body) -> str:
        if busy and spoken(body).startswith("0"):
            raise Refusal(503, "all workers are busy")
        return answer(body)

    project = make_project(tmp_path / "p", {f"c{at}": f"{at} is what I said." for at in range(3)}, **MODEL)
    settings(project, tries=1, max_pause_s=0.05)
    outs = [f"data/{name}" for name in ("cues", "prompts", "replies", "enriched")]
    (project / "dvc.yaml").write_text(
        f"stages: {{enrich: {{cmd: python {ROOT}/stages/enrich.py, deps: [data/transcript], outs: {outs}}}}}"
    )
    with FaultProxy(Canned(reply), fault_rate=0) as server:
        monkeypatch.setenv("MER_LLM_URL", server.url)
        monkeypatch.setenv("MER_STORE", "")
        dvc(project, "init", "--no-scm")
        assert dvc(project, "repro").returncode == 0
        assert table(project, "enriched")["c0"]["status"] == "fallback"
        busy, asked = False, len(server.requests)
        assert dvc(project, "repro").returncode == 0
        assert len(server.requests) == asked
        done = mer(project, "quarantine", "retry", "replies")
        assert "1 tried again (0 were known to be broken), 1 now done" in done.stdout, done
        assert len(server.requests) == asked + 1
    assert {row["status"] for row in table(project, "enriched").values()} == {"ok"}
