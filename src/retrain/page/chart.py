"""Where values stand in a drawing: linear scales, ticks, lines, and markers that do not overlap.

The drawings are SVG that the templates write, and no image of matplotlib: a year is some kilobytes, each number is
exact, the colours follow the reader's theme, and nothing heavy is imported.
"""

from collections.abc import Iterable
from math import ceil, floor, log10

from msgspec import Struct


class Scale(Struct, frozen=True):
    """A linear scale: `low` stands at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, low: float, high: float, start: float, end: float) -> "Scale":
        """The scale that has room for both, and is never empty."""
        room = (high - low) * 0.06 or abs(low) * 0.05 or 0.05
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """Where the value stands, to a tenth; what lies outside stands at the edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, about: int = 4) -> list[tuple[float, str]]:
        """Round values on the scale with their texts."""
        rough = (self.high - self.low) / about
        unit = 10.0 ** floor(log10(rough))
        step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= rough)
        digits = max(0, -floor(log10(step) + 1e-9))
        first, last = ceil(self.low / step), floor(self.high / step)
        return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]


def line(points: Iterable[tuple[float, float]]) -> str:
    """The points of a polyline."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def gathered(marks: Iterable[tuple[float, str]], apart: float) -> list[tuple[float, int, str]]:
    """The markers so that none overlaps another: those closer than `apart` to the one before become one.

    Each is where it stands, how many it stands for, and their texts, up to a dozen.
    """
    found: list[tuple[float, list[str]]] = []
    for at, text in sorted(marks):
        if found and at - found[-1][0] < apart:
            found[-1][1].append(text)
        else:
            found.append((at, [text]))
    more = "; and more"
    return [(at, len(texts), "; ".join(texts[:12]) + (more if len(texts) > 12 else "")) for at, texts in found]
