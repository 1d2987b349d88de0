"""The holdout: its rows in chunks, and the label of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from retrain.core.records import Label
from retrain.scoring.plan import Plan, UnusableError, blamed
from retrain.tables.read import Table, brief, columns
from retrain.tables.values import labels


@dataclass(frozen=True, slots=True)
class Holdout:
    """A holdout that has rows, all of them labelled. `fractional` says that some labels are numbers with decimals."""

    plan: Plan
    table: Table
    fractional: bool

    def chunks(self) -> Iterator[pd.DataFrame]:
        """The rows in file order, as many at a time as the plan says."""
        with blamed("holdout", self.plan.holdout):
            yield from self.table.chunks(self.plan.chunk)


def opened(plan: Plan) -> Holdout:
    """The holdout of a plan. UnusableError where it cannot be used."""
    path, target = plan.holdout, plan.target
    with blamed("holdout", path):
        columns(path, {target: "promotion.target"} | dict.fromkeys(plan.dtypes, "promotion.dtypes"))
        table = Table(path, plan.dtypes)
        if not table.rows:
            raise UnusableError("holdout", path, "has no rows")
        unlabelled, fractional = 0, False
        for chunk in table.chunks(plan.chunk, [target]):
            unlabelled += int(chunk[target].isna().sum())
            fractional |= chunk[target].dtype.kind == "f" and bool((chunk[target].dropna() % 1 != 0).any())
    if unlabelled:
        problem = f"has no label (column {target!r}) in {unlabelled} of {table.rows} rows: label or drop them"
        raise UnusableError("holdout", path, problem)
    return Holdout(plan, table, fractional)


def truth_of(plan: Plan, chunk: pd.DataFrame) -> list[Label]:
    """The label of each row. UnusableError where a value is none."""
    try:
        return labels(chunk[plan.target])
    except (ValueError, TypeError) as error:
        problem = f"cannot be used: column {plan.target!r}: {brief(error)}"
        raise UnusableError("holdout", plan.holdout, problem) from error
