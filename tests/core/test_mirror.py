"""The mirror: which steps bring a registry in step, and what it says of each version."""

import pytest

from retrain.core import events, mirror
from retrain.core.events import (
    Actor,
    Adopted,
    Delivered,
    Event,
    Judged,
    NotJudged,
    Paused,
    Promoted,
    Rejected,
    RolledBack,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.mirror import VERSION, Create, Found, Point, Register, Registered, Tag, Wanted, steps
from retrain.core.past import Challenger, Past
from retrain.core.records import Action, Outcome, Reason
from retrain.core.rules import Disclose, Gate
from retrain.core.verdicts import Ruling, Verdict, VerdictReason
from tests.core.test_decide import T0
from tests.core.test_history import journal

ANN = Actor("ann", "web1")
OLD, NEW = Wanted("a", {VERSION: "a"}, alias="champion"), Wanted("b", {VERSION: "b"}, "run-b", alias="challenger")
THIRD = Wanted("c", {VERSION: "c"}, "run-c")
WON = Judged(
    "b",
    "a",
    "h",
    "q",
    "f",
    Verdict(
        Ruling.PROMOTE,
        "f1",
        100,
        0.9,
        0.8,
        0.05,
        3,
        reason=VerdictReason.BETTER,
        difference=0.1,
        interval=(0.05, 0.15),
    ),
)
LOST = Judged("b", "a", "h", "q", "f", Verdict(Ruling.REJECT, "f1", 100, 0.7, 0.8, 0.05, 4, difference=-0.1))


def entry(number: str, version: str = "", run: str = "", **tags: str) -> Registered:
    return Registered(number, run, ({VERSION: version} if version else {}) | tags)


def found(*entries: Registered, **aliases: str) -> Found:
    return Found(known=True, aliases=aliases, entries=entries)


def test_a_registry_that_knows_nothing_gets_the_model_and_both_versions() -> None:
    """The champion first; the aliases when it is looked at again."""
    nothing = Found(known=False, aliases={}, entries=())
    assert steps([OLD, NEW, THIRD], nothing) == [Create(), Register(OLD), Register(NEW)]
    assert steps([THIRD], nothing) == []
    registered = found(entry("1", "a"), entry("2", "b"))
    assert steps([OLD, NEW, THIRD], registered) == [Point("champion", "1"), Point("challenger", "2")]


def test_in_step_nothing_is_done() -> None:
    """Also where other entries and aliases are there, and tags of others."""
    others = entry("9", run="x"), entry("1", "a", team="x"), entry("2", "b")
    assert steps([OLD, NEW], found(*others, champion="1", challenger="2", theirs="9")) == []


def test_an_alias_that_was_moved_is_moved_back_and_one_too_many_removed() -> None:
    """Of what serves no other alias is touched: where nothing is known to serve, it stays."""
    moved = found(entry("1", "a"), entry("2", "b"), champion="2", challenger="2")
    assert steps([OLD], moved) == [Point("champion", "1"), Point("challenger", None)]
    assert steps([], moved) == [Point("challenger", None)]


def test_a_champion_is_aliased_before_a_challenger_is_registered() -> None:
    """What serves does not wait for the upload of what does not."""
    assert steps([OLD, NEW], found(entry("1", "a"))) == [Point("champion", "1"), Register(NEW)]


def test_an_entry_is_known_by_its_tag_else_by_its_run() -> None:
    """The latest of several; one that is another version's is not taken for its run."""
    assert mirror.entry_of(NEW, (entry("2", run="run-b"), entry("10", run="run-b"))) == entry("10", run="run-b")
    assert mirror.entry_of(NEW, (entry("2", "b"), entry("10", run="run-b"))) == entry("2", "b")
    assert mirror.entry_of(NEW, (entry("2", "c", run="run-b"),)) is None
    assert mirror.entry_of(OLD, (entry("2"),)) is None


def test_tags_that_differ_are_written_and_an_empty_one_only_over_another() -> None:
    """Also of what neither serves nor waits, where the registry has it."""
    wanted = Wanted("c", {VERSION: "c", "retrain.gain": "", "retrain.reason": "x"}, "run-c")
    assert steps([wanted], found(entry("3", run="run-c"))) == [Tag("3", VERSION, "c"), Tag("3", "retrain.reason", "x")]
    stale = found(entry("3", "c", **{"retrain.gain": "+0.1", "retrain.reason": "x"}))
    assert steps([wanted], stale) == [Tag("3", "retrain.gain", "")]


@pytest.mark.parametrize(
    ("challenger", "waiting"),
    [
        (None, None),
        (Challenger("b", "r", T0), "b"),
        (Challenger("b", "r", T0, ruling=Ruling.PROMOTE), "b"),
        (Challenger("b", "r", T0, ruling=Ruling.REJECT), None),
        (Challenger("b", "r", T0, refused="unknown"), None),
    ],
)
def test_what_waits_was_not_judged_or_has_won(challenger: Challenger | None, waiting: str | None) -> None:
    """What was rejected or refused waits for nobody."""
    assert mirror.waits(Past(challenger=challenger)) == waiting


@pytest.mark.parametrize(
    ("event", "is_due"),
    [
        (Promoted("b", "a"), True),
        (TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="b"), True),
        (TrainingFinished("r", Outcome.FAILED, ""), False),
        (TrainingStarted("r", Reason.FORCED, ""), False),
        (events.Checked(Action.HOLD, Reason.HEALTHY, "", "a", ()), False),
        (Delivered("x", ""), False),
        (Paused("x"), False),
    ],
)
def test_the_registry_is_behind_after_what_it_would_say(event: Event, is_due: bool) -> None:
    """Not after a check, a failed training or a pause."""
    assert mirror.concerns(event) == is_due


def test_tags_say_of_each_version_what_happened_last_and_who_did_it() -> None:
    """Verdict and numbers of the latest comparison that counts, reason and actor of the latest event."""
    happened: list[Event] = [
        Adopted("a", by=ANN),
        TrainingStarted("r", Reason.FORCED, "F1 0.7 is below 0.8"),
        TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="b"),
    ]

    def of(version: str, gate: Gate | None = None) -> dict[str, str]:
        tags = mirror.tags(journal(*happened), ["a", "b"], gate or Gate())[version]
        return {key.removeprefix("retrain."): text for key, text in tags.items() if text}

    assert of("a") == {"version": "a", "reason": "adopted the champion file as a", "actor": "ann on web1"}
    assert of("b") == {"version": "b", "reason": "F1 0.7 is below 0.8", "actor": "retrain"}
    happened += [WON]
    judged = {"version": "b", "verdict": "promote", "gain": "+0.100", "bounds": "+0.050 to +0.150", "comparison": "3"}
    assert of("b") == judged | {"reason": "better than the champion", "actor": "retrain"}
    happened += [Promoted("b", "a", reason="we know better", forced=True, by=ANN)]
    assert of("b") == judged | {"reason": "we know better", "actor": "ann on web1"}
    happened += [RolledBack("a", "b", "false alarms", by=ANN)]
    assert of("a")["reason"] == of("b")["reason"] == "rolled back to a in place of b: false alarms"
    happened += [LOST]
    assert of("b") == {
        "version": "b",
        "verdict": "reject",
        "gain": "-0.100",
        "comparison": "4",
        "reason": "reject",
        "actor": "retrain",
    }
    assert "gain" not in of("b", Gate(disclose=Disclose.VERDICT))
    happened += [Rejected("b", "ugly", by=ANN)]
    assert of("b")["reason"] == "rejected b: ugly"


def test_what_is_not_about_a_kept_version_changes_no_tag() -> None:
    """A rehearsal, a training of which only the end is known, and versions that are gone."""
    rehearsed = Judged("b", "a", "h", "q", "f", WON.verdict, dry_run=True)
    ended = TrainingFinished("r", Outcome.SUCCEEDED, "trained in 3 s", challenger="b")
    tags = mirror.tags(journal(rehearsed, Paused("x"), Promoted("gone", None), ended), ["b"], Gate())
    assert tags.keys() == {"b"}
    assert {key: text for key, text in tags["b"].items() if text} == {
        VERSION: "b",
        "retrain.reason": "trained in 3 s",
        "retrain.actor": "retrain",
    }
    not_judged = mirror.tags(journal(NotJudged("b", "the holdout is gone"), Promoted("b", None)), ["b"], Gate())
    assert not_judged["b"]["retrain.reason"] == "promoted b, the first champion"
