"""What a URL answers, read within bounds: one deadline for all attempts, so many bytes, headers for one origin alone.

urllib3 does it. requests, which is built on it, would read the body of every redirect and obey ~/.netrc, and it takes
longer to import than the question takes.
"""

import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from msgspec import Struct, field
from msgspec.structs import replace

from retrain.config.secrets import basic, credentials
from retrain.core.records import Trouble, Unknown
from retrain.effects.files import opened

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_HEADERS = {"User-Agent": "retrain", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
_REDIRECTS = 5
_REPEATED = (429, 500, 502, 503, 504)
_BACKOFF = 0.2
_PIECE = 65536
_LONGEST_COMPLAINT = 65536
_LONGEST_WAIT = 86400.0
_SLACK = 0.1
"""A socket gives up this much after the deadline, so that giving up is always reported as the deadline."""
_REMEDIES = {401: "check monitoring.headers", 403: "check monitoring.headers", 404: "check monitoring.url"}


class Bounds(Struct, frozen=True):
    """What is sent, and what may be taken: time for all attempts together, bytes of a body, repeated attempts."""

    timeout: timedelta
    max_body: int = 65536
    retries: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None


class _Failure(Struct, frozen=True):
    """Why an attempt failed, and the seconds before another may be made (None: it would fail, too)."""

    why: Unknown
    wait: float | None = None


def exchange(url: str, bounds: Bounds, work: Callable[["Client"], object]) -> None:
    """Let the work ask a client about this URL and those below it; return when it has ended or the time is over.

    Late work is left behind in a daemon thread: the timeout of a socket starts anew with every byte, and a look-up of
    a name has none. An error of the work is raised here.
    """
    if urlsplit(url).scheme != "file":
        import urllib3  # noqa: F401  (before the time begins to run)
    deadline = time.monotonic() + bounds.timeout.total_seconds()
    errors: list[BaseException] = []

    def run() -> None:
        client = Client(bounds, deadline)
        try:
            work(client)
        except BaseException as error:
            errors.append(error)
        finally:
            client.close()

    thread = Thread(target=run, name="http", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]


class Client:
    """Reads what URLs answer. In an Unknown the cause is what is said of the URL: `answered 404: no such page`.

    `headers` are those of the latest answer.
    """

    def __init__(self, bounds: Bounds, deadline: float) -> None:
        self._bounds, self._deadline = bounds, deadline
        self._pools: dict[str | None, PoolManager] = {}
        self.headers: Mapping[str, str] = {}

    def close(self) -> None:
        """Close the connections that were kept for the next question."""
        for pool in self._pools.values():
            pool.clear()

    def get(self, url: str) -> bytes | Unknown:
        """The decoded body that the URL answers with, after as many attempts as it may take."""
        if urlsplit(url).scheme == "file":
            return self._file(url)
        repeated = 0
        while isinstance(answer := self._attempt(url), _Failure):
            if answer.wait is None or repeated >= self._bounds.retries:
                return answer.why
            wait = max(answer.wait, _BACKOFF * 2 ** min(repeated, 10))
            if time.monotonic() + wait >= self._deadline:
                return answer.why
            time.sleep(wait)
            repeated += 1
        return answer

    def _attempt(self, url: str) -> bytes | _Failure:
        """The answer at the end of the redirects. What is configured is sent to the origin of the URL alone."""
        own = {"Authorization": f"Basic {basic(url)}"} if basic(url) else {}
        own |= self._bounds.headers
        place, way = url, ""
        for _ in range(_REDIRECTS + 1):
            answer = self._ask(place, own)
            if isinstance(answer, _Failure):
                return replace(answer, why=replace(answer.why, why=way + answer.why.why))
            if isinstance(answer, bytes):
                return answer
            if urlsplit(answer).scheme not in ("http", "https"):
                return _status(f"{way}redirects to {shown(answer)}, which is not followed", "check monitoring.url")
            stripped = ""
            if own and _origin(answer) != _origin(place):
                own, stripped = {}, " without the configured headers"
            place, way = answer, f"redirects to {shown(answer)}{stripped}, which "
        return _status(f"redirects more than {_REDIRECTS} times", "check monitoring.url")

    def _ask(self, place: str, own: Mapping[str, str]) -> bytes | str | _Failure:
        """The answer of one place, or the URL that it redirects to."""
        from urllib3.exceptions import DecodeError, HTTPError

        remaining, ca_file = self._deadline - time.monotonic(), self._bounds.ca_file
        if remaining <= 0:
            return _Failure(late(self._bounds))
        if ca_file is not None and place.startswith("https:") and not ca_file.is_file():
            why = f"cannot be reached: TLS: there is no file {ca_file}"
            return _Failure(Unknown(Trouble.UNREACHABLE, why, "check monitoring.ca_file"))
        try:
            response = self._sent(place, own, min(remaining, _LONGEST_WAIT) + _SLACK)
            try:
                self.headers = response.headers
                if location := response.get_redirect_location():
                    return urljoin(place, location.encode("latin-1").decode())
                return self._judge(response)
            finally:
                response.close()
        except DecodeError:
            return _Failure(Unknown(Trouble.UNPARSEABLE, "sent a body that is not compressed as its headers say"))
        except ValueError:  # its text may hold a header or the URL
            why = "cannot be asked: its URL, a header or the address of a redirect is not valid HTTP"
            return _Failure(Unknown(Trouble.UNREACHABLE, why, "check monitoring.url and monitoring.headers"))
        except (HTTPError, OSError) as error:
            if time.monotonic() >= self._deadline:
                return _Failure(late(self._bounds))
            cause, remedy = _cause(error)
            return _Failure(Unknown(Trouble.UNREACHABLE, f"cannot be reached: {cause}", remedy), wait=0.0)

    def _sent(self, place: str, own: Mapping[str, str], timeout: float) -> "BaseHTTPResponse":
        """The answer, of which the body is not read yet."""
        import urllib3

        headers = urllib3.HTTPHeaderDict(_HEADERS)
        headers.update(own)
        parts = urlsplit(place)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        proxy = _proxy(bare)
        if proxy not in self._pools:
            trusted = {"ca_certs": _authorities(self._bounds.ca_file), "cert_reqs": "CERT_REQUIRED"}
            self._pools[proxy] = _pool(proxy, trusted)
        return self._pools[proxy].request(
            "GET", bare, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
        )

    def _judge(self, response: "BaseHTTPResponse") -> bytes | _Failure:
        """The body of a 2xx answer, else what the endpoint complains of."""
        if 200 <= response.status < 300:
            body = self._body(response, self._bounds.max_body)
            return body if body is not None else _Failure(_too_large(self._bounds))
        wait = _retry_after(response)
        asks = f", asks to wait {wait:.0f} s" if wait else ""
        said = _complaint(self._body(response, _LONGEST_COMPLAINT) or b"").strip() or response.reason
        failure = _status(f"answered {response.status}{asks}: {said}", _REMEDIES.get(response.status, ""))
        return replace(failure, wait=wait) if response.status in _REPEATED else failure

    def _body(self, response: "BaseHTTPResponse", cap: int) -> bytes | None:
        """The decoded body, None above the cap; what is there at a time, so that a slow drip meets the deadline."""
        body = bytearray()
        while piece := response.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > cap:
                return None
            if time.monotonic() >= self._deadline:
                raise TimeoutError
        return bytes(body)

    def _file(self, url: str) -> bytes | Unknown:
        try:
            with opened(unquote(urlsplit(url).path)) as file:
                body = file.read(self._bounds.max_body + 1)
        except (OSError, ValueError) as error:
            return Unknown(Trouble.UNREACHABLE, f"cannot be read: {_cause(error)[0]}", "check monitoring.url")
        return body if len(body) <= self._bounds.max_body else _too_large(self._bounds)


def shown(url: str) -> str:
    """The URL as a person may see it: scheme://host:port/path, without userinfo, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def late(bounds: Bounds) -> Unknown:
    """Why there is no answer when the time is over."""
    why = f"did not answer within {bounds.timeout.total_seconds():g} s"
    return Unknown(Trouble.DEADLINE, why, "see what makes it slow, or raise monitoring.timeout")


def _too_large(bounds: Bounds) -> Unknown:
    return Unknown(Trouble.TOO_LARGE, f"sent more than {bounds.max_body} bytes", "raise monitoring.max_body")


def _status(why: str, remedy: str) -> _Failure:
    return _Failure(Unknown(Trouble.STATUS, why, remedy))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Who is asked: headers meant for one are not for another. Raises ValueError where its port is none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _retry_after(response: "BaseHTTPResponse") -> float:
    """Seconds that the answer asks to wait, 0 where it does not say; it may name seconds or a date."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _complaint(body: bytes) -> str:
    """What the body of an error says: the error of a JSON answer, the title of a page, or the text."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        match json.loads(text):
            case {"error": str(said)} | {"message": str(said)} | {"detail": str(said)}:
                return said
    return html_page(text) or text


def html_page(text: str) -> str:
    """What kind of HTML page the text is: `an HTML page, Sign in`; empty where it is none."""
    if not re.match(r"\s*(<\?xml[^>]*>\s*)?<(!doctype html|html|head|body)\b", text, re.IGNORECASE):
        return ""
    # No title holds a tag; one that may would cost the square of the text, and no other thread runs meanwhile.
    title = re.search(r"<title>([^<]*)</title>", text, re.IGNORECASE)
    return f"an HTML page{', ' + title[1].strip() if title else ''}"


def _pool(proxy: str | None, trusted: Mapping[str, str | None]) -> "PoolManager":
    """Connections to servers, through the proxy where there is one."""
    import urllib3

    if proxy is None:
        return urllib3.PoolManager(**trusted)  # type: ignore[arg-type]
    user, password = credentials(proxy)
    headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user or password else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **trusted)  # type: ignore[arg-type]


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this URL (`https_proxy`, `all_proxy`, not for those in `no_proxy`)."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from ipaddress import ip_address, ip_network
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    with suppress(ValueError):  # it is a name
        networks = (each.strip() for each in proxies.get("no", "").split(",") if "/" in each)
        if any(ip_address(parts.hostname or "") in ip_network(each, strict=False) for each in networks):
            return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    if found is None or proxy_bypass(parts.netloc):
        return None
    return found if "://" in found else f"http://{found}"


def _authorities(ca_file: Path | None) -> str | None:
    """The file of the trusted certificates: the configured one, else those of the system (None), else certifi's."""
    system = ssl.get_default_verify_paths()
    if ca_file is not None or system.cafile or system.capath:
        return str(ca_file) if ca_file is not None else None
    import certifi

    return certifi.where()


def _cause(error: BaseException) -> tuple[str, str]:
    """The innermost error in a few words, for those around it repeat the whole URL; and what can be done."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError) and "mismatch" not in error.verify_message:
        return f"TLS: {error.verify_message}", "set monitoring.ca_file to the certificate of the authority"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.strerror or error}", "check monitoring.url and monitoring.ca_file"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__, "is it running, and is monitoring.url right?"
    return f"the answer breaks off or is no HTTP: {error or type(error).__name__}", "check monitoring.url"
