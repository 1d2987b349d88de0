"""What must hold after any harm: the champion, the versions, the journal, the trainings."""

import fcntl
import hashlib
import re
import shutil
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tests.stories.project import CHAMPION, Project

CODES = frozenset({0, 1, 4, 10, 11, 75})
"""What a command may end with that was neither stopped nor given wrong flags, and in which there is no bug."""


class Row(NamedTuple):
    """An event as the journal holds it."""

    id: int
    at: str
    kind: str
    subject: str
    body: str


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def events(state: Path) -> list[Row]:
    """What is committed in the journal, which is copied first: looking must not mend what a crash left.

    Raises AssertionError where the file is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="journal-") as directory:
        for file in state.glob("journal.db*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, directory)
        copy = Path(directory, "journal.db")
        if not copy.exists():
            return []
        with closing(sqlite3.connect(copy)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'").fetchone() == (0,):
                return []
            return [Row(*row) for row in db.execute("SELECT id, at, kind, subject, body FROM events ORDER BY id")]


class Open(NamedTuple):
    """What was begun and not closed: the run of a training, the version of a swap."""

    run: str | None
    swap: str | None


def told(rows: Sequence[Row]) -> Open:
    """What the journal leaves open. Raises AssertionError where it contradicts itself."""
    assert [row.id for row in rows] == list(range(1, len(rows) + 1)), "an event is lost or doubled"
    run = swap = None
    for row in rows:
        match row.kind:
            case "TrainingStarted":
                assert run is None, f"{row.subject} was started while {run} was open"
                run = row.subject
            case "TrainingFinished":
                assert run == row.subject, f"{row.subject} was finished while {run} was open"
                run = None
            case "SwapStarted":
                assert swap is None, f"the swap of {row.subject} was begun while that of {swap} was open"
                swap = row.subject
            case "Promoted" | "RolledBack" | "SwapUndone":
                assert swap == row.subject, f"{row.kind} {row.subject} while the swap of {swap} was open"
                swap = None
    starts = Counter(row.subject for row in rows if row.kind == "TrainingStarted")
    assert not starts or max(starts.values()) == 1, starts
    return Open(run, swap)


def champion(models: Path, known: set[str]) -> str:
    """The version that serves, which loads and is what its name says. Raises AssertionError where it is not."""
    import joblib

    path = models / Path(CHAMPION).name
    version = digest(path)
    assert version in known, f"{path} is no known version"
    if path.is_symlink():
        assert path.readlink() == Path("versions", f"{version}.joblib"), path.readlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert hasattr(joblib.load(path), "predict")
    return version


def versions(models: Path) -> list[str]:
    """What lies in versions/ besides whole versions. Raises AssertionError where one is half written."""
    leftovers = []
    for file in sorted(models.glob("versions/*")):
        found = re.fullmatch(r"([0-9a-f]{64})\.joblib", file.name)
        if found is None:
            leftovers.append(file.name)
        else:
            assert digest(file) == found[1], f"{file} is not what its name says"
    return leftovers


def adoptions(rows: Sequence[Row], models: Path) -> int:
    """How often the first champion, an ordinary file, was adopted. Raises AssertionError where a link has no record."""
    count = sum(row.kind == "Adopted" for row in rows)
    assert count <= 1, "an adoption was recorded twice"
    assert count == 1 or not (models / Path(CHAMPION).name).is_symlink(), "an adoption was not recorded"
    return count


def trainings(project: Project) -> Counter[str]:
    """How often a training began and ended, from what the recipe wrote. Raises AssertionError if two overlapped."""
    lines = (project.root / "trainings").read_text().splitlines()
    assert not [line for line in lines if line.startswith("overlap")], lines
    runs = Counter(lines)
    assert not runs or max(runs.values()) == 1, runs
    last = ""
    for line in lines:
        word, run = line.split()
        assert word == "begin" or last == run, lines
        last = run
    return Counter(line.split()[0] for line in lines)


def is_held(state: Path) -> bool:
    """Whether anybody holds the lock of this state directory."""
    lock = state / "lock"
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def proper(done: Any, *, silent: bool = False) -> int:
    """The exit code, which is a documented one; and a failure has a sentence, unless it had no way to say it."""
    said = f"{done.returncode}: {done.args}\n{done.stdout}\n{done.stderr}"
    assert done.returncode in CODES, said
    assert "Traceback" not in done.stdout + done.stderr, said
    assert "a bug in retrain" not in done.stdout + done.stderr, said
    if done.returncode in (1, 4, 75) and not silent:
        assert len(done.stderr.strip()) > 20, f"no sentence: {said}"
    return int(done.returncode)
