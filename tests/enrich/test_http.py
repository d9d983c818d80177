"""Requests end when their time is over, and nothing else of the wire shows."""

from __future__ import annotations

import datetime
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mer_pipeline.enrich.http import MAX_BYTES, CannotConnect, Cut, Http, TooLong

Serve = Callable[[socket.socket, int], None]


def answer(body: bytes = b"fine", head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def wait(seconds: float) -> Callable[[], None]:
    until = time.monotonic() + seconds

    def look() -> None:
        if time.monotonic() > until:
            raise TimeoutError

    return look


@contextmanager
def server(serve: Serve, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server whose connections `serve` handles, each with its number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def one(raw: socket.socket, number: int) -> None:
            try:
                with context.wrap_socket(raw, server_side=True) if context else raw as connection:
                    serve(connection, number)
            except OSError:
                pass  # the client has gone

        def accept() -> None:
            number = 0
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(raw, number), daemon=True).start()
                number += 1

        threading.Thread(target=accept, daemon=True).start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{listener.getsockname()[1]}/v1"


def request(connection: socket.socket) -> bytes:
    """All of a request of `ask`; nothing where the client has gone."""
    data = b""
    while not data.endswith(b"{}") and (part := connection.recv(65_536)):
        data += part
    return data


def ask(http: Http, seconds: float = 5.0) -> bytes:
    return http.request("POST", "/x", b"{}", seconds, wait(seconds)).body


def test_a_connection_is_kept_and_its_headers_are_sent() -> None:
    """Two requests, one connection; the path is below the address, and a header may have any characters."""
    seen: list[tuple[int, bytes]] = []

    def serve(connection: socket.socket, number: int) -> None:
        while data := request(connection):
            seen.append((number, data))
            connection.sendall(answer())

    with server(serve) as url:
        http = Http(url, {"Authorization": "Bearer schlüssel字"})
        assert [ask(http), ask(http)] == [b"fine"] * 2
        http.close()
    assert [number for number, _ in seen] == [0, 0]
    assert seen[0][1].startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert "Authorization: Bearer schlüssel字\r\n".encode() in seen[0][1]


def test_a_connection_that_the_server_closed_is_made_anew() -> None:
    """As servers do with idle ones: no request is lost by it."""

    def serve(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(answer(b"%d" % number))

    with server(serve) as url:
        http = Http(url, {})
        found = []
        for _ in range(3):
            found.append(ask(http))
            time.sleep(0.1)
        http.close()
    assert found == [b"0", b"1", b"2"]


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"])
def test_an_answer_that_ends_with_its_connection(head: bytes) -> None:
    """It is read to the end, also where it comes slowly."""

    def serve(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(head + b"\r\n")
        for _ in range(3):
            time.sleep(0.3)
            connection.sendall(b"part ")

    with server(serve) as url:
        assert ask(Http(url, {})) == b"part part part "


@pytest.mark.parametrize("says", [b"", answer()[:-2], b"SSH-2.0\r\n\r\n"])
def test_what_ends_too_early_is_cut(says: bytes) -> None:
    """Nothing, half a body, another protocol."""

    def serve(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(says)

    with server(serve) as url, pytest.raises(Cut):
        ask(Http(url, {}))


def test_patience_has_an_end_however_the_answer_drips() -> None:
    """A byte now and then is no reason to wait for ever; the next request is a new connection."""

    def serve(connection: socket.socket, number: int) -> None:
        request(connection)
        if number:
            connection.sendall(answer())
        for byte in answer(b"x" * 100) if not number else b"":
            time.sleep(0.05)
            connection.sendall(bytes([byte]))

    with server(serve) as url:
        http = Http(url, {})
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            ask(http, 1.0)
        assert time.monotonic() - started < 2
        assert ask(http) == b"fine"


def packed(body: bytes, encoding: bytes) -> bytes:
    return answer(body, b"HTTP/1.1 200 OK\r\nContent-Encoding: " + encoding + b"\r\n")


@pytest.mark.parametrize(
    ("encoding", "pack"), [(b"gzip", gzip.compress), (b"GZIP", gzip.compress), (b"deflate", zlib.compress)]
)
def test_a_compressed_answer_is_read_although_none_was_asked_for(
    encoding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    """And one of which a part is missing is cut."""
    asked: list[bytes] = []

    def serve(connection: socket.socket, number: int) -> None:
        asked.append(request(connection))
        data = pack(b"fine" * 100)
        connection.sendall(packed(data if not number else data[:-6] if number == 1 else b"\xff" + data[1:], encoding)
                           .replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))  # fmt: skip

    with server(serve) as url:
        http = Http(url, {})
        assert ask(http) == b"fine" * 100
        for says in ("is cut off", "cannot be decompressed"):
            with pytest.raises(Cut, match=says):
                ask(http)
    assert b"\r\nAccept-Encoding: identity\r\n" in asked[0]


def flood(connection: socket.socket) -> None:
    for _ in range(50 * MAX_BYTES >> 20):
        connection.sendall(bytes(1 << 20))


BOMB = gzip.compress(bytes(300 << 20), 9)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS: dict[str, Callable[[socket.socket], None]] = {
    "said": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n"),
    "unsaid": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n"),
    "in one chunk": lambda connection: connection.sendall(CHUNKED + b"ffffffff\r\n"),
    "compressed": lambda connection: connection.sendall(packed(BOMB, b"gzip")),
}


@pytest.mark.parametrize("how", FLOODS)
def test_an_answer_has_a_bound_before_and_after_it_is_decompressed(how: str) -> None:
    """What is beyond it is not held in memory, and the next request is a new connection."""
    assert len(BOMB) < MAX_BYTES

    def serve(connection: socket.socket, number: int) -> None:
        request(connection)
        if number:
            connection.sendall(answer(b"x" * MAX_BYTES))
        else:
            FLOODS[how](connection)
            flood(connection)

    with server(serve) as url:
        http = Http(url, {})
        tracemalloc.start()
        try:
            with pytest.raises(TooLong):
                ask(http, 30)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert most < 6 * MAX_BYTES
        assert len(ask(http, 30)) == MAX_BYTES


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000])
def test_headers_have_a_bound_too(head: bytes) -> None:
    """One without an end, and too many of them."""

    def serve(connection: socket.socket, number: int) -> None:
        request(connection)
        connection.sendall(head)
        flood(connection)

    with server(serve) as url, pytest.raises(Cut):
        ask(Http(url, {}))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_the_key_goes_nowhere_else(status: int) -> None:
    """Neither to another host nor to another path."""
    elsewhere: list[int] = []
    paths: list[bytes] = []

    def other(connection: socket.socket, number: int) -> None:
        elsewhere.append(number)

    with server(other) as there:

        def serve(connection: socket.socket, number: int) -> None:
            while data := request(connection):
                paths.append(data.split()[1])
                place = there if len(paths) == 1 else "/other"
                connection.sendall(answer(b"", f"HTTP/1.1 {status} Moved\r\nLocation: {place}\r\n".encode()))

        with server(serve) as url:
            http = Http(url, {"Authorization": "Bearer secret"})
            for _ in range(2):
                assert http.request("POST", "/x", b"{}", 5.0, wait(5.0)).status == status
            http.close()
        time.sleep(0.2)
    assert paths == [b"/v1/x"] * 2
    assert not elsewhere


def test_no_proxy_and_no_password_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address and the key are those that a person gave for this purpose."""
    seen: list[bytes] = []

    def serve(connection: socket.socket, number: int) -> None:
        seen.append(request(connection))
        connection.sendall(answer())

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login bob password hunter22\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with server(serve) as url:
        assert ask(Http(url, {})) == b"fine"
    assert b"Authorization" not in seen[0]


def test_nobody_there() -> None:
    """Another error than a connection that is cut."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
        with pytest.raises(CannotConnect):
            ask(Http(url, {}))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*plain))
    return tmp_path / "certificate.pem", tmp_path / "key.pem"


def test_https_is_checked_and_read_patiently(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that the machine does not trust is refused; with trust, an answer that takes a while comes whole."""

    def serve(connection: socket.socket, number: int) -> None:
        while request(connection):
            time.sleep(0.7)
            connection.sendall(answer(b"slow" * 50_000))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with server(serve, context) as url:
        with pytest.raises(CannotConnect, match="certificate"):
            ask(Http(url, {}))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        http = Http(url, {})
        assert [ask(http), ask(http)] == [b"slow" * 50_000] * 2
        with pytest.raises(TimeoutError):
            ask(http, 0.3)
