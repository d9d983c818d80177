"""Requests over HTTP that always end: when their time is over or soon after Ctrl-C, whatever the server does.

The client is that of the standard library. It runs in the thread that sends the request, and keeps one connection open
for each thread. A read waits in steps of TICK_S seconds, and before each step calls `patience`, which may end it.
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

TICK_S = 0.2  # seconds

# A function that is called again and again until an answer is read. If it raises an error, the request ends with that.
Patience = Callable[[], None]


class CannotConnect(Exception):
    """Nothing accepts the connection."""


class Cut(Exception):
    """The connection ended before the answer was complete, or the answer is not HTTP."""


@dataclass(frozen=True)
class Reply:
    """The answer of a server: status, headers and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """A client of one server. Any thread may use it.

    Args:
        url: begins with http:// or https:// and has a host; its path is the beginning of the path of every request.
        headers: are sent with every request.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._path = parts.path
        # The headers are bytes, because the standard library would refuse text that is not Latin-1.
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
        """Send a request and wait for the whole answer.

        Args:
            method, path, body: of the request.
            timeout_s: how many seconds the connection, and each part of the sending, may take.
            patience: is called at least every TICK_S seconds while the answer is waited for; what it raises is raised.

        Raises:
            CannotConnect: if the connection is refused, or there is no such host.
            Cut: if the connection ends before the answer is complete, or the answer is not HTTP.
            TimeoutError: if connecting or sending takes longer than `timeout_s`.
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
        """Close all connections. No request may be in progress."""
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
        """Connect if there is no open connection.

        A connection that the server has closed while it was idle has something to read; it is opened again.

        Raises:
            CannotConnect: if the connection is refused, or there is no such host.
        """
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
    """A response whose reading can be ended by `patience`."""

    def __init__(self, patience: Patience, sock: socket.socket, method: str | None = None) -> None:
        super().__init__(sock, method=method)
        sock.settimeout(TICK_S)
        self.fp = io.BufferedReader(_Patient(patience, sock, self.fp))


class _Patient(io.RawIOBase):
    """A stream of the bytes of a socket. Its `close` also closes the reader that keeps the socket open."""

    def __init__(self, patience: Patience, sock: socket.socket, reader: io.BufferedReader) -> None:
        self._patience, self._sock, self._reader = patience, sock, reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            self._patience()
            with suppress(TimeoutError):  # the end of one step
                return self._sock.recv_into(buffer)

    def close(self) -> None:
        super().close()
        with suppress(OSError):
            self._reader.close()
