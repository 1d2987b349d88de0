"""What every story is told by the door: the configuration, its secrets, the environment and the clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from retrain.config import Config, Secrets

if TYPE_CHECKING:
    from retrain.effects.crontab import World


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a context comes from: the file of the configuration, and cron's world where that was entered.

    `blank` are the variables that a secret is read from and that hold none: whether each is set at all.
    """

    file: Path = Path("config.yaml")
    world: "World | None" = None
    blank: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """The world a command runs in. `clock` gives the time in UTC."""

    config: Config
    secrets: Secrets
    environ: Mapping[str, str]
    clock: Callable[[], datetime]
    origin: Origin = field(default_factory=Origin)

    @property
    def logs(self) -> Path:
        """The directory of what trainings and hooks printed."""
        return self.config.state / "runs"

    def log_of(self, run: str) -> Path:
        """Where the output of a run goes."""
        return self.logs / f"{run}.log"
