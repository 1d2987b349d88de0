"""Commands that are started at once: the quick size of `overlap`, and `races`."""

from tests.conftest import real
from tests.stories.project import Project
from tests.survival import overlap, races


def test_of_twenty_commands_at_once_one_acts_at_a_time(project: Project) -> None:
    """Every exit code is one of the contract's, no two trainings overlap, the journal shows one order and the link."""
    lines = list(overlap.crowds(project, 2))
    assert lines[0].startswith("40 commands")


def test_of_twenty_checks_that_see_one_breach_one_trains(project: Project) -> None:
    """A window trains once, however many look at it at the same time."""
    assert overlap.only_checks(project, 1)


def test_twenty_commands_around_a_training_that_lost_its_controller(project: Project) -> None:
    """Checks exit 0 and start nothing, commands of a person exit 75, a rollback goes on; the run is settled once."""
    assert len(list(races.around_an_orphan(project))) == 1


def test_a_check_that_is_recorded_late_takes_no_promotion_back(project: Project) -> None:
    """It looked at the link before the swap and is written down after it; rollback goes back one champion, not two."""
    assert races.recorded_late(project)


def test_a_challenger_that_somebody_promotes_first_is_no_failure_of_crons_promote(project: Project) -> None:
    """`--if-pending` saw it wait, and finds it gone when it has the lock: exit 0 in silence, no mail."""
    real("strace")
    assert races.promoted_meanwhile(project)
