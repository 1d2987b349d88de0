"""How many holdout rows a model has seen in training, where the rows of its training were remembered."""

import functools
import json
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow.parquet

from retrain.scoring import tables
from retrain.scoring.fingerprint import Hashes
from retrain.scoring.plan import Comparison, Side, UnusableError, brief
from retrain.scoring.rows import HASHING, hashes


def check(plan: Comparison) -> None:
    """UnusableError where rows were remembered by a column that the holdout lacks, or cannot be read."""
    for side, path in _files(plan).items():
        columns, _ = _known(side, path)
        present = tables.columns("holdout", plan.holdout, {})
        missing = [name for name in columns if name not in present]
        if missing:
            problem = (
                f"has no column {', '.join(map(repr, missing))}, but the rows that the {side} was trained on were "
                f"remembered by {tables.shown(columns)}: a training with the present holdout in place renews this"
            )
            raise UnusableError("holdout", plan.holdout, problem)


def leaked(plan: Comparison, chunk: pd.DataFrame) -> Counter[Side]:
    """How many rows of a chunk each side was trained on; a row that occurs twice counts twice."""
    remembered = {side: _known(side, path) for side, path in _files(plan).items()}
    rows = {columns: hashes(chunk, columns) for columns in {columns for columns, _ in remembered.values()}}
    return Counter({side: _among(known, rows[columns]) for side, (columns, known) in remembered.items()})


def answered(plan: Comparison, total: Counter[Side]) -> dict[str, int | None]:
    """The rows that each side has seen; None where its rows were not remembered."""
    sides: tuple[Side, ...] = ("challenger", "champion")
    return {side: total[side] if side in _files(plan) else None for side in sides}


def _files(plan: Comparison) -> dict[Side, str]:
    given: dict[Side, str | None] = {"challenger": plan.known_challenger, "champion": plan.known_champion}
    return {side: path for side, path in given.items() if path is not None}


def _among(known: Hashes, rows: Hashes) -> int:
    """How many of the rows are known."""
    return int(np.sum(np.searchsorted(known, rows, "right") > np.searchsorted(known, rows, "left")))


@functools.cache
def _known(side: Side, path: str) -> tuple[tuple[str, ...], Hashes]:
    """The columns that were hashed, and the hashes in order."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        if table.schema.metadata[b"hashing"] != HASHING:
            raise ValueError("another release remembered these rows; a training renews them")
        columns = tuple(json.loads(table.schema.metadata[b"columns"]))
        return columns, table["row"].to_numpy().astype(np.uint64, casting="equiv")
    except Exception as error:
        raise UnusableError("known rows", path, f"of the {side} cannot be read: {brief(error)}") from error
