"""Rows of a log → windows: disjoint, one after the other from the Unix epoch on, in UTC."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from msgspec import Struct, field
from numpy.typing import NDArray

from retrain.config.schema import Monitor
from retrain.core.records import Label
from retrain.core.score import Confusion, newest_labelled
from retrain.errors import RetrainError
from retrain.exporter.estimate import Scores, binned, no_scores
from retrain.tables.log import around
from retrain.tables.values import distinct, label_of_text, seconds, spelt

_MOST_WINDOWS = 1000
_LABELLED = 32
"""How many labelled windows show what is usual."""


class Window(Struct):
    """What is known of one window: its rows, the labelled ones by (label, prediction) as spelt, its features if wanted.

    Each feature is an Arrow array; one that came with a later header has fewer rows.
    """

    rows: int = 0
    confusion: Confusion = field(default_factory=Counter)
    features: dict[str, Any] = field(default_factory=dict)
    scores: Scores = field(default_factory=no_scores)


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
        table = _without_empty(table, {self._settings.prediction, self._settings.label} & names.keys())
        index, wanted = self._placed(table, now)
        self.skipped["malformed"] += len(lost)
        self._mark_lossy(np.insert(index, list(lost), math.nan))
        places = np.flatnonzero(wanted)[np.argsort(index[wanted], kind="stable")]
        numbers, starts = np.unique(index[places], return_index=True)
        found = [self.kept.setdefault(int(number), Window()) for number in numbers]
        newest = self.newest(now)
        for number, window, rows in zip(numbers, found, np.split(places, starts)[1:], strict=True):
            window.rows += len(rows)
            self._count(window, table, rows)
            if newest is None or number >= newest:
                self._keep_features(window, table, rows)
        self.forget(now)

    def forget(self, now: float) -> None:
        """Let go of what can never be served again."""
        complete = sorted(self._complete(now))
        for index in complete[:-1]:
            self.kept[index].features = {}
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
        places = np.concatenate([self._tail, index])
        self.lossy |= around(places)
        dated = np.isfinite(places)
        self._tail = np.append(places[dated][-1:], places[-1:][~dated[-1:]])

    def _count(self, window: Window, table: Any, rows: NDArray[np.intp]) -> None:
        """Count labels, predictions and scores of these rows of the table."""
        settings = self._settings
        if settings.prediction not in self.columns:
            return
        guesses, predictions = _called(table.column(settings.prediction).take(rows))
        truths, labels = np.full(len(rows), -1), list[Label]()
        if settings.label in self.columns:
            truths, labels = _called(table.column(settings.label).take(rows))
        cells, times = np.unique(np.stack([truths, guesses])[:, truths >= 0], axis=1, return_counts=True)
        for (truth, guess), count in zip(cells.T, times, strict=True):
            window.confusion[labels[truth], predictions[guess]] += int(count)
        if settings.score in self.columns:
            score = pd.to_numeric(table.column(settings.score).take(rows).to_pandas(), errors="coerce").to_numpy(float)
            fit = (score >= 0) & (score <= 1)
            predicted = np.array([label_of_text(each) == self._positive for each in predictions], bool)[guesses]
            label = np.array([*(float(label_of_text(each) == self._positive) for each in labels), math.nan])[truths]
            window.scores += binned(score[fit], predicted[fit], label[fit])

    def _keep_features(self, window: Window, table: Any, rows: NDArray[np.intp]) -> None:
        settings = self._settings
        others = (settings.prediction, settings.label, settings.timestamp, settings.score)
        names = [name for name in self.columns if name not in others]
        if settings.features is not None:
            names = [name for name in settings.features if name in self.columns]
        for name in names:
            column, before = table.column(name), window.features.get(name)
            values = pa.chunked_array(
                [*(before.chunks if before is not None else ()), *column.take(rows).chunks], column.type
            )
            # An array of many small appends is slow to read.
            window.features[name] = pa.chunked_array([values.combine_chunks()]) if values.num_chunks > 64 else values


def _without_empty(table: Any, names: Collection[str]) -> Any:
    """The rows with null for the empty text in these columns, as a CSV has it."""
    for name in names:
        place, column = table.column_names.index(name), table.column(name)
        column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            null = pa.scalar(None, column.type)
            table = table.set_column(place, name, pa.compute.if_else(pa.compute.equal(column, ""), null, column))
    return table


def _called(column: Any) -> tuple[NDArray[np.intp], list[Label]]:
    """The code of each value of an Arrow column, -1 where it is missing, and the labels of the codes as spelt."""
    codes, values = distinct(column.to_pandas(integer_object_nulls=True).astype(object))
    return codes, [spelt(value) for value in values]
