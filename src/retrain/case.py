"""One promotion at work: how it was ordered, who is compared, and which files must not change meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrain.context import Context
from retrain.effects.journal import Journal
from retrain.errors import RetrainError

TRAINED, KEPT = "training ", "versions"
"""How the source of a challenger begins that a training left; that of one which was kept."""


@dataclass(frozen=True, slots=True)
class Order:
    """How the command was given.

    `challenger` is a path or a version's prefix (None: the one that training left); `forced` and `rejected` are
    a person's reasons; `progress` hears the share of the holdout that is done.
    """

    challenger: str | None = None
    dry_run: bool = False
    if_pending: bool = False
    forced: str | None = None
    rejected: str | None = None
    progress: Callable[[float], None] = lambda _share: None


@dataclass(frozen=True, slots=True)
class Case:
    """One promotion at work, with the lock held."""

    context: Context
    journal: Journal
    order: Order
    lock_fd: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Who is compared: versions, and the files that hold these very bytes. `source` says whence the challenger."""

    challenger: str
    challenger_file: Path
    champion: str | None
    champion_file: Path | None
    source: str

    @property
    def file_given(self) -> str | None:
        """The name of the challenger's file, where a person gave one."""
        return None if self.source == KEPT or self.source.startswith(TRAINED) else Path(self.source).name


def stamp_of(file: Path) -> str:
    """What changes when the file, the holdout say, is touched."""
    try:
        found = file.stat()
    except OSError as error:
        raise RetrainError(f"{file}: cannot be read: {error.strerror} (is it promotion.holdout?)") from error
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
