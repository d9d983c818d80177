"""Requests over HTTP that end: when their time is over, and soon after Ctrl-C, whatever the server does.

The standard library's client, in the thread that asks, with a connection kept open for each thread. A read waits in
steps of TICK_S and asks `patience` before each whether to go on.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

TICK_S = 0.2

# Called again and again while an answer is waited for and read; what it raises ends the request.
Patience = Callable[[], None]


class CannotConnect(Exception):
    """Nobody takes the connection."""


class Cut(Exception):
    """The connection ended before the answer did, or what came is no HTTP."""


@dataclass(frozen=True)
class Reply:
    """What a server answers: status, headers and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """A server.

    Args:
        url: http:// or https://, with a host, and the path that all requests begin with.
        headers: of every request.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._path = parts.path
        # As bytes: a header of the standard library's own would have to be Latin-1.
        self._headers = {name: value.encode() for name, value in headers.items()}
        self._connect: Callable[[], http.client.HTTPConnection]
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connect = partial(http.client.HTTPSConnection, parts.hostname, parts.port, context=context)
        else:
            self._connect = partial(http.client.HTTPConnection, parts.hostname, parts.port)
        self._lock = threading.Lock()
        self._made: list[http.client.HTTPConnection] = []
        self._of_thread = threading.local()

    def request(self, method: str, path: str, body: bytes | None, timeout_s: float, patience: Patience) -> Reply:
        """Send and wait for the whole answer.

        Args:
            method, path, body: of the request.
            timeout_s: for connecting, and for each part that is sent.
            patience: asked at least every TICK_S.

        Raises:
            CannotConnect: the connection is refused, or there is no such host.
            Cut: the connection ends before the answer does.
            TimeoutError: connecting or sending takes longer than `timeout_s`.
        """
        connection = self._connection()
        connection.timeout = timeout_s
        try:
            self._open(connection)
            connection.sock.settimeout(timeout_s)
            connection.response_class = partial(_Response, patience)  # type: ignore[assignment]
            connection.request(method, f"{self._path}{path}", body, self._headers)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers.items()), response.read())
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException | OSError) and not isinstance(error, TimeoutError):
                raise Cut(str(error)) from None
            raise

    def close(self) -> None:
        """Close all connections; no request may be under way."""
        with self._lock:
            for connection in self._made:
                connection.close()
            self._made.clear()
            self._of_thread = threading.local()

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = self._connect()
            with self._lock:
                self._made.append(connection)
        return connection

    def _open(self, connection: http.client.HTTPConnection) -> None:
        """Connect, also where the server has closed an idle connection: that shows as something to read."""
        if connection.sock is not None and _is_readable(connection.sock):
            connection.close()
        if connection.sock is None:
            try:
                connection.connect()
            except TimeoutError:
                raise
            except OSError as error:
                raise CannotConnect(str(error)) from None


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class _Response(http.client.HTTPResponse):
    """A response that is read patiently."""

    def __init__(self, patience: Patience, sock: socket.socket, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        sock.settimeout(TICK_S)
        self.fp = io.BufferedReader(_Patient(patience, sock, self.fp))


class _Patient(io.RawIOBase):
    """A socket's bytes. Closing it closes the reader that keeps the socket open."""

    def __init__(self, patience: Patience, sock: socket.socket, reader: io.BufferedReader) -> None:
        self._patience, self._sock, self._reader = patience, sock, reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            self._patience()
            with suppress(TimeoutError):  # of one step
                return self._sock.recv_into(buffer)

    def close(self) -> None:
        super().close()
        with suppress(OSError):
            self._reader.close()
