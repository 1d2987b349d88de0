"""The Prometheus text format: one series for every selector."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import StringIO
from itertools import islice
from operator import eq, ne
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from retrain.core.records import Trouble, Unknown
from retrain.core.text import one_line
from retrain.effects.monitoring import (
    PROBLEM,
    Answer,
    Reading,
    float_of,
    moment_of_epoch,
    said_of,
    text_of,
    unparseable,
)

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

_WHOLE = r"(?s)\s*([A-Za-z_:][A-Za-z0-9_:]*)?\s*(?:\{(.*)\})?\s*"
_TEXT = r"""(?P<{0}q>["'])(?P<{0}>(?:(?!(?P={0}q))[^\\]|\\.)*)(?P={0}q)"""
_MATCHER = (
    rf"(?s)\s*(?:(?P<label>[A-Za-z_][A-Za-z0-9_]*)|{_TEXT.format('quoted')})"
    rf"(?:\s*(?P<operator>=~|!~|!=|=)\s*{_TEXT.format('value')})?\s*(?:,\s*|$)"
)
"""A label matcher, or a quoted name alone, which is that of the metric (UTF-8 names, Prometheus 3)."""
_PLAIN = r"[A-Za-z_][A-Za-z0-9_]*"
_EXEMPLAR = r'(?m)^((?:[^"\s]|"(?:[^"\\\n]|\\.)*+"|[ \t](?!# \{))*+) # \{.*$'
"""What OpenMetrics may write behind a sample; nothing is tried twice, however long a line is."""
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_LABEL = rf"(?:[A-Za-z_][A-Za-z0-9_.:-]*+\s*+=\s*+|(?:{_QUOTED}\s*+=\s*+)?+){_QUOTED}"
_SERIES = rf'\s*+[^\s{{"\x00-\x1f]*+\s*+(?:\{{\s*+(?:{_LABEL}\s*+(?:,\s*+|(?=\}})))*+\}})?+'
"""The name of a sample and its labels, whose values are quoted: the parser takes more, and reads another series."""
_LONGEST = 256
"""Characters that a regular expression is tried on: it may go back over them many times, and nothing stops it then."""
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_OPEN_METRICS = "application/openmetrics-text"
_LONGEST_LINE = 65536
"""The parser's work grows with the square of a line."""
_AT_ONCE = 1000
"""So many lines are parsed at a time, for the parser holds all samples of a name together."""
_NAMES = 1000
"""So many names are remembered to find the nearest to a wrong one."""
_SHOWN = 3


class Selector(Struct, frozen=True):
    """Which series are meant. A label that a series does not have is the empty text, as in Prometheus."""

    name: str | None
    matchers: tuple[tuple[str, Callable[[str], bool]], ...]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the series with this name and these labels is meant."""
        if self.name is not None and name != self.name:
            return False
        return all(accepts(name if label == "__name__" else labels.get(label, "")) for label, accepts in self.matchers)


def parse(text: str) -> Selector:
    """The selector that the text says. Raises ValueError with a clause where it says none."""
    whole = re.fullmatch(_WHOLE, text)
    if whole is None or (whole[1] is None and not (whole[2] or "").strip()):
        raise ValueError(
            'is not a series selector such as name{label="value"} '
            "(functions and arithmetic are PromQL, which needs monitoring.type: prometheus)"
        )
    name, rest, matchers = whole[1], (whole[2] or "").rstrip(), []
    while rest:
        found = re.match(_MATCHER, rest)
        if found is None or (found["operator"] is None and (found["label"] or name is not None)):
            raise ValueError(f'has no label matcher such as model="churn" at {rest}')
        label = found["label"] or _unescaped(found["quoted"])
        if found["operator"] is None:
            name = label
        else:
            matchers.append((label, _accepts(found["operator"], _unescaped(found["value"]))))
        rest = rest[found.end() :]
    return Selector(name, tuple(matchers))


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
    quoted = partial(json.dumps, ensure_ascii=False)
    named = (
        (label if re.fullmatch(_PLAIN, label) else quoted(label), value) for label, value in sorted(labels.items())
    )
    inside = [f"{label}{_equal(value)}" for label, value in named if value]
    if name and not re.fullmatch(_PLAIN, name.replace(":", "_")):
        name, inside = "", [quoted(name), *inside]
    return f"{name}{{{','.join(inside)}}}" if inside else name


def _equal(value: str) -> str:
    """The operator and the text that select this value. Signs that a message would not show become `.` there."""
    if one_line(value, len(value)) == value:
        return f"={json.dumps(value, ensure_ascii=False)}"
    signs = (re.escape(sign) if sign.isprintable() and not sign.isspace() else "." for sign in value)
    return f"=~{json.dumps(''.join(signs), ensure_ascii=False)}"


class _Found(Struct):
    """What one selector met: how many series, the first few, and one of the same name with other labels."""

    count: int = 0
    first: list["Sample"] = field(default_factory=list)
    sibling: "Sample | None" = None


def read(selectors: Mapping[str, Selector], body: bytes, content_type: str = "") -> Mapping[str, Answer]:
    """An answer for each query. A name is the sample's own, as it stands in the text (`_total`, `_sum`)."""
    text = text_of(body)
    if isinstance(text, Unknown):
        return dict.fromkeys(selectors, text)
    found = {query: _Found() for query in selectors}
    names: set[str] = set()
    problems: list[str] = []
    try:
        for sample in _samples(text, must_end=content_type.lower().startswith(_OPEN_METRICS)):
            if len(names) < _NAMES:
                names.add(sample.name)
            if sample.name == PROBLEM:
                problems.append(sample.labels.get("problem", ""))
            for query, selector in selectors.items():
                met = found[query]
                if selector.matches(sample.name, sample.labels):
                    met.count, met.first = met.count + 1, [*met.first, sample][:_SHOWN]
                elif sample.name == selector.name:
                    met.sibling = sample
    except Exception as error:  # the parser is not fit for every text that an endpoint may send
        return dict.fromkeys(selectors, unparseable(text, f"is not in the Prometheus text format: {error}"))
    return {query: _answer(found[query], selectors[query].name or query, names, problems) for query in selectors}


def _samples(text: str, *, must_end: bool) -> Iterator["Sample"]:
    """Every sample of the text. Without its comments, for the parser renames what `# TYPE … counter` announces."""
    from prometheus_client.parser import text_string_to_metric_families

    end = re.search(r"(?m)^# EOF[ \t]*\r?$", text)  # OpenMetrics; what follows it is not of the answer
    text = text[: end.start()] if end is not None else text
    if text and end is None and not text.endswith("\n"):
        raise ValueError("the last line has no end: the answer was cut off")
    if must_end and end is None:
        raise ValueError("OpenMetrics ends with # EOF: the answer was cut off")
    text = re.sub(_EXEMPLAR, r"\1", text) if " # {" in text else text
    lines = (line for line in StringIO(text, newline="\n") if not line.lstrip().startswith("#"))
    while some := "".join(islice(lines, _AT_ONCE)):
        if len(max(some.split("\n"), key=len)) > _LONGEST_LINE:
            raise ValueError(f"a line is longer than {_LONGEST_LINE} characters")
        for line in some.split("\n"):
            _check(line)
        for family in text_string_to_metric_families(some):
            yield from family.samples


def _check(line: str) -> None:
    """Raise ValueError where a sample has no number or more than two, of which the parser takes the first and last."""
    words = re.sub(_SERIES, "", line, count=1).split()  # which is found where the line begins, or nothing is
    if words and words[0].startswith("{"):
        raise ValueError(f"the labels of a sample cannot be read: {line}")
    if line.strip() and not 1 <= len(words) <= 2:
        raise ValueError(f"a sample has {len(words)} numbers, which are a value and a time: {line}")
    for word in words:
        float_of(word)


def _answer(found: _Found, name: str, names: set[str], problems: Sequence[str]) -> Answer:
    if found.count == 1:
        sample = found.first[0]
        # The parser takes every time for milliseconds; OpenMetrics writes seconds.
        written_at = moment_of_epoch(float(sample.timestamp) * 1000) if sample.timestamp is not None else None
        if isinstance(written_at, Unknown):
            return replace(written_at, why=f"has a time stamp that {written_at.why}")
        return Reading(sample.value, sample.labels, written_at)
    if found.count:
        listed = ", ".join(series(sample.name, sample.labels) for sample in found.first)
        return Unknown(Trouble.AMBIGUOUS, f"matches {found.count} series: {listed}", "narrow the selector to one")
    if found.sibling is None and (said := said_of(name, problems)):
        return Unknown(Trouble.MISSING, f"is not served: {said}")
    import difflib

    if found.sibling:
        remedy = f"there is {series(found.sibling.name, found.sibling.labels)}"
    elif near := difflib.get_close_matches(name, sorted(names), _SHOWN, 0.5):
        remedy = f"the nearest names are {', '.join(near)}"
    else:
        remedy = "no name is similar" if names else "the answer has no series at all"
    return Unknown(Trouble.MISSING, "matches no series", remedy)
