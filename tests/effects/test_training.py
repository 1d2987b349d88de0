"""The training command, run for real: make, shell scripts, and controllers that are signalled and killed."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from retrain.config.schema import Training
from retrain.effects import training
from retrain.effects.training import Ended
from retrain.errors import RetrainError
from tests.conftest import real

CONTROLLER = Path(__file__).with_name("training_controller.py")
MARKER = "TRAINING_TEST_MARKER"
Echo = Callable[[bytes], None]


@dataclass
class Place:
    """A project directory with a log and a lock; every process started here is marked."""

    root: Path
    marker: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def log(self) -> Path:
        return self.root / "run.log"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, MARKER: self.marker}

    def write(self, name: str, text: str, mode: int = 0o755) -> Path:
        path = self.root / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def run(self, *command: str, echo: Echo | None = None, timeout: float = 60, grace: float = 60) -> Ended:
        """The outcome of a command that this process runs, holding the lock."""
        configured = Training(
            command=command,
            directory=self.root,
            timeout=timedelta(seconds=timeout),
            grace=timedelta(seconds=grace),
        )
        lock = os.open(self.lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return training.run(configured, self.environment, self.log, lock, echo)
        finally:
            os.close(lock)

    def shell(self, script: str, echo: Echo | None = None) -> Ended:
        return self.run("sh", str(self.write("train.sh", script)), echo=echo)

    def make(self, makefile: str, timeout: float = 60, grace: float = 60) -> Ended:
        self.write("Makefile", makefile, 0o644)
        return self.run(str(real("make")), "train-model", timeout=timeout, grace=grace)

    def order(self, *command: str, **more: float) -> list[str]:
        """The command line of a controller of its own that runs this command."""
        order = {"command": command, "directory": str(self.root), "log": str(self.log), "lock": str(self.lock)}
        return [sys.executable, str(CONTROLLER), json.dumps(order | more)]

    def logged(self, text: str) -> bool:
        return self.log.exists() and text in self.log.read_text()

    def running(self) -> list[int]:
        """The processes of this place that are not zombies."""
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if self._marks(process)]

    def _marks(self, process: Path) -> bool:
        try:
            return f"{MARKER}={self.marker}".encode() in (process / "environ").read_bytes()
        except OSError:
            return False

    def lock_is_free(self) -> bool:
        with self.lock.open() as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for process in made.running():
        os.kill(process, signal.SIGKILL)


@dataclass
class Controller:
    """A controller in a process of its own, whose training has written "ready"."""

    process: subprocess.Popen[str]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def result(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        result: dict[str, Any] = json.loads(out)
        return result


@pytest.fixture
def controller(place: Place) -> Iterator[Callable[..., Controller]]:
    started: list[subprocess.Popen[str]] = []

    def start(script: str, **more: float) -> Controller:
        command = place.order("sh", str(place.write("train.sh", script)), **more)
        process = subprocess.Popen(
            command, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        until(lambda: place.logged("ready"))
        return Controller(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail if it does not come to hold."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.01)


def foreseen(configured: Training, environment: dict[str, str]) -> str | None:
    """What is said to keep the command from starting, before it is tried."""
    found = training.obstacle(configured, environment)
    return str(found) if found is not None else None


UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done\n"
FOR_EVER = "while :; do sleep 0.02; done\n"


# ---------------------------------------------------------------- how a command ends


def test_a_command_that_ends_well(place: Place) -> None:
    """A successful make target exits 0, and what it wrote to either stream is in a log that only we may read."""
    ended = place.make("train-model:\n\t@echo to standard output\n\t@echo to standard error >&2\n")
    assert (ended.exit_code, ended.timed_out, ended.signal, ended.problem) == (0, False, None, None)
    assert place.log.read_text() == "to standard output\nto standard error\n"
    assert ended.tail == ("to standard output", "to standard error")
    assert place.log.stat().st_mode & 0o777 == 0o600
    assert ended.seconds > 0


def test_a_failing_recipe_is_quoted(place: Place) -> None:
    """make exits 2 whatever went wrong, so the tail carries the error itself, and not what make adds."""
    ended = place.make("train-model:\n\t@echo 'ValueError: no rows' >&2; exit 1\n")
    assert ended.exit_code == 2
    assert ended.tail == ("ValueError: no rows",)


def test_a_missing_target_is_quoted(place: Place) -> None:
    """A Makefile without the target says so in the tail."""
    ended = place.make("all:\n")
    assert ended.exit_code == 2
    assert "No rule to make target" in ended.tail[-1]


def test_a_command_that_dies_by_a_signal(place: Place) -> None:
    """The exit code of a command that a signal ended is the negative number of that signal (out of memory: -9)."""
    ended = place.shell("kill -KILL $$\n")
    assert (ended.exit_code, ended.timed_out, ended.signal) == (-9, False, None)


def test_a_run_outside_the_main_thread(place: Place) -> None:
    """Signal handlers belong to the main thread; elsewhere the command runs without them."""
    results: list[Ended] = []
    thread = threading.Thread(target=lambda: results.append(place.shell("exit 3\n")))
    thread.start()
    thread.join()
    assert results[0].exit_code == 3


def test_the_exit_code_survives_an_ignored_sigchld(place: Place, controller: Callable[..., Controller]) -> None:
    """Started with SIGCHLD ignored, as some daemons do, the controller still learns how the training ended."""
    assert controller("echo ready; exit 7\n", ignore=signal.SIGCHLD).result()["exit_code"] == 7


# ---------------------------------------------------------------- commands that cannot be started


def test_a_command_that_is_not_found(place: Place) -> None:
    """A command that PATH does not have is no crash: the problem names it, the PATH and the remedies."""
    ended = place.run("no-such-trainer", "now")
    assert ended.exit_code is None
    assert ended.problem is not None
    assert "no-such-trainer was not found in PATH=" in ended.problem
    assert os.environ["PATH"] in ended.problem
    assert "training.environment" in ended.problem
    assert ended.tail == ()
    configured = Training(command=("no-such-trainer",), directory=place.root)
    assert foreseen(configured, place.environment) == ended.problem


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0, "does not exist"),
        ("#!/bin/sh\n", 0o644, "chmod +x"),
        ("#!/no/such/interpreter\n", 0o755, "#!"),
        ("no program\n", 0o755, "#!/bin/sh"),
    ],
    ids=["missing", "not executable", "no interpreter", "no program"],
)
def test_a_file_that_cannot_be_started(place: Place, text: str | None, mode: int, said: str) -> None:
    """Each way in which a file is no command has its own sentence and remedy."""
    if text is not None:
        place.write("train", text, mode)
    ended = place.run("./train")
    assert ended.exit_code is None
    assert ended.problem is not None
    assert said in ended.problem
    assert "train" in ended.problem
    configured = Training(command=("./train",), directory=place.root)
    assert foreseen(configured, place.environment) == ended.problem


@pytest.mark.parametrize("command", ["true", "/bin/sh", sys.executable])
def test_a_command_that_can_be_started_has_no_obstacle(place: Place, command: str) -> None:
    """Found in PATH or by its path, a script or a binary."""
    configured = Training(command=(command,), directory=place.root)
    assert training.obstacle(configured, place.environment) is None
    place.write("train", "#!/bin/sh\n", 0o755)
    configured = Training(command=("./train",), directory=place.root)
    assert training.obstacle(configured, place.environment) is None


@pytest.mark.parametrize("there", [False, True], ids=["missing", "a file"])
def test_a_directory_that_cannot_be_entered(place: Place, there: bool) -> None:
    """A training directory that is no directory is named as the problem, not the command."""
    if there:
        place.write("elsewhere", "")
    place.root = place.root / "elsewhere"
    configured = Training(command=("true",), directory=place.root)
    with (place.root.parent / "lock").open("w") as lock:
        ended = training.run(configured, place.environment, place.root.parent / "log", lock.fileno(), None)
    assert ended.exit_code is None
    assert ended.problem is not None
    assert str(place.root) in ended.problem
    assert foreseen(configured, place.environment) == ended.problem
    assert "training.directory" in ended.problem


def test_an_environment_that_cannot_be_passed_on(place: Place) -> None:
    """A name that no environment can hold is a problem of the configuration, told as such."""
    configured = Training(command=("true",), directory=place.root, environment={"A=B": "c"})
    wanted = training.environment(os.environ, frozenset(), configured, {})
    with place.lock.open("w") as lock:
        ended = training.run(configured, wanted, place.log, lock.fileno(), None)
    assert ended.exit_code is None
    assert ended.problem is not None
    assert "environment" in ended.problem


def test_a_log_that_cannot_be_written(place: Place) -> None:
    """Without a log nothing is started; the error names the file and the cause."""
    place.log.mkdir()
    with pytest.raises(RetrainError, match=r"run\.log: .*cannot be written: Is a directory"):
        place.shell("touch started\n")
    assert not (place.root / "started").exists()


# ---------------------------------------------------------------- log, echo, tail


def test_output_is_echoed_as_it_comes(place: Place) -> None:
    """The echo sees output while the command still runs, and in the end every byte of the log, once."""
    seen = bytearray()

    def echo(new: bytes) -> None:
        seen.extend(new)
        (place.root / "go").touch()

    assert place.shell(f"echo one\n{UNTIL_GO}echo two; printf 'no newline'\n", echo=echo).exit_code == 0
    assert bytes(seen) == b"one\ntwo\nno newline"
    assert place.log.read_bytes() == bytes(seen)


def test_a_terminal_that_goes_away_ends_no_training(place: Place) -> None:
    """An echo that cannot be written is dropped; the training goes on and its log is whole."""

    def echo(new: bytes) -> None:
        (place.root / "go").touch()
        raise BrokenPipeError

    assert place.shell(f"echo one\n{UNTIL_GO}echo two\n", echo=echo).exit_code == 0
    assert place.log.read_text() == "one\ntwo\n"


def test_a_failure_of_the_controller_leaves_nothing_running(place: Place) -> None:
    """If the echo itself is broken the error comes through, and the command does not run on unattended."""

    def echo(new: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        place.shell(f"echo one\n{FOR_EVER}", echo=echo)
    assert place.running() == []
    assert place.lock_is_free()


def test_an_existing_log_is_continued(place: Place) -> None:
    """What the log held before stays there, and is neither echoed nor quoted."""
    place.log.write_text("before\n")
    seen = bytearray()
    ended = place.shell("echo after\n", echo=seen.extend)
    assert place.log.read_text() == "before\nafter\n"
    assert (bytes(seen), ended.tail) == (b"after\n", ("after",))


@pytest.mark.parametrize(
    ("written", "tail"),
    [
        (b"", ()),
        (b"\n \n\t\n", ()),
        (b"1\n2\n\n3\n4\n  \n5\n6\n", ("2", "3", "4", "5", "6")),
        (b"no newline", ("no newline",)),
        (b"  indented\n", ("indented",)),
        (b"a\tb\r\n", ("a b",)),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\n", ("red plain",)),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b(B\x1b7ok\n", ("link ok",)),
        (b"bell\x07 null\x00 back\x08 \xe2\x80\xaeright-to-left\n", ("bell null back right-to-left",)),
        (b" 10%\r 55%\rdone 100%\r\nnext\n", ("done 100%", "next")),
        (b"caf\xc3\xa9 \xff\n", ("café \ufffd",)),
        (b"x" * 400, ("x" * 299 + "…",)),
        (b"lost\n" + b"y" * 8192, ("y" * 299 + "…",)),
    ],
)
def test_the_tail(place: Place, written: bytes, tail: tuple[str, ...]) -> None:
    """The tail is the last five lines that say something, as a terminal would show them, safe to print."""
    (place.root / "output").write_bytes(written)
    assert place.run("cat", "output").tail == tail
    assert place.log.read_bytes() == written


# ---------------------------------------------------------------- the world of the command


@pytest.mark.parametrize(
    ("base", "secret", "configured", "extra", "wanted"),
    [
        ({"PATH": "/bin"}, (), {}, {}, {"PATH": "/bin"}),
        ({"MAKEFLAGS": "n", "MFLAGS": "-n", "MAKELEVEL": "1", "MAKEOVERRIDES": "A=1"}, (), {}, {}, {}),
        ({"TOKEN": "s", "HOME": "/h"}, ("TOKEN",), {}, {}, {"HOME": "/h"}),
        ({}, ("ABSENT",), {}, {}, {}),
        ({"A": "base"}, (), {"A": "configured"}, {}, {"A": "configured"}),
        ({"TOKEN": "s"}, ("TOKEN",), {"TOKEN": "for training"}, {}, {"TOKEN": "for training"}),
        ({}, (), {"MAKEFLAGS": "-j2"}, {}, {"MAKEFLAGS": "-j2"}),
        ({"R": "base"}, (), {"R": "configured"}, {"R": "run"}, {"R": "run"}),
        ({}, (), {}, {"RETRAIN_RUN_ID": "7"}, {"RETRAIN_RUN_ID": "7"}),
    ],
)  # fmt: skip
def test_the_environment(
    base: dict[str, str],
    secret: tuple[str, ...],
    configured: dict[str, str],
    extra: dict[str, str],
    wanted: dict[str, str],
) -> None:
    """Outer make and secrets are withheld; the configuration adds, and what the run gives wins."""
    rules = Training(environment=configured)
    assert training.environment(base, frozenset(secret), rules, extra) == wanted


def test_an_outer_make_does_not_reach_the_training(place: Place) -> None:
    """Run from a recipe of another make, the training's make knows nothing of its flags and overrides."""
    place.write(
        "Makefile", "RESULT=own\nouter:\n\t+@$(CONTROLLER)\ntrain-model:\n\t@echo $(RESULT) $(MAKELEVEL)\n", 0o644
    )
    make = str(real("make"))
    script = place.write("controller.sh", 'exec "$PYTHON" "$SCRIPT" "$ORDER"\n')
    python, own, order = place.order(make, "train-model")
    variables = {"CONTROLLER": f"sh {script}", "PYTHON": python, "SCRIPT": own, "ORDER": order}
    command = [make, "--keep-going", "-j2", "RESULT=outer", "outer"]
    done = subprocess.run(
        command,
        cwd=place.root,
        env=place.environment | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    ended = json.loads(done.stdout)
    assert (ended["exit_code"], ended["tail"]) == (0, ["own 0"])


def test_standard_input_is_empty(place: Place) -> None:
    """A command that asks a question gets an end of file: not what the controller is told, and not a hang."""
    script = place.write("train.sh", "read answer || echo nobody answers\n")
    done = subprocess.run(
        place.order("sh", str(script)), input="yes\n", stdout=subprocess.PIPE, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout)["tail"] == ["nobody answers"]


def test_the_session_is_the_commands_own(place: Place) -> None:
    """The command leads a session and a group of its own, so that the terminal's signals reach the controller alone."""
    ended = place.run(sys.executable, "-c", "import os; print(os.getpid(), os.getsid(0), os.getpgid(0))")
    process, session, group = ended.tail[0].split()
    assert process == session == group
    assert int(session) != os.getsid(0)


# ---------------------------------------------------------------- nothing is left behind


def test_the_time_limit_ends_the_whole_tree(place: Place) -> None:
    """After the limit and the grace nothing of the tree is left, not even children that ignore SIGTERM."""
    recipe = "trap '' TERM; echo started; sh -c 'while :; do sleep 0.05; done' & while :; do sleep 0.05; done"
    ended = place.make(f"train-model:\n\t@{recipe}\n", timeout=2, grace=0.2)
    assert ended.timed_out
    assert ended.exit_code not in (None, 0)  # make itself may get round to exiting 2
    assert ended.signal is None
    assert ended.tail[0] == "started"
    assert place.running() == []
    assert place.lock_is_free()


def test_a_background_process_of_a_finished_command_is_ended(place: Place) -> None:
    """What a successful command leaves running in its group is ended at once, and the lock is free afterwards."""
    ended = place.make("train-model:\n\t@nohup sleep 600 & echo started\n", grace=600)
    assert (ended.exit_code, ended.timed_out, ended.tail) == (0, False, ("started",))
    assert place.running() == []
    assert place.lock_is_free()


def test_the_training_keeps_the_lock_of_a_killed_controller(
    place: Place, controller: Callable[..., Controller]
) -> None:
    """The controller is killed; the training goes on writing its log, and holds the lock until it ends."""
    started = controller(f"echo ready\n{UNTIL_GO}echo went on\nwhile [ ! -e end ]; do sleep 0.02; done\n")
    assert not place.lock_is_free()
    started.send(signal.SIGKILL)
    started.process.wait(timeout=30)
    (place.root / "go").touch()
    until(lambda: place.logged("went on"))
    assert not place.lock_is_free()
    (place.root / "end").touch()
    until(place.lock_is_free)
    assert place.log.read_text() == "ready\nwent on\n"


# ---------------------------------------------------------------- signals to the controller


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on(place: Place, controller: Callable[..., Controller], number: signal.Signals) -> None:
    """The training hears the very signal, may end in its own way, and the controller's handlers come back."""
    name = number.name.removeprefix("SIG")
    started = controller(f"trap 'echo got {name}; exit 7' {name}\necho ready\n{FOR_EVER}")
    started.send(number)
    result = started.result()
    assert (result["signal"], result["exit_code"], result["timed_out"]) == (number, 7, False)
    assert result["tail"][-1] == f"got {name}"
    assert result["restored"]
    assert place.running() == []


def test_the_group_has_its_grace_when_the_leader_is_gone(place: Place, controller: Callable[..., Controller]) -> None:
    """A wrapper script dies of the signal at once; the training below it still gets to save its work."""
    place.write("inner.sh", f"trap 'sleep 0.2; echo saved; exit' TERM\necho ready\n{FOR_EVER}")
    started = controller("sh inner.sh\n:\n")
    started.send(signal.SIGTERM)
    result = started.result()
    assert result["exit_code"] == -signal.SIGTERM
    assert result["tail"][-1] == "saved"


def test_a_stopped_training_hears_the_signal(place: Place, controller: Callable[..., Controller]) -> None:
    """A training that someone suspended is continued, so that it can end within its grace."""
    started = controller("trap 'echo got TERM; exit 7' TERM\necho $$ > pid; echo ready; kill -STOP $$\nsleep 600\n")
    stat = Path(f"/proc/{(place.root / 'pid').read_text().strip()}/stat")
    until(lambda: stat.read_text().split()[2] == "T")
    started.send(signal.SIGTERM)
    assert started.result()["exit_code"] == 7


def test_after_the_grace_comes_sigkill(place: Place, controller: Callable[..., Controller]) -> None:
    """A training that does not mind SIGTERM is killed when its grace is over; the signal is reported."""
    started = controller(f"trap '' TERM\necho ready\n{FOR_EVER}", grace=0.1)
    started.send(signal.SIGTERM)
    result = started.result()
    assert (result["signal"], result["exit_code"], result["timed_out"]) == (signal.SIGTERM, -signal.SIGKILL, False)
    assert place.running() == []


def test_a_second_signal_kills_at_once(place: Place, controller: Callable[..., Controller]) -> None:
    """Whoever asks twice need not wait for an hour of grace; the first signal is the one reported."""
    started = controller(f"trap 'echo heard' INT TERM\necho ready\n{FOR_EVER}", grace=3600)
    started.send(signal.SIGINT)
    until(lambda: place.logged("heard"))
    time.sleep(0.3)  # later than the burst of the next test
    started.send(signal.SIGTERM)
    result = started.result()
    assert (result["signal"], result["exit_code"]) == (signal.SIGINT, -signal.SIGKILL)
    assert place.running() == []


def test_a_burst_of_signals_is_one_request(place: Place, controller: Callable[..., Controller]) -> None:
    """A closing terminal sends SIGHUP and SIGTERM together: the training keeps its grace."""
    started = controller(f"trap 'sleep 0.2; echo saved; exit 7' TERM HUP\necho ready\n{FOR_EVER}")
    started.send(signal.SIGSTOP)
    started.send(signal.SIGTERM)
    started.send(signal.SIGHUP)
    started.send(signal.SIGCONT)
    result = started.result()
    assert result["exit_code"] == 7
    assert result["signal"] in (signal.SIGTERM, signal.SIGHUP)


def test_an_ignored_signal_stays_ignored(place: Place, controller: Callable[..., Controller]) -> None:
    """Under nohup a hang-up ends neither the controller nor the training."""
    started = controller(f"echo ready\n{UNTIL_GO}", ignore=signal.SIGHUP)
    started.send(signal.SIGHUP)
    (place.root / "go").touch()
    result = started.result()
    assert (result["signal"], result["exit_code"], result["restored"]) == (None, 0, True)


FREED = "until [ $(stat -c %b $LOG) -lt 256 ]; do sleep 0.01; done"
"""Waits until the log takes less than 128 KiB of the disk, before the training ends."""


def test_a_log_without_end_keeps_its_head_and_its_tail(place: Place) -> None:
    """It does not fill the disk; what went wrong stands at the end."""
    command = ("sh", "-c", f"echo first; seq 400000; {FREED}; echo last >&2; exit 1")
    configured = Training(command=command, directory=place.root, max_log=65536)
    descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT)
    try:
        environment = {**place.environment, "LOG": str(place.log)}
        ended = training.run(configured, environment, place.log, descriptor, None)
    finally:
        os.close(descriptor)
    text = place.log.read_text()
    assert ended.tail[-1] == "last" and ended.exit_code == 1
    assert len(text) < 70_000 and text.startswith("first\n1\n2\n") and text.endswith("399999\n400000\nlast\n")
    assert "bytes were left out here" in text
