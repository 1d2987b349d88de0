"""A year of cron, every five minutes, on a clock that is an argument: what a check costs, and what grows."""

import json
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from retrain.check import Options, check
from retrain.config import load
from retrain.context import Context
from retrain.core.past import Past
from retrain.core.records import Outcome
from retrain.effects.journal import open_journal
from retrain.errors import Report, RetrainError
from retrain.promote import Options as Comparison
from retrain.promote import promote
from retrain.status import prune
from retrain.swap import rollback
from tests.stories.project import CHAMPION, Models, Project
from tests.survival.ledger import entries, past_of

CHECKS, POINTS, PAIRS = 105_120, 50, 40
A_DAY, A_MONTH = 288, 288 * 30
TICK = timedelta(minutes=5)
KEEP_EVENTS, KEEP_LOGS, KEEP_LOGS_FOR = timedelta(days=60), 20, timedelta(days=45)
MEMORY_MB = 8.0
"""The last quarter may need so much more memory than the second: caches of the libraries, and noise."""


class World:
    """A project, the clock it is told, and the dice of its monitor and its people."""

    def __init__(self, project: Project, begin: datetime, seed: int = 1) -> None:
        self.project, self.dice, self.now = project, random.Random(seed), begin
        self.won: list[date] = []
        config, secrets = load(project.root / "config.yaml", {})
        self.context = Context(config, secrets, os.environ, lambda: self.now)
        self.did: Counter[str] = Counter()

    def tick(self) -> float:
        """The seconds of processor time that the next check of cron took: other programs' load is not in them."""
        self.now += TICK
        began = time.process_time()
        report = check(self.context, Options())
        took = time.process_time() - began
        self.did[f"check {report.data.get('reason')}, exit {int(report.exit_code)}"] += 1
        if run := report.data.get("run"):
            # The kernel's clock wrote this log, and is not the one that the checks are told.
            os.utime(run["log"], (self.now.timestamp(),) * 2)
            self.did[f"training {run['outcome']}"] += 1
            self.won += [self.now.date()] if run["outcome"] == Outcome.SUCCEEDED else []
        return took

    def morning(self) -> None:
        """A new daily window: good on most days, bad a few times a month, and now and then no metrics at all."""
        luck, root = self.dice.random(), self.project.root
        f1 = 0.7 if luck < 0.12 else self.dice.gauss(0.9, 0.01)
        said = json.dumps({"f1": f1, "drift": abs(self.dice.gauss(0.05, 0.02)), "at": self.now.timestamp()})
        (root / "metrics.json").write_text("<html>Sign in</html>" if luck > 0.98 else said)
        (root / "base").write_text(str(self.dice.choice([self.project.models.fair, self.project.models.strong])))
        (root / "fails").write_text("1" if self.dice.random() < 0.25 else "0")

    def noon(self) -> None:
        """Somebody judges what waits, seldom insists or turns it down, and seldom takes a promotion back."""
        waits = past_of(self.project).challenger
        if waits is not None:
            self.act("promote", lambda: promote(self.context, Comparison()))
            if past_of(self.project).challenger is not None and self.dice.random() < 0.6:
                self.act("promote --force", lambda: promote(self.context, Comparison(forced="a year")))
        elif self.dice.random() < 0.01:
            self.act("rollback", lambda: rollback(self.context, None, "a year"))

    def act(self, name: str, story: Callable[[], Report]) -> None:
        """Do what a person does, and count how it ended."""
        try:
            code = story().exit_code
        except RetrainError as error:
            code = error.exit_code
        self.did[f"{name}, exit {int(code)}"] += 1


@dataclass(frozen=True)
class Point:
    """What a check cost around this one, beside a check on a history that has only begun; and what there is by now."""

    number: int
    seconds: float
    fresh_seconds: float
    resident_mb: float
    journal_mb: float
    logs: int
    files: int

    @property
    def ratio(self) -> float:
        """How much more it cost than on the first day."""
        return self.seconds / self.fresh_seconds


def figures() -> Iterator[str]:
    """The full size, on a memory disk where there is one: what counts is the growth, not the disk."""
    memory_disk = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory_disk if memory_disk.is_dir() else None) as directory:
        yield from year(Path(directory), CHECKS, POINTS)


def year(
    directory: Path, checks: int, points: int, pairs: int = PAIRS, *, models: Models | None = None, seed: int = 1
) -> Iterator[str]:
    """So many checks with all that happens between them, looked at so many times."""
    began = time.monotonic()
    project = settled_in(directory, "year", models or models_beside(directory))
    # It ends now, so that the files' own times are never too old.
    world = World(project, datetime.now(UTC) - checks * TICK, seed)
    spots = {round(checks * (number + 1) / points) - pairs for number in range(points)}
    measured: list[Point] = []
    number = 0
    while number < checks:
        if number % A_DAY == 0:
            world.morning()
        if number % A_DAY == A_DAY // 2:
            world.noon()
        if number % A_MONTH == A_MONTH - A_DAY // 4:
            world.act("prune", lambda: prune(world.context, KEEP_EVENTS))
        if number in spots:
            measured.append(look(world, directory, number, pairs))
            number += pairs
        else:
            world.tick()
            number += 1
    seconds = time.monotonic() - began
    assert len(world.won) == len(set(world.won)), "a daily window trained twice"
    assert past_of(project) == folded_anew(project)
    bounded(measured)
    yield f"{checks:,} checks in {seconds:.0f} s, {len(entries(project)):,} events left of them"
    yield from (f"  {number:7,} × {what}" for what, number in sorted(world.did.items()))
    yield from table(measured)


def folded_anew(project: Project) -> Past:
    """What the events themselves say, where the row that keeps their sum is gone."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "journal.db"
        with (
            closing(sqlite3.connect(project.root / "state/journal.db")) as here,
            closing(sqlite3.connect(copy)) as there,
        ):
            here.backup(there)
            there.execute("DELETE FROM past")
            there.commit()
        with open_journal(Path(directory), writable=False) as journal:
            return journal.past()


def models_beside(directory: Path) -> Models:
    """The models, made by another process: the memory of this one is to be that of the checks."""
    words = "import sys, pathlib; from tests.stories.project import make_models; make_models(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", words, directory], check=True, cwd=Path(__file__).parents[2])
    return Models(directory)


def settled_in(directory: Path, name: str, models: Models) -> Project:
    """A project as it is on its first day: a champion, no history."""
    root = directory / name
    root.mkdir()
    project = Project(root, models)
    project.configure(
        triggers={"max_age": "36h", "cooldown": "2h", "settle": "0s", "failure_backoff": "3h"},
        training={"keep_logs": {"count": KEEP_LOGS, "age": f"{KEEP_LOGS_FOR.days}d"}},
        models={"keep": 3},
    )
    project.train(
        "test $$(cat fails) = 0",
        "cat $$(cat base) > $$RETRAIN_CHALLENGER; echo $$RETRAIN_RUN_ID >> $$RETRAIN_CHALLENGER",
    )
    project.serve(models.weak)
    assert (root / CHAMPION).exists()
    return project


def look(world: World, directory: Path, number: int, pairs: int) -> Point:
    """What the next checks cost, each beside one on a project whose history has only begun."""
    with tempfile.TemporaryDirectory(dir=directory) as fresh:
        first_day = World(settled_in(Path(fresh), "fresh", world.project.models), world.now)
        first_day.morning()
        first_day.project.metrics(at=world.now.timestamp())
        first_day.tick()
        first_day.now = world.now
        taken = [(world.tick(), first_day.tick()) for _ in range(pairs)]
    state = world.project.root / "state"
    logs = [path for path in (state / "runs").iterdir() if path.suffix == ".log"]
    return Point(
        number,
        statistics.median(here for here, _ in taken),
        statistics.median(there for _, there in taken),
        resident_mb(),
        sum(path.stat().st_size for path in state.glob("journal.db*")) / 1e6,
        len(logs),
        sum(1 for path in world.project.root.rglob("*") if path.is_file()),
    )


def resident_mb() -> float:
    """The memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def bounded(measured: list[Point]) -> None:
    """AssertionError where memory or state/ grew: the last quarter beside the second, when everything is loaded."""
    part = max(len(measured) // 4, 1)
    early, late = measured[part : 2 * part] or measured[:1], measured[-part:]
    before, after = (statistics.median(point.resident_mb for point in points) for points in (early, late))
    assert after < before + MEMORY_MB, f"memory grew from {before:.1f} MB to {after:.1f} MB"
    assert max(point.logs for point in measured) <= KEEP_LOGS
    if len(measured) >= POINTS:
        before, after = (max(point.journal_mb for point in points) for points in (early, late))
        assert after < 1.2 * before, f"the journal grew from {before:.1f} MB to {after:.1f} MB though it is pruned"


def table(measured: list[Point]) -> Iterator[str]:
    """A line a look, and the first twelfth beside the last."""
    yield "  check     ms/check  beside a first day  ratio  memory MB  journal MB  logs  files"
    for point in measured:
        yield (
            f"  {point.number:7,}  {point.seconds * 1e3:9.2f}  {point.fresh_seconds * 1e3:18.2f}  {point.ratio:5.2f}"
            f"  {point.resident_mb:9.1f}  {point.journal_mb:10.1f}  {point.logs:4}  {point.files:5}"
        )
    part = max(len(measured) // 12, 1)
    first = statistics.median(point.ratio for point in measured[:part])
    last = statistics.median(point.ratio for point in measured[-part:])
    yield f"a check beside one on the first day: {first:.2f} in the first month, {last:.2f} in the last"
