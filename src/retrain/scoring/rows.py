"""Leakage: training data → a file of its rows' hashes → how many rows of a holdout a model has seen in training."""

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from msgspec.structs import replace
from pandas.api.types import is_numeric_dtype

from retrain.core.judge import SHARED
from retrain.core.records import Label
from retrain.scoring.plan import Comparison, Send, Side, TrainingRows, blamed
from retrain.tables import FileError
from retrain.tables.hashing import Hashes, alike, of_rows, smallest
from retrain.tables.read import Table, brief, columns, shown
from retrain.tables.values import distinct, key, name, quoted, seconds

Mask = npt.NDArray[np.bool_]
By = Mapping[str, int | None]
"""The columns that a row is known by, each with the decimals that its numbers are rounded to."""

Known = list[tuple[By, Hashes]]
"""The hashes of rows in order: by all columns, and by fewer columns or decimals where these may be enough."""
Found = Counter[tuple[Side, int]]
"""How many rows a side has seen: known by all columns (0), and by fewer columns or decimals (1)."""

Compared = TypeVar("Compared", bound=Comparison)

HASHING = b"3"
"""Raised when the same row gets another hash: the rows of older files would be found nowhere."""
CUT = {b"retrain": b"cut from the log"}
"""Metadata of a Parquet file of rows that this program chose, and no training."""
UNNAMED = re.compile(r"Unnamed: \d+")
"""What pandas calls the column of row numbers that it writes into a CSV file by default."""
_MANY = 7
"""Numbers with this many decimals, or more, were not rounded."""
_ENOUGH = 100
"""Fewer rows than these may all differ by chance."""
DISTINCT = 0.98
"""A key by which fewer of the rows differ would take rows for known that are only alike."""


def recorded(plan: TrainingRows, send: Send) -> dict[str, Any]:
    """The answer to "rows": the number of rows in the training data, whose hashes are now in the file.

    The file is Parquet: a column `row` of hashes in order, and in the metadata the columns that were hashed. Where
    fewer columns or decimals may be enough, it has a second column `alike`, and in the metadata what was hashed for
    that. UnusableError where the data, the holdout or the file cannot be used.
    """
    named = {plan.target: "promotion.target"}
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        of_holdout = columns(plan.holdout, named)
    send({"at": "training data"})
    with blamed("training data", plan.data):
        shared = _shared(plan, columns(plan.data, named), of_holdout)
        dtypes = {name: text for name, text in plan.dtypes.items() if name in shared}
        table = Table(plan.data, dtypes, shared, labels=[plan.target])
        if not table.rows:
            raise FileError("has no rows")
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        beside = Table(plan.holdout, dtypes, shared, labels=[plan.target])
        labels, decimals = _labels(beside, plan), {name: _values(beside, name, plan.chunk)[1] for name in shared}
    send({"at": "training data"})
    with blamed("training data", plan.data):
        if labels and not labels.keys() & (own := _labels(table, plan)).keys():
            raise FileError(
                f"has the labels {quoted(own.values())}, and the holdout {plan.holdout} {quoted(labels.values())}, so"
                " that no row could be recognized: spell each class in one way"
            )
        exact: By = dict.fromkeys(shared)
        found = [(exact, _different(table, exact, plan.chunk))]
        if table.rows >= _ENOUGH and (coarse := _coarse(plan, table, decimals)) != exact:
            known = _different(table, coarse, plan.chunk)
            found += [(coarse, known)] if len(known) >= DISTINCT * len(found[0][1]) else []
    with blamed("training rows", plan.into):
        _write(plan.into, found)
    return {"rows": table.rows}


def _different(table: Table, by: By, chunk: int) -> Hashes:
    """The hashes of the different rows, in order."""
    return smallest(np.concatenate([smallest(_hashes(each, by)) for each in table.chunks(chunk)]))


def _coarse(plan: TrainingRows, data: Table, of_holdout: Mapping[str, int | None]) -> By:
    """What a row is known by where a file was rounded or has row numbers of its own.

    Columns without fractions that differ in every row are left out. Numbers have the decimals of the file with fewer.
    """
    by: dict[str, int | None] = {}
    for column, its in of_holdout.items():
        values, decimals = _values(data, column, plan.chunk)
        if column == plan.target or decimals or len(values) < data.rows:
            both = {each for each in (decimals, its) if each is not None}
            by[column] = min(both) if len(both) == 2 else None
    return by


def _values(table: Table, column: str, chunk: int) -> tuple[Hashes, int | None]:
    """The hashes of the different values, and how many decimals the numbers have; None where there are none."""
    parts, decimals = [np.zeros(0, np.uint64)], 0 if is_numeric_dtype(table.dtypes[column]) else None
    for each in table.chunks(chunk, [column]):
        parts.append(smallest(exact := alike(each[column])))
        if decimals is not None:
            enough = (more for more in range(decimals, _MANY) if (alike(each[column], more) == exact).all())
            decimals = next(enough, _MANY)
    return smallest(np.concatenate(parts)), decimals


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


def leaked(plan: Comparison, chunk: pd.DataFrame) -> Found:
    """How many rows of a chunk each side was trained on; a row that occurs twice counts twice."""
    hashes: dict[str, Hashes] = {}
    found: Found = Counter()
    for side, path in files(plan).items():
        with blamed("training rows", path):
            kept = _known(side, path)
        for place, (by, known) in enumerate(kept):
            if (columns := json.dumps(by)) not in hashes:
                hashes[columns] = _hashes(chunk, by)
            found[side, place] = int(are_among(known, hashes[columns]).sum())
    return found


def listed(plan: Comparison, total: Found, rows: int) -> dict[str, int | None]:
    """Of all rows, those that each side has seen, and those `older` than the champion's training; None if not known.

    Known by fewer columns or decimals, a few rows may only resemble those of the training: then these do not count.
    """
    sides: tuple[Side, ...] = ("challenger", "champion")
    seen = {side: total[side, int(total[side, 1] >= SHARED * rows)] for side in sides}
    return {**{side: seen[side] if side in files(plan) else None for side in sides}, "older": _older(plan)}


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
        if path is not None and (recorded := _known("champion", path)[0])[0].keys() <= set(frame.columns):
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


def _hashes(chunk: pd.DataFrame, by: By) -> Hashes:
    """The hash of each row over these columns, whatever the file it was read from."""
    return of_rows({name: alike(chunk[name], decimals) for name, decimals in by.items()})


def _write(path: str, found: Known) -> None:
    names, longest = ("row", "alike"), np.arange(max(len(known) for _, known in found))
    # A table has columns of one length: the last hash of the shorter one is repeated.
    arrays = {name: known[longest.clip(max=len(known) - 1)] for name, (_, known) in zip(names, found, strict=False)}
    metadata = {b"columns": json.dumps([*found[0][0]]).encode(), b"hashing": HASHING}
    if len(found) > 1:
        metadata[b"alike"] = json.dumps(found[1][0]).encode()
    try:
        pyarrow.parquet.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)
    except Exception as error:
        raise FileError(f"cannot be written: {brief(error)}") from error


def _check(side: Side, path: str, holdout: str) -> None:
    by, _ = _known(side, path)[0]
    with blamed("holdout", holdout):
        present = columns(holdout, {})
    missing = [name for name in by if name not in present]
    if missing:
        raise FileError(
            f"of the {side} were recorded by the columns {shown([*by])}, and the holdout {holdout} has no"
            f" {', '.join(map(repr, missing))}: train again with this holdout"
        )


def are_among(known: Hashes, hashes: Hashes) -> Mask:
    """Which of the rows are known."""
    return np.searchsorted(known, hashes, "right") > np.searchsorted(known, hashes, "left")


@functools.cache
def _known(side: Side, path: str) -> Known:
    """The hashes of the rows by all columns, and by fewer columns or decimals where those were recorded."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        metadata = table.schema.metadata
        if metadata[b"hashing"] != HASHING:
            raise ValueError("another release recorded these rows: train again")
        less: By = json.loads(metadata.get(b"alike", b"{}"))
        by = {"row": dict.fromkeys(json.loads(metadata[b"columns"])), "alike": less}
        hashes = {name: table[name].to_numpy().astype(np.uint64, casting="equiv") for name in table.column_names}
        return [(by[name], its) for name, its in hashes.items()]
    except Exception as error:
        raise FileError(f"of the {side} cannot be read: {brief(error)}") from error
