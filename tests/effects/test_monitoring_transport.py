"""Hostile and broken endpoints: every trouble is an Unknown, in time, in bounded memory, without a secret."""

import base64
import gzip
import itertools
import os
import socket
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from retrain.config.load import load
from retrain.config.schema import Monitoring, MonitorType
from retrain.core.records import Snapshot, Unknown
from retrain.effects.monitoring import fetch
from tests.effects.servers import Request, Respond, certificate, drip, frozen_server, page, serving
from tests.effects.test_monitoring import NO_SECRETS, why, worth

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
GOOD = page("f1 0.75\n")


def monitoring(url: str, seconds: float = 15, retries: int = 2, **more: object) -> Monitoring:
    """A configuration that asks for f1 in the text format, as `more` changes it."""
    base = {"url": url, "f1": "f1", "timeout": timedelta(seconds=seconds), "retries": retries}
    return Monitoring(**(base | more))  # type: ignore[arg-type]


def f1(url: str, **more: object) -> object:
    """F1, or the kind of the Unknown."""
    return worth(fetch(monitoring(url, **more), NO_SECRETS, NOW).f1)  # type: ignore[arg-type]


def sentence(url: str, **more: object) -> str:
    """Why F1 is unknown."""
    return why(fetch(monitoring(url, **more), NO_SECRETS, NOW).f1)  # type: ignore[arg-type]


def in_turn(*answers: list[bytes]) -> tuple[Respond, list[Request]]:
    """A server that gives these answers in turn, the last for ever; and what it was asked."""
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    return respond, asked


# ---------------------------------------------------------------- the deadline


def test_a_server_that_never_answers() -> None:
    """A stopped server process costs the configured time, and every field that is asked for says so."""
    with frozen_server() as url:
        snapshot = fetch(monitoring(url, 0.5, drift="drift"), NO_SECRETS, NOW)
    assert (worth(snapshot.f1), worth(snapshot.drift), snapshot.samples) == ("deadline", "deadline", None)
    assert (
        why(snapshot.f1) == f"{url} did not answer within 0.5 s (see what makes it slow, or raise monitoring.timeout)"
    )


def headers_for_ever(request: Request) -> Iterator[bytes]:
    """One header line after the other, and no end."""
    yield b"HTTP/1.1 200 OK\r\n"
    yield from drip((f"X-{n}: 1\r\n".encode() for n in range(90)), request, 0.1)
    yield from drip(itertools.repeat(b""), request)


def body_for_ever(request: Request) -> Iterator[bytes]:
    """A body that comes byte by byte."""
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    yield from drip(itertools.repeat(b"#"), request, 0.1)


def chunks_for_ever(request: Request) -> Iterator[bytes]:
    """Small chunks without end."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from drip(itertools.repeat(b"1\r\n#\r\n"), request, 0.1)


def complaint_for_ever(request: Request) -> Iterator[bytes]:
    """The body of an error that comes byte by byte."""
    yield b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
    yield from drip(itertools.repeat(b"#"), request, 0.1)


@pytest.mark.parametrize("respond", [headers_for_ever, body_for_ever, chunks_for_ever, complaint_for_ever])
def test_a_slow_drip(respond: Respond) -> None:
    """Bytes that keep coming do not move the deadline."""
    with serving(respond) as url:
        assert f1(url, seconds=0.6) == "deadline"


def test_the_process_ends_although_the_work_does_not(tmp_path: Path) -> None:
    """What is left behind at the deadline does not keep the process alive."""
    script = textwrap.dedent("""
        import sys
        from datetime import UTC, datetime, timedelta
        from retrain.config.secrets import Secrets
        from retrain.config.schema import Monitoring
        from retrain.effects.monitoring import fetch
        asked = Monitoring(sys.argv[1], f1="f1", timeout=timedelta(seconds=0.5))
        print(fetch(asked, Secrets((), frozenset()), datetime.now(UTC)).f1.kind)
    """)
    with serving(headers_for_ever) as url:
        ended = subprocess.run(
            [sys.executable, "-c", script, url], capture_output=True, text=True, check=False, timeout=60
        )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "deadline\n", "")


def test_answers_before_the_deadline_count() -> None:
    """A query that hangs makes its own field unknown, not those that were answered before it."""

    def respond(request: Request) -> Iterator[bytes]:
        if "query=f1" in request.path:
            yield from page('{"status": "success", "data": {"resultType": "scalar", "result": [1, "0.75"]}}')
        yield from drip(itertools.repeat(b""), request)

    with serving(respond) as url:
        asked = monitoring(url, 1.5, type=MonitorType.PROMETHEUS, drift="drift")
        snapshot = fetch(asked, NO_SECRETS, NOW)
    assert (snapshot.f1, worth(snapshot.drift)) == (0.75, "deadline")


# ---------------------------------------------------------------- the cap


PACKED = gzip.compress(bytes(64_000_000), compresslevel=1)


def endless(request: Request) -> Iterator[bytes]:
    """A body without end, as fast as it is read."""
    yield b"HTTP/1.1 200 OK\r\n\r\n"
    while not request.gone.is_set():
        yield b"f1 0.5\n" * 10_000


def endless_complaint(request: Request) -> Iterator[bytes]:
    """An error with a body without end."""
    yield b"HTTP/1.1 404 Not Found\r\n\r\n"
    while not request.gone.is_set():
        yield b"x" * 65536


def endless_redirect(request: Request) -> Iterator[bytes]:
    """A redirect with a body without end, to a good page."""
    if request.path == "/good":
        yield from GOOD
        return
    yield b"HTTP/1.1 302 Found\r\nLocation: /good\r\n\r\n"
    while not request.gone.is_set():
        yield b"x" * 65536


def bomb(request: Request) -> list[bytes]:
    """64 MB of nothing in a few hundred kB of gzip."""
    del request
    return page(PACKED, content_encoding="gzip")


def chunked_bomb(request: Request) -> list[bytes]:
    """The same in one chunk."""
    del request
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return [head, f"{len(PACKED):x}\r\n".encode(), PACKED, b"\r\n0\r\n\r\n"]


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (endless, "too_large"),
        (endless_complaint, "status"),
        (endless_redirect, 0.75),
        (bomb, "too_large"),
        (chunked_bomb, "too_large"),
    ],
)
def test_bounded_memory(respond: Respond, expected: object) -> None:
    """No body, however large or packed, takes more memory than a few times the cap."""
    with serving(respond) as url:
        f1(url, max_body=100_000)
        tracemalloc.start()
        try:
            assert f1(url, max_body=100_000) == expected
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


def test_a_body_at_the_cap() -> None:
    """max_body bytes are not too many; one more is."""
    with serving(lambda _: GOOD) as url:
        assert f1(url, max_body=8) == 0.75
        assert f1(url, max_body=7) == "too_large"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (page(gzip.compress(b"f1 0.75\n"), content_encoding="gzip"), 0.75),
        (page("f1 0.75\n", content_encoding="gzip"), "unparseable"),
        (page(gzip.compress(b"f1 0.75\n") + bytes(99), content_encoding="gzip"), 0.75),
        (page(gzip.compress(b"f1 0.75\n") * 2, content_encoding="gzip"), "ambiguous"),
        (page(gzip.compress(b"f1 0.75\n")[:-8], content_encoding="gzip"), "incomplete"),
        (page(zlib.compress(b"f1 0.75\n"), content_encoding="deflate"), 0.75),
        (page(zlib.compress(b"f1 0.75\n")[:-4], content_encoding="deflate"), "incomplete"),
        (page("", content_encoding="gzip"), "missing"),
        (page("f1 0.75\n", content_range="bytes 0-7/100"), "incomplete"),
        (page("f1 0.75\n", content_type=OPEN_METRICS), "unparseable"),
        (page("f1 0.75\n# EOF \nf1 0.5\n", content_type=OPEN_METRICS), 0.75),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nf1 0.75\n"], "unreachable"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nf1 0.75\n"], "unreachable"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nf1 0.75\n"], "unreachable"),
        ([b"HTTP/1.1 200 OK\r\n\r\nf1 0.7"], "unparseable"),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n"], "unreachable"),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], "unreachable"),
        ([], "unreachable"),
        (page("f1 0.75\n", "204 No Content"), "missing"),
        (page("<!doctype html><title>Sign in</title>", content_type="text/html"), "unparseable"),
    ],
)
def test_bodies_on_the_wire(answer: list[bytes], expected: object) -> None:
    """A body that is cut off, wrongly packed or no HTTP at all is never half read."""
    with serving(lambda _: answer) as url:
        assert f1(url, retries=0) == expected


def test_a_login_page_is_called_that() -> None:
    """HTML with status 200 is what a proxy shows to someone who is not logged in."""
    with serving(lambda _: page("<!doctype html><title>Sign in</title>")) as url:
        assert "is an HTML page, Sign in (a login page?" in sentence(url)


# ---------------------------------------------------------------- attempts


def test_nobody_listens() -> None:
    """A refused connection is told with its place and cause."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert sentence(f"http://127.0.0.1:{port}/m", retries=1) == (
        f"http://127.0.0.1:{port}/m cannot be reached: Connection refused (is it running, and is monitoring.url right?)"
    )


def test_an_endpoint_that_is_gone() -> None:
    """An endpoint that cannot be reached is told for every query, after the attempts for one."""
    asked: list[Request] = []

    def hang_up(request: Request) -> list[bytes]:
        asked.append(request)
        return []

    with serving(hang_up) as url:
        snapshot = fetch(monitoring(url, retries=1, type=MonitorType.PROMETHEUS, drift="d"), NO_SECRETS, NOW)
    assert why(snapshot.f1).startswith(f"{url}/api/v1/query cannot be reached: ")
    assert snapshot.drift == snapshot.f1
    assert len(asked) == 2


@pytest.mark.parametrize("status", ["429 Too Many Requests", "500 Oops", "502 Bad Gateway", "503 Busy", "504 Late"])
def test_a_passing_trouble(status: str) -> None:
    """An overloaded server is asked again."""
    respond, asked = in_turn(page("busy", status), GOOD)
    with serving(respond) as url:
        assert f1(url) == 0.75
    assert len(asked) == 2


def test_a_connection_that_breaks_once() -> None:
    """A server that hangs up is asked again."""
    respond, asked = in_turn([], [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nf1 0"], GOOD)
    with serving(respond) as url:
        assert f1(url) == 0.75
    assert len(asked) == 3


@pytest.mark.parametrize("body", ['{"message": "out of  memory\\n"}', '{"error": {"message": "out of memory"}}'])
def test_a_lasting_trouble(body: str) -> None:
    """`retries` attempts are made after the first, and the last answer is told, by the message of its error."""
    respond, asked = in_turn(page(body, "500 Oops"))
    with serving(respond) as url:
        assert sentence(url, retries=1) == f"{url} answered 500: out of memory"
    assert len(asked) == 2


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "304 Not Modified"])
def test_a_refusal_is_not_asked_again(status: str) -> None:
    """What a second attempt cannot mend is told at once."""
    respond, asked = in_turn(page("", status))
    with serving(respond) as url:
        assert sentence(url).startswith(f"{url} answered {status[:3]}")
    assert len(asked) == 1


def in_seconds(seconds: int) -> str:
    """An HTTP date."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(("wait", "least"), [("1", 1), (3, 1), (-5, 0), ("soon", 0), ("-1", 0)])
def test_a_short_wait_that_was_asked_for(wait: str | int, least: float) -> None:
    """Retry-After, in seconds or as a date, is waited for where the deadline allows; nonsense is not obeyed."""
    after = in_seconds(wait) if isinstance(wait, int) else wait
    respond, asked = in_turn(page("busy", "503 Busy", retry_after=after), GOOD)
    with serving(respond) as url:
        started = time.monotonic()
        assert f1(url) == 0.75
        assert time.monotonic() - started >= least
    assert len(asked) == 2


@pytest.mark.parametrize("wait", ["3600", 3600])
def test_a_long_wait_that_was_asked_for(wait: str | int) -> None:
    """A wait beyond the deadline is not begun: the trouble is told at once."""
    after = in_seconds(wait) if isinstance(wait, int) else wait
    respond, asked = in_turn(page("busy", "503 Busy", retry_after=after), GOOD)
    with serving(respond) as url:
        started = time.monotonic()
        told = sentence(url, seconds=120)
        assert time.monotonic() - started < 60
    assert "answered 503, asks to wait 3" in told
    assert len(asked) == 1


# ---------------------------------------------------------------- redirects


def test_a_redirect_to_another_origin_loses_the_headers() -> None:
    """Headers and credentials are for the configured host and port alone, whatever it redirects to."""
    there, seen_there = in_turn(GOOD)
    with serving(there) as other:
        here, seen_here = in_turn(page("", "302 Found", location=other.replace("127.0.0.1", "localhost") + "/m"))
        with serving(here) as url:
            asked = monitoring(url.replace("//", "//user:word@"), headers={"X-Marker": "secret", "Cookie": "a=b"})
            assert fetch(asked, NO_SECRETS, NOW).f1 == 0.75
    sent = seen_here[0].headers
    assert (sent["x-marker"], sent["cookie"]) == ("secret", "a=b")
    assert sent["authorization"] == f"Basic {base64.b64encode(b'user:word').decode()}"
    assert not {"x-marker", "cookie", "authorization"} & set(seen_there[0].headers)


def test_a_redirect_to_the_same_origin_keeps_the_headers() -> None:
    """A path that moved is still the configured server."""
    respond, asked = in_turn(page("", "307 Temporary Redirect", location="/metrics"), GOOD)
    with serving(respond) as url:
        assert f1(url, headers={"X-Marker": "secret"}) == 0.75
    assert (asked[1].path, asked[1].headers["x-marker"]) == ("/metrics", "secret")


@pytest.mark.parametrize(
    ("location", "kind", "part"),
    [
        ("file:///etc/hostname", "status", "redirects to file:///etc/hostname, which is not followed"),
        ("ftp://127.0.0.1/", "status", "which is not followed"),
        ("/again", "status", "redirects more than 5 times"),
        ("http://[bad/", "unreachable", "address of a redirect is not valid"),
        ("http://127.0.0.1:99999/", "unreachable", "not valid"),
        ("http://127.0.0.1:port/", "unreachable", "not valid"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"X-Token": "secret"}])
def test_a_redirect_that_is_not_followed(location: str, kind: str, part: str, headers: dict[str, str]) -> None:
    """A redirect never reads a file, does not go round for ever, and ends no check, whatever it is asked with."""
    with serving(lambda _: page("", "302 Found", location=location)) as url:
        value = fetch(monitoring(url, headers=headers), NO_SECRETS, NOW).f1
    assert worth(value) == kind
    assert part in why(value)


# ---------------------------------------------------------------- files


def test_files(tmp_path: Path) -> None:
    """A file URL reads a regular file below the cap; nothing else can make it wait."""
    (tmp_path / "a b").write_text("f1 0.75\n")
    os.mkfifo(tmp_path / "fifo")
    base = tmp_path.as_uri()
    assert f1(f"{base}/a%20b") == 0.75
    assert f1(f"{base}/a%20b", max_body=7) == "too_large"
    assert sentence(f"{base}/fifo") == f"{base}/fifo cannot be read: not a regular file (check monitoring.url)"
    assert sentence(f"{base}/none") == f"{base}/none cannot be read: No such file or directory (check monitoring.url)"
    assert sentence(base) == f"{base} cannot be read: Is a directory (check monitoring.url)"
    assert f1(f"{base}/a%00b") == "unreachable"


# ---------------------------------------------------------------- TLS


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that nobody vouches for is refused with the remedy, and ca_file is that remedy."""
    trusted, context = certificate(tmp_path)
    with serving(lambda _: GOOD, context) as url:
        told = sentence(url, retries=0)
        assert "certificate (set monitoring.ca_file to" in told
        assert f1(url, ca_file=trusted) == 0.75
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none"))
        assert f1(url, ca_file=trusted) == 0.75
        assert "none.pem" in sentence(url, retries=0, ca_file=tmp_path / "none.pem")
        (tmp_path / "empty.pem").write_text("no certificate\n")
        assert "check monitoring.url and monitoring.ca_file" in sentence(url, retries=0, ca_file=tmp_path / "empty.pem")
        elsewhere = url.replace("127.0.0.1", "localhost")
        assert "mismatch" in sentence(elsewhere, retries=0, ca_file=trusted)


# ---------------------------------------------------------------- secrets


SECRETIVE = """
triggers: {performance_threshold: 0.8}
monitoring:
  url: URL
  f1: f1
  retries: 0
  timeout: 5s
  headers: {X-Token: "Bearer marker-header"}
"""


def echo(status: str, kind: str) -> Respond:
    """A server that repeats all that it was sent, in every form, as its answer."""

    def respond(request: Request) -> list[bytes]:
        spelt = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        said = f"{request.path} {dict(request.headers)} {spelt} marker/query " * 40
        if kind == "redirect":
            return page("", status, location=f"file:///{spelt}")
        return page(said, status)

    return respond


@pytest.mark.parametrize(
    "respond",
    [
        echo("200 OK", "text"),
        echo("500 Oops", "text"),
        echo("302 Found", "redirect"),
        lambda _: [],
        lambda _: [b"marker-header marker-user marker/word\r\n\r\n"],
    ],
    ids=["200", "500", "redirect", "hangs up", "no http"],
)
def test_no_secret_is_told(tmp_path: Path, respond: Respond) -> None:
    """No part of the URL's credentials or query, and no header, is in a sentence, even if the server repeats it."""
    with serving(respond) as url:
        secret = url.replace("//", "//marker-user:marker%2Fword@") + "/m?key=marker%2Fquery#marker-fragment"
        (tmp_path / "config.yaml").write_text(SECRETIVE.replace("URL", secret))
        config, secrets = load(tmp_path / "config.yaml", {})
        assert config.monitoring is not None
        told = why(fetch(config.monitoring, secrets, NOW).f1)
    assert "marker" not in told
    assert base64.b64encode(b"marker-user:marker/word").decode() not in told
    assert told.startswith(f"{url}/m ")


@pytest.mark.parametrize("header", ["marker-header\n", "marker-\N{SNOWMAN}", " marker-header"])
def test_a_header_that_cannot_be_sent(header: str) -> None:
    """A token with a line end is told without the token."""
    with serving(lambda _: GOOD) as url:
        snapshot = fetch(monitoring(url, retries=0, headers={"X-Token": header}), NO_SECRETS, NOW)
    if isinstance(snapshot.f1, Unknown):
        assert "a header" in snapshot.f1.why
        assert "marker" not in snapshot.f1.why


def test_the_netrc_of_the_user_is_not_read(tmp_path: Path) -> None:
    """What is configured is sent, and nothing that lies in the home directory."""
    netrc = Path(os.environ["HOME"]) / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    respond, asked = in_turn(GOOD)
    with serving(respond) as url:
        assert f1(url, headers={"Authorization": "Bearer token"}) == 0.75
    assert asked[0].headers["authorization"] == "Bearer token"


def test_snapshot_of_nothing() -> None:
    """Without a query every field stays None."""
    with serving(lambda _: GOOD) as url:
        snapshot = fetch(Monitoring(url), NO_SECRETS, NOW)
    assert snapshot == Snapshot(snapshot.fetched_at)


def test_a_page_of_many_titles_does_not_hold_the_check() -> None:
    """The title of an error page is looked for in one pass: no thread, not even the deadline's, runs meanwhile."""
    with serving(lambda _: page("<html>" + "<title>" * 9000, "503 Busy")) as url:
        assert sentence(url, retries=0) == f"{url} answered 503: an HTML page"


def test_digits_that_no_prometheus_writes() -> None:
    """Python reads 1_0 as ten; an endpoint that says so has said no number."""
    body = '{"status": "success", "data": {"resultType": "scalar", "result": [1, "1_0e-2"]}}'
    with serving(lambda _: page(body)) as url:
        assert f1(url, type=MonitorType.PROMETHEUS) == "not_a_number"
