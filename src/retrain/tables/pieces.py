"""A CSV that grows, read piece by piece; every value is a text, so that no piece depends on another."""

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
from msgspec import Struct

from retrain.tables import FileError
from retrain.tables.values import MISSING

_PIECE = 4 * 1024**2
_LONGEST_LINE = 16 * _PIECE
_LONGEST_QUOTED = 64 * 1024
_REMEMBERED = 4096


class Position(Struct, frozen=True):
    """How far a CSV has been read: the offset behind the last complete record, the bytes before it, the header."""

    offset: int = 0
    before: bytes = b""
    columns: tuple[str, ...] = ()

    def continues_in(self, file: BinaryIO) -> bool:
        """Whether the file still has, before the offset, what was read there: it has grown, not been rewritten."""
        file.seek(self.offset - len(self.before))
        return bool(self.columns) and file.read(len(self.before)) == self.before


class Piece(Struct, frozen=True):
    """Some rows; the position behind them; the number of records that are not a row."""

    rows: Any
    position: Position = Position()
    malformed: int = 0


def appended(file: BinaryIO, position: Position) -> Iterator[Piece]:
    """The complete records behind the position. A line whose end is not yet written waits. Raises FileError."""
    file.seek(position.offset)
    block = b""
    while read := file.read(_PIECE):
        block += read
        end = complete(block)
        if end == 0 and len(block) > _LONGEST_LINE:
            raise FileError(f"no line ends within {len(block)} bytes: this is not a CSV")
        if end == 0:
            continue
        records, block = block[:end], block[end:]
        before = (position.before + records)[-_REMEMBERED:]
        header = records.partition(b"\n")[0] if not position.columns else b""
        position = Position(position.offset + end, before, position.columns or _names(header))
        rows, malformed = _parse(records, position.columns, 1 if header else 0)
        yield Piece(rows, position, malformed)
    if not position.columns:
        raise FileError("it has no header line yet")


def complete(block: bytes) -> int:
    """The length of the complete records; a line end inside a quoted text ends none, unless the text is endless."""
    last = end = block.rfind(b"\n") + 1
    inside = block.count(b'"', 0, end) % 2
    while inside:
        start = block.rfind(b"\n", 0, end - 1) + 1
        inside ^= block.count(b'"', start, end) % 2
        end = start
    return end if last - end <= _LONGEST_QUOTED else last


def _names(header: bytes) -> tuple[str, ...]:
    names = tuple(next(csv.reader([header.decode("utf-8-sig", "replace").rstrip("\r")]), ()))
    if not names:
        raise FileError("the first line is empty; it must name the columns")
    return names


def _parse(records: bytes, columns: tuple[str, ...], header_lines: int) -> tuple[Any, int]:
    """The rows as a table of texts, and the number of records that have not one text a column."""
    malformed: list[Any] = []

    def skip(record: Any) -> str:
        malformed.append(record.text)
        return "skip"

    texts = records.decode("utf-8", "replace").encode()
    rows = pa.csv.read_csv(
        pa.BufferReader(texts),
        pa.csv.ReadOptions(use_threads=False, block_size=len(texts) + 1, column_names=columns, skip_rows=header_lines),
        pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), null_values=list(MISSING), strings_can_be_null=True
        ),
    )
    return rows, len(malformed)
