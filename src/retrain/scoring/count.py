"""Two models and a holdout → how many rows have which truth and which two predictions."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

import joblib
import pandas as pd

from retrain.core.records import Label
from retrain.scoring import fingerprint, models
from retrain.scoring.holdout import Holdout, chunks, survey
from retrain.scoring.labels import canonical, quoted
from retrain.scoring.plan import Plan, Side, UnusableError, brief

Triple = tuple[Label, Label | None, Label]
"""Truth, the champion's prediction (None without a champion), the challenger's."""
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of the holdout, counted."""

    rows: int = 0
    cells: Counter[Triple] = field(default_factory=Counter)
    sums: fingerprint.Sums = (0, 0)
    sketch: fingerprint.Hashes = field(default_factory=lambda: fingerprint.NOTHING)

    def __add__(self, other: "Part") -> "Part":
        return Part(
            self.rows + other.rows,
            self.cells + other.cells,
            fingerprint.added(self.sums, other.sums),
            fingerprint.smallest(self.sketch, other.sketch),
        )


def tally(plan: Plan, tell: Tell) -> tuple[Part, str]:
    """The whole holdout, counted, and its fingerprint; the same for any chunk size and number of jobs.

    `tell` hears which side is at work (None: workers are, on all) and the share of rows done.
    UnusableError where a side is no use.
    """
    tell({"at": "holdout"})
    holdout = survey(plan)
    try:
        total = _total(plan, holdout, tell)
    except BrokenProcessPool:
        # A worker died. Alone, this process either has memory enough or dies at the step it told last.
        total = _total(replace(plan, jobs=1), holdout, tell)
    _check_vocabulary(plan, total.cells)
    return total, fingerprint.digest(total.sums, holdout.dtypes, plan.target, total.rows)


def _total(plan: Plan, holdout: Holdout, tell: Tell) -> Part:
    total = Part()
    for part in _parts(plan, holdout, tell):
        total += part
        tell({"progress": total.rows / holdout.rows})
    return total


def _parts(plan: Plan, holdout: Holdout, tell: Tell) -> Iterator[Part]:
    frames = chunks(holdout, plan.chunk)
    if plan.jobs == 1:
        yield from (score(plan, holdout.fractional, frame, tell) for frame in frames)
        return
    tell({"at": None})
    # Chunks go through pipes (max_nbytes), few at a time (pre_dispatch), so that neither memory nor a disk fills.
    parallel = joblib.Parallel(
        plan.jobs, return_as="generator_unordered", pre_dispatch=2 * plan.jobs, batch_size=1, max_nbytes=None
    )
    yield from parallel(joblib.delayed(score)(plan, holdout.fractional, frame) for frame in frames)


def score(plan: Plan, fractional: bool, chunk: pd.DataFrame, tell: Tell = lambda _: None) -> Part:
    """One chunk, counted. `fractional` says that labels of the holdout have decimals."""
    try:
        truth = canonical(chunk[plan.target])
    except (ValueError, TypeError) as error:
        raise UnusableError("holdout", plan.holdout, f"is no use, column {plan.target!r}: {brief(error)}") from error
    features = chunk.drop(columns=plan.target)
    champion: list[Label] | list[None] = [None] * len(truth)
    if plan.champion is not None:
        tell({"at": "champion"})
        champion = models.predict("champion", plan.champion, features, fractional)
    tell({"at": "challenger"})
    challenger = models.predict("challenger", plan.challenger, features, fractional)
    tell({"at": "holdout"})
    cells = Counter(zip(truth, champion, challenger, strict=True))
    return Part(len(truth), cells, *fingerprint.of_rows(chunk))


def _check_vocabulary(plan: Plan, cells: Iterable[Triple]) -> None:
    """UnusableError where a model speaks of other labels than the holdout: '1' is not 1."""
    truths, champions, challengers = map(set, zip(*cells, strict=True))
    spoken: dict[Side, tuple[str | None, set[Any]]] = {
        "champion": (plan.champion, champions),
        "challenger": (plan.challenger, challengers),
    }
    for side, (path, labels) in spoken.items():
        if path is not None and not labels & truths:
            problem = (
                f"predicts {quoted(labels)}, but column {plan.target!r} of {plan.holdout} has {quoted(truths)}: "
                f"train it on the holdout's labels, or read those as another type with promotion.dtypes"
            )
            raise UnusableError(side, path, problem)
