"""Hashes of values and of rows, and the fingerprint of a table's content.

A row's hash is made of its values' hashes in the order of the column names. There are two hashes of a value: the
exact one of `of_values` for the fingerprint, and the coarse one of `alike`, by which a row is found again in another
file. They find accidents; they do not resist forgery.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import Struct
from pandas.api.types import is_numeric_dtype, is_object_dtype, is_string_dtype

from retrain.tables.values import Floats, content, distinct, is_nested, key, round_all

Hashes = npt.NDArray[np.uint64]

_KEY = "0123456789abcdef"
_SALT = np.uint64(int(_KEY, 16))
_MISSING = np.uint64(0x9E3779B97F4A7C15)


class Content(Struct, frozen=True):
    """Some rows of a table, by their hashes; the same whatever their order, chunks, dtypes and file format.

    The hashes of all rows are added modulo 2⁶⁴, so that their order does not matter and a row that occurs twice does
    (an XOR would drop it). So are the hashes of these hashes: two sums of 64 bits, over hashes of 64.
    """

    rows: int = 0
    sums: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, hashes: Hashes) -> "Content":
        """The content of rows that have these exact hashes."""
        other = pd.util.hash_array(hashes)
        return cls(len(hashes), (int(hashes.sum(dtype=np.uint64)), int(other.sum(dtype=np.uint64))))

    def __add__(self, other: "Content") -> "Content":
        one, two = ((mine + its) % 2**64 for mine, its in zip(self.sums, other.sums, strict=True))
        return Content(self.rows + other.rows, (one, two))

    def fingerprint(self, columns: Iterable[str], target: str) -> str:
        """The content, the names of its columns and that of the label as 32 hexadecimal characters."""
        text = json.dumps([sorted(columns), target, self.rows, self.sums])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def of_table(frame: pd.DataFrame) -> Hashes:
    """The exact hash of each row, over all columns."""
    columns = {str(name): frame[name] for name in frame.columns}
    return combined([of_values(columns[name]) for name in sorted(columns)])


def of_rows(columns: Mapping[str, Hashes]) -> Hashes:
    """The hash of each row, from the hashes of its values."""
    return combined([pd.util.hash_array(columns[name]) for name in sorted(columns)])


def combined(columns: Sequence[Hashes]) -> Hashes:
    """The hash of each row, from those of its columns in the order of their names (as pandas combines them)."""
    rows, factor = np.full(len(columns[0]), 0x345678, np.uint64), 1000003
    for place, hashes in enumerate(columns):
        rows ^= hashes
        rows *= np.uint64(factor % 2**64)
        factor += 82520 + 2 * (len(columns) - place)
    return rows + np.uint64(97531)


def of_values(column: "pd.Series[Any]") -> Hashes:
    """The hash of each value, by what it is and not by the dtype that happens to hold it.

    Numbers and truth values count as 64-bit floats, everything else as its text; one missing value is like another.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = np.append(of_values(column.cat.categories.to_series()), _MISSING)
        return categories[column.cat.codes]  # a missing value has the code -1
    if is_numeric_dtype(column.dtype):
        return of_floats(column.to_numpy("float64", na_value=np.nan))
    missing = column.isna().to_numpy()
    hashes = np.full(len(column), _MISSING)
    present = column[~missing]
    if is_string_dtype(column.dtype) and not is_object_dtype(column.dtype):
        hashes[~missing] = pd.util.hash_array(present.to_numpy(object), hash_key=_KEY)
    else:  # one by one: pandas writes a moment as its neighbours in the chunk need it
        hashes[~missing] = _of_objects(present.to_numpy(object))
    return hashes


def alike(column: "pd.Series[Any]", decimals: int | None = None) -> Hashes:
    """The hash of each value's `key`: the same in every file that holds the value, whatever else the file holds.

    Numbers are rounded to these decimals first.
    """
    if is_numeric_dtype(column.dtype):
        return alike_numbers(column.to_numpy("float64", na_value=np.nan), decimals)
    codes, uniques = distinct(column)
    keys = [key(value) for value in uniques]
    if decimals is not None:
        keys = [key(round(each, decimals)) if isinstance(each, float) else each for each in keys]
    return of_values(pd.Series([*keys, None], dtype=object))[codes]  # a missing value has the code -1


def alike_numbers(numbers: Floats, decimals: int | None = None) -> Hashes:
    """The hashes that `alike` gives these numbers, all at once."""
    with np.errstate(over="ignore", invalid="ignore"):
        return of_floats(round_all(numbers if decimals is None else numbers.round(decimals)))


def of_floats(values: Floats) -> Hashes:
    """The hash of each number; NaN is missing."""
    hashes: Hashes = pd.util.hash_array((values + 0.0).view(np.uint64) ^ _SALT)  # -0.0 is 0.0
    hashes[np.isnan(values)] = _MISSING
    return hashes


def smallest(hashes: Hashes, most: int | None = None) -> Hashes:
    """The different hashes in order, or so many of them (numpy.unique would take fifty times as long)."""
    ordered = np.sort(hashes, kind="stable")  # which merges what is in order already
    is_new: npt.NDArray[np.bool_] = np.diff(ordered, prepend=ordered[:1] - np.uint64(1)) != 0
    return ordered[is_new][:most]


def _of_objects(values: npt.NDArray[np.object_]) -> Hashes:
    numeric = np.array([isinstance(value, Real | Decimal | np.bool_) for value in values], bool)
    hashes = np.empty(len(values), np.uint64)
    hashes[numeric] = of_floats(values[numeric].astype("float64"))
    texts = np.array([_text(value) for value in values[~numeric]], object)
    hashes[~numeric] = pd.util.hash_array(texts, hash_key=_KEY)
    return hashes


def _text(value: Any) -> str:
    """The text of a value that is no number; numpy abbreviates that of a long array."""
    return content(value, _exact, rounded=False) if is_nested(value) else str(value)


def _exact(value: Any) -> float | str | None:
    if isinstance(value, Real | Decimal | np.bool_):
        return float(value)
    return None if value is None else _text(value)
