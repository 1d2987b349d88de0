"""The words around a verdict: what was done with the challenger, and what is to be known besides."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from retrain.core.events import Judged
from retrain.core.explain import fields, head, notes
from retrain.core.past import Past, Probation
from retrain.core.rules import Gate
from retrain.core.verdicts import Leaked, ModelNote, Ruling, SliceVerdict, Verdict, VerdictReason

NEW, OLD, AT = "a" * 64, "b" * 64, datetime(2026, 11, 22, 12, tzinfo=UTC)
VERDICT = Verdict(Ruling.PROMOTE, "f1", 200, 0.9, 0.8, 0.05, 1, VerdictReason.BETTER)
JUDGED = Judged(NEW, OLD, "holdout", "question", "file", VERDICT)


def ruled(ruling: Ruling, **changes: Any) -> Judged:
    """A comparison with this outcome."""
    return replace(JUDGED, verdict=replace(VERDICT, ruling=ruling), **changes)


@pytest.mark.parametrize(
    ("judged", "given", "forced", "wins", "said"),
    [
        (JUDGED, "", None, True, "promoted aaaaaaaaaaaa"),
        (JUDGED, "new.joblib", None, True, "promoted aaaaaaaaaaaa (new.joblib)"),
        (replace(JUDGED, repeated=True), "", None, True, "promoted aaaaaaaaaaaa, recorded verdict"),
        (replace(JUDGED, dry_run=True), "", None, True, "dry run, aaaaaaaaaaaa would be promoted"),
        (ruled(Ruling.REJECT), "", None, False, "rejected aaaaaaaaaaaa, the champion stays"),
        (ruled(Ruling.INCONCLUSIVE), "", None, False, "inconclusive for aaaaaaaaaaaa, the champion stays"),
        (ruled(Ruling.REJECT, dry_run=True), "", None, False, "dry run, aaaaaaaaaaaa would not be promoted (rejected)"),
        (JUDGED, "", "x", True, "promoted aaaaaaaaaaaa by force (reason: x)"),
        (ruled(Ruling.REJECT), "", "x", True, "promoted aaaaaaaaaaaa by force (reason: x), verdict rejected"),
    ],
)
def test_the_first_words_say_what_was_done(
    judged: Judged, given: str, forced: str | None, wins: bool, said: str
) -> None:
    """The outcome first, then the version; what a person forced, and what was recorded, is said."""
    assert head(judged, given, forced, opposed=True, wins=wins) == said


def test_without_a_champion_nothing_serves_yet() -> None:
    """There is none that could stay."""
    said = head(ruled(Ruling.REJECT), "", None, opposed=False, wins=False)
    assert said == "rejected aaaaaaaaaaaa, nothing serves yet"


def test_json_has_the_numbers_of_a_verdict() -> None:
    """Gain and loss each have a key, null where nothing is weighed; a missing value of a slice is an empty text."""
    sliced = replace(VERDICT, slices=(SliceVerdict("region", None, 7),), few=((1, 3),))
    found = fields(sliced, "a", "b")
    assert (found["rows"], found["expected_gain"], found["expected_loss"]) == (200, None, None)
    assert found["few_discordant"] == [{"class": 1, "rows": 3}]
    assert found["slices"] == [{"column": "region", "value": "", "rows": 7, "difference": None, "worse": False}]


def noted(judged: Judged, past: Past | None = None, **changes: Any) -> list[tuple[str, str]]:
    """The titles and texts of the notes."""
    given: dict[str, Any] = {"max_leakage": None, "dated": None, "probation": None, "opposed": True} | changes
    return [(row.title, row.text) for row in notes(judged, past or Past(), Gate(), **given)]


def test_a_plain_verdict_has_no_notes() -> None:
    """Nothing besides the numbers, and nothing of rows that are newer than the champion's training."""
    assert noted(JUDGED) == []
    assert noted(replace(JUDGED, leaked=Leaked(older=0)), dated="at") == []
    assert noted(replace(JUDGED, champion=None), dated="at") == [
        ("champion", "could not be scored, so nothing was compared with it")
    ]


@pytest.mark.parametrize(
    ("judged", "past", "changes", "title", "text"),
    [
        (replace(JUDGED, verdict=replace(VERDICT, live=0.1)), None, {}, "warning", "live 0.100"),
        (replace(JUDGED, champion=None), None, {}, "champion", "could not be scored, so nothing was compared with it"),
        (replace(JUDGED, leaked=Leaked(9, 0)), None, {"max_leakage": 0.0}, "warning", "trained on 9 of the 200"),
        (JUDGED, None, {"max_leakage": 0.0}, "leakage", "not checked for the challenger and the champion"),
        (JUDGED, None, {"max_leakage": 0.0, "opposed": False}, "leakage", "not checked for the challenger, whose"),
        (
            JUDGED,
            None,
            {"dated": "at"},
            "age",
            "not known whether the holdout rows are newer than the champion's training",
        ),
        (
            replace(JUDGED, leaked=Leaked(older=9)),
            None,
            {"dated": "at"},
            "age",
            "9 of the 200 holdout rows are older than the champion's training (let the training write its newest rows",
        ),
        (replace(JUDGED, leaked=Leaked(older=20)), None, {"dated": "at"}, "age", "such rows count together (let"),
        (
            JUDGED,
            Past(losses=2, lost_at=AT),
            {},
            "journal",
            "before 2026-11-22 12:00 UTC are not known",
        ),
        (JUDGED, Past(losses=2), {}, "journal", "comparisons are not known, and are counted as 20"),
        (replace(JUDGED, dry_run=True), None, {}, "dry run", "the comparison counts"),
        (JUDGED, None, {"probation": timedelta(days=7)}, "probation", "none, since no champion served before"),
        (
            JUDGED,
            Past(probation=Probation(OLD, 0.8, AT)),
            {"probation": timedelta(days=7)},
            "probation",
            "for 7 d a check rolls back if it is worse than bbbbbbbbbbbb on rows of monitor.log that come from now on"
            " or, without such rows, if live F1 falls below the 0.800 of that one",
        ),
        (
            JUDGED,
            Past(probation=Probation(OLD, None, AT)),
            {"probation": timedelta(days=7)},
            "probation",
            "on rows of monitor.log that come from now on",
        ),
    ],
)
def test_what_is_to_be_known_is_noted(
    judged: Judged, past: Past | None, changes: dict[str, Any], title: str, text: str
) -> None:
    """Each in a row of its own, with what it means for this verdict."""
    ((found, said),) = noted(judged, past, **changes)
    assert found == title and text in said


def test_only_a_model_of_other_libraries_is_named() -> None:
    """With the versions that saved it."""
    models = (ModelNote("champion", "saved by scikit-learn 1.2"), ModelNote("challenger"))
    assert noted(replace(JUDGED, verdict=replace(VERDICT, models=models))) == [
        ("champion", "was saved by scikit-learn 1.2")
    ]
