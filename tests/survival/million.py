"""A journal of a million events: the commands cost what they cost on the first day."""

import hashlib
import os
import re
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from retrain.core.events import Judged
from retrain.core.fold import advance
from retrain.core.past import Past
from tests.stories.project import CHAMPION, RETRAIN, Models, Project
from tests.survival.ledger import past_of
from tests.survival.year import A_DAY, World, folded_anew, models_beside, settled_in

EVENTS, DAYS, TIMES = 1_000_000, 21, 9
LOOKS = 10_000
COMMANDS = (("check",), ("check", "--dry-run"), ("status",), ("promote", "--if-pending"))
_CHANGING = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?\+00:00|\d{8}T\d{6}Z-[0-9a-f]{4}|[0-9a-f]{64}")
"""What differs from one stretch of the history to the next: times, runs and versions."""
_ODD = 0x9E3779B97F4A7C15
"""Added to a hash of 64 bits so many times, it gives others."""
_RUN = "%Y%m%dT%H%M%SZ"

Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class Cost:
    """What one run of a command cost: seconds on the clock and of processor time, and its peak of memory."""

    seconds: float
    processor: float
    peak_mb: float
    exit_code: int


def figures() -> Iterator[str]:
    """The full size."""
    with tempfile.TemporaryDirectory() as directory:
        yield from a_long_history(Path(directory), EVENTS, DAYS, TIMES, LOOKS)


def a_long_history(
    directory: Path, events: int, days: int, times: int, looks: int, *, models: Models | None = None
) -> Iterator[str]:
    """What the commands cost on so many events, beside the same on a few days of them."""
    models = models or models_beside(directory)
    old, new = lived(directory, "old", days, models), lived(directory, "new", 2, models)
    began = time.monotonic()
    stretch(old, events)
    yield f"a journal of {events:,} events, {size_mb(old):,.0f} MB, made in {time.monotonic() - began:.0f} s"
    yield f"folded anew from all of its events: {fold_once(old):.1f} s of the processor, once after an upgrade"
    for command in COMMANDS:
        yield compared(" ".join(command), old, new, [command] * times)
    yield compared("promote, a new look", old, new, challenges(directory, models, "few", 3))
    more_looks(old, looks)
    several = challenges(directory, models, "many", 3)
    yield compared(f"promote, a new look after {looks:,} repeated ones", old, new, several)
    yield compared("promote --if-pending after them", old, new, [("promote", "--if-pending")] * times)
    yield from pruned(old)
    yield compared("check, after the pruning", old, new, [("check",)] * times)


def pruned(project: Project, older_than: str = "365d") -> Iterator[str]:
    """What `retrain prune` leaves of a long journal; AssertionError where a decision or the ledger could change."""
    before, size, looks, all_events = past_of(project), size_mb(project), ledger(project), count(project)
    assert folded_anew(project) == before
    used = cost(project, ("prune", "--older-than", older_than))
    assert used.exit_code == 0
    after = past_of(project)
    assert timeless(after) == timeless(before), "pruning changed what the history means"
    assert folded_anew(project) == after, "what is left does not add up to what the history means"
    assert ledger(project) == looks, "pruning took looks at the holdout away"
    left, now = count(project), size_mb(project)
    yield f"prune: {told(used)}; {all_events:,} events → {left:,}, {size:,.0f} MB → {now:,.0f} MB"
    yield f"the past is the same to the letter, folded anew too; all {len(looks):,} looks at the holdout are there"


def timeless(past: Past) -> Past:
    """The past but for the time of the newest event, which every event changes."""
    return replace(past, newest=None, since_then=None)


def ledger(project: Project) -> list[tuple[int, str]]:
    """Every look at a holdout and every repetition, as it was written."""
    with closing(sqlite3.connect(project.root / "state/journal.db")) as db:
        return db.execute("SELECT id, body FROM events WHERE kind = 'Judged' ORDER BY id").fetchall()


def count(project: Project) -> int:
    """How many events there are."""
    with closing(sqlite3.connect(project.root / "state/journal.db")) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


def size_mb(project: Project) -> float:
    """The size of the journal, its write-ahead log included."""
    return sum(path.stat().st_size for path in (project.root / "state").glob("journal.db*")) / 1e6


def fold_once(project: Project) -> float:
    """The seconds of the processor that folding the events anew took; the row of the past says the outcome now."""
    began = time.process_time()
    past = past_of(project)
    took = time.process_time() - began
    with closing(sqlite3.connect(project.root / "state/journal.db")) as db:
        body = msgspec.json.encode(past).decode()
        db.execute("REPLACE INTO past SELECT 1, max(id), ? FROM events", (body,))
        db.commit()
    assert past_of(project) == past
    return took


def lived(directory: Path, name: str, days: int, models: Models) -> Project:
    """A project some days old, made by the product itself; a challenger was judged and waits, the metrics are good."""
    project = settled_in(directory, name, models)
    world = World(project, datetime.now(UTC) - timedelta(days=days))
    (project.root / "fails").write_text("0")
    for number in range(days * A_DAY // 4):  # every twenty minutes is enough to show what events there are
        if number % 72 == 0:
            world.morning()
        if number % 72 == 36:
            world.noon()
        world.tick()
        world.now += timedelta(minutes=15)
    for words in (["promote", models.weak], ["promote", models.weak, "--force", "--reason", "to begin anew"]):
        project.run(*map(str, words))
    project.train(f"cat {models.twin} > $$RETRAIN_CHALLENGER")
    assert project.run("check", "--force", "--reason", "to have one that waits").returncode == 0
    assert project.run("promote").returncode == 11
    project.metrics()
    assert project.run("check").returncode == 0
    return project


def stretch(project: Project, events: int, *, own_rows: bool = False) -> None:
    """Let the history of this project be so many events long: its own, again and again, further and further back.

    All comparisons are on the same rows, whose hashes are recorded once; with `own_rows` each time is on other rows.
    """
    path = project.root / "state/journal.db"
    served = (project.root / CHAMPION).resolve().stem
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        rows: list[Row] = db.execute("SELECT at, kind, subject, body FROM events ORDER BY id").fetchall()
        span = datetime.fromisoformat(rows[-1][0]) - datetime.fromisoformat(rows[0][0]) + timedelta(minutes=5)
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM events")
        db.execute("DELETE FROM past")
        bare = rows if own_rows else list(map(without_hashes, rows))
        first = -(-events // len(rows)) - 1
        skipped = (first + 1) * len(rows) - events
        insert = "INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)"
        for back in range(first, -1, -1):
            block = rows if back == max(first - 1, 0) else bare  # the oldest that is whole
            block = block[skipped:] if back == first else block
            block = [on_other_rows(row, back) for row in block] if own_rows else block
            db.executemany(insert, rows_of(block, back, span, served) if back else block)
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert count(project) == events


def rows_of(rows: Iterable[Row], back: int, span: timedelta, served: str) -> Iterator[Row]:
    """These rows, so many spans earlier, with runs and versions of their own; `served` begins and ends each stretch."""
    memory: dict[str, str] = {served: served}

    def other(found: re.Match[str]) -> str:
        word = found[0]
        if word not in memory:
            if len(word) == 64:
                memory[word] = hashlib.sha256(f"{word}{back}".encode()).hexdigest()
            elif "Z-" in word:
                moment = datetime.strptime(word[:16], _RUN).replace(tzinfo=UTC) - back * span
                memory[word] = f"{moment:{_RUN}}{word[16:]}"
            else:
                memory[word] = (datetime.fromisoformat(word) - back * span).isoformat()
        return memory[word]

    for at, kind, subject, body in rows:
        yield _CHANGING.sub(other, at), kind, _CHANGING.sub(other, subject), _CHANGING.sub(other, body)


def without_hashes(row: Row) -> Row:
    """A comparison on rows whose hashes are recorded already; another event as it is."""
    at, kind, subject, body = row
    if kind != "Judged":
        return row
    return at, kind, subject, msgspec.json.encode(replace(msgspec.json.decode(body, type=Judged), sketches=())).decode()


def on_other_rows(row: Row, number: int) -> Row:
    """A comparison on such other rows, of other hashes; another event as it is."""
    at, kind, subject, body = row
    if kind != "Judged" or number == 0:
        return row
    judged = msgspec.json.decode(body, type=Judged)
    holdout = hashlib.sha256(f"{subject}{number}".encode()).hexdigest()[: len(subject)]
    moved = [sorted((each + number * _ODD) % 2**64 for each in its.hashes) for its in judged.sketches]
    sketches = tuple(replace(its, hashes=tuple(hashes)) for its, hashes in zip(judged.sketches, moved, strict=True))
    return at, kind, holdout, msgspec.json.encode(replace(judged, holdout=holdout, sketches=sketches)).decode()


def more_looks(project: Project, looks: int) -> None:
    """Repeat the verdict on what waits so often, as a cron line `retrain promote` without --if-pending would."""
    past = past_of(project)
    waits = past.challenger
    assert waits is not None
    with closing(sqlite3.connect(project.root / "state/journal.db", isolation_level=None)) as db:
        looks_at = "SELECT kind, subject, body FROM events WHERE kind = 'Judged' AND body LIKE ? ORDER BY id DESC"
        kind, subject, body = db.execute(looks_at, (f'%"challenger":"{waits.version}"%',)).fetchone()
        body = body.replace('"repeated":false', '"repeated":true')
        at = datetime.now(UTC).isoformat()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(
            "INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)", [(at, kind, subject, body)] * looks
        )
        event = msgspec.json.decode(body, type=Judged)
        for _ in range(looks):
            past = advance(past, event, datetime.fromisoformat(at))
        db.execute("REPLACE INTO past SELECT 1, max(id), ? FROM events", (msgspec.json.encode(past).decode(),))
        db.execute("COMMIT")


def challenges(directory: Path, models: Models, name: str, times: int) -> list[tuple[str, ...]]:
    """Commands that each ask the holdout about bytes that nobody has judged."""
    commands = list[tuple[str, ...]]()
    for number in range(times):
        path = directory / f"{name}-{number}.joblib"
        path.write_bytes(models.twin.read_bytes() + f"{name} {number}".encode())
        commands.append(("promote", str(path)))
    return commands


def cost(project: Project, words: Sequence[str]) -> Cost:
    """What the installed command cost, as cron runs it."""
    environment = {name: value for name, value in project.environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [RETRAIN, *words],
        cwd=project.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3, process.returncode)


def compared(name: str, old: Project, new: Project, commands: Sequence[Sequence[str]]) -> str:
    """The line that sets the medians of a command on both histories side by side; they ran in turn."""
    pairs = [(cost(old, words), cost(new, words)) for words in commands]
    codes = {each.exit_code for pair in pairs for each in pair}
    assert len(codes) == 1, f"{name} exited {codes}"
    assert codes <= {0, 11}, f"{name} exited {codes}"
    here, there = middle([pair[0] for pair in pairs]), middle([pair[1] for pair in pairs])
    ratio, by_clock = here.processor / there.processor, here.seconds / there.seconds
    return (
        f"{name}: {told(here)} beside {told(there)}: {ratio:.2f} times the processor time, {by_clock:.2f} by the clock"
    )


def middle(costs: Sequence[Cost]) -> Cost:
    """The medians."""
    return Cost(
        statistics.median(each.seconds for each in costs),
        statistics.median(each.processor for each in costs),
        statistics.median(each.peak_mb for each in costs),
        costs[0].exit_code,
    )


def told(what: Cost) -> str:
    """A cost in words."""
    return f"{what.seconds:.2f} s ({what.processor:.2f} s of the processor, {what.peak_mb:.0f} MB)"
