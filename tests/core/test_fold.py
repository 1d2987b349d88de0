"""What the journal adds up to: the line of champions, and which versions are worth keeping."""

from retrain.core.events import Adopted, Checked, Event, Promoted, RolledBack, TrainingFinished
from retrain.core.fold import advance
from retrain.core.past import Past
from retrain.core.records import Action, Outcome, Reason
from tests.core.test_decide import T0


def after(*events: Event) -> Past:
    past = Past()
    for event in events:
        past = advance(past, event, T0)
    return past


def test_rollback_walks_down_the_line_and_keeps_what_it_will_want() -> None:
    """A, B, C, back to B, D: before D came B, before that A; both are kept, and C only where there is room."""
    past = after(Promoted("A", None), Promoted("B", "A"), Promoted("C", "B"), RolledBack("B", "C"), Promoted("D", "B"))
    assert past.lineage == ("A", "B")
    assert past.outlived(3) == set()
    assert past.outlived(2) == {"C"}
    assert past.outlived(1) == {"A", "C"}


def test_only_versions_of_this_journal_are_outlived() -> None:
    """Another project may share the directory: what this journal never admitted is not its to remove."""
    done = [TrainingFinished(f"r{name}", Outcome.SUCCEEDED, "", challenger=name) for name in "XY"]
    assert after(Promoted("A", None), *done).outlived(5) == {"X"}


def test_a_version_is_in_the_line_once() -> None:
    """Promoting an earlier champion again moves it to the end."""
    past = after(Promoted("A", None), Promoted("B", "A"), Promoted("A", "B"))
    assert (past.served, past.lineage) == ("A", ("B",))
    assert after(Promoted("A", None), Promoted("B", "A"), RolledBack("A", "B")).lineage == ()


def test_a_check_that_looked_before_a_swap_does_not_take_it_back() -> None:
    """It looks without the lock, and may be recorded after the promotion; a link that was moved by hand is believed."""

    def checked(served: str, known: str) -> Checked:
        return Checked(Action.HOLD, Reason.HEALTHY, "", served, (), known=known)

    promoted = after(Adopted("A"), Promoted("B", "A"))
    assert advance(promoted, checked("A", known="A"), T0) == promoted
    assert advance(promoted, checked("A", known="B"), T0).served == "A"
    assert after(checked("A", known="")).served == "A"
