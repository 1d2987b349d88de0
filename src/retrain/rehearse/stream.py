"""The labelled rows of a log in order of time, and the windows that they fall into."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from msgspec.structs import replace

from retrain.config.schema import Config, FreshRows
from retrain.core.score import Confusion, Quality, quality
from retrain.core.verdicts import Tally
from retrain.effects.evaluation import tally_of
from retrain.errors import RetrainError
from retrain.scoring.count import answer, part_of
from retrain.scoring.cut import check_target, hashes_of, left_out
from retrain.scoring.groups import Coded, Kept
from retrain.scoring.plan import Comparison
from retrain.tables import FileError
from retrain.tables.read import Table, columns
from retrain.tables.values import labels, merged, seconds, spelt, unlabelled

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.object_]
_LATEST = 1e11
"""Epoch seconds beyond all times that a log has: the monitor skips milliseconds, too."""
_LEAST_WINDOWS = 2
"""To compare policies on, after those that the first champion is trained on."""


class Stream:
    """The rows as a training gets them, and for each its time (epoch seconds), label and window (a number from 0).

    `ends` are the ends of the windows, of which the first champion is trained on the first `first`.
    """

    def __init__(self, config: Config, frame: pd.DataFrame, times: npt.NDArray[Any], length: timedelta) -> None:
        """Take the rows, which are in order of time."""
        self._promotion = config.promotion
        self.rows, self.times = frame, times
        self.truth: Labels = np.array(labels(frame[self._promotion.target]), dtype=object)
        known, self.window = np.unique(np.floor(times / length.total_seconds()), return_inverse=True)
        self.ends = tuple(datetime.fromtimestamp((each + 1) * length.total_seconds(), UTC) for each in known.tolist())
        self.length, self.begin = length, self.ends[0] - length
        self._starts = np.searchsorted(self.window, np.arange(len(known) + 1))
        self._hashes = hashes_of(frame, self._promotion.group)
        target, slices, group = self._promotion.target, self._promotion.slices, self._promotion.group
        self._counted = Comparison(holdout="", target=target, dtypes={}, champion=None, slices=slices, group=group)
        self.first = 1

    def quality(self, predicted: Labels, window: int) -> Quality:
        """F1 of a window with these predictions of all rows, as `retrain monitor` would have served it."""
        rows = slice(self._starts[window], self._starts[window + 1])
        confusion: Confusion = Counter()
        for pair, count in Counter(zip(self.truth[rows].tolist(), predicted[rows].tolist(), strict=True)).items():
            truth, guess = map(spelt, pair)
            confusion[truth, guess] += count
        confusion, positive = merged(confusion, self._promotion.positive)
        return quality(confusion, self._promotion.average, positive, self.ends[window].timestamp())

    def tally(self, champion: Labels, challenger: Labels, rows: Mask) -> Tally:
        """The tally of two models on some rows, by their predictions of all rows."""
        triples = list(zip(self.truth[rows].tolist(), champion[rows].tolist(), challenger[rows].tolist(), strict=True))
        part, unpredicted = part_of(self._counted, self.rows[rows], {})
        cells, slices, of_groups = unpredicted.tallied(Coded.of(triples))
        fingerprint = part.content.fingerprint(map(str, self.rows.columns), self._promotion.target)
        total = replace(part, cells=cells, slices=slices, fingerprint=fingerprint)
        with Kept() as kept:
            kept.add(of_groups)
            return tally_of(answer(self._counted, total, kept.tied), self._promotion.group, compared=True)

    def left_out(self, window: int, known: Mask, fresh: FreshRows) -> Mask:
        """The rows that are left out of a training after this window; none of those that are `known` already."""
        return left_out(self.window.astype(float), (self.window <= window) & ~known, self._hashes, fresh)


def read(config: Config, log: Path, length: timedelta, first: timedelta | None, sample: float) -> tuple[Stream, int]:
    """The stream of a log, and how many of its rows were left out, having no label or no time.

    `first` is how much of the log the first champion is trained on: by default training.history or else a quarter, at
    most half. Of the rows a share of `sample` is taken, by their hashes. RetrainError where the log cannot be used.
    """
    monitor, target = config.monitor, config.promotion.target
    try:
        named = dict.fromkeys(config.promotion.slices, "promotion.slices")
        named |= {config.promotion.group: "promotion.group"} if config.promotion.group is not None else {}
        found = columns(str(log), named | {monitor.timestamp: "monitor.timestamp", monitor.label: "monitor.label"})
        check_target(found, monitor.label, target)
        table = Table(
            str(log),
            {monitor.label if each == target else each: text for each, text in config.promotion.dtypes.items()},
            labels=[monitor.label],
        )
        frame = pd.concat(list(table.chunks()), ignore_index=True)
    except FileError as error:
        raise RetrainError(f"the log {log} {error}") from error
    frame = frame.drop(columns=[name for name in (monitor.prediction, monitor.score) if name], errors="ignore")
    frame = frame.rename(columns={monitor.label: target})
    times = seconds(frame[monitor.timestamp])
    usable = (np.abs(times) < _LATEST) & ~unlabelled(frame[target])
    left_out = int((~usable).sum())
    if sample < 1:
        usable &= hashes_of(frame, config.promotion.group) < np.uint64(sample * 2**64)
    order = np.flatnonzero(usable)[np.argsort(times[usable], kind="stable")]
    if not len(order):
        raise RetrainError(f"the log {log} has no row with a label and a time")
    stream = Stream(config, frame.iloc[order].reset_index(drop=True), times[order], length)
    span = stream.ends[-1] - stream.begin
    until = stream.begin + (first or min(config.training.history or span / 4, span / 2))
    stream.first = max(1, sum(end <= until for end in stream.ends))
    if len(stream.ends) - stream.first < _LEAST_WINDOWS:
        why = (
            f"the log {log} has {len(stream.ends)} windows, the first {stream.first} of which train the first champion"
        )
        raise RetrainError(why, "take a longer log, a shorter --window, or less for --first")
    return stream, left_out
