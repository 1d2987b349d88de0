"""What a window is worth before its labels come, and what drift of it matters: estimates to warn with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain.core.evidence import at_share, share_of, usual
from retrain.core.records import Counts
from retrain.errors import RetrainError
from retrain.exporter.psi import Shift
from retrain.tables import FileError
from retrain.tables.read import Table

Scores = NDArray[np.float64]
"""By bin of the score and predicted class (negative, positive): rows, sum of scores, labelled rows, positive labels."""

_BINS = 20
_LOGGED = 10
"""The logged scores of a cell count as so many labelled rows: few labels correct them little."""


def no_scores() -> Scores:
    """The scores of no rows."""
    return np.zeros((_BINS, 2, 4))


def binned(score: NDArray[np.float64], predicted: NDArray[np.bool_], label: NDArray[np.float64]) -> Scores:
    """The scores of some rows, in 0–1; `predicted` and `label` say whether the class is positive, NaN: no label."""
    found = no_scores()
    cells = np.minimum((score * _BINS).astype(int), _BINS - 1), predicted.astype(int)
    known = ~np.isnan(label)
    np.add.at(found, cells, np.stack([np.ones_like(score), score, known, np.where(known, label, 0)], axis=1))
    return found


def estimated_f1(window: Scores, labelled: Scores) -> float | None:
    """F1 of a window by its scores alone; None where nothing can be positive.

    The probability of a cell is its share of positives in the labelled windows, and its mean score where these have
    few rows. It holds while the inputs alone change, and is blind to a change of what they mean.
    Source: confidence-based performance estimation (CBPE), NannyML.
    """
    rows, sums = window[..., 0], window[..., 1]
    mean = np.divide(sums, rows, out=np.zeros_like(sums), where=rows > 0)
    positives = rows * (labelled[..., 3] + _LOGGED * mean) / (labelled[..., 2] + _LOGGED)
    found, wrong, missed = positives[:, 1].sum(), (rows - positives)[:, 1].sum(), positives[:, 0].sum()
    total = 2 * found + wrong + missed
    return float(2 * found / total) if total else None


def f1_at_usual_share(counts: Counts, samples: int, before: list[tuple[Counts, int]]) -> tuple[float, float] | None:
    """F1 as it would be at the usual share of positives, and that share; None while it is not known.

    `before` are counts and samples of the windows before this one.
    """
    share = share_of(counts, samples)
    wanted = usual([each for pair in before if (each := share_of(*pair)) is not None])
    if share is None or wanted is None:
        return None
    moved = at_share(counts, share, wanted)
    return 2 * moved.tp / (2 * moved.tp + moved.fp + moved.fn), wanted


def weighted(shifts: Mapping[str, Shift], path: Path, problems: list[str]) -> float | None:
    """Sum of w·PSI over the features, the weights that training left at `path` made to add up to 1; None without them.

    A weight below 0 is that of a feature that is worth nothing. Raises RetrainError where the file cannot be used.
    """
    if not path.is_file():
        return None
    try:
        rows: Any = pd.concat(Table(str(path), {"feature": "str"}).chunks(only=["feature", "weight"]))
        numbers = pd.to_numeric(rows["weight"]).clip(lower=0)
        if not np.isfinite(numbers).all():
            raise ValueError("a weight is empty, or no finite number")
        weights = dict(zip(rows["feature"], numbers, strict=True))
    except (FileError, KeyError, ValueError, TypeError) as error:
        raise RetrainError(f"the weights {path} are not feature,weight: {error}") from error
    unknown = sorted(name for name, weight in weights.items() if weight and name not in shifts)
    if unknown:
        problems.append(f"the weights {path} name {unknown[0]!r}, of which there is no drift")
    total = sum(weights.get(name, 0) for name in shifts)
    return float(sum(weights.get(name, 0) * each.psi for name, each in shifts.items()) / total) if total else None
