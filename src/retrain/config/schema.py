"""What config.yaml may say, as dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import NewType

from retrain.core.records import Label
from retrain.core.rules import (
    Average,
    Difference,
    Gate,
    Guarantee,
    Level,
    Metric,
    Natural,
    Positive,
    Share,
    Triggers,
)

Size = NewType("Size", int)
"""Bytes."""
Command = NewType("Command", tuple[str, ...])
"""A command and its arguments, split like a shell would; run without a shell."""
Columns = NewType("Columns", tuple[str, ...])
"""Names of columns; none is a list, too."""
Types = NewType("Types", tuple[str, ...])
"""Names of Python types with their modules, such as sklearn.tree._tree.Tree; none is a list, too."""
Url = NewType("Url", str)
"""An http, https or file URL."""


class MonitorType(StrEnum):
    """How the endpoint is asked."""

    METRICS = "metrics"
    PROMETHEUS = "prometheus"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class CountQueries:
    """Queries of the three counts of a window."""

    tp: str
    fp: str
    fn: str


@dataclass(frozen=True, slots=True)
class ObservedAt:
    """Queries of the end of the window, a signal each."""

    f1: str | None = None
    drift: str | None = None


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Where the metrics come from."""

    url: Url
    type: MonitorType = MonitorType.METRICS
    f1: str | None = None
    drift: str | None = None
    observed_at: ObservedAt = field(default_factory=ObservedAt)
    window: str | None = None
    samples: str | None = None
    positives: str | None = None
    counts: CountQueries | None = None
    timeout: timedelta = timedelta(seconds=10)
    retries: Natural = Natural(2)
    max_body: Size = Size(5 * 1024**2)
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class KeepLogs:
    """Which logs of trainings and hooks are kept: so many of the latest, and none that is older."""

    count: Positive = Positive(200)
    age: timedelta = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Training:
    """The command that leaves a challenger behind."""

    command: Command = Command(("make", "train-model"))
    directory: Path = Path()
    timeout: timedelta = timedelta(hours=6)
    grace: timedelta = timedelta(seconds=30)
    environment: Mapping[str, str] = field(default_factory=dict)
    data: Path | None = None
    keep_logs: KeepLogs = field(default_factory=KeepLogs)


@dataclass(frozen=True, slots=True)
class Models:
    """Where the artifacts live; `keep` versions stay for rollback; `trusted` types may be in a skops file."""

    champion: Path = Path("models/champion.joblib")
    challenger: Path = Path("models/challenger.joblib")
    keep: Positive = Positive(5)
    trusted: Types = Types(())

    @property
    def are_skops(self) -> bool:
        """Whether artifacts are skops files, which run no code when they are loaded; otherwise they are programs."""
        return self.champion.suffix == ".skops"


@dataclass(frozen=True, slots=True)
class Promotion:
    """The holdout, and what a challenger must show on it."""

    holdout: Path = Path("data/holdout.parquet")
    target: str = "label"
    dtypes: Mapping[str, str] = field(default_factory=dict)
    metric: Metric = Metric.F1
    average: Average = Average.BINARY
    positive: Label = 1
    min_improvement: Difference = Difference(0.0)
    floor: Share | None = None
    alpha: Level = Level(0.05)
    guarantee: Guarantee = Guarantee.LIFETIME
    holdout_uses: Positive = Positive(10)
    slices: Columns = Columns(())
    max_leakage: Share = Share(0.0)
    timeout: timedelta = timedelta(hours=1)
    max_memory: Size | None = None
    jobs: Positive = Positive(1)
    after: Command | None = None
    probation: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Notifications:
    """Who is told, and how often."""

    heartbeat: Url | None = None
    repeat_after: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Monitor:
    """The embedded monitoring endpoint, `retrain monitor`."""

    log: Path = Path("data/predictions.csv")
    reference: Path | None = None
    prediction: str = "prediction"
    label: str = "label"
    timestamp: str = "timestamp"
    features: tuple[str, ...] | None = None
    window: timedelta = timedelta(hours=24)
    bins: Positive = Positive(10)
    listen: str = "127.0.0.1:9109"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole of config.yaml; paths are absolute."""

    triggers: Triggers
    monitoring: Monitoring | None = None
    training: Training = field(default_factory=Training)
    models: Models = field(default_factory=Models)
    promotion: Promotion = field(default_factory=Promotion)
    notifications: Notifications = field(default_factory=Notifications)
    state: Path = Path("state")
    monitor: Monitor = field(default_factory=Monitor)

    @property
    def gate(self) -> Gate:
        """The rules of promotion."""
        rules = self.promotion
        return Gate(
            metric=rules.metric,
            average=rules.average,
            positive=rules.positive,
            min_improvement=rules.min_improvement,
            floor=rules.floor,
            unopposed_floor=self.triggers.performance_threshold if rules.floor is None else rules.floor,
            alpha=rules.alpha,
            guarantee=rules.guarantee,
            holdout_uses=rules.holdout_uses,
        )
