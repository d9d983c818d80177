"""One clip's messages to a server that is busy, broken, shut or gone."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mer_pipeline.base import runtime as runtime_module
from mer_pipeline.base.errors import ParamsError, StageError, Transient, UsageError
from mer_pipeline.base.runtime import LlmSettings, load_runtime
from mer_pipeline.enrich.chat import Chat
from mer_pipeline.enrich.completion import MODES, read_answer
from mer_pipeline.enrich.ledger import Ledger
from tests.llm.proxy import Action, Body, Canned, FaultProxy, Refusal

MESSAGES = [{"role": "user", "content": "hello"}]


def chat(server: FaultProxy, **settings: Any) -> Chat:
    quick: dict[str, Any] = {"timeout_s": 0.4, "tries": 6, "max_pause_s": 0.2}
    return Chat(LlmSettings(url=server.url, **quick | settings), {"model": "m"}, Ledger())


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("MER_LLM_URL", raising=False)


@pytest.mark.parametrize("fault", ["429", "500", "503", "cut", "garbage", "slow"])
def test_a_passing_fault_is_tried_again(fault: Action) -> None:
    """Each kind; the answer comes when the server does, and the ledger says what went before."""
    with FaultProxy(Canned(lambda body: "fine"), fault_rate=1.0, faults=(fault,), client_timeout_s=0.4) as server:
        client = chat(server, tries=20)

        def mend() -> None:
            while len(server.requests) < 2:
                time.sleep(0.01)
            server.fault_rate = 0.0

        threading.Thread(target=mend).start()
        answer = client.ask(MESSAGES, {})
        client.close()
    assert answer.content == "fine"
    assert answer.requests == len(server.requests) > 1
    assert client._ledger.requests == answer.requests
    assert client._ledger.retries.total() == answer.requests - 1


def test_what_does_not_pass_is_given_up_with_its_reason() -> None:
    """After so many tries; it may go well another time, so it is no row."""
    with FaultProxy(Canned(lambda body: "fine"), fault_rate=1.0, faults=("503",)) as server:
        client = chat(server, tries=3)
        with pytest.raises(Transient, match="no answer: HTTP 503") as caught:
            client.ask(MESSAGES, {})
        client.close()
    assert caught.value.tried
    assert len(server.requests) == 3


def test_retry_after_is_honoured() -> None:
    """Not before the server wants to be asked again, and not much later."""
    times: list[float] = []

    def reply(body: Body) -> str:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Refusal(429, "slow down", {"Retry-After": "0.7"})
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server, max_pause_s=5)
        client.ask(MESSAGES, {})
        client.close()
    assert 0.7 <= times[1] - times[0] < 1.5


@pytest.mark.parametrize(
    ("takes", "mode"), [(("json_schema",), "json_schema"), (("json_object",), "json_object"), ((None,), "text")]
)
def test_a_format_that_is_refused_is_not_asked_for_again(takes: tuple[str | None, ...], mode: str) -> None:
    """json_schema, then json_object, then none; found out once."""
    seen: list[str | None] = []

    def reply(body: Body) -> str:
        asked = body.get("response_format", {}).get("type")
        seen.append(asked)
        if asked not in takes:
            raise Refusal(400, "response_format is not supported")
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        assert [client.ask(MESSAGES, {"type": "object"}).mode for _ in range(3)] == [mode] * 3
        client.close()
    tried = MODES.index(mode)
    assert len(seen) == tried + 3


def test_one_clip_that_is_refused_changes_nothing_for_the_others() -> None:
    """A server that takes the format, and refuses it for one prompt alone."""

    def reply(body: Body) -> str:
        if "odd" in body["messages"][0]["content"] and body.get("response_format", {}).get("type") == "json_schema":
            raise Refusal(400, "grammar too complex for this prompt")
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        modes = [client.ask([{"role": "user", "content": text}], {}).mode for text in ("a", "odd", "b")]
        client.close()
    assert modes == ["json_schema", "json_object", "json_schema"]


@pytest.mark.parametrize("name", ["max_tokens", "seed", "temperature"])
def test_a_setting_that_the_server_does_not_know_is_left_out(name: str) -> None:
    """`max_tokens` is asked for under its newer name; found out once."""

    def reply(body: Body) -> str:
        if name in body:
            raise Refusal(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        body = {"model": "m", "max_tokens": 9, "seed": 1, "temperature": 0.0}
        client = Chat(LlmSettings(url=server.url, max_pause_s=0.1), body, Ledger())
        assert [client.ask(MESSAGES, {}).content for _ in range(3)] == ["fine"] * 3
        client.close()
    assert len(server.requests) == 4
    assert (server.requests[-1].body.get("max_completion_tokens") == 9) == (name == "max_tokens")


def test_many_that_find_out_at_once_keep_the_format() -> None:
    """All that were under way when the setting was refused are asked again without it, and in the best format."""

    def reply(body: Body) -> str:
        time.sleep(0.1)
        if "seed" in body:
            raise Refusal(400, "Unknown parameter: 'seed'.")
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = Chat(LlmSettings(url=server.url, in_flight=8), {"model": "m", "seed": 1}, Ledger())
        with ThreadPoolExecutor(8) as pool:
            modes = list(pool.map(lambda n: client.ask([{"role": "user", "content": str(n)}], {}).mode, range(8)))
        client.close()
    assert modes == ["json_schema"] * 8


def test_a_request_that_is_refused_in_every_form_concerns_one_clip() -> None:
    """A prompt that is too long: its reason, and the next clip is asked as before."""

    def reply(body: Body) -> str:
        if len(body["messages"][0]["content"]) > 100:
            raise Refusal(400, "the context is too long")
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(Transient, match=r"HTTP 400.*the context is too long"):
            client.ask([{"role": "user", "content": "x" * 200}], {})
        assert client.ask(MESSAGES, {}).mode == "json_schema"
        client.close()


@pytest.mark.parametrize(("status", "hint"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "enrich.model")])
def test_a_shut_door_ends_the_run(status: int, hint: str) -> None:
    """No clip would fare better: one sentence with the remedy, after one request."""

    def reply(body: Body) -> str:
        raise Refusal(status, "go away")

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(UsageError, match=hint):
            client.ask(MESSAGES, {})
        client.close()
    assert len(server.requests) == 1


def test_a_redirect_ends_the_run() -> None:
    """The key is for the address that a person gave, and for no other."""

    def reply(body: Body) -> str:
        raise Refusal(308, "moved", {"Location": "http://elsewhere/v1"})

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(UsageError, match=r"HTTP 308.*does the address end as it should"):
            client.ask(MESSAGES, {})
        client.close()
    assert len(server.requests) == 1


def test_nobody_there_is_said_at_once() -> None:
    """Where to look and what else one can do; no round of retries."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"no server at http://127\.0\.0\.1.*MER_LLM_URL"):
        Chat(LlmSettings(url=f"http://127.0.0.1:{port}/v1"), {}, Ledger()).ask(MESSAGES, {})
    assert time.monotonic() - started < 5


def test_a_server_that_stops_answering_ends_the_run() -> None:
    """After several clips in a row, not after 100,000."""
    with FaultProxy(Canned(lambda body: "fine"), fault_rate=0) as server:
        client = chat(server, tries=1, in_flight=1)
        client.ask(MESSAGES, {})
        server.fault_rate = 1.0
        failures: list[Exception] = []
        while len(failures) < 50:
            try:
                client.ask([{"role": "user", "content": str(len(failures))}], {})
            except (Transient, StageError) as error:
                failures.append(error)
                if isinstance(error, StageError):
                    break
        client.close()
    assert isinstance(failures[-1], StageError)
    assert "replies so far are kept" in str(failures[-1])
    assert len(failures) < 20


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the header of each request; an error that repeats it has it blotted out."""
    monkeypatch.setenv("MY_KEY", "sk-very-secret")

    def reply(body: Body, headers: Any) -> str:
        raise Refusal(400, f"you sent {headers['authorization']}")

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server, key_env="MY_KEY")
        with pytest.raises(Transient) as caught:
            client.ask(MESSAGES, {})
        client.close()
    assert server.requests[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in str(caught.value)
    assert "[key]" in str(caught.value)


@pytest.mark.parametrize("before", [0, 140, 165, 190])
def test_half_a_key_is_not_shown_either(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is cut within the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-and-long")

    def reply(body: Body, headers: Any) -> str:
        raise Refusal(401, "x" * before + headers["authorization"])

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(UsageError) as caught:
            client.ask(MESSAGES, {})
        client.close()
    assert "sk-ve" not in str(caught.value)


def test_a_key_with_a_line_break_is_mended_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its end it is what a file had; within it is no key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret\n")
    with FaultProxy(Canned(lambda body: "fine"), fault_rate=0) as server:
        client = chat(server)
        client.ask(MESSAGES, {})
        client.close()
        assert server.requests[0].headers["authorization"] == "Bearer sk-very-secret"
        monkeypatch.setenv("OPENAI_API_KEY", "sk-very\nsecret")
        with pytest.raises(UsageError, match="OPENAI_API_KEY has control characters") as caught:
            chat(server)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://bob:hunter22@host/v1", "127.0.0.1:8000/v1", "http://h/v1?api-key=hunter22"])
def test_the_variable_with_the_address_is_checked_too(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not shown: it may hold a password."""
    monkeypatch.setenv("MER_LLM_URL", url)
    with pytest.raises(ParamsError, match=r"MER_LLM_URL: must be http") as caught:
        Chat(LlmSettings(), {}, Ledger())
    assert "hunter22" not in str(caught.value)


def test_a_key_instead_of_its_name_is_refused_and_not_shown(tmp_path: Any) -> None:
    """A slip that people make."""
    path = tmp_path / ".mer.toml"
    path.write_text('[llm]\nkey_env = "sk-very-secret"\n')
    with pytest.raises(ParamsError, match=r"llm\.key_env") as caught:
        load_runtime(path)
    assert "sk-very-secret" not in str(caught.value)


@pytest.mark.parametrize("count", [3_000_000_000, -1, True, "7", None, 1.5])
def test_an_impossible_count_of_tokens_is_none(count: object) -> None:
    """It must not keep a reply out of its column."""
    data = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": count, "completion_tokens": 7}}
    answer = read_answer(json.dumps(data), "text", 0.1)
    assert (answer.tokens_in, answer.tokens_out) == (None, 7)


def test_what_is_no_chat_completion_is_tried_again() -> None:
    """As a server that is out of order."""
    odd = [None, [], [{}], [{"message": None}], [{"message": "x"}], {"0": 1}]
    for text in (*(json.dumps({"choices": choices}) for choices in odd), "[]", "1", "", "x", "[" * 100_000):
        with pytest.raises(ValueError, match=r"chat completion|JSON|Expecting"):
            read_answer(text, "text", 0.1)


def test_content_in_parts_is_joined() -> None:
    """As some servers send it."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    text = json.dumps({"choices": [{"message": {"content": parts}}]})
    assert read_answer(text, "text", 0.1).content == "ab"


def test_ctrl_c_does_not_wait_for_a_slow_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grace of seconds for what is under way, whatever the timeout says."""
    monkeypatch.setattr("mer_pipeline.enrich.chat.STOP_GRACE_S", 0.5)
    stops: list[int] = []
    monkeypatch.setattr(runtime_module, "_stops", stops)
    with FaultProxy(Canned(lambda body: "fine", latency_s=8), fault_rate=0) as server:
        client = chat(server, timeout_s=60)
        threading.Timer(0.5, stops.append, [2]).start()
        started = time.monotonic()
        with pytest.raises(Transient, match="stopped"):
            client.ask(MESSAGES, {})
        client.close()
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("content", [None, "", "\ud800", "x" * 100_000])
def test_odd_contents_are_taken_as_they_are(content: str | None) -> None:
    """Nothing, an unpaired surrogate, a flood: a bounded text that a file can take."""
    with FaultProxy(Canned(lambda body: content or ""), fault_rate=0) as server:
        client = chat(server)
        answer = client.ask(MESSAGES, {})
        client.close()
    answer.content.encode()
    assert len(answer.content) <= 32_000


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://user:password@host/v1", "host:8000", "http://host/v1 x"])
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Any) -> None:
    """A password in it would end up in messages."""
    path = tmp_path / ".mer.toml"
    path.write_text(f'[llm]\nurl = "{url}"\n')
    with pytest.raises(ParamsError, match=r"llm\.url"):
        load_runtime(path)


def test_settings_have_names_that_are_checked(tmp_path: Any) -> None:
    """A slip is answered with the nearest one."""
    path = tmp_path / ".mer.toml"
    path.write_text('[llm]\nurls = "http://localhost/v1"\n')
    with pytest.raises(ParamsError, match="did you mean 'url'"):
        load_runtime(path)
    assert json.dumps(LlmSettings().model_dump())
