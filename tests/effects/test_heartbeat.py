"""A dead-man's-switch that misbehaves cannot hold or fail a check."""

import itertools
import time
from collections.abc import Iterator

from retrain.effects import http
from tests.effects.servers import Request, drip, page, serving


def test_an_endless_redirect_is_not_read() -> None:
    """The body of a redirect may have no end; the ping goes on to where it leads."""
    asked: list[str] = []

    def respond(request: Request) -> Iterator[bytes]:
        asked.append(request.path)
        if request.path == "/there":
            yield from page("ok")
            return
        yield b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n"
        while not request.gone.is_set():
            yield b"x" * 65536

    with serving(respond) as url:
        http.heartbeat(f"{url}/here")
    assert asked == ["/here", "/there"]


def test_an_answer_that_drips_does_not_hold_the_check() -> None:
    """The limit is for the whole ping, not for each byte of it."""

    def respond(request: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        yield from drip(itertools.repeat(b"X"), request, 0.2)

    with serving(respond) as url:
        began = time.monotonic()
        http.heartbeat(url)
    assert time.monotonic() - began < http.HEARTBEAT + 30
