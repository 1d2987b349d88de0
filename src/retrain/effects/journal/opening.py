"""The journal, opened for a command: a damaged one is set aside, never deleted, and a new one begins."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from retrain.effects.journal.entries import Journal
from retrain.effects.journal.file import (
    ASIDE,
    DamageError,
    alone_in,
    beside,
    is_damage,
    make_directory,
    sound,
    sound_to_read,
    told_of_loss,
)
from retrain.errors import RetrainError

_MEBIBYTE = 1024**2


@contextmanager
def open_journal(state: Path, *, writable: bool = True, name: str = "journal.db") -> Iterator[Journal]:
    """The journal in this state directory; made if it is missing. Not writable: an absent one is empty.

    A damaged one is set aside, never deleted, and a new one begins (`HistoryLost`). Where the damage is found only
    later, RetrainError says so, and the next command goes on with the new one. Not writable: it is only told.
    """
    path = state / name
    with _errors_told(path):
        journal = _opened_to_write(path) if writable else sound_to_read(path)
    try:
        with closing(journal):
            yield journal
    except sqlite3.Error as error:
        with _errors_told(path):
            if not writable or not is_damage(error):
                raise
            told = _set_aside(path, DamageError(str(error), journal.inode, error))
        raise RetrainError(f"{told}. This command could not be finished: run it again") from error


@contextmanager
def _errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetrainError(f"{path}: the journal cannot be used: {error.strerror}") from error
    except (DamageError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise RetrainError(f"{path}: the journal cannot be used: {error}") from error
        raise RetrainError(
            f"{path}: the journal is damaged: {error} (restore it from a copy; otherwise retrain prune sets it"
            " aside and begins a new one)"
        ) from error


def _opened_to_write(path: Path) -> Journal:
    """The journal, or a new one that tells what happened to the one before it."""
    make_directory(path.parent)
    try:
        return sound(path)
    except DamageError as damage:
        told = _set_aside(path, damage)
        journal = sound(path)
        journal.news = (told,)
        return journal


def _set_aside(path: Path, damage: DamageError) -> str:
    """What is told of the damaged journal, which now has another name; a new one is there, and knows of that."""
    kept = path.with_name(f"{path.name}{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    with alone_in(path.parent), _nobody_at_work(path):
        if not path.exists() or path.stat().st_ino != damage.seen:
            return "the journal was damaged, and another command has just set it aside"
        if damage.may_pass:
            _refuse_unrepeated(path, damage)
        # The file itself goes last: its write-ahead log must never meet another one.
        for file in (*beside(path), path):
            if file.exists():
                file.rename(file.with_name(file.name.replace(path.name, kept.name, 1)))
    sound(path).close()
    return f"{told_of_loss(kept)} (what SQLite says: {damage})"


def _refuse_unrepeated(path: Path, damage: DamageError) -> None:
    """Raise RetrainError where all can be read now: a disk that fails once looks like damage to SQLite.

    Raises OSError where the disk still fails; what it holds may be whole.
    """
    for file in (path, *beside(path)):
        if file.exists():
            with file.open("rb") as content:
                while content.read(_MEBIBYTE):
                    pass
    try:
        with closing(sound(path)) as journal:
            journal.verify(thorough=True)
    except (DamageError, sqlite3.Error):
        return
    raise RetrainError(
        f"{path}: could not be read ({damage}), and can be now, so the disk may be failing; nothing was changed: run"
        " it again"
    )


@contextmanager
def _nobody_at_work(path: Path) -> Iterator[None]:
    """Nobody holds retrain's lock meanwhile: a training, say, whose controller has the file open."""
    descriptor = os.open(path.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetrainError(
                f"{path}: the journal is damaged, and will be set aside when the run that holds the lock has ended"
            ) from None
        yield
    finally:
        os.close(descriptor)
