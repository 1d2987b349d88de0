"""Runs the training command, to its end and with its whole process group; says what came of it."""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from retrain.config.schema import KeepLogs, Training
from retrain.effects import process
from retrain.effects.process import Process
from retrain.effects.training.obstacles import why_not_started
from retrain.errors import RetrainError

_TAIL_LINES, _TAIL_WIDTH, _TAIL_LENGTH = 5, 300, 8 * 1024
_READ_BYTES = 64 * 1024
"""So much is read for the tail that what is cut off at its beginning is not in the tail."""
_ECHO_BYTES = 1024**2
_ESCAPE = re.compile(r"\x1b\].*?(?:\x07|\x1b\\)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]")


@contextmanager
def opened(log: Path) -> Iterator[int]:
    """The descriptor of the log, made if it is missing. Raises RetrainError where it cannot be written."""
    try:
        descriptor = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise RetrainError(
            f"{log}: the log of the training cannot be written: {error.strerror} (mend the directory or change `state`)"
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def tidy(logs: Path, keep: KeepLogs, now: datetime) -> int:
    """How many logs of this directory are gone now: those that are too old, and those beyond the latest so many."""
    removed = 0
    try:
        latest = sorted(_dated(logs), reverse=True)
        for place, (written, path) in enumerate(latest):
            if place >= keep.count or written < (now - keep.age).timestamp():
                path.unlink(missing_ok=True)
                removed += 1
    except OSError as error:
        raise RetrainError(f"{logs}: old logs cannot be removed: {error.strerror}") from error
    return removed


def _dated(logs: Path) -> Iterator[tuple[float, Path]]:
    for path in logs.glob("*.log"):
        with suppress(FileNotFoundError):  # another command tidies, too
            if path.is_file():
                yield path.stat().st_mtime, path


class Follower:
    """Shows what is new in the log."""

    def __init__(self, log: int, position: int, echo: Callable[[bytes], None] | None) -> None:
        self.log, self.position, self.echo = log, position, echo

    def more(self) -> bool:
        """Whether there was anything new to show."""
        if self.echo is None:
            return False
        new = os.pread(self.log, _ECHO_BYTES, self.position)
        self.position += len(new)
        try:
            if new:
                self.echo(new)
        except OSError:  # the terminal is gone, the training is not
            self.echo = None
        return bool(new)


def tail(log: int, start: int, clean: Callable[[str], str]) -> tuple[str, ...]:
    """The last lines of the log as a terminal would show them, without colours and control characters.

    `clean` takes out what must not be shown, before anything is cut: half a secret is not recognised.
    """
    begin = max(start, os.fstat(log).st_size - _READ_BYTES)
    text = clean(os.pread(log, _READ_BYTES, begin).decode(errors="replace"))[-_TAIL_LENGTH:]
    # A progress bar overwrites itself after each carriage return.
    shown = (_plain(line.rstrip("\r").rpartition("\r")[2]) for line in text.split("\n"))
    return tuple(line[:_TAIL_WIDTH] for line in shown if line)[-_TAIL_LINES:]


def _plain(line: str) -> str:
    text = _ESCAPE.sub("", line).expandtabs()
    return "".join(character for character in text if character.isprintable()).rstrip()


_OUTER_MAKE = frozenset({"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"})
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SAME_REQUEST = 0.2
"""Seconds. timeout(1), systemd and a closing terminal send two signals at once and mean one."""


class Ended(Struct, frozen=True):
    """What came of the command.

    `exit_code` is -N where signal N ended it, None where it could not be started (`problem` says why).
    `signal` is the first one that the controller was sent meanwhile. `tail` is the end of the log, for a message.
    """

    exit_code: int | None
    seconds: float
    timed_out: bool
    signal: int | None
    tail: tuple[str, ...]
    problem: str | None


def how_it_ended(ended: Ended) -> str:
    """The end of a command that was started, in words."""
    code = ended.exit_code or 0
    return f"exited {code}" if code >= 0 else f"was ended by signal {-code}"


def environment(
    base: Mapping[str, str], secret_variables: frozenset[str], training: Training, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the command: no outer make, no secrets, plus what the configuration and the run add."""
    withheld = _OUTER_MAKE | secret_variables
    kept = {name: value for name, value in base.items() if name not in withheld}
    return {**kept, **training.environment, **extra}


def run(  # noqa: PLR0913, PLR0917  (what runs, where its output goes, and what of that may be shown)
    training: Training,
    environment: Mapping[str, str],
    log: Path,
    lock_fd: int,
    echo: Callable[[bytes], None] | None,
    clean: Callable[[str], str] = str,
    *,
    key: str = "training.command",
) -> Ended:
    """What came of the command, once nothing of its process group runs any more.

    Its output goes straight to the file `log`, so a training outlives a killed controller undisturbed; `echo`
    gets the same bytes as they come, `clean` takes out of the tail what must not be shown. The command inherits
    `lock_fd` and so keeps the lock while it runs. `key` is where the configuration has the command.
    Raises RetrainError if the log cannot be written.
    """
    began = time.monotonic()
    with opened(log) as output:
        start = os.fstat(output).st_size
        with _recorded_signals() as received:
            try:
                started = process.start(
                    training.command, training.directory, environment, output=output, inherited=lock_fd
                )
            except (OSError, ValueError) as error:
                why = why_not_started(training, environment, error, key)
                return Ended(None, time.monotonic() - began, False, received.first, (), why)
            follower = Follower(output, start, echo)
            try:
                timed_out = _wait(started, training, received, follower)
            finally:
                exit_code = process.end(started)
            while follower.more():
                pass
        seconds = time.monotonic() - began
        return Ended(exit_code, seconds, timed_out, received.first, tail(output, start, clean), None)


# ---------------------------------------------------------------- signals to the controller


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
        return bool(self.signals) and self.signals[-1][1] - self.signals[0][1] > _SAME_REQUEST


@contextmanager
def _recorded_signals() -> Iterator[_Received]:
    """The signals sent from now on, recorded instead of handled. Only the main thread may do this."""
    received, before = _Received(), {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored on purpose, by nohup for one
                    before[number] = signal.signal(number, received.record)
            if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # the kernel would throw the exit code away
                before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(started: Process, training: Training, received: _Received, follower: Follower) -> bool:
    """Whether the time limit was reached. On return the command has ended or has used up its grace."""

    def is_over() -> bool:
        return process.exit_code(started) is not None or received.first is not None

    in_time = process.until(is_over, training.timeout.total_seconds(), follower.more)
    if process.exit_code(started) is None:
        process.ask(started, received.first or signal.SIGTERM)
        grace = training.grace.total_seconds()
        process.until(lambda: received.insistent or process.is_gone(started), grace, follower.more)
    return not in_time
