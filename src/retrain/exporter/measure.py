"""What the endpoint serves at a moment: F1 of the newest labelled window, drift of the newest one, problems."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from msgspec import Struct, field

from retrain.config.schema import Config
from retrain.core.records import Counts, Label
from retrain.core.rules import Average, Metric
from retrain.core.score import UndefinedMetricError, score
from retrain.core.text import iso
from retrain.effects.files import stamp
from retrain.errors import RetrainError
from retrain.exporter.log import Log
from retrain.exporter.psi import psi
from retrain.exporter.windows import Confusion
from retrain.tables import FileError
from retrain.tables.read import Table
from retrain.tables.values import label_of_text

ROWS_PER_BIN = 20
"""With fewer, windows drift by chance alone."""

_SKIPPED = {
    "timestamp": "some rows are skipped: their {0.timestamp} is neither epoch seconds nor ISO 8601",
    "prediction": "some rows are skipped: they have no {0.prediction}",
    "future": "some rows wait: their {0.timestamp} lies in the future (are these milliseconds? seconds are wanted)",
    "malformed": "some lines are skipped: they have more or fewer values than the header has columns",
}


class Quality(Struct, frozen=True):
    """F1 of a window that ended at `end` (epoch seconds); `counts` are those of a binary F1."""

    end: float
    samples: int
    f1: float | None
    counts: Counts | None


class Drift(Struct, frozen=True):
    """PSI by feature of a window of `rows` rows that ended at `end` (epoch seconds)."""

    end: float
    rows: int
    psi: Mapping[str, float]


class Measures(Struct, frozen=True):
    """All that is served. What is not defined is None or not there, and `problems` says why."""

    quality: Quality | None = None
    drift: Drift | None = None
    problems: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


class Gauge:
    """The log and the reference, measured when asked; from any thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = Log(config.monitor)
        self._lock = threading.Lock()
        self._known: tuple[object, tuple[Mapping[str, float], list[str]]] | None = None

    def measure(self, now: float) -> Measures:
        """The measures at a time (epoch seconds)."""
        with self._lock:
            problems = self._refreshed(now)
            quality = self._quality(now, problems)
            drift = self._drift(now, problems)
            skipped = {kind: rows for kind, rows in self._log.windows.skipped.items() if rows}
            return Measures(quality, drift, tuple(problems), skipped)

    def _refreshed(self, now: float) -> list[str]:
        """The problems of the log, which is read as far as it has changed."""
        settings, problems = self._config.monitor, []
        try:
            self._log.refresh(now)
        except RetrainError as error:
            problems.append(str(error))
        windows = self._log.windows
        problems += [_SKIPPED[kind].format(settings) for kind, rows in windows.skipped.items() if rows]
        if windows.columns:
            wanted = (settings.label, settings.prediction, *(settings.features or ()))
            problems += [f"the log has no column {name!r}" for name in wanted if name not in windows.columns]
        return problems

    def _quality(self, now: float, problems: list[str]) -> Quality | None:
        windows, rules = self._log.windows, self._config.promotion
        index = windows.newest_labelled(now)
        if index is None:
            problems.append("no F1: no complete window has all its labels yet")
            return None
        confusion, end = windows.kept[index].confusion, windows.end(index)
        probability = _probability(confusion)
        if probability is not None:
            holds = f"{self._config.monitor.prediction} holds {probability}"
            problems.append(f"no F1: {holds}; log the class, not its probability")
            return None
        found = quality(confusion, rules.average, label_of_text(rules.positive), end)
        if found.f1 is None:
            nothing = f"nothing is labelled or predicted {rules.positive!r} (promotion.positive)"
            problems.append(f"no F1: in the window that ended at {_iso(end)} {nothing}")
        return found

    def _drift(self, now: float, problems: list[str]) -> Drift | None:
        windows, bins = self._log.windows, self._config.monitor.bins
        index = windows.newest(now)
        if index is None:
            problems.append("no drift: no window with rows is complete yet")
            return None
        window, end, needed = windows.kept[index], windows.end(index), ROWS_PER_BIN * bins
        found: Mapping[str, float] = {}
        try:
            if window.rows < needed:
                has = f"has {window.rows} rows, {needed} are needed"
                raise RetrainError(f"no drift: the window that ended at {_iso(end)} {has}")
            path = reference(self._config)
            # A log that is read anew has windows anew: the same number of rows need not be the same rows.
            known = (windows, index, window.rows, path, stamp(path))
            if self._known is None or self._known[0] != known:
                self._known = known, drift(window.features, path, bins)
            found, of_features = self._known[1]
            problems += of_features
        except (OSError, RetrainError) as error:
            problems.append(str(error))
        return Drift(end, window.rows, found)


def quality(confusion: Confusion, average: Average, positive: Label, end: float) -> Quality:
    """F1 of the labelled rows of a window, None where there is nothing positive to find or found."""
    try:
        f1 = score(confusion, Metric.F1, average, positive).value
    except UndefinedMetricError:
        f1 = None
    tp = confusion[positive, positive]
    labelled = sum(rows for (label, _), rows in confusion.items() if label == positive)
    predicted = sum(rows for (_, guess), rows in confusion.items() if guess == positive)
    counts = Counts(tp, predicted - tp, labelled - tp) if average is Average.BINARY else None
    return Quality(end, confusion.total(), f1, counts)


def drift(window: Any, path: Path, bins: int) -> tuple[Mapping[str, float], list[str]]:
    """PSI by feature of a window's table against the reference at `path`, and the problems of some features.

    Raises RetrainError where no feature has one.
    """
    names = [field.name for field in window.schema if not pa.types.is_nested(field.type)]
    if not names:
        raise RetrainError("no drift: the log has no feature columns with numbers or texts")
    try:
        table = Table(str(path), {})
        if table.rows < ROWS_PER_BIN * bins:
            few = f"the reference {path} has {table.rows} rows, {ROWS_PER_BIN * bins} are needed"
            raise RetrainError(f"no drift: {few}")
        shared = [name for name in names if name in table.flat]
        known = pd.concat(table.chunks(only=shared), ignore_index=True) if shared else pd.DataFrame()
    except FileError as error:
        raise RetrainError(f"the reference {path} {error}") from error
    lacking = [name for name in names if name not in shared]
    problems = [f"the reference {path} has no column {name!r} of numbers or texts" for name in lacking]
    return {name: psi(known[name], window.column(name).to_pandas(), bins) for name in shared}, problems


def reference(config: Config) -> Path:
    """The configured reference, or the one that was kept with the champion that is served now.

    Raises RetrainError where there is none.
    """
    if config.monitor.reference is not None:
        if not config.monitor.reference.exists():
            raise RetrainError(f"the reference {config.monitor.reference} is missing (monitor.reference)")
        return config.monitor.reference
    champion = config.models.champion
    if not champion.exists():
        raise RetrainError(f"no reference: there is no champion at {champion} yet (or set monitor.reference)")
    version = champion.resolve()
    kept = version.with_suffix(".reference.parquet")
    if not kept.exists():
        raise RetrainError(
            f"no reference: training left no sample at RETRAIN_REFERENCE for champion {version.stem[:12]}"
            " (or set monitor.reference)"
        )
    return kept


def _probability(confusion: Confusion) -> float | None:
    """A prediction with a fraction where no label has one: F1 of such would be 0, and be wrong."""
    if any(isinstance(label, float) for label, _ in confusion):
        return None
    return next((guess for _, guess in confusion if isinstance(guess, float)), None)


def _iso(at: float) -> str:
    return iso(datetime.fromtimestamp(at, UTC))
