"""What a URL answers, read within bounds: one deadline for all attempts, so many bytes, headers for one origin alone.

urllib3 does it. requests, which is built on it, would read the body of every redirect and obey ~/.netrc, and it takes
longer to import than the question takes.
"""

import json
import os
import re
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from msgspec.structs import replace

from retrain.config.schema import Monitoring
from retrain.config.secrets import basic, credentials
from retrain.core.records import Trouble, Unknown
from retrain.core.text import time_of
from retrain.effects.files import opened

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from urllib3 import BaseHTTPResponse, PoolManager

_HEADERS = {"User-Agent": "retrain", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
_REDIRECTS = 5
_REPEATED = (429, 500, 502, 503, 504)
_MAY_ECHO = (401, 403, 407)
"""Who refuses a token may repeat it, in a spelling that nobody foresees: what such answers say is not quoted."""
_REFUSES_CLIENT = "alert (handshake failure|unknown ca|access denied|.*certificate)"
_PARTIAL = 206
_BACKOFF = 0.2
_PIECE = 65536
_LONGEST_COMPLAINT = 65536
_LONGEST_WAIT = 86400.0
_SLACK = 0.1
"""A socket gives up this much after the deadline, so that giving up is always reported as the deadline."""
_OLDEST = 1_000_000_000
"""Seconds of an age, some 30 years, beyond which all are alike."""
_BUNDLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_unused: dict[tuple[Path | str | bool | None, ...], list[ssl.SSLContext]] = defaultdict(list)
"""TLS contexts that were made for a question, by what they trust."""
_FAILED = ("error", "fail", "failed", "failure")
_MESSAGES = ("message", "detail", "msg", "reason")
"""Where services put the text of an error."""
_HERE = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_REMEDIES = {401: "check monitoring.headers", 403: "check monitoring.headers", 404: "check monitoring.url"}


class _FailedError(Exception):
    """An attempt that brought no body: why, and the seconds before another may be made (None: it would fail, too)."""

    def __init__(self, kind: Trouble, why: str, remedy: str = "", wait: float | None = None) -> None:
        super().__init__(why)
        self.unknown, self.wait = Unknown(kind, why, remedy), wait


def exchange(asked: Monitoring, work: Callable[["Client"], object], *, also_system: bool = False) -> None:
    """Let the work ask a client about this URL and those below it; return when it has ended or the time is over.

    `asked` says what may be taken: time for all attempts together, bytes of a body, repeated attempts. Its `ca_file` is
    trusted instead of the system's authorities, or beside them (`also_system`). Late work is left behind in a daemon
    thread: the timeout of a socket starts anew with every byte, and a look-up of a name has none. An error of the work
    is raised here.
    """
    if urlsplit(asked.address).scheme != "file":
        import urllib3  # noqa: F401  (before the time begins to run)
    deadline = time.monotonic() + asked.timeout.total_seconds()
    errors: list[BaseException] = []

    def run() -> None:
        client = Client(asked, deadline, also_system=also_system)
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

    `headers` and `status` are those of the latest answer, `written_at` is when it was made, as far as it says so.
    """

    def __init__(self, asked: Monitoring, deadline: float, *, also_system: bool) -> None:
        self._asked, self._deadline, self._also_system = asked, deadline, also_system
        self._identity = asked
        """Whose client certificate is shown: none to another origin than that of the URL."""
        self._pools: dict[tuple[str | None, str, Path | None], PoolManager] = {}
        self._contexts: list[tuple[tuple[Path | str | bool | None, ...], ssl.SSLContext]] = []
        self._method = "GET"
        self._sends: bytes | BinaryIO | None = None
        self._way = ""
        """Redirects and the proxy, as the beginning of a cause."""
        self._proxy: str | None = None
        self.headers: Mapping[str, str] = {}
        self.status = 0
        self.written_at: datetime | None = None

    def close(self) -> None:
        """Close the connections that were kept for the next question."""
        for pool in self._pools.values():
            pool.clear()
        for trust, context in self._contexts:
            _unused[trust].append(context)

    def _tls(self) -> ssl.SSLContext:
        """A context that no other thread uses: urllib3 changes it, and a new one reads hundreds of authorities."""
        asked, kept = self._identity, None
        bundles = map(os.environ.get, _BUNDLES)
        trust = (*bundles, asked.ca_file, asked.cert_file, asked.key_file, self._also_system)
        with suppress(IndexError):
            kept = _unused[trust].pop()
        self._contexts.append((trust, kept or _context(asked, also_system=self._also_system)))
        return self._contexts[-1][1]

    def get(self, url: str, body: bytes | BinaryIO | None = None, method: str = "") -> bytes | Unknown:
        """The decoded body that the URL answers with, after as many attempts as it may take.

        A `body` is posted, unless another `method` is named; where that is redirected, it is not sent on. A file is
        sent once.
        """
        self._sends, self._method = body, method or ("GET" if body is None else "POST")
        attempt = self._file if urlsplit(url).scheme == "file" else self._attempt
        repeated = 0
        while True:
            self._way = ""
            try:
                return attempt(url)
            except _FailedError as failed:
                why, wait = replace(failed.unknown, why=self._way + failed.unknown.why), failed.wait
            if time.monotonic() >= self._deadline:
                return late(self._asked)
            if wait is None or repeated >= self._asked.retries:
                return why
            wait = max(wait, _BACKOFF * 2 ** min(repeated, 10))
            if time.monotonic() + wait >= self._deadline:
                return why
            time.sleep(wait)
            repeated += 1

    def _attempt(self, url: str) -> bytes:
        """The answer at the end of the redirects. What is configured is sent to the origin of the URL alone."""
        own = {"Authorization": f"Basic {basic(url)}"} if basic(url) else {}
        own |= self._asked.headers
        place, self._identity = url, self._asked
        for _ in range(_REDIRECTS + 1):
            answer = self._ask(place, own)
            if isinstance(answer, bytes):
                return answer
            if urlsplit(answer).scheme not in ("http", "https"):
                why = f"redirects to {shown(answer)}, which is not followed"
                raise _FailedError(Trouble.STATUS, why, "check monitoring.url")
            stripped = ""
            if _origin(answer) != _origin(place):
                held = {"headers": own, "client certificate": self._identity.cert_file}
                kinds = " and ".join(kind for kind, sent in held.items() if sent)
                stripped = f" without the configured {kinds}" if kinds else ""
                own, self._identity = {}, replace(self._asked, cert_file=None, key_file=None)
            self._sends, self._method = None, "GET"
            place, self._way = answer, f"redirects to {shown(answer)}{stripped}, which "
        self._way = ""
        raise _FailedError(Trouble.STATUS, f"redirects more than {_REDIRECTS} times", "check monitoring.url")

    def _ask(self, place: str, own: Mapping[str, str]) -> bytes | str:
        """The answer of one place, or the URL that it redirects to."""
        from urllib3.exceptions import DecodeError, HTTPError

        try:
            with self._sent(place, own) as response:
                self.headers, self.written_at = response.headers, _written_at(response.headers)
                self.status = response.status
                if location := response.get_redirect_location():
                    target = urljoin(place, location.encode("latin-1").decode())
                    _origin(target)  # whose port may be none
                    return target
                return self._judged(response)
        except DecodeError as error:
            why = "sent a body that is not compressed as its headers say"
            raise _FailedError(Trouble.UNPARSEABLE, why) from error
        except ValueError as error:  # its text may hold a header or the URL
            why = "cannot be asked: its URL, a header or the address of a redirect is not valid HTTP"
            raise _FailedError(Trouble.UNREACHABLE, why, "check monitoring.url and monitoring.headers") from error
        except (HTTPError, OSError) as error:
            cause, remedy = _cause(error)
            raise _FailedError(Trouble.UNREACHABLE, f"cannot be reached: {cause}", remedy, wait=0.0) from error

    def _sent(self, place: str, own: Mapping[str, str]) -> "BaseHTTPResponse":
        """The answer, of which the body is not read yet."""
        import urllib3

        self._proxy = proxy = _proxy(place)
        self._way += _through(proxy)
        headers = urllib3.HTTPHeaderDict(_HEADERS)
        headers.update(own)
        if self._sends is not None and not isinstance(self._sends, bytes):
            headers["Content-Length"] = str(os.fstat(self._sends.fileno()).st_size)
        parts = urlsplit(place)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        key = proxy, parts.scheme, self._identity.cert_file
        if key not in self._pools:
            self._pools[key] = _pool(proxy, self._tls() if parts.scheme == "https" else None)
        timeout = min(max(self._deadline - time.monotonic(), 0), _LONGEST_WAIT) + _SLACK
        return self._pools[key].request(
            self._method,
            bare,
            body=self._sends,
            headers=headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
        )

    def _judged(self, response: "BaseHTTPResponse") -> bytes:
        """The body of a 2xx answer. Raises _FailedError with what the endpoint complains of."""
        from urllib3.exceptions import InvalidHeader
        from urllib3.util import Retry

        if response.status == _PARTIAL or "Content-Range" in response.headers:
            mark = "HTTP 206" if response.status == _PARTIAL else "Content-Range"
            raise _FailedError(Trouble.INCOMPLETE, f"sent a part of its answer ({mark})", "ask for the whole")
        if 200 <= response.status < 300:
            body = self._within(self._body(response, self._asked.max_body))
            if body and _is_cut(response):
                raise _FailedError(Trouble.INCOMPLETE, "sent a compressed body that has no end", wait=0.0)
            return body
        url, wait = self._asked.address, 0.0
        with suppress(InvalidHeader, ValueError, OverflowError):
            wait = Retry().get_retry_after(response) or 0.0
        asks = f", asks to wait {wait:.0f} s" if wait else ""
        is_known = any(map(any, map(credentials, (url, self._proxy or ""))))
        identified = bool(self._asked.headers or is_known or urlsplit(url).query)
        quoted = response.status not in _MAY_ECHO or not identified
        said = HTTPStatus(response.status).phrase if not quoted else self._complaint(response) or response.reason
        why, remedy = f"answered {response.status}{asks}: {said}", _REMEDIES.get(response.status, "")
        raise _FailedError(Trouble.STATUS, why, remedy, wait if response.status in _REPEATED else None)

    def _complaint(self, response: "BaseHTTPResponse") -> str:
        """What the body of an error says: the error of a JSON answer, the title of a page, or the text."""
        text = self._body(response, _LONGEST_COMPLAINT).decode("utf-8", "replace").strip()
        with suppress(ValueError, RecursionError):
            if said := complaint(json.loads(text), is_error=True):
                return said
        return html_page(text) or text

    def _body(self, response: "BaseHTTPResponse", most: int) -> bytes:
        """The decoded body, cut off some way above `most` bytes; read so that a slow drip meets the deadline."""
        body = bytearray()
        while len(body) <= most and (piece := response.read1(_PIECE, decode_content=True)):
            body += piece
            if time.monotonic() >= self._deadline:
                raise TimeoutError
        return bytes(body)

    def _within(self, body: bytes) -> bytes:
        """The body, where it is not too large."""
        if len(body) > self._asked.max_body:
            why = f"sent more than {self._asked.max_body} bytes"
            raise _FailedError(Trouble.TOO_LARGE, why, "raise monitoring.max_body")
        return body

    def _file(self, url: str) -> bytes:
        try:
            with opened(unquote(urlsplit(url).path)) as file:
                self.written_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
                return self._within(file.read(self._asked.max_body + 1))
        except (OSError, ValueError, OverflowError) as error:
            why = f"cannot be read: {_cause(error)[0]}"
            raise _FailedError(Trouble.UNREACHABLE, why, "check monitoring.url") from error


def _is_cut(response: "BaseHTTPResponse") -> bool:
    """Whether the body, read to its end, is a gzip or deflate stream that does not end there.

    urllib3 does not say so, and its decoder knows. What follows a whole stream it swallows.
    """
    decoder = getattr(response, "_decoder", None)
    is_swallowing = getattr(decoder, "_state", None) == 2
    return not is_swallowing and getattr(getattr(decoder, "_obj", None), "eof", True) is False


def shown(url: str) -> str:
    """The URL as a person may see it: scheme://host:port/path, without userinfo, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def late(asked: Monitoring) -> Unknown:
    """Why there is no answer when the time is over."""
    why, through = f"did not answer within {asked.timeout.total_seconds():g} s", ""
    with suppress(_FailedError, ValueError):
        through = _through(_proxy(asked.address))
    return Unknown(Trouble.DEADLINE, through + why, "see what makes it slow, or raise monitoring.timeout")


def _through(proxy: str | None) -> str:
    return f"asked through the proxy {shown(proxy)}, " if proxy is not None else ""


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Who is asked: headers meant for one are not for another. Raises ValueError where its port is none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def complaint(document: object, *, is_error: bool = False) -> str:
    """The text of the error that a JSON document reports; "" where it reports none.

    With `is_error` it is known to report one, and a message alone is its text. A number as `error` is an error rate.
    """
    if not isinstance(document, dict):
        return ""
    status, error = document.get("status"), document.get("error")
    marks = [f"status {status}"] if str(status).strip().lower() in _FAILED else []
    marks += ["error true"] if error is True else []
    keys = ("error", "errors", *(_MESSAGES if marks or is_error else ()))
    return next(filter(None, map(_text_of, map(document.get, keys))), marks[0] if marks and not is_error else "")


def _text_of(said: object) -> str:
    """The text of an error: itself, its message, or that of the first of several."""
    match said:
        case str(text):
            return text.strip()
        case [first, *_]:
            return _text_of(first) if isinstance(first, str | dict) else ""
        case dict(parts):
            return next((found.strip() for key in _MESSAGES if isinstance(found := parts.get(key), str)), "")
    return ""


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
    from urllib.request import getproxies, proxy_bypass

    parts, proxies = urlsplit(url), getproxies()
    if is_here(parts.hostname or "") or _is_exempt(url, proxies.get("no", "")):
        return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    if not found or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return _usable(found if "://" in found else f"http://{found}")


def is_here(host: str) -> bool:
    """Whether this is a name of this machine or an address of its loopback, in any form. No name server is asked."""
    host = host.rstrip(".").lower()
    if host in ("", *_HERE, os.uname().nodename.lower()) or host.endswith(".localhost"):
        return True
    written = [host]
    with suppress(OSError):
        lines = Path("/etc/hosts").read_text(errors="replace").lower().splitlines()
        entries = (line.partition("#")[0].split() for line in lines)
        written += [entry[0] for entry in entries if host in entry[1:]]
    return any(at.is_loopback or at.is_unspecified for each in written if (at := _address(each)) is not None)


def _address(text: str) -> "IPv4Address | IPv6Address | None":
    """The address that the text is, as the system reads it (127.1 is 127.0.0.1); None where it is a name."""
    from ipaddress import ip_address

    with suppress(OSError, ValueError):
        found = ip_address(socket.getaddrinfo(text, None, flags=socket.AI_NUMERICHOST)[0][4][0])
        return getattr(found, "ipv4_mapped", None) or found
    return None


def _is_exempt(url: str, entries: str) -> bool:
    """Whether no_proxy names the host of a URL, a domain above it or a network that it is in, and its port or none."""
    from ipaddress import ip_network

    _, host, port = _origin(url)
    host = (host or "").rstrip(".")
    address = _address(host)
    for entry in re.split(r"[\s,]+", entries.lower()):
        found = re.fullmatch(r"\[?(.*?)\]?(?::([0-9]+))?", entry) if "[" in entry or entry.count(":") < 2 else None
        name, only = found.groups() if found else (entry, None)  # an IPv6 address without brackets has no port
        domain = name.removeprefix("*").strip(".")
        if only is not None and int(only) != port:
            continue
        if name == "*" or (domain and f".{host}".endswith(f".{domain}")):
            return True
        with suppress(ValueError):  # it is a name
            if address is not None and address in ip_network(name, strict=False):
                return True
    return False


def _usable(proxy: str) -> str:
    """The proxy. Raises _FailedError where no request can go through it."""
    why = "a proxy whose address is no URL such as http://proxy.example.com:3128"
    with suppress(ValueError):
        parts = urlsplit(proxy)
        is_broken = "@" in parts.path + parts.query + parts.fragment  # by a sign in the password
        if parts.hostname and parts.port != 0 and not is_broken:
            if parts.scheme in ("http", "https"):
                return proxy
            why = f"the proxy {shown(proxy)}, and only http and https proxies can be used"
    remedy = "correct http_proxy, https_proxy or all_proxy, or name the host in no_proxy"
    raise _FailedError(Trouble.UNREACHABLE, f"cannot be asked: the environment names {why}", remedy)


def _context(asked: Monitoring, *, also_system: bool) -> ssl.SSLContext:
    """Trust in the configured authorities, else those of REQUESTS_CA_BUNDLE, SSL_CERT_FILE, the system or certifi.

    The one rule for every request. Raises OSError where a file holds no certificate.
    """
    for key, path in {"ca_file": asked.ca_file, "cert_file": asked.cert_file, "key_file": asked.key_file}.items():
        if path is not None and not path.is_file():
            said = f"{path} is not a file" if path.exists() else f"there is no file {path}"
            why = f"cannot be reached: TLS: {said}"
            raise _FailedError(Trouble.UNREACHABLE, why, f"check monitoring.{key}")
    variable = next(filter(os.environ.get, _BUNDLES), "") if asked.ca_file is None else ""
    bundle = asked.ca_file or os.environ.get(variable)
    paths = ssl.get_default_verify_paths()
    if not bundle and not (paths.cafile or paths.capath):
        import certifi

        bundle = certifi.where()
    file, directory = (None, bundle) if bundle and Path(bundle).is_dir() else (bundle or None, None)
    try:
        context = ssl.create_default_context(cafile=file, capath=directory)
    except OSError as error:
        if not variable:
            raise
        said = "holds no certificate" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        why = f"cannot be reached: TLS: {bundle}, which the variable {variable} names, {said}"
        raise _FailedError(Trouble.UNREACHABLE, why, f"correct {variable}, or set monitoring.ca_file") from error
    if asked.ca_file is not None and also_system:
        context.load_default_certs()
    if asked.cert_file is not None:
        try:
            context.load_cert_chain(asked.cert_file, asked.key_file, password="")  # else it would be asked for
        except ssl.SSLError as error:
            why = "TLS: the client certificate and its key do not fit, or are not PEM without password"
            remedy = "check monitoring.cert_file and monitoring.key_file"
            raise _FailedError(Trouble.UNREACHABLE, f"cannot be reached: {why}", remedy) from error
    return context


def _written_at(headers: Mapping[str, str]) -> datetime | None:
    """When an answer was made, as far as its headers say: `Last-Modified`, or `Age` seconds ago, whichever is earlier.

    A header that cannot be read is none (RFC 9110), but ISO 8601 can. A cache keeps the Date of the origin, whose clock
    may differ, so that the age is counted from now.
    """
    from email.utils import parsedate_to_datetime

    found, modified = [], headers.get("Last-Modified", "")
    with suppress(ValueError, OverflowError):
        at = time_of(modified) if re.match("[0-9]{4}-", modified) else parsedate_to_datetime(modified)
        found.append(at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC))
    if age := re.match(r"0*([0-9]+)", headers.get("Age", "").strip()):  # several caches may say it: a, b
        seconds = _OLDEST if len(age[1]) > len(str(_OLDEST)) else min(int(age[1]), _OLDEST)
        found.append(datetime.now(UTC) - timedelta(seconds=seconds))
    return min(found, default=None)


def _cause(error: BaseException) -> tuple[str, str]:
    """The innermost error in a few words, for those around it repeat the whole URL; and what can be done."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "set monitoring.ca_file to the certificate of the authority"
        return f"TLS: {error.verify_message}", "check monitoring.url" if "mismatch" in error.verify_message else remedy
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: the server ended the connection", "it may ask for a client certificate (monitoring.cert_file)"
    if isinstance(error, ssl.SSLError):
        said = (error.reason or str(error)).replace("_", " ").lower()
        if not re.search(_REFUSES_CLIENT, said):
            return f"TLS: {said}", "check monitoring.url and monitoring.ca_file"
        remedy = "set monitoring.cert_file and monitoring.key_file to one that it accepts"
        return f"TLS: the server asks for a client certificate, or for another one ({said})", remedy
    if isinstance(error, ConnectionResetError | BrokenPipeError):  # in which of three ways is a matter of chance
        return "it ended the connection before its answer was complete", "is it running, and is monitoring.url right?"
    if tunnel := re.match("Tunnel connection failed: ([0-9]+)", str(error)):  # its reason may repeat the password
        return f"the proxy answered {tunnel[1]}", "check the proxy that the environment names"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__, "is it running, and is monitoring.url right?"
    return f"the answer breaks off or is no HTTP: {error or type(error).__name__}", "check monitoring.url"
