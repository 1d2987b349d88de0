"""Recorded looks, decided anew: as the checks of that time would have, rule by rule."""

import random
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.backtest.replay import Recorded, recorded, replay
from retrain.core.assess import assess
from retrain.core.decide import decide
from retrain.core.events import Checked, Entry
from retrain.core.fold import as_of, watch
from retrain.core.past import Past
from retrain.core.records import Action, Counts, Reason, Signal, Snapshot, Unknown
from retrain.core.rules import Triggers
from tests.core.test_decide import DAY, HOUR, T0, Story

RULE = Triggers(performance_threshold=0.85, drift_threshold=0.2, cooldown=6 * HOUR, challenger_ttl=timedelta())


def look(at: datetime, f1: float | Unknown = 0.9, served: str | None = None, **fields: Any) -> Recorded:
    return Recorded(Snapshot(at, f1=f1, drift=0.1, **{"f1_observed_at": at, "drift_observed_at": at} | fields), served)


def test_it_tells_when_and_why_the_rule_would_have_trained() -> None:
    """The times of the looks, the sentences of the decision, and how often each reason came."""
    done = replay([look(T0 + DAY * day, 0.8 if day in (3, 5) else 0.9) for day in range(8)], RULE)
    assert [at for at, _ in done.trainings] == [T0 + 3 * DAY, T0 + 5 * DAY]
    assert "F1 0.800 is below 0.850" in done.trainings[0][1]
    assert done.reasons == {Reason.HEALTHY: 6, Reason.BREACH: 2}
    assert done.windows == {Signal.F1: 8, Signal.DRIFT: 8}


def test_a_window_that_was_read_often_counts_once() -> None:
    """Five-minute reads of a daily number are one window a day."""
    looks = [look(T0 + timedelta(minutes=5 * number), 0.8, f1_observed_at=T0) for number in range(288)]
    assert len(replay(looks, RULE).trainings) == 1


def test_the_record_of_trainings_never_runs_into_a_barrier_that_a_person_would_lift() -> None:
    """Neither a waiting challenger nor max_unpromoted holds a replay back; the cooldown does."""
    looks = [look(T0 + HOUR * hour, 0.8) for hour in range(49)]
    done = replay(looks, RULE)
    assert [at - T0 for at, _ in done.trainings] == [6 * HOUR * number for number in range(9)]
    assert done.reasons[Reason.COOLING_DOWN] == 40


def test_another_champion_in_the_record_starts_anew() -> None:
    """Windows of one champion say nothing about the next."""
    rule = Triggers(performance_threshold=0.85, consecutive=2, settle=timedelta())
    looks = [look(T0, 0.8, "a" * 64), look(T0 + DAY, 0.8, "b" * 64), look(T0 + 2 * DAY, 0.8, "b" * 64)]
    assert [at for at, _ in replay(looks, rule).trainings] == [T0 + 2 * DAY]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_a_replay_decides_what_a_check_decides(seed: int, consecutive: int) -> None:
    """On any stream, the same trainings as a controller whose every challenger is judged at once."""
    dice = random.Random(seed)
    story = Story(RULE, consecutive=consecutive, max_unpromoted=10**6)
    looks, trained = [], []
    for _ in range(40):
        story.later(timedelta(minutes=dice.randint(1, 600)))
        f1 = Unknown("missing", "gone") if dice.random() < 0.1 else dice.choice([0.8, 0.84, 0.86, 0.9])
        end = story.now - timedelta(minutes=dice.randint(0, 90))
        snapshot = Snapshot(story.now, f1=f1, drift=dice.choice([0.1, 0.3]), f1_observed_at=end, drift_observed_at=end)
        looks.append(Recorded(snapshot, story.past.served))
        if story.check(snapshot).action is Action.TRAIN:
            trained.append(story.now)
            story.judge()
    assert [at for at, _ in replay(looks, story.triggers).trainings] == trained


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.floats(0, 1), st.just(Unknown("stale", "it is old"))),
    st.booleans(),
    st.sampled_from([None, "week 7"]),
)
def test_the_journal_is_a_record(f1: float | Unknown, dated: bool, window: str | None) -> None:
    """A look that a check wrote down is decided as it was: same states, windows, counts."""
    end = T0 - HOUR if dated else None
    counts = Counts(80, 10, 10) if f1 == 0.5 else None
    snapshot = Snapshot(
        T0, f1, 0.1, f1_observed_at=end, drift_observed_at=end, window=window, samples=400.0, counts=counts
    )
    before = as_of(Past(), "a" * 64, T0)
    said = assess(snapshot, RULE, before)
    decision = decide(watch(before, said), said, RULE, T0)
    entry = Entry(1, T0, Checked(decision.action, decision.reason, decision.message, "a" * 64, said))
    kept = recorded(entry)
    assert kept is not None
    assert kept.served == "a" * 64
    assert assess(kept.snapshot, RULE, before) == said


def test_a_check_without_a_look_is_no_record() -> None:
    """A stuck lock, say."""
    assert recorded(Entry(1, T0, Checked(Action.HOLD, Reason.BUSY, "stuck", None, ()))) is None
