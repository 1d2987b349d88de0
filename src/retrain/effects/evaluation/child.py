"""The processes that load models and count rows: each may crash, hang, print and take memory as it likes.

A model is a program: only a process of `retrain.scoring` that does nothing else loads one, and one that loads none
counts. Each has a session of its own, so that it can be ended together with its workers, and it ends by itself when its
standard input does.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from msgspec import Struct

from retrain.config.schema import Config, Promotion
from retrain.core.text import last_lines, one_line, size
from retrain.effects.evaluation import sandbox
from retrain.effects.process import Adopted, Process, adopting, end, exit_code, start, until
from retrain.errors import RetrainError

Side = Literal["champion", "challenger", "holdout", "training data", "training rows", "log", "scheduler"]
Plan = Mapping[str, Any]
Progress = Callable[[float], None]
Scrub = Callable[[str], str]

_MODELS: tuple[Side, Side] = ("champion", "challenger")
_GRACE_SECONDS = 3.0
_LONGEST_MESSAGE = 16 * 1024**2
_LONGEST_ERROR = 600
_KEPT_BYTES, _TAIL_BYTES = 64 * 1024, 8 * 1024
"""So much is kept of what a child prints that what is cut off at the beginning is not in the tail."""
_PIECE = 65536
_FATAL = {-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS}
"""How a process may end that was refused memory: by the kernel, or by a library that is not prepared for it."""
_BY_SIGNAL = 128
"""How much bwrap adds to the number of the signal that ended its command."""
_REFUSED_MEMORY = "out of memory"
_REFUSED = (
    r"MemoryError|bad_alloc|[Aa]llocat|out of memory|start new thread|pthread_create|Thread creation|failed to map"
)
"""What Python and the native libraries say where memory is refused."""

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of a control group for memory, version 2 and 1: its limit, what it uses, the part of that in `memory.stat`."""


class Unscorable(RetrainError):  # noqa: N818 (an adjective, like Unknown)
    """One side of the work cannot be used; `side` says which."""

    def __init__(self, side: Side, why: str, remedy: str = "") -> None:
        super().__init__(why, remedy)
        self.side = side


def carry_out(
    plan: Plan, config: Config, progress: Progress = lambda _share: None, scrub: Scrub = str
) -> dict[str, Any]:
    """The counter's answer; `retrain.scoring` says what it may be asked. Its limits are those of `promotion`.

    The plan names the models by their files; each gets a process of its own. `scrub` takes secrets out of what a model
    prints or says, for it can read whatever we can.
    """
    promotion = config.promotion
    deadline = time.monotonic() + promotion.timeout.total_seconds()
    memory = _free() if promotion.max_memory is None else promotion.max_memory
    at: Side | None = None

    def failed(side: Side | None, why: str, cause: str = "") -> RetrainError:
        remedy = _memory_remedy(cause or why, promotion, plan, memory)
        return RetrainError(why, remedy) if side is None else Unscorable(side, why, remedy)

    with _running({**plan, "memory": memory}, config, deadline) as (counter, models, results):
        for message in _messages(counter, models, results, deadline):
            if "progress" in message:
                with garbled():
                    progress(float(message["progress"]))
            elif "at" in message:
                at = message["at"] if message["at"] in get_args(Side) else None
            elif "late" in message:
                raise _late(plan, at, promotion.timeout)
            elif "ended" in message:
                with garbled():
                    child = models[message["ended"]] if message["ended"] else counter
                at = message["ended"] or (None if at in _MODELS else at)  # no model is at fault where the counter ends
                code, words = child.end(scrub)
                raise failed(at, _crash(plan, at, code, words, promotion), _REFUSED_MEMORY if code in _FATAL else "")
            else:
                break
        for each in (counter, *models.values()):
            end(each.process, grace=_GRACE_SECONDS)  # its workers end with it, and tidy up
        if "error" not in message:
            return message
        with garbled():
            at, why = message["error"]["side"], one_line(scrub(message["error"]["message"]), _LONGEST_ERROR)
        raise failed(at, why)


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


class _Wanted(Struct, frozen=True):
    """What a process is asked, the files that it alone keeps, and what stands before its command."""

    plan: Plan
    files: Sequence[IO[bytes]]
    before: Sequence[str] = ()


class _Child(Struct, frozen=True):
    """A process, what it prints, and whether it runs in a sandbox."""

    process: Process
    printed: "_Printed"
    is_wrapped: bool

    def end(self, scrub: Scrub) -> tuple[int | None, str]:
        """How a process that is about to end has ended, as `_crash` takes it, and the last lines that it printed."""
        until(lambda: exit_code(self.process) is not None, _GRACE_SECONDS)
        code = exit_code(self.process)
        code = _BY_SIGNAL - code if self.is_wrapped and code is not None and code > _BY_SIGNAL else code
        return code, " | ".join(last_lines(scrub(self.printed.text())[-_TAIL_BYTES:]))


@contextmanager
def _running(plan: dict[str, Any], config: Config, deadline: float) -> Iterator[tuple[_Child, dict[Side, _Child], int]]:
    """The process that counts, those of the models, and the descriptor of the results; all ended on leaving.

    Between a model and the counter are two pipes, and no other process has them.
    """
    promotion, directory = config.promotion, config.training.directory
    if "model" in plan:
        sandbox.refuse_where_it_fails(config)
    with ExitStack() as stack:
        kept, given, copy = [], plan.pop("model", {}), plan.pop("copy", None)
        if given and promotion.predict is not None:
            plan["apart"] = given["aside"]
        if plan["job"] == "scattered":  # the workers load them
            files = {side: path for side in _MODELS if (path := plan.get(side))}
            plan["artifacts"] = {
                side: {"path": path, "file": copy if copy and side == "challenger" else path, **given}
                for side, path in files.items()
            }
            plan |= dict.fromkeys(_MODELS)
        wanted: dict[Side, _Wanted] = {}
        for side in _MODELS:
            if path := plan.get(side):
                (features, there), (back, predictions) = _pipe(stack), _pipe(stack)
                file = copy if copy and side == "challenger" else path
                asked = {"job": "model", "path": file, "memory": plan["memory"], **given, **_command(config, file)}
                asked |= {"features": features.fileno(), "predictions": predictions.fileno()}
                before = sandbox.command(config, Path(file), plan["holdout"])
                wanted[side] = _Wanted(asked, [features, predictions], before)
                plan[side] = {"path": path, "features": there.fileno(), "predictions": back.fileno()}
                kept += [there, back]
        results, result = _pipe(stack)
        count = _Wanted({**plan, "result": result.fileno()}, [*kept, result])
        alone = not wanted or promotion.sandbox is not None or promotion.predict is not None
        with nullcontext(enter_result=False) if alone else adopting() as adopts:
            if adopts:
                results, (counter, *models) = _forked(stack, [count, *wanted.values()], results, directory, deadline)
            else:
                *models, counter = [stack.enter_context(_child(each, directory)) for each in (*wanted.values(), count)]
        yield counter, dict(zip(wanted, models, strict=False)), results.fileno()


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reader, writer = os.pipe()
    return stack.enter_context(os.fdopen(reader, "rb", 0)), stack.enter_context(os.fdopen(writer, "wb", 0))


def _command(config: Config, artifact: str) -> Plan:
    """What the process of this model runs instead of loading it, and in which environment; empty where it loads it.

    Raises RetrainError where that command cannot be started.
    """
    if (command := config.promotion.predict) is None:
        return {}
    environment = {**os.environ, **config.training.environment, "RETRAIN_MODEL": artifact}
    program = str(config.training.directory / command[0]) if "/" in command[0] else command[0]
    if shutil.which(program, path=environment.get("PATH")) is None:
        why = f"promotion.predict: the command {program} was not found, or may not be executed"
        raise RetrainError(why, "retrain doctor says more; PATH may be set in training.environment")
    return {"command": command, "environment": environment}


def _forked(
    stack: ExitStack, wanted: Sequence[_Wanted], results: IO[bytes], directory: Path, deadline: float
) -> tuple[IO[bytes], list[_Child]]:
    """The pipe of the results, and the processes, forked by one that has imported what they need.

    If that one fails or is late, there is it alone, and a pipe without results. The process that counts is sent its
    plan at once; the others when the one that has forked them, and had all pipes, has ended.
    """
    plans, outputs = [_pipe(stack) for _ in wanted], [stack.enter_context(closing(_Printed())) for _ in wanted]
    ids, ids_in = _pipe(stack)
    members = [
        [plan, printed.writer, *each.files] for each, (plan, _), printed in zip(wanted, plans, outputs, strict=True)
    ]
    numbers = [[file.fileno() for file in files] for files in members]
    fork = {"job": "fork", "members": numbers, "ids": ids_in.fileno(), "memory": wanted[0].plan["memory"]}
    forking = stack.enter_context(_child(_Wanted(fork, [ids_in, *chain(*members)]), directory))
    family: list[_Child] = []
    ready = select.poll()
    ready.register(ids, select.POLLIN)
    said = b"?"
    try:
        while ready.poll(max(0, 1000 * (deadline - time.monotonic()))) and (said := os.read(ids.fileno(), _PIECE)):
            for process in map(Adopted, map(int, said.split())):
                stack.callback(end, process, signal.SIGTERM, _GRACE_SECONDS)
                family.append(_Child(process, outputs[len(family)], is_wrapped=False))
                if len(family) == 1:
                    _send(plans[0][1], wanted[0].plan)
    finally:  # while what it leaves behind is adopted
        end(forking.process, grace=0 if said else _GRACE_SECONDS)
    if len(family) < len(wanted):
        return ids, [forking]
    for (_, plan), each in zip(plans[1:], wanted[1:], strict=True):
        _send(plan, each.plan)
    return results, family


@contextmanager
def _child(wanted: _Wanted, directory: Path) -> Iterator[_Child]:
    """A process of `retrain.scoring`; ended with all its workers on leaving."""
    with closing(_Printed()) as printed:
        try:
            process = start(
                [*wanted.before, sys.executable, "-P", "-m", "retrain.scoring"],
                directory,
                # What -P is to the child, the first is to its workers: no module of the directory shadows the
                # library's. The second leaves nothing beside the modules there. The third keeps pyarrow from
                # reserving a gibibyte, which counts as memory taken. The others let threads sleep that
                # wait for work: those of the other model and of the counter need the processors.
                {
                    "ARROW_DEFAULT_MEMORY_POOL": "system",
                    "OMP_WAIT_POLICY": "PASSIVE",
                    "OPENBLAS_THREAD_TIMEOUT": "4",
                    **os.environ,
                    "PYTHONSAFEPATH": "1",
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                output=printed.writer.fileno(),
                inherited=[file.fileno() for file in wanted.files],
                stdin=subprocess.PIPE,
            )
        except OSError as error:
            why = f"the scoring process cannot be started in {directory}: {error.strerror}"
            raise RetrainError(why, "check training.directory") from error
        finally:
            for file in (*wanted.files, printed.writer):
                file.close()
        with cast(IO[bytes], process.stdin) as stdin:
            try:
                _send(stdin, wanted.plan)
                yield _Child(process, printed, bool(wanted.before))
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
        self._reader, writer = os.pipe()
        self.writer: IO[bytes] = os.fdopen(writer, "wb", 0)
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


def _messages(
    counter: _Child, models: Mapping[Side, _Child], results: int, deadline: float
) -> Iterator[dict[str, Any]]:
    """What the counter sends, as it sends it; at last {"ended": ""} where it has ended, {"late": True} at the deadline.

    {"ended": side} is most often its own message, where it was a model's process that has ended; here it is said where
    something that the model started holds the pipe open, so that the counter waits.
    """
    readable = select.poll()
    readable.register(results, select.POLLIN)
    printed = {child.printed.fileno(): child.printed for child in (counter, *models.values())}
    for each in printed:
        readable.register(each, select.POLLIN)
    pending, well = bytearray(), time.monotonic()
    while (left := deadline - time.monotonic()) > 0:
        # Something that a model started may hold pipes open after the child's end, and fill them.
        ended = exit_code(counter.process) is not None
        failed = next((side for side, child in models.items() if exit_code(child.process)), None)
        well = time.monotonic() if failed is None else well
        ready = dict(readable.poll(1000 * min(left, 1)))
        for each in ready.keys() & printed.keys():
            if not printed[each].drain():
                readable.unregister(each)
        if results not in ready:
            if ended:
                break
            if failed is not None and time.monotonic() - well > 1:
                yield {"ended": failed}
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
            break
    else:
        yield {"late": True}
    yield {"ended": ""}


# ---------------------------------------------------------------- why there is no answer


def _late(plan: Plan, at: Side | None, timeout: timedelta) -> RetrainError:
    """The error of work that took too long. Slow work is no proof against a side, so it only says where it stood."""
    where = f", while it was busy with the {at} {_path(plan, at)}" if at else ""
    late = f"was ended after promotion.timeout ({timeout.total_seconds():g} s){where}"
    if plan["job"] == "rows":
        return RetrainError(f"remembering the rows of {plan['data']} {late}", "raise promotion.timeout")
    if at == "log":
        return RetrainError(f"taking rows from {plan['log']} {late}", "raise promotion.timeout")
    return RetrainError(f"scoring on {plan['holdout']} {late}", "raise promotion.timeout, or repair a model that hangs")


def _crash(plan: Plan, at: Side | None, code: int | None, words: str, promotion: Promotion) -> str:
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
    if at in _MODELS and promotion.predict is not None:
        return f"the {at} {_path(plan, at)} cannot be used: the command of promotion.predict {how}{printed}"
    act = "was loaded or predicted" if at in _MODELS else "was read"
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
    """The bytes that could be had without swapping, of the machine or of its container; None where nothing says it."""
    found = []
    with suppress(OSError):
        available = re.search(r"(?m)^MemAvailable: +(\d+) kB$", (_PROC / "meminfo").read_text())
        found += [1024 * int(available[1])] if available else []
    with suppress(OSError):
        for line in (_PROC / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                found += _free_in_groups(_CGROUPS / ("memory" if controllers else ""), path)
    return max(0, min(found)) if found else None


def _free_in_groups(root: Path, path: str) -> Iterator[int]:
    """What is left of the limits of a control group and of those above it; what is cached of files can be had.

    In a container the path may be that of the host, which is not there: its root is the container's group.
    """
    group = root / path.lstrip("/")
    for each in (group, *group.parents):
        if each == root.parent:
            return
        for limit, used, cached in _GROUP_FILES:
            with suppress(OSError, ValueError):  # no such group or limit, "max"
                stat = dict(line.split() for line in (each / "memory.stat").read_text().splitlines())
                yield int((each / limit).read_text()) - int((each / used).read_text()) + int(stat[cached])
