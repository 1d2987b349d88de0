"""A clock that jumps: no wait ends early because of it, and none lasts for good."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from retrain.core.events import Promoted
from retrain.core.fold import advance
from retrain.core.past import Past
from retrain.core.records import Action, Outcome, Reason
from tests.core.test_decide import BOTH, DAY, HOUR, T0, Story

RULES = replace(BOTH, cooldown=6 * HOUR, failure_backoff=6 * HOUR)


def trained(outcome: Outcome = Outcome.SUCCEEDED) -> Story:
    """A controller whose training ended now."""
    story = Story(RULES)
    assert story.check(story.see(0.8), outcome).action is Action.TRAIN
    if outcome is Outcome.SUCCEEDED:
        story.judge()
    return story


@pytest.mark.parametrize("back", [2 * HOUR, 3650 * DAY])
@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_a_check_while_the_clock_is_set_back_shortens_no_wait(outcome: Outcome, back: timedelta) -> None:
    """The cooldown and the back-off go on from when they began, once the clock is right again."""
    story = trained(outcome)
    story.later(-back).check(story.see(0.8))
    story.later(back + 5 * HOUR)
    assert story.check(story.see(0.8)).reason in (Reason.COOLING_DOWN, Reason.BACKING_OFF)
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN


def test_a_training_under_a_clock_set_back_holds_the_next_back() -> None:
    """It is dated years ago; when the clock is right again the cooldown begins anew, since nobody knows when it was."""
    story = Story(RULES)
    story.check(story.see(0.9))
    story.later(-3650 * DAY)
    assert story.check(story.see(0.8)).action is Action.TRAIN
    story.judge()
    story.later(3650 * DAY + HOUR)
    assert story.check(story.see(0.8)).reason is Reason.COOLING_DOWN
    assert story.later(7 * HOUR).check(story.see(0.8)).action is Action.TRAIN


@pytest.mark.parametrize("ahead", [HOUR, 3650 * DAY])
def test_a_training_under_a_clock_set_forward_blocks_one_wait_long(ahead: timedelta) -> None:
    """The cooldown counts from the first check that sees its end in the future, or from that end when it has come."""
    story = Story(RULES)
    assert story.later(ahead).check(story.see(0.8)).action is Action.TRAIN
    story.judge()
    story.later(-ahead)
    assert story.check(story.see(0.8)).reason is Reason.COOLING_DOWN
    assert story.later(HOUR / 2).check(story.see(0.8)).reason is Reason.COOLING_DOWN
    assert story.later(7 * HOUR).check(story.see(0.8)).action is Action.TRAIN


def test_what_is_remembered_keeps_its_own_times() -> None:
    """Reading the past under a wrong clock changes nothing in it but the note that the clock was behind."""
    story = trained()
    before = story.past
    story.later(-DAY).check(story.see(0.9))
    after = story.past
    assert (after.trained_at, after.challenger, after.newest) == (before.trained_at, before.challenger, before.newest)
    assert after.rewound == (T0 - DAY, T0 - DAY)
    story.later(DAY).check(story.see(0.9))
    assert (story.past.trained_at, story.past.rewound) == (before.trained_at, None)


def test_processes_that_write_out_of_order_are_no_jump() -> None:
    """Two commands at once may write their events a moment out of order."""
    past = advance(Past(), Promoted("B", "A"), T0)
    past = advance(past, Promoted("C", "B"), T0 - timedelta(seconds=30))
    assert (past.newest, past.rewound, past.served) == (T0, None, "C")


def test_one_look_from_far_ahead_spoils_no_later_wait() -> None:
    """A clock that was once years ahead, and is a day ahead for a training later: set right, the cooldown begins."""
    story = Story(RULES)
    story.later(3650 * DAY).check(story.see(0.9))
    story.later(-3650 * DAY).check(story.see(0.9))
    assert story.later(30 * DAY).check(story.see(0.8)).action is Action.TRAIN
    story.judge()
    story.later(-DAY)
    assert story.check(story.see(0.8)).reason is Reason.COOLING_DOWN
    assert story.later(5 * HOUR).check(story.see(0.8)).reason is Reason.COOLING_DOWN
    assert story.later(HOUR).check(story.see(0.8)).action is Action.TRAIN
