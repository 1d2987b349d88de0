"""What stands between retrain and a URL: proxies, as the environment names them."""

import base64
import socket
import ssl
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread

import pytest
from msgspec.structs import replace

from retrain.config.schema import Monitoring
from retrain.core.records import Trouble, Unknown
from retrain.effects import http
from tests.effects.servers import Request, certificate, frozen_server, page, serving


def get(url: str, seconds: float = 15) -> bytes | Unknown:
    """What the URL answers."""
    asked = Monitoring(url, timeout=timedelta(seconds=seconds), retries=0, headers={"X-Token": "secret"})
    return answer_to(asked)


def answer_to(asked: Monitoring) -> bytes | Unknown:
    """What its URL answers."""
    answers: list[bytes | Unknown] = []
    http.exchange(asked, lambda client: answers.append(client.get(asked.address)))
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


HERE = ["127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0", "127.1", "2130706433", "[::ffff:127.0.0.1]"]  # noqa: S104
"""What is this machine for every resolver, and where a server on 127.0.0.1 answers."""


@pytest.mark.parametrize("host", HERE)
def test_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A proxy would get the token, and answer for its own loopback."""
    with serving(lambda _: page("from the proxy")) as proxy, serving(lambda _: page("directly")) as url:
        monkeypatch.setenv("http_proxy", proxy)
        assert get(url.replace("127.0.0.1", host)) == b"directly"


@pytest.mark.parametrize(
    "host", ["[::1]", "[::]", "127.9.9.9", "localhost.localdomain", "ip6-localhost", "a.localhost", "the file's"]
)
def test_no_name_of_this_machine_is_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Nothing may answer there, or the name lead nowhere; those of /etc/hosts count as well."""
    entries = (line.partition("#")[0].split() for line in Path("/etc/hosts").read_text().splitlines())
    names = (
        [host]
        if host != "the file's"
        else [name for at, *own in filter(None, entries) if at == "127.0.0.1" for name in own]
    )
    with serving(lambda _: page("from the proxy")) as proxy, serving(lambda _: page("directly")) as url:
        monkeypatch.setenv("http_proxy", proxy)
        for name in names:
            assert get(url.replace("127.0.0.1", name)) != b"from the proxy"


@pytest.mark.parametrize(
    ("host", "entries", "is_used"),
    [
        ("192.0.2.1", "bad/entry, 192.0.2.0/24", False),
        ("192.0.2.1", "198.51.100.0/24:9 192.0.2.0/24:9", False),
        ("192.0.2.1", "192.0.2.0/24:8", True),
        ("192.0.2.1", "192.0.2.2,2001:db8::/32,", True),
        ("[2001:db8::1]", "2001:DB8::1", False),
        ("[2001:db8::1]", "[2001:db8::1]", False),
        ("[2001:db8::1]", "[2001:db8::1]:9", False),
        ("[2001:db8::1]", "[2001:db8::1]:8", True),
        ("[2001:db8::1]", "2001:db8::/32", False),
        ("m.corp.invalid.", "corp.invalid", False),
        ("m.corp.invalid", "corp.invalid.", False),
        ("m.corp.invalid", "*.corp.invalid", False),
        ("m.corp.invalid", "m.corp.invalid:9", False),
        ("m.corp.invalid", "*.other.invalid,orp.invalid", True),
    ],
)
def test_no_proxy_is_read_entry_by_entry(
    monkeypatch: pytest.MonkeyPatch, host: str, entries: str, is_used: bool
) -> None:
    """Addresses, networks and domains, each with a port or without; an entry that is none spoils no other."""
    with serving(lambda _: page("from the proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", entries)
        assert (get(f"http://{host}:9/m", seconds=15 if is_used else 1) == b"from the proxy") is is_used


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5://127.0.0.1:9", "names the proxy socks5://127.0.0.1:9, and only http and https proxies can be used"),
        ("http://127.0.0.1:port", "a proxy whose address is no URL"),
        ("http://", "a proxy whose address is no URL"),
        ("http://user:12/word@127.0.0.1:9", "a proxy whose address is no URL"),
        ("socks5://user:12?word@127.0.0.1:9", "a proxy whose address is no URL"),
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


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("status", ["403 drow", "407 drow"])
def test_a_proxy_that_refuses_its_user_is_not_quoted(monkeypatch: pytest.MonkeyPatch, scheme: str, status: str) -> None:
    """Body and reason may repeat the password, in whatever spelling, also where nothing else is sent."""
    with serving(lambda _: page("your drow is wrong", status)) as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.replace("//", "//user:word@"))
        answer = answer_to(Monitoring(f"{scheme}://monitor.example/m", retries=0))
    assert isinstance(answer, Unknown) and f"answered {status[:3]}" in answer.why and "drow" not in answer.why


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint may be well."""
    with frozen_server() as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        answer = get("http://monitor.example/m", seconds=0.5)
    assert isinstance(answer, Unknown)
    assert answer.why == f"asked through the proxy {proxy}, did not answer within 0.5 s"


@pytest.mark.parametrize(
    ("headers", "written"),
    [
        ("Last-Modified: Wed, 25 Nov 2026 10:00:00 GMT", datetime(2026, 11, 25, 10, tzinfo=UTC)),
        ("Last-Modified: Wed, 25 Nov 2026 10:00:00 GMT\r\nAge: 60", datetime(2026, 11, 25, 10, tzinfo=UTC)),
        ("Last-Modified: Wed Nov 25 10:00:00 2026", datetime(2026, 11, 25, 10, tzinfo=UTC)),
        ("Last-Modified: 2026-11-25T10:00:00Z", datetime(2026, 11, 25, 10, tzinfo=UTC)),
        ("Last-Modified: yesterday", None),
        ("Last-Modified: Wed, 25 Nov 99999 10:00:00 GMT", None),
        ("Age: -5", None),
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


@pytest.mark.parametrize(
    ("age", "days"), [("2592000, 2592000", 30), ("00002592000", 30), ("99999999999999", 11574), ("9" * 5000, 11574)]
)
def test_every_age_is_read(age: str, days: int) -> None:
    """Two caches may say it, and one that counts wrong says more than a calendar holds: it is old, not new."""
    found: list[datetime | None] = []

    def work(client: http.Client) -> None:
        client.get(url)
        found.append(client.written_at)

    with serving(lambda _: page("ok", age=age)) as url:
        http.exchange(Monitoring(url), work)
    assert found[0] is not None and (datetime.now(UTC) - found[0]).days == days


@pytest.mark.parametrize("apart", [timedelta(), timedelta(hours=2), timedelta(hours=-1)])
@pytest.mark.parametrize("modified", ["", "\r\nLast-Modified: soon", "\r\nLast-Modified: {hour}"])
def test_what_a_cache_kept_is_as_old_as_it_says(apart: timedelta, modified: str) -> None:
    """Its age counts from now, whatever Date it kept or its clock says, and a later change of the file is none."""
    found: list[datetime | None] = []

    def work(client: http.Client) -> None:
        client.get(url)
        found.append(client.written_at)

    now = datetime.now(UTC)
    date, hour = (format_datetime(at, usegmt=True) for at in (now - apart, now - timedelta(hours=1)))
    headers = f"Date: {date}\r\nAge: 7200" + modified.format(hour=hour)
    with serving(lambda _: [f"HTTP/1.1 200 OK\r\n{headers}\r\nContent-Length: 2\r\n\r\nok".encode()]) as url:
        http.exchange(Monitoring(url), work)
    (written,) = found
    assert written is not None and timedelta() <= written - (now - timedelta(hours=2)) < timedelta(minutes=2)


def test_a_part_of_an_answer_is_none() -> None:
    """HTTP 206 is what a cut-off answer says of itself."""
    with serving(lambda _: page("half", "206 Partial Content")) as url:
        answer = get(url)
    assert isinstance(answer, Unknown) and answer.kind == Trouble.INCOMPLETE


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "407 Proxy Authentication Required"])
def test_who_refuses_a_token_is_not_quoted(status: str) -> None:
    """The body may repeat the token, in whatever spelling, and so may the reason; without one it is quoted."""
    with serving(lambda _: page("your terces is wrong", f"{status} of terces")) as url:
        by_header, by_query = Monitoring(url, headers={"X-Token": "secret"}), Monitoring(f"{url}/?token=secret")
        for asked, identified in ((by_header, True), (by_query, True), (Monitoring(url), False)):
            answer = answer_to(asked)
            assert isinstance(answer, Unknown) and ("terces" in answer.why) is not identified
            assert f"answered {status[:3]}: {status[4:] if identified else 'your terces is wrong'}" in answer.why


def test_a_header_is_sent_once_in_whatever_case_it_is_configured() -> None:
    """The configured one replaces ours."""
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return page("good")

    with serving(respond) as url:
        assert answer_to(Monitoring(url, headers={"accept": "application/json", "USER-AGENT": "mine"})) == b"good"
    assert (asked[0].headers["accept"], asked[0].headers["user-agent"]) == ("application/json", "mine")


def test_a_server_that_asks_for_a_client_certificate(tmp_path: Path) -> None:
    """Without one, and with another than it trusts, the cause is that; with the right one it answers."""
    trusted, context = certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(trusted)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # later, a server may refuse after the first request is sent
    (tmp_path / "other").mkdir()
    other, _ = certificate(tmp_path / "other")
    with serving(lambda _: page("good"), context) as url:
        asked = Monitoring(url, retries=0, ca_file=trusted)
        assert answer_to(replace(asked, cert_file=trusted, key_file=tmp_path / "key.pem")) == b"good"
        for pair in ({}, {"cert_file": other, "key_file": tmp_path / "other/key.pem"}):
            refused = answer_to(replace(asked, **pair))
            assert isinstance(refused, Unknown)
            assert "TLS: the server asks for a client certificate, or for another one" in refused.why
            assert refused.remedy == "set monitoring.cert_file and monitoring.key_file to one that it accepts"


def test_a_redirect_to_another_origin_is_shown_no_client_certificate(tmp_path: Path) -> None:
    """As it gets none of the headers; the same host and port is shown it again."""
    trusted, context = certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(trusted)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(lambda _: page("good"), context) as other:

        def respond(request: Request) -> list[bytes]:
            to = {"/there": other, "/here": "/m"}.get(request.path)
            return page("", "302 Found", location=to) if to else page("good")

        with serving(respond, context) as url:
            asked = Monitoring(url, retries=0, ca_file=trusted, cert_file=trusted, key_file=tmp_path / "key.pem")
            assert answer_to(replace(asked, url=f"{url}/here")) == b"good"
            refused = answer_to(replace(asked, url=f"{url}/there"))
    assert isinstance(refused, Unknown)
    assert f"redirects to {other} without the configured client certificate, which cannot be reached" in refused.why


@pytest.mark.parametrize("key", ["other/key.pem", "locked.pem", None])
def test_a_client_certificate_that_cannot_be_used(tmp_path: Path, key: str | None) -> None:
    """Its key is missing, is that of another, or has a password, which is asked for nowhere."""
    (tmp_path / "other").mkdir()
    certificate(tmp_path / "other")
    trusted, context = certificate(tmp_path)
    words = f"pkey -in {tmp_path}/key.pem -out {tmp_path}/locked.pem -aes128 -passout pass:word".split()
    subprocess.run(["openssl", *words], check=True, capture_output=True)  # noqa: S607
    with serving(lambda _: page("good"), context) as url:
        pair = {"cert_file": trusted, "key_file": tmp_path / key if key is not None else None}
        answer = answer_to(replace(Monitoring(url, retries=0, ca_file=trusted), **pair))
    assert isinstance(answer, Unknown)
    assert "the client certificate and its key do not fit" in answer.why
    assert answer.remedy == "check monitoring.cert_file and monitoring.key_file"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize(("text", "said"), [(None, "cannot be read: No such file"), ("junk", "holds no certificate")])
def test_a_bundle_of_the_environment_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str | None, said: str
) -> None:
    """The variable and its file are named, for no key of the configuration is to blame."""
    bundle = tmp_path / "bundle.pem"
    if text is not None:
        bundle.write_text(text)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(variable, str(bundle))
    answer = answer_to(Monitoring("https://127.0.0.1:9/m", retries=0))
    assert isinstance(answer, Unknown) and answer.remedy == f"correct {variable}, or set monitoring.ca_file"
    assert f"TLS: {bundle}, which the variable {variable} names, {said}" in answer.why


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_of_the_environment_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Where no monitoring.ca_file is configured; without the variable nobody vouches for the certificate."""
    for each in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
    trusted, context = certificate(tmp_path)
    with serving(lambda _: page("good"), context) as url:
        asked = Monitoring(f"{url}/m", retries=0)
        refused = answer_to(asked)
        monkeypatch.setenv(variable, str(trusted))
        assert answer_to(asked) == b"good"
    assert isinstance(refused, Unknown) and "certificate" in refused.why


def test_a_directory_is_no_file_of_certificates(tmp_path: Path) -> None:
    """The sentence says so, for it is there."""
    answer = answer_to(Monitoring("https://127.0.0.1:9/m", retries=0, ca_file=tmp_path))
    assert isinstance(answer, Unknown) and f"TLS: {tmp_path} is not a file" in answer.why


@pytest.mark.parametrize("reads", [True, False])
def test_a_connection_that_is_ended_is_one_cause(reads: bool) -> None:
    """Whether the server had read the question decides what the kernel says: it is no other incident."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def end() -> None:
            connection = listener.accept()[0]
            if reads:
                connection.recv(65536)
            else:  # sends a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        Thread(target=end, daemon=True).start()
        answer = get(f"http://127.0.0.1:{listener.getsockname()[1]}/m")
    assert isinstance(answer, Unknown)
    assert answer.why == "cannot be reached: it ended the connection before its answer was complete"
