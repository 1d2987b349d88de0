"""Each event in a sentence, with the person behind it."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from retrain.core.describe import said
from retrain.core.events import (
    Actor,
    Adopted,
    Checked,
    Delivered,
    Event,
    Judged,
    NotJudged,
    Paused,
    Promoted,
    Pruned,
    Rejected,
    Resumed,
    RolledBack,
    Swap,
    SwapStarted,
    TrainingStarted,
)
from retrain.core.records import Action, Reason
from retrain.core.rules import Disclose, Gate
from retrain.core.verdicts import Ruling, Verdict
from tests.core.test_decide import T0

ALICE = Actor("alice", "web1")
VERDICT = Verdict(Ruling.REJECT, "f1", 100, 0.8, 0.9, 0.05, 2)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (Checked(Action.HOLD, Reason.HEALTHY, "healthy", None, ()), "healthy"),
        (
            TrainingStarted("r1", Reason.FORCED, "forced: new", by=ALICE),
            "started training r1: forced: new; by alice on web1",
        ),
        (Judged("b", "a", "h", "q", "f", VERDICT), "compared b: reject, comparison 2, f1 0.800 against 0.900"),
        (
            Judged("b", None, "h", "q", "f", replace(VERDICT, champion_score=None), repeated=True),
            "compared b (recorded verdict): reject, comparison 2, f1 0.800",
        ),
        (NotJudged("b", "no rows"), "could not judge b: no rows"),
        (SwapStarted(Swap.PROMOTION, "b", "a"), "began the promotion of b"),
        (Promoted("b", "a", by=Actor("ci", "web1", "octocat")), "promoted b in place of a; by ci on web1 for octocat"),
        (Promoted("b", None, True, "first"), "promoted b, the first champion by force: first"),
        (RolledBack("a", "b", "alarms", "no reload"), "rolled back to a in place of b: alarms; no reload"),
        (RolledBack("a", "b"), "rolled back to a in place of b"),
        (Rejected("b", "old"), "rejected b: old"),
        (Adopted("a"), "adopted the champion file as a"),
        (Paused("labels are wrong", timedelta(days=3), by=ALICE), "paused for 3 d: labels are wrong; by alice on web1"),
        (Paused("labels are wrong"), "paused: labels are wrong"),
        (Resumed(by=ALICE), "resumed: checks may train again; by alice on web1"),
        (Delivered("command", "notifications arrive again"), "notifications arrive again"),
        (Pruned(1, T0, "{}"), "pruned 1 event from before 2026-03-01 12:00 UTC"),
    ],
)
def test_each_event_is_a_sentence(event: Event, sentence: str) -> None:
    """What happened, and who did it where a person did."""
    assert said(event, Gate()) == sentence


def test_scores_are_withheld_where_the_configuration_says_so() -> None:
    """Those of a challenger that was not promoted."""
    judged = Judged("b", "a", "h", "q", "f", VERDICT)
    assert said(judged, replace(Gate(), disclose=Disclose.VERDICT)) == "compared b: reject, comparison 2"
