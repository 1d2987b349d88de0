"""F1 of a window's confusion, as the exporter and the rehearsal measure it."""

from collections import Counter

import pytest

from retrain.core.records import Counts
from retrain.core.rules import Average, Gate
from retrain.core.score import Confusion, newest_labelled, quality, score_of
from retrain.core.verdicts import Cell

ROWS: Confusion = Counter({(1, 1): 8, (0, 1): 2, (1, 0): 4, (0, 0): 86})


@pytest.mark.parametrize(
    ("average", "f1", "counts"),
    [(Average.BINARY, 16 / 22, Counts(8, 2, 4)), (Average.MICRO, 0.94, None)],
)
def test_f1_of_a_window_has_counts_where_it_is_binary(average: Average, f1: float, counts: Counts | None) -> None:
    """TP, FP and FN are those of the positive class; other averages have none."""
    found = quality(ROWS, average, 1, 60.0)
    assert found.f1 == pytest.approx(f1)
    assert (found.end, found.samples, found.counts) == (60.0, 100, counts)


def test_the_macro_f1_of_a_window_is_that_of_promote() -> None:
    """A class that is only predicted is a wrong prediction and no class of its own, in both."""
    confusion: Confusion = Counter({(0, 0): 40, (1, 1): 30, (1, 0): 5, (0, 2): 10})
    cells = [Cell(truth, None, guess, rows) for (truth, guess), rows in confusion.items()]
    judged = score_of(cells, Gate(average=Average.MACRO), "challenger").value
    assert quality(confusion, Average.MACRO, 1, 60.0).f1 == judged == pytest.approx((80 / 95 + 60 / 65) / 2)


def test_a_window_without_anything_positive_has_no_f1() -> None:
    """0/0 is no score: neither 0 nor 1."""
    found = quality(Counter({(0, 0): 5}), Average.BINARY, 1, 60.0)
    assert (found.f1, found.counts) == (None, Counts(0, 0, 0))


@pytest.mark.parametrize(
    ("windows", "newest"),
    [
        ({}, None),
        ({4: (9, 9)}, 4),
        ({4: (9, 8)}, None),  # labels still come
        ({3: (9, 9), 4: (9, 0)}, 3),
        ({3: (9, 8), 4: (9, 1)}, 3),  # later windows have labels: no more come for this one
        ({4: (9, 8), 5: (9, 1)}, 4),  # also where that is the window that goes on
        ({5: (9, 9)}, None),
        ({4: (9, 9), 6: (9, 9)}, 4),  # from a clock that is ahead
    ],
)
def test_the_newest_window_is_one_whose_labels_are_known(
    windows: dict[int, tuple[int, int]], newest: int | None
) -> None:
    """It has ended, and has all its labels, or later windows have some; what is served and what is cut is the same."""
    assert newest_labelled(windows, current=5) == newest
