"""What the commands ask of the machine, counted: times differ from run to run and from machine to machine."""

import re
import subprocess
import sys
from collections import Counter
from importlib.util import cache_from_source
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn

from tests.conftest import real
from tests.stories.project import RETRAIN, Models, Project

MODULES, CALLS, READ, STATEMENTS = 250, 3_900, 4_600_000, 17
"""The most of a healthy check: modules imported, system calls, bytes read, statements to SQLite."""
CALLS_EACH = 380
"""The most system calls of one project more in `retrain check -c DIR`."""
ROWS, FOOTERS = 200_000, 500_000
"""Rows of a holdout, and bytes: the end of a Parquet file is read for each question about its columns."""
_TIMED = (
    *("futex", "poll", "epoll_wait", "sched_yield", "wait4", "select", "restart_syscall", "clock_nanosleep"),
    *("clock_gettime", "clone3", "mmap", "munmap", "mprotect", "madvise", "set_robust_list", "rseq", "gettid"),
)
"""Calls whose number is a matter of time: those that wait, ask for the time, or make threads."""
_READS = ("read", "pread64", "readv")
_CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)(\(| resumed>)(.*)$", re.MULTILINE)
_TRACED = """
import sqlite3, sys
from retrain.__main__ import main
connect = sqlite3.connect
def traced(*given, **more):
    connection = connect(*given, **more)
    connection.set_trace_callback(lambda statement: print(" ".join(statement.split()), file=sys.stderr))
    return connection
sqlite3.connect = traced
sys.argv = ["retrain", "check"]
main()
"""


def counted(root: Path, *words: str | Path, of: Path | None = None) -> tuple[int, int]:
    """The system calls of these words with all their processes, and the bytes read; of one file, if it is given."""
    real("strace")
    log = root / "strace.log"
    only: list[str | Path] = [] if of is None else ["-P", of]
    command: list[str | Path] = ["strace", "-f", "-o", log, *only, *words]
    subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=300)
    calls, total = Counter[str](), 0
    for name, begins, rest in _CALL.findall(log.read_text(errors="replace")):
        calls[name] += begins == "("
        if name in _READS and (found := re.search(r"= (\d+)$", rest)):
            total += int(found[1])
    log.unlink()
    return sum(number for name, number in calls.items() if name not in _TIMED), total


def test_a_healthy_check_asks_little_of_the_machine(project: Project) -> None:
    """As many modules, system calls, bytes and statements as now: each is a cost that a cron line pays every time."""
    project.run("check")
    timed: list[str | Path] = [sys.executable, "-X", "importtime", RETRAIN, "check"]
    shown = subprocess.run(timed, cwd=project.root, capture_output=True, text=True, check=True).stderr
    modules = len(re.findall(r"^import time: +\d", shown, re.MULTILINE))
    calls, read = counted(project.root, RETRAIN, "check")
    traced = [sys.executable, "-c", _TRACED]
    statements = subprocess.run(
        traced, cwd=project.root, capture_output=True, text=True, check=True
    ).stderr.splitlines()
    assert 0 < modules <= MODULES
    assert 0 < calls <= CALLS
    assert 0 < read <= READ
    assert 0 < len(statements) <= STATEMENTS, statements


def test_one_project_more_costs_a_known_number_of_calls(tmp_path: Path, models: Models) -> None:
    """More of them is a cost that each tick pays a thousand times."""
    numbers = []
    for many in (2, 14):
        root = tmp_path / str(many)
        for number in range(many):
            (root / str(number)).mkdir(parents=True)
            Project(root / str(number), models)
        subprocess.run([RETRAIN, "check", "-c", root], cwd=root, check=True, capture_output=True)
        numbers.append(counted(root, RETRAIN, "check", "-c", root)[0])
    assert 0 < (numbers[1] - numbers[0]) / 12 <= CALLS_EACH


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_promote_reads_the_holdout_once(project: Project, kind: str) -> None:
    """Both models are given the same bytes, and what has been read is not read again."""
    file = project.root / f"data/many.{kind}"
    dice = np.random.default_rng(0)
    rows = pd.DataFrame(dice.normal(size=(ROWS, 3)), columns=list("abc"))
    rows["y"] = (rows["a"] + rows["b"] * rows["c"] > 0).astype(int)
    rows.to_csv(file, index=False) if kind == "csv" else rows.to_parquet(file, index=False)
    project.configure(promotion={"holdout": f"data/many.{kind}"})
    project.serve(project.models.weak)
    project.run("check", "--force", "--reason", "test")
    read = counted(project.root, RETRAIN, "promote", of=file)[1]
    assert 5 * FOOTERS < file.stat().st_size <= read <= file.stat().st_size + FOOTERS


def test_promote_imports_scikit_learn_once(project: Project) -> None:
    """For both models: it takes longer than most of them, and than the counting of some hundred thousand rows."""
    project.serve(project.models.weak)
    project.run("check", "--force", "--reason", "test")
    source = Path(sklearn.__file__)
    cached = Path(cache_from_source(str(source)))
    file = cached if cached.exists() else source
    assert counted(project.root, RETRAIN, "promote", of=file)[1] == file.stat().st_size
