"""Rows that belong together, being of one group or copies of one row: how often two cells of the tally share a group.

An error that allows for groups needs the sum over groups of (sum over rows of psi)², psi being a number a cell. That is
a sum over pairs of cells of psi·psi times how often they share a group: as small as the tally, whatever the groups.
It is also a sum over shards of the rows, where all rows of a group are in one shard.
"""

import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import Struct

from retrain.scoring.rows import are_among
from retrain.tables import FileError
from retrain.tables.hashing import Hashes, of_values

MOST_PAIRS = 100_000
"""Pairs of cells in an answer, those of the tally and of all slices together."""
_MOST_PRODUCTS = 5_000_000
"""Pairs of cells that are computed before equal ones are added."""
MOST_IN_MEMORY = 1_000_000
"""Rows whose groups are counted at once, at 50 bytes a row; more are kept in a file, and counted shard by shard."""
_SHARDS = 64

Codes = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.int64]
Cells = Sequence[Sequence[Any]]


class Coded(Struct, frozen=True):
    """A value a row: a number for each, and the values that the numbers stand for."""

    codes: Codes
    values: tuple[Any, ...]

    @classmethod
    def of(cls, values: Sequence[Hashable], codes: npt.NDArray[Any] | None = None) -> "Coded":
        """These values, one a row; where there are codes, a row has the value at its code."""
        known: dict[Hashable, int] = {}
        own = np.fromiter((known.setdefault(value, len(known)) for value in values), np.uint32, len(values))
        return cls(own if codes is None else own[codes], tuple(known))

    @classmethod
    def joint(cls, *columns: "Coded") -> "Coded":
        """The values of a row in all of these columns, as one tuple."""
        shape = [len(column.values) for column in columns]
        found, codes = np.unique(np.ravel_multi_index([c.codes for c in columns], shape), return_inverse=True)
        places = zip(columns, np.unravel_index(found, shape), strict=True)
        values = ([column.values[place] for place in at.tolist()] for column, at in places)
        return cls(codes.astype(np.uint32), tuple(zip(*values, strict=True)))

    @classmethod
    def joined(cls, parts: Sequence["Coded"]) -> "Coded":
        """The rows of all parts, one after the other."""
        first = np.cumsum([0, *(len(part.values) for part in parts)])
        codes = np.concatenate([part.codes + start for part, start in zip(parts, first, strict=False)])
        return cls.of([value for part in parts for value in part.values], codes)

    def where(self, mask: npt.NDArray[np.bool_]) -> "Coded":
        """These rows of them."""
        return Coded(self.codes[mask], self.values)

    @property
    def counts(self) -> dict[Any, int]:
        """The rows of each value."""
        return dict(zip(self.values, np.bincount(self.codes, minlength=len(self.values)).tolist(), strict=True))


class Rows(Struct, frozen=True):
    """Some rows: the group of each as a hash, what the models made of it, its value in each slice column.

    That takes 12 bytes a row, and 4 for each slice column.
    """

    groups: Hashes
    triples: Coded
    slices: Mapping[str, Coded]

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """The rows of all parts, one after the other."""
        return cls(
            np.concatenate([part.groups for part in parts]),
            Coded.joined([part.triples for part in parts]),
            {name: Coded.joined([part.slices[name] for part in parts]) for name in parts[0].slices},
        )

    def shards(self, number: int) -> list["Rows"]:
        """These rows in so many shards."""
        shard = _of_shard(self, number)
        return [self.where(shard == each) for each in range(number)]

    def where(self, mask: npt.NDArray[np.bool_]) -> "Rows":
        """These rows of them."""
        return Rows(
            self.groups[mask],
            self.triples.where(mask),
            {name: coded.where(mask) for name, coded in self.slices.items()},
        )


def _of_shard(rows: Rows, number: int) -> npt.NDArray[np.intp]:
    """The shard of each row, of so many."""
    return (rows.groups % np.uint64(number)).astype(np.intp)


def keys(chunk: pd.DataFrame, column: str | None, rows: Hashes) -> Hashes:
    """The group of each row: its value in the column, else the row itself, by its hash in `rows`."""
    if column is None:
        return rows
    return np.where(chunk[column].isna(), rows, of_values(chunk[column]))


def repeated(rows: Rows) -> Rows:
    """The rows of the groups that have more than one: the other rows stand alone."""
    ordered = np.sort(rows.groups)
    return rows.where(are_among(ordered[1:][ordered[1:] == ordered[:-1]], rows.groups))


class Tied(Struct, frozen=True):
    """How rows fall into groups that have more than one, those of all shards being a sum.

    There are `number` such groups, in `discordant` of which is a row on which the models differ. Of each cell: how many
    rows are in such groups (`inside`), and the sum over them of the sizes of their groups (`alike`). `pairs` are, for
    cells i ≤ j, the sums over groups of the rows in cell i times those in cell j; they need so many `products`, and are
    left out where these are too many.
    """

    number: int
    discordant: int
    inside: Counts
    alike: Counts
    products: int = 0
    pairs: Any = 0

    def __add__(self, other: "Tied") -> "Tied":
        fields = ("number", "discordant", "inside", "alike", "products", "pairs")
        return Tied(*(getattr(self, name) + getattr(other, name) for name in fields))


Tie = Callable[[Cells, Cells], list[Tied]]
"""Says of cells, and of slices [column, value, cells], how their rows fall into groups: of all, and of each slice."""


def tie(rows: Rows, cells: Cells, slices: Cells) -> list[Tied]:
    """How the rows of a shard fall into groups: all of them, and those of each slice [column, value, cells]."""
    found = repeated(rows)
    parts = ((of_slice(found, column, value), its) for column, value, its in slices)
    return [_tied(found, cells), *(_tied(part, its) for part, its in parts)]


def total(shards: Iterable[list[Tied]]) -> list[Tied]:
    """What was said of each shard, for all of them together."""
    return [reduce(add, each) for each in zip(*shards, strict=True)]


def _tied(rows: Rows, cells: Cells) -> Tied:
    """How these rows, being in repeated groups, fall into them by cell: [truth, champion, challenger, rows] each."""
    if not len(rows.groups):
        return Tied(0, 0, np.zeros(len(cells), np.int64), np.zeros(len(cells), np.int64))
    from scipy import sparse  # here, as it takes a tenth of a second and few holdouts need it

    places = {tuple(cell[:3]): place for place, cell in enumerate(cells)}
    columns = np.array([places.get(triple, -1) for triple in rows.triples.values])[rows.triples.codes]
    _, lines = np.unique(rows.groups, return_inverse=True)
    counts = sparse.coo_matrix((np.ones(len(lines), np.int64), (lines, columns)), (lines.max() + 1, len(cells))).tocsr()
    differ = np.array([cell[1] != cell[2] for cell in cells])
    products = int((np.diff(counts.indptr).astype(np.int64) ** 2).sum())
    sizes = np.asarray(counts.sum(axis=1)).ravel()
    return Tied(
        number=counts.shape[0],
        discordant=int(np.count_nonzero(counts @ differ)),
        inside=np.asarray(counts.sum(axis=0)).ravel(),
        alike=counts.T @ sizes,
        products=products,
        pairs=sparse.triu(counts.T @ counts) if min(len(cells) ** 2, products) <= _MOST_PRODUCTS else 0,
    )


def together(tied: Tied, cells: Cells, most: int) -> dict[str, Any] | None:
    """How the rows of these cells, [truth, champion, challenger, rows] each, fall into groups; None: all stand alone.

    There are `number` groups, in `discordant` of which is a row on which the models differ, and `together` has
    [i, j, n], at most `most` of them: n is the sum over groups of their rows in cell i times those in cell j, twice
    that where i < j.
    """
    if not tied.number:
        return None
    alone = np.array([cell[3] for cell in cells]) - tied.inside
    differ = np.array([cell[1] != cell[2] for cell in cells])
    return {
        "number": int(tied.number + alone.sum()),
        "discordant": int(tied.discordant + alone[differ].sum()),
        "together": _pairs(tied, alone, most),
    }


def of_slice(rows: Rows, column: str, value: Any) -> Rows:
    """Those of the rows that have this value in the column."""
    coded = rows.slices[column]
    return rows.where(np.array([each == value for each in coded.values], bool)[coded.codes])


def _pairs(tied: Tied, alone: Counts, most: int) -> list[list[int]]:
    """[i, j, n] of the cells that share groups; `alone` are the rows of each cell that share none."""
    from scipy import sparse

    if min(len(alone) ** 2, tied.products) <= _MOST_PRODUCTS:
        half = (tied.pairs + sparse.diags(alone, dtype=np.int64)).tocoo()
        pairs = zip(half.row.tolist(), half.col.tolist(), half.data.tolist(), strict=True)
        found = [[i, j, n * (1 + (i < j))] for i, j, n in pairs if n]
        if len(found) <= most:
            return sorted(found)
    # (sum of psi)² is at most rows · sum of psi², as if the rows of a group were copies: the error is not too small.
    return [[place, place, int(n)] for place, n in enumerate(tied.alike + alone) if n]


class Kept:
    """Rows, kept until their groups are counted: in memory, or where they are many in a file that has no name."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._rows: list[Rows] = []
        self._file: IO[bytes] | None = None
        self._known: dict[int, dict[Hashable, int]] = {}
        self._blocks: list[npt.NDArray[np.intp]] = []
        self._names: list[str] = []
        self._type: Any = None

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, rows: Rows) -> None:
        """Keep some. FileError where the disk is full."""
        self._rows.append(rows)
        if self._file is None and sum(len(each.groups) for each in self._rows) <= MOST_IN_MEMORY:
            return
        self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115 (closed with this)
        for each in self._rows:
            self._write(self._file, each)
        self._rows = []

    def _write(self, file: IO[bytes], rows: Rows) -> None:
        """Write rows as a block, those of a shard together."""
        columns = [rows.triples, *rows.slices.values()]
        block = np.empty(len(rows.groups), [("group", "<u8"), *((str(place), "<u4") for place in range(len(columns)))])
        block["group"] = rows.groups
        for place, coded in enumerate(columns):
            known = self._known.setdefault(place, {})
            own = [known.setdefault(value, len(known)) for value in coded.values]
            block[str(place)] = np.array(own, np.uint32)[coded.codes]
        shard = _of_shard(rows, _SHARDS)
        try:
            file.write(block[np.argsort(shard, kind="stable")].tobytes())
        except OSError as error:
            where, size = tempfile.gettempdir(), block.dtype.itemsize
            raise FileError(f"needs {size} bytes a row in {where} to be counted: {error.strerror}") from error
        self._blocks.append(np.bincount(shard, minlength=_SHARDS))
        self._names, self._type = list(rows.slices), block.dtype

    def tied(self, cells: Cells, slices: Cells) -> list[Tied]:
        """How all rows fall into groups, and those of each slice."""
        return total(tie(shard, cells, slices) for shard in self.shards())

    def shards(self) -> Iterator[Rows]:
        """The rows, all those of a group in one shard."""
        if self._file is None:
            yield Rows.joined(self._rows)
            return
        counts = np.array(self._blocks)
        starts = counts.cumsum().reshape(counts.shape) - counts
        for shard in range(_SHARDS):
            pieces = []
            for start, count in zip(starts[:, shard].tolist(), counts[:, shard].tolist(), strict=True):
                self._file.seek(start * self._type.itemsize)
                pieces.append(np.frombuffer(self._file.read(count * self._type.itemsize), self._type))
            rows = np.concatenate(pieces)
            triples, *slices = (
                Coded(np.ascontiguousarray(rows[str(place)]), tuple(known)) for place, known in self._known.items()
            )
            yield Rows(np.ascontiguousarray(rows["group"]), triples, dict(zip(self._names, slices, strict=True)))
