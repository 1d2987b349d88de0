"""One run at a time, its training included.

The lock is `flock` on a file that is never deleted. A training inherits the descriptor, so that the lock is held
until both the controller and the training are gone, and the kernel frees it when they are.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retrain.config import Config
from retrain.core.text import duration, moment
from retrain.errors import BusyError, RetrainError

_NAMED_BY_THEN = 1.0
"""Seconds in which even a run that a busy machine holds up has written its name, once it has the lock."""


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
def hold(state: Path, command: str, now: datetime, *, outlived: bool = False) -> Iterator[int]:
    """The descriptor of the lock, held until the block ends. Raises HeldError at once when another run has it.

    `outlived`: what inherited the descriptor and still lives then, a training that escaped say, keeps the lock. A
    service that a hook has started does not. Where this process is killed, either does.
    """
    path = state / "lock"
    with _errors_told(path):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _errors_told(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HeldError(path, _read(descriptor)) from None
            _write(descriptor, {"command": command, "pid": os.getpid(), "since": now.isoformat()})
        yield descriptor
    finally:
        if not outlived:
            free(descriptor)
        # What outlives this process with the descriptor keeps the lock, under the name of who took it; that is why
        # the name is left in the file.
        os.close(descriptor)


def free(descriptor: int) -> None:
    """Free the lock for everybody who inherited this descriptor, too."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)


def holder(state: Path) -> Holder | None:
    """Who holds the lock now; None when it is free. Looking can, for an instant, make another run find it busy."""
    path = state / "lock"
    with _errors_told(path):
        if not path.exists():
            return None
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file.fileno())
    return None


def is_held_still(state: Path, before: Holder | None) -> bool:
    """Whether this holder has the lock a second later, too: the name may have been that of a holder before."""
    time.sleep(_NAMED_BY_THEN)
    return holder(state) == before


@contextmanager
def _errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetrainError(f"{path}: the lock cannot be used: {error.strerror}") from error


def _write(descriptor: int, content: dict[str, object]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(content).encode(), 0)


def _read(descriptor: int) -> Holder | None:
    # Who has only just taken the lock is about to write its name over that of the holder before.
    time.sleep(0.01)
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        since = datetime.fromisoformat(content["since"]).astimezone()
        return Holder(str(content["command"]), int(content["pid"]), since)
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None


LOCK_SLACK = timedelta(minutes=1)
"""At most this much longer than its time limits allow may a lock be held before anybody is loud about it."""


def longest_hold(config: Config, command: str) -> timedelta:
    """How long this command may hold the lock, by its time limits."""
    training, promotion = config.training, config.promotion
    # A promotion scores, and its hook may run twice.
    reading = promotion.timeout if training.data is not None else timedelta()
    swapping = 3 * promotion.timeout
    if command != "check":
        return swapping
    longest = training.timeout + training.grace + reading
    return max(longest, swapping) if promotion.probation is not None else longest


def stuck(config: Config, holder: Holder, now: datetime) -> str | None:
    """The sentence about a lock that is held longer than its holder may take; None while it may be held."""
    longest, held = longest_hold(config, holder.command), now - holder.since
    if held <= longest + min(LOCK_SLACK, longest / 10):
        return None
    return (
        f"stuck: {holder} has held the lock for {duration(held)}, and may take {duration(longest)}."
        " Look at that process: the lock is free when it and its training have ended"
    )
