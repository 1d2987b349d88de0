"""What a value of a log or a reference means."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain.core.records import Label

MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>")
"""Texts that stand for a missing value in a CSV."""

Floats = NDArray[np.floating[Any]]


def canonical(value: Any) -> Label:
    """The label as JSON knows it: True, 1.0, numpy's 1 and a CSV's texts "1", "1.0" and "true" are all 1."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, bool | int | float):
        value = _of_text(str(value).strip())
    return int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value


def _of_text(text: str) -> Label:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) and "_" not in text else text


def seconds(values: "pd.Series[Any]") -> Floats:
    """Seconds since the Unix epoch, NaN where a value is neither a number of them, ISO 8601 nor a timestamp.

    Times without a zone are UTC.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return _since_epoch(values)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    texts = np.isnan(numbers)
    if texts.any():
        numbers = numbers.copy()
        numbers[texts] = _since_epoch(values[texts])
    return numbers


def _since_epoch(values: "pd.Series[Any]") -> Floats:
    moments = pd.to_datetime(values, utc=True, format="ISO8601", errors="coerce")
    elapsed = moments - pd.Timestamp(0, tz="UTC").as_unit("s")
    return elapsed.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
