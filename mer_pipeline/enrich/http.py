"""Requests over HTTP that end: when their time is over, soon after Ctrl-C, and when the answer is too long.

The connections are httpcore's, which is the layer below httpx: it follows no redirect, reads no proxy and no password
from the environment, and decompresses nothing. A read waits in steps of TICK_S and asks `patience` before each whether
to go on.
"""

from __future__ import annotations

import ssl
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpcore2

TICK_S = 0.2
MAX_BYTES = 4 << 20  # of an answer, as it is sent and again as it is decompressed; a chat completion has some kilobytes

# Called again and again while an answer is waited for and read; what it raises ends the request.
Patience = Callable[[], None]


class CannotConnect(Exception):
    """Nobody takes the connection."""


class Cut(Exception):
    """The connection ended before the answer did, or what came is no HTTP."""


class TooLong(Exception):
    """The answer has more than MAX_BYTES, or would have when it is decompressed."""


@dataclass(frozen=True)
class Reply:
    """What a server answers: status, headers (names in lower case) and the whole body, decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """A server, asked by any number of threads; connections are kept open for the next request.

    Args:
        url: http:// or https://, with a host, and the path that all requests begin with.
        headers: of every request.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url = url
        # As bytes: text would have to be ASCII. A server that compresses nevertheless is understood.
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._headers.append((b"Accept-Encoding", b"identity"))
        self._of_thread = threading.local()
        self._pool = httpcore2.ConnectionPool(
            ssl.create_default_context(), max_connections=None, network_backend=_Backend(self._of_thread)
        )

    def request(self, method: str, path: str, body: bytes | None, timeout_s: float, patience: Patience) -> Reply:
        """Send and wait for the whole answer.

        Args:
            method, path, body: of the request.
            timeout_s: for connecting, and for each part that is sent.
            patience: asked at least every TICK_S.

        Raises:
            CannotConnect: the connection is refused, or there is no such host.
            Cut: the connection ends before the answer does, or what comes is no HTTP.
            TooLong: the answer has more than MAX_BYTES; no more than that is held in memory.
            TimeoutError: connecting or sending takes longer than `timeout_s`.
        """
        self._of_thread.patience = patience
        times = {"timeout": {"connect": timeout_s, "write": timeout_s}}
        try:
            with self._pool.stream(
                method, f"{self._url}{path}", headers=self._headers, content=body, extensions=times
            ) as answer:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
                sent = _bounded(answer.iter_stream())
                return Reply(answer.status, headers, _decompressed(sent, headers.get("content-encoding", "")))
        except httpcore2.ConnectError as error:
            raise CannotConnect(str(error)) from None
        except httpcore2.TimeoutException as error:
            raise TimeoutError(str(error)) from None
        except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as error:
            raise Cut(str(error)) from None

    def close(self) -> None:
        """Close all connections; no request may be under way."""
        self._pool.close()


def _bounded(parts: Iterable[bytes]) -> bytes:
    body = b""
    for part in parts:
        body += part
        if len(body) > MAX_BYTES:
            raise TooLong
    return body


def _decompressed(body: bytes, encoding: str) -> bytes:
    """A body as it was before the server compressed it, although it was not asked to."""
    if encoding.lower() not in {"gzip", "x-gzip", "deflate"}:
        return body
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)  # of gzip or zlib, as its head says
    try:
        whole = reader.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise Cut(f"the answer cannot be decompressed ({error})") from None
    if len(whole) > MAX_BYTES:
        raise TooLong
    if not reader.eof:
        raise Cut("the compressed answer is cut off")
    return whole


class _Backend(httpcore2.SyncBackend):
    """Makes connections that are read patiently; `of_thread` holds the patience of the thread that asks."""

    def __init__(self, of_thread: threading.local) -> None:
        self._of_thread = of_thread

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _Patient(super().connect_tcp(*args, **kwargs), self._of_thread)


class _Patient(httpcore2.NetworkStream):
    """A connection that is read in steps of TICK_S."""

    def __init__(self, stream: httpcore2.NetworkStream, of_thread: threading.local) -> None:
        self._stream, self._of_thread = stream, of_thread

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)

    def start_tls(self, *args: Any, **kwargs: Any) -> httpcore2.NetworkStream:
        return _Patient(self._stream.start_tls(*args, **kwargs), self._of_thread)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            self._of_thread.patience()
            with suppress(httpcore2.ReadTimeout):  # of one step
                return self._stream.read(max_bytes, TICK_S)
