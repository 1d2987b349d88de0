"""Windows that differ more than chance explains, and windows of another mix of positives and negatives."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from retrain.core import evidence
from retrain.core.decide import look_at
from retrain.core.events import Promoted
from retrain.core.evidence import (
    DISPERSED,
    LAG,
    USUAL,
    WINDOWS,
    at_share,
    chance_of_drop,
    dispersion,
    dispersion_of,
    usual,
    weigh,
    widened,
)
from retrain.core.past import Evidence, FirstWindow, Past, Spread
from retrain.core.records import Action, Counts, Reason
from retrain.core.rules import Auto, Dispersion, EvidenceRule, Prevalence, Triggers
from tests.core.test_decide import DAY, LOST, Story


def rule(dispersion: Dispersion = Auto.AUTO, prevalence: Prevalence = None) -> Triggers:
    gathered = EvidenceRule(0.03, 1.0, dispersion, prevalence)
    return Triggers(0.85, evidence=gathered, settle=timedelta(), cooldown=timedelta(), challenger_ttl=timedelta())


def spread(windows: list[tuple[float, float]]) -> Spread:
    """What is known after these windows, each its TP and TP + FP + FN."""
    known = Spread()
    for hits, trials in windows:
        known = widened(known, hits, trials)
    return known


def drawn(dice: random.Random, days: float, windows: int) -> list[tuple[float, float]]:
    """Windows of 300 rows that are TP, FP or FN, with this standard deviation of J from day to day."""
    shares = [min(0.99, max(0.01, dice.gauss(0.75, days))) for _ in range(windows)]
    return [(float(sum(dice.random() < share for _ in range(300))), 300.0) for share in shares]


# ---------------------------------------------------------------- dispersion


def test_the_dispersion_is_one_until_enough_windows_are_known() -> None:
    """34 with a residual; the first window of a champion has none."""
    windows = [(200.0, 300.0), (250.0, 300.0)] * DISPERSED
    found = [dispersion(spread(windows[:count])) for count in (0, 1, DISPERSED, DISPERSED + 1)]
    assert found[:3] == [1, 1, 1]
    assert found[3] > 3


def test_it_is_that_of_fourteen_windows_ago() -> None:
    """A drop does not hide itself: a window only counts in it when fourteen others have followed."""
    dice = random.Random(1)
    before = spread(drawn(dice, 0.05, 100))
    after = before
    for _ in range(LAG):
        after = widened(after, 90.0, 300.0)
    assert dispersion(after) == max(1.0, before.means[-1])
    assert dispersion(widened(after, 90.0, 300.0)) == after.means[1] > dispersion(after)


def test_a_drop_that_lasts_does_not_hide_itself() -> None:
    """Nobody has renewed the model for four weeks of daily windows: the dispersion has grown, not exploded."""
    known = spread(drawn(random.Random(1), 0.0, 128) + [(150.0, 300.0)] * 14)
    assert dispersion(widened(known, 150.0, 300.0)) < 2
    for _ in range(14):
        known = widened(known, 150.0, 300.0)
    assert dispersion(known) < 4


def test_it_is_the_variance_of_windows_over_that_of_chance() -> None:
    """1 where chance explains all, and 1 + (U − 1)·var(J)/(J(1 − J)) where days differ."""
    dice = random.Random(2)
    for days, expected in ((0.0, 1.0), (0.05, 1 + 299 * 0.05**2 / (0.75 * 0.25))):
        found = [spread(drawn(dice, days, 400)).means[-1] for _ in range(30)]
        assert sum(found) / len(found) == pytest.approx(expected, rel=0.1)


def test_windows_without_a_share_of_their_own_add_nothing() -> None:
    """Nothing is expected of an empty window, nor of any where all so far were right."""
    perfect = spread([(300.0, 300.0)] * 5)
    assert (perfect.known, perfect.means) == (0, ())
    assert widened(spread([(200.0, 300.0)]), 0.0, 0.0).known == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=300))
def test_what_is_known_stays_small_and_finite(windows: list[tuple[int, int]]) -> None:
    """Whatever the counts are."""
    known = spread([(float(hits), float(hits + misses)) for hits, misses in windows])
    assert known.windows <= WINDOWS
    assert known.known <= WINDOWS
    assert len(known.means) <= LAG + 1
    assert 1 <= dispersion(known) < float("inf")


WIDE = Evidence(windows=WINDOWS, trials=300.0, gap=86400.0, spread=Spread(known=DISPERSED, means=(4.0, 9.0)))


def test_a_score_is_divided_by_the_dispersion_and_the_bar_knows_it() -> None:
    """Windows of 300 that vary four times as much say as much as windows of 75; `dispersion: 1` assumes chance."""
    auto, fixed, two = rule(), rule(1.0), rule(2.0)
    assert [dispersion_of(WIDE, each) for each in (auto, fixed, two, Triggers(0.85))] == [4, 1, 2, 4]
    narrow = replace(WIDE, trials=75.0, spread=Spread())
    assert evidence.bar(WIDE, auto) == pytest.approx(evidence.bar(narrow, auto))
    assert evidence.bar(WIDE, fixed) == evidence.bar(replace(WIDE, spread=Spread()), auto)
    full, quarter = (weigh(0.8, Counts(200, 100, 0), None, auto, factor) for factor in (1.0, 4.0))
    assert full is not None
    assert quarter is not None
    assert (quarter.score, quarter.trials) == (full.score / 4, full.trials)


def test_a_check_weighs_its_window_by_what_the_past_knows() -> None:
    """The same window adds a quarter."""
    scores = []
    for known in (Spread(), WIDE.spread):
        story = Story(rule())
        story.past = replace(story.past, evidence=replace(WIDE, spread=known))
        story.check(story.see(0.8, counts=Counts(200, 100, 0)))
        scores.append(story.past.evidence.score)
    assert scores[1] == pytest.approx(scores[0] / 4)


def test_another_champion_has_a_mean_of_its_own() -> None:
    """What windows differ by is the monitor's and stays; a better champion is no window that differs."""
    story = Story(rule(), settle=2 * DAY)
    for _ in range(5):
        story.later(DAY).check(story.see(0.8, counts=Counts(200, 100, 0)))
    before = story.past.evidence.spread
    story.tell(Promoted("b" * 64, story.past.served))
    assert story.past.evidence.spread == Spread(known=before.known, means=before.means)
    story.later(DAY).check(story.see(0.88, counts=Counts(235, 65, 0)))
    assert story.past.evidence.spread.windows == 0
    story.later(2 * DAY).check(story.see(0.88, counts=Counts(235, 65, 0)))
    assert story.past.evidence.spread.known == before.known


def test_a_comparison_of_counts_has_the_wider_error() -> None:
    """The z of the test is divided by the square root of the dispersion; without errors there is nothing to compare."""
    old, new = Counts(300, 100, 0), Counts(260, 140, 0)
    assert chance_of_drop(old, new) < 0.01 < chance_of_drop(old, new, 4.0) < 0.5
    assert chance_of_drop(Counts(9, 0, 0), Counts(5, 0, 0)) == 1


# ---------------------------------------------------------------- the mix


def mixed(share: float, rows: int = 10_000) -> dict[str, Any]:
    """A window of a model with true-positive rate 0.86 and false-positive rate 0.035, at this share of positives."""
    positives = round(rows * share)
    tp, fp = round(0.86 * positives), round(0.035 * (rows - positives))
    counts = Counts(tp, fp, positives - tp)
    return {"f1": 2 * tp / (2 * tp + fp + positives - tp), "counts": counts, "samples": float(rows)}


class Mixing(Story):
    """A controller that has seen eight windows of 20 % positives."""

    def __init__(self, triggers: Triggers) -> None:
        super().__init__(triggers)
        for _ in range(USUAL):
            self.look(0.2)

    def look(self, share: float, **fields: Any) -> Any:
        return self.later(DAY).check(self.see(**mixed(share) | fields))


@pytest.mark.parametrize("share", [0.05, 0.12, 0.4])
def test_f1_at_another_share_is_that_of_the_same_model(share: float) -> None:
    """The rates stay, and no class weighs more than it does."""
    window, wanted = mixed(share)["counts"], mixed(0.2)
    counts = at_share(window, share, 0.2)
    assert 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn) == pytest.approx(wanted["f1"], abs=0.002)
    assert max(counts.tp / window.tp, counts.fp / window.fp, counts.fn / window.fn) == pytest.approx(1)


def test_f1_at_the_usual_share_is_shown_beside_f1() -> None:
    """The rule goes by F1 as it is; the sentence says what the mix does to it."""
    decision = Mixing(Triggers(0.83, settle=timedelta())).look(0.12)
    assert decision.action is Action.TRAIN
    assert decision.message == "training: F1 0.813 is below 0.830 (it would be 0.860 at the usual 20 % positives)"


def test_the_numbers_have_both() -> None:
    """For `status` and `check -v`."""
    story = Mixing(Triggers(0.83))
    (assessed,) = look_at(story.past, None, story.see(**mixed(0.12)), story.triggers, story.now).assessments
    assert assessed.numbers == "0.813, threshold 0.830, 0.860 at the usual 20 % positives"


@pytest.mark.parametrize("fields", [{}, {"samples": None}, {"counts": None}, {"samples": 0.0}])
def test_it_is_not_shown_where_it_says_nothing_or_is_not_known(fields: dict[str, Any]) -> None:
    """The usual mix, or no samples or counts."""
    decision = Mixing(Triggers(0.99, settle=timedelta())).look(0.2 if not fields else 0.12, **fields)
    assert "usual" not in decision.message


def test_a_share_that_chance_explains_is_not_shown() -> None:
    """30 rows with 3 positives instead of 6 happen."""
    story = Mixing(Triggers(0.99, settle=timedelta()))
    assert "usual" not in story.look(0.0, f1=0.5, counts=Counts(2, 3, 1), samples=30.0).message


def test_the_usual_share_is_a_median_of_enough_windows() -> None:
    """It moves with the population, and one odd window does not move it; a window of one class has none."""
    assert usual([0.2] * (USUAL - 1)) is None
    assert usual([0.2] * USUAL + [0.9]) == 0.2
    story = Mixing(Triggers(0.5, settle=timedelta()))
    for _ in range(2 * WINDOWS):
        story.look(0.4)
    assert story.past.shares == (0.4,) * WINDOWS
    story.look(0.4, counts=Counts(0, 0, 10_000), f1=0.0)
    assert story.past.shares == (0.4,) * WINDOWS


@pytest.mark.parametrize("prevalence", [Auto.AUTO, 0.2])
def test_with_prevalence_f1_is_judged_at_that_share(prevalence: Prevalence) -> None:
    """Rarer positives alone are no breach and no evidence, a model that is worse is; both numbers are shown."""
    story = Mixing(replace(rule(prevalence=prevalence), max_drop=0.02))
    assert story.look(0.12).message == (
        "healthy: F1 0.860 at the usual 20 % positives (measured 0.813) is not below 0.850"
    )
    assert story.past.evidence.score == 0
    worse = mixed(0.4)
    counts = replace(worse["counts"], fp=worse["counts"].fp + 400)
    held = story.look(0.4, counts=counts, f1=2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn))
    assert held.reason is Reason.BREACH
    assert held.breaches[0].judged is not None
    assert held.breaches[0].judged < 0.8 < worse["f1"]


def test_the_first_window_is_remembered_at_that_share_too() -> None:
    """So that a drop is one of the model, not of the mix."""
    story = Story(replace(rule(prevalence=0.2), max_drop=0.02))
    story.check(story.see(**mixed(0.12)))
    first = story.past.first
    assert isinstance(first, FirstWindow)
    assert first.f1 == pytest.approx(mixed(0.2)["f1"], abs=0.002)
    assert first.counts is not None
    assert first.counts.fp < mixed(0.12)["counts"].fp


def test_unknown_f1_has_no_mix() -> None:
    """Nothing is said of what is not known."""
    story = Mixing(rule(prevalence=Auto.AUTO))
    assert story.look(0.2, f1=LOST).reason is Reason.UNKNOWN
    assert Past().first is None
