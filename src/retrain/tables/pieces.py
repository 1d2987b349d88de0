"""A CSV that grows, read piece by piece; every value is a text, so that no piece depends on another."""

import csv
import gzip
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from msgspec import Struct

from retrain.tables import FileError
from retrain.tables.listing import rotated
from retrain.tables.values import seconds

_PIECE = 4 * 1024**2
_LONGEST_LINE = 16 * _PIECE
_LONGEST_QUOTED = 64 * 1024
_REMEMBERED = 4096
_HEAD = 64 * 1024
"""Bytes by which a copy of the log is known."""
csv.field_size_limit(_LONGEST_LINE)


class Position(Struct, frozen=True):
    """How far a CSV is read: the offset behind the last complete record, the bytes before it, the header, the lines."""

    offset: int = 0
    before: bytes = b""
    columns: tuple[str, ...] = ()
    lines: int = 0

    def continues_in(self, file: BinaryIO) -> bool:
        """Whether the file still has, before the offset, what was read there: it has grown, not been rewritten."""
        file.seek(self.offset - len(self.before))
        return bool(self.columns) and file.read(len(self.before)) == self.before

    def behind(self, records: bytes, columns: tuple[str, ...]) -> "Position":
        """The position behind these records, under this header."""
        before, lines = (self.before + records)[-_REMEMBERED:], self.lines + records.count(b"\n")
        return Position(self.offset + len(records), before, columns, lines)


class Piece(Struct, frozen=True):
    """Some rows; the position behind them; for each record that is not a row, how many rows come before it.

    `problem` says in which line the first of these records is, and why it is no row.
    """

    rows: Any
    position: Position = Position()
    lost: tuple[int, ...] = ()
    problem: str = ""


def rotated_from(log: Path, file: BinaryIO) -> list[Path]:
    """The rotated files of this log, oldest first, without a copy that is being made: the log is cut after that."""
    return [path for path in rotated(log) if not _is_copy(path, log, file)]


def _is_copy(path: Path, log: Path, file: BinaryIO) -> bool:
    with suppress(FileError), opened_part(path, log, file) as other:  # what is wrong with it, is said when it is read
        begins = other.read(_HEAD)
        file.seek(0)
        return file.read(len(begins)) == begins
    return False


def begins_with_header(file: BinaryIO, names: Collection[str]) -> bool:
    """Whether the first line has all these names, so that no file before this one says what its columns are."""
    file.seek(0)
    return set(values_of(file.readline(_LONGEST_LINE).rstrip(b"\n"), "replace") or ()) >= set(names)


@contextmanager
def opened_part(path: Path, log: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """A rotated file, opened, or the log, which is open already: another file may have its name by now."""
    if path == log:
        yield file
        return
    try:
        with path.open("rb") as each:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=each)) if path.suffix == ".gz" else each
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{path.name}: {error}") from error


def appended(
    file: BinaryIO, position: Position, names: Collection[str] = (), *, ended: bool = False
) -> Iterator[Piece]:
    """The complete records behind the position. A line whose end is not yet written waits, unless the file has `ended`.

    A line that has all these `names` of columns of times, and a second name of a column, is a header wherever it
    stands: the rows behind it are under it, in whatever order it has the columns. Raises FileError.
    """
    file.seek(position.offset)
    block = b""
    while read := file.read(_PIECE):
        block += read
        end = block.rfind(b"\n") + 1
        if end == 0 and len(block) > _LONGEST_LINE:
            raise FileError(f"no line ends within {len(block)} bytes: this is not a CSV")
        lines, rest = block[:end].split(b"\n")[:-1], block[end:]
        for piece, used in _pieces(lines, position, names):
            position, lines = piece.position, lines[used:]
            yield piece
        block = b"".join(line + b"\n" for line in lines) + rest
    if ended and block:
        for piece, _ in _pieces(block.removesuffix(b"\n").split(b"\n"), position, names, ended=True):
            position = piece.position
            yield piece
    if not position.columns:
        raise FileError("it has no header line yet")


def _pieces(
    lines: Sequence[bytes], position: Position, names: Collection[str], *, ended: bool = False
) -> Iterator[tuple[Piece, int]]:
    """One piece a header, and the lines it is made of; lines at the end that may go on are left, unless it `ended`."""
    marks = [name.encode() for name in names]
    while lines:
        columns, start = position.columns, 0
        if not columns or _is_header(lines[0], marks, names, columns):
            columns, start = _names(lines[0]), 1
        headers = (at for at in range(start, len(lines)) if _is_header(lines[at], marks, names, columns))
        stop = next(headers, len(lines))
        rows, lost, used = _parse(lines[start:stop], columns, names, goes_on=stop == len(lines) and not ended)
        number = position.lines + start
        problem = f"line {number + lost[0][1] + 1} {_problem(lines[start + lost[0][1]], len(columns))}" if lost else ""
        used += start
        if not used:
            return
        position = position.behind(b"".join(line + b"\n" for line in lines[:used]), columns)
        yield Piece(rows, position, tuple(before for before, _ in lost), problem), used
        lines = lines[used:] if used == stop else ()


def _is_header(line: bytes, marks: Sequence[bytes], names: Collection[str], columns: Collection[str]) -> bool:
    if not marks or not all(mark in line for mark in marks):
        return False
    values = set(values_of(line, "replace") or ())
    return values >= set(names) and len(values & set(columns)) > 1


def _names(header: bytes) -> tuple[str, ...]:
    names = tuple(values_of(header, "replace") or ())
    if not names:
        raise FileError("the first line is empty; it must name the columns")
    return names


def values_of(record: bytes, errors: str = "strict") -> list[str] | None:
    """The values of a record, of an empty line none; None where its quotes are not closed, or stand where none may.

    None, too, where it is not UTF-8, unless `errors` are replaced: that would make one class of two.
    """
    try:
        text = record.replace(b"\0", b"").decode("utf-8-sig", errors).removesuffix("\r")
        return next(csv.reader([text], strict=True), [])
    except (csv.Error, UnicodeDecodeError):
        return None


def _problem(line: bytes, width: int) -> str:
    """Why a line is no row."""
    if values_of(line, "replace") is None:
        return "has a quote that is not closed, or that is not doubled in a text in quotes"
    values = values_of(line)
    return f"has {len(values)} values for {width} columns" if values is not None else "is not UTF-8"


def _parse(
    lines: Sequence[bytes], columns: tuple[str, ...], names: Collection[str], *, goes_on: bool
) -> tuple[Any, list[tuple[int, int]], int]:
    """The rows as a table of texts; the rows and lines before each record that is none; how many lines were used."""
    texts = b"\n".join(lines) + b"\n"
    if b'"' not in texts and b"\0" not in texts and (rows := _plain(texts, columns)) is not None:
        return rows, [], len(lines)
    if (found := _regular(lines, len(columns))) is not None:
        return _table(found, columns), [], len(lines)
    found, used, times = [], 0, [place for place, name in enumerate(columns) if name in names]
    lost: list[tuple[int, int]] = []
    while used < len(lines):
        values, length = values_of(lines[used]), 1
        if values is None and values_of(lines[used] + b'"') is not None:
            values, length = _continued(lines, used, len(columns), times, goes_on=goes_on)
        if not length:
            break
        if values is not None and len(values) == len(columns):
            found.append(values)
        elif values != []:
            lost.append((len(found), used))
        used += length
    return _table(found, columns), lost, used


def _table(rows: list[list[str]], columns: tuple[str, ...]) -> Any:
    by_column = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [pa.array([text or None for text in texts], pa.string()) for texts in by_column]
    return pa.Table.from_arrays(arrays, names=list(columns))


def _regular(lines: Sequence[bytes], width: int) -> list[list[str]] | None:
    """The values of lines that are a row each, all at once, which is ten times as fast; None where one is not."""
    try:
        texts = b"\n".join(lines).replace(b"\0", b"").decode().split("\n")
        rows = list(reader := csv.reader(texts, strict=True))
    except (csv.Error, UnicodeDecodeError):
        return None
    return rows if reader.line_num == len(rows) and all(len(row) == width for row in rows) else None


def _plain(texts: bytes, columns: tuple[str, ...]) -> Any:
    """The rows of lines without a quote; None where a line has not one text a column, or is not UTF-8."""
    types = dict.fromkeys(columns, pa.string())
    try:
        texts.decode()
        return pa.csv.read_csv(
            pa.BufferReader(texts),
            pa.csv.ReadOptions(use_threads=False, block_size=len(texts) + 1, column_names=columns),
            pa.csv.ParseOptions(quote_char=False),
            pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
        )
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None


def _continued(
    lines: Sequence[bytes], first: int, width: int, times: Sequence[int], *, goes_on: bool
) -> tuple[list[str] | None, int]:
    """The values of a record whose first line leaves a quote open, and its lines; 0 where the rest is yet to come.

    Where a line that would be inside the quotes is a record of its own, with times at these places, the quote is a
    stray one: only its own line is malformed. A line with one quote more ends the quotes.
    """
    record = lines[first]
    for number in range(first + 1, len(lines)):  # no copy of the rest, which may be long
        record += b"\n" + (line := lines[number])
        inner = (values_of(line) if line.count(b'"') % 2 == 0 else None) or ()
        is_row = len(inner) == width and all(_is_time(inner[place]) for place in times)
        if is_row or len(record) > _LONGEST_QUOTED:
            return None, 1
        if b'"' in line and (values := values_of(record)) is not None:
            return (values, number + 1 - first) if len(values) == width else (None, 1)
        if b'"' in line and values_of(record + b'"') is None:  # no line that follows mends what is wrong
            return None, 1
    return None, 0 if goes_on and len(record) <= _LONGEST_QUOTED else 1


def _is_time(text: str) -> bool:
    """Whether a value is a time; what begins like none is not given to pandas, which takes long for each."""
    return bool(re.match(r"\s*[-+.\d]", text) and np.isfinite(seconds(pd.Series([text])))[0])
