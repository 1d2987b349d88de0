"""What the journal adds up to: the line of champions, and which versions are worth keeping."""

import pytest
from msgspec.structs import replace

from retrain.core.events import (
    Adopted,
    Checked,
    Delivered,
    Entry,
    Event,
    HistoryLost,
    NotJudged,
    Promoted,
    Pruned,
    Rejected,
    RolledBack,
    Swap,
    SwapStarted,
    SwapUndone,
    TrainingFinished,
    Undelivered,
)
from retrain.core.fold import advance, fold, watch
from retrain.core.past import TRAINING, Past, incident_of, kind_of
from retrain.core.records import Action, Assessment, Outcome, Reason, Signal, State
from tests.core.test_decide import DAY, T0


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


def test_a_rollback_arms_drift_that_a_promotion_has_disarmed() -> None:
    """Drift that stood at a promotion trains nothing for the new champion, and may for the old one again."""
    standing = Assessment(Signal.DRIFT, State.BREACH, 0.5, 0.2, window="1")
    promoted = after(Adopted("A"), Checked(Action.HOLD, Reason.BREACH, "", "A", (standing,)), Promoted("B", "A"))
    assert not promoted.drift.armed
    assert advance(promoted, RolledBack("A", "B"), T0).drift.armed


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


def test_a_history_is_that_of_what_it_saw_in_service() -> None:
    """Promoted, adopted, rolled back to, or under way; also where the link was moved back to an earlier one by hand."""
    past = after(Adopted("A"), Promoted("B", "A"), Promoted("C", "B"), RolledBack("B", "C"))
    under_way = advance(past, SwapStarted(Swap.PROMOTION, "D", "B"), T0)
    for served in (None, "A", "B", "C"):
        assert past.lost(served) is None
    assert under_way.lost("D") is None
    assert advance(under_way, SwapUndone("D", "B", ""), T0).lost("D") is not None


def test_a_history_without_what_serves_is_lost() -> None:
    """It is new or an old copy: also where the version was trained and judged, but not put in service."""
    trained = TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="X")
    for past in (Past(), after(trained), after(Adopted("A"), trained)):
        lost = past.lost("X")
        assert lost is not None
        assert lost.why.startswith("there was no journal that put champion X in service")
        assert lost.remedy.endswith("run retrain doctor --repair")


def test_a_history_without_what_is_kept_is_lost_where_nothing_serves() -> None:
    """Versions that no training and no comparison in it made are those of another one; a settled loss knows them."""
    lost = Past().lost(None, "XY")
    assert lost is not None
    assert lost.why.startswith("there was no journal that kept 2 versions")
    trained = TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="X")
    failed = TrainingFinished("r", Outcome.FAILED, "")
    for past in (after(trained), after(failed), after(Adopted("A")), after(HistoryLost("", ""))):
        assert past.lost(None, "XY") is None
    assert Past().lost(None) is None


@pytest.mark.parametrize("outcome", Outcome)
def test_a_training_has_failed_unless_it_left_a_challenger_or_nothing_new(outcome: Outcome) -> None:
    """Nothing new is an answer: it needs no back-off, and no exit code of a failure."""
    assert TrainingFinished("r", outcome, "").failed is (outcome not in {Outcome.SUCCEEDED, Outcome.NOTHING_NEW})


def test_the_stamp_of_a_champion_that_was_read_is_remembered() -> None:
    """Until another is: a check that read nothing changes nothing."""
    read = Checked(Action.HOLD, Reason.HEALTHY, "", "A", (), verified="1:2")
    assert after(Adopted("A"), read, replace(read, verified="")).verified == "1:2"


def test_a_settled_loss_takes_what_serves_for_the_champion() -> None:
    """From then on: the line goes on with it, it waits no longer as a challenger, and the loss is counted."""
    trained = TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="X")
    past = after(Adopted("A"), trained, HistoryLost("", "", "X"))
    assert (past.served, past.lineage, past.challenger) == ("X", ("A",), None)
    assert (past.lost("X"), past.losses, past.lost_at) == (None, 1, T0)
    assert after(HistoryLost("", "")).served is None


TRAINED = TrainingFinished("r1", Outcome.SUCCEEDED, "", challenger="X")


def test_a_refusal_settles_the_challenger_and_any_other_failure_is_an_incident() -> None:
    """A refused one holds no training back; one that could not be judged waits, and the failure is known."""
    refused, failed = after(TRAINED, NotJudged("X", "no", refused="h")), after(TRAINED, NotJudged("X", "no holdout"))
    assert refused.challenger is not None
    assert (refused.challenger.settled, refused.reported) == (True, {})
    assert failed.challenger is not None
    assert (failed.challenger.settled, list(failed.reported.values())) == (False, [T0])


def test_only_the_challenger_that_waits_is_changed() -> None:
    """An event about another version, such as a file named by hand, leaves it alone; its own rejection removes it."""
    waiting = after(TRAINED)
    assert advance(waiting, NotJudged("Y", "no", refused="h"), T0) == waiting
    assert advance(waiting, Rejected("Y", "why"), T0).challenger == waiting.challenger
    assert advance(waiting, Rejected("X", "why"), T0).challenger is None


def test_a_swap_is_open_until_its_end_is_known() -> None:
    """The hook that failed is remembered of the challenger; a swap that had not happened leaves no trace."""
    start = SwapStarted(Swap.PROMOTION, "X", "A")
    assert after(TRAINED, start).swap == start
    undone, never = (after(TRAINED, start, SwapUndone("X", "A", "why", failed=failed)) for failed in (True, False))
    for past, failed in ((undone, True), (never, False)):
        assert past.swap is None
        assert past.challenger is not None
        assert past.challenger.undone is failed


def test_pruning_changes_nothing() -> None:
    """Old events are forgotten, and what they added up to is not."""
    past = after(TRAINED, Promoted("X", None))
    assert advance(past, Pruned(3, T0, ""), T0) == past


def test_the_past_is_the_fold_of_the_events() -> None:
    """One by one or all at once, whatever was known before."""
    told: list[Event] = [Adopted("A"), TRAINED, Promoted("X", "A")]
    entries = [Entry(number, T0, event) for number, event in enumerate(told, 1)]
    assert fold(Past(), entries) == after(*told)
    assert fold(after(told[0]), entries[1:]) == after(*told)


def test_only_windows_of_one_feature_make_a_streak_of_drift() -> None:
    """Chance moves another feature in each window; F1 is one number, whatever the labels of its series say."""

    def streak(signal: Signal, *features: str) -> int:
        past = Past()
        for number, feature in enumerate(features):
            seen = Assessment(signal, State.BREACH, 0.5, 0.2, series=f"feature={feature}", window=str(number))
            past = watch(past, [seen])
        return past.streak(signal).count

    assert streak(Signal.DRIFT, "a", "a", "a") == 3
    assert streak(Signal.DRIFT, "a", "b") == 1
    assert streak(Signal.DRIFT, "a", "b", "b") == 2
    assert streak(Signal.F1, "a", "b") == 2


def test_a_delivery_that_fails_is_ended_by_one_that_arrives() -> None:
    """Neither a healthy check, a training nor a promotion says anything about the channel."""
    failed = Undelivered("the heartbeat", "answered 404")
    trained = TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="B")
    past = after(failed, Undelivered("x", "refused"), trained, Promoted("B", "A"))
    assert [kind_of(each) for each in past.reported] == ["delivery of the heartbeat", "delivery of x"]
    assert past.ended(Reason.HEALTHY, None) == ()
    past = fold(past, [Entry(9, T0, Delivered("x", ""))])
    assert [kind_of(each) for each in past.reported] == ["delivery of the heartbeat"]


def test_a_failed_training_that_was_reported_is_no_news() -> None:
    """It is known by its exit code where its cause is not."""
    incident = incident_of(TRAINING, f"{Outcome.FAILED} 1")
    failed = TrainingFinished("r", Outcome.FAILED, "", 1)
    assert after(failed).is_news(incident, T0, DAY)
    assert not after(replace(failed, news=True)).is_news(incident, T0, DAY)
