"""The training command, and every other that is to end with its whole process group: run, recorded in a log.

Whoever sends the controller a signal meanwhile means the command: it gets the signal, and the grace to act on it.
"""

import errno
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from retrain.config.schema import KeepLogs, Training
from retrain.core.records import Outcome
from retrain.core.text import duration, last_lines
from retrain.effects import process
from retrain.effects.files import free, freed, is_full, share
from retrain.effects.process import Process
from retrain.errors import SAME_REQUEST, RetrainError, file_errors, handled

_TAIL_BYTES = 8 * 1024
_READ_BYTES = 64 * 1024
"""So much is read for the tail that what is cut off at its beginning is not in the tail."""
_ECHO_BYTES = 1024**2
_OF_MAKE = r"(?m)^make(\[\d+\])?: \*\*\* \[.*\] Error \d+\n?"
"""What make adds to the message of a command that failed; the exit code says it."""


class Ended(Struct, frozen=True):
    """How the command ended.

    `exit_code` is -N where signal N ended it, None where it could not be started (`problem` says why).
    `signal` is the first one that the controller was sent meanwhile. `tail` is the end of the log, for a message.
    """

    exit_code: int | None
    seconds: float
    timed_out: bool
    signal: int | None
    tail: tuple[str, ...]
    problem: str | None

    @property
    def outcome(self) -> Outcome:
        """How the training has ended, as far as its command shows."""
        if self.problem is not None or not (self.signal or self.timed_out):
            return Outcome.SUCCEEDED if self.exit_code == 0 else Outcome.FAILED
        return Outcome.INTERRUPTED if self.signal is not None else Outcome.TIMED_OUT

    def failure(self, limit: timedelta) -> str:
        """How a command with this time limit has failed, as a clause about it; empty where it has not."""
        took, code = duration(timedelta(seconds=self.seconds)), self.exit_code or 0
        match self.outcome:
            case Outcome.INTERRUPTED:
                return f"was stopped after {took}: retrain was sent signal {self.signal}"
            case Outcome.TIMED_OUT:
                return f"was stopped after {duration(limit)}, its time limit"
            case Outcome.FAILED if self.problem is not None:
                return f"could not be started: {self.problem}"
            case Outcome.FAILED:
                return f"exited {code} after {took}" if code > 0 else f"was ended by signal {-code} after {took}"
        return ""

    @property
    def quote(self) -> str:
        """The end of its output, as the end of a clause about it."""
        return f": {' | '.join(self.tail)}" if self.tail else ""


def environment(
    base: Mapping[str, str], secret_variables: frozenset[str], training: Training, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the command: no outer make, no secrets, plus what the configuration and the run add."""
    return process.environment(base, secret_variables, training.environment, extra)


def run(  # noqa: PLR0913, PLR0917  (what runs, where its output goes, and what of that may be shown)
    training: Training,
    environment: Mapping[str, str],
    log: Path,
    lock_fd: int,
    echo: Callable[[bytes], None] | None,
    scrub: Callable[[str], str] = str,
    *,
    key: str = "training.command",
) -> Ended:
    """The end of the command, once nothing of its process group runs any more.

    Its output goes straight to the file `log`, so a training outlives a killed controller undisturbed; `echo`
    gets the same bytes as they come, `scrub` takes secrets out of the tail. The command inherits `lock_fd` and so
    keeps the lock while it runs. `key` is where the configuration has the command.
    Raises RetrainError if the log cannot be written.
    """
    began = time.monotonic()
    with _opened(log) as descriptor:
        output, received = _Output(descriptor, min(training.max_log, free(log) // 2), echo), _Received()
        with handled(received.record, reaps=True):
            try:
                started = process.start(
                    training.command, training.directory, environment, output=descriptor, inherited=[lock_fd]
                )
            except (OSError, ValueError) as error:
                why = str(_why_not_started(training, environment, error, key))
                return Ended(None, time.monotonic() - began, False, received.first, (), why)
            try:
                timed_out = _wait(started, training, received, output.follow)
            finally:
                exit_code = process.end(started)
                output.cut()  # before anything is recorded: the disk may be full of it
            while output.show():
                pass
        seconds, tail = time.monotonic() - began, output.tail(scrub)
        # Where a disk is full, the last words of the command may be lost.
        full = [disk for disk in (log.parent, training.directory) if exit_code and is_full(disk)]
        tail += tuple(f"the disk of {disk} is full" for disk in full)
        return Ended(exit_code, seconds, timed_out, received.first, tuple(dict.fromkeys(tail)), None)


def _wait(started: Process, training: Training, received: "_Received", follow: Callable[[], None]) -> bool:
    """Whether the time limit was reached. On return the command has ended or has used up its grace."""

    def is_over() -> bool:
        return process.exit_code(started) is not None or received.first is not None

    in_time = process.until(is_over, training.timeout.total_seconds(), follow)
    if process.exit_code(started) is None:
        process.ask(started, received.first or signal.SIGTERM)
        grace = training.grace.total_seconds()
        process.until(lambda: received.insistent or process.is_gone(started), grace, follow)
    return not in_time


class _Received:
    """The signals that the controller was sent, with their times."""

    def __init__(self) -> None:
        self.signals: list[tuple[int, float]] = []

    def record(self, number: int, _frame: object) -> None:
        self.signals.append((number, time.monotonic()))

    @property
    def first(self) -> int | None:
        return self.signals[0][0] if self.signals else None

    @property
    def insistent(self) -> bool:
        """Whether a second signal came that is not part of the same request."""
        return bool(self.signals) and self.signals[-1][1] - self.signals[0][1] > SAME_REQUEST


# ---------------------------------------------------------------- the log


@contextmanager
def _opened(log: Path) -> Iterator[int]:
    """The descriptor of the log, made if it is missing."""
    try:
        descriptor = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        share(log)
    except OSError as error:
        why = f"{log}: the log of the command cannot be written: {error.strerror}"
        raise RetrainError(why, "correct the directory, or change `state`") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Output:
    """What a command adds to a log: shown as it comes, `most` bytes of it kept."""

    def __init__(self, log: int, most: int, echo: Callable[[bytes], None] | None) -> None:
        self.log, self.most, self.echo = log, most, echo
        self.start = self.shown = os.fstat(log).st_size

    def follow(self) -> None:
        """Show what is new. Of too much free the middle, while the command goes on to write.

        A hole loses no line that is written at this moment, as cutting does where there are no holes.
        """
        self.show()
        end, begin = os.fstat(self.log).st_size, self.start + self.most // 2
        if end - self.start > self.most and not freed(self.log, begin, end - self.most // 4 - begin):
            self.cut()

    def show(self) -> bool:
        """Whether there was anything new to show."""
        if self.echo is None:
            return False
        self.shown = min(self.shown, os.fstat(self.log).st_size)  # it may have been cut
        new = os.pread(self.log, _ECHO_BYTES, self.shown)
        self.shown += len(new)
        try:
            if new:
                self.echo(new)
        except OSError:  # the terminal is gone, the training is not
            self.echo = None
        return bool(new)

    def cut(self) -> None:
        """Leave the middle out, if it is too much: what comes next is appended as before."""
        end = os.fstat(self.log).st_size
        if end - self.start <= self.most:
            return
        tail = os.pread(self.log, self.most // 4, end - self.most // 4)
        os.ftruncate(self.log, self.start + self.most // 2)
        left_out = end - self.start - self.most // 2 - len(tail)
        note = f"\n[{left_out:,} bytes were left out here, for training.max_log or the room on the disk]\n"
        with suppress(OSError):  # another program has filled what was freed
            os.write(self.log, note.encode() + tail)

    def tail(self, scrub: Callable[[str], str]) -> tuple[str, ...]:
        """The last lines. Secrets go before anything is cut: half a secret is not recognised."""
        begin = max(self.start, os.fstat(self.log).st_size - _READ_BYTES)
        output = scrub(os.pread(self.log, _READ_BYTES, begin).decode(errors="replace"))[-_TAIL_BYTES:]
        return last_lines(re.sub(_OF_MAKE, "", output) or output)


def tidy(logs: Path, keep: KeepLogs, now: datetime) -> int:
    """Remove the logs of this directory that are too old, and those beyond the latest so many; return their number."""
    with file_errors(logs):
        latest, oldest = sorted(_dated(logs), reverse=True), (now - keep.age).timestamp()
        removed = [path for place, (at, path) in enumerate(latest) if place >= keep.count or at < oldest]
        for path in removed:
            path.unlink(missing_ok=True)
    return len(removed)


def _dated(logs: Path) -> Iterator[tuple[float, Path]]:
    for path in logs.glob("*.log"):
        with suppress(FileNotFoundError):  # another command tidies, too
            if path.is_file():
                yield path.stat().st_mtime, path


# ---------------------------------------------------------------- why a command cannot be started


def obstacle(training: Training, environment: Mapping[str, str], key: str = "training.command") -> RetrainError | None:
    """Why the command could not be started, as far as can be seen without starting it; None where nothing is seen.

    `key` is where the configuration has the command.
    """
    found = _found(training, environment)
    problem: OSError | None = None
    if not _may_enter(training.directory) or found is None or not found.exists():
        problem = FileNotFoundError()
    elif found.is_dir() or not os.access(found, os.X_OK):
        problem = PermissionError()
    else:
        problem = _no_program(found)
    return _why_not_started(training, environment, problem, key) if problem is not None else None


def _why_not_started(
    training: Training, environment: Mapping[str, str], error: OSError | ValueError, key: str
) -> RetrainError:
    program, directory, found = training.command[0], training.directory, _found(training, environment)
    if not _may_enter(directory):
        why = f"the directory {directory} does not exist or may not be entered"
        return RetrainError(why, "create it, or change training.directory")
    match error:
        case FileNotFoundError() if found is None:
            why = f"was not found in PATH={_path(environment)}"
            path = "set PATH in training.environment (that of cron is short)"
            remedy = f"install it, give its absolute path in {key}, or {path}"
        case FileNotFoundError() if found is not None and found.exists():
            why = f"the interpreter that {found} names in its first line does not exist"
            return RetrainError(why, "correct the line that begins with #!")
        case FileNotFoundError():
            program, why, remedy = str(found), "does not exist", f"create it, or change {key}"
        case PermissionError():
            why, remedy = "may not be executed", f"chmod +x it, or change {key}"
        case OSError(errno=errno.ENOEXEC):
            why, remedy = "is not a program", "a script needs a first line such as #!/bin/sh"
        case _:
            why, remedy = f"failed to start: {error}", f"check {key} and training.environment"
    return RetrainError(f"the command {program} {why}", remedy)


def _no_program(file: Path) -> OSError | None:
    """The error of the kernel for a file that is no program; None also where its content cannot be read."""
    with suppress(OSError), file.open("rb") as opened:
        head = opened.read(256)
        if head.startswith(b"#!"):
            words = head[2:].splitlines()[0].split()
            return None if words and Path(os.fsdecode(words[0])).exists() else FileNotFoundError()
        if b"\0" not in head:
            return OSError(errno.ENOEXEC, "")
    return None


def _may_enter(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.X_OK)


def _found(training: Training, environment: Mapping[str, str]) -> Path | None:
    """The file that the command's first word means, there or in the command's own PATH."""
    program = training.command[0]
    found = training.directory / program if "/" in program else shutil.which(program, path=_path(environment))
    return Path(found) if found is not None else None


def _path(environment: Mapping[str, str]) -> str:
    return os.pathsep.join(os.get_exec_path(environment))
