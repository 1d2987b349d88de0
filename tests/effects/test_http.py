"""What stands between retrain and a URL: proxies, as the environment names them."""

import base64
from datetime import timedelta

import pytest

from retrain.core.records import Unknown
from retrain.effects import http
from tests.effects.servers import Request, page, serving


def get(url: str) -> bytes | Unknown:
    """What the URL answers."""
    bounds = http.Bounds(timedelta(seconds=15), headers={"X-Token": "secret"})
    answers: list[bytes | Unknown] = []
    http.exchange(url, bounds, lambda client: answers.append(client.get(url)))
    return answers[0]


@pytest.mark.parametrize(
    ("variables", "is_used"),
    [
        ({}, False),
        ({"http_proxy": "{proxy}"}, True),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "elsewhere.example"}, True),
        ({"all_proxy": "{proxy}"}, True),
        ({"https_proxy": "{proxy}"}, False),
        ({"http_proxy": "{proxy}", "no_proxy": "127.0.0.1"}, False),
        ({"http_proxy": "{proxy}", "no_proxy": "10.0.0.0/8, 127.0.0.0/8"}, False),
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

    with serving(between) as proxy, serving(lambda _: page("directly")) as url:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(proxy=proxy.replace("//", "//user:word@")))
        assert get(f"{url}/m?a=b") == (b"from the proxy" if is_used else b"directly")
    if is_used:
        assert asked[0].path == f"{url}/m?a=b"
        assert asked[0].headers["proxy-authorization"] == f"Basic {base64.b64encode(b'user:word').decode()}"
        assert asked[0].headers["x-token"] == "secret"


def test_a_header_is_sent_once_in_whatever_case_it_is_configured() -> None:
    """The configured one replaces ours."""
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return page("good")

    with serving(respond) as url:
        bounds = http.Bounds(timedelta(seconds=15), headers={"accept": "application/json", "USER-AGENT": "mine"})
        http.exchange(url, bounds, lambda client: client.get(url))
    assert (asked[0].headers["accept"], asked[0].headers["user-agent"]) == ("application/json", "mine")
