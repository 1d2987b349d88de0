"""What must not be shown: the secrets that a configuration holds, in every form in which a text may repeat them."""

import html
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from retrain.config.schema import Config

_LEAST = 4
"""Shorter ones would black out ordinary words."""
_LONG = 8
"""What is shorter is a secret only where its name says so, or where it came from the environment."""
_RUN = re.compile("[A-Za-z0-9]{16,}")
"""So many letters and digits in a row are no word, but a part of a secret by which it can be known."""
_TELLING = re.compile("key|token|secret|pass|pwd|auth|credential|cookie|signature", re.IGNORECASE)
_WORDS = re.compile(r"[\s,;=\"]+")
_RESERVED = "!#$&'()*+,/:;=?@[]~"
"""What requests leaves alone in a URL."""
_ESCAPED = re.compile("%[0-9A-F]{2}")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be shown (`values`) and what the training must not inherit (`variables`)."""

    values: tuple[str, ...] = field(repr=False)
    variables: frozenset[str]

    def scrub(self, text: str) -> str:
        """The text with every secret value replaced by ***."""
        for value in self.values:
            text = text.replace(value, "***")
        return text


def secret_values(config: Config, withheld: Mapping[str, str], passed: Mapping[str, str]) -> tuple[str, ...]:
    """Every text that must not be shown, longest first, in all its forms.

    `withheld` are the variables that a secret was read from, `passed` those that a command is given on purpose: what
    they hold may be anything, so the same is a secret there as in training.environment.
    """
    found = {*withheld.values(), *_of_commands({**passed, **config.training.environment})}
    if config.notifications.heartbeat is not None:
        found |= _of_heartbeat(config.notifications.heartbeat)
    if config.monitoring is not None:
        found |= {*_of_url(config.monitoring.url), *_of_headers(config.monitoring.headers)}
    return forms(found)


def forms(found: set[str]) -> tuple[str, ...]:
    """These texts, longest first, as they are and as they look decoded and in a URL, JSON, HTML, Python and base64."""
    plain = found | set(map(unquote, found))
    # A file in a variable (a private key) is quoted line by line.
    plain |= {line for text in plain for line in (text.strip(), *text.splitlines()) if len(line) >= _LONG}
    # In the name of a metric no other signs can stand.
    plain |= {run for text in plain for run in _RUN.findall(f"{text} {''.join(filter(str.isalnum, text))}")}
    faces = {face for text in plain if len(text) >= _LEAST for face in _faces(text)}
    return tuple(sorted((face for face in faces if len(face) >= _LEAST), key=lambda face: (-len(face), face)))


def _faces(text: str) -> Iterator[str]:
    yield from (repr(text)[1:-1], *_in_html(text), *_in_json(text))
    sent = (quote(text, safe=""), quote(text), quote_plus(text), quote(text, _RESERVED), quote(text, _RESERVED + "%"))
    for spelt in {text, *sent}:
        yield from (spelt, _ESCAPED.sub(lambda escape: escape[0].lower(), spelt))
        if len(spelt) >= _LONG:
            yield from _in_base64(spelt.encode())


def _in_html(text: str) -> Iterator[str]:
    """As Python's html, its markupsafe and Go's html/template escape it."""
    escaped = html.escape(text)
    numbered = escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    yield from (escaped, escaped.replace("&#x27;", "&#39;"), numbered, numbered.replace("+", "&#43;"))


def _in_json(text: str) -> Iterator[str]:
    """As Python, Go (which escapes what HTML would read) and PHP write it."""
    for quoted in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        go = re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", quoted)
        php = re.sub("[<>&']", lambda sign: f"\\u{ord(sign[0]):04X}", quoted.replace("/", "\\/"))
        yield from (quoted, go, quoted.replace("/", "\\/"), php)


def _in_base64(secret: bytes) -> Iterator[str]:
    """What is left of the secret in base64, wherever it stands in what was encoded."""
    for before in range(3):
        encoded = b64encode(bytes(before) + secret).decode().rstrip("=")
        # The characters at both ends depend on the neighbours, too.
        inner = encoded[(0, 2, 3)[before] : (before + len(secret)) * 8 // 6]
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))


def _is_secret(name: str, text: str) -> bool:
    """Whether a text of this name is nobody's business. A tenant's number say is no secret, and hides too much."""
    return len(text) >= (_LEAST if _TELLING.search(name) else _LONG)


def _of_commands(environment: Mapping[str, str]) -> Iterator[str]:
    """What commands are given on purpose, and may print; paths are no secrets, and messages need them."""
    for name, text in environment.items():
        if _TELLING.search(name) or not text.startswith(("/", "./", "../", "~")):
            yield from (text,) if _is_secret(name, text) else ()
            with suppress(ValueError):
                yield from _of_url(text) if "://" in text else ()


def _of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """The headers' values and the tokens and cookies in them; of Basic authentication also what it encodes."""
    for name, value in headers.items():
        scheme, _, told = value.rpartition(" ")
        yield from (text for text in (value, told) if _is_secret(name, text))
        yield from (word for word in _WORDS.split(value) if len(word) >= _LONG)
        if scheme.strip().lower() == "basic":
            with suppress(ValueError):
                user_and_password = b64decode(told).decode()
                yield from (user_and_password, user_and_password.partition(":")[2])


def _of_heartbeat(url: str) -> set[str]:
    """Pings are addressed by their path; errors of a connection quote it without the host."""
    path = urlsplit(url).path
    return {url, path, *(part for part in path.split("/") if len(part) >= _LONG), *_of_url(url)}


def _of_url(url: str) -> set[str]:
    """The password of a URL (or the token that stands alone before the @), its query and the secrets in it."""
    parts = urlsplit(url)
    as_written = [(name, value) for name, _, value in (each.partition("=") for each in parts.query.split("&"))]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return {
        parts.username or "" if parts.password is None else parts.password,
        b64encode(f"{user}:{password}".encode()).decode() if user or password else "",
        parts.query,
        *(value for name, value in (*parse_qsl(parts.query), *as_written) if _is_secret(name, value)),
    }
