"""What the loop is worth under each gate, on streams whose world moves and on streams in which nothing changes.

A stream has 40 windows of 500 labelled rows with five features. Rows are positive on one side of a plane, but for
noise; the plane turns a little with every window, and now and then a lot. Where nothing changes, the same rows come in
a shuffled order. A training fits a linear classifier to the three windows before the newest, and to those rows of the
newest that are not left out; all policies have the same challengers to choose from. It trains after a drop of F1 by
0.05 below the champion's first window, or at an age of four windows.
"""

from functools import cached_property
from math import inf, sqrt
from typing import NamedTuple

import numpy as np

from retrain.core.judge import judge
from retrain.core.rules import Gate, Guarantee
from retrain.core.score import compare
from retrain.core.verdicts import Ruling, Tally
from tests.simulations.delta import CELLS, tally
from tests.simulations.tables import Figure, Table, of_share
from tests.simulations.windows import Bools, Floats, Ints

WINDOWS, ROWS, FEATURES, FRESH, HISTORY = 40, 500, 5, 100, 3
BEGIN, AHEAD, BROKEN, DROP, AGE = HISTORY, 4, 0.15, 0.05, 4
"""The first champion's window, the windows that follow a verdict, the share of trainings that break; the triggers."""
STREAMS = 40
BARS = {"above 2.81": 2.81, "1.64 to 2.81": 1.64, "0.8 to 1.64": 0.8, "0 to 0.8": 0.0}


class Policy(NamedTuple):
    """When it trains (each window, or by a drop of F1 or this age), and the gate: on which rows, None for no gate.

    After so many trainings `in_vain`, one after the other, it trains no more.
    """

    always: bool = False
    rows: str | None = None
    gate: Gate = Gate()
    age: float = AGE
    in_vain: float = inf


REGRET = {weight: Gate(guarantee=Guarantee.REGRET, harm_weight=float(weight)) for weight in (1, 8, 8.5, 79, 3819)}
POLICIES = {
    "train every window, no gate": Policy(always=True),
    "train by triggers, no gate": Policy(),
    "a file cut once, `lifetime`": Policy(rows="file"),
    "`fresh`, `harm_weight: 1`": Policy(rows="fresh", gate=REGRET[1]),
    "`fresh`, `harm_weight: 8`": Policy(rows="fresh", gate=REGRET[8]),
    "`fresh`, `harm_weight: 8`, no age": Policy(rows="fresh", gate=REGRET[8], age=inf),
    "`fresh`, `harm_weight: 8`, ended by 3 trainings in vain": Policy(rows="fresh", gate=REGRET[8], in_vain=3),
    "`live`, `harm_weight: 8`": Policy(rows="live", gate=REGRET[8]),
}

COMPARED = ("train by triggers, no gate", "a file cut once, `lifetime`", "`fresh`, `harm_weight: 8`")


class Outcome(NamedTuple):
    """Mean F1 of what served, promotions, and those among them that were worse on the next window by more than 0.01."""

    f1: float
    promotions: int
    harmful: int


class Judged(NamedTuple):
    """A comparison that found a gain: z = gain / SE, and whether the challenger was worse in the windows after it."""

    z: float
    worse: bool


class Stream:
    """One stream, and the models that trainings at the end of each window leave."""

    def __init__(self, rng: np.random.Generator, *, shuffled: bool = False, broken: float = 0.0) -> None:
        x = rng.normal(size=(WINDOWS, ROWS, FEATURES))
        steps = rng.normal(0, 0.1, WINDOWS) + (rng.random(WINDOWS) < 0.06) * rng.uniform(0.5, 1.2, WINDOWS)
        angle = np.cumsum(steps)[:, None]
        plane = x[:, :, 0] * np.cos(angle) + x[:, :, 1] * np.sin(angle)
        y = plane + rng.normal(0, 0.5, (WINDOWS, ROWS)) > 0.5
        if shuffled:
            order = rng.permutation(WINDOWS * ROWS)
            x, y = x.reshape(-1, FEATURES)[order].reshape(x.shape), y.ravel()[order].reshape(y.shape)
        self.truth = y.astype(int)
        spoiled = rng.random(WINDOWS) < np.where(np.arange(WINDOWS) > BEGIN, broken, 0)
        models = np.array([self._fit(rng, x, y, window, spoiled=bool(spoiled[window])) for window in range(WINDOWS)])
        design = np.concatenate([x, np.ones((WINDOWS, ROWS, 1))], axis=2)
        self.predicted = (np.einsum("wrf,mf->mwr", design, models) > 0).astype(int)

    @staticmethod
    def _fit(rng: np.random.Generator, x: Floats, y: Bools, window: int, *, spoiled: bool) -> Floats:
        """The coefficients of a training at the end of this window; one that is spoiled has shuffled labels."""
        first = max(0, window - HISTORY)
        rows = np.concatenate([*x[first:window], x[window, FRESH:]])
        label = 2.0 * np.concatenate([*y[first:window], y[window, FRESH:]]) - 1
        if spoiled:
            label = rng.permutation(label)
        design = np.column_stack([rows, np.ones(len(rows))])
        return np.asarray(np.linalg.solve(design.T @ design, design.T @ label))

    @cached_property
    def f1(self) -> Floats:
        """F1 of each model (first axis) in each window."""
        hits = (self.predicted * self.truth).sum(axis=2)
        return np.asarray(2 * hits / (self.predicted.sum(axis=2) + self.truth.sum(axis=1)))

    def tally(self, champion: int, challenger: int, window: int, rows: slice) -> Tally:
        """The tally of two models on rows of a window."""
        truth, old, new = (each[rows] for each in (self.truth[window], *self.predicted[[champion, challenger], window]))
        counts: Ints = np.bincount(4 * truth + 2 * old + new, minlength=len(CELLS))
        return tally(counts)

    def found(self, asked: Tally, champion: int, challenger: int, window: int) -> list[Judged]:
        """What this comparison found, and what came of it; nothing where it found no gain, or the stream ends soon."""
        paired, after = compare(asked.cells, Gate()), slice(window + 1, window + 1 + AHEAD)
        if paired.gain <= 0 or after.stop > WINDOWS:
            return []
        worse = self.f1[challenger, after].mean() < self.f1[champion, after].mean()
        return [Judged(paired.gain / paired.error, bool(worse))]


def run(stream: Stream, policy: Policy, judged: list[Judged] | None = None) -> Outcome:
    """What serves under this policy, from the model of the first windows on; gains that are found go to `judged`."""
    champion, since, first, waiting = BEGIN, BEGIN, 0.0, None
    f1s, promotions, harmful, compared, in_vain = [], 0, 0, 0, 0
    for window in range(BEGIN + 1, WINDOWS):
        f1s.append(stream.f1[champion, window])
        first = f1s[-1] if window == since + 1 else first
        challenger, rows = waiting, slice(None)  # `live`: what was trained a window ago
        if policy.rows != "live" or waiting is None:
            due = policy.always or f1s[-1] < first - DROP or window - since >= policy.age
            due = due and in_vain < policy.in_vain
            challenger, rows = (window, slice(FRESH)) if due else (None, rows)
        waiting = None
        if challenger is None or window + 1 == WINDOWS:
            continue
        if policy.rows == "live" and challenger == window:
            waiting = challenger
            continue
        if policy.rows is not None:
            compared += 1
            asked = stream.tally(champion, challenger, BEGIN if policy.rows == "file" else window, rows)
            if judged is not None:
                judged += stream.found(asked, champion, challenger, window)
            if judge(asked, policy.gate, compared).ruling is not Ruling.PROMOTE:
                in_vain += 1
                continue
        harmful += bool(stream.f1[challenger, window + 1] < stream.f1[champion, window + 1] - 0.01)
        champion, since, promotions, in_vain = challenger, window, promotions + 1, 0
    return Outcome(float(np.mean(f1s)), promotions, harmful)


def never(stream: Stream) -> float:
    """Mean F1 of the first model."""
    return float(stream.f1[BEGIN, BEGIN + 1 :].mean())


def hindsight(stream: Stream) -> float:
    """Mean F1 where each window is served by the best of all models that were trained before it."""
    return float(np.mean([stream.f1[BEGIN:window, window].max() for window in range(BEGIN + 1, WINDOWS)]))


def streams(count: int, *, shuffled: bool = False, broken: float = 0.0) -> list[Stream]:
    """So many streams, the same world whatever is asked of them."""
    generators = (np.random.default_rng([7, number]) for number in range(count))
    return [Stream(rng, shuffled=shuffled, broken=broken) for rng in generators]


def table(effort: float = 1.0) -> Table:
    """What each policy is worth, where the world moves, where nothing does, and where some trainings break."""
    count = max(8, round(STREAMS * effort))
    moving, still, breaking = streams(count), streams(count, shuffled=True), streams(count, broken=BROKEN)
    figures: Table = {}
    for name, policy in POLICIES.items():
        outcomes = [run(each, policy) for each in moving]
        figures[name] = {
            "of the gap to hindsight": _closed(moving, [each.f1 for each in outcomes]),
            "the same, 15 % broken": _closed(breaking, [run(each, policy).f1 for each in breaking]),
            "promotions": _mean([float(each.promotions) for each in outcomes]),
            "of these worse next": _rare(sum(each.harmful for each in outcomes), count),
            "F1 gained where nothing changes": _mean([run(each, policy).f1 - never(each) for each in still]),
        }
    return figures


def _closed(found: list[Stream], f1s: list[float]) -> Figure:
    """The share of the gap between the first model and the best in hindsight that is closed."""
    low = np.array([never(each) for each in found])
    gained, gap = np.array(f1s) - low, np.array([hindsight(each) for each in found]) - low
    share = float(gained.sum() / gap.sum())
    return Figure(share, float(1.96 * np.std(gained - share * gap) / gap.mean() / sqrt(len(found))))


def _rare(met: int, of: int) -> Figure:
    """The mean of a small count over so many streams; none at all says less than one."""
    return Figure(met / of, 1.96 * sqrt(met + 1) / of)


def _mean(values: list[float]) -> Figure:
    return Figure(float(np.mean(values)), float(1.96 * np.std(values) / sqrt(len(values))))


def unchanged(effort: float = 1.0) -> Table:
    """What a training each window with `fresh` does where nothing changes, by `harm_weight`."""
    found = streams(max(8, round(3 * STREAMS * effort)), shuffled=True)
    policies = {"no gate": Policy(always=True)}
    policies |= {
        f"`harm_weight: {weight:g}`": Policy(always=True, rows="fresh", gate=REGRET[weight])
        for weight in (1, 8.5, 79, 3819)
    }
    figures: Table = {}
    for name, policy in policies.items():
        outcomes = [run(each, policy) for each in found]
        figures[name] = {
            "promotions": _mean([float(each.promotions) for each in outcomes]),
            "of these worse next": _rare(sum(each.harmful for each in outcomes), len(found)),
            "F1 gained": _mean([each.f1 - never(stream) for each, stream in zip(outcomes, found, strict=True)]),
        }
    return figures


def later(effort: float = 1.0) -> Table:
    """How often a challenger that a fresh holdout found better was worse in the four windows after, by z."""
    judged: list[Judged] = []
    for stream in streams(max(8, round(2 * STREAMS * effort))):
        run(stream, POLICIES["`fresh`, `harm_weight: 1`"], judged)
    figures, high = {}, inf
    for name, low in BARS.items():
        worse = [each.worse for each in judged if low < each.z <= high]
        figures[name], high = {"worse in the next four windows": of_share(sum(worse), max(1, len(worse)))}, low
    return figures
