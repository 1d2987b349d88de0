"""What a run prints: text or JSON, safe for a terminal; and the boundary where errors become exit codes."""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any, TextIO

import click

from retrain.config import Secrets
from retrain.core.text import printable
from retrain.errors import Exit, Report, RetrainError, Stopped

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""The errors of an operating system that runs out of files, memory, processes or disk."""


class Output:
    """What this run prints: for a terminal, for cron, or as JSON. Every text passes here, without secrets."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool, kept: bool = False) -> None:
        """Printed at once, or `kept` until `release`."""
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self._kept: list[tuple[str, bool]] | None = [] if kept else None
        self.secrets = Secrets((), frozenset())
        self.name = ""
        """The configured name of the project, which a line in a log or mail begins with."""
        self.about: dict[str, str] = {}
        """The name in each object of --json but a failure: the configured one, or that of the directory."""
        self._is_one = False
        """Whether it is that of one of several projects, whose lines and objects are told apart."""
        self.said = ""
        """The message of the command that has ended, also where nothing was printed."""

    def one_of_several(self, name: str, file: Path) -> None:
        """Let every line name the project, and every object its configuration, too."""
        self.name, self.about, self._is_one = name, {"name": name, "config": str(file)}, True

    def beside(self) -> "Output":
        """The same output, for what is no part of the result."""
        other = copy(self)
        other.as_json = False
        return other

    def release(self) -> None:
        """Print what was kept. Raises what printing raises."""
        kept, self._kept = self._kept or [], None
        for text, is_error in kept:
            self._write(text, sys.stderr if is_error else sys.stdout)

    def show(self, report: Report) -> None:
        """Print what came of a command; nothing where nothing changed, unless a terminal reads."""
        self.said = self._safe(report.message)
        if self.as_json:
            ended = {"exit_code": report.exit_code} if self._is_one else {}
            for each in (report.data,) if report.lines is None else report.lines:
                self._object({**each, **ended})
            return
        failed = report.exit_code not in (Exit.DONE, Exit.REJECTED, Exit.INCONCLUSIVE)
        stream = sys.stderr if failed and not report.on_stdout else sys.stdout
        if not (report.news or self.verbose or stream.isatty()) or (self.quiet and not failed):
            return
        if report.paged and stream.isatty():
            click.echo_via_pager(self._safe(report.message))
            return
        text = self._safe(report.screen if report.screen and stream.isatty() else report.message)
        text = text if not self._is_one and (stream.isatty() or "\n" in text) else self._named(text)
        self._write(_coloured(text, report.tones) if _has_colour(stream) else text, stream)
        for line in report.details if self.verbose else ():
            self.announce(line)

    def say(self, text: str, *, err: bool = False) -> None:
        """Print a line while a command runs, unless only failures or JSON are wanted."""
        if not (self.quiet or self.as_json):
            self._write(self._safe(text), sys.stderr if err else sys.stdout)

    def announce(self, text: str) -> None:
        """Print a line on standard error."""
        self._write(self._safe(self._named(text) if self._is_one else text), sys.stderr)

    def fail(self, message: str, exit_code: int) -> None:
        """Print what went wrong; where that cannot be printed either, the exit code must do."""
        self.said = self._safe(message)
        with suppress(OSError, RetrainError):
            if self.as_json:
                self._object({"error": message, "exit_code": exit_code})
            else:
                self._write(self._safe(f"retrain: {self._named(message)}"), sys.stderr)

    def _object(self, found: Mapping[str, Any]) -> None:
        about = self.about if self._is_one or "error" not in found else {}
        self._write(json.dumps(self._clean({**found, **about})), sys.stdout)

    def _write(self, text: str, stream: TextIO) -> None:
        if self._kept is not None:
            self._kept.append((text, stream is sys.stderr))
            return
        _write(text, stream)

    def _named(self, text: str) -> str:
        """The text with the name of the project before its first line, or before each."""
        lines = text.split("\n") if self._is_one else [text]
        return "\n".join(f"{self.name}: {line}" for line in lines) if self.name else text

    def _clean(self, value: Any, key: str = "") -> Any:
        """The value with its sentences scrubbed: a secret that looks like a number or a reason breaks no object."""
        if isinstance(value, Mapping):
            return {name: self._clean(below, name) for name, below in value.items()}
        if isinstance(value, list):
            return [self._clean(below, key) for below in value]
        return self.secrets.scrub(value) if key in ("message", "error", "log") else value

    def _safe(self, text: str) -> str:
        """The text without secrets and control characters; bytes of a name that are not UTF-8 are shown escaped."""
        return printable(self.secrets.scrub(text).encode(errors="backslashreplace").decode(), "\n\t")


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines: the first column begins at the left, the others end below their heads."""
    first, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    formats = [f"<{first}", *(f">{width}" for width in others)]
    return ["  ".join(map(format, row, formats)) for row in table]


def _has_colour(stream: TextIO) -> bool:
    """Whether this is a terminal with colours, whose user has not refused them (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(text: str, tones: Mapping[str, str]) -> str:
    """The text with colours for the words that begin a line."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        for word in (each for each in tones if line.startswith(each)):
            lines[number] = click.style(word, fg=tones[word], bold=True) + line[len(word) :]
    return "\n".join(lines)


def _write(text: str, stream: TextIO) -> None:
    """Write a line. Raises RetrainError where a disk is full; BrokenPipeError where the reader has gone."""
    try:
        click.echo(text, file=stream)
    except OSError as error:
        # What is left in its buffer must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        why = f"cannot be written: {error.strerror}; what was done stands (see retrain status)"
        raise RetrainError(f"{stream.name.strip('<>')} {why}") from error


@contextmanager
def boundary(output: Output) -> Iterator[None]:
    """The one place where an error becomes a sentence and an exit code."""
    try:
        yield
    except RetrainError as error:
        output.fail(str(error), error.exit_code)
        sys.exit(error.exit_code)
    except Stopped as stopped:
        output.fail(f"stopped by {signal.Signals(stopped.number).name}", stopped.exit_code)
        sys.exit(stopped.exit_code)
    except BrokenPipeError:
        # The reader of the output has gone.
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SCARCE):
            output.fail(f"this machine is short of what retrain needs: {error or 'memory'}", Exit.FAILED)
            sys.exit(Exit.FAILED)
        output.fail(f"a bug in retrain: {type(error).__name__}: {error}; {_traceback_file(output)}", Exit.BUG)
        sys.exit(Exit.BUG)


def _traceback_file(output: Output) -> str:
    import tempfile
    import traceback

    text = output.secrets.scrub(traceback.format_exc())
    try:
        with tempfile.NamedTemporaryFile("w", prefix="retrain-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError as error:
        return f"its traceback could not be written: {error.strerror}"
    return f"please report it with {file.name}"


def repair_streams() -> None:
    """Replace a stream that was closed (`2>&-`) by /dev/null, and escape what an encoding lacks."""
    for name in ("stdin", "stdout", "stderr"):  # in this order each gets its own descriptor, and no file of ours does
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115  (open to the end)
        getattr(sys, name).reconfigure(errors="backslashreplace")
