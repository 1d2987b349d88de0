"""Windows of labelled rows, and the rules that read them: a score for each window, and a bar for their sum."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retrain.core.evidence import WINDOWS, YEAR, bar, weigh
from retrain.core.past import Evidence
from retrain.core.records import Counts
from retrain.core.rules import EvidenceRule, Triggers

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Scores = Callable[[Ints, Ints], Floats]
"""TP and TP + FP + FN of windows → what each window adds to the sum."""

POSITIVES = 0.2
"""The share of positive rows."""


class Rule(NamedTuple):
    """Trains when the sum of the scores, which never falls below 0, reaches the bar; then the sum is 0 again."""

    scores: Scores
    bar: float


def share_of_trials(f1: float) -> float:
    """The share of rows that are TP, FP or FN at this true F1, where precision = recall."""
    return POSITIVES * (2 - f1)


def jaccard(f1: float) -> float:
    """The share of TP + FP + FN that are TP at this true F1."""
    return f1 / (2 - f1)


def drawn(rng: np.random.Generator, rows: int, f1: float, shape: int | tuple[int, ...]) -> tuple[Ints, Ints]:
    """TP and TP + FP + FN of windows of `rows` rows: a multinomial draw of TP, FP and FN, the rules' sums of it."""
    trials = rng.binomial(rows, share_of_trials(f1), shape)
    return rng.binomial(trials, jaccard(f1)), trials


def in_a_row(threshold: float, consecutive: int) -> Rule:
    """`consecutive` windows in a row below the threshold: each adds 1, any other takes the sum back to 0."""

    def scores(tp: Ints, trials: Ints) -> Floats:
        return np.where(2 * tp / (tp + trials) < threshold, 1.0, -np.inf)

    return Rule(scores, consecutive)


def by_evidence(triggers: Triggers, trials: float, windows_a_year: float) -> Rule:
    """The evidence rule of these triggers, where windows have so many TP + FP + FN on average and are so many."""
    known = Evidence(windows=WINDOWS, trials=trials, gap=YEAR / windows_a_year)
    return Rule(likelihood(triggers), bar(known, triggers))


def likelihood(triggers: Triggers) -> Scores:
    """The scores of the evidence rule, from what it gives one TP and one FP."""
    hit, miss = weigh(1.0, Counts(1, 0, 0), None, triggers), weigh(0.0, Counts(0, 1, 0), None, triggers)
    if hit is None or miss is None:
        raise ValueError("these triggers have no evidence rule")
    of_hit, of_miss = hit.score, miss.score
    return lambda tp, trials: tp * of_hit + (trials - tp) * of_miss


def looking_for(threshold: float, min_drop: float, false_retrains_per_year: float = 1.0) -> Triggers:
    """Triggers with an evidence rule that takes windows to differ by chance alone."""
    rule = EvidenceRule(min_drop, false_retrains_per_year, 1.0)
    return Triggers(threshold, evidence=rule)


def trainings(scores: Floats, bars: float | Floats) -> Bools:
    """At which windows each path trains, windows × paths like the scores; the bar is one, or one for each window."""
    total = np.zeros(scores.shape[1:])
    trained = np.zeros(scores.shape, dtype=bool)
    for window, bar_then in enumerate(np.broadcast_to(bars, len(scores))):
        total = np.maximum(0.0, total + scores[window])
        trained[window] = total >= bar_then
        total[trained[window]] = 0.0
    return trained
