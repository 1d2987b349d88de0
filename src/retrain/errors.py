"""What can go wrong, and with which exit code; and the signals that stop a command."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace


class Exit(IntEnum):
    """The exit codes that scripts may rely on; `ended by signal N` is 128 + N."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BUG = 3
    UNKNOWN = 4
    REJECTED = 10
    INCONCLUSIVE = 11
    BUSY = 75


_GRAVEST_FIRST = (Exit.BUG, Exit.USAGE, Exit.FAILED, Exit.UNKNOWN, Exit.BUSY, Exit.DONE)


def gravest(codes: Iterable[int]) -> int:
    """The exit code of a command for several projects: an unusual one, else the first of 3, 2, 1, 4, 75 and 0."""
    found = {*codes}
    return max(found - {*_GRAVEST_FIRST}, default=0) or next((it for it in _GRAVEST_FIRST if it in found), Exit.DONE)


class RetrainError(Exception):
    """An expected failure: `why` says what happened and where, `remedy` what to do; the text is made of both."""

    exit_code: int = Exit.FAILED

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(f"{why} ({remedy})" if remedy else why)
        self.why, self.remedy = why, remedy


class ConfigError(RetrainError):
    """The configuration or the flags are wrong; every problem found, one a line.

    `variables` are those that a wrong configuration may read a secret from.
    """

    exit_code = Exit.USAGE
    variables: frozenset[str] = frozenset()


class UnreachableError(RetrainError):
    """The metrics cannot be read."""

    exit_code = Exit.UNKNOWN


class BusyError(RetrainError):
    """Another run is in the way: it holds the lock, or has changed the champion meanwhile."""

    exit_code = Exit.BUSY


_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SAME_REQUEST = 0.2
"""Seconds. timeout(1), systemd and a closing terminal send two signals at once and mean one."""


class Stopped(BaseException):
    """The controller was sent signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 + N, what a shell reports for a process that signal N ended."""
        return 128 + self.number


@contextmanager
def handled(handler: Callable[[int, Any], object], *, reaps: bool = False) -> Iterator[None]:
    """Let the handler have the signals that stop a command; only the main thread gets any.

    With `reaps` SIGCHLD is not ignored meanwhile, for the kernel would throw exit codes away.
    """
    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored on purpose, by nohup for one
                    before[number] = signal.signal(number, handler)
            if reaps and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
                before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raise RetrainError that names the file where the operating system refuses an operation on it."""
    try:
        yield
    except OSError as error:
        raise RetrainError(f"{error.filename or path}: {error.strerror}") from error


class Report(Struct, frozen=True):
    """The outcome of a command: a sentence, the object for `--json` and the exit code.

    `news` is False where nothing changed and nothing failed: then nothing is printed under cron. `details` are further
    lines for `-v`. `paged` is a long text that a terminal shows page by page. `on_stdout` is a result also where it
    is one of failures. `screen` is what a terminal shows instead of the message, if anything; `tones` are the
    colours of words that begin a line there. `lines` are the objects of a command whose --json is one a line, in place
    of `data`.
    """

    message: str
    data: Mapping[str, Any]
    exit_code: int = Exit.DONE
    news: bool = True
    details: tuple[str, ...] = field(default=())
    paged: bool = False
    on_stdout: bool = False
    screen: str = ""
    tones: Mapping[str, str] = field(default_factory=dict)
    lines: Iterable[Mapping[str, Any]] | None = None

    def after(self, settled: tuple[str, ...]) -> "Report":
        """The report with what had to be settled before, in clauses; that is always news."""
        return replace(self.noting(f"before that, {'; '.join(settled)}"), news=True) if settled else self

    def noting(self, note: object) -> "Report":
        """The report with this note, if any, at the end of its message."""
        if not note:
            return self
        message, screen = f"{self.message} ({note})", self.screen and f"{self.screen}\n({note})"
        data = {**self.data, "message": message} if "message" in self.data else self.data
        return replace(self, message=message, data=data, screen=screen)


def failure(message: str, exit_code: int = Exit.FAILED, *, news: bool = True) -> Report:
    """The report of what a command could not do."""
    return Report(message, {"error": message, "exit_code": exit_code}, exit_code, news)
