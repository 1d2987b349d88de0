"""False trainings of the evidence rule over the tolerated number, and its delay over that of the fastest rule.

The grid: thresholds 0.70, 0.85 and 0.95; drops looked for of 0.02, 0.03, 0.05 and 0.10; weekly, daily and hourly
windows with a mean TP + FP + FN of 30, 100, 300, 1,000 and 3,000 (precision = recall); 1 and 4 tolerated trainings a
year; real drops of 1, 1.5, 2 and 3 times the one looked for. So the information I0 in a window runs from 0.03, where
a hundred windows make a proof, to 260, where one does.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np

from tests.simulations.tables import Figure, Table, shown
from tests.simulations.windows import (
    Floats,
    Ints,
    Scores,
    by_evidence,
    drawn,
    jaccard,
    likelihood,
    looking_for,
    share_of_trials,
)

THRESHOLDS, TRIALS, MIN_DROPS = (0.70, 0.85, 0.95), (30, 100, 300, 1000, 3000), (0.02, 0.03, 0.05, 0.10)
PACES = tuple(product((52.0, 365.0, 8766.0), (1.0, 4.0)))
"""Windows a year and tolerated trainings a year."""
TIMES = (1.0, 1.5, 2.0, 3.0)
"""The real drop over the one that is looked for."""
CLASSES = {
    "up to 1": (0.0, 1.0),
    "1 to 2": (1.0, 2.0),
    "2 to 8": (2.0, 8.0),
    "above 8": (8.0, inf),
}
"""Information in a window."""
LEAST, MOST, SLOWEST = 0.9, 1.1, 1.4
"""The targets: false trainings over the tolerated number, and the delay over that of the fastest rule."""
CANDIDATES = np.arange(-15.0, 17.0, 0.1)
"""Bars among which that of the optimal rule is found."""
PROVEN = 0.01
"""Below this ratio a window alone is a proof: the rate is not measured, and every rule takes one window at least."""


class Setting(NamedTuple):
    """A rule and its windows, with the measured false trainings over the tolerated number."""

    threshold: float
    min_drop: float
    trials: float
    windows_a_year: float
    tolerated: float
    information: float
    bar: float
    ratio: Figure

    @property
    def a_window(self) -> float:
        """The measured chance of a false training at a window."""
        return self.ratio.value * self.tolerated / self.windows_a_year

    def __str__(self) -> str:
        return (
            f"F1 {self.threshold:.2f} − {self.min_drop:.2f}, TP + FP + FN {self.trials:,.0f},"
            f" {self.windows_a_year:,.0f} windows a year, {self.tolerated:g} tolerated"
        )


class Wait(NamedTuple):
    """The delay after a real drop of `times` min_drop, in windows and over that of the fastest rule (CUSUM for this
    drop) with as many false trainings; `plain` is that of a threshold with as many (None: not measured)."""

    setting: Setting
    times: float
    windows: float
    slower: Figure
    plain: Figure | None


class Passages(NamedTuple):
    """For every bar, mean and standard error over the paths: windows until it was reached, and e^−sum then."""

    windows: Floats
    windows_error: Floats
    weight: Floats
    weight_error: Floats


def passages(scores: Callable[[int], Floats], bars: Floats, paths: int, *, ends_at_zero: bool) -> Passages:
    """The first passages of a sum from 0 over the bars; `scores` draws so many scores.

    The sum never falls below 0, or it ends there and has weight 0. It is taken to 0 before a score is added, not after
    that: for bars above 0 the rule is the same, and bars below 0 make sense, too (Moustakides 1986).
    """
    order = np.argsort(bars)
    ascending = bars[order]
    moments = np.zeros((2, 2, len(bars) + 1))

    def add(what: int, values: Floats, first: Ints, last: Ints) -> None:
        """The values count for the bars from the first up to before the last."""
        for power in (1, 2):
            for edge, sign in ((first, 1), (last, -1)):
                moments[what, power - 1] += sign * np.bincount(edge, values**power, len(bars) + 1)

    total, level, windows = np.zeros(paths), np.zeros(paths, dtype=np.int64), 0
    while len(total):
        windows += 1
        total = np.maximum(0.0, total) + scores(len(total))
        before, level = level, np.maximum(level, np.searchsorted(ascending, total, side="right"))
        risen = level > before
        add(0, np.full(risen.sum(), float(windows)), before[risen], level[risen])
        add(1, np.exp(-total[risen]), before[risen], level[risen])
        going = level < len(bars)
        if ends_at_zero:
            ended = going & (total <= 0)
            add(0, np.full(ended.sum(), float(windows)), level[ended], np.full(ended.sum(), len(bars)))
            going &= ~ended
        total, level = total[going], level[going]
    means, squares = np.moveaxis(np.cumsum(moments, axis=2)[:, :, np.argsort(order)] / paths, 1, 0)
    errors = np.sqrt(np.maximum(0.0, squares - means**2) / paths)
    return Passages(means[0], errors[0], means[1], errors[1])


def rates(
    rng: np.random.Generator, rows: int, threshold: float, drop: float, bars: Floats, *, paths: int
) -> tuple[Floats, Floats]:
    """False trainings a window at F1 = threshold for every bar, and their relative standard errors.

    A training or a return to 0 starts the sum anew, so the rate is the chance that such a cycle trains over its mean
    length. The chance is simulated at the lower F1, where it is large, and weighted back (Siegmund 1976).
    """
    scores = likelihood(looking_for(threshold, drop))

    def at(f1: float, windows: int) -> Floats:
        trials = rng.binomial(rows, share_of_trials(threshold), windows)
        return scores(rng.binomial(trials, jaccard(f1)), trials)

    lowered = passages(partial(at, threshold - drop), bars, paths, ends_at_zero=True)
    healthy = passages(partial(at, threshold), bars, paths, ends_at_zero=True)
    chance = np.maximum(lowered.weight, np.finfo(float).tiny)
    return chance / healthy.windows, np.hypot(lowered.weight_error / chance, healthy.windows_error / healthy.windows)


def delays(
    rng: np.random.Generator, rows: int, f1: float, scores: Scores, bars: Floats, *, paths: int
) -> tuple[Floats, Floats]:
    """Mean windows until the sum, from 0, reaches each of the bars at this F1, and their standard errors."""
    passed = passages(lambda windows: scores(*drawn(rng, rows, f1, windows)), bars, paths, ends_at_zero=False)
    return passed.windows, passed.windows_error


def settings(
    rng: np.random.Generator,
    threshold: float,
    min_drop: float,
    trials: float,
    *,
    paces: Sequence[tuple[float, float]] = PACES,
    paths: int = 50_000,
) -> list[Setting]:
    """The settings with these windows and this rule, measured, one for each pace."""
    rows = rows_of(threshold, trials)
    mean = rows * share_of_trials(threshold)
    triggers = [looking_for(threshold, min_drop, tolerated) for _, tolerated in paces]
    bars = np.array([by_evidence(each, mean, pace).bar for each, (pace, _) in zip(triggers, paces, strict=True)])
    a_window, errors = rates(rng, rows, threshold, min_drop, bars, paths=paths)
    information = mean * _divergence(jaccard(threshold), jaccard(threshold - min_drop))
    measured = []
    for (pace, tolerated), level, rate, error in zip(paces, bars, a_window, errors, strict=True):
        ratio = float(rate) * pace / tolerated
        half = 1.96 * float(error) * ratio
        measured.append(
            Setting(threshold, min_drop, mean, pace, tolerated, information, float(level), Figure(ratio, half))
        )
    return measured


def waits(
    rng: np.random.Generator, measured: Sequence[Setting], times: float, healthy: Floats, *, paths: int = 20_000
) -> list[Wait]:
    """The delays of settings that differ in their pace only; `healthy` are sorted F1 of windows at the threshold.

    Beside them there are ten windows after the drop for each path.
    """
    threshold, min_drop, trials = measured[0][:3]
    rows, drop = rows_of(threshold, trials), times * min_drop
    rule = likelihood(looking_for(threshold, min_drop))
    own, own_error = delays(rng, rows, threshold - drop, rule, np.array([each.bar for each in measured]), paths=paths)
    fastest, error = own.copy(), np.zeros(len(own))
    if times != 1:
        best = likelihood(looking_for(threshold, drop))
        found, _ = rates(rng, rows, threshold, drop, CANDIDATES, paths=paths)
        falling = -np.log(np.minimum.accumulate(found))
        bars = np.interp([-np.log(max(each.a_window, np.finfo(float).tiny)) for each in measured], falling, CANDIDATES)
        fastest, error = delays(rng, rows, threshold - drop, best, bars, paths=paths)
        error = np.hypot(error / fastest, own_error / own)
    dropped = f1s(rng, rows, threshold - drop, 10 * paths)
    plain = _plain(dropped, np.array([each.a_window for each in measured]), healthy)
    told = []
    for at, each in enumerate(measured):
        of = float(fastest[at]) if each.ratio.value > PROVEN else 1.0
        ratio, threshold_rule = float(own[at]) / of, plain[at]
        slower = Figure(ratio, 1.96 * float(error[at]) * ratio)
        told.append(Wait(each, times, float(own[at]), slower, threshold_rule and _over(threshold_rule, of)))
    return told


def _plain(dropped: Floats, a_window: Floats, healthy: Floats) -> list[Figure | None]:
    """Mean windows until one is below the threshold that so few healthy windows are below; F1 of each kind, ascending.

    Equal values at that threshold are taken by lot, so that the rate is the same; None where fewer than 50 of the
    healthy windows are below it. Their number has the larger part in the error.
    """
    told: list[Figure | None] = []
    for below in a_window * len(healthy):
        if below < 50:
            told.append(None)
            continue
        value = healthy[int(below)]
        (first, low), (last, high) = (
            [float(np.searchsorted(each, value, side=side)) for each in (healthy, dropped)]
            for side in ("left", "right")
        )
        windows = len(dropped) / (low + (below - first) / (last - first) * (high - low))
        told.append(Figure(windows, 1.96 * windows / sqrt(below)))
    return told


def _over(figure: Figure, divisor: float) -> Figure:
    return Figure(figure.value / divisor, figure.half / divisor)


def rows_of(threshold: float, trials: float) -> int:
    """Rows of a window that has so many TP + FP + FN on average at F1 = threshold."""
    return round(trials / share_of_trials(threshold))


def _divergence(healthy: float, dropped: float) -> float:
    """The information in one TP, FP or FN: Kullback and Leibler's, of the two shares of TP."""
    return healthy * log(healthy / dropped) + (1 - healthy) * log((1 - healthy) / (1 - dropped))


def measure(
    effort: float = 1.0, progress: Callable[[str], object] = lambda _: None
) -> tuple[list[Setting], list[Wait]]:
    """Every setting of the grid, and every delay."""
    rng = np.random.default_rng(3)
    measured: list[Setting] = []
    waited: list[Wait] = []
    for threshold, trials in product(THRESHOLDS, TRIALS):
        progress(f"the grid at F1 {threshold:.2f}, TP + FP + FN {trials:,}")
        healthy = f1s(rng, rows_of(threshold, trials), threshold, round(2_000_000 * effort))
        for min_drop in MIN_DROPS:
            here = settings(rng, threshold, min_drop, trials, paths=round(50_000 * effort))
            measured += here
            waited += [
                wait for times in TIMES for wait in waits(rng, here, times, healthy, paths=round(20_000 * effort))
            ]
    return measured, waited


def f1s(rng: np.random.Generator, rows: int, f1: float, windows: int) -> Floats:
    """F1 of so many windows, ascending."""
    tp, of = drawn(rng, rows, f1, windows)
    return np.sort(2 * tp / (tp + of))


def of_ratios(measured: Sequence[Setting]) -> Table:
    """False trainings over the tolerated number, by the information in a window."""
    table: Table = {}
    for name, (above, to) in CLASSES.items():
        ratios = [each.ratio for each in measured if above < each.information <= to]
        if ratios:
            table[name] = {"smallest": min(ratios), "median": _median(ratios), "largest": max(ratios)}
    return table


def of_delays(waited: Sequence[Wait]) -> Table:
    """The delay over that of the fastest rule, of the evidence rule and of a plain threshold, by the real drop."""
    table: Table = {}
    for times in sorted({each.times for each in waited}):
        slower = [each.slower for each in waited if each.times == times]
        plain = [each.plain for each in waited if each.times == times and each.plain is not None]
        table[f"{times:g} × min_drop"] = {
            "evidence, median": _median(slower),
            "evidence, largest": max(slower),
            "threshold, median": _median(plain),
            "threshold, largest": max(plain),
        }
    return table


def _median(figures: Sequence[Figure]) -> Figure:
    return sorted(figures)[len(figures) // 2]


def missed(measured: Sequence[Setting], waited: Sequence[Wait]) -> tuple[str, ...]:
    """Where the targets of STATISTICS §2 are missed by more than the Monte Carlo error, and by how much."""
    over = [each for each in measured if each.ratio.value - each.ratio.half > MOST]
    under = [each for each in measured if each.ratio.value + each.ratio.half < LEAST]
    late = [each for each in waited if each.slower.value - each.slower.half > SLOWEST]
    some = [each for each in waited if each.times > 1 and each.windows > 2 * each.slower.value]
    told = [f"False trainings above {MOST} times the tolerated number: {_of(over, measured)}{_range(over)}."]
    if over:
        worst = max(over, key=lambda each: each.ratio)
        told.append(f"The most, {shown(worst.ratio)} times, are at {worst} (I0 {worst.information:.1f}).")
    told.append(f"Below {LEAST} times: {_of(under, measured)}{_range(under)}.")
    told.append(f"Delay above {SLOWEST} times that of the fastest rule: {_of(late, waited)}.")
    if late:
        slowest = max(late, key=lambda each: each.slower)
        told.append(
            f"The longest, {shown(slowest.slower)} times, is {slowest.windows:.1f} windows after a real drop of"
            f" {slowest.times:g} × min_drop at {slowest.setting}; all are at"
            f" {min(each.times for each in late):g} × min_drop or more."
        )
    told.append(
        f"Where the drop is more than min_drop and the fastest rule takes 2 windows or more ({_of(some, waited)}), the"
        f" median is {shown(_median([each.slower for each in some]))} times, and"
        f" {shown(_median([each.plain for each in some if each.plain is not None]))} times for the threshold."
    )
    return tuple(told)


def _of(some: Sequence[object], of: Sequence[object]) -> str:
    return f"{len(some):,} of {len(of):,}" if some else f"none of {len(of):,}"


def _range(some: Sequence[Setting]) -> str:
    information = [each.information for each in some]
    return f", all with I0 from {min(information):.3g} to {max(information):.3g}" if some else ""
