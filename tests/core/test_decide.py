"""The decision of `check`, as tables: the contract's "How check decides", rule by rule."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from retrain.core.assess import assess
from retrain.core.decide import Asked, decide, fruitless, look_at
from retrain.core.events import (
    Actor,
    Checked,
    Judged,
    NotJudged,
    Paused,
    Promoted,
    Rejected,
    Resumed,
    RolledBack,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.fold import advance, as_of, watch
from retrain.core.past import PAUSED, UNPROMOTED, End, Past, incident_of
from retrain.core.records import (
    Action,
    Assessment,
    Counts,
    Decision,
    Outcome,
    Reason,
    Signal,
    Snapshot,
    State,
    Trouble,
    Unknown,
)
from retrain.core.rules import MaxAge, MinAge, Side, Triggers
from retrain.core.verdicts import Ruling, Verdict

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BOTH = Triggers(performance_threshold=0.85, drift_threshold=0.2, settle=timedelta())
LOST = Unknown("missing", "no series matches")


class Story:
    """A controller's life without a disk: every check is decided and remembered as the real one does it."""

    def __init__(self, triggers: Triggers = BOTH, **changes: Any) -> None:
        self.triggers = replace(triggers, **changes)
        self.past, self.now, self.windows, self.trainings = Past(served="a" * 64), T0, 0, 0

    def see(self, f1: float | Unknown | None = 0.9, drift: float | Unknown | None = 0.1, **fields: Any) -> Snapshot:
        """A look at a new window, which ended now."""
        self.windows += 1
        dated = {"f1_observed_at": self.now, "drift_observed_at": self.now}
        return Snapshot(self.now, f1=f1, drift=drift, **{**dated, **fields})

    def check(self, snapshot: Snapshot, outcome: Outcome = Outcome.SUCCEEDED, **how: Any) -> Decision:
        """The decision on this snapshot; a training, if there is one, ends at once with `outcome`."""
        snapshot = replace(snapshot, fetched_at=self.now)
        past = as_of(self.past, self.past.served, self.now)
        assessments = assess(snapshot, self.triggers, past)
        decision = decide(watch(past, assessments), assessments, self.triggers, self.now, Asked(**how))
        self.tell(Checked(decision.action, decision.reason, decision.message, past.served, assessments))
        if decision.action is Action.TRAIN:
            self.trainings += 1
            self.tell(TrainingStarted(f"r{self.trainings}", decision.reason, decision.message))
            done = f"{self.trainings:064x}" if outcome is Outcome.SUCCEEDED else None
            self.tell(TrainingFinished(f"r{self.trainings}", outcome, "", challenger=done))
        return decision

    def tell(self, event: Any) -> None:
        self.past = advance(self.past, event, self.now)

    def judge(self, *, dry_run: bool = False) -> None:
        assert self.past.challenger is not None
        verdict = Verdict(Ruling.INCONCLUSIVE, "f1", 100, 0.8, 0.8, 0.05, 1)
        self.tell(Judged(self.past.challenger.version, self.past.served, "h", "q", "f", verdict, dry_run=dry_run))

    def promote(self) -> None:
        assert self.past.challenger is not None
        self.tell(Promoted(self.past.challenger.version, self.past.served))

    def later(self, span: timedelta) -> "Story":
        self.now += span
        return self


@pytest.mark.parametrize(
    ("f1", "drift", "reason"),
    [
        (0.9, 0.1, Reason.HEALTHY),
        (0.85, 0.2, Reason.HEALTHY),
        (0.8499999, 0.1, Reason.BREACH),
        (0.9, 0.2000001, Reason.BREACH),
        (0.1, 5.0, Reason.BREACH),
        (LOST, 0.1, Reason.UNKNOWN),
        (0.9, LOST, Reason.UNKNOWN),
        (LOST, LOST, Reason.UNKNOWN),
        (LOST, 0.9, Reason.BREACH),
        (0.1, LOST, Reason.BREACH),
        (1.2, 0.1, Reason.UNKNOWN),
        (-0.1, 0.1, Reason.UNKNOWN),
        (0.9, -0.1, Reason.UNKNOWN),
    ],
)
def test_each_reading_is_healthy_in_breach_or_unknown(f1: Any, drift: Any, reason: Reason) -> None:
    """Equality is healthy; signals are joined by or; one unknown without a breach is unknown."""
    story = Story()
    decision = story.check(story.see(f1, drift))
    assert decision.reason is reason
    assert (decision.action is Action.TRAIN) == (reason is Reason.BREACH)


@pytest.mark.parametrize(("p_value", "reason"), [(0.05, Reason.HEALTHY), (0.049, Reason.BREACH), (1.1, Reason.UNKNOWN)])
def test_drift_may_be_in_breach_below(p_value: float, reason: Reason) -> None:
    """`drift_breach: below` reads a p-value: small is drift, above 1 is no p-value."""
    story = Story(drift_threshold=0.05, drift_breach=Side.BELOW)
    assert story.check(story.see(drift=p_value)).reason is reason


def test_a_window_counts_once() -> None:
    """Reading one window three times is one window in breach, not three."""
    story = Story(consecutive=3)
    snapshot = story.see(0.8)
    assert story.check(snapshot).reason is Reason.CONFIRMING
    assert story.later(HOUR).check(snapshot).reason is Reason.SAME_WINDOW
    assert story.later(HOUR).check(snapshot).reason is Reason.SAME_WINDOW
    assert story.later(HOUR).check(story.see(0.8)).reason is Reason.CONFIRMING
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN


def test_a_healthy_window_resets_the_streak_and_an_unknown_one_does_not() -> None:
    """Unknown neither lengthens nor resets a streak; a healthy window resets it."""
    story = Story(consecutive=2)
    story.check(story.see(0.8))
    assert story.later(HOUR).check(story.see(LOST)).reason is Reason.UNKNOWN
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN
    story = Story(consecutive=2)
    story.check(story.see(0.8))
    story.later(HOUR).check(story.see(0.9))
    assert story.later(HOUR).check(story.see(0.8)).reason is Reason.CONFIRMING


def test_a_window_seen_before_training_ended_never_counts_again() -> None:
    """After a training its own window is spent: only a new one can train again."""
    story = Story(cooldown=timedelta(), challenger_ttl=timedelta())
    snapshot = story.see(0.8)
    assert story.check(snapshot).action is Action.TRAIN
    assert story.later(HOUR).check(snapshot).reason is Reason.SAME_WINDOW
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN


@pytest.mark.parametrize("identity", ["dated", "named", "numbers"])
def test_a_window_is_known_by_its_name_its_end_or_its_numbers(identity: str) -> None:
    """`window`, else `observed_at`, else the values identify a window."""
    story = Story(consecutive=2)
    blank: dict[str, Any] = {"f1_observed_at": None, "drift_observed_at": None}
    kinds: dict[str, dict[str, Any]] = {"dated": {}, "named": {**blank, "window": "w7"}, "numbers": blank}
    fields = kinds[identity]
    snapshot = story.see(0.8, **fields)
    story.check(snapshot)
    assert story.later(HOUR).check(snapshot).reason is Reason.SAME_WINDOW
    other = {**fields, "window": "w8"} if identity == "named" else fields
    assert story.later(HOUR).check(story.see(0.79, **other)).action is Action.TRAIN


def test_a_window_older_than_one_that_was_read_does_not_count() -> None:
    """A replica that lags, or windows that go backwards in time, add nothing."""
    story = Story(consecutive=2)
    old = story.see(0.8)
    story.later(HOUR).check(story.see(0.8))
    assert story.later(HOUR).check(old).reason is Reason.SAME_WINDOW


def test_a_breach_stays_due_while_a_cooldown_holds_it_back() -> None:
    """Being held back by a cooldown does not use a breach up: the same window trains once the cooldown ends."""
    story = Story(cooldown=6 * HOUR)
    story.check(story.see(0.8))
    story.judge()
    snapshot = story.later(HOUR).see(0.7)
    assert story.check(snapshot).reason is Reason.COOLING_DOWN
    assert story.later(4 * HOUR).check(snapshot).reason is Reason.COOLING_DOWN
    assert story.later(HOUR).check(snapshot).action is Action.TRAIN


def test_a_failed_training_leaves_the_breach_due_and_backs_off_twice_as_long_each_time() -> None:
    """1 h, 2 h, 4 h ... after each failure, never longer than a day; a success ends it."""
    story = Story(failure_backoff=HOUR, cooldown=timedelta(), max_age=MaxAge(90 * DAY, 90 * DAY))
    snapshot = story.see(0.8)
    story.check(snapshot, Outcome.FAILED)
    for hours in (1, 2, 4, 8, 16, 24, 24):
        story.later(hours * HOUR - timedelta(seconds=1))
        assert story.check(snapshot).reason is Reason.BACKING_OFF, hours
        assert story.later(timedelta(seconds=1)).check(snapshot, Outcome.TIMED_OUT).action is Action.TRAIN, hours
    story.later(DAY).check(snapshot)
    assert story.past.failures == 0
    assert story.check(story.later(HOUR).see(0.8)).reason is Reason.CHALLENGER_WAITING


def test_a_waiting_challenger_holds_training_back_until_it_is_judged_rejected_or_too_old() -> None:
    """Whatever the verdict; a dry run is no verdict; `challenger_ttl` ends the wait."""
    story = Story(cooldown=timedelta())
    story.check(story.see(0.8))
    assert story.later(HOUR).check(story.see(0.8)).reason is Reason.CHALLENGER_WAITING
    story.judge(dry_run=True)
    assert story.later(HOUR).check(story.see(0.8)).reason is Reason.CHALLENGER_WAITING
    story.judge()
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN
    assert story.past.challenger is not None
    story.tell(Rejected(story.past.challenger.version, "no"))
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN


def test_a_challenger_stops_holding_training_back_after_its_time() -> None:
    """`challenger_ttl` has passed: training may go on."""
    story = Story(cooldown=timedelta())
    story.check(story.see(0.8))
    assert story.later(7 * DAY - HOUR).check(story.see(0.8)).reason is Reason.CHALLENGER_WAITING
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN


@pytest.mark.parametrize(
    ("cooldown", "waits"),
    [(6, (6, 6, 12, 24, 48, 96, 168, 168)), (200, (200,) * 6), (0, (0,) * 6)],
)
def test_from_max_unpromoted_trainings_on_the_cooldown_doubles(cooldown: int, waits: tuple[int, ...]) -> None:
    """Up to a week, unless it is longer already; the loop never ends, and a promotion takes it back."""
    story = Story(cooldown=cooldown * HOUR, challenger_ttl=timedelta(), max_age=MaxAge(90 * DAY, 90 * DAY))
    for hours in waits:
        assert story.check(story.see(0.8)).action is Action.TRAIN
        if hours:
            held = story.later(hours * HOUR - timedelta(seconds=1)).check(story.see(0.8))
            assert held.reason is Reason.COOLING_DOWN, hours
            assert ("in a row brought no promotion" in held.message) == (hours > cooldown)
        story.later(timedelta(seconds=1))
    story.check(story.see(0.8))
    story.promote()
    story.later(14 * DAY).check(story.see(0.8))
    assert story.later(cooldown * HOUR + HOUR).check(story.see(0.8)).action is Action.TRAIN


ENDED: dict[End, Callable[[str], Any]] = {
    End.INCONCLUSIVE: lambda version: judged(version, Ruling.INCONCLUSIVE),
    End.WORSE: lambda version: judged(version, Ruling.REJECT),
    End.NOT_IN_SERVICE: lambda version: judged(version, Ruling.PROMOTE),
    End.UNSCORABLE: lambda version: NotJudged(version, "it cannot be loaded"),
    End.REFUSED: lambda version: NotJudged(version, "it has read the holdout", refused="rows"),
    End.REJECTED: lambda version: Rejected(version, "no"),
    End.GIVEN_UP: lambda version: Rejected(version, "too few rows", given_up=True),
}


def judged(version: str, ruling: Ruling) -> Judged:
    return Judged(version, "a" * 64, "h", "q", "f", Verdict(ruling, "f1", 100, 0.8, 0.8, 0.05, 1))


def in_vain(*ends: End) -> Story:
    """A controller whose trainings so far ended so."""
    story = Story(cooldown=timedelta(), challenger_ttl=timedelta())
    for end in ends:
        outcome = Outcome.NOTHING_NEW if end is End.NOTHING_NEW else Outcome.SUCCEEDED
        assert story.later(HOUR).check(story.see(0.8), outcome).action is Action.TRAIN
        if story.past.challenger is not None and end in ENDED:
            story.tell(ENDED[end](story.past.challenger.version))
    return story


@pytest.mark.parametrize("end", list(End))
def test_a_person_reads_why_nothing_was_promoted(end: End) -> None:
    """Each cause that the journal shows has its words and remedy; one that nobody judged counts once the next came."""
    more = [end] * (end is End.NOT_JUDGED)
    assert fruitless(in_vain(end, end).past, BOTH) is None
    found = fruitless(in_vain(end, end, end, *more).past, BOTH)
    assert found is not None
    assert found.kind is end
    count = 3 + len(more)
    assert found.why == f"{count} trainings in a row brought no promotion: 3 {end}"
    assert found.remedy.endswith("; until a promotion, each makes the cooldown longer")


def test_a_training_that_left_nothing_new_is_no_failure() -> None:
    """It uses its breach up as any training does: no back-off, no waiting challenger, a cooldown that grows."""
    story = Story(max_unpromoted=2)
    story.check(story.see(0.8))
    story.judge()
    for hours in (6, 12, 24):
        assert story.later(timedelta(hours=hours) / 2).check(story.see(0.8)).reason is Reason.COOLING_DOWN, hours
        snapshot = story.later(timedelta(hours=hours) / 2).see(0.8)
        assert story.check(snapshot, Outcome.NOTHING_NEW).action is Action.TRAIN, hours
        assert (story.past.challenger, story.past.failures) == (None, 0)
        assert story.check(snapshot).reason is Reason.SAME_WINDOW
    assert story.past.ends == (End.INCONCLUSIVE, *[End.NOTHING_NEW] * 3)


def test_the_most_frequent_cause_has_the_remedy() -> None:
    """The latest, where two are as frequent; without a cooldown there is none to become longer; a promotion ends it."""
    story = in_vain(End.WORSE, End.INCONCLUSIVE, End.WORSE, End.INCONCLUSIVE)
    found = fruitless(story.past, story.triggers)
    assert found is not None
    assert found.message == (
        "4 trainings in a row brought no promotion: 2 inconclusive, 2 no better than the champion (the holdout is too"
        " small or too old: renew it, or set promotion.holdout: fresh)"
    )
    story.promote()
    assert fruitless(story.past, story.triggers) is None


def test_what_was_rejected_before_a_promotion_does_not_count_after_it() -> None:
    """A challenger that waited while another was promoted, and is rejected then."""
    story = in_vain(End.NOT_JUDGED)
    assert story.past.challenger is not None
    waiting = story.past.challenger.version
    story.tell(Promoted("d" * 64, story.past.served))
    story.tell(Rejected(waiting, "no"))
    assert fruitless(story.past, replace(story.triggers, max_unpromoted=1)) is None


def test_that_nothing_is_promoted_is_reported_once_for_each_cause() -> None:
    """Neither a day later nor after the next training, nor when all is healthy meanwhile; a promotion begins anew."""
    story = in_vain(End.WORSE, End.WORSE, End.WORSE)
    worse, other = incident_of(UNPROMOTED, End.WORSE), incident_of(UNPROMOTED, End.INCONCLUSIVE)
    assert story.past.is_news(worse, story.now, DAY)
    story.tell(Checked(Action.HOLD, Reason.HEALTHY, "", story.past.served, (), worse, news=True))
    story.tell(Checked(Action.HOLD, Reason.HEALTHY, "", story.past.served, ()))
    assert story.later(9 * DAY).check(story.see(0.8)).action is Action.TRAIN
    assert not story.past.is_news(worse, story.now, DAY)
    assert story.past.is_news(other, story.now, DAY)
    story.promote()
    assert story.past.is_news(worse, story.now, DAY)


def test_the_gates_are_asked_in_the_contracts_order() -> None:
    """Challenger waiting, then the cooldown."""
    story = Story()
    story.check(story.see(0.8))
    assert story.later(HOUR).check(story.see(0.8)).reason is Reason.CHALLENGER_WAITING
    story.judge()
    assert story.later(HOUR).check(story.see(0.8)).reason is Reason.COOLING_DOWN


@pytest.mark.parametrize(("age", "kind"), [(2 * DAY, Trouble.STALE), (-HOUR, Trouble.FUTURE), (HOUR, None)])
def test_what_an_answer_says_of_its_age_makes_it_stale_but_no_window(age: timedelta, kind: Trouble | None) -> None:
    """A file that is rewritten every minute with the same numbers is not a new window a minute."""
    seen = [
        assess(
            Snapshot(T0 + later, f1=0.8, written_at={"f1": T0 + later - age}),
            Triggers(performance_threshold=0.85),
            Past(),
        )[0]
        for later in (timedelta(), HOUR)
    ]
    assert [each.unknown and each.unknown.kind for each in seen] == [kind, kind]
    assert seen[0].window == seen[1].window


def test_a_window_that_overlaps_the_last_counted_one_does_not_count() -> None:
    """A trailing window read each day holds six days of the one before; the next that counts begins after its end."""
    story = Story(consecutive=2, cooldown=timedelta(), challenger_ttl=timedelta())
    week: dict[str, Any] = {"window_length": 7 * DAY}
    story.check(story.see(0.8, **week))
    for _ in range(6):
        held = story.later(DAY).check(story.see(0.8, **week))
        assert held.reason is Reason.SAME_WINDOW
        assert "began before the last one that counted ended: window 1 of 2 in breach" in held.message
    assert story.later(DAY).check(story.see(0.8, **week)).action is Action.TRAIN
    assert story.later(DAY).check(story.see(0.8, **week)).reason is Reason.SAME_WINDOW
    assert story.later(DAY).check(story.see(0.9, **week)).reason is Reason.HEALTHY
    assert story.past.f1.count == 0


def test_a_breach_that_was_held_back_stays_due_in_windows_that_overlap() -> None:
    """They do not count, but they do not use the breach up either."""
    story = Story(cooldown=2 * DAY)
    story.check(story.see(0.8))
    story.judge()
    held = story.later(DAY).check(story.see(0.8, window_length=7 * DAY))
    assert held.reason is Reason.SAME_WINDOW
    story = Story(failure_backoff=DAY, max_age=MaxAge(90 * DAY, 90 * DAY))
    story.check(story.see(0.8, window_length=7 * DAY), Outcome.FAILED)
    assert story.later(HOUR).check(story.see(0.8, window_length=7 * DAY)).reason is Reason.BACKING_OFF
    assert story.later(DAY).check(story.see(0.8, window_length=7 * DAY)).action is Action.TRAIN


@pytest.mark.parametrize("ahead", [timedelta(milliseconds=1), timedelta(minutes=4)])
def test_a_window_that_ends_as_it_is_read_is_judged(ahead: timedelta) -> None:
    """A monitor measures the rows until now when it is asked, and its clock may be ahead of ours."""
    story = Story()
    now: dict[str, Any] = {"f1_observed_at": story.now + ahead, "drift_observed_at": story.now + ahead}
    assert story.check(story.see(0.5, **now)).action is Action.TRAIN


def test_a_window_younger_than_min_age_is_neither_healthy_nor_in_breach() -> None:
    """It is read again, and counts with what it says then; the signals may have ages of their own."""
    story = Story(min_age=MinAge(f1=3 * DAY), max_age=MaxAge(9 * DAY, 9 * DAY))
    young = story.see(0.8)
    held = story.later(DAY).check(young)
    assert held.reason is Reason.TOO_EARLY
    assert held.message == "waiting: F1 0.800 is not judged: its window ended 1 d ago, min_age is 3 d"
    assert story.past.f1.seen == ()
    assert story.check(replace(story.see(0.8), drift=0.5)).action is Action.TRAIN
    assert story.past.f1.seen == ()
    grown = replace(young, f1=0.9)
    assert story.later(2 * DAY).check(grown).reason is Reason.HEALTHY


def test_windows_observed_before_the_promotion_has_settled_do_not_count() -> None:
    """They are (partly) about the champion before."""
    story = Story(settle=DAY, cooldown=timedelta())
    story.check(story.see(0.8))
    story.promote()
    half_old = story.later(HOUR).see(0.8)
    assert story.check(half_old).reason is Reason.SETTLING
    last_old = story.later(22 * HOUR).see(0.8)
    assert story.later(2 * HOUR).check(last_old).reason is Reason.SETTLING
    assert story.check(story.see(0.8)).action is Action.TRAIN


def test_the_first_champion_has_nothing_to_settle_from() -> None:
    """Before it nothing served, so no window is about another champion."""
    story = Story(settle=DAY)
    story.past = Past()
    story.tell(Promoted("b" * 64, None))
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN


def test_a_window_that_began_before_the_champion_took_over_settles() -> None:
    """However short `settle` is: six of the seven days of that window are about the champion before."""
    week: dict[str, Any] = {"window_length": 7 * DAY}
    story = Story(cooldown=timedelta(), settle=DAY)
    story.check(story.see(0.8, **week))
    story.promote()
    held = story.later(2 * DAY).check(story.see(0.7, **week))
    assert held.reason is Reason.SETTLING
    assert ": it began at 2026-02-24 12:00 UTC, this one took over at 2026-03-01 12:00 UTC, settle is" in held.message
    assert story.later(5 * DAY).check(story.see(0.7, **week)).action is Action.TRAIN


def test_no_window_that_was_read_before_the_first_champion_is_its_own() -> None:
    """It trains once, whoever serves later, and is not what the champion showed first."""
    story = Story(max_drop=0.05, cooldown=timedelta())
    story.past = Past()
    read = story.see(0.8)
    assert story.check(read).action is Action.TRAIN
    story.later(HOUR).promote()
    assert story.later(HOUR).check(read).reason is Reason.SAME_WINDOW
    assert story.later(HOUR).check(story.see(0.9)).reason is Reason.HEALTHY
    assert story.past.first is not None
    assert story.past.first.f1 == 0.9


@pytest.mark.parametrize("undated", [{}, {"f1_observed_at": None, "drift_observed_at": None}])
def test_a_named_window_trains_once_whoever_serves(undated: dict[str, Any]) -> None:
    """It was counted before the promotion, and is read again by a champion without `settle`."""
    story = Story(cooldown=timedelta(), settle=timedelta())
    assert story.check(story.see(0.8, window="2026-W48", **undated)).action is Action.TRAIN
    story.promote()
    again = story.later(DAY).check(story.see(0.8, window="2026-W48", **undated))
    assert again.reason is Reason.SAME_WINDOW


def test_a_healthy_number_that_comes_again_ends_the_streak() -> None:
    """Windows without name or end: two in breach are not in a row where a healthy one was between them."""
    story, undated = Story(consecutive=2), {"f1_observed_at": None, "drift_observed_at": None}
    for f1 in (0.90, 0.84, 0.90):
        story.check(story.later(HOUR).see(f1, **undated))
    assert story.check(story.later(HOUR).see(0.83, **undated)).reason is Reason.CONFIRMING
    assert story.check(story.later(HOUR).see(0.82, **undated)).action is Action.TRAIN


def test_a_champion_replaced_by_hand_starts_anew() -> None:
    """Windows of the old file say nothing about the one that a deploy tool put in its place."""
    story = Story(consecutive=2, settle=DAY)
    story.check(story.see(0.8))
    story.past = as_of(story.past, "b" * 64, story.later(HOUR).now)
    assert story.check(story.see(0.8)).reason is Reason.SETTLING
    assert story.later(2 * DAY).check(story.see(0.8)).reason is Reason.CONFIRMING


def test_drift_that_stood_at_the_promotion_must_be_healthy_once_before_it_trains_again() -> None:
    """A monitor that still compares with the old training data must not train for ever."""
    story = Story(cooldown=timedelta())
    story.check(story.see(drift=0.5))
    story.promote()
    decision = story.later(HOUR).check(story.see(drift=0.5))
    assert decision.reason is Reason.NOT_REARMED
    assert "RETRAIN_REFERENCE" in decision.message
    assert story.later(HOUR).check(story.see(0.8, drift=0.5)).action is Action.TRAIN, "F1 is not disarmed"
    story.judge()
    story.later(HOUR).check(story.see(drift=0.1))
    assert story.later(HOUR).check(story.see(drift=0.5)).action is Action.TRAIN


def test_drift_stays_disarmed_through_a_second_swap() -> None:
    """Two promotions in a row do not arm what stood at the first."""
    story = Story(cooldown=timedelta())
    story.check(story.see(drift=0.5))
    story.promote()
    story.later(HOUR).tell(Promoted("c" * 64, story.past.served))
    assert story.later(HOUR).check(story.see(drift=0.5)).reason is Reason.NOT_REARMED


def test_a_rollback_arms_drift_again() -> None:
    """What was promoted for the drift is out of service, so the same drift in a new window trains once more."""
    story = Story(cooldown=timedelta())
    story.check(story.see(drift=0.5))
    story.promote()
    assert story.later(HOUR).check(story.see(drift=0.5)).reason is Reason.NOT_REARMED
    story.later(HOUR).tell(RolledBack("a" * 64, story.past.served))
    assert story.later(HOUR).check(story.see(drift=0.5)).action is Action.TRAIN


def test_without_a_date_each_signal_has_windows_of_its_own() -> None:
    """Drift that moves makes no new window of an F1 that does not."""
    story = Story(consecutive=3)
    blank: dict[str, Any] = {"f1_observed_at": None, "drift_observed_at": None}
    for drift in (0.1, 0.11, 0.12, 0.13):
        assert story.later(HOUR).check(story.see(0.8, drift, **blank)).action is Action.HOLD


def test_an_old_model_that_is_held_back_hides_no_unknown() -> None:
    """With no breach standing, one unknown signal is told."""
    story = Story(max_model_age=DAY)
    decision = story.check(story.see(), Outcome.FAILED, made_at=T0 - 2 * DAY)
    assert decision.reason is Reason.MODEL_AGE
    made_at = T0 - 2 * DAY
    assert story.check(story.see(LOST), made_at=made_at).reason is Reason.UNKNOWN


def test_too_few_labelled_samples_are_not_judged() -> None:
    """A window below `min_samples` says nothing about F1, and drift is judged all the same."""
    story = Story(min_samples=100)
    assert story.check(story.see(0.1, samples=99.0)).reason is Reason.TOO_FEW_SAMPLES
    assert story.later(HOUR).check(story.see(0.1, 0.9, samples=99.0)).breaches[0].signal == "drift"
    story.later(HOUR)
    assert Story(min_samples=100).later(HOUR * 2).check(story.see(0.1, samples=100.0)).action is Action.TRAIN


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"counts": Counts(80, 10, 10)}, "give 0.8889"),
        ({"counts": Counts(-1, 10, 10)}, "not whole numbers"),
        ({"counts": Counts(1.5, 10, 10)}, "not whole numbers"),
        ({"counts": Counts(1e308, 1e308, 1e308)}, "not whole numbers"),
        ({"positives": 1e300}, "is no count"),
        ({"counts": Counts(0, 0, 0)}, "F1 is not defined"),
        ({"counts": Counts(0, 5, 0), "f1": 0.0}, "no labelled positive (TP 0, FP 5, FN 0), so F1 is not"),
        ({"counts": LOST}, "no series matches"),
        ({"positives": 0.0}, "no labelled positive"),
        ({"samples": 0.0}, "no labelled positive"),
        ({"positives": LOST}, "no series matches"),
        ({"samples": LOST}, "no series matches"),
        ({"samples": -4.0}, "is no count"),
        ({"f1_observed_at": LOST}, "age is not known"),
        ({"window": LOST}, "window is not known"),
        ({"f1_observed_at": T0 - 2 * DAY}, "2 d ago"),
        ({"f1_observed_at": T0 + HOUR}, "compare the clocks"),
        ({"samples": 10.0, "positives": 100.0}, "says 10 samples, but positives is 100 ("),
        ({"samples": 10.0, "counts": Counts(30, 30, 30)}, "says 10 samples, but TP + FN is 60 ("),
        ({"samples": 50.0, "counts": Counts(10, 90, 0), "f1": 2 / 11}, "says 50 samples, but TP + FP is 100 ("),
        ({"positives": 500.0, "counts": Counts(30, 30, 30)}, "says 500 positives, but TP + FN is 60 ("),
    ],
)
def test_an_f1_that_cannot_be_trusted_is_unknown_and_trains_nothing(fields: dict[str, Any], words: str) -> None:
    """Stale, future, contradicted or without positives: unknown, with a sentence that says which."""
    story = Story()
    decision = story.check(story.see(**{"f1": 0.5} | fields))
    assert decision.reason is Reason.UNKNOWN
    assert words in decision.message


def test_counts_of_all_classes_together_fit_their_samples() -> None:
    """Of a micro average a wrong prediction is FP of one class and FN of another."""
    story = Story()
    micro: dict[str, Any] = {"samples": 100.0, "positives": 100.0, "counts": Counts(90, 10, 10)}
    assert story.check(story.see(0.9, **micro)).reason is Reason.HEALTHY
    rounded: dict[str, Any] = {"samples": 16.0, "positives": 16.0, "counts": Counts(15, 0, 2)}
    assert Story().check(story.see(15 / 16, **rounded)).reason is Reason.HEALTHY, "each was rounded alone"


def test_a_window_that_goes_backwards_counts_for_nothing_and_says_so() -> None:
    """One that ended before another that was read neither lengthens a streak nor trains."""
    story = Story(consecutive=2)
    old = story.see(0.5)
    story.later(HOUR).check(story.see(0.5))
    decision = story.check(old)
    assert decision.reason is Reason.SAME_WINDOW
    assert "ended before one that was read already" in decision.message
    assert story.past.f1.count == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"samples": 400.0}, {"samples": 399.0}),
        ({"positives": 90.0}, {"positives": 10.0}),
        ({"counts": Counts(80, 20, 20)}, {"counts": Counts(60, 15, 15)}),
    ],
)
def test_a_window_that_has_lost_labels_is_unknown(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Labels do not go away: a count that shrinks is a broken monitor, and no reason to train. More may come."""
    story = Story(cooldown=timedelta(), consecutive=2)
    end = story.now
    story.check(story.see(0.8, **before, f1_observed_at=end, drift_observed_at=end))
    decision = story.later(HOUR).check(story.see(0.8, **after, f1_observed_at=end, drift_observed_at=end))
    assert decision.reason is Reason.UNKNOWN
    assert "when it was read before" in decision.message
    again = story.later(HOUR).check(story.see(0.8, **before, f1_observed_at=end, drift_observed_at=end))
    assert again.reason is Reason.SAME_WINDOW
    assert story.later(HOUR).check(story.see(0.8, **after)).action is Action.TRAIN, "another window may be smaller"


def test_a_window_that_gains_labels_counts_once() -> None:
    """Late labels are no new window, and what came later may not go away either."""
    story = Story(consecutive=2)
    end: dict[str, Any] = {"f1_observed_at": story.now, "drift_observed_at": story.now}
    story.check(story.see(0.8, samples=300.0, **end))
    assert story.later(HOUR).check(story.see(0.8, samples=400.0, **end)).reason is Reason.SAME_WINDOW
    assert story.later(HOUR).check(story.see(0.8, samples=350.0, **end)).reason is Reason.UNKNOWN


def test_counts_that_agree_with_f1_after_rounding_are_accepted() -> None:
    """Monitors round F1 to two decimals."""
    story = Story()
    assert story.check(story.see(0.89, counts=Counts(80, 10, 10), positives=90.0)).reason is Reason.HEALTHY


def test_each_signal_may_have_its_own_age() -> None:
    """Labels come late: F1 of a week ago is fresh where `max_age` says so."""
    story = Story(max_age=MaxAge(f1=30 * DAY, drift=2 * HOUR))
    assert story.check(story.see(f1_observed_at=T0 - 7 * DAY)).reason is Reason.HEALTHY
    assert story.check(story.see(drift_observed_at=T0 - 3 * HOUR)).reason is Reason.UNKNOWN


def test_a_champion_older_than_max_model_age_trains_once_per_age() -> None:
    """Whatever the metrics say, unknown included; a training starts the age anew."""
    story = Story(max_model_age=30 * DAY, challenger_ttl=timedelta())
    made = T0 - 31 * DAY
    assert story.check(story.see(LOST, LOST), made_at=made).reason is Reason.MODEL_AGE
    assert story.later(DAY).check(story.see(), made_at=made).reason is Reason.HEALTHY
    assert story.later(30 * DAY).check(story.see(), made_at=made).reason is Reason.MODEL_AGE


def test_a_champion_that_a_wrong_clock_made_in_the_future_grows_old_all_the_same() -> None:
    """Its age counts from when it began to serve; otherwise the rule would be dead until that date."""
    story = Story(max_model_age=30 * DAY)
    story.past = replace(story.past, served_since=T0)
    made = T0 + 1000 * DAY
    assert story.check(story.see(), made_at=made).reason is Reason.HEALTHY
    assert story.later(31 * DAY).check(story.see(), made_at=made).reason is Reason.MODEL_AGE


def test_an_incident_that_was_told_in_the_future_is_told_again() -> None:
    """The clock was ahead when it was told; a failure that lasts must not be silent until that date."""
    past = Past(reported={"unknown": T0 + 1000 * DAY, "stuck": T0})
    assert past.is_news("unknown", T0, DAY)
    assert not past.is_news("stuck", T0 + HOUR, DAY)


def test_force_skips_every_rule() -> None:
    """Also an unknown metric, a waiting challenger and a cooldown."""
    story = Story()
    for _ in range(5):
        assert story.check(story.see(LOST, LOST), forced="new labels").reason is Reason.FORCED


def test_a_clock_set_back_never_blocks_training_for_good() -> None:
    """Waits that began in what is now the future count from the first event after the clock was set right."""
    story = Story(cooldown=6 * HOUR, challenger_ttl=DAY)
    story.later(3650 * DAY).check(story.see(0.8))
    story.judge()
    story.now = T0
    assert story.check(story.see(0.8)).reason is Reason.COOLING_DOWN
    assert story.later(7 * HOUR).check(story.see(0.8)).action is Action.TRAIN


def test_signals_that_share_a_cause_name_it_once() -> None:
    """One endpoint that is down is one clause, however many signals it gives; two causes are two."""
    story = Story()
    down = Unknown("unreachable", "http://monitor cannot be reached", "is it up?")
    decision = story.check(story.see(down, down))
    assert decision.message == "no decision: F1 and drift are unknown: http://monitor cannot be reached (is it up?)"
    decision = story.check(story.see(down, LOST))
    assert decision.message.count("unknown") == 2


def test_a_wait_names_the_window_only_while_windows_are_confirmed() -> None:
    """`window 7 of 1` says nothing: a count that is reached is not named."""
    story = Story(consecutive=3)
    snapshot = story.see(0.8)
    assert "but this is window 1 of 3 in breach" in story.check(snapshot).message
    assert "was counted already: window 1 of 3 in breach" in story.later(HOUR).check(snapshot).message
    story = Story(cooldown=timedelta(), challenger_ttl=timedelta(), max_unpromoted=99)
    for _ in range(7):
        snapshot = story.later(HOUR).see(0.8)
        story.check(snapshot, Outcome.FAILED)
    assert " of 1" not in story.later(HOUR).check(snapshot).message


def incidents(*reported: str) -> Past:
    """A past in which these incidents were reported and have not ended."""
    return Past(reported=dict.fromkeys(reported, T0))


def test_another_cause_is_news_and_the_same_one_is_not() -> None:
    """Once per incident and cause; numbers make no other cause, and a kind alone stands for all of its causes."""
    past = incidents(incident_of("training", "failed 2"), incident_of("failed", "12 MiB are free"))
    assert not past.is_news(incident_of("failed", "9 MiB are free"), T0 + HOUR, DAY)
    assert past.is_news(incident_of("failed", "models is world-writable"), T0 + HOUR, DAY)
    assert past.is_news(incident_of("training", "timed_out None"), T0 + HOUR, DAY)
    assert not past.is_news("training", T0 + HOUR, DAY)
    assert past.is_news("unknown", T0 + HOUR, DAY)


@pytest.mark.parametrize(
    ("reason", "incident", "ended"),
    [
        (Reason.HEALTHY, None, {"unknown:stale", "failed:disk", "stuck:x", "training:failed", "needs_a_person"}),
        (Reason.COOLING_DOWN, None, {"unknown:stale", "failed:disk", "stuck:x"}),
        (Reason.NEEDS_A_PERSON, "needs_a_person", {"unknown:stale", "failed:disk", "stuck:x"}),
        (Reason.BACKING_OFF, "training", {"unknown:stale", "failed:disk", "stuck:x"}),
        (Reason.UNKNOWN, "unknown:missing", {"failed:disk"}),
        (Reason.BUSY, None, {"failed:disk"}),
        (Reason.NEEDS_A_PERSON, "failed:disk", set()),
    ],
)
def test_an_incident_ends_with_what_ends_it(reason: Reason, incident: str | None, ended: set[str]) -> None:
    """Metrics that are known again end no failed training, and nothing but a verdict ends a promotion that failed."""
    past = incidents("unknown:stale", "failed:disk", "stuck:x", "training:failed", "needs_a_person", "promotion:x")
    assert set(past.ended(reason, incident)) == ended


def test_a_look_has_all_that_a_check_decides_by() -> None:
    """What was known before, what the window adds, how each signal stands, and the decision on them."""
    story = Story(consecutive=2)
    story.check(story.see(0.8))
    snapshot = story.later(HOUR).see(0.8)
    seen = look_at(story.past, story.past.served, snapshot, story.triggers, story.now)
    assert (story.past.f1.count, seen.past.f1.count) == (1, 2)
    assert [each.state for each in seen.assessments] == [State.BREACH, State.HEALTHY]
    assert seen.decision == story.check(snapshot)
    assert seen.decision.action is Action.TRAIN


def test_a_signal_that_is_unknown_says_why_or_nothing() -> None:
    """An assessment from an old journal has no reason; the sentence does without it."""
    assert Assessment(Signal.F1, State.UNKNOWN).sentence == "F1 is unknown"
    assert Assessment(Signal.F1, State.UNKNOWN, unknown=LOST).sentence == f"F1 is unknown: {LOST.message}"


def test_a_window_older_than_one_that_was_read_counts_no_more() -> None:
    """A monitor that goes back shows nothing new, however long the streak is."""
    story = Story()
    story.check(story.see(0.8))
    older = story.later(HOUR).see(0.8)
    story.later(HOUR).check(story.see(0.8))
    decision = story.later(HOUR).check(older)
    assert decision.reason is Reason.SAME_WINDOW
    assert "ended before one that was read already" in decision.message


def test_a_breach_with_another_reason_to_wait_each_names_both() -> None:
    """F1 needs another window; drift was as high when this champion took over."""
    story = Story(consecutive=2)
    story.check(story.see(0.8, 0.5))
    story.later(HOUR).tell(Promoted("b" * 64, story.past.served))
    decision = story.later(HOUR).check(story.see(0.8, 0.5))
    assert decision.reason is Reason.NOT_REARMED
    assert "F1 0.800 is below 0.850, but this is window 1 of 2 in breach" in decision.message
    assert "drift 0.500 is above 0.200, but drift was as high when this champion was promoted" in decision.message


# ---------------------------------------------------------------- a pause


def test_nothing_trains_while_paused_and_the_breach_is_not_used_up() -> None:
    """It is held with the reason `paused`, before any other; and trains once the pause has ended by itself."""
    story = Story()
    story.tell(Paused("the labels are wrong", DAY))
    held = story.check(story.see(f1=0.7))
    assert (held.action, held.reason) == (Action.HOLD, Reason.PAUSED)
    assert "paused since 2026-03-01 12:00 UTC, until 2026-03-02 12:00 UTC: the labels are wrong" in held.message
    assert story.check(story.see()).reason is Reason.HEALTHY
    story.now += DAY
    assert story.check(story.see(f1=0.7)).action is Action.TRAIN


def test_what_is_unknown_is_said_while_a_breach_of_the_other_signal_waits() -> None:
    """The check is blind, and nothing trains: that is no silence, and no recovery."""
    story = Story()
    story.tell(Paused("the labels are wrong", DAY))
    assert story.check(story.see(LOST, drift=0.9)).reason is Reason.UNKNOWN
    assert story.later(2 * DAY).check(story.see(LOST, drift=0.9)).action is Action.TRAIN


def test_a_pause_without_an_end_lasts_until_a_person_resumes() -> None:
    """However long that takes; and another pause takes the place of the first."""
    story = Story()
    story.tell(Paused("vacation", HOUR, by=Actor("alice", "web1")))
    story.tell(Paused("vacation"))
    story.now += 400 * DAY
    assert story.check(story.see(f1=0.7)).reason is Reason.PAUSED
    story.tell(Resumed())
    assert story.check(story.see(f1=0.7)).action is Action.TRAIN


def test_a_person_trains_while_paused_and_a_pause_that_lasts_is_reported_again() -> None:
    """What is forced is done; that a pause lasts is news after `repeat_after`, and each time after that."""
    story = Story()
    story.tell(Paused("vacation"))
    assert story.check(story.see(), forced="now").action is Action.TRAIN
    assert [story.past.is_news(PAUSED, story.now + span, DAY) for span in (HOUR, DAY)] == [False, True]
    story.now += DAY
    story.tell(Checked(Action.HOLD, Reason.HEALTHY, "", None, (), PAUSED, news=True))
    assert not story.past.is_news(PAUSED, story.now + HOUR, DAY)
    story.tell(Resumed())
    story.tell(Checked(Action.HOLD, Reason.HEALTHY, "", None, (), PAUSED, news=True))
    assert story.past.pause is None


def test_a_clock_that_was_set_back_makes_no_pause_longer_than_it_was() -> None:
    """It counts from when that was noticed."""
    story = Story()
    story.tell(Paused("vacation", DAY))
    story.now -= 30 * DAY
    assert story.check(story.see(f1=0.7)).reason is Reason.PAUSED
    story.now += DAY
    assert story.check(story.see(f1=0.7)).action is Action.TRAIN


def test_a_probation_rolls_back_while_paused() -> None:
    """What serves is worse than what served before, and a pause is no reason to keep it."""
    story = Story()
    story.check(story.see(f1=0.9))
    story.tell(Promoted("b" * 64, "a" * 64))
    story.tell(Paused("vacation"))
    story.now += HOUR
    assert story.check(story.see(f1=0.5), probation=7 * DAY).action is Action.ROLLBACK
