"""The holdout by the values of the columns that promotion.slices names."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from retrain.core.records import Label
from retrain.scoring import tables, values
from retrain.scoring.labels import Triple, listed
from retrain.scoring.plan import Comparison, Controls, UnusableError

MOST = 100
"""Different values of a slice column. Each one costs memory, and the judge a share of its alpha."""

Sliced = Mapping[tuple[str, Label | None], Counter[Triple]]
"""Column and value (None: missing) → the rows that have it, counted."""


def check(plan: Comparison | Controls) -> None:
    """UnusableError where the holdout lacks a column to slice by, or would be sliced by its label."""
    if plan.target in plan.slices:
        problem = (
            f"cannot be sliced by {plan.target!r}, which is promotion.target: promotion.slices names columns "
            "that say of what kind a row is, not which label it has"
        )
        raise UnusableError("holdout", plan.holdout, problem)
    tables.columns("holdout", plan.holdout, dict.fromkeys(plan.slices, "promotion.slices"))


def sliced(plan: Comparison | Controls, chunk: pd.DataFrame, triples: Sequence[Triple]) -> Sliced:
    """One chunk by its values, `triples` being those of its rows. UnusableError where a column has too many."""
    counts: defaultdict[tuple[str, Label | None], Counter[Triple]] = defaultdict(Counter)
    for column in dict.fromkeys(plan.slices):
        found = values.named(chunk[column])
        for (value, triple), rows in Counter(zip(found, triples, strict=True)).items():
            counts[column, value][triple] += rows
    check_few(plan, counts)
    return dict(counts)


def added(one: Sliced, other: Sliced) -> Sliced:
    """Two chunks together."""
    return {key: one.get(key, Counter()) + other.get(key, Counter()) for key in one.keys() | other.keys()}


def check_few(plan: Comparison | Controls, total: Sliced) -> None:
    """UnusableError where a column has too many values."""
    for column, number in Counter(column for column, value in total if value is not None).items():
        if number > MOST:
            problem = (
                f"has at least {number} different values in column {column!r}, and a slice column needs few ({MOST} at "
                "most): name a coarser one in promotion.slices, such as an age group instead of an age"
            )
            raise UnusableError("holdout", plan.holdout, problem)


def answered(plan: Comparison, total: Sliced) -> list[list[Any]]:
    """[column, value, cells] of every slice: columns as configured, numbers before texts before the missing value."""

    def place(key: tuple[str, Any]) -> tuple[Any, ...]:
        column, value = key
        return list(plan.slices).index(column), value is None, isinstance(value, str), value

    return [[*key, listed(total[key])] for key in sorted(total, key=place)]
