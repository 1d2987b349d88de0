"""A dead-man's-switch that misbehaves cannot hold or fail a check."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from retrain.config.schema import Config, Heartbeat, Notifications, Style
from retrain.effects import heartbeat
from tests.effects.servers import Request, Respond, certificate, drip, page, serving

RUN = "0123456789abcdef" * 2


def configured(url: str, style: Style = Style.PLAIN) -> Config:
    return Config(notifications=Notifications(Heartbeat(url, style)), state=Path("state"))


def recorded(asked: list[Request]) -> Respond:
    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return page("OK")

    return respond


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
        assert heartbeat.end(configured(f"{url}/here"), RUN, 0, "healthy") == ""
    assert asked == ["/here", "/there"]


def test_an_answer_that_drips_does_not_hold_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for the whole ping, not for each byte of it."""
    monkeypatch.setattr(heartbeat, "SECONDS", 1)

    def respond(request: Request) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n"
        yield from drip(itertools.repeat(b"X"), request, 0.2)

    with serving(respond) as url:
        began = time.monotonic()
        assert "did not answer within 1 s" in (heartbeat.end(configured(url), RUN, 0, "healthy") or "")
    assert time.monotonic() - began < heartbeat.SECONDS + 30


def test_healthchecks_gets_the_start_and_the_exit_code_of_a_run() -> None:
    """The end has the same run id as the start, a UUID in canonical form, and the message as its body."""
    asked: list[Request] = []
    with serving(recorded(asked)) as url:
        config = configured(f"{url}/key/slug?create=1", Style.HEALTHCHECKS)
        heartbeat.start(config, RUN)
        assert heartbeat.end(config, RUN, 4, "no decision: F1 is unknown") == ""
        assert heartbeat.attempt(config, RUN) == ""
    assert [(each.method, urlsplit(each.path).path) for each in asked] == [
        ("POST", "/key/slug/start"),
        ("POST", "/key/slug/4"),
        ("POST", "/key/slug/log"),
    ]
    queries = [parse_qs(urlsplit(each.path).query) for each in asked]
    assert all(query == queries[0] for query in queries)
    assert queries[0]["create"] == ["1"]
    assert str(UUID(queries[0]["rid"][0])) == queries[0]["rid"][0]
    assert asked[1].body == b"no decision: F1 is unknown"


def test_kuma_gets_up_or_down_and_the_message() -> None:
    """The URL that Uptime Kuma shows has status, msg and ping already; the first two are replaced."""
    asked: list[Request] = []
    with serving(recorded(asked)) as url:
        config = configured(f"{url}/api/push/token?status=up&msg=OK&ping=", Style.KUMA)
        heartbeat.start(config, RUN)
        assert heartbeat.end(config, RUN, 0, "healthy: F1 & drift") == ""
        assert heartbeat.end(config, RUN, 1, "training failed") == ""
    assert [(each.method, parse_qs(urlsplit(each.path).query)) for each in asked] == [
        ("GET", {"status": ["up"], "msg": ["healthy: F1 & drift"]}),
        ("GET", {"status": ["down"], "msg": ["training failed"]}),
    ]


def test_a_plain_switch_hears_nothing_of_a_failure() -> None:
    """Its only alarm is silence; that no ping was due is not an answer."""
    asked: list[Request] = []
    with serving(recorded(asked)) as url:
        for code in (1, 4, 75, 143):
            assert heartbeat.end(configured(url), RUN, code, "failed") is None
    assert asked == []


def test_what_a_switch_complains_of_is_quoted_without_the_url() -> None:
    """Whoever knows it can ping."""
    with serving(lambda _request: page('{"ok": false, "msg": "Monitor not found"}', "404 Not Found")) as url:
        problem = heartbeat.end(configured(f"{url}/api/push/token", Style.KUMA), RUN, 0, "healthy")
    assert problem == "the heartbeat answered 404: Monitor not found (check notifications.heartbeat)"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_the_environment_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """As by the question to the monitor; a switch with a certificate of an unknown authority is refused."""
    for each in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
    asked: list[Request] = []
    trusted, context = certificate(tmp_path)
    with serving(recorded(asked), context) as url:
        refused = heartbeat.end(configured(url), RUN, 0, "healthy")
        assert refused is not None and asked == []
        assert refused.startswith("the heartbeat cannot be reached: ") and "certificate" in refused
        assert refused.endswith(" (check notifications.heartbeat)")
        monkeypatch.setenv(variable, str(trusted))
        assert heartbeat.end(configured(url), RUN, 0, "healthy") == ""
    assert len(asked) == 1
