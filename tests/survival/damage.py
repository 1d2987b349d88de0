"""A journal that is damaged, from a newer release, or held by another program."""

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.stories.project import Project
from tests.survival.scenes import HELD_BACK, Stage
from tests.survival.sound import champion, proper, trainings


def _garbage_header(file: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(100) + file[100:]


def _random_bytes(file: bytes, dice: random.Random) -> bytes:
    return dice.randbytes(len(file))


def _text(_file: bytes, _dice: random.Random) -> bytes:
    return b"this is no database\n" * 1000


def _empty(_file: bytes, _dice: random.Random) -> bytes:
    return b""


def _half(file: bytes, _dice: random.Random) -> bytes:
    return file[: len(file) // 8192 * 4096]


def _cut(file: bytes, _dice: random.Random) -> bytes:
    """In the middle of a page."""
    return file[: len(file) // 2 + 1000]


PAGE = 4096
"""Bytes of a page of SQLite."""
DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a header of garbage": _garbage_header,
    "random bytes": _random_bytes,
    "text": _text,
    "no content": _empty,
    "its first half": _half,
    "a part that ends within a page": _cut,
}


def damaged(name: str, stage: Stage, dice: random.Random, *, thorough: bool = True) -> str:
    """What a check says that finds its journal damaged so; `thorough` tries, too, what a person may do then.

    Raises AssertionError where a requirement is violated: the file is kept, nothing trains, the next commands go on.
    """
    project = stage.at(HELD_BACK)
    journal = _journal(project)
    content = DAMAGES[name](journal.read_bytes(), dice)
    journal.write_bytes(content)
    begun = trainings(project)["begin"]

    status = project.run("status")
    assert status.returncode in (0, 1), status
    proper(status)
    assert journal.read_bytes() == content, "status changed the journal"

    done = project.run("check")
    assert proper(done) == 0, done
    assert not done.stderr, done
    assert len(done.stdout.splitlines()) == 1, done
    kept = [file for file in journal.parent.glob("journal.db.damaged-*") if file.suffix not in (".db-wal", ".db-shm")]
    assert [file.read_bytes() for file in kept] == [content], kept
    assert kept[0].name in done.stdout, done
    assert trainings(project)["begin"] == begun
    assert champion(project.root / "models", stage.versions) == stage.version("weak")

    project.metrics(f1=0.6)
    held = project.json("check")
    assert (held["action"], held["reason"]) == ("hold", "cooling_down"), held
    assert "damaged" in project.run("status").stdout
    assert trainings(project)["begin"] == begun
    if not thorough:
        return done.stdout.strip()
    forced = project.run("check", "--force", "--reason", "the journal was lost")
    assert forced.returncode == 0, forced
    assert trainings(project)["begin"] == begun + 1
    promoted = project.run("promote", "--force", "--reason", "the journal was lost")
    assert promoted.returncode == 0, promoted
    assert champion(project.root / "models", stage.versions) == stage.version("strong")
    return done.stdout.strip()


def pages(stage: Stage) -> range:
    """The pages of a journal, besides the first with its header."""
    return range(1, len(_journal(stage.at(HELD_BACK)).read_bytes()) // PAGE)


def page_damaged(page: int, stage: Stage, dice: random.Random) -> str:
    """When a journal was set aside in which this page is garbage; empty where nothing that is read is in it.

    Where a command finds that only in the middle it fails with a sentence, and the next one goes on. Raises
    AssertionError where a requirement is violated.
    """
    project = stage.at(HELD_BACK)
    journal = _journal(project)
    file = journal.read_bytes()
    journal.write_bytes(file[: page * PAGE] + dice.randbytes(PAGE) + file[(page + 1) * PAGE :])
    begun, found = trainings(project)["begin"], ""
    for _ in range(3):
        project.metrics(f1=0.7)
        proper(project.run("status"))
        done = project.run("check")
        code = proper(done)
        if not found and list(journal.parent.glob("journal.db.damaged-*")):
            assert "damaged" in done.stdout + done.stderr, done
            found = "at once" if code == 0 else "in the middle of a check"
        else:
            assert code == 0, done
    assert trainings(project)["begin"] == begun
    assert champion(project.root / "models", stage.versions) == stage.version("weak")
    return found


def newer(stage: Stage) -> str:
    """What a check says that finds the journal of a newer release, which it leaves as it is."""
    project = stage.at(HELD_BACK)
    journal = _journal(project)
    with closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA user_version = 99")
    content = journal.read_bytes()
    for words in (("check",), ("promote",), ("rollback",), ("status",)):
        done = project.run(*words)
        assert proper(done) == 1, done
        assert "newer retrain" in done.stderr, done
    assert journal.read_bytes() == content
    assert [file.name for file in journal.parent.glob("journal.db*")] == ["journal.db"]
    assert champion(project.root / "models", stage.versions) == stage.version("weak")
    return done.stderr.strip()


def locked(stage: Stage) -> str:
    """What a check says when another program does not let go of the journal; the next check does its work."""
    project = stage.at(HELD_BACK)
    with _held(_journal(project)):
        done = project.run("check")
        assert proper(done) == 1, done
        assert "locked" in done.stderr, done
        assert project.run("status").returncode == 0  # a reader does not wait for a writer
    assert [file.name for file in (project.root / "state").glob("journal.db*")] == ["journal.db"]
    assert project.json("check")["reason"] == "challenger_waiting"
    return done.stderr.strip()


def figures(stage: Stage, dice: random.Random) -> Iterator[str]:
    """A line a state of the journal."""
    for name in DAMAGES:
        for _ in range(3):
            damaged(name, stage, dice)
        yield f"a journal that is {name}: set aside, nothing trained, the next commands went on (3 times)"
    found = Counter(page_damaged(page, stage, dice) for page in pages(stage))
    counts = [f"{count} set aside {when}" if when else f"{count} not read by a check" for when, count in found.items()]
    yield f"a page of garbage, for each page of a journal: {', '.join(counts)}"
    yield f"a journal from a newer release: left as it is; {_plain(newer(stage), stage)}"
    yield f"a journal that another program holds: {_plain(locked(stage), stage)}"


def _plain(said: str, stage: Stage) -> str:
    return said.replace(f"{stage.root}/", "")


@contextmanager
def _held(journal: Path) -> Iterator[None]:
    with closing(sqlite3.connect(journal, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


def _journal(project: Project) -> Path:
    journal = project.root / "state/journal.db"
    with closing(sqlite3.connect(journal)) as db:  # what is in the write-ahead log goes into the file
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return journal
