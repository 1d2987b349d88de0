"""A command in a session of its own, and the end of everything that it has started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from retrain.core.text import last_lines
from retrain.errors import handled


class Adopted:
    """A process that a child of ours has forked. It is our own once that child has ended, within `adopting`."""

    def __init__(self, number: int) -> None:
        self.pid = number
        self.returncode: int | None = None

    def wait(self) -> int:
        """The exit code, once it has ended (-N: by signal N); it is reaped then."""
        if self.returncode is None:
            try:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:  # SIGCHLD is ignored, so the kernel has thrown the code away
                self.returncode = 0
        return self.returncode


Process = subprocess.Popen[bytes] | Adopted

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_adopting = Lock()
_VANISHING = 5.0
"""Seconds that a process may take to vanish after SIGKILL before it is left to the kernel."""
_OUTER_MAKE = frozenset({"MAKEFLAGS", "MFLAGS", "GNUMAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES"})
_LAST_WORDS = 64 * 1024


class Ran(NamedTuple):
    """How a short command ended: its exit code (-N: signal N ended it), and what it printed.

    `in_time` says that it ended by itself, `is_whole` that it printed no more than it may.
    """

    code: int
    in_time: bool
    is_whole: bool
    output: bytes
    errors: bytes

    @property
    def how(self) -> str:
        """How it ended by itself, as a clause about it."""
        return f"exited {self.code}" if self.code >= 0 else f"was ended by signal {-self.code}"

    def last_words(self, scrub: Callable[[str], str]) -> tuple[str, ...]:
        """The last line of its errors, else of its output; none where it said nothing."""
        said = (self.errors or self.output)[-_LAST_WORDS:]
        return last_lines(scrub(said.decode(errors="replace")), 1)


def environment(base: Mapping[str, str], withheld: Collection[str], *more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: no outer make, nothing that is withheld, and what each of the others adds."""
    kept = {name: value for name, value in base.items() if name not in _OUTER_MAKE and name not in withheld}
    for each in more:
        kept |= each
    return kept


def ran(  # noqa: PLR0913  (what a process is given, and how much of each thing)
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    seconds: float,
    most: int,
    given: bytes = b"",
) -> Ran:
    """What comes of the command, which gets `given` on standard input; it ends after so many seconds or bytes.

    Nothing of its process group runs any more on return. Raises OSError or ValueError where it cannot be started.
    """
    from tempfile import TemporaryFile

    # Files and no pipes: a command that reads nothing, or leaves a process behind, blocks nobody.
    with TemporaryFile() as stdin, TemporaryFile() as output, TemporaryFile() as errors:
        stdin.write(given)
        stdin.seek(0)

        def is_whole() -> bool:
            return all(os.fstat(each.fileno()).st_size <= most for each in (output, errors))

        started = start(
            command, directory, environment, output=output.fileno(), stdin=stdin.fileno(), errors=errors.fileno()
        )
        try:
            in_time = until(lambda: exit_code(started) is not None or not is_whole(), seconds)
        finally:
            code = end(started)
        errors.seek(max(0, os.fstat(errors.fileno()).st_size - _LAST_WORDS))
        output.seek(0)
        return Ran(code, in_time, is_whole(), output.read(most), errors.read(_LAST_WORDS))


def start(  # noqa: PLR0913  (what a process is given)
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    *,
    output: int,
    inherited: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    errors: int = subprocess.STDOUT,
) -> "subprocess.Popen[bytes]":
    """The running command, the leader of a session and so of a process group, out of reach of the terminal's signals.

    `output` is the descriptor that both its output streams are written to, unless `errors` is given; `inherited` are
    those that it keeps under the same numbers. Raises OSError or ValueError where it cannot be started.
    """
    came: list[int] = []
    started = None
    try:
        with handled(lambda number, _: came.append(number)):
            started = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                bufsize=0,
                stdin=stdin,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                pass_fds=inherited,
            )
        for number in came:  # handled now that it is known what has been started
            signal.raise_signal(number)
    except BaseException:  # also of a signal that came while the handlers were put back
        if started is not None:
            end(started)
        raise
    return started


@contextmanager
def adopting() -> Iterator[bool]:
    """Make this process the parent of what its children leave behind when they end; yield whether it is.

    Only Linux can do that, and only one thread at a time. It adopts what other threads have started, too.
    """
    import ctypes

    if not _adopting.acquire(blocking=False):
        yield False
        return
    try:
        libc, former = ctypes.CDLL(None), ctypes.c_int()
        adopts = (
            hasattr(libc, "prctl")
            and libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(former)) == 0
            and libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0
        )
        try:
            yield adopts
        finally:
            if adopts:
                libc.prctl(_PR_SET_CHILD_SUBREAPER, former.value)
    finally:
        _adopting.release()


def exit_code(process: Process) -> int | None:
    """The exit code of the process (-N: signal N ended it), None while it runs.

    It is not reaped, so that its id remains that of the group and is given to no other process.
    """
    if process.returncode is not None:
        return process.returncode
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:  # SIGCHLD is ignored, so the kernel has thrown the code away
        return 0
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def is_gone(process: Process) -> bool:
    """Whether the process has ended, and nothing else of its group runs (as far as /proc shows; zombies do not run)."""
    if exit_code(process) is None:
        return False
    for other in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            # pid (name) state parent group ...; the name may hold spaces and parentheses
            state, _, group = (other / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(group) == process.pid and int(other.name) != process.pid and state not in "ZX":
                return False
    return True


def lives(number: int) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def ask(process: Process, number: int) -> None:
    """Send the signal to the whole group, and continue what is stopped: before that it acts on no signal."""
    for each in (number, signal.SIGCONT):
        with suppress(ProcessLookupError, PermissionError):  # the latter on macOS, for a group of zombies
            os.killpg(process.pid, each)


def end(process: Process, number: int | None = None, grace: float = 0.0) -> int:
    """The exit code of the process, once nothing of its group runs any more; it is reaped then.

    The group is sent the signal, if one is given, and after `grace` seconds SIGKILL: a process left behind would hold
    the lock.
    """
    if process.returncode is not None:
        return process.returncode
    try:
        if number is not None:
            ask(process, number)
        until(lambda: is_gone(process), grace)
    finally:
        ask(process, signal.SIGKILL)
        until(lambda: is_gone(process), _VANISHING)
        process.wait()
    return process.wait()


def until(condition: Callable[[], bool], seconds: float, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Whether the condition came true within so many seconds; `meanwhile` is called before each pause."""
    deadline, pause = time.monotonic() + seconds, 0.001
    while not condition():
        meanwhile()
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.05)
    return True
