"""What every story is told by the door: the configuration, its secrets, the environment and the clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from retrain.config import Config, Secrets


@dataclass(frozen=True, slots=True)
class Context:
    """The world a command runs in. `clock` gives the time in UTC."""

    config: Config
    secrets: Secrets
    environ: Mapping[str, str]
    clock: Callable[[], datetime]

    @property
    def logs(self) -> Path:
        """The directory of what trainings and hooks printed."""
        return self.config.state / "runs"

    def log_of(self, run: str) -> Path:
        """Where the output of a run goes."""
        return self.logs / f"{run}.log"
