"""The world that a command gets: the configuration, its secrets, the environment and the clock."""

import os
import pwd
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, field

from retrain.config import Config, Secrets, load
from retrain.core.events import Actor
from retrain.core.text import one_line

_OF_CI = (
    "GITHUB_TRIGGERING_ACTOR",  # GitHub Actions, as Gitea and Forgejo: who started this run, or repeated it
    "GITHUB_ACTOR",
    "GITLAB_USER_LOGIN",
    "BUILDKITE_BUILD_CREATOR",
    "CIRCLE_USERNAME",
    "BUILD_REQUESTEDFOR",  # Azure Pipelines
)
"""The variables in which CI services name the person for whom a job runs."""


class Context(Struct, frozen=True):
    """The world that a command runs in.

    `clock` gives the time in UTC, `file` is that of the configuration. `run` is a name of this run, 32 random hex
    digits. `blank` holds the variables that a secret is read from and that are empty (True) or not set (False).
    """

    config: Config
    secrets: Secrets
    environ: Mapping[str, str]
    clock: Callable[[], datetime]
    file: Path = Path("config.yaml")
    blank: Mapping[str, bool] = field(default_factory=dict)
    run: str = field(default_factory=lambda: os.urandom(16).hex())

    @property
    def actor(self) -> Actor:
        """Who runs this command: before sudo, else by the login name, else for a CI service; and on which host."""
        ci = next((self.environ[name] for name in _OF_CI if self.environ.get(name)), "")
        try:
            login = pwd.getpwuid(os.getuid()).pw_name  # and not what $USER says
        except KeyError:
            login = ""  # a container may run as a number
        who = self.environ.get("SUDO_USER") or login or ci or f"uid {os.getuid()}"
        who, host, ci = (one_line(each, 100) for each in (who, os.uname().nodename, ci))
        return Actor(who, host, ci if ci != who else "")

    @property
    def logs(self) -> Path:
        """The directory with the output of trainings and hooks."""
        return self.config.state / "runs"

    def log_of(self, run: str) -> Path:
        """The file with the output of a run."""
        return self.logs / f"{run}.log"


def open_context(file: Path, environ: MutableMapping[str, str] = os.environ) -> Context:
    """The context of a command with this configuration. Raises ConfigError that lists every problem.

    Secrets are taken out of the environment: no child process needs them, not the training, not a model that is scored,
    not a hook.
    """
    config, secrets = load(file, environ)
    blank = {name: name in environ for name in secrets.variables if not environ.get(name)}
    for name in secrets.variables:
        environ.pop(name, None)
    return Context(config, secrets, environ, lambda: datetime.now(UTC), file.absolute(), blank)
