"""What the endpoint says at a moment: F1 of the newest labelled window, drift of the newest one, what hinders."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from retrain.config.schema import Config
from retrain.core.records import Counts, Label
from retrain.core.rules import Average
from retrain.effects.files import stamp
from retrain.errors import RetrainError
from retrain.exporter import reference
from retrain.exporter.log import Log
from retrain.exporter.psi import psi
from retrain.exporter.values import canonical
from retrain.exporter.windows import Confusion

ROWS_PER_BIN = 20
"""With fewer, windows drift by chance alone."""


@dataclass(frozen=True, slots=True)
class Quality:
    """F1 of a window that ended at `end` (epoch seconds); `counts` are those of a binary F1."""

    end: float
    samples: int
    f1: float | None
    counts: Counts | None


@dataclass(frozen=True, slots=True)
class Drift:
    """PSI by feature of a window of `rows` rows that ended at `end` (epoch seconds)."""

    end: float
    rows: int
    psi: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Measures:
    """All that is served. What is not defined is None or not there, and `problems` says why."""

    quality: Quality | None = None
    drift: Drift | None = None
    problems: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


_SKIPPED = {
    "timestamp": "some rows are skipped: their {0.timestamp} is neither epoch seconds nor ISO 8601",
    "prediction": "some rows are skipped: they have no {0.prediction}",
    "future": "some rows wait: their {0.timestamp} lies in the future (are these milliseconds? seconds are wanted)",
    "malformed": "some lines are skipped: they have more or fewer values than the header has columns",
}


class Gauge:
    """The log and the reference, measured when asked; from any thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = Log(config.monitor)
        self._lock = threading.Lock()
        self._known: tuple[object, tuple[Mapping[str, float], tuple[str, ...]]] | None = None

    def measure(self, now: float) -> Measures:
        """The measures at a time (epoch seconds)."""
        with self._lock:
            problems = self._look(now)
            quality, no_f1 = self._quality(now)
            drift, no_drift = self._drift(now)
            skipped = {kind: rows for kind, rows in self._log.windows.skipped.items() if rows}
            return Measures(quality, drift, (*problems, *no_f1, *no_drift), skipped)

    def _look(self, now: float) -> list[str]:
        """Take in what the log has to tell; what is wrong with it comes back."""
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

    def _quality(self, now: float) -> tuple[Quality | None, tuple[str, ...]]:
        windows, rules = self._log.windows, self._config.promotion
        index = windows.newest_labelled(now)
        if index is None:
            return None, ("no F1: no complete window has all its labels yet",)
        confusion, end = windows.kept[index].confusion, windows.end(index)
        score = _probability(confusion)
        if score is not None:
            return None, (
                f"no F1: {self._config.monitor.prediction} holds {score}; log the class, not its probability",
            )
        found = quality(confusion, rules.average, canonical(rules.positive), end)
        if found.f1 is None:
            where = f"in the window that ended at {_iso(end)}"
            return found, (f"no F1: {where} nothing is labelled or predicted {rules.positive!r} (promotion.positive)",)
        return found, ()

    def _drift(self, now: float) -> tuple[Drift | None, tuple[str, ...]]:
        windows, bins = self._log.windows, self._config.monitor.bins
        index = windows.newest(now)
        if index is None:
            return None, ("no drift: no window with rows is complete yet",)
        window, end = windows.kept[index], windows.end(index)
        unmeasured = Drift(end, window.rows, {})
        if window.rows < ROWS_PER_BIN * bins:
            where = f"the window that ended at {_iso(end)}"
            return unmeasured, (f"no drift: {where} has {window.rows} rows, {ROWS_PER_BIN * bins} are needed",)
        try:
            path = reference.locate(self._config)
            # A log that is read anew has windows anew: the same number of rows need not be the same rows.
            key = (windows, index, window.rows, path, stamp(path))
            if self._known is None or self._known[0] != key:
                self._known = key, drift(window.features, path, bins)
        except (OSError, RetrainError) as error:
            return unmeasured, (str(error),)
        found, problems = self._known[1]
        return Drift(end, window.rows, found), problems


def quality(confusion: Confusion, average: Average, positive: Label, end: float) -> Quality:
    """F1 of the labelled rows of a window, None where there is nothing positive to find or found."""
    samples = confusion.total()
    if average is Average.BINARY:
        tp = confusion[positive, positive]
        fp = sum(rows for (label, guess), rows in confusion.items() if guess == positive != label)
        fn = sum(rows for (label, guess), rows in confusion.items() if label == positive != guess)
        f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None
        return Quality(end, samples, f1, Counts(tp, fp, fn))
    from sklearn.metrics import f1_score

    # Labels may be numbers and texts at once, which scikit-learn refuses; F1 does not depend on their names.
    codes: dict[Label, int] = {}
    truth, guesses = ([codes.setdefault(pair[side], len(codes)) for pair in confusion] for side in (0, 1))
    weights = list(confusion.values())
    f1 = f1_score(truth, guesses, average=average.value, sample_weight=weights, zero_division=0)
    return Quality(end, samples, float(f1), None)


def drift(window: Any, path: Path, bins: int) -> tuple[Mapping[str, float], tuple[str, ...]]:
    """PSI by feature of a window's table against the reference at `path`, and what hinders."""
    names = [field.name for field in window.schema if not pa.types.is_nested(field.type)]
    if not names:
        return {}, ("no drift: the log has no feature columns with numbers or texts",)
    known, needed = reference.read(path, names), ROWS_PER_BIN * bins
    shared = [name for name in names if name in known.columns]
    lacking = [name for name in names if name not in known.columns]
    problems = [f"the reference {path} has no column {name!r} of numbers or texts" for name in lacking]
    if shared and len(known) < needed:
        problems.append(f"no drift: the reference {path} has {len(known)} rows, {needed} are needed")
        shared = []
    return {name: psi(known[name], window.column(name).to_pandas(), bins) for name in shared}, tuple(problems)


def _probability(confusion: Confusion) -> float | None:
    """A prediction with a fraction where no label has one: F1 of such would be 0, and be wrong."""
    if any(isinstance(label, float) for label, _ in confusion):
        return None
    return next((guess for _, guess in confusion if isinstance(guess, float)), None)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
