"""The tests' own servers: what the others rely on when they say "a real server" and "a fault was dealt"."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.llm.proxy import FAULTS, Action, Canned, FaultProxy, Refusal, marker
from tests.llm.server import Server, llama_server, transformers_server
from tests.llm.tiny import make_folder, make_gguf

ROOT = Path(__file__).resolve().parents[2]
EMOTIONS = ("neutral", "angry", "happy", "sad")
SCHEMA = {
    "type": "object",
    "properties": {
        **{name: {"type": "integer", "minimum": 0, "maximum": 100} for name in EMOTIONS},
        "cue": {"type": "string", "maxLength": 200},
        "signs": {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 40}},
    },
    "required": [*EMOTIONS, "cue", "signs"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """llama.cpp with the tiny model."""
    with llama_server(make_gguf(tmp_path_factory.mktemp("llama") / "tiny.gguf")) as server:
        yield server


def chat(text: str, **options: object) -> dict[str, Any]:
    """A request's body."""
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], "temperature": 0, **options}


def by_schema(text: str, **options: object) -> dict[str, Any]:
    """A request's body that asks for an answer by SCHEMA."""
    form = {"type": "json_schema", "json_schema": {"name": "emotions", "schema": SCHEMA, "strict": True}}
    return chat(text, response_format=form, **options)


def post(
    url: str, body: Mapping[str, Any], *, timeout: float = 60, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The answer to a chat request."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(
        f"{url}/chat/completions", data, {"Content-Type": "application/json", **(headers or {})}
    )
    with urllib.request.urlopen(request, timeout=timeout) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer


def content(answer: Mapping[str, Any]) -> str:
    """The text of an answer."""
    text: str = answer["choices"][0]["message"]["content"]
    return text


def outcome(url: str, body: Mapping[str, Any], timeout: float = 60) -> str:
    """What a client makes of the reply."""
    try:
        post(url, body, timeout=timeout)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except TimeoutError:
        return "slow"
    except http.client.IncompleteRead:
        return "cut"
    except json.JSONDecodeError:
        return "garbage"
    return "answer"


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    """A GGUF file is decided by its seed."""
    files = [make_gguf(tmp_path / f"{at}.gguf", seed).read_bytes() for at, seed in enumerate((0, 0, 1))]
    assert files[0] == files[1] != files[2]


def test_llama_keeps_to_a_schema(llama: Server) -> None:
    """Random weights answer by the request's JSON schema, greedily or not, several at a time."""
    asked = [by_schema(f"片段 {at} “你好”\n🙂", temperature=at % 2, seed=at) for at in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: post(llama.url, body), asked))
    for answer in answers:
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["completion_tokens"] > 0
        jsonschema.validate(json.loads(content(answer)), SCHEMA)
    assert len({content(answer) for answer in answers}) == len(answers)


def test_llama_is_greedy_at_temperature_0(llama: Server) -> None:
    """The same prompt gives the same answer at temperature 0, whatever is answered at the same time."""
    bodies = [by_schema(f"clip {at}") for at in range(6)]
    alone = [content(post(llama.url, body)) for body in bodies]
    with ThreadPoolExecutor(6) as pool:
        together = [content(answer) for answer in pool.map(lambda body: post(llama.url, body), bodies)]
    assert alone == together


def test_llama_cuts_an_answer_at_its_last_token(llama: Server) -> None:
    """An answer that max_tokens ended says so and is no JSON."""
    answer = post(llama.url, by_schema("clip", max_tokens=12))
    assert answer["choices"][0]["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(content(answer))


def test_llama_takes_a_long_prompt(llama: Server) -> None:
    """A prompt of 8,000 tokens is read whole."""
    answer = post(llama.url, chat("字" * 2000 + "word " * 1000, max_tokens=4))
    assert answer["usage"]["prompt_tokens"] > 8000


def test_llama_names_its_model(llama: Server) -> None:
    """`GET /v1/models` names the model that requests name."""
    with urllib.request.urlopen(f"{llama.url}/models") as response:
        assert [model["id"] for model in json.load(response)["data"]] == [llama.model]


def test_llama_can_be_killed_and_come_back(tmp_path: Path) -> None:
    """A killed server refuses connections, and another can take its port; each asks for its key."""
    model = make_gguf(tmp_path / "tiny.gguf")
    with llama_server(model, api_key="secret") as server:
        assert outcome(server.url, chat("a", max_tokens=2)) == "401"
        post(server.url, chat("a", max_tokens=2), headers={"Authorization": "Bearer secret"})
        server.kill()
        with pytest.raises(urllib.error.URLError):
            outcome(server.url, chat("a"))
        with llama_server(model, port=server.port) as again:
            assert again.url == server.url
            assert outcome(again.url, chat("a", max_tokens=2)) == "answer"


def test_a_server_ends_with_its_starter(tmp_path: Path) -> None:
    """No server is left behind by a test run that was killed."""
    model = make_gguf(tmp_path / "tiny.gguf")
    code = (
        "import sys, time; from pathlib import Path; from tests.llm.server import llama_server\n"
        "with llama_server(Path(sys.argv[1])) as server: print(server.process.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(model)], stdout=subprocess.PIPE, cwd=ROOT)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.kill()
    starter.communicate()
    until = time.monotonic() + 10
    while _lives(pid):
        assert time.monotonic() < until
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    """There is such a process, and it has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_transformers_ignores_a_schema(tmp_path: Path) -> None:
    """`transformers serve` answers from a local folder without a network, and not by the schema."""
    with transformers_server(make_folder(tmp_path / "llama")) as server:
        answer = post(server.url, by_schema("I am so happy", max_tokens=20) | {"model": server.model})
        assert content(answer)
        with pytest.raises(json.JSONDecodeError):
            json.loads(content(answer))
        assert "Ignoring unsupported fields in the request: {'response_format'}" in server.log.read_text("utf-8")
        with urllib.request.urlopen(f"{server.url}/models") as response:
            assert response.status == 200
        assert outcome(server.url, chat("I", max_tokens=2) | {"model": "another"}) == "400"
        assert outcome(server.url, chat("I", max_tokens=2, unknown=1) | {"model": server.model}) == "422"


def test_each_fault_is_what_a_client_meets() -> None:
    """Every kind of fault reaches the client as such, is written down, and counts as no answer."""
    with FaultProxy(Canned(lambda _: "x" * 5000), fault_rate=0.7, client_timeout_s=1) as proxy:
        bodies = [chat(f"clip {at}") for at in range(60)]
        with ThreadPoolExecutor(30) as pool:
            met = list(pool.map(lambda body: outcome(proxy.url, body, 1), bodies))
        time.sleep(1)  # the last slow answers
    assert set(proxy.dealt()) == {"answer", *FAULTS}
    records = {request.marker: request for request in proxy.requests}
    for body, fate in zip(bodies, met, strict=True):
        record = records[marker(body)]
        assert (record.action, record.delivered) == (fate, fate == "answer")
        assert record.body == body
        assert record.done_at is not None
        assert record.done_at >= record.at
        assert proxy.answered[record.marker] == (fate == "answer")
    assert sum(proxy.answered.values()) == met.count("answer") > 5


def test_faults_are_decided_by_the_seed() -> None:
    """A clip meets the same faults in every run with the seed, whatever the order of arrival."""

    def run(seed: int, backwards: bool) -> set[tuple[str, int, str]]:
        faults: list[Action] = ["429", "500", "garbage"]
        with FaultProxy(Canned(lambda _: "{}"), fault_rate=0.5, seed=seed, faults=faults) as proxy:
            for at in range(30)[:: -1 if backwards else 1]:
                while outcome(proxy.url, chat(f"clip {at}")) != "answer":
                    pass
        return {(request.marker, request.attempt, request.action) for request in proxy.requests}

    assert run(1, False) == run(1, True) != run(2, False)


def test_the_rate_of_faults_is_kept() -> None:
    """About the asked share of requests gets a fault, each kind about as often."""
    with FaultProxy(Canned(lambda _: "{}"), fault_rate=0.2, faults=("429", "500")) as proxy:
        for at in range(400):
            outcome(proxy.url, chat(f"clip {at}"))
        proxy.fault_rate = 1.0
        assert outcome(proxy.url, chat("another")) in ("429", "500")
    dealt = proxy.dealt()
    assert 50 < dealt["429"] + dealt["500"] < 110
    assert min(dealt["429"], dealt["500"]) > 15


def test_a_busy_server_says_when_to_come_again() -> None:
    """A 429 has Retry-After of zero, of a fraction of a second, or none."""
    said: Counter[str | None] = Counter()
    with FaultProxy(Canned(lambda _: "{}"), fault_rate=1, faults=("429",)) as proxy:
        for at in range(40):
            with pytest.raises(urllib.error.HTTPError) as caught:
                post(proxy.url, chat(f"clip {at}"))
            said[caught.value.headers["Retry-After"]] += 1
            caught.value.close()
    assert set(said) == {"0", "0.1", None}


def test_a_slow_answer_counts_for_who_waits() -> None:
    """A client that waits longer than the stated time-out gets the slow answer, and it counts."""
    with FaultProxy(Canned(lambda _: "{}"), fault_rate=1, faults=("slow",), client_timeout_s=0.2) as proxy:
        started = time.monotonic()
        assert outcome(proxy.url, chat("clip")) == "answer"
        assert time.monotonic() - started >= 0.3
    assert [request.delivered for request in proxy.requests] == [True]


def test_canned_answers_come_in_parallel() -> None:
    """Forty requests of half a second each take little more than one, and the proxy saw them at once."""
    with FaultProxy(Canned(lambda _: "{}", latency_s=0.5), fault_rate=0) as proxy:
        started = time.monotonic()
        with ThreadPoolExecutor(40) as pool:
            list(pool.map(lambda at: post(proxy.url, chat(f"clip {at}")), range(40)))
        assert time.monotonic() - started < 6  # one after another: 20
    assert 20 <= proxy.max_concurrency <= 40
    assert len(proxy.answered) == 40


def test_a_canned_answer_has_the_form_of_openai() -> None:
    """A canned answer has the fields and the counts of tokens that a client reads, and sees body and headers."""

    def reply(body: dict[str, Any], headers: Mapping[str, str]) -> str:
        return f"{headers['authorization']} 说 {body['messages'][0]['content']}"

    with FaultProxy(Canned(reply, model="one"), fault_rate=0) as proxy:
        answer = post(proxy.url, chat("你好"), headers={"Authorization": "Bearer k"})
        with urllib.request.urlopen(f"{proxy.url}/models") as response:
            assert json.load(response)["data"][0]["id"] == "one"
    assert content(answer) == "Bearer k 说 你好"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


def test_a_canned_reply_may_refuse() -> None:
    """A Refusal is an error status, written down as delivered to nobody."""

    def reply(body: dict[str, Any]) -> str:
        raise Refusal(400, "response_format is not supported")

    with FaultProxy(Canned(reply), fault_rate=0) as proxy:
        assert outcome(proxy.url, chat("a")) == "400"
    assert [(request.status, request.delivered) for request in proxy.requests] == [(400, False)]


def test_an_error_in_a_canned_reply_is_the_tests() -> None:
    """A failed assertion in a canned reply fails the test that has it."""

    def reply(body: dict[str, Any]) -> str:
        raise AssertionError("not this prompt")

    with pytest.raises(RuntimeError, match="not this prompt"), FaultProxy(Canned(reply), fault_rate=0) as proxy:
        assert outcome(proxy.url, chat("a")) == "500"


def test_a_client_that_leaves_gets_no_answer() -> None:
    """An answer that nobody waits for any more is not counted as delivered."""
    go = threading.Event()

    def reply(body: dict[str, Any]) -> str:
        go.wait(10)
        return "late"

    with FaultProxy(Canned(reply), fault_rate=0) as proxy:
        with pytest.raises(TimeoutError):
            post(proxy.url, chat("a"), timeout=0.2)
        time.sleep(0.1)
        go.set()
        until = time.monotonic() + 5
        while proxy.requests[0].done_at is None and time.monotonic() < until:
            time.sleep(0.02)
    assert [request.delivered for request in proxy.requests] == [False]
    assert not proxy.answered.total()


def test_a_proxy_before_a_real_server(llama: Server) -> None:
    """Through faults a patient client gets from the proxy what the server answers itself."""
    bodies = [by_schema(f"clip {at}") for at in range(20)]

    def patiently(body: dict[str, Any]) -> str:
        while True:
            try:
                return content(post(proxy.url, body, timeout=30))
            except (OSError, http.client.HTTPException, ValueError):
                pass

    faults: list[Action] = ["429", "500", "503", "cut", "garbage"]
    with FaultProxy(llama.url, fault_rate=0.5, faults=faults, seed=3) as proxy:
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(patiently, bodies))
        with urllib.request.urlopen(f"{proxy.url}/models") as response:
            assert json.load(response)["data"][0]["id"] == llama.model
    assert got == [content(post(llama.url, body)) for body in bodies]
    assert set(proxy.answered.values()) == {1}
    assert len(proxy.requests) > len(bodies)
    assert 1 < proxy.max_concurrency <= 4


def test_a_proxy_before_nothing(tmp_path: Path) -> None:
    """Where the server is gone the proxy answers 502."""
    with llama_server(make_gguf(tmp_path / "tiny.gguf")) as server, FaultProxy(server.url, fault_rate=0) as proxy:
        server.kill()
        assert outcome(proxy.url, chat("a")) == "502"
