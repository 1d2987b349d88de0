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

from retrain.scoring.rows import are_among
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

    def where(self, mask: npt.NDArray[np.bool_]) -> "Rows":
        """These rows of them."""
        return Rows(
            self.groups[mask],
            self.triples.where(mask),
            {name: coded.where(mask) for name, coded in self.slices.items()},
        )


def keys(chunk: pd.DataFrame, column: str | None, rows: Hashes) -> Hashes:
    """The group of each row: its value in the column, else the row itself, by its hash in `rows`."""
    if column is None:
        return rows
    return np.where(chunk[column].isna(), rows, of_values(chunk[column]))


def repeated(rows: Rows) -> Rows:
    """The rows of the groups that have more than one: the other rows stand alone."""
    ordered = np.sort(rows.groups)
    return rows.where(are_among(ordered[1:][ordered[1:] == ordered[:-1]], rows.groups))


def together(rows: Rows, cells: Sequence[Sequence[Any]], most: int) -> dict[str, Any] | None:
    """How the rows of these cells fall into groups, `rows` being those in repeated ones; None where all stand alone.

    `cells` are [truth, champion, challenger, rows] each. There are `number` groups, in `discordant` of which is a row
    on which the models differ, and `together` has [i, j, n], at most `most` of them: n is the sum over groups of their
    rows in cell i times those in cell j, twice that where i < j.
    """
    if not len(rows.groups):
        return None
    from scipy import sparse  # here, as it takes a tenth of a second and few holdouts need it

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
    coded = rows.slices[column]
    return rows.where(np.array([each == value for each in coded.values], bool)[coded.codes])


def _pairs(counts: Any, alone: npt.NDArray[np.int64], most: int) -> list[list[int]]:
    """[i, j, n] of the cells that share groups; `counts` are rows by group and cell, `alone` the other rows by cell."""
    from scipy import sparse

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
