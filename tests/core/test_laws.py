"""Laws of the decision that hold for every history, found by trying to break them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.core.assess import assess
from retrain.core.decide import decide
from retrain.core.events import Entry
from retrain.core.fold import as_of, fold, watch
from retrain.core.past import Past
from retrain.core.records import Action, Decision, Outcome, Reason, Snapshot, State, Unknown
from retrain.core.rules import MinAge, Positive, Triggers
from tests.core.test_decide import T0, Story

readings = st.one_of(st.floats(0, 1), st.just(Unknown("missing", "gone")))


@dataclass
class Life(Story):
    """A story that keeps its entries, to fold them again."""

    def __init__(self, triggers: Triggers) -> None:
        super().__init__(triggers)
        self.entries: list[Entry] = []

    def tell(self, event: object) -> None:
        self.entries.append(Entry(len(self.entries) + 1, self.now, event))  # type: ignore[arg-type]
        super().tell(event)


@st.composite
def triggers(draw: st.DrawFn) -> Triggers:
    hours = st.integers(0, 48).map(lambda count: timedelta(hours=count))
    return Triggers(
        performance_threshold=draw(st.sampled_from([0.5, 0.85])),
        drift_threshold=draw(st.sampled_from([None, 0.2])),
        max_drop=draw(st.sampled_from([None, 0.1])),
        consecutive=draw(st.integers(1, 4).map(Positive)),
        cooldown=draw(hours),
        failure_backoff=draw(hours),
        settle=draw(hours),
        min_age=draw(st.sampled_from([MinAge(), MinAge(f1=timedelta(hours=3))])),
        challenger_ttl=draw(hours),
        max_unpromoted=draw(st.integers(1, 5).map(Positive)),
    )


@dataclass
class Step:
    """One check: how much later, what the monitor says and of which of its windows, how a training would end."""

    wait: timedelta
    f1: float | Unknown
    drift: float | Unknown
    window: int
    outcome: Outcome
    then: str = field(default="")
    length: timedelta | None = None

    def seen(self, now: datetime) -> Snapshot:
        """What the monitor says then; where the length of its windows is known, so is their end."""
        ends = now - timedelta(hours=self.window) if self.length is not None else None
        return Snapshot(
            now,
            f1=self.f1,
            drift=self.drift,
            window=f"w{self.window}" if ends is None else None,
            f1_observed_at=ends,
            drift_observed_at=ends,
            window_length=self.length,
        )


steps = st.lists(
    st.builds(
        Step,
        st.integers(0, 72 * 60).map(lambda count: timedelta(minutes=count)),
        readings,
        readings,
        st.integers(0, 30),
        st.sampled_from([Outcome.SUCCEEDED, Outcome.FAILED]),
        st.sampled_from(["", "judge", "promote"]),
        st.sampled_from([None, None, timedelta(hours=8)]),
    ),
    max_size=30,
)


def live(rules: Triggers, life: list[Step]) -> tuple[Life, list[tuple[Step, Decision, Past, datetime]]]:
    """The life of a controller, with what it decided at every step and why."""
    story, told = Life(rules), []
    for step in life:
        story.later(step.wait)
        snapshot = step.seen(story.now)
        before = story.past
        decision = story.check(snapshot, step.outcome)
        told.append((step, decision, before, story.now))
        if step.then and story.past.challenger is not None:
            story.judge() if step.then == "judge" else story.promote()
    return story, told


@settings(max_examples=150, deadline=None)
@given(triggers(), steps)
def test_no_window_trains_twice(rules: Triggers, life: list[Step]) -> None:
    """A training that succeeded spends its window: what a signal said of it never trains the same champion again."""
    spent: set[tuple[int | datetime, str, str | None]] = set()
    for step, decision, before, now in live(rules, life)[1]:
        if decision.action is Action.TRAIN:
            window = step.window if step.length is None else now - timedelta(hours=step.window)
            causes = {(window, breach.signal, before.served) for breach in decision.breaches}
            assert not causes <= spent
            if step.outcome is Outcome.SUCCEEDED:
                spent |= causes


@settings(max_examples=150, deadline=None)
@given(triggers(), steps)
def test_nothing_trains_inside_the_cooldown_or_the_backoff(rules: Triggers, life: list[Step]) -> None:
    """Between a training that succeeded and the next lies the cooldown, after one that failed the back-off."""
    last = None
    for step, decision, _, now in live(rules, life)[1]:
        if decision.action is Action.TRAIN:
            if last is not None:
                wait = rules.cooldown if last[0] is Outcome.SUCCEEDED else min(rules.failure_backoff, timedelta(days=1))
                assert now - last[1] >= wait
            last = step.outcome, now


@settings(max_examples=150, deadline=None)
@given(triggers(), steps)
def test_nothing_trains_without_enough_distinct_windows_in_breach(rules: Triggers, life: list[Step]) -> None:
    """A training needs a known breach now, and unknown readings alone never train."""
    for step, decision, before, now in live(rules, life)[1]:
        snapshot = step.seen(now)
        states = {each.state for each in assess(snapshot, rules, before)}
        if decision.action is Action.TRAIN:
            assert State.BREACH in states
            assert decision.breaches
        if decision.reason is Reason.HEALTHY:
            assert states == {State.HEALTHY}


@settings(max_examples=100, deadline=None)
@given(triggers(), steps)
def test_the_same_input_gives_the_same_decision_and_the_fold_is_a_fold(rules: Triggers, life: list[Step]) -> None:
    """Deciding twice is deciding once; what matters can be folded anew from the events, from any point on."""
    story, told = live(rules, life)
    assert [each[1] for each in told] == [each[1] for each in live(rules, life)[1]]
    start = Past(served="a" * 64)
    assert fold(start, story.entries) == story.past
    half = len(story.entries) // 2
    assert fold(fold(start, story.entries[:half]), story.entries[half:]) == story.past


@settings(max_examples=100, deadline=None)
@given(triggers(), readings, readings, st.floats(-1e6, 1e6))
def test_the_decision_is_total(rules: Triggers, f1: float | Unknown, drift: float | Unknown, odd: float) -> None:
    """Whatever the monitor says, there is a decision with a sentence."""
    snapshot = Snapshot(T0, f1=odd if isinstance(f1, Unknown) else f1, drift=drift, samples=odd, positives=odd)
    past = as_of(Past(), None, T0)
    assessments = assess(snapshot, rules, past)
    decision = decide(watch(past, assessments), assessments, rules, T0)
    assert decision.message
