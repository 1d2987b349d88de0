"""The tour of `make demo`: the whole loop on real data, with the shipped configuration, Makefile and commands."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from retrain.config import load
from retrain.demo import DATA, HISTORY, MARKER, MODELS, PREDICTIONS, STATE
from retrain.errors import RetrainError, Stopped

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
RECEIVED: list[int] = []
"""The signals that the tour was sent. Only `pause` acts on them: none interrupts the start of a process."""
OWN = (DATA, MODELS, STATE)
ANSWERS_WITHIN = 60.0
"""Seconds in which the monitor must answer."""
ENDS_WITHIN = 60.0
"""Seconds that a command may take to end after SIGTERM: more than training.grace."""


def main() -> int:
    """The exit code of the tour."""
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored on purpose, by nohup for one
            signal.signal(number, lambda received, _frame: RECEIVED.append(received))
    try:
        tour()
    except RetrainError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print("\nThe tour was stopped.", file=sys.stderr)
        return stopped.exit_code
    return 0


def tour() -> None:
    """Walk through the loop once, in the current directory. Raises RetrainError at the first surprise."""
    start_afresh()
    retrain, python = beside_python("retrain"), beside_python(Path(sys.executable).name)
    world = (python, "-m", "retrain.demo.world")

    say("A scanner reads handwritten digits, and a model says whether each is odd. Here is a day of labelled scans.")
    run(*world, "start")
    say("Train the first model on them, with the command that `retrain check` will use.")
    run("make", "train-model")
    say("There is no champion yet, so the model only has to reach F1 0.85, on scans that its training left out.")
    run(retrain, "promote", "models/challenger.joblib")
    say("A day passes. The champion serves every scan, and its predictions are logged.")
    run(*world, "day")
    say("The monitor turns that log into metrics. It runs in the background.")
    with running(retrain, "monitor") as monitor:
        wait_for(monitor)
        say("Cron runs this command, without -v: then it prints nothing while all is well.")
        run(retrain, "check", "-v")
        say("Doctor tests the whole set-up. It warns that a champion with so few errors is hard to beat.")
        run(retrain, "doctor")
        say("Now the scanner's lamp fades, and its glass gets dirty. The next day passes.")
        run(*world, "drift")
        run(*world, "day")
        say("The next check sees the drop and trains a challenger, but leaves 200 of today's scans out.")
        run(retrain, "check", "-v")
        say("Promote compares both models on the scans that were left out: they are of today, and new to both.")
        run(retrain, "promote")
        say("Status shows which model serves, what waits and what happened.")
        run(retrain, "status")
        say("If the new champion disappoints, one command brings the previous one back.")
        run(retrain, "rollback")
        run(retrain, "status")
        say("The monitor is stopped.")
    say_goodbye(retrain)


def say_goodbye(retrain: str) -> None:
    """Print what one can do now, and how to clean up."""
    say("That was the whole loop. Its files are still here, and no process is. You can go on with:")
    for command, meaning in (
        ("status", "which model serves, what waits, what happened"),
        ("promote --force --reason 'try again' models/challenger.joblib", "promote it again"),
        ("doctor", "test the whole set-up"),
        ("backtest state/journal.db", "when other rules would have trained"),
        ("monitor &", "start the monitor again, and then"),
        ("check -v", "see what the next check does"),
    ):
        print(f"  {retrain} {command:62}# {meaning}")
    print(f"To clean up: stop the monitor (kill %1), then rm -r {' '.join(map(str, OWN))}")


def start_afresh() -> None:
    """Remove what an earlier tour left. Raises RetrainError where any of it may be the user's own."""
    there = [path for path in OWN if os.path.lexists(path)]
    if not there:
        return
    names = ", ".join(f"{path}/" for path in there)
    written_here = {MARKER, HISTORY, PREDICTIONS}
    strange = [path for path in there if path.is_symlink() or not path.is_dir()]
    strange += [path for path in DATA.glob("*") if path not in written_here]
    if strange or not MARKER.is_file():
        why = f"it did not make {strange[0]}" if strange else f"there is no {MARKER}"
        raise RetrainError(
            f"The demo would replace {names}, but {why}, so this may be your own work."
            " Nothing was changed. Run the demo in a fresh copy of the repository, or move these away."
        )
    for path in (MODELS, STATE, DATA):  # data/ last: it holds the marker
        if path in there:
            shutil.rmtree(path)


def say(narration: str) -> None:
    """Print what comes next."""
    print(f"\n{narration}", flush=True)


def beside_python(program: str) -> str:
    """The path of a program of this environment, as one would type it here."""
    path = Path(sys.executable).with_name(program)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def run(*command: str) -> None:
    """Show the command and run it to its end. Raises RetrainError unless it ends well."""
    with running(*command) as process:
        while process.poll() is None:
            pause()
    if process.returncode != 0:
        pause()  # Ctrl-C ends the command and the tour alike; that is no failure of the command
        why = f"The tour ends here: `{shlex.join(command)}` ended with exit code {process.returncode}, not with 0."
        raise RetrainError(why)


def pause() -> None:
    """Wait for a moment. Raises Stopped if the tour was sent a signal."""
    time.sleep(0.05)
    if RECEIVED:
        raise Stopped(RECEIVED[0])


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command, shown and started; on the way out it is ended if it has not ended by itself."""
    print(f"$ {shlex.join(command)}", flush=True)
    try:
        process = subprocess.Popen(command, env=environment())
    except OSError as error:
        raise RetrainError(f"`{shlex.join(command)}` could not be started: {error.strerror}") from error
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment() -> dict[str, str]:
    """What the commands inherit: nothing of the make that runs the tour, and no other configuration of retrain."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    return {name: value for name, value in os.environ.items() if name not in outer and not name.startswith("RETRAIN_")}


def wait_for(monitor: subprocess.Popen[bytes]) -> None:
    """Return once the monitor answers. Raises RetrainError if it ends or stays silent."""
    config, _ = load(Path("config.yaml"), os.environ)
    url = config.monitoring.address if config.monitoring else ""
    deadline = time.monotonic() + ANSWERS_WITHIN
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between us and our own monitor
        while time.monotonic() < deadline:
            pause()
            if monitor.poll() is not None:
                raise RetrainError(f"The tour ends here: the monitor ended with exit code {monitor.returncode}.")
            try:
                if session.get(url, timeout=5).ok:
                    return
            except requests.RequestException:
                continue
    raise RetrainError(f"The tour ends here: the monitor did not answer at {url} within {ANSWERS_WITHIN:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
