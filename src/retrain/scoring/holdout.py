"""The holdout, read in chunks: memory does not grow with its rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow.parquet
from pandas.api.types import is_object_dtype, pandas_dtype

from retrain.scoring.dtypes import Dtype, inferred, joined, kinds, with_sorted_categories
from retrain.scoring.plan import Plan, UnusableError, brief


@dataclass(frozen=True, slots=True)
class Holdout:
    """What a first reading finds: the dtype of every column and the number of rows.

    `mixed` are CSV columns that hold Python objects (True, False and NaN, say); `fractional` says that some
    labels are numbers with decimals.
    """

    path: str
    dtypes: dict[str, Dtype]
    mixed: frozenset[str]
    rows: int
    fractional: bool


def survey(plan: Plan) -> Holdout:
    """The holdout, typed as pandas would type it reading the whole file. UnusableError where it is no use."""
    configured = _checked(plan)
    guesses = plan.holdout.endswith(".csv")
    found: dict[str, Any] = {}
    rows = unlabelled = 0
    fractional = False
    for frame in _read(plan.holdout, configured, plan.chunk):
        rows += len(frame)
        target = frame[plan.target]
        unlabelled += int(target.isna().sum())
        fractional |= target.dtype.kind == "f" and bool((target.dropna() % 1 != 0).any())
        for name, column in frame.items():
            seen = kinds(column) if guesses and name not in configured else column.dtype
            found[str(name)] = joined(found.get(str(name), seen), seen)
    if not rows:
        raise UnusableError("holdout", plan.holdout, "has no rows")
    if unlabelled:
        problem = f"has no label (column {plan.target!r}) in {unlabelled} of {rows} rows: label or drop them"
        raise UnusableError("holdout", plan.holdout, problem)
    dtypes = {name: inferred(seen) if isinstance(seen, frozenset) else seen for name, seen in found.items()}
    mixed = {name for name, seen in found.items() if isinstance(seen, frozenset) and is_object_dtype(dtypes[name])}
    dtypes |= {name: with_sorted_categories(dtypes[name]) for name in configured}
    return Holdout(plan.holdout, dtypes, frozenset(mixed), rows, fractional)


def chunks(holdout: Holdout, size: int) -> Iterator[pd.DataFrame]:
    """The rows in file order, at most `size` at a time, each chunk with the dtypes of the whole."""
    return _read(holdout.path, holdout.dtypes, size, holdout.mixed)


def _checked(plan: Plan) -> dict[str, Dtype]:
    """The configured dtypes. UnusableError where they or the target do not fit the file's columns."""
    columns = _columns(plan.holdout)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UnusableError("holdout", plan.holdout, f"has more than one column {', '.join(map(repr, twice))}")
    named = {plan.target: "promotion.target"} | dict.fromkeys(plan.dtypes, "promotion.dtypes")
    for name, key in named.items():
        if name not in columns:
            shown = ", ".join(columns[:20]) + (", …" if len(columns) > 20 else "")
            raise UnusableError("holdout", plan.holdout, f"has no column {name!r}, which {key} names; it has {shown}")
    dtypes = {}
    for name, text in plan.dtypes.items():
        try:
            dtypes[name] = pandas_dtype(text)
        except Exception as error:
            problem = f"cannot be read: promotion.dtypes gives {name!r} the dtype {text!r}, which pandas does not know"
            raise UnusableError("holdout", plan.holdout, problem) from error
    return dtypes


def _columns(path: str) -> list[str]:
    try:
        if path.endswith(".csv"):
            return list(map(str, pd.read_csv(path, nrows=0).columns))
        return list(map(str, pyarrow.parquet.read_schema(path).empty_table().to_pandas().columns))
    except Exception as error:
        raise UnusableError("holdout", path, f"cannot be read: {brief(error)}") from error


def _read(
    path: str, dtypes: Mapping[str, Dtype], size: int, mixed: frozenset[str] = frozenset()
) -> Iterator[pd.DataFrame]:
    try:
        yield from _csv(path, dtypes, size, mixed) if path.endswith(".csv") else _parquet(path, dtypes, size)
    except Exception as error:
        hint = f" (promotion.dtypes: {', '.join(dtypes)})" if dtypes else ""
        raise UnusableError("holdout", path, f"cannot be read: {brief(error)}{hint}") from error


def _csv(path: str, dtypes: Mapping[str, Dtype], size: int, mixed: frozenset[str]) -> Iterator[pd.DataFrame]:
    explicit = {name: dtype for name, dtype in dtypes.items() if name not in mixed}
    # Without low_memory=False pandas would infer dtypes for pieces of a chunk.
    with pd.read_csv(path, dtype=explicit, chunksize=size, low_memory=False) as frames:
        for frame in frames:
            yield frame.astype(dict.fromkeys(mixed, object))


def _parquet(path: str, dtypes: Mapping[str, Dtype], size: int) -> Iterator[pd.DataFrame]:
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=size):
            yield batch.to_pandas().astype(dict(dtypes))
