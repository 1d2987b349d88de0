"""Two models and a holdout → how many rows have which truth and which two predictions."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from typing import Any

import joblib
import pandas as pd

from retrain.core.records import Label
from retrain.scoring import fingerprint, leakage, models, slices
from retrain.scoring.holdout import Holdout, chunks, survey, truth_of
from retrain.scoring.labels import Triple
from retrain.scoring.limits import or_end
from retrain.scoring.plan import Comparison, Side

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of the holdout, counted."""

    rows: int = 0
    cells: Counter[Triple] = field(default_factory=Counter)
    sums: fingerprint.Sums = (0, 0)
    sketch: fingerprint.Hashes = field(default_factory=lambda: fingerprint.NOTHING)
    sliced: slices.Sliced = field(default_factory=dict)
    leaked: Counter[Side] = field(default_factory=Counter)

    def __add__(self, other: "Part") -> "Part":
        return Part(
            self.rows + other.rows,
            self.cells + other.cells,
            fingerprint.added(self.sums, other.sums),
            fingerprint.smallest(self.sketch, other.sketch),
            slices.added(self.sliced, other.sliced),
            self.leaked + other.leaked,
        )


def tally(plan: Comparison, tell: Tell) -> tuple[Part, str]:
    """The whole holdout, counted, and its fingerprint; the same for any chunk size and number of jobs.

    `tell` hears which side is at work (None: workers are, on all) and the share of rows done.
    UnusableError where a side is no use.
    """
    tell({"at": "holdout"})
    slices.check(plan)
    leakage.check(plan)
    holdout = survey(plan)
    try:
        total = _total(plan, holdout, tell)
    except BrokenProcessPool:
        # A worker died. Alone, this process either has memory enough or dies at the step it told last.
        total = _total(replace(plan, jobs=1), holdout, tell)
    if plan.champion is not None:
        models.check_vocabulary("champion", plan.champion, plan, total.cells)
    models.check_vocabulary("challenger", plan.challenger, plan, total.cells)
    return total, fingerprint.digest(total.sums, holdout.dtypes, plan.target, total.rows)


def _total(plan: Comparison, holdout: Holdout, tell: Tell) -> Part:
    total = Part()
    for part in _parts(plan, holdout, tell):
        total += part
        slices.check_few(plan, total.sliced)
        tell({"progress": total.rows / holdout.rows})
    return total


def _parts(plan: Comparison, holdout: Holdout, tell: Tell) -> Iterator[Part]:
    frames = chunks(holdout, plan.chunk)
    if plan.jobs == 1:
        yield from (score(plan, holdout.fractional, frame, tell) for frame in frames)
        return
    tell({"at": None})
    # Chunks go through pipes (max_nbytes), few at a time (pre_dispatch), so that neither memory nor a disk fills.
    parallel = joblib.Parallel(
        plan.jobs, return_as="generator_unordered", pre_dispatch=2 * plan.jobs, batch_size=1, max_nbytes=None
    )
    yield from parallel(joblib.delayed(_score_or_end)(plan, holdout.fractional, frame) for frame in frames)


def _score_or_end(plan: Comparison, fractional: bool, chunk: pd.DataFrame) -> Part:
    return or_end(lambda: score(plan, fractional, chunk))


def score(plan: Comparison, fractional: bool, chunk: pd.DataFrame, tell: Tell = lambda _: None) -> Part:
    """One chunk, counted. `fractional` says that labels of the holdout have decimals."""
    truth = truth_of(plan, chunk)
    features = chunk.drop(columns=plan.target)
    champion: list[Label] | list[None] = [None] * len(truth)
    if plan.champion is not None:
        tell({"at": "champion"})
        champion = models.predict("champion", plan.champion, plan.trusted, features, fractional)
    tell({"at": "challenger"})
    challenger = models.predict("challenger", plan.challenger, plan.trusted, features, fractional)
    tell({"at": "holdout"})
    triples = list(zip(truth, champion, challenger, strict=True))
    sliced, leaked = slices.sliced(plan, chunk, triples), leakage.leaked(plan, chunk)
    return Part(len(truth), Counter(triples), *fingerprint.of_rows(chunk), sliced, leaked)
