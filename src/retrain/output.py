"""How a run talks: streams, sentences or JSON, and the boundary where errors become exit codes."""

import errno
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from retrain.config import Secrets
from retrain.errors import Exit, Report, RetrainError, Stopped

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What the operating system says wherever files, memory, processes or the disk run out."""


class Output:
    """How this run talks: to a terminal, to cron, or in JSON."""

    def __init__(self, *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        self.secrets = Secrets((), frozenset())

    def show(self, report: Report) -> None:
        """Say what a command has to say; nothing where nothing changed, unless a terminal reads."""
        if self.as_json:
            self._out_json(report.data)
            return
        failed = report.exit_code not in (Exit.DONE, Exit.REJECTED, Exit.INCONCLUSIVE)
        say, stream = (self._err, sys.stderr) if failed and not report.on_stdout else (self._out, sys.stdout)
        if (report.news or self.verbose or stream.isatty()) and (failed or not self.quiet):
            if report.paged and stream.isatty():
                click.echo_via_pager(report.message)
                return
            say(report.screen if report.screen and stream.isatty() else report.message)
            for line in report.details if self.verbose else ():
                self._err(line)

    def fail(self, message: str, exit_code: int) -> None:
        """Say what went wrong; where that cannot be said either, the exit code must do."""
        with suppress(OSError, RetrainError):
            if self.as_json:
                self._out_json({"error": message, "exit_code": exit_code})
            else:
                self._err(f"retrain: {message}")

    def _out_json(self, data: Mapping[str, Any]) -> None:
        _write(json.dumps(self._clean(data)), sys.stdout)

    def _clean(self, value: Any, key: str = "") -> Any:
        """The value with its sentences scrubbed: a secret that looks like a number or a reason breaks no object."""
        if isinstance(value, Mapping):
            return {name: self._clean(below, name) for name, below in value.items()}
        if isinstance(value, list):
            return [self._clean(below, key) for below in value]
        return self.secrets.scrub(value) if key in ("message", "error", "log") else value

    def _out(self, text: str) -> None:
        _write(self.secrets.scrub(text), sys.stdout)

    def _err(self, text: str) -> None:
        _write(self.secrets.scrub(text), sys.stderr)


def _write(text: str, stream: TextIO) -> None:
    """Write a line. Raises RetrainError where a disk is full; BrokenPipeError where nobody reads any more."""
    try:
        click.echo(text, file=stream)
    except OSError as error:
        # What is left in its buffer must not be tried again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise RetrainError(
            f"{stream.name.strip('<>')} cannot be written: {error.strerror}; what was done stands, and retrain status"
            " tells it"
        ) from error


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
        # Whoever read our output has gone; there is nobody to tell.
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SCARCE):
            output.fail(f"this machine is short of what retrain needs: {error or 'memory'}", Exit.FAILED)
            sys.exit(Exit.FAILED)
        output.fail(f"a bug in retrain: {type(error).__name__}: {error}; {_traceback_file(output)}", Exit.BUG)
        sys.exit(Exit.BUG)


def _traceback_file(output: Output) -> str:
    text = output.secrets.scrub(traceback.format_exc())
    try:
        with tempfile.NamedTemporaryFile("w", prefix="retrain-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError as error:
        return f"its traceback could not be written: {error.strerror}"
    return f"please report it with {file.name}"


def repair_streams() -> None:
    """Let a stream that was closed (`2>&-`) lead nowhere, and escape what an encoding lacks."""
    for name in ("stdin", "stdout", "stderr"):  # in this order each gets its own descriptor, and no file of ours does
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115  (open to the end)
        getattr(sys, name).reconfigure(errors="backslashreplace")
