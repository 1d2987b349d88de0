"""The evidence rule: what a window weighs, how high the bar is, and what the decision makes of both."""

import math
import random
from datetime import timedelta
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from retrain.core import evidence
from retrain.core.events import Promoted, TrainingFinished
from retrain.core.past import Evidence
from retrain.core.records import Action, Counts, Outcome, Reason, Snapshot
from retrain.core.rules import EvidenceRule, Triggers
from tests.core.test_decide import DAY, HOUR, T0, Story

RULE = EvidenceRule(0.03, 1.0)
TRIGGERS = Triggers(
    performance_threshold=0.85, evidence=RULE, settle=timedelta(), cooldown=timedelta(), challenger_ttl=DAY * 0
)


def jaccard(f1: float) -> float:
    return f1 / (2 - f1)


def counts(f1: float, trials: int = 400) -> Counts:
    """Counts of a window that shows about this F1."""
    hits = round(trials * jaccard(f1))
    return Counts(hits, (trials - hits) // 2, trials - hits - (trials - hits) // 2)


def f1_of(said: Counts) -> float:
    return 2 * said.tp / (2 * said.tp + said.fp + said.fn)


class Gathering(Story):
    """A story whose windows have counts, a day apart."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(TRIGGERS, **changes)

    def window(self, f1: float, trials: int = 400) -> Snapshot:
        said = counts(f1, trials)
        return self.later(DAY).see(f1_of(said), None, counts=said)

    def tell_trained(self) -> None:
        self.tell(TrainingFinished("r0", Outcome.SUCCEEDED, "", challenger="d" * 64))

    def tell_promoted(self) -> None:
        self.tell(Promoted("c" * 64, self.past.served))

    @property
    def score(self) -> float:
        return self.past.evidence.score


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_a_window_weighs_the_logarithm_of_the_likelihood_ratio(tp: int, fp: int, fn: int) -> None:
    """TP of TP + FP + FN is binomial with J = F1/(2 − F1): the weight is log P(counts | 0.82) / P(counts | 0.85)."""
    weight = evidence.weigh(0.8, Counts(tp, fp, fn), None, TRIGGERS)
    assert weight is not None
    high, low = jaccard(0.85), jaccard(0.82)
    expected = tp * math.log(low / high) + (fp + fn) * math.log((1 - low) / (1 - high))
    assert weight.score == pytest.approx(expected, abs=1e-9)
    assert weight.trials == tp + fp + fn


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_positives_alone_weigh_less_than_counts(tp: int, fp: int, fn: int) -> None:
    """Where only F1 and the positives are known, they stand in for TP + FP + FN: the same way, never further."""
    assume(tp + fn > 0)
    said = Counts(tp, fp, fn)
    known = evidence.weigh(f1_of(said), said, None, TRIGGERS)
    guessed = evidence.weigh(f1_of(said), None, float(tp + fn), TRIGGERS)
    assert known is not None
    assert guessed is not None
    assert known.score * guessed.score >= -1e-9
    assert abs(guessed.score) <= abs(known.score) + 1e-9
    assert guessed.trials <= known.trials


def test_the_bar_solves_its_equation() -> None:
    """e^x − x − 1 = A·I0 and h = x + 2·ln ν(s), with A windows a false training and s = sqrt(2·I0)."""
    gathered = Evidence(windows=100, trials=300.0, gap=86400.0)
    bar = evidence.bar(gathered, TRIGGERS)
    high, low = jaccard(0.85), jaccard(0.82)
    information = 300 * (high * math.log(high / low) + (1 - high) * math.log((1 - high) / (1 - low)))
    s, normal = math.sqrt(2 * information), NormalDist()
    nu = 2 / s * (normal.cdf(s / 2) - 0.5) / (s / 2 * normal.cdf(s / 2) + normal.pdf(s / 2))
    assert math.log(nu) == pytest.approx(-0.583 * s, rel=0.05), "Siegmund's constant, for small windows"
    x = bar - 2 * math.log(nu)
    assert math.exp(x) - x - 1 == pytest.approx(365.25 * information, rel=1e-6)


@pytest.mark.parametrize(
    ("known", "a_year"),
    [(Evidence(), 525_600), (Evidence(windows=1), 525_600), (Evidence(windows=7, trials=9.0, gap=86400.0), 365.25)],
)
def test_before_eight_windows_the_bar_is_the_logarithm(known: Evidence, a_year: float) -> None:
    """ln A holds whatever the windows are; while their frequency is not known they may come every minute."""
    assert evidence.bar(known, TRIGGERS) == pytest.approx(math.log(a_year))


def test_the_bar_rises_with_the_patience_that_is_asked_for() -> None:
    """Fewer tolerated false trainings a year mean a higher bar, and it never falls below its floor."""
    known = Evidence(windows=100, trials=300.0, gap=86400.0)

    def bar(rate: float) -> float:
        rule = EvidenceRule(RULE.min_drop, rate)
        return evidence.bar(known, Triggers(performance_threshold=0.85, evidence=rule))

    bars = [bar(rate) for rate in (0.01, 0.1, 1, 10, 100, 100_000)]
    assert bars == sorted(bars, reverse=True)
    assert bars[-1] == 0.5


def test_healthy_windows_never_add_up() -> None:
    """At or above the threshold the score stays at 0, however long it lasts."""
    story = Gathering()
    for _ in range(50):
        assert story.check(story.window(0.86)).action is Action.HOLD
        assert story.score == 0


def test_a_drop_trains_when_the_windows_together_show_it() -> None:
    """Low windows are held with the score in the sentence, as gathering_evidence, until one reaches the bar."""
    story = Gathering()
    for _ in range(20):
        story.check(story.window(0.86))
    held = story.check(story.window(0.83))
    assert held.reason is Reason.GATHERING_EVIDENCE
    assert "evidence 0." in held.message
    assert "for a drop of F1 from 0.85 to 0.82" in held.message
    decisions = [story.check(story.window(0.80)) for _ in range(6)]
    assert Action.TRAIN in [each.action for each in decisions]
    trained = next(each for each in decisions if each.action is Action.TRAIN)
    assert "above the bar" in trained.message


def test_a_training_spends_the_evidence_and_a_failed_one_does_not() -> None:
    """S = 0 after a training that succeeded; what was gathered stands until then."""
    story = Gathering(failure_backoff=timedelta())
    low = [story.window(0.6) for _ in range(3)]
    assert story.check(low[-1], Outcome.FAILED).action is Action.TRAIN
    assert story.score > 0
    assert story.later(HOUR).check(low[-1]).action is Action.TRAIN
    assert story.score == 0
    assert story.later(HOUR).check(low[-1]).reason is Reason.SAME_WINDOW


def test_reading_a_window_twice_adds_nothing() -> None:
    """Evidence is gathered once per window, however often cron reads it."""
    story = Gathering()
    snapshot = story.window(0.83)
    story.check(snapshot)
    before = story.past.evidence
    for _ in range(10):
        assert story.later(HOUR).check(snapshot).reason is Reason.SAME_WINDOW
    assert story.past.evidence == before


def test_a_breach_held_back_stays_due_until_a_healthy_window_comes() -> None:
    """A cooldown does not use the evidence up; a healthy window ends what is due, and takes its share off."""
    story = Gathering(cooldown=10 * DAY)
    story.tell_trained()
    assert story.check(story.window(0.6)).reason is Reason.COOLING_DOWN
    assert story.check(story.window(0.83)).reason is Reason.COOLING_DOWN
    high = story.score
    assert story.check(story.window(0.87)).reason is Reason.HEALTHY
    assert story.score < high


def test_another_rule_begins_anew() -> None:
    """A score is about one drop; a changed threshold or min_drop starts at 0, and what is known of windows stays."""
    story = Gathering()
    story.check(story.window(0.83))
    story.triggers = Triggers(performance_threshold=0.85, evidence=EvidenceRule(0.05, 1.0), settle=timedelta())
    assert evidence.gathered(story.past.evidence, story.triggers) == 0
    story.check(story.window(0.86))
    assert story.past.evidence.windows == 2


def test_another_champion_starts_at_zero_and_its_first_windows_do_not_count() -> None:
    """Evidence is about one champion; windows within `settle` tell the monitor's frequency and nothing else."""
    story = Gathering(settle=2 * DAY)
    story.check(story.window(0.83))
    assert story.score > 0
    story.tell_promoted()
    assert story.score == 0
    assert story.check(story.window(0.6)).reason is Reason.SETTLING
    assert story.score == 0
    assert story.past.evidence.windows == 2


def test_drift_keeps_its_own_rule() -> None:
    """`consecutive` still governs drift."""
    story = Gathering(drift_threshold=0.2, consecutive=2)
    assert story.later(DAY).check(story.see(0.9, 0.5, counts=Counts(90, 10, 10))).reason is Reason.CONFIRMING
    assert story.later(DAY).check(story.see(0.9, 0.5, counts=Counts(90, 10, 10))).action is Action.TRAIN


@given(st.lists(st.tuples(st.integers(100, 200), st.integers(0, 50), st.integers(1, 50)), min_size=1, max_size=40))
def test_the_score_is_pages_recursion(windows: list[tuple[int, int, int]]) -> None:
    """S ← max(0, S + weight), one step a window."""
    gathered, expected, at = Evidence(), 0.0, T0
    for tp, fp, fn in windows:
        weight = evidence.weigh(0.5, Counts(tp, fp, fn), None, TRIGGERS)
        assert weight is not None
        gathered, at = evidence.gather(gathered, weight, at, counts=True), at + HOUR
        expected = max(0.0, expected + weight.score)
        assert gathered.score == pytest.approx(expected)
    assert gathered.windows == len(windows)
    assert gathered.trials == pytest.approx(sum(map(sum, windows)) / len(windows))
    if len(windows) > 1:
        assert gathered.gap == pytest.approx(3600)


def test_a_rule_that_was_off_begins_anew() -> None:
    """A score of then says nothing about later; windows in between had no weight."""
    story = Gathering()
    story.check(story.window(0.83))
    assert story.score > 0
    rule, story.triggers = story.triggers, replace(story.triggers, evidence=None)
    story.check(story.window(0.86))
    story.triggers = rule
    assert story.score == 0


def test_an_outage_or_a_backlog_does_not_lower_the_bar_at_one_stroke() -> None:
    """One pause of a year, or one window a thousand times as large, moves a settled bar by a few per cent."""
    gathered, at = Evidence(), T0
    for number in range(100):
        weight = evidence.weigh(0.86, counts(0.86, 300), None, TRIGGERS)
        assert weight is not None
        at += DAY * (365 if number == 90 else 1)
        gathered = evidence.gather(gathered, replace(weight, trials=300.0), at, counts=True)
    settled = evidence.bar(Evidence(windows=100, trials=300.0, gap=86400.0), TRIGGERS)
    assert evidence.bar(gathered, TRIGGERS) == pytest.approx(settled, rel=0.02)
    weight = evidence.weigh(0.86, counts(0.86, 300_000), None, TRIGGERS)
    assert weight is not None
    assert evidence.bar(evidence.gather(gathered, weight, at + DAY, counts=True), TRIGGERS) > 0.97 * settled


@pytest.mark.parametrize("absurd", [10**6, 10**14])
def test_one_absurd_window_at_the_beginning_is_forgotten(absurd: int) -> None:
    """A window however large lowers no bar."""
    gathered, at = Evidence(), T0
    for number in range(10):
        at += DAY
        weight = evidence.weigh(0.86, counts(0.86, absurd if number == 0 else 300), None, TRIGGERS)
        assert weight is not None
        gathered = evidence.gather(gathered, weight, at, counts=True)
    settled = evidence.bar(Evidence(windows=100, trials=300.0, gap=86400.0), TRIGGERS)
    assert evidence.bar(gathered, TRIGGERS) >= settled


def test_a_window_behind_the_latest_moves_no_frequency() -> None:
    """A clock that was set back, or a late window of the champion before: no gap of 0."""
    weight = evidence.weigh(0.86, counts(0.86), None, TRIGGERS)
    assert weight is not None
    gathered = evidence.gather(Evidence(), weight, T0, counts=True)
    gathered = evidence.gather(gathered, weight, T0 + DAY, counts=True)
    assert evidence.gather(gathered, weight, T0, counts=True).gap == gathered.gap == 86400


def test_a_window_that_is_read_again_for_another_champion_is_no_other_window() -> None:
    """After a swap the last window of the champion before is new to the streak, and tells nothing about frequency."""
    gathered, at = Evidence(), T0
    weight = evidence.weigh(0.86, counts(0.86), None, TRIGGERS)
    assert weight is not None
    for _ in range(3):
        at += DAY
        gathered = evidence.gather(gathered, weight, at, counts=True)
    assert evidence.gather(gathered, weight, at, counts=False) == gathered


def test_two_windows_far_apart_are_no_frequency() -> None:
    """Before eight are known, at least one a day is reckoned with."""
    assert evidence.bar(Evidence(windows=2, trials=300.0, gap=60 * 86400.0), TRIGGERS) == pytest.approx(
        math.log(365.25)
    )


def test_the_means_follow_a_monitor_that_changes() -> None:
    """Old windows are forgotten: a service that has grown tenfold is known by its present size."""
    gathered, at, dice = Evidence(), T0, random.Random(1)
    for number in range(1500):
        at += DAY if number < 500 else HOUR
        size = dice.randint(80, 120) * (10 if number >= 500 else 1)
        weight = evidence.weigh(0.9, Counts(size, 0, 0), None, TRIGGERS)
        assert weight is not None
        gathered = evidence.gather(gathered, weight, at, counts=True)
    assert gathered.trials == pytest.approx(1000, rel=0.1)
    assert gathered.gap == pytest.approx(3600, rel=0.1)


def test_without_a_rule_or_something_to_count_there_is_no_evidence() -> None:
    """No evidence is ever enough without a rule; a window of F1 alone weighs nothing."""
    plain = replace(TRIGGERS, evidence=None)
    assert evidence.bar(Evidence(score=99.0), plain) == math.inf
    assert not evidence.reached(Evidence(score=99.0), plain)
    assert evidence.rule_name(plain) == ""
    assert evidence.weigh(0.8, counts(0.8), None, plain) is None
    assert evidence.weigh(0.8, None, None, TRIGGERS) is None


def test_windows_that_say_next_to_nothing_have_a_bar_all_the_same() -> None:
    """It is a number, and the lowest there is: as many windows as no score would ever overshoot it."""
    empty = Evidence(evidence.rule_name(TRIGGERS), 0.0, evidence.ESTIMATED, 0.0, DAY.total_seconds(), T0)
    assert evidence.bar(empty, TRIGGERS) == evidence.LOWEST_BAR


def test_progress_says_what_moves_the_score() -> None:
    """For somebody who meets the rule for the first time."""
    assert evidence.progress(Evidence(), TRIGGERS) == (
        f"{evidence.text(Evidence(), TRIGGERS)}: it grows with windows that fit F1 0.82 better than 0.85, and trains at"
        " the bar"
    )


def test_positives_stand_in_for_counts() -> None:
    """They are fewer than TP + FP + FN, so the window weighs less, in the same direction."""
    full = evidence.weigh(0.75, counts(0.75, 400), None, TRIGGERS)
    less = evidence.weigh(0.75, None, 250.0, TRIGGERS)
    assert full is not None
    assert less is not None
    assert less.trials == 250
    assert 0 < less.score < full.score
