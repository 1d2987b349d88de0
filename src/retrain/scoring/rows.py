"""Training data → a file of its rows, by which they are known again in a holdout."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from retrain.scoring import fingerprint, tables, values
from retrain.scoring.plan import KnownRows, UnusableError, brief

HASHING = b"1"
"""Raised when the same row gets another hash: what older files remember would be found nowhere."""
_UNNAMED = re.compile(r"Unnamed: \d+")
"""What pandas calls the column of row numbers that it writes into a CSV file unless told otherwise."""


def remember(plan: KnownRows, tell: Callable[[dict[str, Any]], None]) -> int:
    """The number of rows in the training data, whose hashes are now in the file.

    That is one Parquet column `row` of unique hashes in order; the columns that were hashed are in its metadata.
    UnusableError where the data, the holdout or the file is no use.
    """
    tell({"at": "holdout"})
    named = {plan.target: "promotion.target"}
    of_holdout = tables.columns("holdout", plan.holdout, named)
    tell({"at": "training data"})
    of_data = tables.columns("training data", plan.data, named)
    shared = sorted(name for name in set(of_holdout) & set(of_data) if not _UNNAMED.fullmatch(name))
    if shared == [plan.target]:
        problem = (
            f"has only the label, {plan.target!r}, in common with the holdout {plan.holdout}, so that no row could "
            f"be known again: it has {tables.shown(of_data)}, the holdout {tables.shown(of_holdout)}"
        )
        raise UnusableError("training data", plan.data, problem)
    rows, found = 0, [fingerprint.NOTHING]
    asked = {name: text for name, text in plan.dtypes.items() if name in shared}
    dtypes = tables.configured("training data", plan.data, asked)
    for chunk in tables.read("training data", plan.data, dtypes, plan.chunk, only=shared):
        rows += len(chunk)
        found.append(np.unique(hashes(chunk, shared)))
    if not rows:
        raise UnusableError("training data", plan.data, "has no rows")
    _write(plan.into, np.unique(np.concatenate(found)), shared)
    return rows


def hashes(chunk: pd.DataFrame, columns: Sequence[str]) -> fingerprint.Hashes:
    """The hash of each row over these columns, whatever the file it was read from."""
    return fingerprint.of_each({name: values.alike(chunk[name]) for name in columns})


def _write(path: str, known: fingerprint.Hashes, columns: Sequence[str]) -> None:
    metadata = {b"columns": json.dumps(columns).encode(), b"hashing": HASHING}
    table = pa.table({"row": known}).replace_schema_metadata(metadata)
    try:
        pyarrow.parquet.write_table(table, path)
    except Exception as error:
        raise UnusableError("known rows", path, f"cannot be written: {brief(error)}") from error
