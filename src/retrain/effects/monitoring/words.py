"""What may be shown of an endpoint: its URL without credentials, and its own words on one short line."""

from base64 import b64encode
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from retrain.config.secrets import Secrets

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
