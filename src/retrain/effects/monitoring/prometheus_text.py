"""The Prometheus text format: one series for every selector."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING

from retrain.core.records import Unknown
from retrain.effects.monitoring.bodies import not_what_was_asked, text_of
from retrain.effects.monitoring.readings import Answer, Reading, Trouble
from retrain.effects.monitoring.selector import Selector, series

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

_LONGEST_LINE = 65536
"""The parser's work grows with the square of a line."""
_AT_ONCE = 1000
"""So many lines are parsed at a time, for the parser holds all samples of a name together."""
_NAMES = 1000
"""So many names are remembered to find the nearest to a wrong one."""
_SHOWN = 3


@dataclass(slots=True)
class _Found:
    """What one selector met: how many series, the first few, and one of the same name with other labels."""

    count: int = 0
    first: list["Sample"] = field(default_factory=list)
    sibling: "Sample | None" = None

    def see(self, sample: "Sample", selector: Selector) -> None:
        if selector.matches(sample.name, sample.labels):
            self.count += 1
            if self.count <= _SHOWN:
                self.first.append(sample)
        elif sample.name == selector.name:
            self.sibling = sample


def read(body: bytes, selectors: Mapping[str, Selector], where: str) -> Mapping[str, Answer]:
    """An answer for each query. A name is the sample's own, as it stands in the text (`_total`, `_sum`)."""
    text = text_of(body, where)
    if isinstance(text, Unknown):
        return dict.fromkeys(selectors, text)
    found = {query: _Found() for query in selectors}
    names: set[str] = set()
    try:
        for sample in _samples(text):
            if len(names) < _NAMES:
                names.add(sample.name)
            for query, selector in selectors.items():
                found[query].see(sample, selector)
    except Exception as error:  # the parser is not fit for every text that an endpoint may send
        broken = not_what_was_asked(text, where, f"is not in the Prometheus text format ({error})")
        return dict.fromkeys(selectors, broken)
    return {query: _answer(found[query], query, selectors[query], names, where) for query in selectors}


def _samples(text: str) -> Iterator["Sample"]:
    """Every sample of the text. Without its comments, for the parser renames what `# TYPE … counter` announces."""
    from prometheus_client.parser import text_string_to_metric_families

    if text and not text.endswith("\n"):
        raise ValueError("the last line has no end: the answer was cut off")
    lines = (line for line in StringIO(text, newline="\n") if not line.lstrip().startswith("#"))
    while some := "".join(islice(lines, _AT_ONCE)):
        if len(max(some.split("\n"), key=len)) > _LONGEST_LINE:
            raise ValueError(f"a line is longer than {_LONGEST_LINE} characters")
        for family in text_string_to_metric_families(some):
            yield from family.samples


def _answer(found: _Found, query: str, selector: Selector, names: set[str], where: str) -> Answer:
    if found.count == 1:
        return Reading(found.first[0].value, found.first[0].labels)
    if found.count:
        listed = ", ".join(series(sample.name, sample.labels) for sample in found.first)
        return Unknown(
            Trouble.AMBIGUOUS, f"{found.count} series match {query} at {where}; narrow the selector to one: {listed}"
        )
    if found.sibling:
        hint = f"the answer has {series(found.sibling.name, found.sibling.labels)}"
    elif near := difflib.get_close_matches(selector.name or query, sorted(names), _SHOWN, 0.5):
        hint = f"the nearest names are {', '.join(near)}"
    else:
        hint = "no name is near it" if names else "the answer has no series at all"
    return Unknown(Trouble.MISSING, f"no series matches {query} at {where}; {hint}")
