"""How often each rule trains for nothing, and how soon it trains when F1 has really dropped."""

import numpy as np

from retrain.core.evidence import YEAR
from tests.simulations.tables import Figure, Table
from tests.simulations.windows import (
    Bools,
    Floats,
    Rule,
    by_evidence,
    drawn,
    in_a_row,
    looking_for,
    share_of_trials,
    trainings,
)

THRESHOLD, HEALTHY = 0.85, 0.86
DROPPED = (0.82, 0.75)
ROWS = 1000
MONITORS = {
    "daily windows of 1,000 rows": (YEAR / 86400, "days"),
    "hourly windows of 1,000 rows": (YEAR / 3600, "hours"),
}
"""Windows a year, and the name of their length."""
READS = YEAR / 300
"""Reads a year, one every 5 minutes."""

NAIVE, ONE, THREE, EVIDENCE = (
    "the latest number, read every 5 min",
    "`consecutive: 1`",
    "`consecutive: 3`",
    "`evidence: {min_drop: 0.03, false_retrains_per_year: 1}`",
)
PATHS, SETTLED = 1000, 100
"""Paths side by side, and the windows after which it is forgotten how they began."""


def rules(windows_a_year: float, f1: float) -> dict[str, tuple[Rule, float]]:
    """Each rule, and how often it trains each time: the naive one at every read of a window below the threshold.

    `f1` is what the model had while the evidence rule got to know its windows.
    """
    evidence = by_evidence(looking_for(THRESHOLD, 0.03), ROWS * share_of_trials(f1), windows_a_year)
    return {
        NAIVE: (in_a_row(THRESHOLD, 1), READS / windows_a_year),
        ONE: (in_a_row(THRESHOLD, 1), 1.0),
        THREE: (in_a_row(THRESHOLD, 3), 1.0),
        EVIDENCE: (evidence, 1.0),
    }


def table(monitor: str, effort: float = 1.0) -> Table:
    """Trainings a year at a true F1 of 0.86 and of exactly 0.85, and the mean time until one after a real drop.

    Every training ends at once and leaves the model as it is; nothing holds one back. The drop comes with the first
    row of a window, when the model has long been at 0.86. `effort` scales the number of windows.
    """
    rng = np.random.default_rng(1)
    windows_a_year, unit = MONITORS[monitor]
    figures: Table = {rule: {} for rule in rules(windows_a_year, HEALTHY)}
    for f1 in (HEALTHY, THRESHOLD):
        for rule, figure in _a_year(rng, f1, windows_a_year, effort).items():
            figures[rule][f"false trainings a year at F1 {f1}"] = figure
    for f1 in DROPPED:
        for rule, figure in _windows(rng, f1, windows_a_year, effort).items():
            figures[rule][f"{unit} until it trains after a drop to {f1}"] = figure
    return figures


def _a_year(rng: np.random.Generator, f1: float, windows_a_year: float, effort: float) -> dict[str, Figure]:
    """Trainings a year while F1 stays where it is: rule → figure. All rules read the same windows."""
    read = rules(windows_a_year, f1)
    a_path: dict[str, list[Floats]] = {rule: [] for rule in read}
    windows = 4000
    for _ in range(8 if windows_a_year > 1000 else 2):
        tp, trials = drawn(rng, ROWS, f1, (SETTLED + windows, round(effort * PATHS)))
        for name, (rule, each) in read.items():
            trained = trainings(rule.scores(tp, trials), rule.bar)[SETTLED:]
            a_path[name].append(each * trained.sum(axis=0) / (windows / windows_a_year))
    return {name: _mean(np.concatenate(rates)) for name, rates in a_path.items()}


def _windows(rng: np.random.Generator, f1: float, windows_a_year: float, effort: float) -> dict[str, Figure]:
    """Windows after the drop, up to the one that trains: rule → figure."""
    paths = round(20 * effort * PATHS)
    before, after = drawn(rng, ROWS, HEALTHY, (SETTLED, paths)), drawn(rng, ROWS, f1, (200, paths))
    tp, trials = (np.concatenate(both) for both in zip(before, after, strict=True))
    return {
        name: _mean(_first(trainings(rule.scores(tp, trials), rule.bar)[SETTLED:]))
        for name, (rule, _) in rules(windows_a_year, HEALTHY).items()
    }


def _first(trained: Bools) -> Floats:
    """The number of the window, from 1, at which each path trains first."""
    if not trained.any(axis=0).all():
        raise ValueError("a path never trains")
    return np.asarray(1.0 + trained.argmax(axis=0))


def _mean(values: Floats) -> Figure:
    return Figure(float(values.mean()), float(1.96 * values.std() / np.sqrt(len(values))))
