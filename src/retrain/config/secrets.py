"""What must not be shown: the secrets of a configuration, as they are, URL-quoted, JSON-escaped and in base64."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from msgspec import Struct

from retrain.config.schema import Config, Monitoring

_LEAST = 4
"""Shorter ones would black out ordinary words."""
_LONG = 8
"""What is shorter is a secret only where its name says so, or where it came from the environment."""
_RUN = r"[A-Za-z0-9]{16,}"
"""So many letters and digits in a row are no word, but a part of a secret by which it is known in any spelling."""
_TELLING = r"(?i)key|token|secret|pass|pwd|auth|credential|cookie|signature"
_RANDOM = r"[0-9]|[a-z][A-Z]"
_NO_PASSWORDS = (None, "x", "x-oauth-basic", "x-token-auth", "api_token")
"""What stands beside a token that is the user: services take any of these for no password."""
_SENT = "!$&'()*+,/:;=@"
"""What urllib3 leaves alone in the path of a URL."""


class Secrets(Struct, frozen=True):
    """What must not be shown (`values`) and what the training must not inherit (`variables`).

    `used` are all variables that the configuration takes from the environment.
    """

    values: tuple[str, ...]
    variables: frozenset[str]
    used: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Secrets(variables={sorted(self.variables)})"

    def scrub(self, text: str) -> str:
        """The text with every secret replaced by ***, and every run of 8 characters or more that it shares with one.

        A short one is a secret only as a whole word: a tenant `prod` is none in `production`.
        """
        for value in self.values:
            if len(value) >= _LONG:
                text = text.replace(value, "***")
            elif value in text:
                text = re.sub(rf"(?<![^\W_]){re.escape(value)}(?![^\W_])", "***", text)
        grams = _grams(self.values)
        if not grams or len(text) < _LONG:
            return text
        shared = [text[at : at + _LONG].lower() in grams for at in range(len(text))]
        is_hidden = (any(shared[max(0, at - _LONG + 1) : at + 1]) for at in range(len(text)))
        hidden = "".join("\0" if hides else sign for sign, hides in zip(text, is_hidden, strict=True))
        return re.sub("\0+", "***", hidden) if any(shared) else text


@cache
def _grams(values: tuple[str, ...]) -> frozenset[str]:
    """Every 8 characters in a row, in lower case, of the secrets that look random: words occur in other texts, too."""
    random = (value.lower() for value in values if re.search(_RANDOM, value))
    return frozenset(value[at : at + _LONG] for value in random for at in range(len(value) - _LONG + 1))


def secret_values(
    config: Config,
    withheld: Mapping[str, str],
    passed: Mapping[str, str],
    public: Collection[str] = (),
    proxies: Collection[str] = (),
) -> tuple[str, ...]:
    """Every text that must not be shown, longest first, in all its spellings.

    `withheld` are the variables that a secret was read from, `passed` those that a command is given on purpose: what
    they hold may be anything, so the same is a secret there as in training.environment. `public` are values that are
    no secrets wherever they stand, `proxies` the URLs of those that the environment names.
    """
    monitoring, registry = config.monitoring or Monitoring(), config.registry
    asked = [(monitoring.address, monitoring.headers)]
    asked += [(registry.url, registry.headers)] if registry is not None else []
    # What holds a host or a path as well is no secret as a whole; its secrets are found in the URL.
    is_url = {
        text
        for text in withheld.values()
        if any(url.startswith(text) or (re.search("[@?#]", text) and text in url) for url, _ in asked)
    }
    found = {text for name, text in withheld.items() if _is_secret(name, text)} - is_url
    found |= {*_of_commands({**passed, **config.training.environment}), *_of_commands(monitoring.environment)}
    if config.notifications.heartbeat is not None:
        found |= _of_heartbeat(config.notifications.heartbeat.url)
    found |= {text for each in config.notifications.urls for text in _of_apprise(each)}
    for url, headers in asked:
        found |= {*_of_url(url), *_of_headers(headers)}
        found |= {part for part in _of_variable(url) for text in is_url if part in text}
    found |= {secret for word in monitoring.command or () if "://" in word for secret in _of_url(word)}
    found |= {secret for url in proxies for secret in _of_proxy(url)}
    found -= {*public}
    plain = found | set(map(unquote, found))
    # A file in a variable (a private key) is quoted line by line.
    plain |= {line for text in plain for line in (text.strip(), *text.splitlines()) if len(line) >= _LONG}
    # In the name of a metric no other signs can stand.
    plain |= {run for text in plain for run in re.findall(_RUN, f"{text} {''.join(filter(str.isalnum, text))}")}
    spelt = {spelling for text in plain if len(text) >= _LEAST for spelling in _spellings(text)}
    return tuple(sorted((text for text in spelt if len(text) >= _LEAST), key=lambda text: (-len(text), text)))


def credentials(url: str) -> tuple[str, str]:
    """User and password of the URL, decoded; empty where there is none."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def _of_variable(url: str) -> set[str]:
    """The parts of a URL that are secret where they came from a variable: fragment, and a user that is no word."""
    parts = urlsplit(url)
    return {part for part in (parts.username, parts.fragment) if part and _looks_random(part)}


def _looks_random(text: str) -> bool:
    return len(text) >= _LONG and re.search(_RANDOM, text) is not None


def basic(url: str) -> str:
    """The credentials of the URL as HTTP Basic authentication sends them; empty where there are none."""
    user, password = credentials(url)
    return b64encode(f"{user}:{password}".encode()).decode() if user or password else ""


def _spellings(text: str) -> Iterator[str]:
    yield from (text, quote(text, safe=""), quote(text), quote_plus(text), quote(text, _SENT), quote(text, _SENT + "%"))
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    secret = text.encode()
    for before in range(3) if len(secret) >= _LONG else ():  # wherever it stands in what was encoded
        encoded = b64encode(bytes(before) + secret).decode().rstrip("=")
        # The characters at both ends depend on the neighbours, too.
        inner = encoded[(0, 2, 3)[before] : (before + len(secret)) * 8 // 6]
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))


def _is_secret(name: str, text: str) -> bool:
    """Whether a text of this name is hidden. A short one, a tenant's number say, is no secret and hides too much."""
    return len(text) >= (_LEAST if re.search(_TELLING, name) else _LONG)


def _of_commands(environment: Mapping[str, str]) -> Iterator[str]:
    """What commands are given on purpose, and may print; paths are no secrets, and messages need them."""
    for name, text in environment.items():
        if re.search(_TELLING, name) or not text.startswith(("/", "./", "../", "~")):
            yield from (text,) if _is_secret(name, text) else ()
            yield from _of_url(text) if "://" in text else ()


def _of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """The headers' values and the tokens and cookies in them; of Basic authentication also what it encodes."""
    for name, value in headers.items():
        scheme, _, token = value.rpartition(" ")
        yield from (text for text in (value, token) if _is_secret(name, text))
        yield from (word for word in re.split(r"[\s,;=\"]+", value) if len(word) >= _LONG)
        if scheme.strip().lower() == "basic":
            with suppress(ValueError):
                user_and_password = b64decode(token).decode()
                yield from (user_and_password, user_and_password.partition(":")[2])


def _of_heartbeat(url: str) -> set[str]:
    """Pings are addressed by their path; errors of a connection quote it without the host."""
    path = urlsplit(url).path
    return {url, path, *(part for part in path.split("/") if len(part) >= _LONG), *_of_url(url)}


def _of_apprise(url: str) -> set[str]:
    """Services take tokens anywhere in an Apprise URL, also where others have a host: `tgram://TOKEN/CHAT`."""
    rest = url.partition("://")[2]
    return {rest, *filter(_looks_random, re.split(r"[/?&@:=]", rest)), *_of_url(url)}


def _of_proxy(url: str) -> set[str]:
    """The password of a proxy, also one that breaks the URL, of which the scheme may be left out."""
    rest = url.partition("://")[2] or url
    user, _, password = rest.rpartition("@")[0].partition(":")
    return {password or user, *_of_url(f"http://{rest}")}


def _of_url(url: str) -> set[str]:
    """The password of a URL (or the token that stands there without one), its query and the secrets in it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # a text that only looks like one
        return set()
    user, password = parts.username or "", parts.password or ""
    is_token = parts.password in _NO_PASSWORDS or (not password and _looks_random(user))
    as_written = [(name, value) for name, _, value in (each.partition("=") for each in parts.query.split("&"))]
    return {
        user if is_token else password,
        basic(url),
        parts.query,
        *(value for name, value in (*parse_qsl(parts.query), *as_written) if _is_secret(name, value)),
    }
