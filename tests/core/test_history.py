"""The past as it is asked for: champions by time, the version of a version, the metrics of each window."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from retrain.core.events import (
    Adopted,
    Checked,
    Entry,
    Event,
    HistoryLost,
    Judged,
    Paused,
    Promoted,
    Pruned,
    Rejected,
    RolledBack,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.history import period_at, periods, version_histories, windows
from retrain.core.news import record
from retrain.core.records import Action, Assessment, Outcome, Reason, Signal, State
from retrain.core.rules import Disclose, Gate
from retrain.core.text import time_of
from retrain.core.verdicts import Ruling, Sketch, Verdict
from tests.core.test_decide import HOUR, T0

WON = Judged("b", "a", "h", "q", "f", Verdict(Ruling.PROMOTE, "f1", 100, 0.9, 0.8, 0.05, 1))
LOST = replace(WON, verdict=Verdict(Ruling.REJECT, "f1", 100, 0.7, 0.8, 0.05, 2), sketches=(Sketch((), None, (1,)),))


def journal(*happened: Event) -> list[Entry]:
    """An event an hour."""
    return [Entry(number, T0 + number * HOUR, event) for number, event in enumerate(happened)]


def checked(served: str | None, known: str | None, *seen: Assessment) -> Checked:
    return Checked(Action.HOLD, Reason.HEALTHY, "", served, seen, known=known)


def champions(entries: Sequence[Entry]) -> list[tuple[str | None, int]]:
    """Each champion with the hour since which it served."""
    return [(period.version, (period.since - T0) // HOUR) for period in periods(entries)]


def test_champions_follow_each_other() -> None:
    """Adopted, promoted, rolled back; each until the next one, and the last until now."""
    entries = journal(Adopted("a"), WON, Promoted("b", "a"), RolledBack("a", "b"), Adopted("a"))
    assert champions(entries) == [("a", 0), ("b", 2), ("a", 3)]
    first, second, last = periods(entries)
    assert (first.until, second.until, last.until) == (second.since, last.since, None)
    assert (second.comparison, last.comparison) == (entries[1], None)
    assert second.began == entries[2]


def test_only_a_comparison_that_counts_is_the_reason_of_a_promotion() -> None:
    """A dry run decides nothing."""
    (only,) = periods(journal(replace(WON, dry_run=True), Promoted("b", None)))
    assert only.comparison is None


def test_a_link_that_was_moved_by_hand_is_known_from_the_check_that_found_it() -> None:
    """Not from one that looked before a swap that was recorded meanwhile, nor from one that knows no champion."""
    entries = journal(Adopted("a"), checked("a", "a"), checked("c", "a"), Promoted("b", "c"), checked("c", "c"))
    assert champions([*entries, *journal(checked(None, "b"))]) == [("a", 0), ("c", 2), ("b", 3)]


def test_a_lost_history_begins_anew_with_what_serves() -> None:
    """Nothing is known of who serves where nothing did."""
    assert champions(journal(Adopted("a"), HistoryLost("", "", None))) == [("a", 0), (None, 1)]
    assert champions(journal(HistoryLost("", "", "a"), Paused("x"))) == [("a", 0)]


def test_the_champion_of_a_moment() -> None:
    """Nobody before the first; from its event on each; under a clock that was set back, what was recorded last."""
    found = periods(journal(Adopted("a"), Promoted("b", "a")))
    moments = (T0 - HOUR, T0, T0 + 0.9 * HOUR, T0 + HOUR, T0 + 99 * HOUR)
    assert [period and period.version for period in (period_at(found, at) for at in moments)] == [
        None,
        "a",
        "a",
        "b",
        "b",
    ]
    back = periods([Entry(1, T0, Adopted("a")), Entry(2, T0 - HOUR, Promoted("b", "a"))])
    assert [(period := period_at(back, at)) and period.version for at in (T0 - HOUR, T0)] == ["b", "b"]


def test_what_became_of_a_version() -> None:
    """Its training, its latest comparison, its rejection and when it served; nothing of one that is not known."""
    start, end = TrainingStarted("r1", Reason.FORCED, "forced"), TrainingFinished("r1", Outcome.SUCCEEDED, "", None)
    done = replace(end, challenger="b")
    dry = replace(LOST, dry_run=True)
    known, other = version_histories(
        journal(start, end, done, WON, dry, Rejected("b", "x"), Promoted("b", None), RolledBack("a", "b")), ["b", "c"]
    )
    assert (known.started, known.finished) == (start, done)
    assert (known.judged, known.rejected) == ((T0 + 3 * HOUR, WON), (T0 + 5 * HOUR, Rejected("b", "x")))
    assert [(period.since, period.until) for period in known.periods] == [(T0 + 6 * HOUR, T0 + 7 * HOUR)]
    assert (other.started, other.finished, other.judged, other.rejected, other.periods) == (None, None, None, None, ())


def test_a_window_is_shown_once_with_what_was_read_of_it_last() -> None:
    """F1 and drift of one window together; another champion's is another; an unknown value is none."""

    def seen(signal: Signal, value: float | None, hour: int, *, dated: bool = True) -> Assessment:
        return Assessment(signal, State.HEALTHY, value, window=f"w{hour}", observed_at=T0 + hour * HOUR, dated=dated)

    entries = journal(
        checked("a", "a", seen(Signal.F1, 0.9, 0), seen(Signal.DRIFT, 0.1, 0)),
        checked("a", "a", seen(Signal.F1, 0.8, 0), seen(Signal.DRIFT, 0.2, 1)),
        checked("b", "b", seen(Signal.F1, 0.7, 0, dated=False), seen(Signal.DRIFT, None, 1)),
        Adopted("b"),
    )
    shown = [(w.served, w.f1 and w.f1.value, w.drift and w.drift.value, (w.at - T0) // HOUR) for w in windows(entries)]
    assert shown == [("a", 0.8, 0.1, 1), ("a", None, 0.2, 1), ("b", 0.7, None, 2)]


def test_a_record_has_every_field_but_bulky_hashes_and_what_is_withheld() -> None:
    """Scores of a challenger that was not promoted, where promotion.disclose says so."""
    open_, closed = Gate(), replace(Gate(), disclose=Disclose.VERDICT)
    (entry,) = journal(LOST)
    shown, hidden = record(entry, open_), record(entry, closed)
    assert "sketches" not in shown
    assert (shown["challenger"], hidden["challenger"]["score"]) == ({"version": "b", "score": 0.7}, None)
    assert (shown["kind"], shown["verdict"], shown["look"]) == ("rejected", "reject", 2)
    (pruned,) = journal(Pruned(3, T0, "{}"))
    message = "pruned 3 events from before 2026-03-01 12:00 UTC"
    expected = {"id": 0, "at": "2026-03-01T12:00:00Z", "kind": "pruned", "events": 3, "before": "2026-03-01T12:00:00Z"}
    assert record(pruned, open_) == {**expected, "message": message}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T12:00", T0),
        ("2026-03-01 13:00+01:00", T0),
        ("2026-03-01T12:00:00Z", T0),
        ("20260301T120000", T0),
    ],
)
def test_a_time_is_utc_where_it_names_no_zone(text: str, expected: datetime) -> None:
    """ISO 8601; a date is its first moment."""
    assert time_of(text) == expected
    assert time_of(text).utcoffset() == timedelta()


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "1"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    """So that nobody gets the history of another span."""
    with pytest.raises(ValueError, match=r"isoformat|month"):
        time_of(text)
