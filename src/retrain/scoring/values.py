"""The values of a column, one by one: what a slice is named after, and what a row is known again by.

Two files hold the same value differently. A CSV file knows no types: what is a number there is a text as
soon as one word stands in the column, an empty text is a missing value, and a date is a text. Parquet knows
numbers of 32 bits, whose 0.1 is another than that of 64 bits.
"""

from datetime import UTC, datetime
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_numeric_dtype

from retrain.core.records import Label
from retrain.scoring import fingerprint
from retrain.scoring.labels import label

_TRUTHS = dict.fromkeys(("True", "TRUE", "true"), 1.0) | dict.fromkeys(("False", "FALSE", "false"), 0.0)
_MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""The texts that pandas.read_csv takes for a missing value."""


def named(column: "pd.Series[Any]") -> list[Label | None]:
    """What each value is called: a class label where it can be one, else its text; None where it is missing."""
    codes, uniques = _distinct(column)
    names = [*map(_name, uniques), None]  # a missing value has the code -1
    return [names[code] for code in codes]


def alike(column: "pd.Series[Any]") -> fingerprint.Hashes:
    """A hash of each value that is the same in every file that holds the value, whatever else the file holds.

    It is coarse where it must be: '007' is 7, a moment without a time zone is in UTC, and fractions count as
    32-bit floats. Whole numbers are told apart as 64-bit floats tell them.
    """
    if is_numeric_dtype(column.dtype):
        exact = column.to_numpy("float64", na_value=np.nan)
        with np.errstate(over="ignore", invalid="ignore"):
            return fingerprint.of_values(pd.Series(np.where(exact == np.floor(exact), exact, exact.astype("float32"))))
    codes, uniques = _distinct(column)
    return fingerprint.of_values(pd.Series([*map(_essence, uniques), None], dtype=object))[codes]


def _distinct(column: "pd.Series[Any]") -> tuple[npt.NDArray[np.intp], list[Any]]:
    """The code of each value, -1 where it is missing, and the values that the codes stand for."""
    try:
        codes, uniques = pd.factorize(column)
    except TypeError:  # lists and the like
        codes, uniques = pd.factorize(column.map(str, na_action="ignore"))
    return codes, uniques.tolist()


def _name(value: object) -> Label:
    if isinstance(value, Decimal):
        value = float(value)
    try:
        return label(value)
    except ValueError:
        return str(value).removesuffix(" 00:00:00")  # a CSV file says so of days


def _essence(value: object) -> float | str | None:
    if isinstance(value, Real | Decimal | np.bool_):
        return _rounded(float(value))
    text = value.isoformat(timespec="microseconds") if isinstance(value, datetime) else str(value)
    if text in _MISSING:
        return None
    try:
        return _rounded(float(_TRUTHS.get(text, text)))
    except ValueError:
        return _moment(text) or text


def _rounded(number: float) -> float:
    return number if number.is_integer() else float(np.float32(number))


def _moment(text: str) -> str | None:
    """A day or a moment, in UTC; None where the text is none."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)).isoformat()
    except (ValueError, OverflowError):
        return None
