"""One run at a time, its training included.

The lock is `flock` on a file that is never deleted. A training inherits the descriptor, so that the lock is held
until both the controller and the training are gone, and the kernel frees it when they are.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from retrain.core.words import moment
from retrain.errors import BusyError, RetrainError


@dataclass(frozen=True, slots=True)
class Holder:
    """Who took the lock, and when."""

    command: str
    pid: int
    since: datetime

    def __str__(self) -> str:
        return f"retrain {self.command} (process {self.pid}, since {moment(self.since)})"


class HeldError(BusyError):
    """Another run holds the lock; `holder` says who took it, where the file tells."""

    def __init__(self, path: Path, holder: Holder | None) -> None:
        who = f"by {holder}" if holder else "by a run that has not named itself yet"
        super().__init__(f"busy: {path} is held {who}; try again when it has ended")
        self.holder = holder


@contextmanager
def hold(state: Path, command: str, now: datetime) -> Iterator[int]:
    """The descriptor of the lock, held until the block ends. Raises HeldError at once when another run has it."""
    path = state / "lock"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RetrainError(f"{path}: the lock cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(path, _read(descriptor)) from None
        _write(descriptor, {"command": command, "pid": os.getpid(), "since": now.isoformat()})
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        # Closing, not unlocking: a training that outlives the controller keeps the lock.
        os.close(descriptor)


def holder(state: Path) -> Holder | None:
    """Who holds the lock now; None when it is free. Taking it to find out can make another run find it busy."""
    try:
        with hold(state, "status", datetime.now().astimezone()):
            return None
    except HeldError as error:
        return error.holder


def _write(descriptor: int, content: dict[str, object]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(content).encode(), 0)


def _read(descriptor: int) -> Holder | None:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(str(content["command"]), int(content["pid"]), datetime.fromisoformat(content["since"]))
    except (ValueError, KeyError, TypeError):
        return None
