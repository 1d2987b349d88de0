"""What stands between retrain and a URL: proxies, as the environment names them."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from retrain.config.schema import Monitoring
from retrain.core.records import Trouble, Unknown
from retrain.effects import http
from tests.effects.servers import Request, page, serving


def get(url: str, seconds: float = 15) -> bytes | Unknown:
    """What the URL answers."""
    asked = Monitoring(url, timeout=timedelta(seconds=seconds), retries=0, headers={"X-Token": "secret"})
    return answer_to(asked)


def answer_to(asked: Monitoring) -> bytes | Unknown:
    """What its URL answers."""
    answers: list[bytes | Unknown] = []
    http.exchange(asked, lambda client: answers.append(client.get(asked.url)))
    return answers[0] if answers else http.late(asked)


@pytest.mark.parametrize(
    ("variables", "is_used"),
    [
        ({}, False),
        ({"http_proxy": "{proxy}"}, True),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "elsewhere.example"}, True),
        ({"all_proxy": "{proxy}"}, True),
        ({"https_proxy": "{proxy}"}, False),
        ({"http_proxy": "{proxy}", "no_proxy": "192.0.2.1"}, False),
        ({"http_proxy": "{proxy}", "no_proxy": "10.0.0.0/8, 192.0.2.0/24"}, False),
        ({"http_proxy": "{proxy}", "no_proxy": "10.0.0.0/8"}, True),
        ({"http_proxy": "{proxy}", "no_proxy": "*"}, False),
    ],
)
def test_a_proxy_is_used_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_used: bool
) -> None:
    """As curl reads it, also where it names networks that need none."""
    asked: list[Request] = []

    def between(request: Request) -> list[bytes]:
        asked.append(request)
        return page("from the proxy")

    url = "http://192.0.2.1/m?a=b"  # an address for documentation, which nobody has
    with serving(between) as proxy:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(proxy=proxy.replace("//", "//user:word@")))
        assert (get(url, seconds=15 if is_used else 1) == b"from the proxy") is is_used
    if is_used:
        assert asked[0].path == url
        assert asked[0].headers["proxy-authorization"] == f"Basic {base64.b64encode(b'user:word').decode()}"
        assert asked[0].headers["x-token"] == "secret"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A proxy would get the token, and answer for its own loopback."""
    with serving(lambda _: page("from the proxy")) as proxy, serving(lambda _: page("directly")) as url:
        monkeypatch.setenv("http_proxy", proxy)
        assert get(url.replace("127.0.0.1", host)) == b"directly"


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://127.0.0.1:9", "names the proxy socks5://127.0.0.1:9, and only http and https proxies can be used"),
        ("http://127.0.0.1:port", "a proxy whose address is no URL"),
        ("http://", "a proxy whose address is no URL"),
        ("http://user:word@127.0.0.1:9", "asked through the proxy http://127.0.0.1:9, cannot be reached: "),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, said: str) -> None:
    """The endpoint is not to blame; the password of the proxy is not shown."""
    monkeypatch.setenv("http_proxy", proxy)
    answer = get("http://monitor.example/m")
    assert isinstance(answer, Unknown) and said in answer.why and "word" not in answer.message


def test_the_refusal_of_a_proxy_is_the_refusal_of_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message about a request that went through a proxy names it."""
    with serving(lambda _: page("no", "403 Forbidden")) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        answer = get("http://monitor.example/m")
    assert isinstance(answer, Unknown) and f"through the proxy {proxy}" in answer.why and "403" in answer.why


@pytest.mark.parametrize(
    ("headers", "written"),
    [
        ("Last-Modified: Wed, 25 Nov 2026 10:00:00 GMT", datetime(2026, 11, 25, 10, tzinfo=UTC)),
        ("Date: Wed, 25 Nov 2026 10:00:00 GMT\r\nAge: 3600", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("Last-Modified: yesterday", None),
        ("Age: old", None),
        ("X-Nothing: 1", None),
    ],
)
def test_an_answer_says_when_it_was_written(headers: str, written: datetime | None) -> None:
    """A cache, or a file that is served, may be old although it is fetched now."""
    found: list[datetime | None] = []

    def work(client: http.Client) -> None:
        assert client.get(url) == b"ok"
        found.append(client.written_at)

    with serving(lambda _: [f"HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: 2\r\n\r\nok".encode()]) as url:
        http.exchange(Monitoring(url), work)
    assert found == [written]


def test_a_part_of_an_answer_is_none() -> None:
    """HTTP 206 is what a cut-off answer says of itself."""
    with serving(lambda _: page("half", "206 Partial Content")) as url:
        answer = get(url)
    assert isinstance(answer, Unknown) and answer.kind == Trouble.INCOMPLETE


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "407 Proxy Authentication Required"])
def test_who_refuses_a_token_is_not_quoted(status: str) -> None:
    """The body may repeat the token, in whatever spelling; without one it is quoted."""
    with serving(lambda _: page("your terces is wrong", status)) as url:
        by_header, by_query = Monitoring(url, headers={"X-Token": "secret"}), Monitoring(f"{url}/?token=secret")
        for asked, identified in ((by_header, True), (by_query, True), (Monitoring(url), False)):
            answer = answer_to(asked)
            assert isinstance(answer, Unknown) and ("terces" in answer.why) is not identified


def test_a_header_is_sent_once_in_whatever_case_it_is_configured() -> None:
    """The configured one replaces ours."""
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return page("good")

    with serving(respond) as url:
        assert answer_to(Monitoring(url, headers={"accept": "application/json", "USER-AGENT": "mine"})) == b"good"
    assert (asked[0].headers["accept"], asked[0].headers["user-agent"]) == ("application/json", "mine")
