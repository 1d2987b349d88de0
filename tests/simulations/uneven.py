"""False trainings where windows are not what the textbook takes them for: uneven, overlapping, of another mix.

Daily windows of 1,000 rows, read by the real path (assess, decide, remember) for years; a training ends at once and
leaves the model as it is. The evidence rule looks for a drop of F1 from 0.85 to 0.82 and tolerates one false training
a year.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from datetime import timedelta
from itertools import accumulate, count, islice, repeat
from math import pi, sin, sqrt
from typing import Any

import numpy as np
from msgspec.structs import replace

from retrain.core.decide import is_worse
from retrain.core.evidence import YEAR, dispersion_of, f1_of
from retrain.core.records import Action, Counts
from retrain.core.rules import Auto, EvidenceRule, MaxAge, MinAge, Triggers
from tests.core.test_decide import Story
from tests.simulations.tables import Figure, Table, of_share
from tests.simulations.windows import POSITIVES, drawn, jaccard, share_of_trials

DAY = timedelta(days=1)
DAYS_A_YEAR = YEAR / 86400
THRESHOLD, HEALTHY, DROPPED, ROWS = 0.85, 0.86, 0.82, 1000
YEARS, DROPS, KNOWN = 40, 200, 200
"""Years at the threshold, drops, and the windows after which it is forgotten how the journal began."""
FALSE, DELAY = "false trainings a year", "days until it trains after a drop to 0.82"
TRIED, PROBATIONS = 6, 2000
"""Windows of a probation of 7 days, less one of settling; and promotions."""
USERS, RHO = 50, 0.5
LATEST = 14
"""Days until a row has its label."""
AS_IT_IS, CORRECTED = "as it is", "with the key"

Generator = np.random.Generator
World = Callable[[Generator, float], Iterator[Counts]]
"""Daily windows of a model with this mean F1."""


def counted(tp: int, trials: int) -> Counts:
    """As many false alarms as missed positives, but for one."""
    return Counts(float(tp), float((trials - tp) // 2), float(trials - tp - (trials - tp) // 2))


def _of_days(rng: Generator, f1s: Iterable[float], rows: int = ROWS) -> Iterator[Counts]:
    for f1 in f1s:
        tp, trials = drawn(rng, rows, f1, 1)
        yield counted(int(tp[0]), int(trials[0]))


def independent(rng: Generator, f1: float, rows: int = ROWS) -> Iterator[Counts]:
    """Rows that err independently: the textbook."""
    yield from _of_days(rng, repeat(f1), rows)


def uneven_days(rng: Generator, f1: float) -> Iterator[Counts]:
    """Each day has an F1 of its own."""
    yield from _of_days(rng, (float(f1 + rng.normal(0, 0.02)) for _ in count()))


def season(rng: Generator, f1: float) -> Iterator[Counts]:
    """F1 follows the days of the week."""
    yield from _of_days(rng, (f1 + 0.03 * sin(2 * pi * day / 7) for day in count()))


def users(rng: Generator, f1: float) -> Iterator[Counts]:
    """The rows are those of 50 users, about 20 each, and users differ: beta-binomial with correlation 0.5."""
    alike = 1 / RHO - 1
    while True:
        trials = rng.binomial(ROWS // USERS, share_of_trials(f1), USERS)
        hits = rng.binomial(trials, rng.beta(jaccard(f1) * alike, (1 - jaccard(f1)) * alike, USERS))
        yield counted(int(hits.sum()), int(trials.sum()))


WORLDS: dict[str, World] = {
    "rows that err independently": independent,
    "each day its own F1, sd 0.02": uneven_days,
    "F1 with a weekly season, ±0.03": season,
    "50 users a day with 20 rows, correlation 0.5": users,
}
RULES = {"`dispersion: 1`": 1.0, "`dispersion: auto`": Auto.AUTO}


def controller(**fields: Any) -> Story:
    """A controller with the evidence rule, and these fields of it; nothing holds a training back."""
    rule = Triggers(THRESHOLD, evidence=EvidenceRule(0.03, 1.0, **fields))
    none = timedelta()
    return Story(rule, settle=none, cooldown=none, challenger_ttl=none, max_unpromoted=10**6)


def trains(story: Story, counts: Counts, **fields: Any) -> bool:
    """Whether the controller trains on this window, a day later."""
    f1 = 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn)
    return story.check(story.later(DAY).see(f1, counts=counts, **fields)).action is Action.TRAIN


def a_year(story: Story, windows: Iterator[Counts], years: int, **fields: Any) -> Figure:
    """Trainings a year on these windows."""
    for counts in islice(windows, KNOWN):
        trains(story, counts, **fields)
    met = sum(trains(story, counts, **fields) for counts in islice(windows, round(years * DAYS_A_YEAR)))
    return Figure(met / years, 1.96 * sqrt(met + 1) / years)


def delay(story: Story, world: World, rng: Generator, drops: int) -> Figure:
    """Days from a drop to the training, from a journal that knows a healthy model; mean over so many drops."""
    for counts in islice(world(rng, HEALTHY), KNOWN):
        trains(story, counts)
    waited = []
    for _ in range(drops):
        after = copy(story)
        waited.append(next(day for day, counts in enumerate(world(rng, DROPPED), 1) if trains(after, counts)))
    return Figure(float(np.mean(waited)), float(1.96 * np.std(waited) / sqrt(drops)) or 0.1)


def dispersed(effort: float = 1.0) -> Table:
    """False trainings at the threshold and the delay after a drop, by how windows differ."""
    years, drops = max(2, round(YEARS * effort)), max(10, round(DROPS * effort))
    figures: Table = {name: {} for name in WORLDS}
    for name, world in WORLDS.items():
        for shown, dispersion in RULES.items():
            windows = world(np.random.default_rng(1), THRESHOLD)
            figures[name][f"{shown}: {FALSE}"] = a_year(controller(dispersion=dispersion), windows, years)
        for shown, dispersion in RULES.items():
            waited = delay(controller(dispersion=dispersion), world, np.random.default_rng(2), drops)
            figures[name][f"{shown}: {DELAY}"] = waited
    return figures


def trailing(rng: Generator) -> Iterator[Counts]:
    """Every day the sum of the last seven, of 1,000 rows."""
    days = independent(rng, THRESHOLD, ROWS // 7)
    week = list(islice(days, 7))
    while True:
        yield Counts(*(sum(getattr(day, name) for day in week) for name in ("tp", "fp", "fn")))
        week = [*week[1:], next(days)]


def mixed(rng: Generator, share: float) -> Iterator[Counts]:
    """A model with the same recall and false alarm rate at any share of positives; at 20 % its F1 is 0.86."""
    while True:
        positives = int(rng.binomial(ROWS, share))
        tp = int(rng.binomial(positives, 0.86))
        yield Counts(float(tp), float(rng.binomial(ROWS - positives, 0.035)), float(positives - tp))


def young(rng: Generator, day: int, window: Counts) -> Counts:
    """A window so many days after its end, while labels come in for 14 days; rows without one count as negative."""
    positives = int(window.tp), int(window.fn)
    found, missed = rng.binomial(positives, min(1.0, 0.8 + 0.2 * day / LATEST)).tolist()
    return Counts(float(found), window.fp + positives[0] - found, float(missed))


def monthly(effort: float, **fields: Any) -> Figure:
    """False trainings a year on windows of 30 days, each read every day until the next one has ended."""
    years, rng = max(2, round(YEARS * effort)), np.random.default_rng(5)
    story, met = controller(dispersion=1.0), 0
    story.triggers = replace(story.triggers, max_age=MaxAge(60 * DAY, 60 * DAY), **fields)
    for window in islice(independent(rng, HEALTHY), round(years * DAYS_A_YEAR / 30)):
        end = story.now
        for day in range(1, 31):
            counts = young(rng, day, window)
            met += (
                story.check(story.later(DAY).see(f1_of(counts), counts=counts, f1_observed_at=end)).action
                is Action.TRAIN
            )
    return Figure(met / years, 1.96 * sqrt(met + 1) / years)


def overlapping(effort: float = 1.0) -> Table:
    """False trainings a year as it is, and with the key that says what the windows are."""
    years, one = max(2, round(YEARS * effort)), 1.0

    def trailed(**fields: Any) -> Figure:
        return a_year(controller(dispersion=one), trailing(np.random.default_rng(3)), years, **fields)

    def moved(**fields: Any) -> Figure:
        windows = mixed(np.random.default_rng(4), 0.12)
        return a_year(controller(dispersion=one, **fields), windows, years, samples=float(ROWS))

    return {
        "trailing windows of 7 days, read daily (`window_length: 7d`)": {
            AS_IT_IS: trailed(),
            CORRECTED: trailed(window_length=7 * DAY),
        },
        "20 % positives become 12 %, the model is the same (`prevalence: 0.2`)": {
            AS_IT_IS: moved(),
            CORRECTED: moved(prevalence=POSITIVES),
        },
        "monthly windows read daily, labels come for 14 days (`min_age: 14d`)": {
            AS_IT_IS: monthly(effort),
            CORRECTED: monthly(effort, min_age=MinAge(f1=LATEST * DAY)),
        },
    }


def probation(effort: float = 1.0) -> Table:
    """The share of champions as good as the one before that `probation: 7d` rolls back, by how windows differ.

    The dispersion is what the evidence rule has learned from a year of windows.
    """
    paths = max(50, round(PROBATIONS * effort))
    figures: Table = {name: {} for name in WORLDS}
    for name, world in WORLDS.items():
        story = controller()
        for counts in islice(world(np.random.default_rng(5), HEALTHY), 365):
            trains(story, counts)
        learned = dispersion_of(story.past.evidence, story.triggers)
        windows = world(np.random.default_rng(6), HEALTHY)
        # One window between two promotions: none of them all on the same day of the week.
        seen = [list(islice(windows, 2 + TRIED))[1:] for _ in range(paths)]
        for shown, dispersion in zip(RULES, (1.0, learned), strict=True):
            figures[name][shown] = of_share(sum(rolled_back(each, dispersion) for each in seen), paths)
    return figures


def rolled_back(windows: list[Counts], dispersion: float) -> bool:
    """Whether the champion of the later windows is found worse than that of the first one, at any of them."""
    old, *later = windows
    below = [f1_of(each) < f1_of(old) for each in later]
    together = list(accumulate(later, lambda one, two: Counts(one.tp + two.tp, one.fp + two.fp, one.fn + two.fn)))
    return any(
        is_below and is_worse(old, counts, number, dispersion)
        for number, (is_below, counts) in enumerate(zip(below, together, strict=True), 1)
    )
