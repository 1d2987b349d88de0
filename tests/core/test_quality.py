"""F1 of a window's confusion, as the exporter and the rehearsal measure it."""

from collections import Counter

import pytest

from retrain.core.quality import Confusion, quality
from retrain.core.records import Counts
from retrain.core.rules import Average

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


def test_a_window_without_anything_positive_has_no_f1() -> None:
    """0/0 is no score: neither 0 nor 1."""
    found = quality(Counter({(0, 0): 5}), Average.BINARY, 1, 60.0)
    assert (found.f1, found.counts) == (None, Counts(0, 0, 0))
