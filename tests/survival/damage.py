"""A journal that is damaged, from a newer release, or held by another program."""

import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from tests.stories.project import Project
from tests.survival import strace
from tests.survival.scenes import HELD_BACK, Stage
from tests.survival.sound import champion, events, proper, trainings


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
    """What a check says that finds its journal damaged so; `thorough` tries, too, what a person may do after a repair.

    Raises AssertionError where a requirement is violated: every command stops, and nothing is moved or trained; the
    repair keeps the file, and the next commands go on.
    """
    project = stage.at(HELD_BACK)
    journal = _journal(project)
    content = DAMAGES[name](journal.read_bytes(), dice)
    journal.write_bytes(content)
    begun = trainings(project)["begin"]
    proper(project.run("status"))
    assert journal.read_bytes() == content, "status changed the journal"

    said = ""
    for words in (("check",), ("promote",), ("rollback",)):
        done = project.run(*words)
        assert proper(done) == 1, done
        assert "nothing is trained or promoted" in done.stderr, done
        said = said or done.stderr.strip()
    assert [file.name for file in journal.parent.glob("journal.db*")] == ["journal.db"]
    assert not content or journal.read_bytes() == content, "a command changed the journal"  # an empty one is begun

    done = project.run("doctor", "--repair")
    assert proper(done) == 0, done
    assert [file.read_bytes() for file in journal.parent.glob("journal.db.damaged-*")] == [content] * bool(content)
    _goes_on(stage, project, begun)
    if not thorough:
        return said
    forced = project.run("check", "--force", "--reason", "the journal was lost")
    assert forced.returncode == 0, forced
    assert trainings(project)["begin"] == begun + 1
    promoted = project.run("promote", "--force", "--reason", "the journal was lost")
    assert promoted.returncode == 0, promoted
    assert champion(project.root / "models", stage.versions) == stage.version("strong")
    return said


def _goes_on(stage: Stage, project: Project, begun: int) -> None:
    """Assert that after a repair a breach waits for the cooldown, and that the champion is what it was."""
    assert champion(project.root / "models", stage.versions) == stage.version("weak")
    project.metrics(f1=0.6)
    held = project.json("check")
    assert (held["action"], held["reason"]) == ("hold", "cooling_down"), held
    assert trainings(project)["begin"] == begun


def pages(stage: Stage) -> range:
    """The pages of a journal, besides the first with its header."""
    return range(1, len(_journal(stage.at(HELD_BACK)).read_bytes()) // PAGE)


def page_damaged(page: int, stage: Stage, dice: random.Random) -> str:
    """Who finds that this page of the journal is garbage: a check or only the repair; empty where nothing uses it.

    Raises AssertionError where a requirement is violated: whoever finds it stops, and the repair keeps the file.
    """
    project = stage.at(HELD_BACK)
    journal = _journal(project)
    file = journal.read_bytes()
    journal.write_bytes(file[: page * PAGE] + dice.randbytes(PAGE) + file[(page + 1) * PAGE :])
    begun, found = trainings(project)["begin"], ""
    for _ in range(2):
        project.metrics(f1=0.7)
        proper(project.run("status"))
        done = project.run("check")
        if proper(done) == 1:
            assert "nothing is trained or promoted" in done.stderr, done
            found = "a check"
    assert not list(journal.parent.glob("journal.db.damaged-*"))
    done = project.run("doctor", "--repair")
    assert proper(done) == 0, done
    if list(journal.parent.glob("journal.db.damaged-*")):
        found = found or "the repair"
        _goes_on(stage, project, begun)
    else:
        assert not found, done
    assert trainings(project)["begin"] == begun
    return found


LOST = ("a damaged journal", "a journal that never saw the champion")


def _lost(kind: str, stage: Stage) -> Project:
    """A project whose journal needs a repair of this kind; what is damaged has a write-ahead log beside it."""
    project = stage.at(HELD_BACK)
    journal = _journal(project)
    if kind == LOST[0]:
        for file in (journal, journal.with_name("journal.db-wal")):
            file.write_bytes(f"no database: {file.name}\n".encode() * 1000)
        return project
    twin = Path("versions", f"{stage.version('twin')}.joblib")
    link = project.root / "models/champion.joblib"
    (link.parent / twin).write_bytes(stage.models.twin.read_bytes())
    link.unlink()
    link.symlink_to(twin)
    return project


def repairs(kind: str, stage: Stage) -> list[Callable[[Stage], bool]]:
    """A try for each call of a repair of this kind that changes something."""
    own, _ = strace.seen(_lost(kind, stage), "doctor", "--repair")
    return [partial(repair_killed, kind, call) for call in own]


def repair_killed(kind: str, call: strace.Call, stage: Stage) -> bool:
    """Whether a repair was killed as it entered this call; a second one finishes it, and nothing goes on before.

    Raises AssertionError where a requirement is violated: no file is lost, and the loss is recorded once.
    """
    project = _lost(kind, stage)
    state, serves = project.root / "state", champion(project.root / "models", stage.versions)
    content = {file.name[len("journal.db") :]: file.read_bytes() for file in state.glob("journal.db*")}
    begun = trainings(project)["begin"]
    done = strace.killed(project, call, "doctor", "--repair")
    if done.returncode == -signal.SIGKILL:
        project.metrics(f1=0.6)
        check = project.run("check")
        if proper(check) == 1:
            assert "nothing is trained or promoted" in check.stderr, check
    again = project.run("doctor", "--repair")
    assert proper(again) == 0, again
    if kind == LOST[0]:
        kept = {file.name.partition("Z")[2]: file.read_bytes() for file in state.glob("journal.db.damaged-*")}
        assert {suffix: kept.get(suffix) for suffix in content if suffix != "-shm"} == {
            suffix: each for suffix, each in content.items() if suffix != "-shm"
        }, again
    assert not list(state.glob("journal.db.new*")), again
    assert [row.kind for row in events(state)].count("HistoryLost") == 1
    assert champion(project.root / "models", stage.versions) == serves
    project.metrics(f1=0.6)
    held = project.json("check")
    reason = "cooling_down" if kind == LOST[0] else "challenger_waiting"  # which the present journal still knows
    assert (held["action"], held["reason"]) == ("hold", reason), held
    assert trainings(project)["begin"] == begun
    return done.returncode == -signal.SIGKILL


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
        yield f"a journal that is {name}: every command stopped, and went on after a repair (3 times)"
    found = Counter(page_damaged(page, stage, dice) for page in pages(stage))
    counts = [f"{count} found by {who}" if who else f"{count} not in use" for who, count in found.items()]
    yield f"a page of garbage, for each page of a journal: {', '.join(counts)}"
    for kind in LOST:
        kills = sum(each(stage) for each in repairs(kind, stage))
        yield f"the repair of {kind}, killed at each call that changes something: {kills} kills, finished by a second"
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
