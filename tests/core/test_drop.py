"""`max_drop`: F1 against what the champion showed in its own first window."""

from datetime import timedelta
from typing import Any

import pytest

from retrain.core.assess import CHANCE_OF_DROP, assess
from retrain.core.decide import look_at
from retrain.core.events import Promoted, RolledBack
from retrain.core.evidence import chance_of_drop
from retrain.core.past import FirstWindow, Past
from retrain.core.records import Action, Assessment, Counts, Reason, Signal, Snapshot, State
from retrain.core.rules import EvidenceRule, Triggers
from tests.core.test_decide import DAY, T0, Story

RULE = Triggers(max_drop=0.05, settle=timedelta(), cooldown=timedelta(), challenger_ttl=timedelta())
A, B = "a" * 64, "b" * 64


class Dropping(Story):
    """A champion of F1 0.852 in its first window, a window a day."""

    def __init__(self, first: float | None = 0.852, **changes: Any) -> None:
        super().__init__(RULE, **changes)
        if first is not None:
            self.look(first)

    def look(self, f1: Any, **fields: Any) -> Any:
        return self.later(DAY).check(self.see(f1, **fields))


def counted(f1: float, trials: int) -> dict[str, Any]:
    tp = round(trials * f1 / (2 - f1))
    return {"f1": 2 * tp / (tp + trials), "counts": Counts(tp, trials - tp, 0)}


def test_a_window_far_below_the_first_one_trains() -> None:
    """The sentence has both numbers, the difference and what is tolerated; the threshold may be null."""
    decision = Dropping().look(0.781)
    assert decision.action is Action.TRAIN
    assert decision.message == "training: F1 0.781 is 0.071 below 0.852, its first window (max_drop 0.050)"
    (breach,) = decision.breaches
    assert (breach.signal, breach.judged, breach.limit) == (Signal.F1, 0.781, pytest.approx(0.802))


@pytest.mark.parametrize(
    ("f1", "message"),
    [
        (0.852, "healthy: F1 0.852 is not below 0.852, its first window"),
        (0.9, "healthy: F1 0.900 is not below 0.852, its first window"),
        (0.802, "healthy: F1 0.802 is 0.050 below 0.852, its first window (max_drop 0.050)"),
    ],
)
def test_a_window_that_is_not_too_far_below_is_healthy(f1: float, message: str) -> None:
    """Exactly as far as tolerated is healthy, as a threshold is."""
    assert Dropping().look(f1).message == message


def test_the_first_window_itself_is_healthy() -> None:
    """There is nothing to compare it with."""
    assert Dropping(None).look(0.3).message == "healthy: F1 0.300 is not judged: the champion has no first window yet"


def test_where_counts_are_known_the_drop_must_be_beyond_chance() -> None:
    """The same drop in windows of 40 and of 4,000 rows; without counts of both the difference alone decides."""
    few, many = ({**counted(0.852, trials)} for trials in (40, 4000))
    for first, then, action in (
        (few, counted(0.78, 40), Action.HOLD),
        (many, counted(0.78, 4000), Action.TRAIN),
        ({"f1": 0.852}, counted(0.78, 40), Action.TRAIN),
    ):
        story = Dropping(None)
        story.look(**first)
        decision = story.look(**then)
        assert decision.action is action
        assert ("which chance may explain" in decision.message) == (action is Action.HOLD)


def test_the_level_is_as_documented() -> None:
    """A window is in breach where the one-sided test of two proportions has a p-value of 0.01 at most."""
    first = Counts(3000, 1000, 0)
    bar = max(tp for tp in range(1000) if chance_of_drop(first, Counts(tp, 1000 - tp, 0)) <= CHANCE_OF_DROP)
    past = Past(firsts={"": FirstWindow(6 / 7, first)})
    states = []
    for tp in (bar, bar + 1):
        snapshot = Snapshot(T0, f1=2 * tp / (tp + 1000), counts=Counts(tp, 1000 - tp, 0))
        (assessed,) = assess(snapshot, Triggers(max_drop=0.001), past)
        states.append(assessed.state)
    assert states == [State.BREACH, State.HEALTHY]
    assert CHANCE_OF_DROP == 0.01


def test_consecutive_windows_are_counted() -> None:
    """A drop is a breach like any other."""
    story = Dropping(consecutive=2)
    assert story.look(0.7).reason is Reason.CONFIRMING
    assert story.look(0.7).action is Action.TRAIN


def test_the_first_window_is_the_first_that_counts() -> None:
    """Not one that the champion before it had a part in, nor one with too few labels."""
    story = Dropping(settle=2 * DAY, min_samples=100)
    story.tell(Promoted(B, A))
    story.look(0.99, samples=500.0)
    assert story.past.first is None
    story.look(0.98, samples=50.0)
    assert story.past.first is None
    story.look(0.9, samples=500.0)
    story.look(0.95, samples=500.0)
    assert story.past.first == FirstWindow(0.9)


def test_each_champion_has_its_own() -> None:
    """One that comes back by a rollback is compared with what it showed when it was new, not with its decayed F1."""
    story = Dropping()
    story.tell(Promoted(B, A))
    story.look(0.6)
    assert story.look(0.58).reason is Reason.HEALTHY
    story.tell(RolledBack(A, B))
    assert story.past.first == FirstWindow(0.852)
    assert story.look(0.7).action is Action.TRAIN


def test_below_the_threshold_says_so_once() -> None:
    """A window that is on the wrong side of both has the shorter sentence."""
    story = Dropping(performance_threshold=0.8)
    assert story.look(0.7).message == "training: F1 0.700 is below 0.800"
    story = Dropping(performance_threshold=0.8)
    assert story.look(0.801).message.startswith("training: F1 0.801 is 0.051 below 0.852, its first window")
    assert story.look(0.84).message == "healthy: F1 0.840 is not below 0.800"


def test_beside_the_evidence_rule_a_drop_trains_by_itself() -> None:
    """The evidence is about the threshold, so it is not waited for; its score is not quoted for a drop."""
    rule = EvidenceRule(0.03, 1.0)
    story = Dropping(None, performance_threshold=0.7, evidence=rule)
    story.look(**counted(0.852, 400))
    assert story.look(**counted(0.69, 12)).reason is Reason.GATHERING_EVIDENCE
    decision = story.look(**counted(0.69, 50))
    assert decision.action is Action.TRAIN
    assert decision.message.startswith("training: F1 0.684 is 0.168 below 0.852, its first window")
    assert "evidence" not in decision.message


def test_the_numbers_have_what_they_are_compared_with() -> None:
    """For `status` and `check -v`, also where there is no threshold."""
    story = Dropping()
    shown = [
        look_at(story.past, A, story.see(0.8), rules, story.now).assessments[0].numbers
        for rules in (RULE, Triggers(performance_threshold=0.85))
    ]
    assert shown == ["0.800, first window 0.852 (max_drop 0.050)", "0.800, threshold 0.850"]
    assert Assessment(Signal.F1, State.UNKNOWN).numbers == "unknown"
