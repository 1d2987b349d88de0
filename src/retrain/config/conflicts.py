"""What values that are right alone get wrong together."""

from collections.abc import Iterator
from datetime import timedelta
from os.path import normpath
from urllib.parse import urlsplit

from retrain.config.schema import Config, Models, Monitoring, MonitorType, Url
from retrain.core.rules import Triggers

LEAST_MEMORY = 512 * 1024**2
"""Bytes. Below, the libraries' threads and buffers leave nothing to a model: on two cores they take 320 MiB."""
LEAST_DROP = 0.001
"""No window tells smaller drops from chance."""


def conflicts(config: Config) -> Iterator[tuple[tuple[str, ...], str]]:
    """What values that are right alone get wrong together or in their place: (path of the key to mend, sentence)."""
    yield from _unmonitored(config.triggers, config.monitoring)
    if config.monitoring is not None and config.monitoring.type is MonitorType.PROMETHEUS:
        yield from _not_http(("monitoring", "url"), config.monitoring.url)
    yield from _not_http(("notifications", "heartbeat"), config.notifications.heartbeat)
    spans = {
        ("monitoring", "timeout"): config.monitoring.timeout if config.monitoring is not None else None,
        ("training", "timeout"): config.training.timeout,
        ("promotion", "timeout"): config.promotion.timeout,
        ("monitor", "window"): config.monitor.window,
    }
    for keys, span in spans.items():
        if span == timedelta():
            yield keys, "is 0; it needs a length"
    probation = config.promotion.probation
    if probation is not None:
        if config.triggers.performance_threshold is None:
            yield ("promotion", "probation"), "needs F1: set triggers.performance_threshold"
        if probation <= config.triggers.settle:
            yield ("promotion", "probation"), "ends before triggers.settle does, so no window would ever count"
    if normpath(config.models.champion) == normpath(config.models.challenger):
        yield ("models", "challenger"), "is the champion's own path; training would overwrite what the service loads"
    yield from _formats(config.models)
    if config.promotion.max_memory is not None and config.promotion.max_memory < LEAST_MEMORY:
        yield ("promotion", "max_memory"), "is less than 512MiB, which scikit-learn, pandas and pyarrow alone may take"
    tables = {
        ("promotion", "holdout"): config.promotion.holdout,
        ("training", "data"): config.training.data,
        ("monitor", "log"): config.monitor.log,
    }
    for keys, path in tables.items():
        if path is not None and path.suffix not in (".csv", ".parquet"):
            yield keys, "must end in .csv or .parquet"


def _formats(models: Models) -> Iterator[tuple[tuple[str, ...], str]]:
    """What does not go together in the names of the artifacts."""
    if models.are_skops != (models.challenger.suffix == ".skops"):
        yield ("models", "challenger"), "and models.champion must both end in .skops, or neither of them"
    elif models.trusted and not models.are_skops:
        yield ("models", "trusted"), "is for skops files, but models.champion and models.challenger are none (.skops)"


def _unmonitored(triggers: Triggers, monitoring: Monitoring | None) -> Iterator[tuple[tuple[str, ...], str]]:
    """What the triggers need and nobody monitors."""
    thresholds = {
        "f1": ("performance_threshold", triggers.performance_threshold),
        "drift": ("drift_threshold", triggers.drift_threshold),
    }
    wanted = {name: key for name, (key, value) in thresholds.items() if value is not None}
    for keys, sentence in contradictions(triggers):
        yield ("triggers", *keys), sentence
    if wanted and monitoring is None:
        yield ("monitoring", "url"), "is required"
    for name, key in wanted.items():
        if monitoring is None or getattr(monitoring, name) is None:
            yield ("monitoring", name), f"is required, since triggers.{key} is set (or set that to null)"
    countless = monitoring is not None and monitoring.counts is None and monitoring.positives is None
    if triggers.evidence is not None and countless:
        also = "from F1 and the number of samples alone no bound on false trainings exists"
        needed = "monitoring.counts (or, more conservative, monitoring.positives)"
        yield ("triggers", "evidence"), f"needs {needed}: {also}"
    if monitoring is not None and triggers.min_samples and monitoring.samples is None:
        yield ("monitoring", "samples"), "is required, since triggers.min_samples is set"


def contradictions(triggers: Triggers) -> Iterator[tuple[tuple[str, ...], str]]:
    """What the triggers get wrong together: (path of the key below `triggers`, sentence)."""
    threshold, rule = triggers.performance_threshold, triggers.evidence
    if threshold is None and triggers.drift_threshold is None and triggers.max_model_age is None:
        yield (), "nothing can trigger a training: set performance_threshold, drift_threshold or both"
    if rule is None:
        return
    if threshold is None:
        yield ("evidence",), "needs performance_threshold: evidence is gathered for a drop of F1 below it"
    elif threshold >= 1:
        yield ("evidence",), "needs a performance_threshold below 1: at 1 a single error is a proof"
    elif not LEAST_DROP <= rule.min_drop <= threshold - LEAST_DROP:
        most = threshold - LEAST_DROP
        yield ("evidence", "min_drop"), f"is not from {LEAST_DROP:g} to {most:g}, just below performance_threshold"


def _not_http(keys: tuple[str, ...], url: Url | None) -> Iterator[tuple[tuple[str, ...], str]]:
    if url is not None and urlsplit(url).scheme == "file":
        yield keys, "needs an http or https URL here"
