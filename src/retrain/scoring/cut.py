"""The log of predictions → the rows that a training gets, and those that its challenger is judged on."""

from math import floor, inf
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from retrain.core.score import newest_labelled
from retrain.core.text import counted
from retrain.scoring import rows
from retrain.scoring.groups import keys
from retrain.scoring.plan import Arrival, Cut, LogRows, Send, blamed
from retrain.tables import FileError
from retrain.tables.hashing import Hashes, of_rows, of_values
from retrain.tables.log import Log, around
from retrain.tables.read import brief
from retrain.tables.values import seconds, unlabelled

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.float64]

MOST = 0.5
"""The largest share of a window that is left out of the training."""
SAMPLE = 20_000
"""Rows of the sample by which drift is measured."""


class Labelled:
    """The rows of a log, in its order: their times (epoch seconds), windows, and whether they have a label.

    A window of which rows are lost gives none, for these are not lost by chance. `lost` says so in a predicate, `note`
    at the end of a sentence.
    """

    def __init__(self, plan: LogRows, log: Log, since: float) -> None:
        """Read the two columns that this needs; what is lost counts in windows that end after `since`."""
        pieces = [piece.to_pandas() for piece in log.pieces([plan.timestamp, plan.label])]
        frame = pd.concat(pieces, ignore_index=True) if pieces else pd.DataFrame(columns=[plan.timestamp, plan.label])
        self.times = seconds(frame[plan.timestamp])
        self.window: Index = np.floor(self.times / plan.window)
        dated = np.isfinite(self.times)
        self.labelled: Mask = dated & ~unlabelled(frame[plan.label])
        indexes, places = np.unique(self.window[dated], return_inverse=True)
        rows, known = np.bincount(places), np.bincount(places, self.labelled[dated])
        windows = {int(each): (int(n), int(k)) for each, n, k in zip(indexes, rows, known, strict=True)}
        newest = newest_labelled(windows, floor(plan.now / plan.window))
        lossy = [each for each in around(np.insert(self.window, log.lost, np.nan)) if (each + 1) * plan.window > since]
        self.labelled &= ~np.isin(self.window, lossy)
        self.complete: Mask = self.labelled & (self.window <= (-np.inf if newest is None else newest))
        undated = frame[plan.timestamp][~dated]
        what = [f"{counted(len(log.lost), 'line')} that cannot be read ({log.problem})"] if log.lost else []
        if len(undated):
            what.append(f"{counted(len(undated), 'row')} without a time ({plan.timestamp}: {undated.iloc[0]})")
        so = "so no row of their windows is taken: correct or remove them (a log is UTF-8)"
        self.lost = f"has {' and '.join(what)}, {so}" if what and (lossy or not dated.any()) else ""
        self.note = self.lost and f"; the log {self.lost}"


class Wanted(Protocol):
    """How many rows are left out: a share of so many of the newest windows, and at least so many."""

    @property
    def share(self) -> float: ...

    @property
    def windows(self) -> int: ...

    @property
    def min_rows(self) -> int: ...


def left_out(window: Index, free: Mask, hashes: Hashes, plan: Wanted) -> Mask:
    """The rows that are left out of a training; `free` are those that may be, of complete windows.

    A share of the newest windows. Where that is fewer than `min_rows`, up to half of these windows; and where that is
    not enough either, half of older ones, the newest first. None at all where the whole log has not enough. Within
    its windows the rows with the smallest hashes are taken, so rows with one hash stay together.
    """
    taken = np.zeros(len(window), bool)
    known = np.unique(window[free])[::-1]
    for windows in [known[: plan.windows], *known[plan.windows :, None]]:
        part = free & np.isin(window, windows)
        wanted = plan.min_rows - taken.sum() if taken.any() else max(plan.min_rows, plan.share * part.sum())
        if wanted <= 0 or not part.any():
            break
        count = int(np.ceil(min(wanted, MOST * part.sum())))
        taken |= part & (hashes <= np.partition(hashes[part], count - 1)[count - 1])
    return taken if taken.sum() >= plan.min_rows else np.zeros(len(window), bool)


def fresh(plan: Cut, send: Send) -> dict[str, Any]:
    """The answer to "cut": two Parquet files, the rows left out of a training and those that it gets.

    Where the log has too few rows neither is written. With a share of 0 nothing is left out.
    UnusableError where the log cannot be used, or has too few rows since some are lost.
    """
    send({"at": "log"})
    with blamed("log", plan.log):
        log = _log(plan, plan.since or inf)
        seen = Labelled(plan, log, plan.since)
        training = seen.labelled & (seen.times >= plan.since)
        taken = np.zeros(len(training), bool)
        if plan.share:
            if plan.group is not None:
                log.needs({plan.group: "promotion.group"})
            hashes, new = _hashes(plan, log)
            taken = left_out(seen.window, seen.complete & new, hashes, plan)
        given = training & ~taken
        if taken.any() if plan.share else given.any():
            files = {plan.training: given} | ({plan.holdout: taken} if plan.share else {})
            _write(plan, log, files | ({plan.sample: _sampled(given)} if plan.sample is not None else {}))
        elif seen.lost:
            raise FileError(seen.lost)
        return {"labelled": int(seen.complete.sum()), "lost": seen.note}


def _sampled(rows: Mask) -> Mask:
    """Up to SAMPLE of these rows."""
    chosen = np.zeros(len(rows), bool)
    chosen[np.random.default_rng(0).choice(np.flatnonzero(rows), min(SAMPLE, rows.sum()), replace=False)] = True
    return chosen


def arrived(plan: Arrival, send: Send) -> dict[str, Any]:
    """The answer to "arrived": the first labelled rows after a time, as a Parquet file once they are complete.

    They are complete with the first window at which they are `min_rows` of `windows` whole windows; where `every` row
    so far is asked for, with the last one.
    UnusableError where the log cannot be used.
    """
    send({"at": "log"})
    with blamed("log", plan.log):
        log = _log(plan, plan.after)
        seen = Labelled(plan, log, plan.after)
        since = seen.complete & (seen.times > plan.after)
        known, whole = np.unique(seen.window[since]), 0
        for last in known:
            whole += bool(last * plan.window >= plan.after)
            until = since & (seen.window <= last)
            is_enough = whole >= plan.windows and until.sum() >= plan.min_rows
            if last == known[-1] if plan.every else is_enough:
                _write(plan, log, {plan.holdout: until})
                return {"rows": int(until.sum()), "windows": whole, "complete": True, "lost": seen.note}
        return {"rows": int(since.sum()), "windows": whole, "complete": False, "lost": seen.note}


def _log(plan: LogRows, since: float) -> Log:
    """The log, with the columns that the configuration names, and its rotated files as far back as this."""
    dtypes = {plan.label if name == plan.target else name: text for name, text in plan.dtypes.items()}
    log = Log(plan.log, dtypes, plan.label, {plan.timestamp}, since)
    log.needs({plan.timestamp: "monitor.timestamp", plan.label: "monitor.label"})
    check_target(log.schema.names, plan.label, plan.target)
    return log


def check_target(names: list[str], label: str, target: str) -> None:
    """FileError where a log has both the label and a column with the name that it gets in a training."""
    if target != label and target in names:
        raise FileError(f"has a column {target!r}, the name that promotion.target gives to {label!r}")


def _hashes(plan: Cut, log: Log) -> tuple[Hashes, Mask]:
    """The hash of each row, or of its group, and whether the champion was not trained on the row."""
    hashes, new = [np.array([], np.uint64)], [np.array([], bool)]
    for piece in log.pieces():
        frame = _named(plan, piece).to_pandas()
        hashes.append(hashes_of(frame, plan.group))
        new.append(~rows.known(plan.known_champion, frame))
    return np.concatenate(hashes), np.concatenate(new)


def hashes_of(frame: pd.DataFrame, group: str | None) -> Hashes:
    """The hash of each row or, where it has a value in such a column, of its group."""
    return keys(frame, group, of_rows({str(name): of_values(frame[name]) for name in frame.columns}))


def _named(plan: LogRows, piece: Any) -> Any:
    """The columns that training and holdout have: none that the champion made, the label as promotion.target."""
    kept = [name for name in piece.schema.names if name not in (plan.prediction, plan.score)]
    return piece.select(kept).rename_columns([plan.target if name == plan.label else name for name in kept])


def _write(plan: LogRows, log: Log, files: dict[str, Mask]) -> None:
    """Write these rows of the log to each of the files."""
    for path, wanted in files.items():
        position = 0
        try:
            with pa.parquet.ParquetWriter(path, _named(plan, log.schema.empty_table()).schema) as file:
                for piece in log.pieces():
                    chosen = wanted[position : position + len(piece)]
                    position += len(piece)
                    file.write_table(_named(plan, piece.filter(pa.array(chosen))))
                file.add_key_value_metadata(rows.CUT)
        except OSError as error:
            raise FileError(f"cannot be cut: {path} cannot be written: {brief(error)}") from error
