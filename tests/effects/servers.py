"""Real servers on loopback, each on a port that the kernel chose."""

import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO


@dataclass(frozen=True)
class Request:
    """What a client asked; header names are in lower case. `gone` is set when the server ends."""

    path: str
    headers: Mapping[str, str]
    gone: Event
    method: str = "GET"
    body: bytes = b""


Respond = Callable[[Request], Iterable[bytes]]


def page(body: bytes | str, status: str = "200 OK", **headers: str) -> list[bytes]:
    """A whole HTTP answer; `content_type="..."` gives the header Content-Type."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *lines, "", ""])
    return [head.encode("latin-1"), content]


def drip(pieces: Iterable[bytes], request: Request, pause: float = 0.05) -> Iterator[bytes]:
    """The pieces, one after each pause, until the server ends."""
    for piece in pieces:
        if request.gone.wait(pause):
            return
        yield piece


@contextmanager
def serving(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL (http or https, no path) of a server that answers each connection once, as `respond` says."""
    gone = Event()
    threads: list[Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while not gone.is_set():
                with suppress(OSError):
                    connection = listener.accept()[0]
                    threads.append(Thread(target=_converse, args=(connection, respond, gone, tls)))
                    threads[-1].start()

        accepting = Thread(target=accept)
        accepting.start()
        port = listener.getsockname()[1]
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        finally:
            gone.set()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
                pass
            accepting.join()
            for thread in threads:
                thread.join()


def _converse(connection: socket.socket, respond: Respond, gone: Event, tls: ssl.SSLContext | None) -> None:
    with connection as plain, suppress(OSError, ssl.SSLError):
        plain.settimeout(20)
        with tls.wrap_socket(plain, server_side=True) if tls else plain as stream:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = stream.recv(65536)
                if not piece:
                    return
                head += piece
            above, _, body = head.partition(b"\r\n\r\n")
            first, *lines = above.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            while len(body) < int(headers.get("content-length", 0)) and (piece := stream.recv(65536)):
                body += piece
            method, path, _ = first.split(" ")
            for piece in respond(Request(path, headers, gone, method, body)):
                if gone.is_set():
                    return
                stream.sendall(piece)


@contextmanager
def child(
    *command: str | Path, cwd: Path | None = None, output: IO[bytes] | int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """A running child process, its output in `stdout`; it is gone afterwards, even when it was stopped."""
    process = subprocess.Popen(list(map(str, command)), cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[bytes], pattern: str, seconds: float = 30) -> str:
    """The first group of the pattern in the first whole line of the child's output that has it."""
    assert process.stdout is not None
    heard, end = b"", time.monotonic() + seconds
    while select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(process.stdout.fileno(), 65536)
        heard += piece
        if found := re.search(pattern, heard.decode()[: heard.rfind(b"\n") + 1]):
            return found[1]
        if not piece:
            break
    raise AssertionError(f"{process.args!r} did not say {pattern}: {heard.decode()}")


@contextmanager
def frozen_server() -> Iterator[str]:
    """The URL of a real server process that accepts connections (the kernel does) and never answers."""
    with child(sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1") as process:
        port = said(process, r"port (\d+)")
        process.send_signal(signal.SIGSTOP)
        yield f"http://127.0.0.1:{port}"


def certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1, made by openssl, and a server's context that shows it."""
    made, key = directory / "certificate.pem", directory / "key.pem"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {key} -out {made}"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *words.split(), *subject], check=True, capture_output=True)  # noqa: S607
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context
