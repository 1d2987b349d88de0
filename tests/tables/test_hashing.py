"""Hashes of values and rows: the same for the same content, in whatever file, order, chunks and dtypes."""

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrain.tables.hashing import Content, alike, of_table, of_values
from retrain.tables.values import names


def fingerprint(frame: pd.DataFrame) -> str:
    return Content.of(of_table(frame)).fingerprint(frame.columns, "label")


TABLE = pd.DataFrame({"label": [1, 0, 1], "a": [0.0, 2.0, None], "s": ["x", None, "1"], "t": [True, None, False]})


@pytest.mark.parametrize(
    "same",
    [
        TABLE.iloc[::-1],
        TABLE[["t", "s", "label", "a"]],
        TABLE.astype({"label": "float64", "a": "Int64", "s": "category", "t": "boolean"}),
        TABLE.astype({"s": "object", "a": "object", "label": bool}),
        TABLE.assign(a=[-0.0, 2.0, np.nan]),
    ],
)
def test_the_fingerprint_sees_content_only(same: pd.DataFrame) -> None:
    """Order and dtypes do not change it; whether a number is held as integer, float or truth value neither."""
    assert fingerprint(same) == fingerprint(TABLE)


@pytest.mark.parametrize(
    "other",
    [
        TABLE.iloc[[0, 1, 2, 2]],
        TABLE.iloc[[0, 1, 2, 2, 2]],
        TABLE.iloc[:2],
        TABLE.assign(a=[0.0, 2.0, 3.0]),
        TABLE.assign(label=["1", "0", "1"]),
        TABLE.assign(s=["x", "1", np.nan]),
        TABLE.rename(columns={"a": "b"}),
        TABLE.rename(columns={"a": "s", "s": "a"}),
    ],
)
def test_the_fingerprint_sees_every_change_of_content(other: pd.DataFrame) -> None:
    """A row more (even a copy), a value, a type or a name that differs changes it."""
    assert fingerprint(other) != fingerprint(TABLE)
    assert len(fingerprint(other)) == 32


def test_the_fingerprint_of_a_release_is_that_of_the_next() -> None:
    """A recorded verdict is found by it: one that changes for the same rows costs each pair another comparison."""
    price: list[Any] = [Decimal("1.50")] * 3
    frame = TABLE.assign(at=pd.Timestamp("2024-01-01 10:30"), day=date(2024, 1, 1), price=price, n=2**60)
    assert fingerprint(frame) == "8428c7ee8336cc252b6a278ca9e57bad"


def test_chunks_add_up() -> None:
    """The content of a table is that of its parts, in any order."""
    parts = [Content.of(of_table(TABLE.iloc[[row]])) for row in (2, 0, 1)]
    total, whole = sum(parts, Content()), Content.of(of_table(TABLE))
    assert total == whole
    assert Content().fingerprint(TABLE.columns, "label") != whole.fingerprint(TABLE.columns, "label")


def test_a_moment_is_the_same_beside_others() -> None:
    """pandas writes a day without its time only where all moments of a chunk are days: the fingerprint must not."""
    moments = pd.to_datetime(pd.Series(["2024-01-01 00:00:00", "2024-01-01 10:30:00", None]))
    together, alone = of_values(moments), of_values(moments[:1])
    assert together[0] == alone[0]
    assert together.tolist() == of_values(moments.astype(object)).tolist()


@pytest.mark.parametrize("hashes", [of_values, alike])
def test_an_array_is_hashed_by_all_that_it_holds(hashes: Any) -> None:
    """Requirement: numpy abbreviates the text of a long array, so that 300 images had one hash."""
    images = [np.zeros(2_000, "uint8") for _ in range(4)]
    images[1][1_000] = images[2][1_001] = images[3][1_001] = 1
    one, two, three, four = hashes(pd.Series(images))
    assert len({one, two, three}) == 3
    assert three == four
    vectors = pd.Series([np.linspace(0, 1, 3_000), [*np.linspace(0, 1, 3_000)], None, np.linspace(0, 2, 3_000)])
    assert hashes(vectors)[0] == hashes(vectors)[1] != hashes(vectors)[3]
    grids = [np.zeros((40, 40)), [[0.0] * 40 for _ in range(40)], np.eye(40)]
    assert len(set(hashes(pd.Series(grids)).tolist())) == 2


def test_slices_of_lists_keep_their_names() -> None:
    """Requirement: lists with equal content are one value, named as Python writes it."""
    assert names(pd.Series([[1, 2], np.array([1, 2]), None, ["x"], [1, 2]])) == [
        "[1, 2]",
        "[1, 2]",
        None,
        "['x']",
        "[1, 2]",
    ]


def test_both_sums_of_the_fingerprint_differ() -> None:
    """The second must say more than the first."""
    first, second = Content.of(of_table(pd.DataFrame({"label": [1, 0], "a": [1.5, 2.5]}))).sums
    assert first != second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.Series([7, 8]), ["007", "8.0"]),
        (pd.Series([True, False]), ["true", "0"]),
        (pd.Series([0.1, 0.7], dtype="float32"), [0.1, 0.7]),
        (pd.Series([0.1, 0.7]), ["0.1", Decimal("0.7")]),
        (pd.Series([1, None], dtype="Int64"), ["1", ""]),
        (pd.Series(["x", "NA"], dtype="category"), ["x", None]),
        (pd.to_datetime(pd.Series(["2024-01-01", "2024-01-02"])), ["2024-01-01", "2024-01-02T00:00:00Z"]),
        (pd.to_datetime(pd.Series(["2024-01-01", "2024-01-02"]), utc=True).dt.tz_convert("Asia/Tokyo"),
         [date(2024, 1, 1), "2024-01-02"]),
        (pd.Series([[1.5, 2], None]), ["[1.5, 2]", None]),
    ],
)  # fmt: skip
def test_a_value_is_found_again_in_another_file(one: "pd.Series[Any]", other: list[Any]) -> None:
    """Its hash is that of its key, whatever type holds it; one by one it is the same."""
    assert alike(one).tolist() == alike(pd.Series(other, dtype=object)).tolist()
    assert alike(one[:1]).tolist() == alike(one)[:1].tolist()
    assert alike(one)[0] != alike(one)[1]
