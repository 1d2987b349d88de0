"""A gate that would promote a control is broken, and the sentence says what to look at."""

import pytest

from retrain.core.rules import Difference, Gate, Share
from retrain.core.verdicts import Cell, Tally
from retrain.doctor.gate import rule_on


def tally(*cells: tuple[object, object, object, int]) -> Tally:
    return Tally(tuple(Cell(*cell) for cell in cells), "h")  # type: ignore[arg-type]


GOOD_CHAMPION = {
    "itself": tally((1, 1, 1, 90), (1, 0, 0, 10), (0, 0, 0, 95), (0, 1, 1, 5)),
    "shuffled": tally((1, 1, 0, 45), (1, 1, 1, 45), (1, 0, 0, 10), (0, 0, 1, 50), (0, 0, 0, 45), (0, 1, 0, 5)),
    "always 1": tally((1, 1, 1, 90), (1, 0, 1, 10), (0, 0, 1, 95), (0, 1, 1, 5)),
}
BAD_CHAMPION = {"always 1": tally((1, 0, 1, 90), (1, 1, 1, 10), (0, 0, 1, 50), (0, 1, 1, 50))}


def test_a_gate_that_says_no_to_all_of_them_is_sound() -> None:
    """Each control has its line, with both scores."""
    found = rule_on(GOOD_CHAMPION, Gate())
    assert [each.ok for each in found] == [True] * 4
    assert found[0].sentence.startswith("turns down the champion itself")
    assert "its predictions shuffled (F1 0.462 against the champion's 0.923)" in found[1].sentence
    assert "turns down a dummy that always says 1" in found[2].sentence
    assert found[3].sentence == "would promote a challenger that knows every label"


def test_a_gate_that_can_say_yes_to_nobody_says_so() -> None:
    """A champion with next to no errors leaves nothing to win: no fault, and worth knowing before a training."""
    nearly = {"itself": tally((1, 1, 1, 100), (0, 0, 0, 100), (0, 1, 1, 4))}
    found = rule_on(nearly, Gate())[-1]
    assert found.ok
    assert "would promote nobody" in found.sentence


@pytest.mark.parametrize(
    ("tallies", "gate", "words"),
    [
        (BAD_CHAMPION, Gate(), "the champion does worse on this holdout than knowing nothing"),
        (GOOD_CHAMPION, Gate(min_improvement=Difference(-0.9)), "min_improvement -0.9 lets too much through"),
    ],
)
def test_a_gate_that_would_promote_one_is_broken(tallies: dict[str, Tally], gate: Gate, words: str) -> None:
    """A holdout with the wrong labels, or rules that let everything through."""
    broken = [each.sentence for each in rule_on(tallies, gate) if not each.ok]
    assert broken
    assert all(words in sentence for sentence in broken)


def test_a_floor_that_a_dummy_reaches_is_broken() -> None:
    """Without a champion the floor alone decides, and with many positives saying 1 always reaches far."""
    alone = {"always 1": tally((1, None, 1, 90), (0, None, 1, 10))}
    low, high = Gate(unopposed_floor=Share(0.85)), Gate(unopposed_floor=Share(0.96))
    assert not rule_on(alone, low)[0].ok
    assert "raise promotion.floor" in rule_on(alone, low)[0].sentence
    assert rule_on(alone, high)[0].ok
