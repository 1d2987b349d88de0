"""The log of predictions as a table: read as the monitor reads it, typed as pandas types a whole file."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from msgspec.structs import replace
from pandas.api.types import pandas_dtype

from retrain.tables import CHUNK, FileError
from retrain.tables.pieces import Piece, Position, appended, begins_with_header, opened_part, rotated_from
from retrain.tables.read import brief, check_columns
from retrain.tables.values import MISSING, Floats


class Log:
    """A CSV or Parquet log. A CSV is read whole; a record that is not yet whole, or is no row, is left out.

    `lost` has the number of rows before each record that is whole and no row, `problem` the first one and why.
    """

    def __init__(
        self, path: str, dtypes: Mapping[str, str], label: str, names: Collection[str] = (), since: float = inf
    ) -> None:
        """Read it, those columns in `dtypes` as what their text says. FileError where that cannot be.

        In the column `label` of a CSV only the empty field is missing: a class may be called None. A line with all
        these `names` is a header. Rotated files of a CSV, last written at or after `since` (epoch seconds), come first.
        """
        self._path, self.lost, self.problem = path, list[int](), ""
        self._table: Any = None
        try:
            if path.endswith(".csv"):
                pieces = _pieces(Path(path), names, since)
                self._table = pa.Table.from_pandas(_frame(pieces, dtypes, label), preserve_index=False)
                starts = accumulate((len(piece.rows) for piece in pieces), initial=0)
                self.lost = [start + each for start, piece in zip(starts, pieces, strict=False) for each in piece.lost]
                self.problem = next((piece.problem for piece in pieces if piece.lost), "")
            self.schema = self._table.schema if self._table is not None else pa.parquet.read_schema(path)
        except Exception as error:
            raise FileError(f"cannot be read: {error if isinstance(error, FileError) else brief(error)}") from error

    def needs(self, named: Mapping[str, str]) -> None:
        """Raise FileError where it lacks a column that a key of the configuration names, or has one twice."""
        check_columns(self.schema.names, named)

    def pieces(self, only: Sequence[str] | None = None) -> Iterator[Any]:
        """Its rows in order as Arrow tables, with all columns or `only` some."""
        names = list(self.schema.names if only is None else only)
        if self._table is not None:
            for start in range(0, len(self._table), CHUNK):
                yield self._table.slice(start, CHUNK).select(names)
            return
        try:
            with pa.parquet.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=CHUNK, columns=names):
                    yield pa.Table.from_batches([batch]).select(names)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise FileError(f"cannot be read: {brief(error)}") from error


def around(windows: Floats) -> set[int]:
    """The windows that a record without one (NaN) may belong to: those of the records around it."""
    places = pd.Series(np.where(np.isfinite(windows), windows, np.nan))
    sides = (side[places.isna()].dropna().unique() for side in (places.ffill(), places.bfill()))
    return {int(window) for side in sides for window in side}


def _frame(pieces: Sequence[Piece], dtypes: Mapping[str, str], label: str) -> pd.DataFrame:
    """The rows of a CSV, whose texts get their types once all headers and quotes are understood."""
    if not pieces:
        raise FileError("it has no row yet")
    for piece in pieces:
        check_columns(piece.rows.schema.names, {})
    whole = pa.concat_tables([piece.rows for piece in pieces], promote_options="default")
    texts = pa.BufferOutputStream()
    pa.csv.write_csv(whole, texts)
    return pd.read_csv(
        pa.BufferReader(texts.getvalue()),
        dtype={name: pandas_dtype(text) for name, text in dtypes.items()},
        low_memory=False,
        na_values={name: [""] if name == label else list(MISSING) for name in whole.schema.names},
        keep_default_na=False,
        index_col=False,
    )


def _pieces(log: Path, names: Collection[str], since: float, *, again: bool = False) -> list[Piece]:
    """The rows of the log and of the rotated files that were last written at or after `since`, oldest first."""
    pieces, position = list[Piece](), Position()
    with log.open("rb") as file:
        is_alone = since == inf and begins_with_header(file, names)
        files, is_empty = [*(rotated_from(log, file) if not is_alone else ()), log], not os.fstat(file.fileno()).st_size
        first = wanted = next(n for n, path in enumerate(files) if path == log or path.stat().st_mtime >= since)
        while first:  # back to the file whose header says what the columns are
            with opened_part(files[first], log, file) as part:
                if begins_with_header(part, names):
                    break
            first -= 1
        for number, path in enumerate(files[first:], first):
            with opened_part(path, log, file) as part:
                for piece in appended(part, position, names, ended=path != log and not is_empty):
                    position = Position(columns=piece.position.columns)
                    pieces += [replace(piece, problem=f"{path.name}: {piece.problem}")] if number >= wanted else []
        was_rotated = not os.path.samestat(log.stat(), os.fstat(file.fileno()))
    return _pieces(log, names, since, again=True) if was_rotated and not again else pieces
