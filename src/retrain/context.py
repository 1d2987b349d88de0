"""The world that a command gets: the configuration, its secrets, the environment and the clock."""

import os
import pwd
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, field

from retrain.config import Config, Secrets, load
from retrain.core.events import Actor
from retrain.core.text import one_line
from retrain.errors import ConfigError

CONFIG = "config.yaml"
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


def open_context(file: Path) -> Context:
    """The context of a command with this configuration. Raises ConfigError that lists every problem."""
    (found,) = open_contexts([file])
    if isinstance(found, ConfigError):
        raise found
    return found


def open_contexts(files: Iterable[Path]) -> list[Context | ConfigError]:
    """For each configuration its context, or the error that lists every problem. They share one environment.

    No child process of any of them needs a variable that one of them reads a secret from: not the training, not a model
    that is scored, not a hook. So none has it.
    """
    before = dict(os.environ)
    found = [_context(file, before) for file in files]
    for each in found:
        for name in each.secrets.variables if isinstance(each, Context) else each.variables:
            os.environ.pop(name, None)
    return found


def _context(file: Path, before: Mapping[str, str]) -> Context | ConfigError:
    try:
        config, secrets = load(file, before)
    except ConfigError as error:
        return error
    blank = {name: name in before for name in secrets.variables if not before.get(name)}
    return Context(config, secrets, os.environ, lambda: datetime.now(UTC), file.absolute(), blank)


def configurations(given: Sequence[Path]) -> list[Path]:
    """The configurations: those given, and in a directory its own and those of the directories in it."""
    found: list[Path] = []
    for path in given:
        inside = _inside(path) if is_directory(path) else [path]
        if not inside:
            raise ConfigError(f"--config: there is no {CONFIG} in {path}, or in a directory in it")
        found += inside
    return list(dict.fromkeys(path.absolute() for path in found))


def is_directory(path: Path) -> bool:
    """Whether it is one; what cannot be looked at is none, and who reads it says why."""
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises)


def _inside(directory: Path) -> list[Path]:
    """The configurations of a directory and of those in it; also one that cannot be read, since that is to be said."""
    try:
        places = [directory, *directory.iterdir()]
    except OSError as error:
        raise ConfigError(f"--config: {directory} cannot be listed: {error.strerror}") from error
    return sorted(place / CONFIG for place in places if os.path.lexists(place / CONFIG) or _is_closed(place))


def _is_closed(place: Path) -> bool:
    """Whether nobody can tell if it is a project: a directory of another user, or a link that leads nowhere."""
    is_file = os.access(place, os.F_OK) and not is_directory(place)
    return not (is_file or os.access(place, os.X_OK) or place.name.startswith((".", "lost+found")))
