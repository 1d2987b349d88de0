"""What is notified: the kind of each event, who hears of it, and the CloudEvent that programs get."""

from datetime import timedelta

import pytest

from retrain.core import events, news
from retrain.core.events import Checked, Entry, Event, Judged, Promoted, TrainingFinished
from retrain.core.fold import fold
from retrain.core.past import FAILED, PAUSED, TRAINING, UNKNOWN, Past, incident_of
from retrain.core.records import Action, Outcome, Reason
from retrain.core.rules import Disclose, Gate
from retrain.core.verdicts import Ruling, Verdict
from tests.core.test_decide import T0

HOUR = timedelta(hours=1)


def checked(reason: Reason = Reason.HEALTHY, **more: object) -> Checked:
    return Checked(Action.HOLD, reason, "healthy: F1 0.900", None, (), **more)  # type: ignore[arg-type]


def judged(ruling: Ruling, **more: object) -> Judged:
    verdict = Verdict(ruling, "F1", rows=9, alpha=0.05, look=1, challenger_score=0.7, champion_score=0.8)
    return Judged("B", "A", "h", "q", "f", verdict, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (checked(), "checked"),
        (checked(incident=incident_of(UNKNOWN, "x")), "checked"),
        (checked(incident=incident_of(UNKNOWN, "x"), news=True), "unknown"),
        (checked(incident=incident_of(UNKNOWN, "x"), news=True, recovered=True), "unknown"),
        (checked(incident=TRAINING, news=True), "training_failed"),
        (checked(incident=PAUSED, news=True), "paused"),
        (checked(incident=incident_of(FAILED, "x"), news=True), "needs_a_person"),
        (checked(recovered=True), "recovered"),
        (TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="B"), "trained"),
        (TrainingFinished("r", Outcome.FAILED, ""), "training_failed"),
        (judged(Ruling.PROMOTE), "judged"),
        (judged(Ruling.REJECT), "rejected"),
        (judged(Ruling.INCONCLUSIVE), "inconclusive"),
        (judged(Ruling.REJECT, repeated=True), "judged"),
        (judged(Ruling.REJECT, dry_run=True), "judged"),
        (events.SwapUndone("B", "A", "", failed=True), "needs_a_person"),
        (events.SwapUndone("B", "A", ""), "swap_undone"),
        (events.NotJudged("B", "no rows"), "needs_a_person"),
        (Promoted("B", "A"), "promoted"),
        (events.Paused("labels"), "paused"),
    ],
)
def test_every_event_has_a_kind(event: Event, kind: str) -> None:
    """An incident is what it is about when it is reported; a check that reports nothing is only a check."""
    assert news.kind(event) == kind
    assert type(event).__name__ in news.classes([kind])
    assert "RolledBack" not in news.classes([kind])


def test_a_person_does_not_hear_of_the_same_failure_again() -> None:
    """A program does, and can count. That it was cut short is heard each time, as cron's user reads it each time."""
    assert news.is_news(TrainingFinished("r", Outcome.INTERRUPTED, ""))
    assert not news.is_news(TrainingFinished("r", Outcome.FAILED, ""))
    assert news.is_news(TrainingFinished("r", Outcome.FAILED, "", news=True))
    assert news.is_news(Promoted("B", "A"))


def test_a_cloud_event_has_what_the_specification_requires_and_every_field() -> None:
    """Its id lasts, its source is a reference, its subject is left out where there is none."""
    sent = news.cloud_event(Entry(7, T0, Promoted("B", "A", reason="better")), "my churn", Gate())
    assert sent == news.cloud_event(Entry(7, T0, Promoted("B", "A", reason="better")), "my churn", Gate())
    data = sent.pop("data")
    assert data["name"] == "my churn"
    assert data["message"].startswith("promoted B in place of A")
    assert (data["version"], data["previous"], data["reason"]) == ("B", "A", "better")
    assert sent == {
        "specversion": "1.0",
        "id": f"{T0:%Y%m%dT%H%M%S}.000000Z-7",
        "source": "/retrain/my%20churn",
        "type": "retrain.promoted",
        "time": f"{T0:%Y-%m-%dT%H:%M:%S}Z",
        "subject": "B",
        "datacontenttype": "application/json",
    }
    plain = news.cloud_event(Entry(8, T0, checked(notice="paused; ")), "x", Gate())
    assert "subject" not in plain
    assert plain["data"]["message"] == "paused; healthy: F1 0.900"


def test_scores_that_are_withheld_are_not_sent() -> None:
    """With disclose: verdict nobody tunes a challenger on what a notification says."""
    for ruling, score in ((Ruling.REJECT, None), (Ruling.PROMOTE, 0.7)):
        sent = news.cloud_event(Entry(1, T0, judged(ruling)), "x", Gate(disclose=Disclose.VERDICT))
        assert sent["data"]["challenger"] == {"version": "B", "score": score}
    assert news.cloud_event(Entry(1, T0, judged(Ruling.REJECT)), "x", Gate())["data"]["champion"]["score"] == 0.8


def test_an_incident_lasts_from_its_first_report() -> None:
    """A repetition does not make it younger, and one that has ended is no part of the next."""
    incident = incident_of(UNKNOWN, "unreachable")
    blind, seen = checked(Reason.UNKNOWN, incident=incident, news=True), checked()
    past = fold(Past(), [Entry(1, T0, blind), Entry(2, T0 + 24 * HOUR, blind)])
    assert past.lasted(UNKNOWN, T0 + 25 * HOUR) == 25 * HOUR
    again = fold(past, [Entry(3, T0 + 25 * HOUR, seen), Entry(4, T0 + 30 * HOUR, blind)])
    assert again.lasted(UNKNOWN, T0 + 31 * HOUR) == HOUR
