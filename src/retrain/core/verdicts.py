"""The nouns of a comparison, frozen: what was counted on the holdout, and what is made of it."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from retrain.core.records import Label


@dataclass(frozen=True, slots=True)
class Cell:
    """`rows` holdout rows with this truth, this prediction of the champion and this one of the challenger."""

    truth: Label
    champion: Label | None
    challenger: Label
    rows: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The holdout rows that have this value in this column, counted; None is the missing value."""

    column: str
    value: Label | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Leaked:
    """How many holdout rows occur in the data that each side was trained on; None where that is not known."""

    challenger: int | None = None
    champion: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """The holdout, counted: all that any metric of a confusion matrix needs.

    `champion` of every cell is None where there is no champion. `holdout` is the fingerprint of the rows'
    content, `sketch` the smallest of their hashes in order, `slices` the same rows by the columns that were asked for.
    """

    cells: tuple[Cell, ...]
    holdout: str
    sketch: tuple[int, ...] = ()
    slices: tuple[Slice, ...] = ()
    leaked: Leaked = Leaked()

    @property
    def rows(self) -> int:
        """Number of holdout rows."""
        return sum(cell.rows for cell in self.cells)

    @property
    def classes(self) -> tuple[tuple[str, int], ...]:
        """Each label with its number of holdout rows."""
        rows: Counter[str] = Counter()
        for cell in self.cells:
            rows[str(cell.truth)] += cell.rows
        return tuple(sorted(rows.items()))


class Ruling(StrEnum):
    """The outcome of a comparison."""

    PROMOTE = "promote"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class SliceVerdict:
    """What the comparison says of one slice of `rows` rows.

    `difference` is the gain there, None where the metric has no value; `tested` says whether the models differ on
    enough of its rows, `worse` whether the challenger is significantly worse there.
    """

    column: str
    value: Label | None
    rows: int
    difference: float | None = None
    tested: bool = False
    worse: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ruling on a challenger, the sentence for a person, and the numbers behind it.

    `alpha` is the one-sided level of this look, `look` counts the looks at this holdout, `detectable` is the
    gain this holdout could show with power 0.8. None where a number is not defined.
    """

    ruling: Ruling
    message: str
    metric: str
    rows: int
    challenger_score: float | None
    champion_score: float | None
    alpha: float
    look: int
    discordant: int | None = None
    difference: float | None = None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    detectable: float | None = None
    slices: tuple[SliceVerdict, ...] = ()
