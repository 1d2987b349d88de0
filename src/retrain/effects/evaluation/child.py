"""The child process that loads models and reads rows: it may crash, hang, print and take memory as it likes.

A model is a program: only the child (`retrain.scoring`) loads one. It has a session of its own, so that it
can be ended together with its workers, and it ends by itself when its standard input does.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast, get_args

from retrain.config.schema import Promotion
from retrain.effects.evaluation.faults import Plan, Side, Unscorable, crash, too_late
from retrain.effects.evaluation.memory import Allowance, allowance
from retrain.effects.evaluation.output import Printed
from retrain.errors import RetrainError

Process = subprocess.Popen[bytes]

_SIDES = get_args(Side)
_GRACE_SECONDS = 3.0
_LONGEST = 16 * 1024**2
"""Bytes of one message."""


def carry_out(plan: Plan, promotion: Promotion, directory: Path, progress: Callable[[float], None]) -> dict[str, Any]:
    """The child's answer; `retrain.scoring` says what it may be asked. Its limits are those of `promotion`."""
    deadline = time.monotonic() + promotion.timeout.total_seconds()
    memory = allowance(promotion.max_memory)
    at: Side | None = None
    with Printed() as printed, _child({**plan, "memory": memory.size}, directory, printed.writer) as (process, results):
        for message in _messages(process, results, printed, deadline):
            if "progress" in message:
                with garbled():
                    progress(float(message["progress"]))
            elif "at" in message:
                at = message["at"] if message["at"] in _SIDES else None
            elif "late" in message:
                raise RetrainError(too_late(plan, at, promotion.timeout))
            else:
                _end(process, ask=0)
                return _answer(message, memory)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        raise crash(plan, at, process.returncode, printed.last_words(), memory)


@contextmanager
def garbled() -> Iterator[None]:
    """Raise RetrainError where an answer cannot be read: a model may write into any descriptor it finds."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise _unreadable() from error


def _unreadable() -> RetrainError:
    return RetrainError(
        "the scoring process gave an answer that cannot be read; does a model write into open files of its process?"
    )


@contextmanager
def _child(plan: Plan, directory: Path, printed: int) -> Iterator[tuple[Process, int]]:
    """The scoring process and the descriptor of its results; ended with all its workers on leaving.

    What it prints goes to the descriptor `printed`, which is closed on this side.
    """
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
                # library's. The second leaves nothing beside the modules there. The third keeps pyarrow from
                # reserving a gibibyte, which counts as memory taken.
                env={
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    **os.environ,
                    "PYTHONSAFEPATH": "1",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                start_new_session=True,
                pass_fds=(writer,),
            )
        except OSError as error:
            raise RetrainError(
                f"cannot start the scoring process in {directory}: {error.strerror}; see training.directory"
            ) from error
        finally:
            os.close(writer)
            os.close(printed)
        with process:
            try:
                _hand_over({**plan, "result": writer}, cast(IO[bytes], process.stdin))
                yield process, reader
            finally:
                _end(process, ask=signal.SIGTERM)


def _hand_over(plan: Plan, stdin: IO[bytes]) -> None:
    """Tell the child what to do; one that has ended already is found out about later."""
    try:
        stdin.write(json.dumps(plan).encode() + b"\n")
    except BrokenPipeError:
        pass
    except OSError as error:
        raise RetrainError(f"the scoring process could not be told what to do: {error.strerror}; try again") from error


def _messages(process: Process, results: int, printed: Printed, deadline: float) -> Iterator[dict[str, Any]]:
    """What the child tells, as it tells it, until it ends; {"late": True} at the deadline."""
    readable = select.poll()
    readable.register(results, select.POLLIN)
    readable.register(printed, select.POLLIN)
    pending = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        # Something that a model started may hold both pipes open after the child's end, and fill them.
        ended = process.poll() is not None
        ready = dict(readable.poll(1000 * min(left, 1)))
        if printed.fileno() in ready and not printed.drain():
            readable.unregister(printed)
        if results not in ready:
            if ended:
                return
        elif data := os.read(results, 65536):
            pending += data
            if len(pending) > _LONGEST:
                raise _unreadable()
            if b"\n" in data:
                *lines, pending = pending.split(b"\n")
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


def _answer(message: dict[str, Any], memory: Allowance) -> dict[str, Any]:
    if "error" in message:
        with garbled():
            # What a model says may not move a terminal's cursor.
            told = "".join(sign if sign.isprintable() else " " for sign in str(message["error"]["message"]))
            side = message["error"]["side"]
        raise Unscorable(side, memory.told(told))
    return message
