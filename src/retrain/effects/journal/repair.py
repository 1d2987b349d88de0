"""A damaged journal is set aside and a new one started, for `retrain doctor --repair`."""

from datetime import datetime
from pathlib import Path

from retrain.core.events import Actor, HistoryLost
from retrain.effects.files import opened, sync_directory
from retrain.effects.journal.file import NAME, DamagedError, files_of, open_journal, set_aside
from retrain.errors import RetrainError, file_errors

_MEBIBYTE = 1024**2


def damage(state: Path) -> str | None:
    """What is wrong with the journal, all of which is read; None where nothing is, or where there is none.

    Raises RetrainError where the disk fails: what it holds may be whole.
    """
    path = state / NAME
    for file in files_of(path):
        # A read that fails is damage to SQLite.
        with file_errors(file), opened(file) as content:
            while content.read(_MEBIBYTE):
                pass
    try:
        with open_journal(state, writable=False) as journal:
            journal.verify(thorough=True)
    except DamagedError as error:
        return error.found
    return None


def name_aside(state: Path, at: datetime) -> Path:
    """Where to keep the damaged journal: where it is already, if a repair was interrupted."""
    path = state / NAME
    kept = set_aside(path)
    return kept[-1] if kept and not path.exists() else path.with_name(f"{NAME}.damaged-{at:%Y%m%dT%H%M%S.%fZ}")


def start_new(state: Path, kept: Path, served: str | None, at: datetime, by: Actor | None = None) -> None:
    """Keep the damaged journal under this name, and start one that knows what was lost, and the version that serves.

    After a crash anywhere in this a second call finishes it, and until then no command goes on without that knowledge.
    """
    path, fresh = state / NAME, state / f"{NAME}.new"
    with file_errors(path):
        for leftover in files_of(fresh):
            leftover.unlink()
        with open_journal(state, name=fresh.name) as journal:
            for each in dict.fromkeys((*set_aside(path), kept)):
                message = f"the journal was damaged and is kept as {each.name}; what only it knew is lost"
                journal.append(HistoryLost(each.name, message, served, by=by), at)
        if files_of(fresh) != [fresh]:
            raise RetrainError(f"{fresh}: the new journal cannot be written; nothing was changed", "is the disk full?")
        # The file goes first. Without it every command refuses to go on, so that the rest never meets another one.
        for file in files_of(path):
            file.rename(state / (kept.name + file.name[len(path.name) :]))
        sync_directory(state)
        fresh.rename(path)
        sync_directory(state)
