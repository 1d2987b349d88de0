"""A small world for the monitor's tests: a configuration, logs and references, an hour a window."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pandas as pd
from msgspec.structs import replace

from retrain.config.schema import Config, Models, Monitor, Promotion
from retrain.core.rules import Triggers
from retrain.exporter.measure import Gauge, Measures

HOUR = 3600
NOW = 472_300.0 * HOUR + 600
"""Ten minutes into a window."""

Row = Mapping[str, object]


def config(directory: Path, **monitor: object) -> Config:
    """A configuration whose files are in `directory`: windows of an hour, 2 bins, so that 40 rows are enough."""
    settings = Monitor(log=directory / "log.csv", window=timedelta(hours=1), bins=2)
    return Config(
        triggers=Triggers(),
        models=Models(champion=directory / "models" / "champion.joblib"),
        promotion=Promotion(),
        monitor=replace(settings, **monitor),
    )


def rows(hours_ago: float, pairs: Iterable[tuple[object, object]], now: float = NOW, **features: object) -> list[Row]:
    """One row a (label, prediction), `hours_ago` windows before the one that `now` lies in."""
    at = now // HOUR * HOUR - hours_ago * HOUR
    return [
        {"timestamp": at + number / 1000, **features, "prediction": prediction, "label": label}
        for number, (label, prediction) in enumerate(pairs)
    ]


def csv(rows: Sequence[Row], header: bool = True) -> str:
    """The rows as the text of a CSV."""
    return pd.DataFrame(rows).to_csv(index=False, header=header)


def measure(settings: Config, now: float = NOW) -> Measures:
    """What a monitor says that looks for the first time."""
    return Gauge(settings).measure(now)


def champion(directory: Path, name: str, reference: pd.DataFrame | None) -> Path:
    """A version with its reference, as the registry keeps it; the champion link is swapped to it atomically."""
    versions = directory / "models" / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    sha = hashlib.sha256(name.encode()).hexdigest()
    (versions / f"{sha}.joblib").write_bytes(name.encode())
    if reference is not None:
        reference.to_parquet(versions / f"{sha}.reference.parquet")
    fresh = directory / "models" / ".champion.new"
    fresh.symlink_to(Path("versions") / f"{sha}.joblib")
    fresh.replace(directory / "models" / "champion.joblib")
    return versions / f"{sha}.reference.parquet"
