"""What a value of a log means."""

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from retrain.exporter.values import canonical, seconds

NEW_YEAR = 1_704_067_200.0


@pytest.mark.parametrize("value", [1, 1.0, True, "1", " 1.0 ", "true", "True", np.int8(1), np.float32(1), np.True_])
def test_one_is_one_however_it_was_written(value: object) -> None:
    """Requirement: a label is the same whether a CSV, a Parquet file or the configuration spelt it."""
    assert canonical(value) == 1
    assert type(canonical(value)) is int


@pytest.mark.parametrize(
    ("value", "label"), [("spam", "spam"), ("1.5", 1.5), (np.str_("a"), "a"), ("1_0", "1_0"), ("inf", "inf")]
)
def test_other_labels_stay_what_they_are(value: object, label: object) -> None:
    """Requirement: a text that is not a number stays a text."""
    assert canonical(value) == label


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


def test_a_column_may_mix_the_forms_and_what_is_no_time_is_told_apart() -> None:
    """Requirement: one unreadable time does not spoil its neighbours."""
    times = seconds(pd.Series(["1704067200", "2024-01-01", "yesterday", None, "99999-01-01"]))
    assert times[:2].tolist() == [NEW_YEAR, NEW_YEAR]
    assert np.isnan(times[2:]).all()
