"""The holdout, typed as a whole and read in chunks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_object_dtype

from retrain.core.records import Label
from retrain.scoring import tables
from retrain.scoring.dtypes import Dtype, inferred, joined, kinds, with_sorted_categories
from retrain.scoring.labels import canonical
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
    named = {plan.target: "promotion.target"} | dict.fromkeys(plan.dtypes, "promotion.dtypes")
    tables.columns("holdout", plan.holdout, named)
    configured = tables.configured("holdout", plan.holdout, plan.dtypes)
    guesses = plan.holdout.endswith(".csv")
    found: dict[str, Any] = {}
    rows = unlabelled = 0
    fractional = False
    for frame in tables.read("holdout", plan.holdout, configured, plan.chunk):
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
    explicit = {name: dtype for name, dtype in holdout.dtypes.items() if name not in holdout.mixed}
    for frame in tables.read("holdout", holdout.path, explicit, size):
        yield frame.astype(dict.fromkeys(holdout.mixed, object))


def truth_of(plan: Plan, chunk: pd.DataFrame) -> list[Label]:
    """The label of each row. UnusableError where a value is none."""
    try:
        return canonical(chunk[plan.target])
    except (ValueError, TypeError) as error:
        raise UnusableError("holdout", plan.holdout, f"is no use, column {plan.target!r}: {brief(error)}") from error
