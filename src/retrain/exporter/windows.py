"""Rows of a log → windows: disjoint, one after the other from the Unix epoch on, in UTC."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from msgspec import Struct, field
from numpy.typing import NDArray

from retrain.config.schema import Monitor
from retrain.core.quality import Confusion, newest_labelled
from retrain.core.records import Label
from retrain.errors import RetrainError
from retrain.exporter.estimate import Scores, binned
from retrain.tables.values import distinct, label_of_text, seconds

_MOST_WINDOWS = 1000
_LABELLED = 32
"""How many labelled windows show what is usual."""


class Window(Struct):
    """What is known of one window: its rows, the labelled ones by (label, prediction), its features while wanted.

    Each feature is an Arrow array; one that came with a later header has fewer rows.
    """

    rows: int = 0
    confusion: Confusion = field(default_factory=Counter)
    features: dict[str, Any] | None = None
    scores: Scores | None = None


class Windows:
    """The windows that may still be served.

    Kept are: features of the newest complete window and of those not complete yet; counts and scores of the 32 newest
    complete windows with labels, which show what is usual, and of no more than 1,000 windows. Rows more than one
    window ahead of the clock are left in the log until their time has come.
    """

    def __init__(self, settings: Monitor, positive: Label = 1) -> None:
        self._settings, self._positive = settings, positive
        self._length = settings.window.total_seconds()
        self.kept: dict[int, Window] = {}
        self._floor = -math.inf
        self._postponed = math.inf
        self._tail = np.array([])
        self.columns: tuple[str, ...] = ()
        self.skipped: Counter[str] = Counter()
        self.lossy: set[int] = set()

    def end(self, index: int) -> float:
        """End of a window, epoch seconds."""
        return (index + 1) * self._length

    def since(self) -> float:
        """Rows before this time (epoch seconds) are not wanted any more."""
        return self._floor * self._length

    def wants_reread(self, now: float) -> bool:
        """Whether the time of rows that were left in the log has come."""
        return self._postponed <= self._index(now) + 1

    def newest(self, now: float) -> int | None:
        """The newest complete window that has rows."""
        return max(self._complete(now), default=None)

    def newest_labelled(self, now: float) -> int | None:
        """The newest complete window of which every row has a label, or whose labels later ones have moved past."""
        windows = {index: (window.rows, window.confusion.total()) for index, window in self.kept.items()}
        return newest_labelled(windows, self._index(now))

    def add(self, table: Any, now: float, lost: Sequence[int] = ()) -> None:
        """Count the rows of a table; `lost` has the rows before each record that could not be read.

        Raises RetrainError where a column makes that impossible.
        """
        names = Counter(table.column_names)
        self.columns = tuple(names)
        repeated = [name for name, times in names.items() if times > 1]
        if repeated:
            raise RetrainError(f"column {repeated[0]!r} is there twice")
        if self._settings.timestamp not in names:
            some = ", ".join(list(names)[:10])
            raise RetrainError(f"no column {self._settings.timestamp!r} (monitor.timestamp) among {some}")
        index, wanted = self._placed(table, now)
        self.skipped["malformed"] += len(lost)
        self._mark_lossy(np.insert(index, list(lost), math.nan))
        self._count(table, index, wanted)
        self._keep_features(table, index, wanted, now)
        self.forget(now)

    def forget(self, now: float) -> None:
        """Let go of what can never be served again."""
        complete = sorted(self._complete(now))
        for index in complete[:-1]:
            self.kept[index].features = None
        labelled = [index for index in complete if self.kept[index].confusion]
        oldest = [*labelled[-_LABELLED : 1 - _LABELLED], *complete[-_MOST_WINDOWS : 1 - _MOST_WINDOWS]]
        self._floor = max([self._floor, *oldest])
        for index in [index for index in complete if index < self._floor]:
            del self.kept[index]
        self.lossy = {index for index in self.lossy if index >= self._floor}

    def _index(self, at: float) -> int:
        return math.floor(at / self._length)

    def _complete(self, now: float) -> list[int]:
        return [index for index in self.kept if index < self._index(now)]

    def _placed(self, table: Any, now: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The window of every row, and whether the row counts."""
        index = np.floor(seconds(table.column(self._settings.timestamp).to_pandas()) / self._length)
        wanted = np.isfinite(index)
        self.skipped["timestamp"] += int(np.sum(~wanted))
        if self._settings.prediction in self.columns:
            predicted = ~table.column(self._settings.prediction).to_pandas().isna().to_numpy()
            self.skipped["prediction"] += int(np.sum(wanted & ~predicted))
            wanted &= predicted
        ahead = wanted & (index > self._index(now) + 1)
        self.skipped["future"] += int(np.sum(ahead))
        self._postponed = min(self._postponed, np.min(index[ahead], initial=math.inf))
        return index, wanted & ~ahead & (index >= self._floor)

    def _mark_lossy(self, index: NDArray[np.float64]) -> None:
        """Note which windows a record without a time (NaN) may belong to: those of the records around it."""
        places = pd.Series(np.concatenate([self._tail, index]))
        if places.empty:
            return
        lost, around = places.isna(), (places.ffill(), places.bfill())
        self.lossy |= {int(index) for side in around for index in side[lost].dropna().unique()}
        self._tail = np.append(around[0].iloc[-1:], [math.nan] * int(lost.iloc[-1]))

    def _count(self, table: Any, index: NDArray[np.float64], wanted: NDArray[np.bool_]) -> None:
        for window, rows in zip(*np.unique(index[wanted], return_counts=True), strict=True):
            self.kept.setdefault(int(window), Window()).rows += int(rows)
        settings = self._settings
        if settings.prediction not in self.columns:
            return
        guesses, predictions = _called(table.column(settings.prediction).to_pandas())
        truths, labels = np.full(len(guesses), -1), list[Label]()
        if settings.label in self.columns:
            truths, labels = _called(table.column(settings.label).to_pandas())
        if settings.score in self.columns:
            score = pd.to_numeric(table.column(settings.score).to_pandas(), errors="coerce").to_numpy(np.float64)
            positive = np.array([*(float(label == self._positive) for label in labels), math.nan])
            predicted = np.array([*(label == self._positive for label in predictions), False])
            self._keep_scores(index, wanted, score, predicted[guesses], positive[truths])
        labelled = wanted & (truths >= 0)
        cells = np.stack([index[labelled], truths[labelled], guesses[labelled]])
        for (window, truth, guess), rows in zip(*_distinct(cells), strict=True):
            self.kept[int(window)].confusion[labels[int(truth)], predictions[int(guess)]] += int(rows)

    def _keep_scores(
        self,
        index: NDArray[np.float64],
        wanted: NDArray[np.bool_],
        score: NDArray[np.float64],
        predicted: NDArray[np.bool_],
        label: NDArray[np.float64],
    ) -> None:
        fit = wanted & (score >= 0) & (score <= 1)
        for number in np.unique(index[fit]):
            window, rows = self.kept[int(number)], fit & (index == number)
            found = binned(score[rows], predicted[rows], label[rows])
            window.scores = found if window.scores is None else window.scores + found

    def _keep_features(self, table: Any, index: NDArray[np.float64], wanted: NDArray[np.bool_], now: float) -> None:
        newest = self.newest(now)
        recent = wanted if newest is None else wanted & (index >= newest)
        settings = self._settings
        others = (settings.prediction, settings.label, settings.timestamp, settings.score)
        names = [name for name in self.columns if name not in others]
        if self._settings.features is not None:
            names = [name for name in self._settings.features if name in self.columns]
        for number in np.unique(index[recent]):
            window, rows = self.kept[int(number)], pa.array(recent & (index == number))
            window.features = {} if window.features is None else window.features
            for name in names:
                before = window.features[name].chunks if name in window.features else []
                values = pa.chunked_array([*before, *table.column(name).filter(rows).chunks], table.column(name).type)
                # An array of many small appends is slow to read.
                combined = pa.chunked_array([values.combine_chunks()]) if values.num_chunks > 64 else values
                window.features[name] = combined


def _called(column: "pd.Series[Any]") -> tuple[NDArray[np.intp], list[Label]]:
    """The code of each value, -1 where it is missing, and the class labels that the codes stand for."""
    codes, values = distinct(column.astype(object))
    return codes, [label_of_text(value) for value in values]


def _distinct(cells: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """The distinct columns of a matrix, as rows, and how often each is there."""
    found, times = np.unique(cells, axis=1, return_counts=True)
    return found.T, times
