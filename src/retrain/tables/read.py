"""A CSV or Parquet file of rows, or several Parquet files, read in one way for all that needs them."""

import csv
import functools
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import compress, islice
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import is_numeric_dtype, is_object_dtype, pandas_dtype

from retrain.tables import CHUNK, FileError
from retrain.tables.parts import Parts, empty
from retrain.tables.pieces import values_of
from retrain.tables.values import MISSING, key

Dtype = Any
"""A numpy dtype or one of pandas' own."""
_BLOCK = 4 * 1024**2
_DTYPES, _CSV = b"retrain.dtypes", b"retrain.csv"


def columns(path: str, named: Mapping[str, str]) -> list[str]:
    """The names of the columns; `named` are those that a key of the configuration asks for.

    FileError where the file cannot be read, lacks one of these, or has one twice.
    """
    with _readable():
        found = _header(path) if path.endswith(".csv") else Parts(path).names
    check_columns(found, named)
    return found


def check_columns(found: Sequence[str], named: Mapping[str, str]) -> None:
    """Raise FileError where a column is there twice, or one is not there that a key of the configuration asks for."""
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise FileError(f"has more than one column {', '.join(map(repr, twice))}")
    for name, option in named.items():
        if name not in found:
            raise FileError(f"has no column {name!r}, which {option} names; it has {shown(found)}")


class Table:
    """The rows of a file, or of several Parquet files, each column with one dtype from the first row to the last.

    A CSV says nothing of types, so it is read whole and typed as pandas types it. Parquet has a schema and is read in
    chunks: its memory does not grow with its rows.
    """

    def __init__(
        self, path: str, dtypes: Mapping[str, str], only: Sequence[str] | None = None, labels: Collection[str] = ()
    ) -> None:
        """Read all columns or `only` some, those in `dtypes` (promotion.dtypes) as what their text says.

        In a CSV column of `labels` only the empty field is missing: a class may be called None. FileError where the
        file cannot be read so, or a line of a CSV has not one value a column.
        """
        found = columns(path, {})
        self.columns = found if only is None else list(only)
        self.rows: int
        self._given = dtypes
        self.dtypes = _known(dtypes)
        self._csv: pd.DataFrame | None = None
        with _readable(dtypes):
            if path.endswith(".csv"):
                self._csv = _read_csv(path, found, self.dtypes, labels)
                self.rows, self.flat = len(self._csv), self.columns
                self.dtypes = dict(self._csv.dtypes)
                return
            self._parts = Parts(path)
            self._parts.examine()
            self.rows, schema = self._parts.rows, self._parts.schema
            self.flat = [name for name in self.columns if not pa.types.is_nested(schema.field(name).type)]
            self.dtypes = _dtypes(self._parts, self.columns, self.dtypes)

    def pieces(self, most: int) -> Iterator["Table"]:
        """Parts of the rows, of `most` where that is possible, which another process can read. FileError for a CSV."""
        if self._csv is not None:
            raise FileError("is a CSV, which is read whole: only Parquet files are read in pieces")
        for parts in self._parts.pieces(most):
            piece = copy(self)
            piece._parts, piece.rows = parts, parts.rows
            yield piece

    def chunks(self, size: int = CHUNK, only: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """The rows in file order, at most `size` at a time, with all columns or `only` some.

        FileError where the file can no longer be read.
        """
        names = self.columns if only is None else list(only)
        if self._csv is not None:
            for start in range(0, self.rows, size):
                yield self._csv.iloc[start : start + size][names]
            return
        with _readable(self._given):
            for batch in self._parts.batches(size, names):
                yield framed(batch, {name: self.dtypes[name] for name in names})

    def portions(self, names: Sequence[str], size: int = CHUNK) -> Iterator[tuple[pd.DataFrame, Any]]:
        """The chunks with all columns, each with the columns `names` as Arrow, of which `as_sent` makes the same."""
        described = _described({name: self.dtypes[name] for name in names}, csv=self._csv is not None)
        if self._csv is not None:
            with _readable(self._given):
                sent = pa.Table.from_pandas(self._csv[list(names)], preserve_index=False)
            sent = sent.replace_schema_metadata(sent.schema.metadata | described)
            for start in range(0, self.rows, size):
                yield self._csv.iloc[start : start + size], sent.slice(start, size)
            return
        with _readable(self._given):
            for batch in self._parts.batches(size, self.columns, sparing=True):
                sent = batch.select(names)
                sent = sent.replace_schema_metadata((sent.schema.metadata or {}) | described)
                yield framed(batch, {name: self.dtypes[name] for name in self.columns}), sent


def shown(names: Sequence[str]) -> str:
    """The first names, as a list in a sentence."""
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def brief(error: BaseException) -> str:
    """Class and message of an exception, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:500]


@contextmanager
def _readable(dtypes: Mapping[str, str] = {}) -> Iterator[None]:
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        hint = f" (promotion.dtypes: {', '.join(dtypes)})" if dtypes else ""
        raise FileError(f"cannot be read: {brief(error)}{hint}") from error


def _known(dtypes: Mapping[str, str]) -> dict[str, Dtype]:
    """The dtypes that promotion.dtypes gives. FileError where pandas does not know one."""
    known = {}
    for name, text in dtypes.items():
        try:
            known[name] = pandas_dtype(text)
        except Exception as error:
            problem = f"cannot be read: promotion.dtypes gives {name!r} the dtype {text!r}, which pandas does not know"
            raise FileError(problem) from error
    return known


def _header(path: str) -> list[str]:
    """The names in the first line that is not blank; a column without one is called what pandas calls it."""
    with _records(path) as records:
        for line, names in records:
            _check_encoding(path, line)
            return [name or f"Unnamed: {number}" for number, name in enumerate(names)]
    raise FileError("is empty: it has no header line")


@contextmanager
def _records(path: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """The records of a CSV, each with the number of its first line; blank lines are none, as for pandas."""
    csv.field_size_limit(sys.maxsize)
    with Path(path).open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)

        def numbered() -> Iterator[tuple[int, list[str]]]:
            line = 1
            for record in reader:
                if len(record) > 1 or "".join(record).strip():
                    yield line, record
                line = reader.line_num + 1

        yield numbered()


def _check_encoding(path: str, first: int | None = None) -> None:
    """FileError where one of all or the `first` lines of a CSV is not UTF-8; in these a zero byte tells UTF-16."""
    with Path(path).open("rb") as file:
        for number, line in enumerate(islice(file, first), 1):
            if line.decode(errors="ignore").encode() != line or (first and b"\0" in line):
                raise FileError(f"is not UTF-8 (line {number}): save it as UTF-8")


def _read_csv(path: str, names: list[str], dtypes: Mapping[str, Dtype], labels: Collection[str]) -> pd.DataFrame:
    # pandas would take the first value of too many for a row name, and fill up where there are too few.
    _check_lengths(path, len(names), 2)
    missing = {name: [""] if name in labels else list(MISSING) for name in names}
    try:
        # Without low_memory=False pandas would infer dtypes for pieces of the file; with usecols it would not see that
        # a line has too many values.
        frame = pd.read_csv(path, dtype=dict(dtypes), low_memory=False, na_values=missing, keep_default_na=False)
    except (pd.errors.ParserError, UnicodeDecodeError):
        _check_encoding(path)
        _check_lengths(path, len(names))
        raise
    if frame.iloc[:, -1].hasnans:
        _check_lengths(path, len(names))
    if _may_span_lines(path):
        _check_quotes(path, frame)
    _check_headers(path, frame)
    return frame


def _check_headers(path: str, frame: pd.DataFrame) -> None:
    """FileError where a row has the names of the columns, in any order, as files that were joined have.

    It makes texts of all columns, so that no row is found again in another file.
    """
    names = {name for name in frame.columns if name not in MISSING and not name.startswith("Unnamed: ")}
    if len(names) < 2 or any(is_numeric_dtype(dtype) for dtype in frame.dtypes):
        return
    for place in np.flatnonzero(frame[min(names)].isin(names)):
        if set(frame.iloc[place].dropna()) == names:
            with _records(path) as records:
                line = next(islice(records, int(place) + 1, None))[0]
            raise FileError(
                f"has the names of its columns again, in line {line}: were files joined? Each needs the columns in the"
                " order of the first one, and no line that names them"
            )


def _may_span_lines(path: str) -> bool:
    """Whether a line of a CSV may end within quotes: between a quote and the next one."""
    is_open = 0
    # What was read a moment ago is still in memory.
    with Path(path).open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if content.find(b'"') < 0:
            return False
        for start in range(0, len(content), _BLOCK):
            block = np.frombuffer(content[start : start + _BLOCK], np.uint8)
            quotes, ends = (np.flatnonzero(block == each) for each in b'"\n')
            if ((np.searchsorted(quotes, ends) + is_open) % 2).any():
                return True
            is_open = (is_open + len(quotes)) % 2
    return False


def _check_quotes(path: str, frame: pd.DataFrame) -> None:
    """FileError where quotes hold lines that are rows themselves, or end within a value: the rows would vanish."""
    is_number = [is_numeric_dtype(dtype) for dtype in frame.dtypes]
    seen = [set() if number else set(frame.iloc[:, at]) for at, number in enumerate(is_number)]

    def is_row(line: str) -> bool:
        values = next(csv.reader([line]), [])
        if len(values) != len(seen) or len(values) == 1:
            return False
        if any(is_number):
            return not any(isinstance(key(value), str) for value in compress(values, is_number))
        return any(value in known for value, known in zip(values, seen, strict=True))

    lines: list[str] = []

    def kept(line: str) -> str:
        lines.append(line)
        return line

    with Path(path).open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for _ in (reader := csv.reader(map(kept, file))):
            inner, record = [line for line in lines[1:-1] if line.strip()], "".join(lines).rstrip("\r\n").encode()
            hides_rows = 2 * sum(map(is_row, inner)) > len(inner)
            if len(lines) > 1 and (hides_rows or values_of(record) is None):
                first = reader.line_num - len(lines) + 1
                raise FileError(
                    f"has a stray quote in line {first}: all up to line {reader.line_num} would be one row. Remove the"
                    " quote, or double it and quote its value"
                )
            lines.clear()


def _check_lengths(path: str, columns: int, first: int | None = None) -> None:
    """FileError where one of all or the `first` lines of a CSV has more or fewer values than there are columns."""
    with _records(path) as records:
        for line, record in islice(records, first):
            if len(record) != columns:
                raise FileError(
                    f"has {len(record)} values in line {line}, but its header names {columns} columns: each value needs"
                    " its column (row names of R too: write.csv names theirs, write.table with col.names = NA)"
                )


def framed(rows: Any, dtypes: Mapping[str, Dtype]) -> pd.DataFrame:
    """Rows of Arrow as pandas has them, with these columns and dtypes."""
    frame = _named(rows.to_pandas())
    if list(frame.columns) != list(dtypes):  # asked for "a" Parquet gives "a.b", too
        frame = frame[list(dtypes)]
    other = {name: dtype for name, dtype in dtypes.items() if frame.dtypes[name] != dtype}
    return frame.astype(other) if other else frame


def as_sent(rows: Any) -> pd.DataFrame:
    """The rows of `Table.portions` with the dtypes that they had there."""
    metadata = rows.schema.metadata
    frame = framed(rows, _dtypes_in(metadata[_DTYPES]))
    if _CSV in metadata:  # pandas reads a missing value as NaN, Arrow gives None
        for name, column in frame.items():
            if is_object_dtype(column.dtype) and column.hasnans:
                frame[name] = column.where(column.notna(), np.nan)
    return frame


@functools.lru_cache(maxsize=1)
def _dtypes_in(described: bytes) -> dict[str, Dtype]:
    return dict(pa.ipc.open_stream(described).read_pandas().dtypes)


def _described(dtypes: Mapping[str, Dtype], *, csv: bool) -> dict[bytes, bytes]:
    """These dtypes, as an empty table, for the metadata of a schema."""
    empty = pa.RecordBatch.from_pandas(pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()}))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, empty.schema) as stream:
        stream.write(empty)
    return {_DTYPES: sink.getvalue().to_pybytes()} | ({_CSV: b""} if csv else {})


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = frame.columns.map(str)
    return frame


def _dtypes(parts: Parts, names: list[str], given: Mapping[str, Dtype]) -> dict[str, Dtype]:
    """The dtype of each column of Parquet files.

    It is the schema's but where chunks may differ: whole numbers and truth values with a null somewhere, dictionaries,
    and what promotion.dtypes turns into categories. Those columns are read once for it.
    """
    of_schema = dict(empty(parts.schema)[names].dtypes)
    uncertain = [
        name
        for name, dtype in of_schema.items()
        if name in given or isinstance(dtype, pd.CategoricalDtype) or (dtype.kind in "biu" and name in parts.with_nulls)
    ]
    found: dict[str, Dtype] = {}
    for batch in parts.batches(CHUNK, uncertain) if uncertain else ():
        frame = _named(batch.to_pandas())[uncertain].astype(dict(given))
        for name, dtype in frame.dtypes.items():
            found[str(name)] = _joined(found.get(str(name), dtype), dtype)
    for name, dtype in found.items():
        if name in given and isinstance(dtype, pd.CategoricalDtype):  # in the order of pandas.read_csv
            found[name] = pd.CategoricalDtype(dtype.categories.sort_values(), dtype.ordered)
    return of_schema | dict(given) | found


def _joined(one: Dtype, other: Dtype) -> Dtype:
    """The dtype that holds the values of both."""
    if isinstance(one, pd.CategoricalDtype) and isinstance(other, pd.CategoricalDtype):
        new = other.categories.difference(one.categories, sort=False)
        return one if new.empty else pd.CategoricalDtype(one.categories.append(new), one.ordered)
    if one == other:
        return one
    try:
        return np.result_type(one, other)
    except TypeError:
        return np.dtype(object)
