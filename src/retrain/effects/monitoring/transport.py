"""Bytes over http, https and file, all attempts under one deadline and never more than the cap."""

import os
import ssl
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Thread
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit, urlunsplit

import requests
from urllib3.exceptions import DecodeError, HTTPError, InvalidHeader
from urllib3.util import Retry

from retrain.config.schema import Monitoring
from retrain.config.secrets import Secrets
from retrain.core.records import Unknown
from retrain.effects.monitoring.readings import Trouble, complaint_of

_REDIRECTS = 5
_REPEATED = (429, 500, 502, 503, 504)
_BACKOFF = 0.2
_PIECE = 65536
_LONGEST_COMPLAINT = 65536
_LONGEST_WAIT = 86400.0
_SLACK = 0.1
"""A socket gives up this much after the deadline, so that giving up is always told as the deadline."""
_HINTS = {
    401: " (check monitoring.headers)",
    403: " (check monitoring.headers)",
    404: " (check monitoring.url)",
}


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt that may be repeated, but not before `wait` seconds have passed."""

    why: Unknown
    wait: float = 0.0


class Session(requests.Session):
    """A session that leaves redirects alone: requests would read the whole body of each, even unasked."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: no answer is a redirect to requests."""


@dataclass(frozen=True, slots=True)
class Client:
    """Fetches bodies for one look at the endpoint; `session` is closed by whoever opened it."""

    session: Session
    monitoring: Monitoring
    deadline: float

    def get(self, url: str, where: str) -> bytes | Unknown:
        """The decoded body that the URL answers with; `where` names it in the sentence of an Unknown."""
        if urlsplit(url).scheme == "file":
            return self._file(url, where)
        repeated = 0
        while isinstance(answer := self._attempt(url, where), _Failure):
            wait = max(answer.wait, _BACKOFF * 2 ** min(repeated, 10))
            if repeated >= self.monitoring.retries or time.monotonic() + wait >= self.deadline:
                return answer.why
            time.sleep(wait)
            repeated += 1
        return answer

    def _attempt(self, url: str, where: str) -> bytes | Unknown | _Failure:
        """The answer at the end of the redirects."""
        headers, stripped = self._headers(url), ""
        place, here = _bare(url), where
        for _ in range(_REDIRECTS + 1):
            answer = self._ask(place, headers, here)
            if not isinstance(answer, str):
                return answer
            if urlsplit(answer).scheme not in ("http", "https"):
                return Unknown(Trouble.STATUS, f"{here} redirects to {shown(answer)}, which is not followed")
            if headers and _origin(answer) != _origin(place):
                headers, stripped = {}, " without the configured headers"
            place, here = answer, f"{where}, redirected to {shown(answer)}{stripped},"
        return Unknown(Trouble.STATUS, f"{where} redirects more than {_REDIRECTS} times")

    def _ask(self, place: str, headers: Mapping[str, str], where: str) -> bytes | str | Unknown | _Failure:
        """The answer of one place, or the URL that it redirects to."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            return too_late(where, self.monitoring)
        try:
            with self.session.get(
                place,
                headers=headers,
                timeout=min(remaining, _LONGEST_WAIT) + _SLACK,
                verify=_authorities(self.monitoring),
                auth=_as_it_is,
                stream=True,
            ) as response:
                if response.is_redirect:
                    return _bare(urljoin(place, response.headers["location"].encode("latin-1").decode()))
                return self._judge(response, where)
        except DecodeError:
            return Unknown(Trouble.UNPARSEABLE, f"{where} answered with a body that is not compressed as it says")
        except ValueError:  # its text may hold a header or the URL
            said = "monitoring.url, a header or the address of a redirect is not valid HTTP"
            return Unknown(Trouble.UNREACHABLE, f"{where} cannot be asked: {said}")
        except (requests.RequestException, HTTPError, OSError) as error:
            if time.monotonic() >= self.deadline:
                return too_late(where, self.monitoring)
            return _Failure(Unknown(Trouble.UNREACHABLE, f"{where} cannot be reached: {_cause(error)}"))

    def _headers(self, url: str) -> dict[str, str]:
        own = {"Authorization": f"Basic {basic(url)}"} if basic(url) else {}
        return own | dict(self.monitoring.headers)

    def _judge(self, response: requests.Response, where: str) -> bytes | Unknown | _Failure:
        """The body of a 2xx answer, else what the endpoint complains of."""
        status = response.status_code
        if 200 <= status < 300:
            body = self._body(response, self.monitoring.max_body)
            return too_large(where, self.monitoring) if body is None else body
        wait = _retry_after(response)
        asks = f", asks to wait {wait:.0f} s" if wait else ""
        body = self._body(response, _LONGEST_COMPLAINT)
        said = complaint_of(body or b"").strip() or response.reason
        why = Unknown(Trouble.STATUS, f"{where} answered {status}{asks}{_HINTS.get(status, '')}: {said}")
        return _Failure(why, wait) if status in _REPEATED else why

    def _body(self, response: requests.Response, cap: int) -> bytes | None:
        """The decoded body, None above the cap; what is there at a time, so that a slow drip meets the deadline."""
        body = bytearray()
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > cap:
                return None
            if time.monotonic() >= self.deadline:
                raise TimeoutError
        return bytes(body)

    def _file(self, url: str, where: str) -> bytes | Unknown:
        """The content of a regular file; a FIFO without a writer must not be waited for."""
        try:
            with open(unquote(urlsplit(url).path), "rb", opener=_not_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return Unknown(Trouble.UNREACHABLE, f"{where} is not a regular file")
                body = file.read(self.monitoring.max_body + 1)
        except (OSError, ValueError) as error:
            return Unknown(Trouble.UNREACHABLE, f"{where} cannot be read: {_cause(error)}")
        return too_large(where, self.monitoring) if len(body) > self.monitoring.max_body else body


def too_large(where: str, monitoring: Monitoring) -> Unknown:
    """More bytes came than may come."""
    return Unknown(Trouble.TOO_LARGE, f"{where} sent more than {monitoring.max_body} bytes (monitoring.max_body)")


def _not_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication besides the headers: without this, ~/.netrc would replace the configured one."""
    return request


def _authorities(monitoring: Monitoring) -> str | bool:
    """The trusted certificates: the configured ones, the system's, else those that requests comes with."""
    system = ssl.get_default_verify_paths()
    return str(monitoring.ca_file or system.cafile or system.capath or "") or True


def _retry_after(response: requests.Response) -> float:
    """Seconds that the answer asks to wait, 0 where it does not say; it may name seconds or a date."""
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0


def _bare(url: str) -> str:
    """The URL without userinfo and fragment. Raises ValueError where its port is none."""
    parts = urlsplit(url)
    _ = parts.port
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Who is asked: headers meant for one are not for another."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _cause(error: BaseException) -> str:
    """The innermost error in a few words; those around it repeat the whole URL."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    if isinstance(error, ssl.SSLCertVerificationError) and "mismatch" not in error.verify_message:
        return f"TLS: {error.verify_message} (set monitoring.ca_file to the certificate of the authority)"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.strerror or error} (check monitoring.url and monitoring.ca_file)"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"the answer breaks off or is no HTTP: {error or type(error).__name__}"


def within(deadline: float, work: Callable[[], None]) -> None:
    """Nothing, when the work has ended or the deadline (monotonic seconds) has come. Its errors are raised here.

    Late work is left behind in a daemon thread: the timeout of a socket starts anew with every byte, and a
    look-up of a name knows none.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, name="monitoring", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline - time.monotonic()))
    if errors:
        raise errors[0]


def too_late(where: str, monitoring: Monitoring) -> Unknown:
    """Nothing came in time."""
    seconds = monitoring.timeout.total_seconds()
    return Unknown(Trouble.DEADLINE, f"{where} did not answer within {seconds:g} s (monitoring.timeout)")


_LONGEST = 600


def shown(url: str) -> str:
    """The URL as a person may see it: scheme://host:port/path, without userinfo, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def credentials(url: str) -> tuple[str, str]:
    """User and password of the URL, decoded; empty where there is none."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def basic(url: str) -> str:
    """The credentials of the URL as HTTP Basic authentication sends them; empty where there are none."""
    user, password = credentials(url)
    return b64encode(f"{user}:{password}".encode()).decode() if user or password else ""


def cleaner(secrets: Secrets, url: str) -> Callable[[str], str]:
    """A function from any text to one short printable line in which every secret reads ***.

    An endpoint may echo a secret in another form than the configuration has it in: decoded, or as Basic
    authentication. Short values (`format=json`) are ordinary words. Secrets go before the text is cut, for
    half a secret would not be recognised.
    """
    user, password = credentials(url)
    query = [value for _, value in parse_qsl(urlsplit(url).query)]
    values = {text for text in (password, basic(url)) if len(text) >= 4}
    values |= {text for text in (user, *query) if len(text) >= 8}
    forms = Secrets(tuple(sorted(values, key=len, reverse=True)), frozenset())

    def clean(text: str) -> str:
        text = forms.scrub(secrets.scrub(text))[: 10 * _LONGEST]
        line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

    return clean
