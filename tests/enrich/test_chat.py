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
from mer_pipeline.enrich.completion import MODES, read_answer, retry_after
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


@pytest.mark.outcome("the server is busy, fails, or answers with an error, a flood or garbage", "tried again")
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


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7.5"}, 7.5),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 09:28:30 +0200", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "Wed, 99 Oct 2026 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    """A date by the server's own clock, which may be wrong; one that has passed is now."""
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_is_waited_for() -> None:
    """From the real server's headers."""
    times: list[float] = []

    def reply(body: Body) -> str:
        times.append(time.monotonic())
        if len(times) == 1:
            raise Refusal(503, "later", {"Retry-After": "Wed, 21 Oct 2026 07:28:01 GMT", "Date": DATE})
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server, max_pause_s=5)
        client.ask(MESSAGES, {})
        client.close()
    assert 1.0 <= times[1] - times[0] < 2.0


@pytest.mark.outcome(
    "the account has no money left, or nobody is answered any more",
    "one sentence with the server's reason, exit code 1",
)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, {"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": None}}),
        (429, {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}),
        (403, {"error": {"message": "You exceeded your current quota.", "code": "billing_not_active"}}),
        (402, {"error": {"message": "You exceeded your current quota.", "code": "invalid_request_error"}}),
        (402, {"detail": "You exceeded your current quota."}),
        (200, {"error": {"message": "You exceeded your current quota.", "code": 402}}),
    ],
)
def test_an_account_without_money_ends_the_run_with_the_servers_reason(status: int, body: Body) -> None:
    """Waiting would not help: one request, and what was answered is kept."""

    def reply(asked: Body) -> str:
        raise Refusal(status, body=body)

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(
            StageError, match=r"You exceeded your current quota\.; the replies so far are kept"
        ) as caught:
            client.ask(MESSAGES, {})
        assert caught.value.exit_code == 1
        client.close()
    assert len(server.requests) == 1


@pytest.mark.outcome("the server is busy, fails, or answers with an error, a flood or garbage", "tried again")
@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (429, {"error": {"message": "60 requests a minute", "type": "rate_limit_exceeded"}},
         "HTTP 429: 60 requests a minute"),
        (503, {"error": "loading the model"}, "HTTP 503: loading the model"),
        (500, {"detail": "out of memory"}, "HTTP 500: out of memory"),
        (200, {"error": {"message": "overloaded", "code": 502}}, "HTTP 200 with an error 502: overloaded"),
        (200, {"error": "overloaded"}, "HTTP 200 with an error: overloaded"),
        (200, {"object": "error", "message": "overloaded", "code": 503}, "HTTP 200 with an error 503: overloaded"),
        (200, {"choices": [{"error": {"message": "overloaded"}, "message": {"content": ""}}]},
         "HTTP 200 with an error: overloaded"),
    ],
)  # fmt: skip
def test_a_busy_server_is_asked_again_and_its_reason_is_told(status: int, body: Body, says: str) -> None:
    """Whatever the shape of the error, and also where its status is 200; the ledger counts by kind."""

    def reply(asked: Body) -> str:
        raise Refusal(status, body=body)

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server, tries=2)
        with pytest.raises(Transient) as caught:
            client.ask(MESSAGES, {})
        client.close()
    assert str(caught.value) == f"no answer: {says}"
    assert client._ledger.retries == {says.partition(":")[0]: 2}
    assert len(server.requests) == 2


@pytest.mark.parametrize(("code", "error"), [(401, UsageError), (404, UsageError), (400, Transient)])
def test_an_error_with_status_200_is_what_its_body_says(code: int, error: type[Exception]) -> None:
    """A key that is wrong ends the run, and a prompt that is refused concerns one clip."""

    def reply(asked: Body) -> str:
        raise Refusal(200, body={"error": {"message": "the reason", "code": code}})

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(error, match=f"{code}.*the reason"):
            client.ask(MESSAGES, {})
        client.close()


@pytest.mark.parametrize("status", [429, 402])
def test_a_key_that_json_spells_with_escapes_is_not_shown(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is blotted out of the message, and not only of the text that came."""
    monkeypatch.setenv("OPENAI_API_KEY", 'sk-very"secret')

    def reply(asked: Body) -> str:
        raise Refusal(status, 'not for sk-very"secret')

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server, tries=1)
        with pytest.raises((Transient, StageError), match=r"not for \[key\]"):
            client.ask(MESSAGES, {})
        client.close()


@pytest.mark.outcome("the server is busy, fails, or answers with an error, a flood or garbage", "tried again")
def test_a_flood_is_not_read_to_its_end() -> None:
    """A bounded part of it; then it is a server that is out of order."""
    with FaultProxy(Canned(lambda body: "x" * (5 << 20)), fault_rate=0) as server:
        client = chat(server, tries=2, timeout_s=20)
        with pytest.raises(Transient, match="an answer of more than 4 MiB"):
            client.ask(MESSAGES, {})
        client.close()
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": None, "reasoning_content": "He laughs."}, "<think>He laughs."),
        ({"content": "", "reasoning": "He laughs."}, "<think>He laughs."),
        ({"content": "{}", "reasoning_content": "He laughs."}, "{}"),
        ({"content": None, "refusal": "I cannot judge people."}, "I cannot judge people."),
        ({"content": None}, ""),
    ],
)
def test_thoughts_without_an_answer_are_kept_as_thoughts(message: dict[str, Any], content: str) -> None:
    """They are paid for, and must not be taken for the answer; a refusal is what the model wrote."""
    text = json.dumps({"choices": [{"message": message, "finish_reason": "length"}]})
    assert read_answer(text, "text", 0.1).content == content


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


@pytest.mark.outcome("it refuses one prompt (400, 422)", "after each form of the request was refused once")
@pytest.mark.parametrize("status", [400, 422])
def test_a_request_that_is_refused_in_every_form_concerns_one_clip(status: int) -> None:
    """A prompt that is too long: its reason after one request in each form, and the next clip is asked as before."""

    def reply(body: Body) -> str:
        if len(body["messages"][0]["content"]) > 100:
            raise Refusal(status, "the context is too long")
        return "fine"

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(Transient, match=rf"HTTP {status}.*the context is too long"):
            client.ask([{"role": "user", "content": "x" * 200}], {})
        assert len(server.requests) == len(MODES)
        assert client.ask(MESSAGES, {}).mode == "json_schema"
        client.close()


@pytest.mark.outcome("it lets nobody in (401, 403, 404, a redirect), or is not there", "one sentence, exit code 2")
@pytest.mark.parametrize(("status", "hint"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "enrich.model")])
def test_a_shut_door_ends_the_run(status: int, hint: str) -> None:
    """No clip would fare better: one sentence with the remedy, after one request."""

    def reply(body: Body) -> str:
        raise Refusal(status, "go away")

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(UsageError, match=hint) as caught:
            client.ask(MESSAGES, {})
        assert caught.value.exit_code == 2
        client.close()
    assert len(server.requests) == 1


@pytest.mark.outcome("it lets nobody in (401, 403, 404, a redirect), or is not there", "one sentence, exit code 2")
def test_a_redirect_ends_the_run() -> None:
    """The key is for the address that a person gave, and for no other."""

    def reply(body: Body) -> str:
        raise Refusal(308, "moved", {"Location": "http://elsewhere/v1"})

    with FaultProxy(Canned(reply), fault_rate=0) as server:
        client = chat(server)
        with pytest.raises(UsageError, match=r"HTTP 308.*does the address end as it should") as caught:
            client.ask(MESSAGES, {})
        assert caught.value.exit_code == 2
        client.close()
    assert len(server.requests) == 1


@pytest.mark.outcome("it lets nobody in (401, 403, 404, a redirect), or is not there", "one sentence, exit code 2")
def test_nobody_there_is_said_at_once() -> None:
    """Where to look and what else one can do; no round of retries."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"no server at http://127.*MER_LLM_URL.*--no-llm.*template") as caught:
        Chat(LlmSettings(url=f"http://127.0.0.1:{port}/v1"), {}, Ledger()).ask(MESSAGES, {})
    assert caught.value.exit_code == 2
    assert time.monotonic() - started < 5


@pytest.mark.outcome(
    "the account has no money left, or nobody is answered any more",
    "one sentence with the server's reason, exit code 1",
)
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
    assert failures[-1].exit_code == 1
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


def test_a_count_of_tokens_may_be_written_as_a_decimal() -> None:
    """JSON has one kind of number."""
    data = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 12.0, "completion_tokens": 7}}
    assert read_answer(json.dumps(data), "text", 0.1).tokens_in == 12


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


@pytest.mark.parametrize(
    "url",
    ["http://host/v1", "https://a-b.example:8443/v1", "http://[::1]:8000/v1", "http://127.0.0.1", "http://h/a%20b/v1/"],
)
def test_an_address_that_is_taken(url: str) -> None:
    """Names, both kinds of numbers, any path; a slash at its end is none."""
    assert LlmSettings(url=url).url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1", "http://user:password@host/v1", "host:8000", "http://host/v1 x", "http://host:99999/v1",
        "http://host:port/v1", "http://müller.example/v1", "http://host/ü", "http:///v1",
    ],
)  # fmt: skip
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
