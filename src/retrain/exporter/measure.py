"""What the endpoint serves at a moment: F1 of the newest labelled window, drift of the newest one, problems."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from msgspec import Struct, field
from msgspec.structs import replace

from retrain.config.schema import Config, Monitor
from retrain.core.rules import Average
from retrain.core.score import Confusion, Quality, quality
from retrain.core.text import iso
from retrain.effects.files import stamp
from retrain.errors import RetrainError
from retrain.exporter.estimate import estimated_f1, f1_at_usual_share, no_scores, weighted
from retrain.exporter.log import Log
from retrain.exporter.psi import Shift, shift
from retrain.tables import FileError
from retrain.tables.listing import unreadable
from retrain.tables.read import Table, brief, shown
from retrain.tables.values import MISSING, label_of_text, merged, quoted, vocabularies_differ

T = TypeVar("T")

ROWS_PER_BIN = 20
"""With fewer, windows drift by chance alone."""
_YEAR = timedelta(days=365.25)

_SKIPPED = {
    "timestamp": "some rows are skipped: their {0.timestamp} is neither epoch seconds nor ISO 8601 with hyphens",
    "prediction": "some rows are skipped: they have no {0.prediction}",
    "future": "some rows wait: their {0.timestamp} lies in the future (are these milliseconds? seconds are wanted)",
    "malformed": "some lines are skipped: they have more or fewer values than the header has columns, or are not UTF-8",
}


class Drift(Struct, frozen=True):
    """The shift of each feature in a window of `rows` rows that ended at `end` (epoch seconds).

    `feature` is the one that drifted most, "" where chance explains all of them; `weighted` is the index over all
    features by their importance, where training left that.
    """

    end: float
    rows: int
    shifts: Mapping[str, Shift]
    feature: str = ""
    weighted: float | None = None

    @property
    def psi(self) -> Mapping[str, float]:
        """The population stability index of each feature."""
        return {name: shift.psi for name, shift in self.shifts.items()}


class Measures(Struct, frozen=True):
    """All that is served. What is not defined is None or not there, and `problems` says why."""

    quality: Quality | None = None
    drift: Drift | None = None
    estimate: float | None = None
    problems: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)


class Gauge:
    """The log and the reference, measured when asked; from any thread."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = Log(config.monitor, label_of_text(config.promotion.positive))
        self._lock = threading.Lock()
        self._known: tuple[object, tuple[Mapping[str, Shift], list[str]]] | None = None
        self._feature = ""

    def measure(self, now: float) -> Measures:
        """The measures at a time (epoch seconds)."""
        with self._lock:
            problems: list[str] = []
            _guarded("", problems, self._refresh, now, problems)
            quality = _guarded("no F1: ", problems, self._quality, now, problems)
            drift = _guarded("no drift: ", problems, self._drift, now, problems)
            estimate = _guarded("no estimated F1: ", problems, self._estimate, now)
            skipped = {kind: rows for kind, rows in self._log.windows.skipped.items() if rows}
            return Measures(quality, drift, estimate, tuple(problems), skipped)

    def _refresh(self, now: float, problems: list[str]) -> None:
        """Read the log as far as it has changed, and add its problems."""
        settings = self._config.monitor
        _guarded("", problems, self._log.refresh, now)
        if settings.log.suffix == ".csv" and (names := unreadable(settings.log)):
            problems.append(f"rotated files of the log are not read: {shown(names)}; leave them plain, or use gzip")
        windows = self._log.windows
        problems += [_SKIPPED[kind].format(settings) for kind, rows in windows.skipped.items() if rows]
        if windows.columns:
            wanted = (settings.label, settings.prediction, settings.score, *(settings.features or ()))
            problems += [f"the log has no column {name!r}" for name in wanted if name and name not in windows.columns]

    def _quality(self, now: float, problems: list[str]) -> Quality:
        """F1 of the newest labelled window. Raises RetrainError where it would be wrong."""
        windows, rules = self._log.windows, self._config.promotion
        index = windows.newest_labelled(now)
        if index is None:
            raise RetrainError("no complete window has all its labels yet")
        (confusion, positive), end = merged(windows.kept[index].confusion, rules.positive), windows.end(index)
        if index in windows.lossy:
            lost = f"rows of the window that ended at {_iso(end)} are lost"
            raise RetrainError(f"{lost}, since lines or times in the log cannot be read")
        if unfit := _unfit(confusion, self._config.monitor, rules.average):
            raise RetrainError(unfit)
        found = quality(confusion, rules.average, positive, end)
        if found.f1 is None:
            nothing = f"nothing is labelled or predicted {rules.positive!r} (promotion.positive)"
            problems.append(f"no F1: in the window that ended at {_iso(end)} {nothing}")
        if found.counts is None:
            return found
        earlier = (merged(its.confusion, rules.positive) for at, its in sorted(windows.kept.items()) if at < index)
        before = [quality(each, rules.average, its, end) for each, its in earlier if each]
        pairs = [(each.counts, each.samples) for each in before if each.counts is not None]
        return replace(found, usual=f1_at_usual_share(found.counts, found.samples, pairs))

    def _estimate(self, now: float) -> float | None:
        """F1 of the newest window by its scores, corrected by the labelled windows before it."""
        windows, settings = self._log.windows, self._config.monitor
        index = windows.newest(now) if settings.score in windows.columns else None
        if index is None:
            return None
        window, average = windows.kept[index], self._config.promotion.average
        without = window.rows - int(window.scores[..., 0].sum())
        if average is not Average.BINARY:
            raise RetrainError(f"it is for promotion.average binary, which is {average} here")
        if without:
            lack = f"{without} of {window.rows} rows have no {settings.score} from 0 to 1"
            raise RetrainError(f"in the window that ended at {_iso(windows.end(index))} {lack}")
        earlier = sum((each.scores for at, each in windows.kept.items() if at < index), no_scores())
        return estimated_f1(window.scores, earlier)

    def _drift(self, now: float, problems: list[str]) -> Drift:
        """The drift of the newest window; without shifts where there is no reference. Raises RetrainError."""
        windows, models = self._log.windows, self._config.models
        index = windows.newest(now)
        if index is None:
            raise RetrainError("no window with rows is complete yet")
        found: Mapping[str, Shift] = _guarded("no drift: ", problems, self._shifts, index, problems) or {}
        self._feature = self._drifted(found)
        weights = models.champion.resolve().with_suffix(".weights.csv")
        mean = _guarded("no weighted drift: ", problems, weighted, found, weights, problems) if found else None
        return Drift(windows.end(index), windows.kept[index].rows, found, self._feature, mean)

    def _shifts(self, index: int, problems: list[str]) -> Mapping[str, Shift]:
        """The shift of each feature in a window, measured once. Raises RetrainError."""
        windows, settings = self._log.windows, self._config.monitor
        window, needed = windows.kept[index], ROWS_PER_BIN * settings.bins
        if window.rows < needed:
            has = f"has {window.rows} rows, {needed} are needed"
            raise RetrainError(f"the window that ended at {_iso(windows.end(index))} {has}")
        path = reference(self._config)
        # A log that is read anew has windows anew: the same number of rows need not be the same rows.
        known = (windows, index, window.rows, path, stamp(path))
        if self._known is None or self._known[0] != known:
            self._known = known, drift(window.features, path, settings)
        problems += self._known[1][1]
        return self._known[1][0]

    def _drifted(self, found: Mapping[str, Shift]) -> str:
        """The feature that is served as drift, "" for none: the worst of those that are above their floors.

        While the one that was served last is above the threshold, too, it stays: `triggers.consecutive` counts the
        windows of one feature, and two that drift alike would take turns.
        """
        last, threshold = found.get(self._feature), self._config.triggers.drift_threshold or 0.0
        if last is not None and last.exceeds(threshold):
            return self._feature
        drifted = sorted(name for name, shift in found.items() if shift.exceeds(0))
        return max(drifted, key=lambda name: found[name].psi, default="")


def drift(window: Mapping[str, Any], path: Path, settings: Monitor) -> tuple[Mapping[str, Shift], list[str]]:
    """The shifts of a window's features against the reference at `path`, and the problems of some features.

    Raises RetrainError where no feature has one.
    """
    needed = ROWS_PER_BIN * settings.bins
    flat = [name for name, values in window.items() if not pa.types.is_nested(values.type)]
    numbering = [each for each in flat if settings.features is None and _numbers_rows(window[each], needed)]
    names = [name for name in flat if name not in numbering]
    if not names:
        raise RetrainError("the log has no feature columns with numbers or texts")
    try:
        table = Table(str(path), {})
        if table.rows < needed:
            raise RetrainError(f"the reference {path} has {table.rows} rows, {needed} are needed")
        shared = [name for name in names if name in table.flat]
        known = pd.concat(table.chunks(only=shared), ignore_index=True) if shared else pd.DataFrame()
    except FileError as error:
        raise RetrainError(f"the reference {path} {error}") from error
    lacking = [name for name in names if name not in shared]
    problems = [
        f"the column {each!r} only numbers the rows, and monitor.features does not name it" for each in numbering
    ]
    problems += [f"the reference {path} has no column {name!r} of numbers or texts" for name in lacking]
    few = {name: len(window[name]) for name in shared if len(window[name]) < needed}
    problems += [
        f"the column {name!r} has {rows} rows in the window, {needed} are needed" for name, rows in few.items()
    ]
    chance = _chance(settings, len(shared))
    columns = {name: (known[name], window[name].to_pandas()) for name in shared if name not in few}
    return {name: shift(*both, settings.bins, chance) for name, both in columns.items()}, problems


def _numbers_rows(values: Any, least: int) -> bool:
    """Whether these are whole numbers that grow from row to row, as ids do: each window has others without a drift."""
    numbers = pd.to_numeric(values.to_pandas(), errors="coerce")
    return len(numbers) >= least and bool((numbers % 1 == 0).all() and (numbers.diff()[1:] > 0).all())


def _chance(settings: Monitor, features: int) -> float | None:
    """How probable false drift of one feature in one window may be; None where it is not bounded."""
    if settings.false_drifts_per_year is None:
        return None
    return min(1.0, settings.false_drifts_per_year * (settings.window / _YEAR) / max(features, 1))


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
        raise RetrainError(f"there is no champion at {champion} yet (or set monitor.reference)")
    version = champion.resolve()
    kept = version.with_suffix(".reference.parquet")
    if not kept.exists():
        raise RetrainError(
            f"training left no sample at RETRAIN_REFERENCE for champion {version.stem[:12]} (or set monitor.reference)"
        )
    return kept


def _unfit(confusion: Confusion, settings: Monitor, average: Average) -> str:
    """Why an F1 of these labels and predictions would be wrong; "" where it would not."""
    truths, guesses = ({*side} for side in zip(*confusion, strict=True))
    predicted, labelled = f"{settings.prediction} holds", f"{settings.label} holds"
    probability = next((guess for guess in guesses if isinstance(guess, float)), None)
    if probability is not None and not any(isinstance(label, float) for label in truths):
        return f"{predicted} {probability}; log the class, not its probability"
    # With one class each, all rows may simply be wrong: only another spelling of that class is suspicious.
    alone = len(truths) == len(guesses) == 1 and len({isinstance(each, str) for each in truths | guesses}) == 1
    if differ := vocabularies_differ(guesses, truths, disjoint=alone):
        return f"{predicted} {differ[0]}, {labelled} {differ[1]}; log both in one spelling"
    never = {word for word in (truths | guesses) & MISSING if not confusion[word, word]}
    if blank := truths & never:
        return f"{labelled} {quoted(blank)}, which is never predicted for it; leave it empty until the label is known"
    if blank := guesses & never:
        return f"{predicted} {quoted(blank)}, which is never right; leave it empty where nothing was predicted"
    if average is Average.BINARY and len(truths) > 2:
        return (
            f"{labelled} {quoted(truths)}, and promotion.average is binary; set that to macro, weighted or micro, or"
            " leave the label empty where it is no class"
        )
    return ""


def _guarded(no: str, problems: list[str], call: Callable[..., T], *args: Any) -> T | None:
    """What a measurement gives; None, and the problem is added, where it fails: the others are served all the same."""
    try:
        return call(*args)
    except RetrainError as error:
        problems.append(f"{no}{error}")
    except Exception as error:  # one that nobody foresaw
        problems.append(f"{no}{brief(error)}")
    return None


def _iso(at: float) -> str:
    return iso(datetime.fromtimestamp(at, UTC))
