"""The Parquet files of one table, read as if they were one file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from msgspec.structs import replace

from retrain.tables import FileError
from retrain.tables.listing import File, Listing, is_one, listed, stored

_BUFFER = 1024**2
"""Bytes of a column that are read at a time: without that a whole row group of the file is in memory."""
_INTEGER = r"-?[0-9]{1,18}"


class Parts:
    """One file, or several with the same columns; a column of keys has its value from the names of directories.

    Arrow's own scanner of datasets holds whole row groups in memory, and more than one.
    """

    def __init__(self, rows: str) -> None:
        """Look for the files. FileError where there are none."""
        self._listing = Listing((File(rows, (), {}),)) if is_one(rows) else listed(rows)
        self._is_one = is_one(rows)
        self._keys = _types([file.keys for file in self._listing.files])
        self.schema: Any = None
        self.rows = 0
        self.with_nulls: set[str] = set()
        self._row_groups: list[list[int]] = []
        self._only: list[list[int]] | None = None

    @property
    def names(self) -> list[str]:
        """The columns of the first file."""
        file = self._listing.files[0]
        with self._opened(file) as opened:
            return visible(opened.schema_arrow) + list(file.keys)

    def examine(self) -> None:
        """Learn from all files how many rows there are, of which types, and which columns may have a null.

        FileError where the columns of two files differ.
        """
        schemas = []
        for file in self._listing.files:
            with self._opened(file) as opened:
                schema = opened.schema_arrow
                self.rows += opened.metadata.num_rows
                groups = range(opened.metadata.num_row_groups)
                self._row_groups.append([opened.metadata.row_group(number).num_rows for number in groups])
                self.with_nulls |= _with_nulls(opened.metadata) | set(file.keys)
            if self._is_one:
                self.schema = schema
                return
            schemas.append(self._whole(file, schema))
            self._compare(schemas[0], schemas[-1], file)
        self.schema = self._joined(schemas)

    def batches(self, size: int, names: Sequence[str], *, sparing: bool = False) -> Iterator[Any]:
        """The rows with these columns as Arrow tables, at most `size` at a time, file after file.

        `sparing` reads no more of a row group at a time than it must.
        """
        few: list[Any] = []
        for place, file in enumerate(self._listing.files):
            only = None if self._only is None else self._only[place]
            with self._opened(file, sparing=sparing) as opened:
                own = [name for name in names if name not in file.keys]
                for batch in opened.iter_batches(batch_size=size, row_groups=only, columns=own):
                    rows = pa.Table.from_batches([batch])
                    if self._is_one:
                        yield rows
                        continue
                    few.append(self._unified(rows, file, names))
                    if sum(map(len, few)) >= size:  # tables of many small files make larger ones
                        rows = pa.concat_tables(few).combine_chunks()
                        yield rows.slice(0, size)
                        few = [rows.slice(size)] if len(rows) > size else []
        if few:
            yield pa.concat_tables(few).combine_chunks()  # a chunk would be sent as a message of its own

    def pieces(self, most: int) -> Iterator["Parts"]:
        """These rows in runs of row groups, `most` rows each where that is possible."""
        blocks = [(place, at, size) for place, sizes in enumerate(self._row_groups) for at, size in enumerate(sizes)]
        for first, last in _runs([size for *_, size in blocks], most):
            only: dict[int, list[int]] = {}
            for place, at, _ in blocks[first:last]:
                only.setdefault(place, []).append(at)
            piece = copy(self)
            piece._listing = replace(self._listing, files=tuple(self._listing.files[place] for place in only))
            piece._only, piece._row_groups = list(only.values()), []
            piece.rows = sum(size for *_, size in blocks[first:last])
            yield piece

    def _unified(self, rows: Any, file: File, names: Sequence[str]) -> Any:
        """The rows of one file with the types that all files have together."""
        schema = pa.schema([self.schema.field(name) for name in names], self.schema.metadata)
        for name, text in file.keys.items():
            if name in names:
                value = pa.scalar(text, pa.string()).cast(schema.field(name).type)
                rows = rows.append_column(name, pa.repeat(value, len(rows)))
        return rows.select(names).cast(schema)

    def _whole(self, file: File, schema: Any) -> Any:
        """The schema of one file with the columns of its keys, and without what pandas keeps as an index."""
        names = visible(schema)
        if twice := set(names) & file.keys.keys():
            raise FileError(
                f"has the column {min(twice)!r} twice: in {_name(file)} and in the names of its directories"
            )
        keys = [pa.field(name, kind) for name, kind in self._keys.items() if name in file.keys]
        return pa.schema([*(schema.field(name) for name in names), *keys], schema.metadata)

    def _compare(self, first: Any, other: Any, file: File) -> None:
        if differ := sorted(set(first.names) ^ set(other.names)):
            has = "has" if differ[0] in other.names else "lacks"
            why = f"{_name(file)} {has} {differ[0]!r}, and {_name(self._listing.files[0])}"
            raise FileError(f"has files with different columns: {why} {'lacks' if has == 'has' else 'has'} it")

    def _joined(self, schemas: list[Any]) -> Any:
        """The schema of all files; FileError where no type holds the values of both."""
        try:
            return pa.unify_schemas(schemas, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise FileError(f"has files with different types: {' '.join(str(error).split())}") from error

    @contextmanager
    def _opened(self, file: File, *, sparing: bool = False) -> Iterator[Any]:
        """The file, open. FileError, which names the file, where there are several and this one cannot be read."""
        how = {"buffer_size": _BUFFER, "pre_buffer": False} if sparing else {}
        if self._is_one:
            with pa.parquet.ParquetFile(file.path, **how) as opened:
                yield opened
            return
        here, path = self._listing.filesystem, file.path
        with stored(f"{path}: "), pa.OSFile(path) if here is None else here.open_input_file(path) as source:
            try:
                opened = pa.parquet.ParquetFile(source, **how)
            except pa.ArrowInvalid as error:
                read = "of a directory all files are read but those whose name begins with _ or a dot, of a pattern"
                why = f"has {path}, which is no Parquet file: {read}, such as DIRECTORY/*.parquet, those that match"
                raise FileError(why) from error
            yield opened


def _name(file: File) -> str:
    return Path(file.path).name


def _runs(sizes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Where runs of these sizes begin and end, the sum of each being at most so much, or one that is larger."""
    first, total = 0, 0
    for number, size in enumerate(sizes):
        if total and total + size > most:
            yield first, number
            first, total = number, 0
        total += size
    if total:
        yield first, len(sizes)


def visible(schema: Any) -> list[str]:
    """The columns that pandas shows: what it keeps as an index is none."""
    return empty(schema).columns.to_list()


def empty(schema: Any) -> pd.DataFrame:
    """A frame without rows of this schema."""
    frame: pd.DataFrame = schema.empty_table().to_pandas()
    frame.columns = frame.columns.map(str)
    return frame


def _with_nulls(metadata: Any) -> set[str]:
    """The columns of a Parquet file that may have a null: those whose statistics do not deny it."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    parts = [group.column(number) for group in groups for number in range(group.num_columns)]
    return {part.path_in_schema for part in parts if part.statistics is None or part.statistics.null_count != 0}


def _types(keys: Sequence[Mapping[str, str | None]]) -> dict[str, Any]:
    """The type of each key: whole numbers where all its values are, else texts."""
    texts: dict[str, set[str]] = {}
    for each in keys:
        for name, text in each.items():
            texts.setdefault(name, set()).update([text] if text is not None else [])
    return {
        name: pa.int64() if found and all(re.fullmatch(_INTEGER, text) for text in found) else pa.string()
        for name, found in texts.items()
    }
