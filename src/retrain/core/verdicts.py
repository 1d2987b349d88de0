"""The nouns of a comparison, frozen: what was counted on the holdout, and the verdict."""

from collections import Counter
from enum import StrEnum

from msgspec import Struct

from retrain.core.records import Counts, Label


class Cell(Struct, frozen=True):
    """`rows` holdout rows with this truth, this prediction of the champion and this one of the challenger."""

    truth: Label
    champion: Label | None
    challenger: Label
    rows: int


class Groups(Struct, frozen=True):
    """How the rows of a tally fall into groups that do not err independently; a row that stands alone is one, too.

    `number` groups, in `discordant` of which is a row on which the models differ. `together` has (i, j, n): n is the
    sum over groups of their rows in cell i times those in cell j, twice that where i < j. `column` says which rows
    belong together; where it is None, those that are equal in all columns do.
    """

    number: int
    discordant: int
    together: tuple[tuple[int, int, int], ...]
    column: str | None = None


class Slice(Struct, frozen=True):
    """The holdout rows that have this value in this column, counted; None is the missing value."""

    column: str
    value: Label | None
    cells: tuple[Cell, ...]
    groups: Groups | None = None


class Leaked(Struct, frozen=True):
    """How many holdout rows occur in the training data of each model, and how many are older than the champion's.

    None where that is not known; `older` is 0 for rows that were cut from the log, and counted where a training of its
    own accord wrote those that it left out.
    """

    challenger: int | None = None
    champion: int | None = None
    older: int | None = None


class Sketch(Struct, frozen=True):
    """The smallest hashes of a holdout's rows in order, a row being known by these columns alone.

    Its numbers are rounded to so many `decimals`; None: not rounded.
    """

    columns: tuple[str, ...]
    decimals: int | None
    hashes: tuple[int, ...]


class ModelNote(Struct, frozen=True):
    """What is to be known of a model that was scored: in a clause, by which other versions it was `saved`.

    One that is `unnamed` names no columns, so it was given those of the holdout by their position.
    """

    side: str
    saved: str = ""
    unnamed: bool = False


class Tally(Struct, frozen=True):
    """The holdout, counted: all that any metric of a confusion matrix needs.

    `champion` of every cell is None where there is no champion. `holdout` is the fingerprint of the rows'
    content, `sketches` the smallest of their hashes by all and by fewer columns and decimals, `slices`
    the same rows by the columns that were asked for, `groups` which of them belong together (None: each row stands
    alone).
    """

    cells: tuple[Cell, ...]
    holdout: str
    sketches: tuple[Sketch, ...] = ()
    slices: tuple[Slice, ...] = ()
    leaked: Leaked = Leaked()
    groups: Groups | None = None
    models: tuple[ModelNote, ...] = ()

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


class VerdictReason(StrEnum):
    """Why a verdict is so; a closed list, by ruling. Only earlier releases gave FEW_DISCORDANT and UNKNOWN_CLASS."""

    BETTER = "better"
    REACHES_FLOOR = "reaches_floor"
    NOT_BETTER = "not_better"
    BELOW_FLOOR = "below_floor"
    NO_FLOOR = "no_floor"
    WORSE_SLICE = "worse_slice"
    UNDECIDED = "undecided"
    FLOOR_UNDECIDED = "floor_undecided"
    FEW_ROWS = "few_rows"
    STALE_HOLDOUT = "stale_holdout"
    SAME_PREDICTIONS = "same_predictions"
    FEW_DISCORDANT = "few_discordant"
    NO_POSITIVE = "no_positive"
    ONE_CLASS = "one_class"
    MANY_CLASSES = "many_classes"
    UNKNOWN_CLASS = "unknown_class"
    UNDEFINED = "undefined"

    @property
    def ruling(self) -> Ruling:
        """The outcome that this is a reason for."""
        if self in (VerdictReason.BETTER, VerdictReason.REACHES_FLOOR):
            return Ruling.PROMOTE
        rejects = (self.NOT_BETTER, self.BELOW_FLOOR, self.NO_FLOOR, self.WORSE_SLICE)
        return Ruling.REJECT if self in rejects else Ruling.INCONCLUSIVE


class SliceVerdict(Struct, frozen=True):
    """The comparison on one slice of `rows` rows.

    `difference` is the gain there, None where the metric has no value; `worse` says whether the challenger is
    significantly worse there, `tested` whether it is or the models differ on enough rows to show that.
    """

    column: str
    value: Label | None
    rows: int
    difference: float | None = None
    tested: bool = False
    worse: bool = False


class Verdict(Struct, frozen=True):
    """The ruling on a challenger, its reason, and the numbers behind it; None where a number is not defined.

    `alpha` is the one-sided level of this comparison, `look` its number on this holdout, `detectable` the gain that
    this holdout shows with power 0.8. Of the `discordant` rows, on which the models differ, the challenger alone is
    right on `won`, the champion alone on `lost`; `positives` are those of the positive class among both, where there
    are two classes. `few` are the classes with few discordant rows, and how many. Where rows belong together, they are
    of `groups` groups (by the column `group`; None: of equal rows) and say as much as `effective_rows` independent
    ones. `labels` are the classes that the reason is about. `reason` is None where an earlier release recorded the
    verdict.

    `expected` are the expected gain and loss beyond min_improvement, `worse_later` how often such a challenger was
    worse in the windows that followed (with guarantee regret). `lower` is the lower bound of the score where there is
    no champion. `counts` are those of the champion and of the challenger where the metric is a binary F1, `live` the
    champion's live F1 where it contradicts this holdout. `cells` are those of the tally, where few enough
    to be shown as confusion matrices.
    """

    ruling: Ruling
    metric: str
    rows: int
    challenger_score: float | None
    champion_score: float | None
    alpha: float
    look: int
    reason: VerdictReason | None = None
    discordant: int | None = None
    won: int | None = None
    lost: int | None = None
    positives: tuple[int, int] | None = None
    difference: float | None = None
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    detectable: float | None = None
    slices: tuple[SliceVerdict, ...] = ()
    labels: tuple[Label, ...] = ()
    few: tuple[tuple[Label, int], ...] = ()
    groups: int | None = None
    group: str | None = None
    effective_rows: int | None = None
    expected: tuple[float, float] | None = None
    worse_later: tuple[float, float] | None = None
    lower: float | None = None
    counts: tuple[Counts, Counts] | None = None
    live: float | None = None
    models: tuple[ModelNote, ...] = ()
    cells: tuple[Cell, ...] = ()
