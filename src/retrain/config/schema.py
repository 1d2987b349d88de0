"""The keys of config.yaml as records, each with its default, and which values contradict each other."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from os.path import normpath
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from retrain.config.document import Keys, Problem
from retrain.core.kinds import BY_DEFAULT, Kind
from retrain.core.records import NAMES, Signal
from retrain.core.rules import Criteria, Gate, Guarantee, Natural, Positive, Rate, Sandbox, Share, Side, Triggers

Size = Annotated[int, "bytes"]
Span = Annotated[timedelta, "longer than 0"]
Table = Annotated[Path, "a CSV or Parquet file"]
Rows = Annotated[Path, "a CSV or Parquet file, or a directory or a pattern of Parquet files"]
Command = Annotated[tuple[str, ...], "a command and its arguments, run without a shell"]
Text = Annotated[str, "may be empty"]
Name = Annotated[str, Meta(pattern=r"^[^\0\ud800-\udfff]+$")]
AppriseUrl = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9]+://[^\0-\x1f\x7f\ud800-\udfff]+$")]
Columns = Annotated[tuple[Name, ...], Meta(description="a list of column names")]
Features = Annotated[tuple[Name, ...], Meta(description="a list of column names", min_length=1)]
Types = Annotated[tuple[Name, ...], Meta(description="a list of types, with their modules")]
Title = Annotated[str, Meta(pattern=r"^[^\0-\x1f\x7f-\x9f\ud800-\udfff]{0,100}$", description="a name on one line")]
Kinds = Annotated[tuple[Kind, ...], Meta(description=f"a list of kinds: {', '.join(Kind)}")]
Urls = Annotated[tuple[AppriseUrl, ...], Meta(description="a list of Apprise URLs, such as ntfy://topic")]
Url = Annotated[str, "an http, https or file URL"]
Registered = Annotated[
    str, Meta(pattern=r"^[^'\"/:\0-\x1f\x7f-\x9f\ud800-\udfff]+$", description="a name without / : or quotes")
]
Backend = Annotated[str, Meta(pattern="^dask$", description="dask")]
Scheduler = Annotated[
    str, Meta(pattern=r"^(tcp|tls)://[^\s/@]+:[0-9]+$", description="an address such as tcp://scheduler:8786")
]
Scale = Annotated[float, Meta(gt=0, le=1e6, description="a number above 0, up to 1,000,000")]
Minority = Annotated[float, Meta(gt=0, le=0.5, description="a number above 0, up to 0.5: most rows are for training")]


class MonitorType(StrEnum):
    """How the endpoint is asked; a command prints JSON."""

    METRICS = "metrics"
    PROMETHEUS = "prometheus"
    JSON = "json"
    COMMAND = "command"


class CountQueries(Struct, frozen=True):
    """Queries of the three counts of a window."""

    tp: str
    fp: str
    fn: str


class ObservedAt(Struct, frozen=True):
    """Queries of the end of the window, a signal each."""

    f1: str | None = None
    drift: str | None = None


class Monitoring(Struct, frozen=True):
    """Where the metrics come from."""

    url: Url | None = None
    type: MonitorType = MonitorType.METRICS
    command: Command | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    f1: str | None = None
    drift: str | None = None
    observed_at: ObservedAt = field(default_factory=ObservedAt)
    window: str | None = None
    window_length: Span | None = None
    samples: str | None = None
    positives: str | None = None
    counts: CountQueries | None = None
    timeout: Span = timedelta(seconds=10)
    retries: Natural = 2
    max_body: Size = 5 * 1024**2
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    scale: Scale = 1.0

    @property
    def address(self) -> str:
        """The URL; empty where there is none."""
        return self.url or ""


class HoldoutKind(StrEnum):
    """A holdout that is no file of the user: rows left out of the training, or those that come after it."""

    FRESH = "fresh"
    LIVE = "live"


class Remote(str):
    """The address of Parquet files in an object store: s3://BUCKET/PATH or gs://BUCKET/PATH."""

    __slots__ = ()


class FreshRows(Struct, frozen=True):
    """What is left out of a training: a share of the newest labelled windows of the log, `min_rows` at least."""

    share: Minority = 0.2
    windows: Positive = 1
    min_rows: Positive = 200


class LiveRows(Struct, frozen=True):
    """The labelled rows after a training that are waited for, and for how long."""

    windows: Positive = 1
    min_rows: Positive = 500
    give_up: Span = timedelta(days=30)


class KeepLogs(Struct, frozen=True):
    """Which logs of trainings and hooks are kept: so many of the latest, and none that is older."""

    count: Positive = 200
    age: timedelta = timedelta(days=90)


class Training(Struct, frozen=True):
    """The command that leaves a challenger behind."""

    command: Command = ("make", "train-model")
    directory: Path = Path()
    timeout: Span = timedelta(hours=6)
    grace: timedelta = timedelta(seconds=30)
    environment: Mapping[str, str] = field(default_factory=dict)
    data: Table | None = None
    history: Span | None = None
    keep_logs: KeepLogs = field(default_factory=KeepLogs)
    max_log: Size = 50 * 1024**2


class Models(Struct, frozen=True):
    """Where the artifacts live; `keep` versions stay for rollback; `trusted` types may be in a skops file."""

    champion: Path = Path("models/champion.joblib")
    challenger: Path = Path("models/challenger.joblib")
    keep: Positive = 5
    trusted: Types = ()
    are_any: ClassVar[bool] = False
    """Whether artifacts may be any files, or directories."""

    @property
    def are_skops(self) -> bool:
        """Whether artifacts are skops files, which run no code when they are loaded; otherwise they are programs."""
        return not self.are_any and self.champion.suffix == ".skops"


class AnyModels(Models, frozen=True):
    """Artifacts that retrain does not load itself, since promotion.predict is set."""

    are_any: ClassVar[bool] = True


class Promotion(Criteria, frozen=True):
    """The holdout, and what a challenger must show on it."""

    holdout: Rows | Remote | HoldoutKind = Path("data/holdout.parquet")
    fresh: FreshRows = field(default_factory=FreshRows)
    live: LiveRows = field(default_factory=LiveRows)
    target: str = "label"
    dtypes: Mapping[str, str] = field(default_factory=dict)
    guarantee: Guarantee | None = None
    slices: Columns = ()
    group: str | None = None
    max_leakage: Share = 0.0
    timeout: Span = timedelta(hours=1)
    max_memory: Size | None = None
    jobs: Positive = 1
    sandbox: Sandbox | None = None
    predict: Command | None = None
    backend: Backend | None = None
    scheduler: Scheduler | None = None
    after: Command | None = None
    probation: timedelta | None = None

    @property
    def rows(self) -> Path | Remote | None:
        """The rows that were set aside as holdout; None where they are taken from the log."""
        return None if isinstance(self.holdout, HoldoutKind) else self.holdout


class Style(StrEnum):
    """What a dead man's switch expects: pings after checks that ended well alone, or after each with how it ended."""

    PLAIN = "plain"
    HEALTHCHECKS = "healthchecks"
    KUMA = "kuma"


class Heartbeat(Struct, frozen=True):
    """A dead man's switch."""

    url: Url
    style: Style = Style.PLAIN


class Notifications(Struct, frozen=True):
    """Who is notified, and how often."""

    heartbeat: Heartbeat | None = None
    command: Command | None = None
    events: Kinds = BY_DEFAULT
    urls: Urls = ()
    timeout: Span = timedelta(seconds=30)
    repeat_after: timedelta = timedelta(hours=24)
    textfile: Path | None = None

    @property
    def are_sent(self) -> bool:
        """Whether anything is notified besides who reads the output."""
        return self.heartbeat is not None or self.command is not None or bool(self.urls)


class RegistryType(StrEnum):
    """Whose API a registry has."""

    MLFLOW = "mlflow"


class Registry(Struct, frozen=True):
    """A model registry of others that follows what is served and what waits."""

    url: Url
    model: Registered
    type: RegistryType = RegistryType.MLFLOW
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    timeout: Span = timedelta(seconds=30)


class Monitor(Struct, frozen=True):
    """The embedded monitoring endpoint, `retrain monitor`."""

    log: Table = Path("data/predictions.csv")
    reference: Path | None = None
    prediction: str = "prediction"
    label: str = "label"
    timestamp: str = "timestamp"
    score: str | None = None
    features: Features | None = None
    window: Span = timedelta(hours=24)
    bins: Positive = 10
    false_drifts_per_year: Rate | None = 1.0
    listen: str = "127.0.0.1:9109"


class Config(Struct, frozen=True):
    """The whole of config.yaml; paths are absolute, and `name` is that of the directory where the file gives none."""

    name: Title = ""
    triggers: Triggers = field(default_factory=Triggers)
    monitoring: Monitoring | None = None
    training: Training = field(default_factory=Training)
    models: Models = field(default_factory=Models)
    promotion: Promotion = field(default_factory=Promotion)
    notifications: Notifications = field(default_factory=Notifications)
    registry: Registry | None = None
    state: Path = Path("state")
    monitor: Monitor = field(default_factory=Monitor)

    @property
    def is_followed(self) -> bool:
        """Whether anything follows a command: a ping, a notification, an entry of a registry."""
        return self.notifications.are_sent or self.registry is not None

    @property
    def gate(self) -> Gate:
        """The rules of promotion."""
        rules = self.promotion
        usual = Guarantee.REGRET if rules.rows is None else Guarantee.LIFETIME
        return Gate(
            **{name: getattr(rules, name) for name in Criteria.__struct_fields__},
            guarantee=rules.guarantee or usual,
            unopposed_floor=self.triggers.performance_threshold if rules.floor is None else rules.floor,
            rows_by=f"promotion.{rules.holdout}" if rules.rows is None else "",
        )

    @property
    def question(self) -> str:
        """All that a verdict depends on besides the two models and the rows."""
        rules = self.promotion
        asked = f"{self.gate.question}; target {rules.target}; dtypes {sorted(rules.dtypes.items())}"
        asked += f"; group {rules.group}" if rules.group is not None else ""
        asked += f"; predict {list(rules.predict)}" if rules.predict is not None else ""
        return asked + (f"; slices {', '.join(rules.slices)}" if rules.slices else "")

    @property
    def checks_leakage(self) -> bool:
        """Whether rows of trainings are known: those of training.data, or those that were taken from the log."""
        return self.training.data is not None or self.promotion.holdout is HoldoutKind.FRESH


LEAST_MEMORY = 512 * 1024**2
"""Bytes. Below, the libraries' threads and buffers leave nothing to a model: on two cores they take up to 320 MiB."""
LEAST_DROP = 0.001
"""No window can distinguish a smaller drop from chance."""


def conflicts(config: Config) -> Iterator[Problem]:
    """Values that are right alone and wrong together: the path of the key to change, and why."""
    triggers, monitoring = config.triggers, config.monitoring or Monitoring()
    for each in contradictions(triggers):
        yield each._replace(keys=("triggers", *each.keys))
    if triggers.watched or config.monitoring is not None:
        yield from _of_the_source(monitoring)
    yield from _unmonitored(triggers, monitoring)
    yield from _of_the_endpoint(monitoring)
    if (heartbeat := config.notifications.heartbeat) is not None:
        yield from _not_http(("notifications", "heartbeat"), heartbeat.url)
    if config.registry is not None:
        yield from _not_http(("registry", "url"), config.registry.url)
    textfile = config.notifications.textfile
    if textfile is not None and textfile.suffix != ".prom":
        why = "must end in .prom: node_exporter reads no other file"
        yield Problem(("notifications", "textfile"), why, quotes=True)
    for key, other in (("label", "prediction"), ("timestamp", "prediction"), ("timestamp", "label")):
        if (name := getattr(config.monitor, key)) == getattr(config.monitor, other):
            yield Problem(("monitor", key), f"is {name!r}, as monitor.{other} is", "name the column of each")
    yield from _formats(config.models)
    yield from _of_promotion(config)


def idle(config: Config) -> list[str]:
    """The keys that are set and have no effect."""
    return ["promotion.jobs"] if config.promotion.jobs != 1 else []


def _of_promotion(config: Config) -> Iterator[Problem]:
    """What contradicts the rules of promotion."""
    promotion, key = config.promotion, ("promotion", "probation")
    if promotion.probation is not None and not config.triggers.watches(Signal.F1):
        yield Problem(key, "needs F1", "set triggers.performance_threshold or triggers.max_drop")
    if promotion.probation is not None and promotion.probation <= config.triggers.settle:
        yield Problem(key, "is not longer than triggers.settle, so no window would ever count", quotes=True)
    if (promotion.backend is None) != (promotion.scheduler is None):
        lacks = "scheduler" if promotion.scheduler is None else "backend"
        yield Problem(("promotion", lacks), "is required: promotion.backend and promotion.scheduler go together")
    for other in ("sandbox", "predict"):
        if promotion.backend is not None and getattr(promotion, other) is not None:
            why = f"lets workers load the models, where promotion.{other} does not reach"
            yield Problem(("promotion", "backend"), why, "set one of both to null")
    if promotion.backend is not None and (promotion.rows is None or str(promotion.rows).endswith(".csv")):
        why = "needs a promotion.holdout of Parquet files that the workers can read"
        yield Problem(("promotion", "backend"), why, "fresh and live rows and a CSV are scored here: set it to null")
    if promotion.max_memory is not None and promotion.max_memory < LEAST_MEMORY:
        why = "is less than 512MiB, which scikit-learn, pandas and pyarrow alone may take"
        yield Problem(("promotion", "max_memory"), why)


def _of_the_source(monitoring: Monitoring) -> Iterator[Problem]:
    """A URL or a command that is missing, and keys of the other one."""
    is_command = monitoring.type is MonitorType.COMMAND
    key, other = ("command", "URL") if is_command else ("url", "command")
    foreign = ("url", "headers", "cert_file", "key_file", "retries") if is_command else ("command", "environment")
    if getattr(monitoring, key) is None:
        yield Problem(("monitoring", key), "is required")
    for name in foreign:
        if getattr(monitoring, name) != getattr(Monitoring(), name):
            why = f"is for a {other}, but monitoring.type is {monitoring.type}"
            yield Problem(("monitoring", name), why, "remove it, or change the type")


def _of_the_endpoint(monitoring: Monitoring) -> Iterator[Problem]:
    """What cannot be asked, an F1 that is an estimate (it may warn, but train nothing), a key without a certificate."""
    if monitoring.type is MonitorType.PROMETHEUS:
        yield from _not_http(("monitoring", "url"), monitoring.address)
    if "model_estimated_f1" in (monitoring.f1 or ""):
        why = "asks for an estimate without labels, which does not see that the inputs mean something else now"
        yield Problem(("monitoring", "f1"), why, "ask for model_f1_score, and let other alerts watch the estimate")
    if monitoring.key_file is not None and monitoring.cert_file is None:
        yield Problem(("monitoring", "key_file"), "is the key of monitoring.cert_file, which is not set")


def _formats(models: Models) -> Iterator[Problem]:
    """Contradictions in the names of the artifacts."""
    if normpath(models.champion) == normpath(models.challenger):
        why = "is also the path of the champion, which training would overwrite"
        yield Problem(("models", "challenger"), why, "name another file")
    if models.are_any:
        yield from _any_formats(models)
    elif models.are_skops != (models.challenger.suffix == ".skops"):
        yield Problem(("models", "challenger"), "and models.champion must both end in .skops, or neither of them")
    elif models.trusted and not models.are_skops:
        yield Problem(("models", "trusted"), "is for skops files, but models.champion and models.challenger are not")


def _any_formats(models: Models) -> Iterator[Problem]:
    """Contradictions in the names of artifacts that a command reads: it may ask how they end."""
    ending = models.champion.suffix
    if models.challenger.suffix != ending:
        wanted = f"must end in {ending}" if ending else "must have no extension"
        yield Problem(("models", "challenger"), f"{wanted}, as models.champion does", quotes=True)
    if ending == ".md":
        yield Problem(("models", "champion"), "must not end in .md, as the model cards do", quotes=True)
    if models.trusted:
        yield Problem(("models", "trusted"), "has no effect with promotion.predict: no skops file is loaded here")


def _unmonitored(triggers: Triggers, monitoring: Monitoring) -> Iterator[Problem]:
    """What the triggers need and the monitor does not say: a signal, the time of its windows, their rows."""
    of_f1 = "max_drop" if triggers.performance_threshold is None else "performance_threshold"
    for signal, key in ((Signal.F1, of_f1), (Signal.DRIFT, "drift_threshold")):
        if not triggers.watches(signal):
            continue
        if getattr(monitoring, signal) is None:
            yield Problem(("monitoring", signal), f"is required, since triggers.{key} is set", "or set that to null")
        if getattr(monitoring.observed_at, signal) is None:
            why, remedy = f"needs the end of the windows of {NAMES[signal]}", f"set monitoring.observed_at.{signal}"
            if triggers.min_age.of(signal):
                yield Problem(("triggers", "min_age"), why, remedy)
            if monitoring.window_length is not None:
                yield Problem(("monitoring", "window_length"), why, remedy)
    if triggers.evidence is not None and monitoring.counts is None and monitoring.positives is None:
        why = "lacks the counts of a window: F1 and the number of samples alone give no bound on false trainings"
        remedy = "set monitoring.counts or, more conservative, monitoring.positives"
        yield Problem(("triggers", "evidence"), why, remedy)
    if triggers.min_samples and monitoring.samples is None:
        yield Problem(("monitoring", "samples"), "is required, since triggers.min_samples is set")


def contradictions(triggers: Triggers) -> Iterator[Problem]:
    """Triggers that are right alone and wrong together: the path below `triggers`, and why."""
    threshold, rule = triggers.performance_threshold, triggers.evidence
    if not triggers.watched and triggers.max_model_age is None:
        yield Problem((), "nothing can trigger a training", "set performance_threshold, max_drop or drift_threshold")
    drift = triggers.drift_threshold if triggers.drift_breach is Side.BELOW else None
    vain = [("performance_threshold", threshold, 0), ("max_drop", triggers.max_drop, 1), ("drift_threshold", drift, 0)]
    for key in (key for key, value, limit in vain if value == limit):
        yield Problem((key,), "can never train: no window is in breach of it", "set it to null", quotes=True)
    if drift is not None and drift > 1:
        why = "is above every p-value, so each window would train with drift_breach: below"
        yield Problem(("drift_threshold",), why, quotes=True)
    for signal in triggers.watched:
        if triggers.min_age.of(signal) >= triggers.max_age.of(signal):
            why = f"is not shorter than max_age, so no window of {NAMES[signal]} would ever count"
            yield Problem(("min_age",), why, quotes=True)
    if rule is None:
        return
    if threshold is None:
        yield Problem(("evidence",), "needs performance_threshold: evidence is gathered for a drop of F1 below it")
    elif threshold >= 1:
        yield Problem(("evidence",), "needs a performance_threshold below 1: at 1 a single error is proof")
    elif not LEAST_DROP <= rule.min_drop <= threshold - LEAST_DROP:
        why = f"is not from {LEAST_DROP:g} to {threshold - LEAST_DROP:g}, just below performance_threshold"
        yield Problem(("evidence", "min_drop"), why, quotes=True)


def _not_http(keys: Keys, url: Url) -> Iterator[Problem]:
    if urlsplit(url).scheme == "file":
        yield Problem(keys, "is a file URL; it must be an http or https URL here")
