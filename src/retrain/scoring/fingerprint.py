"""The content of a table as one short text, whatever its order, chunks and file format.

A row's hash is made of its values' hashes in the order of the column names; the hashes of all rows are
added modulo 2⁶⁴, so that their order does not matter and a row that occurs twice does (an XOR would drop
it). Two independent lanes make it 128 bits. Numbers and truth values count as 64-bit floats, everything
else as its text, and one missing value is like another. It finds accidents; it does not resist forgery.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_numeric_dtype, is_object_dtype, is_string_dtype

from retrain.core.judge import SKETCH

Hashes = npt.NDArray[np.uint64]
Sums = tuple[int, int]

_KEYS = ("0123456789abcdef", "fedcba9876543210")
# pandas uses a key for texts only: numbers are told apart between the lanes by a salt.
_SALTS = tuple(np.uint64(int(key, 16)) for key in _KEYS)
NOTHING = np.array([], np.uint64)
"""The sketch of no rows."""
_MISSING = np.uint64(0x9E3779B97F4A7C15)


def of_rows(frame: pd.DataFrame) -> tuple[Sums, Hashes]:
    """The sum of the row hashes of a chunk, a lane each, and its sketch; for those of two chunks see below."""
    one, other = (of_each({str(name): of_values(frame[name], lane) for name in frame.columns}) for lane in (0, 1))
    return (int(one.sum(dtype=np.uint64)), int(other.sum(dtype=np.uint64))), smallest(one, NOTHING)


def smallest(one: Hashes, other: Hashes) -> Hashes:
    """The sketch of two chunks together: the smallest hashes, each once, in order."""
    return np.unique(np.concatenate([one, other]))[:SKETCH].astype(np.uint64, copy=False)


def added(one: Sums, other: Sums) -> Sums:
    """The sums of two chunks together."""
    return (one[0] + other[0]) % 2**64, (one[1] + other[1]) % 2**64


def digest(total: Sums, columns: Iterable[str], target: str, rows: int) -> str:
    """The fingerprint: 32 hexadecimal characters."""
    return hashlib.sha256(json.dumps([sorted(columns), target, rows, total]).encode()).hexdigest()[:32]


def of_each(columns: Mapping[str, Hashes]) -> Hashes:
    """The hash of each row, from the hashes of its values."""
    hashes = pd.DataFrame({name: columns[name] for name in sorted(columns)})
    return np.asarray(pd.util.hash_pandas_object(hashes, index=False), np.uint64)


def of_values(column: "pd.Series[Any]", lane: int = 0) -> Hashes:
    """The hash of each value, by what it is and not by the dtype that happens to hold it."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = np.append(of_values(column.cat.categories.to_series(), lane), _MISSING)
        return categories[column.cat.codes]  # a missing value has the code -1
    missing = column.isna().to_numpy()
    hashes = np.full(len(column), _MISSING)
    present = column[~missing]
    if is_numeric_dtype(column.dtype):
        hashes[~missing] = _of_numbers(present.to_numpy("float64"), lane)
    elif is_string_dtype(column.dtype) and not is_object_dtype(column.dtype):
        hashes[~missing] = _of_texts(present.to_numpy(object), lane)
    else:  # one by one: pandas writes a moment as its neighbours in the chunk need it
        hashes[~missing] = _of_objects(present.to_numpy(object), lane)
    return hashes


def _of_objects(values: npt.NDArray[np.object_], lane: int) -> Hashes:
    numeric = np.array([isinstance(value, Real | Decimal | np.bool_) for value in values], bool)
    hashes = np.empty(len(values), np.uint64)
    hashes[numeric] = _of_numbers(values[numeric].astype("float64"), lane)
    hashes[~numeric] = _of_texts(np.array([str(value) for value in values[~numeric]], object), lane)
    return hashes


def _of_numbers(values: npt.NDArray[np.float64], lane: int) -> Hashes:
    positive_zeros = values + 0.0
    return pd.util.hash_array(positive_zeros.view(np.uint64) ^ _SALTS[lane])


def _of_texts(values: npt.NDArray[np.object_], lane: int) -> Hashes:
    return pd.util.hash_array(values, hash_key=_KEYS[lane])
