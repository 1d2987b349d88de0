"""One process → what it cost; two that do the same work, in turn → ratios."""

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

PYTHON, RETRAIN = sys.executable, str(Path(sys.executable).with_name("retrain"))


_LAUNCHER = """
import json, os, subprocess, sys, time
began = time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
took = time.monotonic() - began
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, took, used.ru_maxrss / 1024]))
"""
"""Starts what is measured: the kernel counts the memory of a starter as that of what it starts, and this has little."""


class Cost(NamedTuple):
    """Seconds of processor time, seconds on the clock, MiB of the largest process."""

    processor: float
    clock: float
    memory: float


class Goal(NamedTuple):
    """What is made of our cost and that beside it, in words and as a formula, and the limit that is wanted."""

    measure: str
    value: Callable[[Cost, Cost], float]
    limit: float | None
    at_least: bool = False

    def is_met(self, found: float) -> bool:
        """Whether this is good enough; always, where nothing is wanted."""
        return self.limit is None or (found >= self.limit if self.at_least else found <= self.limit)


class Work(NamedTuple):
    """A row of the table: what we run, what is run beside it, and in which words.

    A function is called for the words of each round, so that no round finds what the one before has left.
    """

    name: str
    beside: str
    ours: Callable[[], Cost]
    other: Callable[[], Cost]
    goals: Sequence[Goal]


def processor(most: float | None) -> Goal:
    """Our processor time as a multiple of the other."""
    return Goal("processor", lambda ours, other: ours.processor / other.processor, most)


def clock(most: float | None) -> Goal:
    """Our time on the clock as a multiple of the other."""
    return Goal("clock", lambda ours, other: ours.clock / other.clock, most)


def memory(most: float | None) -> Goal:
    """The memory of our largest process as a multiple of the other's."""
    return Goal("memory", lambda ours, other: ours.memory / other.memory, most)


def mebibytes(most: float | None) -> Goal:
    """The MiB of our largest process."""
    return Goal("MiB", lambda ours, _: ours.memory, most)


def exponent(times: float) -> Goal:
    """The power of the number with which our processor time grows, where the other has so many times less of it."""
    return Goal("exponent", lambda ours, less: math.log(ours.processor / less.processor, times), None)


def own(most: float | None) -> Goal:
    """The seconds of processor time that we take beyond the other."""
    return Goal("s beyond", lambda ours, other: ours.processor - other.processor, most)


def milliseconds(each: int, most: float | None) -> Goal:
    """Our milliseconds of processor time for each of so many."""
    return Goal("ms each", lambda ours, _: 1000 * ours.processor / each, most)


def faster(least: float | None) -> Goal:
    """How many times our processor time the peer takes."""
    return Goal("times faster", lambda ours, peer: peer.processor / ours.processor, least, at_least=True)


def sooner(least: float | None) -> Goal:
    """How many times our time on the clock the other takes."""
    return Goal("times sooner", lambda ours, other: other.clock / ours.clock, least, at_least=True)


def run(words: Sequence[str | Path], directory: Path, exits: Sequence[int] = (0,), cores: int | None = None) -> Cost:
    """The cost of a command with all that it has waited for, in a directory; on the first `cores` alone, if given."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    pinned = ["taskset", "-c", f"0-{cores - 1}"] if cores is not None else []
    command = [PYTHON, "-S", "-c", _LAUNCHER, *pinned, *words]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=True)
    status, *cost = json.loads(done.stdout)
    if status not in exits:
        raise SystemExit(f"{' '.join(map(str, words))}: exit code {status}\n{done.stderr[-2000:]}")
    return Cost(*cost)


def script(code: str, directory: Path, *words: str | Path, cores: int | None = None) -> Callable[[], Cost]:
    """What runs this Python with these words."""
    return lambda: run([PYTHON, "-c", code, *words], directory, cores=cores)


def retrain(
    directory: Path, *words: str | Path, exits: Sequence[int] = (0,), cores: int | None = None
) -> Callable[[], Cost]:
    """What runs the installed command with these words."""
    return lambda: run([RETRAIN, *words], directory, exits, cores)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def rows(work: Work, rounds: int) -> Iterator[str]:
    """The lines of the table for this work: the medians over the rounds, the least and the most, and the goal."""
    work.other(), work.ours()  # what is only slow once: caches of files, bytecode
    costs = [(work.ours(), work.other()) for _ in range(rounds)]
    for number, goal in enumerate(work.goals):
        found = sorted(goal.value(*each) for each in costs)
        middle = statistics.median(found)
        name, beside = (work.name, work.beside) if number == 0 else ("", "")
        wanted = "" if goal.limit is None else f"{'≥' if goal.at_least else '≤'} {goal.limit:g}"
        verdict = "" if goal.limit is None else "met" if goal.is_met(middle) else "MISSED"
        spread = f"{middle:.2f} ({found[0]:.2f} to {found[-1]:.2f})"
        yield f"{name:<46} {beside:<40} {goal.measure:<13} {spread:<24} {wanted:<8} {verdict}".rstrip()
