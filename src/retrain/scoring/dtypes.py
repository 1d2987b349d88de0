"""Chunks of a table → the dtype each column has in the whole table.

pandas infers dtypes from the rows it sees: a column of numbers becomes one of texts where a later chunk
holds a word, and one of floats where a cell is empty. A model must not see a difference between chunks.
"""

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, pandas_dtype

Dtype = Any
"""A numpy dtype or one of pandas' own."""
Kinds = frozenset[str]
"""What the cells of a CSV column look like, see `kinds`."""


def kinds(column: "pd.Series[Any]") -> Kinds:
    """What a chunk of a CSV column holds: missing, boolean, integer, negative, unsigned, float, huge or text.

    unsigned: integers above 2⁶³ − 1; huge: integers beyond 64 bits.
    """
    missing = column.isna()
    if missing.all():
        return frozenset({"missing"})
    found = {"missing"} if missing.any() else set()
    match column.dtype.kind:
        case "b":
            found.add("boolean")
        case "i":
            found.add("negative" if column.min() < 0 else "integer")
        case "u":
            found.add("unsigned")
        case "f":
            found.add("float")
        case _:
            inferred = infer_dtype(column, skipna=True)
            found.add({"boolean": "boolean", "integer": "huge"}.get(inferred, "text"))
    return frozenset(found)


def inferred(found: Kinds) -> Dtype:
    """The dtype that pandas.read_csv gives to a whole column of these kinds.

    The one exception: integers beyond 64 bits become texts where a chunk of smaller ones has empty cells.
    """
    present, missing = found - {"missing"}, "missing" in found
    if not present:
        name = "float64"
    elif present == {"boolean"}:
        name = "object" if missing else "bool"
    elif present <= {"integer", "negative"}:
        name = "float64" if missing else "int64"
    elif present <= {"integer", "unsigned"}:
        name = "str" if missing else "uint64"
    elif "float" in present and present <= {"integer", "negative", "unsigned", "float"}:
        name = "float64"
    elif present <= {"integer", "negative", "huge"}:
        name = "object"
    else:
        name = "str"
    return pandas_dtype(name)


def joined(one: Any, other: Any) -> Any:
    """What is known of a column after two chunks: the kinds of both, or the dtype that holds the values of both."""
    if isinstance(one, frozenset):
        return one | other
    if isinstance(one, pd.CategoricalDtype) and isinstance(other, pd.CategoricalDtype):
        new = other.categories.difference(one.categories, sort=False)
        return one if new.empty else pd.CategoricalDtype(one.categories.append(new), one.ordered)
    if one == other:
        return one
    try:
        return np.result_type(one, other)
    except TypeError:
        return np.dtype(object)


def with_sorted_categories(dtype: Dtype) -> Dtype:
    """The same dtype, its categories in the order pandas gives to those it finds itself."""
    if not isinstance(dtype, pd.CategoricalDtype):
        return dtype
    return pd.CategoricalDtype(dtype.categories.sort_values(), dtype.ordered)
