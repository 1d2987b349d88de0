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
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from retrain.config.schema import Promotion
from retrain.core.text import last_lines, one_line, size
from retrain.effects.process import Process, end, exit_code, start, until
from retrain.errors import RetrainError

Side = Literal["champion", "challenger", "holdout", "training data", "training rows", "log"]
Plan = Mapping[str, Any]

_GRACE_SECONDS = 3.0
_LONGEST_MESSAGE = 16 * 1024**2
_LONGEST_ERROR = 600
_KEPT_BYTES, _TAIL_BYTES = 64 * 1024, 8 * 1024
"""So much is kept of what the child prints that what is cut off at the beginning is not in the tail."""
_PIECE = 65536
_FATAL = {-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
"""How a process may end that was refused memory: by the kernel, or by a library that is not prepared for it."""
_REFUSED = (
    r"MemoryError|bad_alloc|[Aa]llocat|out of memory|start new thread|pthread_create|Thread creation|failed to map"
)
"""What Python and the native libraries say where memory is refused."""


class Unscorable(RetrainError):  # noqa: N818 (an adjective, like Unknown)
    """One side of the work cannot be used; `side` says which."""

    def __init__(self, side: Side, why: str, remedy: str = "") -> None:
        super().__init__(why, remedy)
        self.side = side


def carry_out(
    plan: Plan,
    promotion: Promotion,
    directory: Path,
    progress: Callable[[float], None],
    scrub: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The child's answer; `retrain.scoring` says what it may be asked. Its limits are those of `promotion`.

    `scrub` takes secrets out of what a model prints or says, for it can read whatever we can.
    """
    deadline = time.monotonic() + promotion.timeout.total_seconds()
    memory = _free() if promotion.max_memory is None else promotion.max_memory
    at: Side | None = None
    with (
        closing(_Printed()) as printed,
        _child({**plan, "memory": memory}, directory, printed.writer) as (process, results),
    ):
        for message in _messages(process, results, printed, deadline):
            if "progress" in message:
                with garbled():
                    progress(float(message["progress"]))
            elif "at" in message:
                at = message["at"] if message["at"] in get_args(Side) else None
            elif "late" in message:
                raise _late(plan, at, promotion.timeout)
            else:
                end(process, grace=_GRACE_SECONDS)  # its workers end with it, and tidy up
                if "error" not in message:
                    return message
                with garbled():
                    side, why = message["error"]["side"], one_line(scrub(message["error"]["message"]), _LONGEST_ERROR)
                raise Unscorable(side, why, _memory_remedy(why, promotion, plan, memory))
        until(lambda: exit_code(process) is not None, _GRACE_SECONDS)
        code = exit_code(process)
        why = _crash(plan, at, code, " | ".join(last_lines(scrub(printed.text())[-_TAIL_BYTES:])))
        remedy = _memory_remedy("out of memory" if code in _FATAL else why, promotion, plan, memory)
        raise RetrainError(why, remedy) if at is None else Unscorable(at, why, remedy)


@contextmanager
def garbled() -> Iterator[None]:
    """Raise RetrainError where an answer cannot be read: a model may write into any descriptor it finds."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise _unreadable() from error


def _unreadable() -> RetrainError:
    return RetrainError(
        "the answer of the scoring process cannot be read", "does a model write into open files of its process?"
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
            why = f"the scoring process cannot be started in {directory}: {error.strerror}"
            raise RetrainError(why, "check training.directory") from error
        finally:
            os.close(writer)
            os.close(printed)
        with cast(IO[bytes], process.stdin) as stdin:
            try:
                _send(stdin, {**plan, "result": writer})
                yield process, reader
            finally:
                # The helper of joblib that removes what its workers shared outlives a SIGTERM, but not a SIGKILL.
                end(process, signal.SIGTERM, grace=_GRACE_SECONDS)


def _send(stdin: IO[bytes], plan: Plan) -> None:
    """Send the plan to the child; one that has ended already is noticed later."""
    try:
        stdin.write(json.dumps(plan).encode() + b"\n")
    except BrokenPipeError:
        pass
    except OSError as error:
        raise RetrainError(f"the scoring process cannot be given its plan: {error.strerror}", "try again") from error


class _Printed:
    """A pipe for standard output and standard error. Nothing here waits: others may hold the pipe open for ever."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._end = b""

    def close(self) -> None:
        """Close the reading end."""
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
        self._end = (self._end + piece)[-_KEPT_BYTES:]
        return bool(piece)

    def text(self) -> str:
        """The end of what was printed."""
        self.drain()
        return self._end.decode(errors="replace")


def _messages(process: Process, results: int, printed: _Printed, deadline: float) -> Iterator[dict[str, Any]]:
    """What the child sends, as it sends it, until it ends; {"late": True} at the deadline."""
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
        elif data := os.read(results, _PIECE):
            pending += data
            if len(pending) > _LONGEST_MESSAGE:
                raise _unreadable()
            if b"\n" in data:
                *lines, pending = pending.split(b"\n")
                with garbled():
                    messages = [dict(json.loads(line)) for line in lines]
                yield from messages
        else:
            return
    yield {"late": True}


# ---------------------------------------------------------------- why there is no answer


def _late(plan: Plan, at: Side | None, timeout: timedelta) -> RetrainError:
    """The error of work that took too long. Slow work is no proof against a side, so it only says where it stood."""
    where = f", while it was busy with the {at} {_path(plan, at)}" if at else ""
    late = f"was ended after promotion.timeout ({timeout.total_seconds():g} s){where}"
    if plan["job"] == "rows":
        return RetrainError(f"remembering the rows of {plan['data']} {late}", "raise promotion.timeout")
    if at == "log":
        return RetrainError(f"taking rows from {plan['log']} {late}", "raise promotion.timeout")
    jobs = " or promotion.jobs" if plan["job"] == "compare" else ""
    remedy = f"raise promotion.timeout{jobs}, or repair a model that hangs"
    return RetrainError(f"scoring on {plan['holdout']} {late}", remedy)


def _crash(plan: Plan, at: Side | None, code: int | None, words: str) -> str:
    """The sentence on a child that gave no answer; `words` are the last it printed.

    `code` is how it ended (-N: by signal N; None: it has not, but it closed the pipe that it answers through).
    """
    if code is None:
        how = "closed the file of its answers (does a model close files that it did not open?)"
    elif code >= 0:
        how = f"ended with exit code {code}"
    else:
        names = {each.value: each.name for each in signal.Signals}  # those for real time have none
        how = f"was ended by {names.get(-code, f'signal {-code}')}"
    printed = f"; it last printed: {words}" if words else ""
    if at is None:
        return f"the scoring process {how}, before it named a model or a file as the cause{printed}"
    act = "was loaded or predicted" if at in ("champion", "challenger") else "was read"
    return f"the {at} {_path(plan, at)} cannot be used: the scoring process {how} while it {act}{printed}"


def _path(plan: Plan, at: Side) -> str:
    return str(plan["data" if at == "training data" else at])


def _memory_remedy(why: str, promotion: Promotion, plan: Plan, memory: int | None) -> str:
    """What can be done where the cause is memory that was refused; empty elsewhere."""
    if not re.search(_REFUSED, why):
        return ""
    if promotion.max_memory is not None:
        remedy = f"raise promotion.max_memory, now {size(promotion.max_memory)}"
    else:
        free = f"the {size(memory)} that were free" if memory is not None else "what is free, which is not known"
        remedy = f"free some memory, since promotion.max_memory is null and so the limit is {free}"
    whole = any(str(plan.get(file)).endswith(".csv") for file in ("holdout", "data", "log"))
    parquet = ", or store the rows as Parquet, for a CSV is read whole" if whole else ""
    return f"out of memory? {remedy}, or repair a model that takes too much{parquet}"


def _free() -> int | None:
    """The bytes that could be had without swapping; None where Linux does not say."""
    with suppress(OSError):
        if found := re.search(r"(?m)^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text()):
            return 1024 * int(found[1])
    return None
