"""The child process that loads models and reads rows: it may crash, hang, print and take memory as it likes.

A model is a program: only the child (`retrain.scoring`) loads one. It has a session of its own, so that it
can be ended together with its workers, and it ends by itself when its standard input does.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, cast, get_args

from msgspec import Struct

from retrain.config.schema import Promotion
from retrain.core.text import printable, size
from retrain.effects.process import Process, end, exit_code, start, until
from retrain.errors import RetrainError

_REFUSED = re.compile(
    r"MemoryError|bad_alloc|[Aa]llocat|out of memory|start new thread|pthread_create|Thread creation|failed to map"
)
"""What Python and the native libraries say where memory is refused."""


Plan = Mapping[str, Any]


class Allowance(Struct, frozen=True):
    """Bytes that each scoring process may take (None: no limit), and the way to more of them, for a person."""

    size: int | None
    way_out: str

    def told(self, sentence: str) -> str:
        """The sentence, with the remedy where it speaks of memory that was refused."""
        return f"{sentence}: {self.way_out}" if _REFUSED.search(sentence) else sentence


def allowance(configured: int | None, plan: Plan) -> Allowance:
    """What promotion.max_memory allows; where that is null, what the machine has free now, if that is known."""
    most = _free() if configured is None else configured
    if configured is not None:
        key = f"raise promotion.max_memory (now {size(configured)})"
    elif most is not None:
        key = f"free some memory (promotion.max_memory is null, so {size(most)} could be taken, all that was free)"
    else:
        key = "free some memory (promotion.max_memory is null, and what is free is not known)"
    whole = any(str(plan.get(file)).endswith(".csv") for file in ("holdout", "data"))
    parquet = ", or store the rows as Parquet, which is read in chunks (a CSV is read whole)" if whole else ""
    return Allowance(most, f"{key}, or repair a model that takes too much{parquet}")


def _free() -> int | None:
    """The bytes that could be had without swapping; None where Linux does not tell."""
    with suppress(OSError):
        if found := re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE):
            return 1024 * int(found[1])
    return None


Side = Literal["champion", "challenger", "holdout", "training data", "training rows"]

_FATAL = {-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
"""How a process may end that was refused memory: by the kernel, or by a library that is not prepared for it."""


class Unscorable(RetrainError):  # noqa: N818 (an adjective, like Unknown)
    """One side of the work cannot be used; `side` says which."""

    def __init__(self, side: Side, message: str) -> None:
        super().__init__(message)
        self.side = side


def too_late(plan: Plan, at: Side | None, timeout: timedelta) -> str:
    """The sentence on work that took too long. Slow work is no proven fault, so it says only where it stood."""
    where = f", while it was busy with the {at} {_path(plan, at)}" if at else ""
    late = f"was ended after promotion.timeout ({timeout.total_seconds():g} s){where}: raise promotion.timeout"
    if plan["job"] == "rows":
        return f"remembering the rows of {plan['data']} {late}"
    hint = " or promotion.jobs" if plan["job"] == "compare" else ""
    return f"scoring on {plan['holdout']} {late}{hint}, or repair a model that hangs"


def crash(plan: Plan, at: Side | None, code: int | None, words: str, memory: Allowance) -> RetrainError:
    """The error of a child that gave no answer; `words` are the last it printed.

    `code` is how it ended (-N: by signal N; None: it has not, but it closed what it answers through).
    """
    if code is None:
        how = "closed the file of its answers (does a model close files that it did not open?)"
    elif code >= 0:
        how = f"ended with exit code {code}"
    else:
        names = {each.value: each.name for each in signal.Signals}  # those for real time have none
        how = f"ended by {names.get(-code, f'signal {-code}')}"
    if at is None:
        told = f"the scoring process {how}, by a fault of unknown cause"
    else:
        act = "was loaded or predicted" if at in ("champion", "challenger") else "was read"
        told = f"the {at} {_path(plan, at)} cannot be used: the scoring process {how} while it {act}"
    said = f"; it last printed: {words}" if words else ""
    told = f"{told} (out of memory? Then {memory.way_out}){said}" if code in _FATAL else memory.told(told + said)
    return RetrainError(told) if at is None else Unscorable(at, told)


def _path(plan: Plan, at: Side) -> str:
    return str(plan["data" if at == "training data" else at])


_KEPT = 4096
_PIECE = 65536


class Printed:
    """A pipe for standard output and standard error. Nothing here waits: others may hold the pipe open for ever."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._end = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._reader)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._reader

    def drain(self) -> bool:
        """Whether more may come; what was there, or a part of it, is read."""
        try:
            piece = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return True
        self._end = (self._end + piece)[-_KEPT:]
        return bool(piece)

    def last_words(self) -> str:
        """The last lines, as one line without control characters."""
        self.drain()
        lines = self._end.decode(errors="replace").split("\n")
        texts = ["".join(filter(str.isprintable, line)).strip() for line in lines]
        return " | ".join(list(filter(None, texts))[-5:])


_SIDES = get_args(Side)
_GRACE_SECONDS = 3.0
_LONGEST = 16 * 1024**2
"""Bytes of one message."""


def carry_out(plan: Plan, promotion: Promotion, directory: Path, progress: Callable[[float], None]) -> dict[str, Any]:
    """The child's answer; `retrain.scoring` says what it may be asked. Its limits are those of `promotion`."""
    deadline = time.monotonic() + promotion.timeout.total_seconds()
    memory = allowance(promotion.max_memory, plan)
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
                end(process, grace=_GRACE_SECONDS)  # its workers end with it, and tidy up
                return _answer(message, memory)
        until(lambda: exit_code(process) is not None, _GRACE_SECONDS)
        raise crash(plan, at, exit_code(process), printed.last_words(), memory)


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
            process = start(
                [sys.executable, "-P", "-m", "retrain.scoring"],
                directory,
                # What -P is to the child, the first is to its workers: no module of the directory shadows the
                # library's. The second leaves nothing beside the modules there. The third keeps pyarrow from
                # reserving a gibibyte, which counts as memory taken.
                {
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    **os.environ,
                    "PYTHONSAFEPATH": "1",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                output=printed,
                inherited=writer,
                stdin=subprocess.PIPE,
            )
        except OSError as error:
            raise RetrainError(
                f"cannot start the scoring process in {directory}: {error.strerror}; see training.directory"
            ) from error
        finally:
            os.close(writer)
            os.close(printed)
        with cast(IO[bytes], process.stdin) as stdin:
            try:
                _hand_over({**plan, "result": writer}, stdin)
                yield process, reader
            finally:
                # The helper of joblib that removes what its workers shared outlives a SIGTERM, but not a SIGKILL.
                end(process, signal.SIGTERM, grace=_GRACE_SECONDS)


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
        ended = exit_code(process) is not None
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


def _answer(message: dict[str, Any], memory: Allowance) -> dict[str, Any]:
    if "error" in message:
        with garbled():
            # What a model says may not move a terminal's cursor.
            told = printable(str(message["error"]["message"]))
            side = message["error"]["side"]
        raise Unscorable(side, memory.told(told))
    return message
