"""The log of a run: the command writes it, a terminal follows it, its end is quoted."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from retrain.config.schema import KeepLogs
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
