"""Runs the training command, to its end and with its whole process group; says what came of it."""

import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from retrain.config.schema import Training
from retrain.effects.training.log import Follower, opened, tail

_OUTER_MAKE = frozenset({"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"})
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SAME_REQUEST = 0.2
"""Seconds. timeout(1), systemd and a closing terminal send two signals at once and mean one."""
_REAPING = 5.0
"""Seconds that a process may take to vanish after SIGKILL before it is left to the kernel."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of the command.

    `exit_code` is -N where signal N ended it, None where it could not be started (`problem` says why).
    `signal` is the first one that the controller was sent meanwhile. `tail` is the end of the log, for a message.
    """

    exit_code: int | None
    seconds: float
    timed_out: bool
    signal: int | None
    tail: tuple[str, ...]
    problem: str | None


def how_it_ended(ended: Ended) -> str:
    """The end of a command that was started, in words."""
    code = ended.exit_code or 0
    return f"exited {code}" if code >= 0 else f"was ended by signal {-code}"


def environment(
    base: Mapping[str, str], secret_variables: frozenset[str], training: Training, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the command: no outer make, no secrets, plus what the configuration and the run add."""
    withheld = _OUTER_MAKE | secret_variables
    kept = {name: value for name, value in base.items() if name not in withheld}
    return {**kept, **training.environment, **extra}


def obstacle(training: Training, environment: Mapping[str, str]) -> str | None:
    """Why the command could not be started, as far as can be told without starting it; None where nothing is seen."""
    program, directory = training.command[0], training.directory
    found = directory / program if "/" in program else _found(program, environment)
    problem: OSError | None = None
    if not directory.is_dir() or not os.access(directory, os.X_OK) or found is None or not Path(found).exists():
        problem = FileNotFoundError()
    elif Path(found).is_dir() or not os.access(found, os.X_OK):
        problem = PermissionError()
    else:
        problem = _no_program(Path(found))
    return _why_not_started(training, environment, problem) if problem is not None else None


def _no_program(file: Path) -> OSError | None:
    """What the kernel will say of a file that is no program; None also where its content cannot be read."""
    with suppress(OSError), file.open("rb") as opened_file:
        head = opened_file.read(256)
        if head.startswith(b"#!"):
            words = head[2:].splitlines()[0].split()
            return None if words and Path(os.fsdecode(words[0])).exists() else FileNotFoundError()
        if b"\0" not in head:
            return OSError(errno.ENOEXEC, "")
    return None


def run(
    training: Training,
    environment: Mapping[str, str],
    log: Path,
    lock_fd: int,
    echo: Callable[[bytes], None] | None,
) -> Ended:
    """What came of the command, once nothing of its process group runs any more.

    Its output goes straight to the file `log`, so a training outlives a killed controller undisturbed; `echo`
    gets the same bytes as they come. The command inherits `lock_fd` and so keeps the lock while it runs.
    Raises RetrainError if the log cannot be written.
    """
    began = time.monotonic()
    with opened(log) as output:
        start = os.fstat(output).st_size
        with _recorded_signals() as received:
            try:
                process = subprocess.Popen(
                    training.command,
                    cwd=training.directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock_fd,),
                )
            except (OSError, ValueError) as error:
                why = _why_not_started(training, environment, error)
                return Ended(None, time.monotonic() - began, False, received.first, (), why)
            follower = Follower(output, start, echo)
            try:
                timed_out = _wait(process.pid, training, received, follower)
            finally:
                _kill(process.pid)
                exit_code = process.wait()
            while follower.more():
                pass
        seconds = time.monotonic() - began
        return Ended(exit_code, seconds, timed_out, received.first, tail(output, start), None)


# ---------------------------------------------------------------- signals to the controller


class _Received:
    """The signals that the controller was sent, with their times."""

    def __init__(self) -> None:
        self.signals: list[tuple[int, float]] = []

    def record(self, number: int, _frame: object) -> None:
        self.signals.append((number, time.monotonic()))

    @property
    def first(self) -> int | None:
        return self.signals[0][0] if self.signals else None

    @property
    def insistent(self) -> bool:
        """Whether a second signal came that is not part of the same request."""
        return bool(self.signals) and self.signals[-1][1] - self.signals[0][1] > _SAME_REQUEST


@contextmanager
def _recorded_signals() -> Iterator[_Received]:
    """The signals sent from now on, recorded instead of handled. Only the main thread may do this."""
    received, before = _Received(), {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # ignored on purpose, by nohup for one
                    before[number] = signal.signal(number, received.record)
            if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # the kernel would throw the exit code away
                before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------- the process group


def _wait(group: int, training: Training, received: _Received, follower: Follower) -> bool:
    """Whether the time limit was reached. On return the command has ended or has used up its grace."""
    limit = training.timeout.total_seconds()
    in_time = _until(lambda: _ended(group) or received.first is not None, limit, follower)
    if not _ended(group):
        # A stopped process acts on a signal only after SIGCONT.
        _send(group, received.first or signal.SIGTERM, signal.SIGCONT)
        grace = training.grace.total_seconds()
        _until(lambda: received.insistent or (_ended(group) and _alone(group)), grace, follower)
    return not in_time


def _until(condition: Callable[[], bool], seconds: float, follower: Follower) -> bool:
    """Whether the condition came true within so many seconds; what is new in the log is shown meanwhile."""
    deadline, pause = time.monotonic() + seconds, 0.001
    while not condition():
        follower.more()
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.05)
    return True


def _ended(leader: int) -> bool:
    """Whether the command has ended. It is not reaped, so that its id stays that of the group and nobody else's."""
    return os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _alone(group: int) -> bool:
    """Whether nothing but its leader is left of the group; also True where there is no /proc to tell."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            # pid (name) state parent group ...; the name may hold spaces and parentheses
            state, _, its_group = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
            if int(its_group) == group and int(process.name) != group and state not in "ZX":
                return False
    return True


def _send(group: int, *numbers: int) -> None:
    for number in numbers:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _kill(group: int) -> None:
    """End whatever runs in the group: a process left behind would hold the lock."""
    _send(group, signal.SIGKILL)
    deadline = time.monotonic() + _REAPING
    while not _alone(group) and time.monotonic() < deadline:
        time.sleep(0.01)


def _found(program: str, environment: Mapping[str, str]) -> str | None:
    """The file that this name means in the command's own PATH."""
    return shutil.which(program, path=os.pathsep.join(os.get_exec_path(environment)))


def _why_not_started(training: Training, environment: Mapping[str, str], error: OSError | ValueError) -> str:
    """Why the command could not be started and how to mend it, in a sentence."""
    program, directory = training.command[0], training.directory
    if not directory.is_dir() or not os.access(directory, os.X_OK):
        return f"the directory {directory} is missing or may not be entered (create it or change training.directory)"
    path = os.pathsep.join(os.get_exec_path(environment))
    found = directory / program if "/" in program else _found(program, environment)
    match error:
        case FileNotFoundError() if found is None:
            return (
                f"the command {program} was not found in PATH={path} (install it, give its absolute path in "
                "training.command, or set PATH in training.environment; cron's own PATH is short)"
            )
        case FileNotFoundError() if Path(found or "").exists():
            return f"the interpreter that {found} names in its first line (#!) does not exist (mend that line)"
        case FileNotFoundError():
            return f"the command {found} does not exist (create it or change training.command)"
        case PermissionError():
            return f"the command {program} may not be executed (chmod +x it or change training.command)"
        case OSError(errno=errno.ENOEXEC):
            return f"the command {program} is not a program (a script needs a first line such as #!/bin/sh)"
        case _:
            return f"the command {program} could not be started: {error} (see training.command and .environment)"
