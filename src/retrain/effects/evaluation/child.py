"""The child process that loads models and reads rows: it may crash, hang or print as it likes.

A model is a program: only the child (`retrain.scoring`) loads one. It has a session of its own, so that it
can be ended together with its workers, and it ends by itself when its standard input does.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from retrain.errors import RetrainError

Side = Literal["champion", "challenger", "holdout", "training data", "known rows"]
Process = subprocess.Popen[bytes]
Plan = Mapping[str, Any]

_SIDES = get_args(Side)
_GRACE_SECONDS = 3.0


class Unscorable(RetrainError):  # noqa: N818 (an adjective, like Unknown)
    """One side of the work is no use; `side` says which."""

    def __init__(self, side: Side, message: str) -> None:
        super().__init__(message)
        self.side = side


def carry_out(plan: Plan, directory: Path, timeout: timedelta, progress: Callable[[float], None]) -> dict[str, Any]:
    """The child's answer; `retrain.scoring` says what it may be asked."""
    deadline = time.monotonic() + timeout.total_seconds()
    at: Side | None = None
    with tempfile.TemporaryFile() as printed, _child(plan, directory, printed) as (process, results):
        for message in _messages(process, results, deadline):
            if "progress" in message:
                with garbled():
                    progress(float(message["progress"]))
            elif "at" in message:
                at = message["at"] if message["at"] in _SIDES else None
            elif "late" in message:
                raise RetrainError(_too_late(plan, at, timeout))
            else:
                _end(process, ask=0)
                return _answer(message)
        words = _last_words(printed)
        _end(process, ask=0)
        raise _crash(plan, at, process.wait(), words)


@contextmanager
def garbled() -> Iterator[None]:
    """Raise RetrainError where an answer cannot be read: a model may write into any descriptor it finds."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise RetrainError(
            "the scoring process gave an answer that cannot be read; does a model write into open files of its process?"
        ) from error


@contextmanager
def _child(plan: Plan, directory: Path, printed: IO[bytes]) -> Iterator[tuple[Process, int]]:
    """The scoring process and the descriptor of its results; ended with all its workers on leaving."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0):
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "retrain.scoring"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=printed,
                cwd=directory,
                # What -P is to the child, the first is to its workers: no module of the directory shadows the
                # library's. The second leaves nothing beside the modules there.
                env={**os.environ, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
                pass_fds=(writer,),
            )
        except OSError as error:
            raise RetrainError(
                f"cannot start the scoring process in {directory}: {error.strerror}; see training.directory"
            ) from error
        finally:
            os.close(writer)
        with process:
            try:
                with suppress(BrokenPipeError):
                    cast(IO[bytes], process.stdin).write(json.dumps({**plan, "result": writer}).encode() + b"\n")
                yield process, reader
            finally:
                _end(process, ask=signal.SIGTERM)


def _messages(process: Process, results: int, deadline: float) -> Iterator[dict[str, Any]]:
    """What the child tells, as it tells it, until it ends; {"late": True} at the deadline."""
    readable = select.poll()
    readable.register(results, select.POLLIN)
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        if not readable.poll(1000 * min(left, 1)):
            # Something that a model started may hold the pipe open after the child's end.
            if process.poll() is not None:
                return
        elif data := os.read(results, 65536):
            *lines, pending = (pending + data).split(b"\n")
            with garbled():
                messages = [dict(json.loads(line)) for line in lines]
            yield from messages
        else:
            return
    yield {"late": True}


def _end(process: Process, ask: int) -> None:
    """End the process and its workers: send them `ask` (0: nothing), wait a little, insist with SIGKILL.

    The helper of joblib that unlinks what its workers shared outlives a SIGTERM, but not a SIGKILL.
    """
    until = time.monotonic() + _GRACE_SECONDS
    left = True
    try:
        left = _signal(process, ask)
        while left and time.monotonic() < until:
            time.sleep(0.02)
            process.poll()  # a zombie would keep its group alive
            left = _signal(process, 0)
    finally:
        if left:
            _signal(process, signal.SIGKILL)


def _signal(process: Process, number: int) -> bool:
    """Whether anything is left of the process's group, which is sent the signal."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the latter on macOS, for a group of zombies
        return False
    return True


def _answer(message: dict[str, Any]) -> dict[str, Any]:
    if "error" in message:
        with garbled():
            side, told = message["error"]["side"], str(message["error"]["message"])
        raise Unscorable(side, told)
    return message


def _too_late(plan: Plan, at: Side | None, timeout: timedelta) -> str:
    """Slow work is nobody's proven fault, so the sentence says only where it stood."""
    where = f", while it was busy with the {at} {_path(plan, at)}" if at else ""
    late = f"was ended after promotion.timeout ({timeout.total_seconds():g} s){where}: raise promotion.timeout"
    if plan["job"] == "rows":
        return f"remembering the rows of {plan['data']} {late}"
    hint = " or promotion.jobs" if plan["job"] == "compare" else ""
    return f"scoring on {plan['holdout']} {late}{hint}, or repair a model that hangs"


def _crash(plan: Plan, at: Side | None, code: int, words: str) -> RetrainError:
    how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    hint = " (out of memory?)" if code == -signal.SIGKILL else ""
    said = f"; it last printed: {words}" if words else ""
    if at is None:
        return RetrainError(f"the scoring process ended {how}{hint}, at whose fault cannot be told{said}")
    act = "was loaded or predicted" if at in ("champion", "challenger") else "was read"
    ended = f"the scoring process ended {how}{hint} while it {act}{said}"
    return Unscorable(at, f"the {at} {_path(plan, at)} is no use: {ended}")


def _path(plan: Plan, at: Side) -> str:
    return str(plan["data" if at == "training data" else at])


def _last_words(printed: IO[bytes]) -> str:
    """The last lines that the child or a model printed, as one line without control characters."""
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - 2000))
    lines = printed.read().decode(errors="replace").split("\n")
    texts = ["".join(filter(str.isprintable, line)).strip() for line in lines]
    return " | ".join(list(filter(None, texts))[-5:])
