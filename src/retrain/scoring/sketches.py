"""Sketches of a holdout: by which it is known again, with other columns, dtypes and decimals.

A row is known by the target and the columns that two holdouts both have, and by numbers of as many decimals as both
have. What a later holdout will have is not known, so a holdout is sketched by all its columns, by all but some, and
with its numbers rounded; and by the keys of earlier holdouts.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_integer_dtype, is_numeric_dtype

from retrain.core.judge import SKETCH
from retrain.scoring.plan import Comparison, Key
from retrain.scoring.rows import DISTINCT, UNNAMED
from retrain.tables.hashing import Hashes, alike, alike_numbers, combined, smallest
from retrain.tables.read import Table
from retrain.tables.values import Codes, Floats, distinct

Sketches = Mapping[Key, Hashes]

DECIMALS = (3, 2, 1, 0)
_BLOCKS = 4
"""So many keys leave out some of the columns each, and every column is left out by one of them."""
_STEPS, _MOST_STEPS = 1024, 2**52
"""A table of rounded numbers begins and ends at multiples of the first; from the second on floats do not count."""
_COUNTED = 65_536
"""Hashes that are kept until the end: they say within half a per cent how many rows differ."""


def keys(plan: Comparison, table: Table) -> list[Key]:
    """The keys that this holdout is sketched by: its own, that of all its columns first, then those asked for."""
    features = sorted(name for name in table.columns if name != plan.target and not UNNAMED.fullmatch(name))
    counting = _counting(table, plan.chunk)
    own = [((*features, plan.target), None), *_own([name for name in features if name not in counting], plan.target)]
    asked = ((tuple(names), decimals) for names, decimals in plan.keys if set(names) <= set(table.columns))
    return list(dict.fromkeys([*own, *asked]))


def of_chunk(keys: Sequence[Key], chunk: pd.DataFrame, before: Sketches) -> Sketches:
    """The sketches of one chunk, but for what none of the chunks would keep, as the sketches `before` it show."""
    at = {name: functools.cache(_hashes(chunk[name])) for name in {name for names, _ in keys for name in names}}
    limits = {key: its[-1] for key, its in before.items() if len(its) == _COUNTED}
    found = {key: combined([at[name](key[1]) for name in sorted(key[0])]) for key in keys}
    kept = {key: np.sort(its[its < limits.get(key, np.inf)]) for key, its in found.items()}  # faster than if stable
    return {key: smallest(its, _COUNTED) for key, its in kept.items()}


def _hashes(column: "pd.Series[Any]") -> Callable[[int | None], Hashes]:
    """The hashes of the values of a column at so many decimals."""
    if not is_numeric_dtype(column.dtype):  # each different value is read once
        codes, values = distinct(column)
        different = pd.Series([*values, None], dtype=object)  # a missing value has the code -1
        return lambda decimals: pd.util.hash_array(alike(different, decimals))[codes]
    exact: Hashes = pd.util.hash_array(alike(column))
    numbers = column.to_numpy("float64", na_value=np.nan)
    if (np.isnan(numbers) | (numbers == np.floor(numbers))).all():  # no rounding changes these
        return lambda decimals: exact
    least, most = float(numbers.min()), float(numbers.max())
    return lambda decimals: exact if decimals is None else _rounded(numbers, decimals, least, most)


def _rounded(numbers: Floats, decimals: int, least: float, most: float) -> Hashes:
    """The hashes of rounded numbers; where few of these differ, each is hashed once."""
    factor = 10.0**decimals
    if (most - least) * factor < len(numbers) and abs(least) * factor < _MOST_STEPS:  # and so none is missing
        steps = numbers * factor
        np.rint(steps, out=steps)  # as numpy.round begins
        first, last = (math.floor(each * factor / _STEPS) * _STEPS for each in (least, most))
        steps -= first
        places: Codes = steps.astype(np.intp)
        return _of_steps(first, last + _STEPS, decimals)[places]
    return pd.util.hash_array(alike_numbers(numbers, decimals))


@functools.lru_cache(maxsize=64)
def _of_steps(first: int, last: int, decimals: int) -> Hashes:
    """The hashes of the rounded numbers from the first to the last, in steps of the last decimal."""
    return pd.util.hash_array(alike_numbers(np.arange(first, last + 1) / 10.0**decimals))


def joined(one: Sketches, other: Sketches) -> Sketches:
    """The sketches of both, by the same keys."""
    return {key: smallest(np.concatenate([one[key], hashes]), _COUNTED) for key, hashes in other.items()}


def listed(plan: Comparison, sketches: Sketches) -> list[dict[str, Any]]:
    """The sketches that say enough: that by all columns, and those by which nearly as many rows differ."""
    found: list[dict[str, Any]] = []
    asked, seen = {(tuple(names), decimals) for names, decimals in plan.keys}, set[tuple[int, ...]]()
    rows = max(map(_distinct, sketches.values()), default=0)
    for key, kept in sketches.items():
        hashes = tuple(kept[:SKETCH].tolist())
        tells_apart = not found or _distinct(kept) >= DISTINCT * rows
        if tells_apart and (key in asked or hashes not in seen):
            found.append({"columns": key[0], "decimals": key[1], "hashes": hashes})
        seen.add(hashes)
    return found


def _own(names: Sequence[str], target: str) -> Iterator[Key]:
    """All these columns, with decimals and without, and all but some."""
    if not names:
        return
    every = (*names, target)
    yield every, None
    yield from ((every, decimals) for decimals in DECIMALS)
    for block in range(_BLOCKS):
        left = [name for place, name in enumerate(names) if place % _BLOCKS != block]
        if 1 < len(left) < len(names):
            yield (*left, target), None


def _counting(table: Table, chunk: int) -> set[str]:
    """The columns that may only number the rows of the file: whole numbers, as many from least to most as rows."""
    names = [name for name in table.columns if is_integer_dtype(table.dtypes[name])]
    ends = [part.agg(["min", "max"]) for part in table.chunks(chunk, names)] if names else []
    return {name for name in names if np.ptp([end[name] for end in ends]) == table.rows - 1}


def _distinct(kept: Hashes) -> float:
    """How many rows differ: exact where all hashes are kept, else from how small they are (Bar-Yossef et al. 2002)."""
    return len(kept) if len(kept) < _COUNTED else (len(kept) - 1) * 2.0**64 / float(kept[-1])
