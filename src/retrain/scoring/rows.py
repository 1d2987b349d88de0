"""Leakage: training data → a file of its rows' hashes → how many rows of a holdout a model has seen in training."""

import functools
import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from msgspec.structs import replace

from retrain.core.records import Label
from retrain.scoring.plan import Comparison, Send, Side, TrainingRows, blamed
from retrain.tables import FileError
from retrain.tables.hashing import Hashes, alike, of_rows, smallest
from retrain.tables.read import Table, brief, columns, shown
from retrain.tables.values import distinct, key, name, quoted, seconds

Mask = npt.NDArray[np.bool_]

Compared = TypeVar("Compared", bound=Comparison)

HASHING = b"3"
"""Raised when the same row gets another hash: the rows of older files would be found nowhere."""
CUT = {b"retrain": b"cut from the log"}
"""Metadata of a Parquet file of rows that this program chose, and no training."""
UNNAMED = re.compile(r"Unnamed: \d+")
"""What pandas calls the column of row numbers that it writes into a CSV file by default."""


def recorded(plan: TrainingRows, send: Send) -> dict[str, Any]:
    """The answer to "rows": the number of rows in the training data, whose hashes are now in the file.

    That is one Parquet column `row` of unique hashes in order; the columns that were hashed are in its metadata.
    UnusableError where the data, the holdout or the file cannot be used.
    """
    named = {plan.target: "promotion.target"}
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        of_holdout = columns(plan.holdout, named)
        of_label = {name: text for name, text in plan.dtypes.items() if name == plan.target}
        labels = _labels(Table(plan.holdout, of_label, [plan.target], [plan.target]), plan)
    send({"at": "training data"})
    with blamed("training data", plan.data):
        shared = _shared(plan, columns(plan.data, named), of_holdout)
        dtypes = {name: text for name, text in plan.dtypes.items() if name in shared}
        table = Table(plan.data, dtypes, shared, labels=[plan.target])
        if not table.rows:
            raise FileError("has no rows")
        if labels and not labels.keys() & (own := _labels(table, plan)).keys():
            raise FileError(
                f"has the labels {quoted(own.values())}, and the holdout {plan.holdout} {quoted(labels.values())}, so"
                " that no row could be recognized: spell each class in one way"
            )
        known = [smallest(_hashes(chunk, shared)) for chunk in table.chunks(plan.chunk)]
    with blamed("training rows", plan.into):
        _write(plan.into, smallest(np.concatenate(known)), shared)
    return {"rows": table.rows}


def _labels(table: Table, plan: TrainingRows) -> dict[Any, Label]:
    """What the labels are called, by their keys."""
    values = (value for chunk in table.chunks(plan.chunk, [plan.target]) for value in distinct(chunk[plan.target])[1])
    return {key(value): name(value) for value in values}


def checked(plan: Compared) -> Compared:
    """The plan, without the rows of a champion that cannot be used: no training renews those, so they are unknown.

    UnusableError where the challenger's cannot be read, or were recorded by a column the holdout lacks.
    """
    if plan.known_challenger is not None:
        with blamed("training rows", plan.known_challenger):
            _check("challenger", plan.known_challenger, plan.holdout)
    if plan.known_champion is not None:
        try:
            _check("champion", plan.known_champion, plan.holdout)
        except FileError:
            return replace(plan, known_champion=None)
    return plan


def leaked(plan: Comparison, chunk: pd.DataFrame) -> Counter[Side]:
    """How many rows of a chunk each side was trained on; a row that occurs twice counts twice."""
    hashes: dict[tuple[str, ...], Hashes] = {}
    found: Counter[Side] = Counter()
    for side, path in files(plan).items():
        with blamed("training rows", path):
            names, known = _known(side, path)
        if names not in hashes:
            hashes[names] = _hashes(chunk, names)
        found[side] = int(are_among(known, hashes[names]).sum())
    return found


def listed(plan: Comparison, total: Counter[Side]) -> dict[str, int | None]:
    """The rows that each side has seen, and those `older` than the champion's training; None where not known."""
    sides: tuple[Side, ...] = ("challenger", "champion")
    return {**{side: total[side] if side in files(plan) else None for side in sides}, "older": _older(plan)}


def _older(plan: Comparison) -> int | None:
    """How many rows are older than the champion's training; None where that is not asked, or they have no times.

    Rows that were cut from the log were chosen to be new to the champion.
    """
    if plan.dated is None:
        return None
    column, made_at = plan.dated
    with blamed("holdout", plan.holdout):
        if column not in columns(plan.holdout, {}):
            return None
        if CUT.keys() <= (pa.parquet.read_metadata(plan.holdout).metadata or {}).keys():
            return 0
        times = np.concatenate([seconds(each[column]) for each in Table(plan.holdout, {}, [column]).chunks(plan.chunk)])
        return None if np.isnan(times).any() else int((times < made_at).sum())


def known(path: str | None, frame: pd.DataFrame) -> Mask:
    """Whether a model was trained on each row, by the file of its rows; on none where that cannot be used."""
    with suppress(FileError):
        if path is not None and set((recorded := _known("champion", path))[0]) <= set(frame.columns):
            return are_among(recorded[1], _hashes(frame, recorded[0]))
    return np.zeros(len(frame), bool)


def files(plan: Comparison) -> dict[Side, str]:
    """The files of the rows that each side was trained on, where they are known."""
    known: dict[Side, str | None] = {"challenger": plan.known_challenger, "champion": plan.known_champion}
    return {side: path for side, path in known.items() if path is not None}


def _shared(plan: TrainingRows, of_data: Sequence[str], of_holdout: Sequence[str]) -> list[str]:
    """The columns that a row is known by. FileError where only the label is left."""
    shared = sorted(name for name in set(of_holdout) & set(of_data) if not UNNAMED.fullmatch(name))
    if shared == [plan.target]:
        raise FileError(
            f"has only the label, {plan.target!r}, in common with the holdout {plan.holdout}, so that no row could "
            f"be recognized: it has {shown(of_data)}, the holdout {shown(of_holdout)}"
        )
    return shared


def _hashes(chunk: pd.DataFrame, names: Sequence[str]) -> Hashes:
    """The hash of each row over these columns, whatever the file it was read from."""
    return of_rows({name: alike(chunk[name]) for name in names})


def _write(path: str, known: Hashes, names: Sequence[str]) -> None:
    metadata = {b"columns": json.dumps(names).encode(), b"hashing": HASHING}
    table = pa.table({"row": known}).replace_schema_metadata(metadata)
    try:
        pyarrow.parquet.write_table(table, path)
    except Exception as error:
        raise FileError(f"cannot be written: {brief(error)}") from error


def _check(side: Side, path: str, holdout: str) -> None:
    names, _ = _known(side, path)
    with blamed("holdout", holdout):
        present = columns(holdout, {})
    missing = [name for name in names if name not in present]
    if missing:
        raise FileError(
            f"of the {side} were recorded by the columns {shown(names)}, and the holdout {holdout} has no"
            f" {', '.join(map(repr, missing))}: train again with this holdout"
        )


def are_among(known: Hashes, hashes: Hashes) -> Mask:
    """Which of the rows are known."""
    return np.searchsorted(known, hashes, "right") > np.searchsorted(known, hashes, "left")


@functools.cache
def _known(side: Side, path: str) -> tuple[tuple[str, ...], Hashes]:
    """The columns that were hashed, and the hashes in order."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        if table.schema.metadata[b"hashing"] != HASHING:
            raise ValueError("another release recorded these rows: train again")
        names = tuple(json.loads(table.schema.metadata[b"columns"]))
        return names, table["row"].to_numpy().astype(np.uint64, casting="equiv")
    except Exception as error:
        raise FileError(f"of the {side} cannot be read: {brief(error)}") from error
