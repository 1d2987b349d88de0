"""A process group, run for real: what ends it, whatever of it ignores signals, is stopped or runs on behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrain.effects import process
from retrain.effects.process import Process
from retrain.errors import Stopped

FOR_EVER = "while :; do sleep 0.02; done"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def started(tmp_path: Path, log: Path) -> Iterator[list[Process]]:
    """What is started by `shell`; it is gone afterwards."""
    made: list[Process] = []
    yield made
    for each in made:
        process.end(each)


def shell(started: list[Process], log: Path, script: str) -> Process:
    """The shell that runs this script."""
    output = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        command = ["/bin/sh", "-c", script]
        started.append(process.start(command, log.parent, os.environ, output=output, inherited=[output]))
    finally:
        os.close(output)
    return started[-1]


def said(log: Path, text: str) -> bool:
    """Whether the log comes to hold this text."""
    return process.until(lambda: log.exists() and text in log.read_text(), 30)


def runs(number: str) -> bool:
    """Whether there is a process with this number that is more than a zombie which nobody reaps."""
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_a_signal_that_comes_at_once_leaves_no_process_behind(tmp_path: Path) -> None:
    """The command may be at work before it is known here that it was started: it ends all the same."""

    def stop(number: int, _frame: object) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        for number in range(20):
            left = tmp_path / f"{number}"
            words = ["/bin/sh", "-c", f"echo $$ > {left}; kill -TERM $PPID; sleep 300"]
            with pytest.raises(Stopped):
                process.ran(words, tmp_path, {}, seconds=60, most=1000)
            assert not left.exists() or not runs(left.read_text().strip())
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), (":", 0), ("kill -KILL $$", -9)])
def test_an_exit_code_can_be_asked_for_without_reaping(
    started: list[Process], log: Path, script: str, code: int
) -> None:
    """Its id remains that of the group and is given to no other process, until the group is ended."""
    one = shell(started, log, script)
    assert process.until(lambda: process.exit_code(one) is not None, 30)
    assert process.exit_code(one) == code
    assert Path(f"/proc/{one.pid}").exists()
    assert process.end(one) == process.end(one) == process.exit_code(one) == code
    assert not Path(f"/proc/{one.pid}").exists()


def test_what_runs_on_behind_its_leader_is_not_gone(started: list[Process], log: Path) -> None:
    """The end takes it, too."""
    one = shell(started, log, f"sh -c 'echo $$ > {log}.pid; {FOR_EVER}' & until [ -s {log}.pid ]; do :; done")
    assert process.until(lambda: process.exit_code(one) is not None, 30)
    assert not process.is_gone(one)
    process.end(one)
    assert not runs(Path(f"{log}.pid").read_text().strip())


def test_who_is_asked_may_end_in_its_own_way(started: list[Process], log: Path) -> None:
    """Within the grace, and also where it was stopped."""
    one = shell(started, log, f"trap 'echo saved; exit 5' TERM; echo ready; kill -STOP $$; {FOR_EVER}")
    assert said(log, "ready")
    assert process.end(one, signal.SIGTERM, grace=60) == 5
    assert said(log, "saved")


def test_who_does_not_listen_is_killed_after_the_grace(started: list[Process], log: Path) -> None:
    """With all that it has started."""
    one = shell(started, log, f"trap '' TERM; sh -c '{FOR_EVER}' & echo $! > {log}.pid; echo ready; {FOR_EVER}")
    assert said(log, "ready")
    assert process.end(one, signal.SIGTERM, grace=0.1) == -signal.SIGKILL
    assert not runs(Path(f"{log}.pid").read_text().strip())


def test_an_exception_meanwhile_ends_the_group_at_once(started: list[Process], log: Path) -> None:
    """A signal to the controller, say, that comes during the grace."""
    one = shell(started, log, f"trap 'echo heard' TERM; echo ready; {FOR_EVER}")
    assert said(log, "ready")

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            process.end(one, signal.SIGTERM, grace=600)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert process.exit_code(one) == -signal.SIGKILL
    assert time.monotonic() - began < 300


def test_an_exit_code_that_the_kernel_has_thrown_away(tmp_path: Path) -> None:
    """Where SIGCHLD is ignored, as some daemons start their children, the end is noticed all the same."""
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom retrain.effects import process\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "one = process.start(['/bin/sh', '-c', 'exit 7'], Path('/'), os.environ, output=2, inherited=[2])\n"
        "assert process.until(lambda: process.is_gone(one), 30)\n"
        "print(process.exit_code(one), process.end(one))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "0 0\n"
