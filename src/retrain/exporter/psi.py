"""The population stability index: how far a feature has moved from its reference, and how far chance moves it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from msgspec import Struct
from numpy.typing import NDArray
from pandas.api.types import is_object_dtype, is_string_dtype

from retrain.tables.values import Floats, key, round_all

_NUMERIC = {"integer", "floating", "mixed-integer-float", "decimal"}
_NEARLY = 0.9
"""With more numbers among its values than this share, a column is one of numbers."""


class Shift(Struct, frozen=True):
    """How far a feature has moved (`psi`), and what chance alone exceeds with the probability asked for (`floor`)."""

    psi: float
    floor: float

    def exceeds(self, threshold: float) -> bool:
        """Whether it is drift: above the threshold, and more than chance explains."""
        return self.psi > max(threshold, self.floor)


def shift(reference: "pd.Series[Any]", window: "pd.Series[Any]", bins: int, chance: float | None = None) -> Shift:
    """The shift of one feature; its floor is 0 where no chance (a probability) is given.

    The index is the sum of (p − q)·ln(p / q) over the bins, in nats; p and q are the shares of the window's and of the
    reference's rows in a bin, half a row added to each. Without drift it is, over 1/n + 1/m for n and m rows, about
    chi-square distributed with (occupied bins − 1) degrees of freedom.
    Source: Yurdakul 2018, Statistical Properties of Population Stability Index.
    """
    from scipy.stats import chi2

    counts = _counts(reference, window, bins)
    freedom, noise = counts.shape[1] - 1, float((1 / counts.sum(axis=1)).sum())
    floor = float(chi2.isf(chance, freedom)) * noise if chance is not None and freedom > 0 else 0.0
    q, p = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return Shift(float(np.sum((p - q) * np.log(p / q))), floor)


def _counts(reference: "pd.Series[Any]", window: "pd.Series[Any]", bins: int) -> NDArray[np.int64]:
    """Rows of the reference and of the window (first axis) in each bin that is occupied.

    A number with more than `bins` distinct values gets up to `bins` quantile bins of the reference, open-ended
    outside, and a value that spans whole bins one of its own; what is no number there is one more bin. Anything else
    gets one bin for each of the `bins − 1` most frequent values of the reference and one for all others. Missing
    values are a bin. A bin that is empty on both sides is none. The reference decides: a column is one of numbers where
    nearly all its values are numbers, also as texts. The window may hold the same as text.
    """
    is_typed = pd.api.types.infer_dtype(reference, skipna=True) in _NUMERIC
    keys = None if is_typed else _keys(reference)
    if keys is None or _nearly_numbers(reference.dtype, keys):
        old, new = _numbers(reference, window)
        known = old[~np.isnan(old)]
        if len(np.unique(known)) > bins:
            sides = (reference, old), (window, new)
            codes = (np.where(_words(*side), 0, _quantile_codes(known, side[1], bins) + 1) for side in sides)
            return _occupied(*codes)
        if keys is None:
            return _of_values(pd.Series(old), pd.Series(new), bins)
    return _of_values(keys, _keys(window), bins)


def _nearly_numbers(dtype: Any, keys: "pd.Series[Any]") -> bool:
    """Whether a column of texts, or of texts and numbers, has nearly only numbers, by its keys."""
    if not (is_object_dtype(dtype) or is_string_dtype(dtype)) or isinstance(dtype, pd.CategoricalDtype):
        return False  # such as moments, which pandas would count in nanoseconds
    return bool(pd.to_numeric(keys.dropna(), errors="coerce").notna().mean() > _NEARLY)


def _words(side: "pd.Series[Any]", numbers: Floats) -> NDArray[np.bool_]:
    """Whether each value is there and is none of the numbers that the column has."""
    words = np.isnan(numbers) & side.notna().to_numpy()
    words[words] = _keys(side[words]).notna()
    return words


def _occupied(old: NDArray[np.int64], new: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of both sides by code, without the codes that none has."""
    width = int(max(old.max(initial=0), new.max(initial=0))) + 1
    counts = np.stack([np.bincount(codes, minlength=width) for codes in (old, new)])
    return counts[:, counts.sum(axis=0) > 0]


def _of_values(old: "pd.Series[Any]", new: "pd.Series[Any]", bins: int) -> NDArray[np.int64]:
    """The rows of both sides with one bin a value: 0 for missing, 1 for other, then the most frequent ones."""
    counts = old.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    own = counts.index[: bins - 1]
    codes = (np.where(side.isna(), 0, own.get_indexer(pd.Index(side)) + 2) for side in (old, new))
    return _occupied(*codes)


def _quantile_codes(known: Floats, values: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of every value: 2i + 1 between edges i − 1 and i, 2i + 2 on an edge with its own bin, 0 for missing.

    Bins are closed above. An edge that several quantiles share would swallow their bins, and with them any
    move away from it (a pixel that is nearly always 255), so it is a bin by itself.
    """
    quantiles = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    edges, shares = np.unique(quantiles, return_counts=True)
    below, upto = np.searchsorted(edges, values, "left"), np.searchsorted(edges, values, "right")
    own = np.append(shares > 1, False)
    return np.where(np.isnan(values), 0, 2 * below + 1 + ((upto > below) & own[below]))


def _numbers(*sides: "pd.Series[Any]") -> tuple[Floats, ...]:
    """Both sides at the coarser one's precision: 0.1 must equal itself, once as float32 and once as text.

    A text may have the digits of either, so all are 32-bit floats where the first side has as many values then.
    """
    numbers = [_numeric(side).to_numpy(dtype=np.float64, na_value=np.nan) for side in sides]
    floats = (side.dtype for side in sides if isinstance(side.dtype, np.dtype) and side.dtype.kind == "f")
    precision = min(floats, key=lambda dtype: dtype.itemsize, default=np.dtype(np.float64))
    with np.errstate(over="ignore"):
        exact: tuple[Floats, ...] = tuple(side.astype(precision) for side in numbers)
    rounded = tuple(round_all(side) for side in exact)
    return rounded if len(np.unique(rounded[0])) == len(np.unique(exact[0])) else exact


def _numeric(side: "pd.Series[Any]") -> "pd.Series[Any]":
    """The values as numbers, missing where one is none; a truth value is one, however it is spelt."""
    numbers = pd.to_numeric(side, errors="coerce")
    others = side[numbers.isna() & side.notna()]
    if others.empty:
        return numbers
    keys = _by_value(others, key)
    return numbers.astype(np.float64).where(~numbers.isna(), pd.to_numeric(keys, errors="coerce"))


def _keys(side: "pd.Series[Any]") -> "pd.Series[Any]":
    """What the values are compared by, as texts, which have an order."""
    texts = _by_value(side.dropna(), lambda value: None if (found := key(value)) is None else str(found))
    return texts.reindex(side.index).astype(object)


def _by_value(side: "pd.Series[Any]", call: Callable[[Any], Any]) -> "pd.Series[Any]":
    """What a function makes of each value, called once for each distinct one; texts without spaces around them."""
    found = {value: call(value.strip() if isinstance(value, str) else value) for value in side.unique()}
    return side.astype(object).map(found)
