"""Series selectors of the Prometheus text format: name{label="value", other=~"regex"}."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import eq, ne

_WHOLE = re.compile(r"\s*([A-Za-z_:][A-Za-z0-9_:]*)?\s*(?:\{(.*)\})?\s*", re.DOTALL)
_MATCHER = re.compile(
    r"""\s*(?P<label>[A-Za-z_][A-Za-z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*
        (?P<quote>["'])(?P<value>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)\s*(?:,\s*|$)""",
    re.VERBOSE | re.DOTALL,
)
_LONGEST = 256
"""Characters that a regular expression is tried on: it may go back over them many times, and nothing stops it then."""
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class Selector:
    """Which series are meant. A label that a series does not have is the empty text, as in Prometheus."""

    name: str | None
    matchers: tuple[tuple[str, Callable[[str], bool]], ...]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the series with this name and these labels is meant."""
        if self.name is not None and name != self.name:
            return False
        return all(accepts(name if label == "__name__" else labels.get(label, "")) for label, accepts in self.matchers)


def parse(text: str) -> Selector:
    """The selector that the text says. Raises ValueError with a sentence where it says none."""
    whole = _WHOLE.fullmatch(text)
    if whole is None or (whole[1] is None and not (whole[2] or "").strip()):
        raise ValueError(
            'is not a series selector such as name{label="value"} '
            "(functions and arithmetic are PromQL, which needs monitoring.type: prometheus)"
        )
    inside, at = (whole[2] or "").rstrip(), 0
    matchers = []
    while at < len(inside):
        found = _MATCHER.match(inside, at)
        if found is None:
            raise ValueError(f'has no label matcher such as model="churn" at {inside[at:]}')
        matchers.append((found["label"], _accepts(found["operator"], _unescaped(found["value"]))))
        at = found.end()
    return Selector(whole[1], tuple(matchers))


def _accepts(operator: str, value: str) -> Callable[[str], bool]:
    if operator in ("=", "!="):
        return partial(eq if operator == "=" else ne, value)
    try:
        pattern = re.compile(value, re.DOTALL)
    except re.error as error:
        raise ValueError(f"has a regular expression that cannot be read: {value}: {error}") from error
    return partial(_matches, pattern, operator == "=~")


def _matches(pattern: re.Pattern[str], wanted: bool, text: str) -> bool:
    if len(text) > _LONGEST:
        raise ValueError(f"a label that a regular expression is asked for has {len(text):,} characters: {text[:40]}...")
    return (pattern.fullmatch(text) is not None) is wanted


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), text, flags=re.DOTALL)


def series(name: str, labels: Mapping[str, str]) -> str:
    """A series as a selector would name it, without empty labels."""
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()) if value)
    return f"{name}{{{inside}}}" if inside else name
