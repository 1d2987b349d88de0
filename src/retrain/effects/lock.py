"""One run at a time, its training included; and one change of the champion at a time, whatever else runs.

A lock is `flock` on a file that is never deleted. A training inherits the descriptor of RUN, so that it is held until
both the controller and the training are gone, and the kernel frees it when they are; the log of the run is locked by
the controller alone. SWAP is held for moments, and alone by a rollback: nobody should wait for a training to end before
a bad model can be taken out of service. NOTIFY is held by the command that sends notifications, after it has released
the others.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from retrain.config.schema import Config
from retrain.core.text import duration, moment
from retrain.effects import process
from retrain.effects.files import make_directory, opened, refuse_foreign, share
from retrain.errors import BusyError, RetrainError

RUN, SWAP, NOTIFY = "lock", "swap.lock", "notify.lock"
TRAINING = "training"
"""What a holder does that trains."""
_NAMED_BY_THEN = 1.0
"""Seconds in which even a run on a busy machine has written its name, once it has the lock."""
_PAUSE = 0.1
SLACK = timedelta(minutes=1)
"""A lock may be held at most this much longer than its holder's time limits allow before it counts as stuck."""


class Holder(Struct, frozen=True):
    """Who took the lock and when; `doing` names what takes long, empty while it only reads or writes.

    Of another program no `command` and no time are known, and `pid` is 0 where its process is not known either.
    """

    command: str
    pid: int
    since: datetime | None = None
    doing: str = ""

    def __str__(self) -> str:
        if self.since is None:
            return f"another program (process {self.pid or 'unknown'})"
        if not process.lives(self.pid):
            return f"what retrain {self.command} of {moment(self.since)} left behind, or another program,"
        doing = f", {self.doing}" if self.doing else ""
        return f"retrain {self.command} (process {self.pid}, since {moment(self.since)}{doing})"


_holder = msgspec.json.Decoder(Holder)  # made here, in one thread (see effects/journal/entries.py)


class Attempt(Struct):
    """The lock where it was free: its `descriptor`. Where it was not: None, and the `holder`.

    `inherited` may be set by who starts a training: then what has inherited the descriptor and still lives keeps the
    lock. Otherwise it is free on leaving, also where a hook has started a service that inherited the descriptor.
    """

    descriptor: int | None = None
    holder: Holder | None = None
    inherited: bool = False


class HeldError(BusyError):
    """Another run, or another program, holds the lock."""

    def __init__(self, path: Path, holder: Holder | None) -> None:
        super().__init__(f"busy: {holder or 'another run'} holds the lock {path}; try again when it has ended")
        self.holder = holder


@contextmanager
def attempt(state: Path, command: str, now: datetime, name: str = RUN) -> Iterator[Attempt]:
    """The lock if it is free, until the block ends; else who holds it."""
    path = state / name
    refuse_foreign(state, path)
    with _errors_named(path):
        make_directory(state, 0o700)
        descriptor = _made(path)
    found = Attempt()
    try:
        with _errors_named(path):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.holder = _present(descriptor)
            else:
                found.descriptor = descriptor
                _write(descriptor, Holder(command, os.getpid(), now))
        yield found
    finally:
        if found.descriptor is not None and not found.inherited:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)  # the next holder may be another program, which writes no name
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        # What outlives this process with the descriptor keeps the lock, under the name of who took it: it stays.
        os.close(descriptor)


@contextmanager
def hold(  # noqa: PLR0913  (which lock, for whom, and how long it is waited for)
    state: Path,
    command: str,
    now: datetime,
    *,
    wait: timedelta = timedelta(),
    on_wait: Callable[[Holder], None] = lambda _holder: None,
    name: str = RUN,
) -> Iterator[int]:
    """The descriptor of the lock, held until the block ends.

    Waits up to `wait` for a holder that is not doing something long; `on_wait` is called once with that holder.
    Raises HeldError when another run has it then.
    """
    deadline, waited = time.monotonic() + wait.total_seconds(), False
    while True:
        with attempt(state, command, now, name) as found:
            if found.descriptor is not None:
                yield found.descriptor
                return
        brief = found.holder is None or not found.holder.doing
        if not brief or time.monotonic() >= deadline:
            raise HeldError(state / name, found.holder)
        if found.holder is not None and not waited:
            on_wait(found.holder)
            waited = True
        time.sleep(_PAUSE)


def describe(descriptor: int, doing: str) -> None:
    """Write into the lock file what its holder, this process, does now."""
    holder = _read(descriptor)
    if holder is not None:
        _write(descriptor, replace(holder, doing=doing))


def holder(state: Path) -> Holder | None:
    """Who holds the lock now; None when it is free. For an instant this can make another run find it busy."""
    path = state / RUN
    with _errors_named(path):
        if not path.exists():
            return None
        with opened(path) as file:
            return _present(file.fileno()) if _is_taken(file) else None


@contextmanager
def claimed(log: Path) -> Iterator[None]:
    """Lock the log of a run for this process, and for none that it starts, until the block ends: see `is_claimed`."""
    with ExitStack() as stack:
        with suppress(OSError):  # what is wrong with the log is said where the command writes it
            descriptor = _made(log)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_claimed(log: Path) -> bool:
    """Whether the controller of the run with this log lives, also where somebody has removed the file of RUN."""
    with suppress(OSError), opened(log) as file:
        return _is_taken(file)
    return False


def is_training(state: Path) -> bool:
    """Whether a training holds the lock now."""
    found = None
    with suppress(OSError), opened(state / RUN) as file:
        found = _read(file.fileno())
    # A training leaves its name when it ends; only then the lock itself need be tried.
    return found is not None and found.doing == TRAINING and holder(state) is not None


def longest_hold(config: Config, command: str) -> timedelta:
    """How long this command may hold the lock, by its time limits."""
    training, promotion = config.training, config.promotion
    # A promotion scores, and its hook may run twice; a probation reads the log and scores.
    reading = promotion.timeout if training.data is not None else timedelta()
    swapping = 3 * promotion.timeout
    if command != "check":
        return swapping
    longest = training.timeout + training.grace + reading
    return longest + swapping if promotion.probation is not None else longest


def stuck(config: Config, found: Holder | None, now: datetime) -> BusyError | None:
    """The error of a lock that is held longer than its holder may take; None while it may be held."""
    if found is None:
        return None
    if found.since is None:
        error = BusyError(
            f"{found} holds the lock {config.state / RUN}", "see what it is; nothing is trained till it ends"
        )
        return error if is_held_still(config.state, found) else None
    longest, taken = longest_hold(config, found.command), now - found.since
    if taken <= longest + min(SLACK, longest / 10) or not is_held_still(config.state, found):
        return None
    why = f"stuck: {found} has held the lock for {duration(taken)} and may take {duration(longest)}"
    return BusyError(why, "look at that process; the lock is free when it and its training have ended")


def is_held_still(state: Path, before: Holder | None) -> bool:
    """Whether this holder has the lock a second later, too: the name may have been that of a holder before."""
    time.sleep(_NAMED_BY_THEN)
    return holder(state) == before


def _made(path: Path) -> int:
    """The descriptor of a file to lock, made if it is missing; no process that is started inherits it unasked."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    share(path)
    return descriptor


def _is_taken(file: IO[bytes]) -> bool:
    """Whether another has locked the file; if not, it is locked with others until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetrainError(f"{path}: the lock cannot be used: {error.strerror}") from error


def _write(descriptor: int, holder: Holder) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, msgspec.json.encode(holder), 0)


def _read(descriptor: int) -> Holder | None:
    try:
        found = _holder.decode(os.pread(descriptor, 4096, 0))
        return replace(found, since=found.since.astimezone()) if found.since is not None else None
    except (msgspec.MsgspecError, ArithmeticError, ValueError, RecursionError):
        return None


def _present(descriptor: int) -> Holder:
    """Who holds the lock on this file: who is named in it, unless the kernel says that another process took it."""
    named, locker = None, None
    for pause in (0.01, 0.1):  # a process that has just taken it is about to write its name over the last one
        time.sleep(pause)
        named, locker = _read(descriptor), _locker(descriptor)
        if named is not None and locker in (None, named.pid):
            return named
        if named is not None and locker is not None and named.pid in _ids(locker):
            return replace(named, pid=locker)
    return Holder("", locker if locker is not None and process.lives(locker) else 0)


def _ids(process: int) -> list[int]:
    """The ids that a process has here and in the containers it is in; none where it has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return [int(each) for line in lines if line.startswith("NSpid:") for each in line.split()[1:]]
    return []


def _locker(descriptor: int) -> int | None:
    """The process that took the lock on this file, where /proc/locks has it (see proc(5)); it may have ended."""
    file = os.fstat(descriptor)
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    with suppress(OSError, ValueError):
        for _, kind, _, _, number, where, *_ in map(str.split, Path("/proc/locks").read_text().splitlines()):
            if (kind, where) == ("FLOCK", place):
                return int(number)
    return None
