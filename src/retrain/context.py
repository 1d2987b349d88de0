"""The world that a command gets: the configuration, its secrets, the environment and the clock."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, field

from retrain.config import Config, Secrets, load


class Context(Struct, frozen=True):
    """The world that a command runs in.

    `clock` gives the time in UTC, `file` is that of the configuration. `blank` holds the variables that a secret is
    read from and that are empty (True) or not set (False).
    """

    config: Config
    secrets: Secrets
    environ: Mapping[str, str]
    clock: Callable[[], datetime]
    file: Path = Path("config.yaml")
    blank: Mapping[str, bool] = field(default_factory=dict)

    @property
    def logs(self) -> Path:
        """The directory with the output of trainings and hooks."""
        return self.config.state / "runs"

    def log_of(self, run: str) -> Path:
        """The file with the output of a run."""
        return self.logs / f"{run}.log"


def open_context(file: Path) -> Context:
    """The context of a command with this configuration. Raises ConfigError that lists every problem."""
    config, secrets = load(file, os.environ)
    blank = {name: name in os.environ for name in secrets.variables if not os.environ.get(name)}
    # No child process needs them: not the training, not a model that is scored, not a hook.
    for name in secrets.variables:
        os.environ.pop(name, None)
    return Context(config, secrets, os.environ, lambda: datetime.now(UTC), file.absolute(), blank)
