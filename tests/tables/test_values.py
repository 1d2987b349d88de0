"""What a value means: missing, a class label, a moment, equal to another."""

import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrain.core.score import Confusion
from retrain.tables.values import (
    MISSING,
    key,
    label,
    label_of_text,
    labels,
    merged,
    names,
    round_all,
    seconds,
    spelt,
    unlabelled,
    vocabularies_differ,
)

NEW_YEAR = 1_704_067_200.0


def test_the_texts_that_are_missing_are_those_of_pandas() -> None:
    """A training that reads the same CSV with pandas.read_csv sees the same rows."""
    texts = [*sorted(MISSING), "none", "Null", "-", "?", " NA", "nil", "NaT"]
    read = pd.read_csv(io.StringIO("n,text\n" + "".join(f"1,{text}\n" for text in texts)))
    assert read["text"].isna().tolist() == [text in MISSING for text in texts]


# ---------------------------------------------------------------- class labels


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (1.0, 1),
        (Decimal("2.0"), 2),
        (Decimal("0.5"), 0.5),
        (np.int8(2), 2),
        (np.float32(0.5), 0.5),
        (np.False_, 0),
        (np.str_("a"), "a"),
        ("1", "1"),
    ],
)
def test_a_typed_value_is_a_label(value: object, expected: object) -> None:
    """Numbers and truth values that are equal are one label; a text is another than the number it spells."""
    assert label(value) == expected
    assert type(label(value)) is type(expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, b"x", datetime(2024, 1, 1), [1]])
def test_what_is_no_label(value: object) -> None:
    """Other types and numbers that are not finite are refused, with the type."""
    with pytest.raises(ValueError, match=rf"\({type(value).__name__}\) is not a class label"):
        label(value)


def test_the_labels_of_a_column() -> None:
    """Each value of a column or an array, also of categories."""
    assert labels(pd.Series([True, False], dtype="category")) == [1, 0]
    assert labels(np.array(["a", 1.0], dtype=object)) == ["a", 1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "Float32"])
@pytest.mark.parametrize("of", [pd.Series, pd.array, lambda values, dtype: pd.Series(values, dtype=dtype).to_numpy()])
def test_a_fraction_is_one_label_at_any_precision(of: Any, dtype: str) -> None:
    """Requirement: labels of 32 bits and predictions of 64 bits that are written alike are one class."""
    assert labels(of([0.1, 2.0, 0.1], dtype=dtype)) == [0.1, 2, 0.1]


@pytest.mark.parametrize("value", [1, 1.0, True, "1", " 1.0 ", "true", "True", np.int8(1), np.float32(1), Decimal("1")])
def test_one_is_one_however_it_was_written(value: object) -> None:
    """Requirement: a label is the same whether a CSV, a Parquet file or the configuration spelt it."""
    assert label_of_text(value) == 1
    assert type(label_of_text(value)) is int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("spam", "spam"),
        (" spam", "spam"),
        ("1.5", 1.5),
        (np.str_("a"), "a"),
        ("1_0", "1_0"),
        ("9007199254740993", 9007199254740993),
        ("-100000000000000000000000000000001", -100000000000000000000000000000001),
        ("inf", "inf"),
        (float("inf"), float("inf")),
        (date(2024, 1, 1), "2024-01-01"),
    ],
)
def test_other_labels_stay_what_they_are(value: object, expected: object) -> None:
    """Requirement: a text that is not a finite number stays a text, and a number that is not finite is no class."""
    assert label_of_text(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("1.0", 1), (" 1 ", 1), ("TRUE", 1), ("0.5", 0.5), ("007", "007"), ("1.10", "1.10"), ("+1", "+1")],
)
def test_a_number_is_spelt_as_programs_do_or_a_text(text: str, expected: object) -> None:
    """Requirement: 1.10 beside 1.1 is no accident of a program that writes numbers."""
    assert spelt(text) == spelt(expected) == expected
    assert label_of_text(text) == label_of_text(expected), "it is still that number where nothing else is"


@pytest.mark.parametrize("positive", ["01", "1", 1])
def test_the_positive_class_is_the_one_that_is_spelt_so(positive: Any) -> None:
    """Requirement: with classes 1 and 01 it is one of these, however the configuration writes the number."""
    both: Confusion = Counter({(1, "01"): 2, ("01", "01"): 3, (1, 1): 5})
    assert merged(both, positive) == (both, spelt(positive))
    one: Confusion = Counter({("01", 1): 3, ("00", 1): 2})
    assert merged(one, positive) == ({(1, 1): 3, (0, 1): 2}, 1)
    assert merged(Counter(), positive) == ({}, 1)


def test_values_are_called_by_their_label_or_text() -> None:
    """Slices have names; a missing value has none."""
    mixed = pd.Series([Decimal("1.50"), True, None, date(2024, 1, 1)])
    assert names(mixed) == [1.5, 1, None, "2024-01-01"]
    assert names(pd.Series([[1, 2], None])) == ["[1, 2]", None]
    assert names(pd.to_datetime(pd.Series(["2024-01-01", None]))) == ["2024-01-01", None]
    assert names(pd.Series(["b", None], dtype="category")) == ["b", None]


@pytest.mark.parametrize(
    ("predicted", "truths", "both"),
    [
        (["up", "down"], [1, 0], ("'down', 'up'", "0, 1")),
        (["(2)", "(3)"], [2, 3], ("'(2)', '(3)'", "2, 3")),
        (["1"], [1, 0], ("'1'", "0, 1")),
        (["Churn", "stay"], ["churn", "stay"], ("'Churn', 'stay'", "'churn', 'stay'")),
        (["churn ", "stay"], ["churn", "stay"], ("'churn ', 'stay'", "'churn', 'stay'")),
        ([2], range(9), None),
        (["yes", "no"], ["yes", "Yes", "no"], ("'no', 'yes'", "'Yes', 'no', 'yes'")),
        (["yes", "Yes", "no"], ["yes", "no"], ("'Yes', 'no', 'yes'", "'no', 'yes'")),
        (["yes", "no"], ["yes", "no", 1, 0], ("'no', 'yes'", "0, 1, 'no', 'yes'")),
        ([1, 0], ["yes", "no", 1, 0], ("0, 1", "0, 1, 'no', 'yes'")),
        ([1, 0, "yes", "no"], ["yes", "no"], ("0, 1, 'no', 'yes'", "'no', 'yes'")),
        (["n\u00e9", "a"], ["ne\u0301", "a"], (r"'a', 'n\xe9'", r"'a', 'ne\u0301'")),
        (["yes\u200b", "no"], ["yes", "no"], (r"'no', 'yes\u200b'", "'no', 'yes'")),
        (["\uff21", "b"], ["A", "b"], ("'b', '\uff21'", "'A', 'b'")),
        ([*range(9), "8"], range(9), ("8, '8'", "8")),
        ([9], range(9), ("9", "0, 1, 2, 3, 4 and 4 more")),
        (["1", "0", "x"], ["1", "1.0", "0", "x"], ("'0', '1', 'x'", "'0', '1', '1.0', 'x'")),
        (["true", "x"], ["true", "TRUE", "x"], ("'true', 'x'", "'TRUE', 'true', 'x'")),
    ],
)
def test_two_vocabularies_are_quoted(predicted: list[Any], truths: list[Any], both: tuple[str, str] | None) -> None:
    """Requirement: predictions that are no labels, or labels in another spelling, give no score but both lists."""
    assert vocabularies_differ(predicted, truths) == both


@pytest.mark.parametrize(("seldom", "often"), [("Ma\u00dfe", "Masse"), ("1.10", "1.1"), ("0101", "101"), ("1e1", "10")])
def test_a_rare_class_that_looks_like_another_is_a_class(seldom: str, often: str) -> None:
    """Requirement: where one side has both texts, the other one only predicts, or labels, one of them never.

    Texts that differ in case alone, or as 1 and 1.0, are one class that two sources spell in two ways.
    """
    both, one = [often, seldom, "other"], [often, "other"]
    assert vocabularies_differ(one, both) is None
    assert vocabularies_differ(both, one) is None
    assert vocabularies_differ([seldom, "other"], one) is not None, "neither side has both"


@pytest.mark.parametrize(("one", "other"), [([-1, 1], [0, 1]), ([1, 2], [0, 1]), ([-1, 1], [1, 2])])
def test_two_classes_that_are_numbered_otherwise_are_other_labels(one: list[int], other: list[int]) -> None:
    """Requirement: of the number that both have, most predictions would be wrong, and nobody has made a mistake."""
    assert vocabularies_differ(one, other) is not None
    assert vocabularies_differ(other, one) is not None
    assert vocabularies_differ(one, [*other, 3]) is None, "of more classes some are seldom predicted"
    assert vocabularies_differ([1], other) is None


def test_a_label_of_blanks_is_none() -> None:
    """Requirement: what a fixed-width field holds for no label is no class."""
    column = pd.Series(["a", "", "  ", None, "\t", float("nan"), 0, "NA"], dtype=object)
    assert unlabelled(column).tolist() == [False, True, True, True, True, True, False, False]


def test_a_class_that_is_only_predicted_is_a_wrong_prediction() -> None:
    """Requirement: one vocabulary, where some classes do not occur among the labels; and no predictions, no fault."""
    assert vocabularies_differ(["a", "b"], ["a", "c"]) is None
    assert vocabularies_differ(["us", "US"], ["us", "US"]) is None
    assert vocabularies_differ(["a", "A", "b"], ["a", "A", "b", "B"]) is None
    assert vocabularies_differ([0, 1], [0, 1, "other"]) is None
    assert vocabularies_differ([], ["a"]) is None
    assert vocabularies_differ(["a"], ["b"], disjoint=True) is None


# ---------------------------------------------------------------- equal values


@pytest.mark.parametrize(
    "same",
    [
        [7, 7.0, "7", "007", " 7", "7.00", Decimal("7.0"), np.int8(7), np.float32(7)],
        [True, 1, "True", "true", "TRUE", np.True_, "1"],
        [0.1, "0.1", Decimal("0.1"), float(np.float32(0.1)), np.float32(0.1)],
        [date(2024, 1, 2), "2024-01-02", "2024-01-02 00:00:00", pd.Timestamp("2024-01-02"), "2024-01-02 00:00:00 UTC"],
        [date(2024, 1, 2), "2024-01-02T00:00:00Z"],
        [
            datetime(2024, 1, 2, 1, tzinfo=timezone(timedelta(hours=1))),
            pd.Timestamp("2024-01-02", tz="UTC"),
            "2024-01-02T02:00+02:00",
        ],
        ["", "NA", "null", float("nan"), None, np.float32("nan"), pd.NA],
        ["ham", b"ham", np.str_("ham")],
        ["n\u00e9", "ne\u0301", "ne\u0301".encode()],
        [date(2024, 1, 2), np.datetime64("2024-01-02"), np.datetime64("2024-01-02T00:00:00", "ns")],
        [[1, 2.5], (1, 2.5), np.array([1, 2.5]), np.array([1, 2.5], "float32"), "[1, 2.5]", ["1", Decimal("2.5")]],
        [[1, None], np.array([1, np.nan]), [True, "NA"], "[1.0, null]"],
        [[], np.array([]), np.array([], object), "[]"],
        [[[1, 2], [3, 4]], np.array([[1, 2], [3, 4]]), [np.array([1, 2]), np.array([3, 4])]],
        [{"b": 1, "a": ["x"]}, {"a": np.array(["x"], object), "b": 1.0}, '{"a": ["x"], "b": 1}'],
        [[date(2024, 1, 2)], np.array(["2024-01-02"], "datetime64[ns]"), ["2024-01-02"]],
    ],
)
def test_equal_values_have_equal_keys(same: list[Any]) -> None:
    """Whatever type or spelling holds them; a missing value is like any other."""
    assert len({key(value) for value in same}) == 1


def test_different_values_have_different_keys() -> None:
    """Numbers that differ as 64-bit floats, texts, and a number and a word."""
    values = [0, 1, -1, 0.5, 123456789, 123456791, "x", "X", "", "inf", "2024-01-01", "2024-01-01T00:00:01", "0x1"]
    values += ["1_0", 10, [1], [2], [1, 2], [2, 1], [[1], [2]], [], ["x"], {"a": 1}, {"a": 2}, {"b": 1}, "[1", "{}"]
    assert len({key(value) for value in values}) == len(values)


@pytest.mark.parametrize("one", [1795737628.123, 16_777_217.25, -8_388_608.5, 1e-50, 1e-320])
def test_a_fraction_that_32_bits_hold_badly_keeps_its_digits(one: float) -> None:
    """Requirement: times in seconds are not one value for two minutes, nor are all small likelihoods 0."""
    other = one * 1.03 if abs(one) < 1 else one + 0.25
    assert len({key(one), key(other), key(0.0), key(round(one))}) == (3 if abs(one) < 1 else 4)
    numbers = np.array([one, other])
    assert round_all(numbers).tolist() == [key(one), key(other)] == [key(str(one)), key(str(other))]
    assert key([one]) != key([other])


# ---------------------------------------------------------------- moments


@pytest.mark.parametrize(
    "values",
    [
        [NEW_YEAR],
        [int(NEW_YEAR)],
        ["1704067200"],
        ["2024-01-01"],
        ["2024-01-01T00:00:00Z"],
        ["2024-01-01 01:00:00+01:00"],
        [datetime(2024, 1, 1, tzinfo=UTC)],
        [pd.Timestamp("2024-01-01")],
        [date(2024, 1, 1)],
        [Decimal("1704067200")],
    ],
)
def test_times_are_seconds_and_utc_where_no_zone_is_given(values: list[object]) -> None:
    """Requirement: epoch seconds, ISO 8601 and timestamps are all understood; without a zone it is UTC."""
    assert seconds(pd.Series(values)).tolist() == [NEW_YEAR]


@pytest.mark.parametrize("values", [[20261129], ["20261129"], [20261129.0]])
def test_a_day_without_hyphens_is_no_time(values: list[Any]) -> None:
    """Requirement: it is no second of the year 1970."""
    assert np.isnan(seconds(pd.Series(values))).all()
    assert np.isnan(seconds(pd.Series(values, dtype=object))).all()
    assert seconds(pd.Series(["1970-01-01", "17", "631152000"])).tolist() == [0, 17, 631_152_000]


def test_a_column_may_mix_the_forms_and_what_is_no_time_is_told_apart() -> None:
    """Requirement: one unreadable time does not spoil its neighbours."""
    times = seconds(pd.Series(["1704067200", "2024-01-01", "yesterday", None, "99999-01-01"]))
    assert times[:2].tolist() == [NEW_YEAR, NEW_YEAR]
    assert np.isnan(times[2:]).all()
