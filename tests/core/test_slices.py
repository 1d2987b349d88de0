"""No slice may be worse: the veto of `promotion.slices`, and what the verdict says of slices."""

from typing import Any

import pytest
from msgspec.structs import replace

from retrain.core.explain import line
from retrain.core.judge import judge
from retrain.core.rules import Average, Gate, Metric
from retrain.core.verdicts import Cell, Groups, Ruling, Slice, Tally

GOOD = [(1, 1, 1, 500), (0, 0, 0, 500), (1, 0, 1, 80), (0, 1, 0, 80)]
"""A challenger that wins 160 rows and loses none."""


def cells(rows: list[Any]) -> tuple[Cell, ...]:
    return tuple(Cell(*row) for row in rows)


def worse(lost: int) -> list[Any]:
    """A slice in which it loses rows and wins none."""
    return [(1, 1, 1, 100), (0, 0, 0, 100), (1, 1, 0, lost), (0, 0, 1, lost)]


def tally(**slices: list[Any]) -> Tally:
    return Tally(cells(GOOD), "h", slices=tuple(Slice("region", name, cells(rows)) for name, rows in slices.items()))


def test_a_slice_that_is_significantly_worse_vetoes_a_challenger_that_is_better_overall() -> None:
    """Reject, and the sentence names the slice, the loss and its rows."""
    verdict = judge(tally(north=GOOD, south=worse(25)), Gate(), 1)
    assert verdict.ruling is Ruling.REJECT
    said = line("rejected", verdict, Gate())
    assert said.startswith(
        "rejected: worse where region = south (-0.200 on 250 rows), which promotion.slices forbids; "
    )
    assert "gain +0.1" in said
    assert "slices: 2 of 2 tested, 1 worse" in said
    assert [(each.value, each.worse, each.tested) for each in verdict.slices] == [
        ("north", False, True),
        ("south", True, True),
    ]


def test_a_slice_that_may_be_worse_by_bad_luck_vetoes_nothing() -> None:
    """Only what chance does not explain counts; a slice that did not get worse counts for nothing either."""
    balanced = [(1, 1, 1, 100), (0, 0, 0, 100), (1, 1, 0, 9), (1, 0, 1, 7)]
    verdict = judge(tally(north=GOOD, south=balanced), Gate(), 1)
    assert verdict.ruling is Ruling.PROMOTE
    assert verdict.slices[1].difference is not None
    assert verdict.slices[1].difference < 0
    assert "slices: 2 of 2 tested, none worse" in line("", verdict, Gate())


def test_slices_too_small_to_test_are_listed() -> None:
    """They are not protected, and a person is told which they are."""
    verdict = judge(tally(north=GOOD, south=worse(2), east=[(0, 0, 0, 30)]), Gate(), 1)
    assert verdict.ruling is Ruling.PROMOTE
    assert [each.tested for each in verdict.slices] == [True, False, False]
    assert verdict.slices[2].difference is None, "a slice without a positive has no F1"
    said = line("", verdict, Gate())
    assert "slices: 1 of 3 tested, none worse" in said
    assert "slices not tested: region = south (204 rows), region = east (30 rows): too few discordant rows" in said


def test_where_no_slice_can_be_tested_none_is_said_to_be_sound() -> None:
    """And a value with control characters, or a long one, spoils no line."""
    verdict = judge(tally(**{"so\nuth\x1b[31m" + 90 * "x": [(0, 0, 0, 30)]}), Gate(), 1)
    said = line("", verdict, Gate())
    assert "slices: 0 of 1 tested" in said
    assert "worse" not in said
    assert "region = so uthxxx" in said
    assert len(said) < 500


def test_the_level_is_shared_by_the_slices() -> None:
    """alpha / (number of slices): what convicts one slice alone does not among forty."""
    doubtful = [(1, 1, 1, 100), (0, 0, 0, 100), (1, 1, 0, 12), (1, 0, 1, 3)]
    assert judge(tally(south=doubtful), Gate(), 1).slices[0].worse
    many = {f"s{number}": GOOD for number in range(39)} | {"south": doubtful}
    assert not judge(tally(**many), Gate(), 1).slices[-1].worse


def test_a_loss_that_is_accepted_overall_is_accepted_in_a_slice() -> None:
    """With a negative min_improvement a slice must be worse by more than that."""
    slightly = [(1, 1, 1, 1000), (0, 0, 0, 1000), (1, 1, 0, 40)]
    assert judge(tally(south=slightly), Gate(), 1).slices[0].worse
    assert not judge(tally(south=slightly), Gate(min_improvement=-0.05), 1).slices[0].worse


@pytest.mark.parametrize("value", [None, 3, "x"])
def test_a_slice_is_named_by_its_value(value: Any) -> None:
    """The missing value is a slice, too."""
    rows = Tally(cells(GOOD), "h", slices=(Slice("group", value, cells(worse(30))),))
    named = "(missing)" if value is None else str(value)
    assert f"group = {named}" in line("", judge(rows, Gate(), 1), Gate())


MACRO = Gate(average=Average.MACRO)


@pytest.mark.parametrize("gate", [MACRO, Gate(metric=Metric.BALANCED_ACCURACY)])
def test_a_label_that_one_model_brings_into_a_slice_neither_hides_nor_makes_a_loss(gate: Gate) -> None:
    """A class that no row of the slice has is not averaged over: it is a wrong prediction and no more."""
    elsewhere = [*GOOD, (2, 2, 2, 100), (2, 1, 2, 5)]
    lost = [(0, 0, 0, 100), (1, 1, 1, 100), (0, 0, 1, 40), (1, 1, 0, 40)]
    won = [(0, 0, 0, 100), (1, 1, 1, 100), (0, 1, 0, 12), (1, 0, 1, 12)]

    def judged(rows: list[Any]) -> Any:
        return judge(Tally(cells(elsewhere), "h", slices=(Slice("s", "x", cells(rows)),)), gate, 1)

    assert judged([*lost, (0, 2, 0, 1)]).slices[0].worse
    assert judged([*lost, (0, 2, 0, 1)]).ruling is Ruling.REJECT
    assert judged([*won, (0, 0, 2, 1)]).slices[0].difference > 0
    assert judged([*won, (0, 0, 2, 1)]).ruling is Ruling.PROMOTE


def test_the_groups_of_a_slice_count_there() -> None:
    """Ten customers of whom two are worse off forbid nothing, however many rows they have."""
    rows = Slice("region", "south", cells(worse(25)))
    customers = Groups(
        10, 2, tuple((place, place, cell.rows * 25) for place, cell in enumerate(rows.cells)), "customer"
    )
    one, other = (
        judge(Tally(cells(GOOD), "h", slices=(each,)), Gate(), 1).slices[0]
        for each in (rows, replace(rows, groups=customers))
    )
    assert (one.worse, one.tested) == (True, True)
    assert (other.worse, other.tested) == (False, False)


def test_false_alarms_in_a_slice_without_a_positive_are_no_loss_of_f1() -> None:
    """F1 is 0 for both models there, whatever they predict: the slice is not tested and forbids nothing."""
    verdict = judge(tally(none=[(0, 0, 1, 50), (0, 1, 0, 3), (0, 0, 0, 100)]), Gate(), 1)
    (found,) = verdict.slices
    assert verdict.ruling is Ruling.PROMOTE
    assert (found.difference, found.tested, found.worse) == (None, False, False)
