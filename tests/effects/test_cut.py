"""Which rows of a log are left out of a training: by window, by hash, and by group."""

import numpy as np
import pytest

from retrain.scoring.cut import left_out
from retrain.scoring.plan import Cut


def plan(**changes: object) -> Cut:
    """A plan with the shipped numbers but for these."""
    fields: dict[str, object] = {"windows": 1, "min_rows": 200, "share": 0.2} | changes
    paths = {"holdout": "", "log": "", "training": ""}
    names = {"target": "label", "timestamp": "at", "label": "label", "prediction": "prediction"}
    return Cut(**paths, **names, dtypes={}, window=1.0, now=9.0, since=0.0, **fields)  # type: ignore[arg-type]


def shares(rows: dict[int, int], **changes: object) -> dict[int, int]:
    """How many rows of each window are left out, where it has so many."""
    window = np.repeat(list(rows), list(rows.values())).astype(float)
    hashes = np.random.default_rng(1).permutation(len(window)).astype(np.uint64)
    taken = left_out(window, np.ones(len(window), bool), hashes, plan(**changes))
    return {each: int(taken[window == each].sum()) for each in rows}


@pytest.mark.parametrize(
    ("rows", "changes", "expected"),
    [
        ({1: 2000, 2: 2000}, {}, {1: 0, 2: 400}),
        ({1: 2000, 2: 600}, {}, {1: 0, 2: 200}),
        ({1: 2000, 2: 300}, {}, {1: 50, 2: 150}),
        ({0: 900, 1: 40, 2: 300}, {}, {0: 30, 1: 20, 2: 150}),
        ({1: 100, 2: 200}, {}, {1: 0, 2: 0}),
        ({}, {}, {}),
        ({1: 2000, 2: 2000}, {"windows": 2}, {1: 400, 2: 400}),
        ({1: 50}, {"min_rows": 1}, {1: 10}),
    ],
)
def test_the_newest_rows_come_first(rows: dict[int, int], changes: dict[str, object], expected: dict[int, int]) -> None:
    """A share of the newest windows; up to half where that is too few, then older windows; else none at all."""
    found = shares(rows, **changes)
    assert sum(found.values()) == sum(expected.values())
    if changes.get("windows") != 2:
        assert found == expected


def test_rows_with_one_hash_stay_together() -> None:
    """A group, or copies of a row, is left out whole or not at all."""
    window, groups = np.ones(1000), np.repeat(np.arange(100), 10).astype(np.uint64)
    taken = left_out(window, np.ones(1000, bool), groups, plan(min_rows=105))
    assert taken.sum() == 200
    sizes = np.bincount(groups.astype(int), taken)
    assert set(sizes) == {0, 10}


def test_only_free_rows_are_left_out() -> None:
    """Rows that the champion was trained on, or of windows that are not complete, never are."""
    window, free = np.ones(1000), np.arange(1000) < 500
    taken = left_out(window, free, np.arange(1000)[::-1].astype(np.uint64), plan())
    assert taken.sum() == 200
    assert not (taken & ~free).any()
