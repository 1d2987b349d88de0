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
    """UnusableError where the challenger's rows cannot be read, or were remembered by a column the holdout lacks.

    No training renews what is known of the champion: where that is no use, its rows are as good as unknown.
    """
    if plan.known_challenger is not None:
        _check("challenger", plan.known_challenger, plan.holdout)


def leaked(plan: Comparison, chunk: pd.DataFrame) -> Counter[Side]:
    """How many rows of a chunk each side was trained on; a row that occurs twice counts twice."""
    remembered = {side: _known(side, path) for side, path in _files(plan).items()}
    rows = {columns: hashes(chunk, columns) for columns in {columns for columns, _ in remembered.values()}}
    return Counter({side: _among(known, rows[columns]) for side, (columns, known) in remembered.items()})


def answered(plan: Comparison, total: Counter[Side]) -> dict[str, int | None]:
    """The rows that each side has seen; None where its rows are not known."""
    sides: tuple[Side, ...] = ("challenger", "champion")
    return {side: total[side] if side in _files(plan) else None for side in sides}


def _files(plan: Comparison) -> dict[Side, str]:
    """The files that are of use."""
    files: dict[Side, str] = {} if plan.known_challenger is None else {"challenger": plan.known_challenger}
    if plan.known_champion is not None and _is_usable("champion", plan.known_champion, plan.holdout):
        files["champion"] = plan.known_champion
    return files


@functools.cache
def _is_usable(side: Side, path: str, holdout: str) -> bool:
    try:
        _check(side, path, holdout)
    except UnusableError:
        return False
    return True


def _check(side: Side, path: str, holdout: str) -> None:
    columns, _ = _known(side, path)
    present = tables.columns("holdout", holdout, {})
    missing = [name for name in columns if name not in present]
    if missing:
        problem = (
            f"of the {side} are by the columns {tables.shown(columns)}, and the holdout {holdout} has no"
            f" {', '.join(map(repr, missing))}: a training with the present holdout in place renews this"
        )
        raise UnusableError("known rows", path, problem)


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
