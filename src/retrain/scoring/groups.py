"""Rows that belong together, being of one group or copies of one row: how often two cells of the tally share a group.

An error that allows for groups needs the sum over groups of (sum over rows of psi)², psi being a number a cell. That is
a sum over pairs of cells of psi·psi times how often they share a group: as small as the tally, whatever the groups.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec import Struct
from scipy import sparse

from retrain.tables.hashing import Hashes, of_values

MOST_PAIRS = 100_000
"""Pairs of cells in an answer, those of the tally and of all slices together."""
_MOST_PRODUCTS = 5_000_000
"""Pairs of cells that are computed before equal ones are added."""

Codes = npt.NDArray[np.uint32]


class Coded(Struct, frozen=True):
    """A value a row: a number for each, and the values that the numbers stand for."""

    codes: Codes
    values: tuple[Any, ...]

    @classmethod
    def of(cls, values: Sequence[Hashable]) -> "Coded":
        """The values of some rows."""
        known: dict[Hashable, int] = {}
        codes = np.fromiter((known.setdefault(value, len(known)) for value in values), np.uint32, len(values))
        return cls(codes, tuple(known))


class Rows(Struct, frozen=True):
    """Some rows: the group of each as a hash, what the models made of it, its value in each slice column.

    That takes 12 bytes a row, and 4 for each slice column.
    """

    groups: Hashes
    triples: Coded
    slices: Mapping[str, Coded]

    @classmethod
    def of(cls, groups: Hashes, triples: Sequence[Hashable], slices: Mapping[str, Sequence[Hashable]]) -> "Rows":
        """The rows of a chunk."""
        return cls(groups, Coded.of(triples), {column: Coded.of(values) for column, values in slices.items()})


def keys(chunk: pd.DataFrame, column: str | None, rows: Hashes) -> Hashes:
    """The group of each row: its value in the column, else the row itself, by its hash in `rows`."""
    if column is None:
        return rows
    return np.where(chunk[column].isna(), rows, of_values(chunk[column]))


def repeated(parts: Sequence[Rows]) -> Rows:
    """The rows of the groups that have more than one, each group now a number from 0: the other rows stand alone."""
    ordered = np.sort(np.concatenate([part.groups for part in parts]))
    known = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    found = [np.isin(part.groups, known) for part in parts]
    groups = [np.searchsorted(known, part.groups[mask]) for part, mask in zip(parts, found, strict=True)]
    return Rows(
        np.concatenate(groups).astype(np.uint64),
        _joined([part.triples for part in parts], found),
        {name: _joined([part.slices[name] for part in parts], found) for name in parts[0].slices},
    )


def together(rows: Rows, cells: Sequence[Sequence[Any]], most: int) -> dict[str, Any] | None:
    """How the rows of these cells fall into groups, `rows` being those in repeated ones; None where all stand alone.

    `cells` are [truth, champion, challenger, rows] each. There are `number` groups, in `discordant` of which is a row
    on which the models differ, and `together` has [i, j, n], at most `most` of them: n is the sum over groups of their
    rows in cell i times those in cell j, twice that where i < j.
    """
    if not len(rows.groups):
        return None
    places = {tuple(cell[:3]): place for place, cell in enumerate(cells)}
    columns = np.array([places.get(triple, -1) for triple in rows.triples.values])[rows.triples.codes]
    _, lines = np.unique(rows.groups, return_inverse=True)
    counts = sparse.coo_matrix((np.ones(len(lines), np.int64), (lines, columns)), (lines.max() + 1, len(cells))).tocsr()
    alone = np.array([cell[3] for cell in cells]) - np.asarray(counts.sum(axis=0)).ravel()
    differ = np.array([cell[1] != cell[2] for cell in cells])
    return {
        "number": int(counts.shape[0] + alone.sum()),
        "discordant": int(np.count_nonzero(counts @ differ) + alone[differ].sum()),
        "together": _pairs(counts, alone, most),
    }


def of_slice(rows: Rows, column: str, value: Any) -> Rows:
    """Those of the rows that have this value in the column."""
    of_column = rows.slices[column]
    mask = np.array([each == value for each in of_column.values], bool)[of_column.codes]
    return Rows(rows.groups[mask], Coded(rows.triples.codes[mask], rows.triples.values), {})


def _pairs(counts: Any, alone: npt.NDArray[np.int64], most: int) -> list[list[int]]:
    """[i, j, n] of the cells that share groups; `counts` are rows by group and cell, `alone` the other rows by cell."""
    products = min(counts.shape[1] ** 2, int((np.diff(counts.indptr).astype(np.int64) ** 2).sum()))
    if products <= _MOST_PRODUCTS:
        half = sparse.triu(counts.T @ counts + sparse.diags(alone, dtype=np.int64)).tocoo()
        pairs = zip(half.row.tolist(), half.col.tolist(), half.data.tolist(), strict=True)
        found = [[i, j, n * (1 + (i < j))] for i, j, n in pairs if n]
        if len(found) <= most:
            return sorted(found)
    # (sum of psi)² is at most rows · sum of psi², as if the rows of a group were copies: the error is not too small.
    sizes = np.asarray(counts.sum(axis=1)).ravel()
    return [[place, place, int(n)] for place, n in enumerate(counts.T @ sizes + alone) if n]


def _joined(parts: Sequence[Coded], found: Sequence[npt.NDArray[np.bool_]]) -> Coded:
    """The values of the rows that were found in the parts."""
    known: dict[Hashable, int] = {}
    codes = []
    for part, mask in zip(parts, found, strict=True):
        renamed = np.array([known.setdefault(value, len(known)) for value in part.values], np.uint32)
        codes.append(renamed[part.codes[mask]])
    return Coded(np.concatenate(codes), tuple(known))
