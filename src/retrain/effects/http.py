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
from datetime import UTC, datetime, timedelta
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
_MAY_ECHO = (401, 403, 407)
"""Who refuses a token may repeat it, in a spelling that nobody foresees: such bodies are not quoted."""
_PARTIAL = 206
_BACKOFF = 0.2
_PIECE = 65536
_LONGEST_COMPLAINT = 65536
_LONGEST_WAIT = 86400.0
_SLACK = 0.1
"""A socket gives up this much after the deadline, so that giving up is always reported as the deadline."""
_REMEDIES = {401: "check monitoring.headers", 403: "check monitoring.headers", 404: "check monitoring.url"}


class Trust(Struct, frozen=True):
    """Whose certificates count, and the certificate that a server may ask for.

    `ca_file` is trusted instead of the system's authorities, or beside them (`also_system`). The key of the
    certificate in `cert_file` is in `key_file`, or beside it in the same file.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    also_system: bool = False


class Bounds(Struct, frozen=True):
    """What is sent, and what may be taken: time for all attempts together, bytes of a body, repeated attempts.

    `identified` says that a secret may be sent.
    """

    timeout: timedelta
    max_body: int = 65536
    retries: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    trust: Trust = field(default_factory=Trust)
    identified: bool = False


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

    `headers` are those of the latest answer, `written_at` is when it was made, as far as it says so.
    """

    def __init__(self, bounds: Bounds, deadline: float) -> None:
        self._bounds, self._deadline = bounds, deadline
        self._pools: dict[tuple[str | None, str], PoolManager] = {}
        self.headers: Mapping[str, str] = {}
        self.written_at: datetime | None = None

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

        remaining, proxy = self._deadline - time.monotonic(), _proxy(place)
        if remaining <= 0:
            return _Failure(late(self._bounds))
        trouble = _cannot_ask(place, proxy, self._bounds.trust)
        if trouble is not None:
            return _Failure(trouble)
        through = f" through the proxy {shown(proxy)}" if proxy is not None else ""
        try:
            response = self._sent(place, own, min(remaining, _LONGEST_WAIT) + _SLACK, proxy)
            try:
                self.headers, self.written_at = response.headers, _written_at(response.headers)
                if location := response.get_redirect_location():
                    return urljoin(place, location.encode("latin-1").decode())
                return _through(self._judge(response), through)
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
            return _Failure(Unknown(Trouble.UNREACHABLE, f"cannot be reached{through}: {cause}", remedy), wait=0.0)

    def _sent(self, place: str, own: Mapping[str, str], timeout: float, proxy: str | None) -> "BaseHTTPResponse":
        """The answer, of which the body is not read yet."""
        import urllib3

        headers = urllib3.HTTPHeaderDict(_HEADERS)
        headers.update(own)
        parts = urlsplit(place)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        key = proxy, parts.scheme
        if key not in self._pools:
            self._pools[key] = _pool(proxy, _context(self._bounds.trust) if parts.scheme == "https" else None)
        return self._pools[key].request(
            "GET", bare, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
        )

    def _judge(self, response: "BaseHTTPResponse") -> bytes | _Failure:
        """The body of a 2xx answer, else what the endpoint complains of."""
        if response.status == _PARTIAL:
            return _Failure(Unknown(Trouble.INCOMPLETE, "sent a part of its answer (HTTP 206)", "ask for the whole"))
        if 200 <= response.status < 300:
            body = self._body(response, self._bounds.max_body)
            return body if body is not None else _Failure(_too_large(self._bounds))
        wait = _retry_after(response)
        asks = f", asks to wait {wait:.0f} s" if wait else ""
        said = response.reason
        if response.status not in _MAY_ECHO or not self._bounds.identified:
            said = _complaint(self._body(response, _LONGEST_COMPLAINT) or b"").strip() or said
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
                self.written_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
                body = file.read(self._bounds.max_body + 1)
        except (OSError, ValueError, OverflowError) as error:
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


def _pool(proxy: str | None, context: ssl.SSLContext | None) -> "PoolManager":
    """Connections to servers, through the proxy where there is one."""
    import urllib3

    if proxy is None:
        return urllib3.PoolManager(ssl_context=context)
    user, password = credentials(proxy)
    headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user or password else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, ssl_context=context, proxy_ssl_context=context)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this URL (`https_proxy`, `all_proxy`, not for those in `no_proxy`).

    A loopback address is that of this machine; a proxy would ask its own.
    """
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from ipaddress import ip_address, ip_network
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return None
    with suppress(ValueError):  # it is a name
        address = ip_address(host)
        networks = (each.strip() for each in proxies.get("no", "").split(",") if "/" in each)
        if address.is_loopback or any(address in ip_network(each, strict=False) for each in networks):
            return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return found if "://" in found else f"http://{found}"


def _cannot_ask(place: str, proxy: str | None, trust: Trust) -> Unknown | None:
    """Why a place cannot be asked with these settings; None where it can."""
    if proxy is not None and (problem := _unfit(proxy)):
        return Unknown(Trouble.UNREACHABLE, f"cannot be asked: {problem}", _PROXY_REMEDY)
    files = {"ca_file": trust.ca_file, "cert_file": trust.cert_file, "key_file": trust.key_file}
    for key, path in files.items() if place.startswith("https:") else ():
        if path is not None and not path.is_file():
            why = f"cannot be reached: TLS: there is no file {path}"
            return Unknown(Trouble.UNREACHABLE, why, f"check monitoring.{key}")
    return None


_PROXY_REMEDY = "correct http_proxy, https_proxy or all_proxy, or name the host in no_proxy"


def _unfit(proxy: str) -> str:
    """Why no request can go through this proxy; empty where one can."""
    try:
        parts = urlsplit(proxy)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        named = False
    if not named:
        return "the environment names a proxy whose address is no URL such as http://proxy.example.com:3128"
    if parts.scheme not in ("http", "https"):
        return f"the environment names the proxy {shown(proxy)}, and only http and https proxies can be used"
    return ""


def _through(answer: bytes | _Failure, proxy: str) -> bytes | _Failure:
    """The answer; of a failure it is said that it came through a proxy."""
    if isinstance(answer, bytes) or not proxy:
        return answer
    return replace(answer, why=replace(answer.why, why=f"asked{proxy}, {answer.why.why}"))


def _context(trust: Trust) -> ssl.SSLContext:
    """Trust in the configured authorities, else those of REQUESTS_CA_BUNDLE, SSL_CERT_FILE, the system or certifi.

    The one rule for every request. Raises OSError where a file holds no certificate.
    """
    bundle = trust.ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    paths = ssl.get_default_verify_paths()
    if not bundle and not (paths.cafile or paths.capath):
        import certifi

        bundle = certifi.where()
    if bundle and Path(bundle).is_dir():
        context = ssl.create_default_context(capath=bundle)
    else:
        context = ssl.create_default_context(cafile=bundle or None)
    if trust.ca_file is not None and trust.also_system:
        context.load_default_certs()
    if trust.cert_file is not None:
        context.load_cert_chain(trust.cert_file, trust.key_file)
    return context


def _written_at(headers: Mapping[str, str]) -> datetime | None:
    """When an answer was made, as far as its headers say: `Last-Modified`, or `Age` seconds before it was sent."""
    from email.utils import parsedate_to_datetime

    with suppress(ValueError, OverflowError):
        if modified := headers.get("Last-Modified"):
            at = parsedate_to_datetime(modified)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        if age := headers.get("Age"):
            sent = headers.get("Date")
            at = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
            return at.astimezone(UTC) - timedelta(seconds=int(age))
    return None


def _cause(error: BaseException) -> tuple[str, str]:
    """The innermost error in a few words, for those around it repeat the whole URL; and what can be done."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError) and "mismatch" not in error.verify_message:
        return f"TLS: {error.verify_message}", "set monitoring.ca_file to the certificate of the authority"
    if isinstance(error, ssl.SSLError) and re.search("BAD_CERTIFICATE|CERTIFICATE_REQUIRED", error.reason or ""):
        remedy = "set monitoring.cert_file and monitoring.key_file to one that it accepts"
        return "TLS: the server asks for another client certificate", remedy
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.strerror or error}", "check monitoring.url and monitoring.ca_file"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__, "is it running, and is monitoring.url right?"
    return f"the answer breaks off or is no HTTP: {error or type(error).__name__}", "check monitoring.url"
