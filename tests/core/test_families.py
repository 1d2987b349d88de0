"""What retrain says of itself: which families, with which values, from which history."""

from datetime import UTC, datetime, timedelta

import pytest

from retrain.core.events import (
    Adopted,
    Checked,
    Entry,
    Event,
    Judged,
    NotJudged,
    Paused,
    Promoted,
    Rejected,
    Resumed,
    TrainingFinished,
)
from retrain.core.families import families
from retrain.core.fold import fold
from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Outcome, Reason, Signal, State, Trouble, Unknown
from retrain.core.verdicts import Ruling, Verdict

T0 = datetime(2026, 1, 1, tzinfo=UTC)
A, B, C = "a" * 64, "b" * 64, "c" * 64


def entries(*events: Event) -> list[Entry]:
    """The events, an hour after each other."""
    return [Entry(number, T0 + timedelta(hours=number), event) for number, event in enumerate(events)]


def values(*events: Event) -> dict[str, float]:
    """Every sample after these events, by the name of its family without the prefix, and its label."""
    journal = entries(*events)
    last = next((each for each in journal[::-1] if isinstance(each.event, Checked)), None)
    found = {}
    for family in families("churn", fold(Past(), journal), last, T0 + timedelta(hours=len(journal))):
        for labels, value in family.samples:
            assert labels["project"] == "churn"
            found["|".join([family.name.removeprefix("retrain_"), *list(labels.values())[1:]])] = value
    return found


def checked(reason: Reason = Reason.HEALTHY, *assessments: Assessment) -> Checked:
    return Checked(Action.HOLD, reason, "", A, assessments)


def trained(version: str | None, outcome: Outcome = Outcome.SUCCEEDED) -> TrainingFinished:
    return TrainingFinished("r", outcome, "", challenger=version)


def judged(version: str, ruling: Ruling, *, look: int = 1, dry_run: bool = False) -> Judged:
    return Judged(version, A, "h", "q", "f", Verdict(ruling, "f1", 100, 0.8, 0.8, 0.05, look), dry_run=dry_run)


NAMES = {
    "last_check_timestamp_seconds",
    "check_reason",
    "metric_value",
    "metric_threshold",
    "consecutive_failures",
    "unpromoted_trainings",
    "challenger_waiting",
    "paused",
    "champion_info",
    "champion_since_timestamp_seconds",
    "holdout_comparisons",
    "trainings_total",
    "promotions_total",
}


def test_a_new_project_has_no_check_and_no_champion() -> None:
    """Counters and states begin at 0, so that their first increase is seen; what is not there has no sample."""
    found = values()
    assert {name.partition("|")[0] for name in found} == NAMES - {
        "last_check_timestamp_seconds",
        "metric_value",
        "metric_threshold",
        "champion_info",
        "champion_since_timestamp_seconds",
    }
    assert set(found.values()) == {0.0}


def test_the_latest_check_is_shown() -> None:
    """When it was, its reason among all reasons, and each reading beside what it was compared with."""
    lost = Assessment(Signal.DRIFT, State.UNKNOWN, unknown=Unknown(Trouble.MISSING, "no series"))
    seen = Assessment(Signal.F1, State.BREACH, 0.8, 0.85, window="w", observed_at=T0)
    found = values(checked(), checked(Reason.UNKNOWN, seen, lost))
    assert {name.partition("|")[0] for name in found} == NAMES
    assert found["last_check_timestamp_seconds"] == (T0 + timedelta(hours=1)).timestamp()
    reasons = {name: value for name, value in found.items() if name.startswith("check_reason|")}
    assert len(reasons) == len(Reason)
    assert [name for name, value in reasons.items() if value] == ["check_reason|unknown"]
    assert (found["metric_value|f1"], found["metric_threshold|f1"]) == (0.8, 0.85)
    assert "metric_value|drift" not in found
    assert "metric_threshold|drift" not in found


def test_the_champion_is_shown() -> None:
    """Its version, and since when it serves."""
    found = values(Adopted(A), trained(B), Promoted(B, A))
    assert found[f"champion_info|{B}"] == 1
    assert f"champion_info|{A}" not in found
    assert found["champion_since_timestamp_seconds"] == (T0 + timedelta(hours=2)).timestamp()


def test_a_pause_is_shown_until_it_ends() -> None:
    """By itself, or by a person."""
    assert values(Paused("moving"))["paused"] == 1
    assert values(Paused("moving", timedelta(hours=2)))["paused"] == 1
    assert values(Paused("moving", timedelta(hours=2)), checked(), checked())["paused"] == 0
    assert values(Paused("moving"), Resumed())["paused"] == 0


def test_trainings_are_counted_by_outcome_and_failures_in_a_row() -> None:
    """A training that succeeds ends the row, and no counter."""
    failed = [trained(None, Outcome.FAILED), trained(None, Outcome.TIMED_OUT)]
    assert values(*failed)["consecutive_failures"] == 2
    found = values(*failed, trained(B), trained(None, Outcome.FAILED))
    assert found["consecutive_failures"] == 1
    assert [found[f"trainings_total|{each}"] for each in ("succeeded", "failed", "timed_out")] == [1, 2, 1]


def test_verdicts_are_counted_without_dry_runs_which_use_the_holdout_all_the_same() -> None:
    """The number of the latest comparison is that on its holdout."""
    found = values(
        Adopted(A),
        trained(B),
        judged(B, Ruling.INCONCLUSIVE, look=6, dry_run=True),
        judged(B, Ruling.REJECT, look=7),
        checked(),
    )
    assert [found[f"promotions_total|{each}"] for each in Ruling] == [0, 1, 0]
    assert found["holdout_comparisons"] == 7


@pytest.mark.parametrize(
    ("event", "waits"),
    [
        (judged(B, Ruling.PROMOTE), 1),  # the swap was undone, or never made
        (judged(B, Ruling.INCONCLUSIVE), 0),
        (judged(B, Ruling.PROMOTE, dry_run=True), 1),
        (NotJudged(B, "it cannot be loaded"), 1),
        (NotJudged(B, "it has read the holdout", refused="rows"), 0),
        (Rejected(B, "no"), 0),
        (Promoted(B, A), 0),
    ],
)
def test_a_challenger_waits_until_it_is_judged(event: Event, waits: int) -> None:
    """One that has won waits to be put in service."""
    assert values(Adopted(A), trained(B))["challenger_waiting"] == 1
    assert values(Adopted(A), trained(B), event)["challenger_waiting"] == waits


def test_a_person_who_rejects_knows_of_the_trainings_before() -> None:
    """From then on they are counted anew, as after a promotion; a training that leaves nothing new counts."""
    three: list[Event] = [
        Adopted(A),
        trained(B),
        judged(B, Ruling.REJECT),
        trained(None, Outcome.NOTHING_NEW),
        trained(C),
    ]
    assert values(*three)["unpromoted_trainings"] == 3
    assert values(*three, Rejected(C, "no"))["unpromoted_trainings"] == 0
    assert values(*three, Rejected(C, "no"), trained(B))["unpromoted_trainings"] == 1
    more: list[Event] = [trained(B), judged(B, Ruling.INCONCLUSIVE), trained(None, Outcome.NOTHING_NEW)]
    assert values(*three, Rejected(C, "no"), *more)["unpromoted_trainings"] == 2
    assert values(*three, Rejected(C, "too few rows", given_up=True))["unpromoted_trainings"] == 3
    assert values(*three, Promoted(C, A))["unpromoted_trainings"] == 0


def test_the_types_follow_the_names() -> None:
    """A counter ends in _total, as promtool wants it; everything else may fall."""
    kinds = {family.name: family.kind for family in families("p", Past(), None, T0)}
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        "retrain_trainings_total",
        "retrain_promotions_total",
    }
