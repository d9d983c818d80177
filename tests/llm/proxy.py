"""Faults of a network and of a busy provider, dealt by a seed and written down, between a client and a server.

    with FaultProxy(server.url, fault_rate=0.2, seed=1) as proxy: ...            # before a real server
    with FaultProxy(Canned(lambda body: '{"neutral": 3}'), fault_rate=0) as proxy: ...    # a server of its own

What becomes of a request depends on the seed, its messages and how often they have been sent, not on the order of
arrival: a run with many requests in parallel meets the same faults again.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
from aiohttp import web

Body = dict[str, Any]
Reply = Callable[[Body], str] | Callable[[Body, Mapping[str, str]], str]
Action = Literal["answer", "429", "500", "503", "cut", "garbage", "slow"]
FAULTS: tuple[Action, ...] = ("429", "500", "503", "cut", "garbage", "slow")
RETRY_AFTER = ("0", "0.1", None)
# Of hops, not of the message.
HOP_HEADERS = {"host", "content-length", "connection", "transfer-encoding", "content-encoding", "keep-alive", "date"}


class Refusal(Exception):
    """A canned reply raises it to answer by an error status, or with a body of its own."""

    def __init__(
        self, status: int, message: str = "", headers: Mapping[str, str] | None = None, body: Body | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: Body = body or {"error": {"message": message, "code": status}}


@dataclass(frozen=True)
class Canned:
    """A responder in the form of OpenAI's chat completions; any number of requests in parallel.

    Attributes:
        reply: from the request's body, or its body and headers (names in lower case), to the answer's text.
            It runs in a thread of its own, so it may wait; an error in it is raised when the proxy ends.
        latency_s: before each answer.
        model: the one that `GET /v1/models` names.
    """

    reply: Reply
    latency_s: float = 0.0
    model: str = "canned"

    def text(self, body: Body, headers: Mapping[str, str]) -> str:
        """What it replies."""
        takes = len(inspect.signature(self.reply).parameters)
        return self.reply(*(body, headers)[:takes])  # type: ignore[arg-type]


@dataclass
class Request:
    """One POST and what became of it.

    Attributes:
        marker: of its messages, see `marker`.
        attempt: 0 for the first with these messages.
        action: dealt to it.
        at: seconds since the epoch at arrival.
        body: as sent.
        headers: as sent, names in lower case.
        status: of the reply; None while there is none.
        delivered: the whole answer with status 200 was written to a client that was still there.
        done_at: when the reply was over.
    """

    marker: str
    attempt: int
    action: Action
    at: float
    body: Body
    headers: Mapping[str, str]
    status: int | None = None
    delivered: bool = False
    done_at: float | None = None


def marker(body: Mapping[str, Any]) -> str:
    """What tells the requests for one clip from those for another: the SHA-256 of its messages."""
    text = json.dumps(body.get("messages"), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class FaultProxy:
    """A server on a free loopback port, in a thread of its own while the context lasts.

    Attributes:
        upstream: base URL of a server, ending in /v1, or a canned responder.
        fault_rate: share of POSTs that get a fault; may be changed at any time.
        latency_s: before each whole or partial answer.
        seed: of the faults.
        faults: those that are dealt.
        client_timeout_s: of the client; a slow answer takes half as much longer.
        port: to listen on; 0 for a free one.
        requests: every POST, by arrival.
        answered: number of whole answers delivered, by marker.
        max_concurrency: most POSTs that were open at once.
    """

    upstream: str | Canned
    _: KW_ONLY
    fault_rate: float = 0.2
    latency_s: float = 0.0
    seed: int = 0
    faults: Sequence[Action] = FAULTS
    client_timeout_s: float = 2.0
    port: int = 0
    requests: list[Request] = field(default_factory=list, init=False)
    answered: Counter[str] = field(default_factory=Counter, init=False)
    max_concurrency: int = field(default=0, init=False)
    _sent: Counter[str] = field(default_factory=Counter, init=False)
    _open: int = field(default=0, init=False)
    _errors: list[str] = field(default_factory=list, init=False)

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    def dealt(self) -> Counter[Action]:
        """How often each action was dealt."""
        return Counter(request.action for request in self.requests)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(64))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._errors and error is None:
            raise RuntimeError("a canned reply failed:\n" + self._errors[0])

    def _call(self, work: Any) -> None:
        """Do it in the proxy's thread."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        app = web.Application(client_max_size=256 * 2**20)
        app.router.add_post("/v1/{path:.*}", self._post)
        app.router.add_get("/v1/{path:.*}", self._get)
        connector = aiohttp.TCPConnector(limit=0)
        self._client = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._client.close()

    async def _get(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if isinstance(self.upstream, Canned):
            if path != "models":
                return web.json_response({"error": {"message": "not found"}}, status=404)
            model = {"id": self.upstream.model, "object": "model", "created": 0, "owned_by": "tests"}
            return web.json_response({"object": "list", "data": [model]})
        async with self._client.get(f"{self.upstream}/{path}", headers=_forwarded(request.headers)) as response:
            return web.Response(
                body=await response.read(), status=response.status, headers=_forwarded(response.headers)
            )

    async def _post(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw)
        except ValueError:
            return web.json_response({"error": {"message": "the body is not JSON"}}, status=400)
        clip = marker(body)
        attempt, self._sent[clip] = self._sent[clip], self._sent[clip] + 1
        luck = random.Random(f"{self.seed} {clip} {attempt}")
        action: Action = luck.choice(self.faults) if luck.random() < self.fault_rate else "answer"
        headers = {name.lower(): value for name, value in request.headers.items()}
        record = Request(clip, attempt, action, time.time(), body, headers)
        self.requests.append(record)
        self._open += 1
        self.max_concurrency = max(self.max_concurrency, self._open)
        try:
            return await self._act(request, record, raw, luck)
        finally:
            self._open -= 1
            record.done_at = time.time()

    async def _act(self, request: web.Request, record: Request, raw: bytes, luck: random.Random) -> web.StreamResponse:
        """Reply as was dealt."""
        action = record.action
        if action in ("429", "500", "503"):
            record.status = int(action)
            after = luck.choice(RETRY_AFTER) if action == "429" else None
            return web.json_response(
                {"error": {"message": f"dealt by the proxy: {action}", "type": "server_error", "code": record.status}},
                status=record.status,
                headers={"Retry-After": after} if after is not None else None,
            )
        status, headers, content = await self._answer(request, record, raw)
        await asyncio.sleep(self.latency_s + (1.5 * self.client_timeout_s if action == "slow" else 0.0))
        record.status = status
        if action == "garbage":
            texts = [b"<html><body>Bad gateway</body></html>", content[: len(content) // 2], b""]
            return web.Response(body=luck.choice(texts), headers={"Content-Type": "application/json"})
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = len(content)
        transport = request.transport
        if transport is None or transport.is_closing():
            return response  # the client has gone
        try:
            await response.prepare(request)
            if action == "cut":
                await response.write(content[: len(content) // 2])
                transport.close()
                return response
            # A client that acts on its answer at once must find it counted.
            record.delivered = status == 200
            self.answered[record.marker] += record.delivered
            await response.write(content)
            await response.write_eof()
        except ConnectionError:
            if record.delivered:
                record.delivered = False
                self.answered[record.marker] -= 1
        return response

    async def _answer(self, request: web.Request, record: Request, raw: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body from upstream."""
        if isinstance(self.upstream, Canned):
            started = time.monotonic()
            status, headers, answer = await self._canned(self.upstream, record)
            await asyncio.sleep(self.upstream.latency_s - (time.monotonic() - started))
            body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")
            return status, {"Content-Type": "application/json", **headers}, body
        url = f"{self.upstream}/{request.match_info['path']}"
        try:
            async with self._client.post(url, data=raw, headers=_forwarded(request.headers)) as response:
                return response.status, _forwarded(response.headers), await response.read()
        except aiohttp.ClientError as error:
            answer = {"error": {"message": f"upstream: {error}", "code": 502}}
            return 502, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    async def _canned(self, canned: Canned, record: Request) -> tuple[int, dict[str, str], Body]:
        """A chat completion with the canned text, or an error."""
        try:
            text = await asyncio.to_thread(canned.text, record.body, record.headers)
        except Refusal as refusal:
            return refusal.status, refusal.headers, refusal.body
        except Exception:
            self._errors.append(traceback.format_exc())
            return 500, {}, {"error": {"message": "the canned reply failed", "code": 500}}
        prompt = len(json.dumps(record.body.get("messages"), ensure_ascii=False)) // 4 + 1
        usage = {"prompt_tokens": prompt, "completion_tokens": len(text) // 4 + 1}
        message = {"role": "assistant", "content": text}
        return (
            200,
            {},
            {
                "id": f"chatcmpl-{len(self.requests)}",
                "object": "chat.completion",
                "created": int(record.at),
                "model": record.body.get("model", canned.model),
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {**usage, "total_tokens": sum(usage.values())},
            },
        )


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that concern the message."""
    return {name: value for name, value in headers.items() if name.lower() not in HOP_HEADERS}
