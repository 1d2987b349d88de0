"""What a comparison showed, as values for its page and for the model's card."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from retrain.config import Config
from retrain.core import explain
from retrain.core.events import Judged
from retrain.core.records import Label
from retrain.core.text import counted, moment, short
from retrain.core.verdicts import Ruling, Verdict
from retrain.page.chart import Scale


class Matrix(Struct, frozen=True):
    """Rows by truth (a line each) and prediction (a column each) of one model."""

    model: str
    labels: tuple[str, ...]
    rows: tuple[tuple[int, ...], ...]


class Bounds(Struct, frozen=True):
    """A gain with its confidence bounds; `above` is min_improvement, `scale` where they stand in a drawing."""

    low: float
    gain: float
    high: float
    above: float
    scale: Scale


class Part(Struct, frozen=True):
    """A slice: its name, rows and gain, and what was found there."""

    name: str
    rows: int
    gain: str
    found: str


class Comparison(Struct, frozen=True):
    """All that the page shows. `won` and `lost` are None where they are not disclosed or not known."""

    project: str
    title: str
    because: str
    tone: str
    at: str
    by: str
    bounds: Bounds | None
    won: int | None
    lost: int | None
    facts: tuple[explain.Row, ...]
    matrices: tuple[Matrix, ...]
    slices: tuple[Part, ...]
    untested: tuple[str, ...]


TONES = {Ruling.PROMOTE: "good", Ruling.REJECT: "bad", Ruling.INCONCLUSIVE: "wait"}


def comparison(  # noqa: PLR0913  (what was compared, and what came of it)
    config: Config,
    judged: Judged,
    verdict: Verdict,
    at: datetime,
    *,
    head: str,
    notes: Sequence[explain.Row] = (),
    wins: bool,
    forced: bool = False,
) -> Comparison:
    """The values; `verdict` is that of `judged` as it may be disclosed, `head` says what was done."""
    gate = config.gate
    return Comparison(
        project=config.name,
        title=head[:1].upper() + head[1:],
        because=explain.because(verdict, gate)[0],
        tone="good" if wins else TONES[verdict.ruling],
        at=moment(at),
        by=str(judged.by) if judged.by is not None else "",
        bounds=_bounds(verdict, gate.min_improvement),
        won=verdict.won,
        lost=verdict.lost,
        facts=tuple(explain.facts(verdict, gate, notes, forced=forced)),
        matrices=tuple(_matrices(judged, verdict)),
        slices=tuple(_parts(verdict)),
        untested=tuple(untested(config, judged)),
    )


def _bounds(verdict: Verdict, above: float) -> Bounds | None:
    if verdict.interval is None or verdict.difference is None or not verdict.discordant:
        return None
    (low, high), gain = verdict.interval, verdict.difference
    ends = min(low, gain, above, 0.0), max(high, gain, above, 0.0)
    return Bounds(low, gain, high, above, Scale.around(*ends, 30, 610))


def _matrices(judged: Judged, verdict: Verdict) -> Iterator[Matrix]:
    """The confusion matrices of the champion, if there is one, and of the challenger."""
    cells = verdict.cells
    labels = sorted({label for cell in cells for label in (cell.truth, cell.champion, cell.challenger)}, key=str)
    known = [label for label in labels if label is not None]
    for side, version in (("champion", judged.champion), ("challenger", judged.challenger)):
        rows: Counter[tuple[Label, Label | None]] = Counter()
        for cell in cells:
            rows[cell.truth, getattr(cell, side)] += cell.rows
        if cells and version is not None:
            table = tuple(tuple(rows[truth, guess] for guess in known) for truth in known)
            yield Matrix(f"{side} {short(version)}", tuple(map(str, known)), table)


def _parts(verdict: Verdict) -> Iterator[Part]:
    for each in verdict.slices:
        gain = "" if each.difference is None else explain.signed(each.difference)
        yield Part(explain.where(each), each.rows, gain, _found(tested=each.tested, worse=each.worse))


def _found(*, tested: bool, worse: bool) -> str:
    return "worse" if worse else "not worse" if tested else "not tested"


def untested(config: Config, judged: Judged) -> Iterator[str]:
    """What the comparison says nothing about."""
    verdict, leaked = judged.verdict, judged.leaked
    if judged.champion is None:
        yield "whether it is better than another model: no champion was compared"
    if few := [each for each in verdict.slices if not each.tested]:
        for each in few[:5]:
            why = "too few discordant rows, or no value of the metric"
            yield f"the slice {explain.where(each)} ({counted(each.rows, 'row')}): {why}"
        if len(few) > 5:
            yield f"{counted(len(few) - 5, 'more slice')}, for the same reason"
    if not verdict.slices:
        yield "parts of the data by themselves: promotion.slices names no column"
    for label, rows in verdict.few[:5]:
        yield f"class {label} by itself: the models differ on {counted(rows, 'row')} of it"
    sides = {"challenger": leaked.challenger, "champion": leaked.champion if judged.champion else 0}
    if unknown := [side for side, count in sides.items() if count is None]:
        yield f"whether the {' or the '.join(unknown)} was trained on these rows: the training rows are not known"
    if verdict.group is None:
        yield "whether rows depend on each other: promotion.group names no column"
    yield "how fast the model answers, how much memory it takes, and the service that loads it"
