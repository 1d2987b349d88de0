"""A promotion on trial: the new champion that does worse live than the old one did is rolled back, and stays out."""

import math
from datetime import timedelta
from statistics import NormalDist
from typing import Any

import pytest
from msgspec.structs import replace

from retrain.core.assess import assess
from retrain.core.decide import CHANCE, Asked, due_on_same_rows, is_worse, same_rows_text
from retrain.core.events import Checked, Promoted, RolledBack, SameRows, Swap, SwapStarted
from retrain.core.fold import as_of, scored
from retrain.core.judge import on_same_rows
from retrain.core.past import Past
from retrain.core.records import Action, Counts, Reason
from retrain.core.rules import Gate
from retrain.core.verdicts import Cell, Ruling, Tally, Verdict
from tests.core.test_decide import BOTH, DAY, HOUR, LOST, Story

WEEK = 7 * DAY
OLD, NEW = "a" * 64, "b" * 64


class OnTrial(Story):
    """A champion that showed F1 0.80 was replaced an hour ago."""

    def __init__(self, last: float | None = 0.80, **changes: Any) -> None:
        super().__init__(BOTH, **{"cooldown": timedelta(), "challenger_ttl": timedelta()} | changes)
        if last is not None:
            self.check(self.see(last))
        self.later(HOUR).tell(Promoted(NEW, OLD))

    def look(self, f1: Any = 0.9, wait: timedelta = HOUR, **how: Any) -> Any:
        return self.later(wait).check(self.see(f1), probation=WEEK, **how)


def test_a_window_below_what_the_old_champion_showed_rolls_back_instead_of_training() -> None:
    """The sentence has both numbers, the old champion and the period."""
    decision = OnTrial().look(0.75)
    assert (decision.action, decision.reason) == (Action.ROLLBACK, Reason.PROBATION)
    assert "live F1 0.750 is below the 0.800 that aaaaaaaaaaaa showed last" in decision.message
    assert "probation of 7 d" in decision.message


def test_a_breach_that_is_better_than_the_old_champion_trains() -> None:
    """Below the threshold but above what the old one showed: no reason to go back."""
    assert OnTrial().look(0.82).action is Action.TRAIN


def test_equal_is_not_worse() -> None:
    """As good as the old one was is good enough."""
    assert OnTrial().look(0.80).action is Action.TRAIN


def test_it_takes_consecutive_distinct_windows_in_a_row() -> None:
    """A better window between starts anew, an unknown one neither counts nor resets, and a window counts once."""
    story = OnTrial(consecutive=2)
    low = story.later(HOUR).see(0.7)
    for _ in range(3):
        assert story.check(low, probation=WEEK).action is Action.HOLD
    assert story.look(0.95).action is Action.HOLD
    assert story.look(0.7).action is Action.HOLD
    assert story.look(LOST).reason is Reason.UNKNOWN
    assert story.look(0.7).action is Action.ROLLBACK


def test_what_was_due_is_still_due_when_the_same_window_is_read_again() -> None:
    """A lock that was held, or a hook that failed, does not use it up."""
    story = OnTrial()
    low = story.later(HOUR).see(0.7)
    assert story.check(low, probation=WEEK).action is Action.ROLLBACK
    assert story.later(HOUR).check(low, probation=WEEK).action is Action.ROLLBACK


def test_a_window_that_is_better_when_it_is_read_again_rolls_nothing_back() -> None:
    """Labels came late: what it says now counts. Nor does one that is not judged any more."""
    story = OnTrial()
    low = story.later(HOUR).see(0.7, samples=100.0)
    assert story.check(low, probation=WEEK).action is Action.ROLLBACK
    assert story.later(HOUR).check(replace(low, f1=0.95, samples=400.0), probation=WEEK).action is Action.HOLD
    story.triggers = replace(story.triggers, min_samples=500)
    assert story.check(low, probation=WEEK).action is Action.HOLD


def test_many_windows_in_a_row_can_be_asked_for() -> None:
    """`consecutive` above what is remembered of windows."""
    story = OnTrial(consecutive=12, performance_threshold=0.1)
    actions = [story.look(0.5).action for _ in range(12)]
    assert actions == [Action.HOLD] * 11 + [Action.ROLLBACK]


def test_a_check_while_the_hook_after_the_swap_runs_keeps_the_trial() -> None:
    """It sees the link moved already; that is no swap by hand."""
    story = Story(BOTH)
    story.check(story.see(0.8, 0.5))
    story.tell(SwapStarted(Swap.PROMOTION, NEW, OLD))
    story.past = as_of(story.past, NEW, story.later(HOUR).now)
    assert story.past.served == OLD
    story.tell(Promoted(NEW, OLD))
    assert story.past.probation is not None
    assert story.past.probation.f1 == 0.8
    assert not story.past.drift.armed, "drift that stood stays disarmed"
    story.tell(SwapStarted(Swap.ROLLBACK, OLD, NEW))
    story.past = as_of(story.past, OLD, story.later(HOUR).now)
    story.tell(RolledBack(OLD, NEW))
    assert story.past.lineage == ()


def test_a_champion_that_came_by_hand_shows_nothing_of_the_one_before() -> None:
    """What another champion showed last is no bar for the next."""
    story = Story(BOTH)
    story.check(story.see(0.8))
    story.later(HOUR).tell(Promoted(NEW, "c" * 64))
    assert story.past.probation is not None and story.past.probation.f1 is None


@pytest.mark.parametrize("wait", [WEEK, 30 * DAY])
def test_after_the_period_it_trains(wait: timedelta) -> None:
    """The probation is over."""
    assert OnTrial().look(0.7, wait).action is Action.TRAIN


def test_without_a_probation_nothing_is_rolled_back() -> None:
    """It is off by default."""
    story = OnTrial()
    assert story.later(HOUR).check(story.see(0.7)).action is Action.TRAIN


def test_windows_that_are_partly_about_the_old_champion_do_not_count() -> None:
    """`settle` holds here, too."""
    story = OnTrial(settle=2 * DAY)
    assert story.look(0.1).reason is Reason.SETTLING
    assert story.look(0.1, 3 * DAY).action is Action.ROLLBACK


def test_where_the_old_champion_showed_nothing_there_is_nothing_to_compare_with() -> None:
    """A first F1 below the threshold trains; both may still be compared on the same rows."""
    story = OnTrial(last=None)
    assert story.look(0.1).action is Action.TRAIN
    story.past = scored(story.past, WORSE)
    assert story.look(0.9).action is Action.ROLLBACK


def test_a_person_may_train_during_it() -> None:
    """--force skips the rules of the decision, this one too."""
    assert OnTrial().look(0.7, forced="new labels").reason is Reason.FORCED


def test_a_rollback_ends_it_and_bans_the_version_until_it_serves_again() -> None:
    """It is not rolled back twice; a version that a person puts back in service is banned no more."""
    story = OnTrial()
    story.look(0.7)
    story.tell(RolledBack(OLD, NEW))
    assert story.past.banned == (NEW,)
    forward = Story(BOTH)
    forward.tell(RolledBack(NEW, OLD))
    assert not forward.past.banned, "--to a later version turns nobody down"
    assert story.look(0.7).action is Action.TRAIN
    story.later(DAY).tell(Promoted(NEW, OLD, forced=True))
    assert not story.past.banned


def counts(f1: float, trials: int = 300) -> Counts:
    hits = round(trials * f1 / (2 - f1))
    return Counts(hits, trials - hits, 0)


def shown(said: Counts) -> float:
    return 2 * said.tp / (2 * said.tp + said.fp + said.fn)


def test_with_counts_the_windows_together_must_show_it() -> None:
    """One window that is a little lower is no proof; several are, and one that is far lower."""
    story = Story(BOTH, cooldown=timedelta(), challenger_ttl=timedelta())
    old = counts(0.84)
    story.check(story.see(shown(old), counts=old))
    story.later(HOUR).tell(Promoted(NEW, OLD))
    little, far = counts(0.83), counts(0.60)
    decision = story.later(HOUR).check(story.see(shown(little), counts=little), probation=WEEK)
    assert decision.action is Action.TRAIN, "a breach trains, and rolls nothing back"
    decision = story.later(HOUR).check(story.see(shown(far), counts=far), probation=WEEK)
    assert decision.action is Action.ROLLBACK
    assert "more than chance explains" in decision.message


def test_the_proof_is_the_test_of_two_proportions_at_levels_that_sum_to_five_in_a_hundred() -> None:
    """J old against J new, pooled variance, one-sided; window k at 0.05/(k(k+1))."""
    old, new = Counts(200, 60, 40), Counts(160, 80, 60)
    share, difference = 360 / 600, 200 / 300 - 160 / 300
    p = 1 - NormalDist().cdf(difference / math.sqrt(share * (1 - share) * 2 / 300))
    for windows in range(1, 12):
        assert is_worse(old, new, windows) == (p <= 0.05 / (windows * (windows + 1)))
    assert is_worse(old, new, 1)
    assert not is_worse(old, new, 11)
    assert not is_worse(new, old, 1)
    assert not is_worse(Counts(5, 0, 0), Counts(9, 0, 0), 1), "no error anywhere is no difference"


# ---------------------------------------------------------------- on the same rows


def verdict(gain: float, bounds: tuple[float, float], ruling: Ruling) -> Verdict:
    """What `judge` says of 1,240 rows of the log."""
    scores: dict[str, Any] = {
        "challenger_score": 0.7 + gain,
        "champion_score": 0.7,
        "difference": gain,
        "discordant": 37,
    }
    return Verdict(ruling, "f1", 1240, alpha=0.007, look=1, interval=bounds, **scores)


def test_the_verdict_is_that_of_the_gate_at_its_level_but_for_floor_and_margin() -> None:
    """A champion that is worse is rejected; one that is as good, or below the floor, is not."""
    cells = [Cell(0, 0, 0, 800), Cell(1, 1, 1, 150), Cell(1, 1, 0, 60), Cell(1, 0, 1, 10)]
    gate = Gate(floor=0.99, min_improvement=0.2)
    found = on_same_rows(Tally(tuple(cells), "h"), gate, 0.007)
    assert (found.ruling, found.alpha) == (Ruling.REJECT, 0.007)
    assert found.interval is not None and found.interval[1] < 0
    even = [*cells[:2], *(replace(each, rows=60) for each in cells[2:])]
    assert on_same_rows(Tally(tuple(even), "h"), gate, 0.007).ruling is Ruling.INCONCLUSIVE


WORSE = SameRows(1, verdict(-0.089, (-0.12, -0.058), Ruling.REJECT), "F1", 0.007)
EQUAL = SameRows(1, verdict(-0.01, (-0.04, 0.02), Ruling.INCONCLUSIVE), "F1", 0.007)


def test_one_that_is_worse_on_the_same_rows_goes_however_its_windows_look() -> None:
    """The message has rows, scores and bounds; the next check says so again, until it is done."""
    story = OnTrial()
    story.past = scored(story.past, WORSE)
    for _ in range(2):
        decision = story.look(0.95)
        assert (decision.action, decision.reason) == (Action.ROLLBACK, Reason.PROBATION)
        assert decision.why == (
            "on the same 1,240 rows since the promotion, 37 of them predicted differently, bbbbbbbbbbbb has F1 0.611"
            " and aaaaaaaaaaaa, the champion before, 0.700: gain -0.089, confidence bounds -0.120 to -0.058"
        )


def test_one_that_is_no_worse_on_the_same_rows_stays_however_its_windows_look() -> None:
    """A breach trains as ever. Where later rows cannot be scored, that says nothing about later windows."""
    story = OnTrial()
    story.past = scored(story.past, EQUAL)
    assert story.look(0.1).action is Action.TRAIN
    story.past = scored(story.past, replace(EQUAL, problem="the log is gone"))
    assert same_rows_text(story.past).endswith("bounds -0.040 to +0.020; not on later rows: the log is gone")
    better = SameRows(1, verdict(0.05, (0.01, 0.09), Ruling.PROMOTE), "F1", 0.007, "the log is gone")
    story.past = scored(story.past, better)
    assert story.look(0.1).action is Action.TRAIN, "what was found is not forgotten"
    story.past = scored(story.past, replace(EQUAL, problem="the log is gone"))
    assert story.look(0.1).action is Action.ROLLBACK


def test_where_they_were_never_scored_the_windows_are_compared() -> None:
    """And it is said why; without an attempt there is nothing to say."""
    story = OnTrial()
    assert not same_rows_text(story.past)
    assert not same_rows_text(Past())
    story.past = scored(story.past, SameRows(1, problem="the log is gone"))
    assert same_rows_text(story.past) == "not compared with aaaaaaaaaaaa on the same rows: the log is gone"
    assert story.look(0.75).action is Action.ROLLBACK


def test_what_a_check_found_is_remembered_until_another_champion_serves() -> None:
    """It is recorded with the check. What was found of a champion that was replaced meanwhile is dropped."""
    story = OnTrial()
    found = Checked(Action.HOLD, Reason.HEALTHY, "", NEW, (), known=NEW, same_rows=WORSE)
    story.tell(found)
    assert story.past.probation is not None
    assert story.past.probation.same_rows == WORSE
    story.tell(Promoted("c" * 64, NEW))
    before = story.past.probation
    story.tell(found)
    assert story.past.probation == before
    assert scored(Past(), WORSE) == Past()


def due(story: Story, f1: Any = 0.9, **how: Any) -> Any:
    """Whether a check that reads this window now asks for both models."""
    assessments = assess(story.see(f1), story.triggers, story.past)
    return due_on_same_rows(story.past, assessments, Asked(**{"probation": WEEK} | how), DAY, story.now)


def test_each_window_of_the_log_is_asked_for_once() -> None:
    """The level is the share of CHANCE that has passed of the probation, less what was spent."""
    story = OnTrial()
    day = int(story.now.timestamp() // 86400)
    assert due(story) is None, "this window ended when the champion was promoted"
    story.later(DAY)
    assert due(story) == (day + 1, pytest.approx(CHANCE / 7))
    story.past = scored(story.past, SameRows(day + 1, spent=CHANCE / 7))
    assert due(story.later(HOUR)) is None
    assert due(story.later(2 * DAY)) == (day + 3, pytest.approx(CHANCE * 49 / 24 / 7))
    story.past = scored(story.past, SameRows(day + 3, spent=CHANCE / 2))
    assert due(story.later(DAY / 24)) is None
    assert due(OnTrial().later(6 * DAY)) is not None


def test_nothing_is_asked_without_a_probation_or_a_new_window() -> None:
    """Without one, after it, where a person decides, where F1 is unknown, or where the level is spent."""
    story = OnTrial().later(2 * DAY)
    assert due(story, probation=None) is None
    assert due(story, forced="new labels") is None
    assert due(story, LOST) is None
    first = Story(BOTH)
    first.tell(Promoted(NEW, None))
    assert due(first.later(DAY)) is None, "there is no champion to go back to"
    assert due(OnTrial().later(WEEK)) is None
    story.past = scored(story.past, SameRows(1, spent=CHANCE))
    assert due(story) is None, "as where the clock was set back"
