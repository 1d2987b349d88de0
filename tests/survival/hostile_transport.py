"""Servers that break HTTP, TLS or the connection, or never end."""

import itertools
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET, create_connection, create_server
from typing import Any

from retrain.config.schema import MonitorType
from tests.effects.servers import Request, Respond, certificate, drip, frozen_server, page, serving
from tests.survival.hostile_answers import body

Certificates = Mapping[str, tuple[Path, ssl.SSLContext]]
"""Certificates of 127.0.0.1, each with a server's context that shows it."""
_HEAD = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def elsewhere(stack: ExitStack) -> tuple[str, list[Request]]:
    """Another server, where a redirect may lead and nothing is, and what it was asked."""
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return page("nothing\n", "404 Not Found")

    return stack.enter_context(serving(respond)), asked


def answers(kind: MonitorType, other: str) -> Mapping[str, Respond]:
    """A server for every way to break HTTP, by name; `other` is the URL of another server."""
    low = body(kind, "0.1").encode()
    length = f"Content-Length: {len(low)}\r\n".encode()
    pieces = {
        "hangs up": [],
        "no HTTP": [b"SSH-2.0-OpenSSH_9.2\r\n"],
        "binary": [bytes(range(256)) * 1000],
        "HTTP/2": [b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)],
        "a body without a head": [low],
        "a long status line": [b"HTTP/1.1 200 " + b"O" * 1_000_000 + b"\r\n\r\n" + low],
        "a long header": [_HEAD + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n" + low],
        "many headers": [_HEAD + b"X: 1\r\n" * 100_000 + b"\r\n" + low],
        "NUL in the status": [b"HTTP/1.1 2\x000 OK\r\n\r\n" + low],
        "no status": [b"HTTP/1.1\r\n\r\n" + low],
        "a negative status": [b"HTTP/1.1 -200 OK\r\n\r\n" + low],
        "204 with a body": [b"HTTP/1.1 204 No Content\r\n" + length + b"\r\n" + low],
        "205 without a body": [b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"],
        "101": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + low],
        "103 and nothing": [b"HTTP/1.1 103 Early Hints\r\n\r\n"],
        "too short": [_HEAD + b"Content-Length: 9999\r\n\r\n" + low],
        "cut by its length": [_HEAD + f"Content-Length: {len(low) - 2}\r\n\r\n".encode() + low],
        "two lengths": [_HEAD + length + b"Content-Length: 3\r\n\r\n" + low],
        "half a chunk": [_CHUNKED + b"ff\r\n" + low],
        "a chunk of garbage": [_CHUNKED + b"zz\r\n" + low],
        "a negative chunk": [_CHUNKED + b"-5\r\n" + low],
        "a huge chunk": [_CHUNKED + b"f" * 60 + b"\r\n" + low],
        "no last chunk": [_CHUNKED + f"{len(low):x}\r\n".encode() + low + b"\r\n"],
        "chunked and not": [_HEAD + b"Transfer-Encoding: chunked\r\n" + length + b"\r\n" + low],
        "location of nothing": page(low, "302 Found", location=""),
        "to itself": page("", "302 Found", location="/"),
        "to a file": page("", "302 Found", location="file:///etc/hostname"),
        "to ftp": page("", "302 Found", location="ftp://127.0.0.1/f1"),
        "to data": page("", "302 Found", location="data:text/plain,f1%200.1"),
        "to another scheme": page("", "302 Found", location="gopher://127.0.0.1:70/f1"),
        "to another port": page("", "302 Found", location=f"{other}/metrics"),
        "to another host": page("", "307 Moved", location=f"{other.replace('127.0.0.1', 'localhost')}/metrics"),
        "to another, with a name": page("", "308 Moved", location=f"{other.replace('//', '//user:word@')}/metrics"),
        "to no host": page("", "302 Found", location="http:///f1"),
        "to a bad address": page("", "302 Found", location="http://[::bad/"),
        "to a bad port": page("", "302 Found", location="http://127.0.0.1:99999/"),
        "to binary": [b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\nContent-Length: 0\r\n\r\n"],
    }
    still = {name: (lambda _, said=said: said) for name, said in pieces.items()}
    return {**still, **_for_ever(low)}


def _for_ever(low: bytes) -> Mapping[str, Respond]:
    """Servers that never end, fast or slowly."""

    def fast(head: bytes, piece: bytes) -> Respond:
        return lambda request: itertools.chain([head], _until(request, piece))

    def slow(head: bytes, piece: bytes) -> Respond:
        return lambda request: itertools.chain([head], drip(itertools.repeat(piece), request, 0.1))

    def onward(request: Request) -> list[bytes]:
        return page("", "302 Found", location=f"{request.path}x")

    return {
        "endless body": fast(_HEAD + b"\r\n", low * 1000),
        "endless chunks": fast(_CHUNKED, b"1\r\n \r\n" * 1000),
        "endless headers": fast(_HEAD, b"X: 1\r\n" * 1000),
        "endless line of a header": fast(_HEAD + b"X: ", b"x" * 65536),
        "endless hints": fast(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        "endless trailers": fast(_CHUNKED + b"0\r\n", b"X: 1\r\n" * 1000),
        "endless line of a chunk": fast(_CHUNKED + b"1;", b"x" * 65536),
        "endless error": fast(b"HTTP/1.1 500 Oops\r\n\r\n", b"x" * 65536),
        "endless redirect": fast(b"HTTP/1.1 302 Found\r\nLocation: /on\r\n\r\n", b"x" * 65536),
        "redirects without end": onward,
        "silence": slow(b"", b""),
        "slow status": slow(b"HTTP/1.1 200 O", b"K"),
        "slow headers": slow(_HEAD, b"X: 1\r\n"),
        "slow header": slow(_HEAD + b"X: ", b"x"),
        "slow body": slow(_HEAD + b"Content-Length: 100000\r\n\r\n", b"\n"),
        "slow chunks": slow(_CHUNKED, b"1\r\n\n\r\n"),
        "slow error": slow(b"HTTP/1.1 503 Busy\r\n\r\n", b"x"),
        "slow redirect": slow(b"HTTP/1.1 302 Found\r\nLocation: /on\r\n\r\n", b"x"),
        "slow gzip": slow(_HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"\x00"),
    }


def _until(request: Request, piece: bytes) -> Iterator[bytes]:
    while not request.gone.is_set():
        yield piece


def places(
    stack: ExitStack, directory: Path, kind: MonitorType, certificates: Certificates
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, URL and further configuration of servers whose connection is wrong; they would say a low F1."""
    low = page(body(kind, "0.1"))

    def answer(_: Request) -> list[bytes]:
        return low

    plain = stack.enter_context(serving(answer))
    yield "https on a plain port", plain.replace("http:", "https:"), {}
    yield "a name that is not its own", plain.replace("127.0.0.1", "127.0.0.2"), {}
    made, context = certificates["good"]
    trusting = {"ca_file": str(made)}
    secure = stack.enter_context(serving(answer, context))
    yield "TLS of an unknown authority", secure, {}
    yield "TLS of another name", secure.replace("127.0.0.1", "localhost"), trusting
    yield "plain http on a TLS port", secure.replace("https:", "http:"), trusting
    expired, context = certificates["expired"]
    yield "TLS that has expired", stack.enter_context(serving(answer, context)), {"ca_file": str(expired)}
    yield "no authorities", secure, {"ca_file": str(directory / "none.pem")}
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(made, made.with_name("key.pem"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("NULL:@SECLEVEL=0")
    yield "TLS without a cipher", stack.enter_context(serving(answer, old)), trusting
    yield "a stopped process", stack.enter_context(frozen_server()), {}
    for name, said in {"reset at once": b"", "reset in the head": b"HTTP/1.1 2", "reset in the body": _HEAD}.items():
        yield name, stack.enter_context(resetting(said)), {}
    if kind is not MonitorType.PROMETHEUS:  # there a file is a wrong configuration
        yield "a file that is not there", (directory / "none").as_uri(), {}
        yield "a device without an end", "file:///dev/zero", {}
        yield "a directory", directory.as_uri(), {}


def certificates(directory: Path) -> Certificates:
    """A good one, which nobody vouches for, and one that expired yesterday."""
    good, old = directory / "good", directory / "old"
    for each in (good, old):
        each.mkdir()
    made = {"good": certificate(good), "expired": certificate(old)}
    request, extra, expired = old / "request.pem", old / "extra", old / "expired.pem"
    extra.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:TRUE\n")
    for words in (
        f"req -new -key {old / 'key.pem'} -subj /CN=127.0.0.1 -out {request}",
        f"x509 -req -in {request} -signkey {old / 'key.pem'} -days -1 -extfile {extra} -out {expired}",
    ):
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True)  # noqa: S607
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired, old / "key.pem")
    return made | {"expired": (expired, context)}


@contextmanager
def resetting(said: bytes) -> Iterator[str]:
    """The URL of a server that says this much and then resets the connection."""
    gone = threading.Event()
    with create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not gone.is_set():
                with suppress(OSError), listener.accept()[0] as connection:
                    connection.recv(100)
                    connection.sendall(said)
                    connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            gone.set()
            with suppress(OSError), create_connection(("127.0.0.1", port), timeout=5) as last:
                last.sendall(b"end")
            thread.join()
