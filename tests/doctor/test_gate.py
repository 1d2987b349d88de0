"""A gate that would promote a control fails, and the message says what to change."""

import pytest

from retrain.core.rules import Gate
from retrain.core.verdicts import Cell, ModelNote, Tally
from retrain.doctor import Severity
from retrain.doctor.gate import of_model, rule_on


def tally(*cells: tuple[object, object, object, int]) -> Tally:
    return Tally(tuple(Cell(*cell) for cell in cells), "h")  # type: ignore[arg-type]


GOOD_CHAMPION = {
    "itself": tally((1, 1, 1, 90), (1, 0, 0, 10), (0, 0, 0, 95), (0, 1, 1, 5)),
    "shuffled": tally((1, 1, 0, 45), (1, 1, 1, 45), (1, 0, 0, 10), (0, 0, 1, 50), (0, 0, 0, 45), (0, 1, 0, 5)),
    "always 1": tally((1, 1, 1, 90), (1, 0, 1, 10), (0, 0, 1, 95), (0, 1, 1, 5)),
}
BAD_CHAMPION = {"always 1": tally((1, 0, 1, 90), (1, 1, 1, 10), (0, 0, 1, 50), (0, 1, 1, 50))}


def test_a_gate_that_turns_down_every_control_is_ok() -> None:
    """Each control has its line, with both scores."""
    found = list(rule_on(GOOD_CHAMPION, Gate()))
    assert [each.severity for each in found] == [Severity.OK] * 4
    assert found[0].message.startswith("turns down the champion itself: F1 ")
    assert "its predictions shuffled: F1 0.462, the champion's 0.923" in found[1].message
    assert "turns down a model that knows nothing (always 1)" in found[2].message
    assert found[3].message == "would promote a challenger that knows every label"


def test_a_champion_of_other_versions_or_without_names_is_a_warning() -> None:
    """Requirement: both versions are named, and that columns are given by their position."""
    saved = "saved with scikit-learn 1.0.2, loaded with 1.9.1"
    known = Tally((Cell(1, 1, 1, 5),), "h", models=(ModelNote("champion", saved, unnamed=True),))
    one, two = of_model(known)
    assert (one.severity, two.severity) == (Severity.WARN, Severity.WARN)
    assert one.message.startswith(f"was {saved}")
    assert two.message.startswith("names no columns, so it is given those of the holdout by their position")


def test_a_gate_that_can_promote_no_challenger_is_a_warning() -> None:
    """A champion with next to no errors leaves nothing to win: no failure, and worth knowing before a training."""
    nearly = {"itself": tally((1, 1, 1, 100), (0, 0, 0, 100), (0, 1, 1, 4))}
    *_, found = rule_on(nearly, Gate())
    assert found.severity is Severity.WARN
    assert found.message.startswith("would not even promote a challenger that knows every label: this champion makes 4")


@pytest.mark.parametrize(
    ("tallies", "gate", "words"),
    [
        (BAD_CHAMPION, Gate(), "the champion does worse here than a model that knows nothing"),
        (GOOD_CHAMPION, Gate(min_improvement=-0.9), "raise promotion.min_improvement, which is -0.9"),
    ],
)
def test_a_gate_that_would_promote_a_control_fails(tallies: dict[str, Tally], gate: Gate, words: str) -> None:
    """A holdout with the wrong labels, or rules that let everything through."""
    failed = [each.message for each in rule_on(tallies, gate) if each.severity is Severity.FAIL]
    assert failed
    assert all(words in message for message in failed)


def test_a_floor_that_a_dummy_reaches_fails() -> None:
    """Without a champion the floor alone decides, and with many positives saying 1 always reaches far."""
    alone = {"always 1": tally((1, None, 1, 90), (0, None, 1, 10))}
    low, *_ = rule_on(alone, Gate(unopposed_floor=0.85))
    high, *_ = rule_on(alone, Gate(unopposed_floor=0.96))
    assert low.severity is Severity.FAIL
    assert "raise promotion.floor" in low.message
    assert high.severity is Severity.OK
