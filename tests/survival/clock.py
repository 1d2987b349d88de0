"""A clock that jumps, by seconds to years, forward and back, between the checks of a real journal.

What can be promised: a jump forward cannot be told from time that passes, so it may end a wait early; nothing else
does. Between a training and the next lie the cooldown (after a failure the back-off) in real time plus jumps forward.
No window trains twice. And once the clock is right, a breach trains after the waits that are configured, at the latest.
"""

import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from retrain.check import Options, check
from retrain.config import load
from retrain.context import Context
from retrain.core.decide import LONGEST_BACKOFF
from retrain.core.events import Swap, SwapStarted
from retrain.core.past import Past
from retrain.core.records import Outcome
from retrain.effects import lock
from retrain.effects.journal import open_journal
from retrain.promote import Options as Comparison
from retrain.promote import promote
from retrain.swap import settle, swap
from tests.stories.project import Models, Project
from tests.survival.year import folded_anew

WALKS, STEPS = 400, 80
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
COOLDOWN, BACKOFF, SETTLE, WINDOW = 6 * HOUR, 2 * HOUR, 3 * HOUR, HOUR
JUMPS = (timedelta(seconds=20), 3 * MINUTE, 45 * MINUTE, 5 * HOUR, DAY, 40 * DAY, 400 * DAY, 3650 * DAY)
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)


def figures() -> Iterator[str]:
    """The full size, on a memory disk where there is one."""
    memory_disk = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory_disk if memory_disk.is_dir() else None) as directory:
        yield from walks(Path(directory), WALKS, STEPS)


def walks(directory: Path, number: int, steps: int, first: int = 0) -> Iterator[str]:
    """So many random walks of the clock, each until a breach has trained under a clock that is right again."""
    did: Counter[str] = Counter()
    longest = timedelta()
    for seed in range(first, first + number):
        with tempfile.TemporaryDirectory(dir=directory) as root:
            walk = Walk(Path(root), seed)
            for _ in range(steps):
                walk.step()
            longest = max(longest, walk.comes_right())
            assert walk.past() == folded_anew(walk.project), f"walk {seed}"
            did += walk.did
    yield f"{number} walks of {steps} steps: " + ", ".join(f"{count:,} × {what}" for what, count in sorted(did.items()))
    yield f"no window trained twice; after the clock was right again a breach trained within {longest}"


class Walk:
    """A controller whose clock jumps. `real` is the time that passes, `off` by how much the clock is wrong."""

    def __init__(self, root: Path, seed: int) -> None:
        self.seed, self.dice, self.did = seed, random.Random(seed), Counter[str]()
        self.real, self.off, self.forward = BEGIN, timedelta(), timedelta()
        self.own_clock = self.dice.random() < 0.5  # the monitor's: another host, or this one with its wrong clock
        self.window, self.renewed, self.won = 0, BEGIN, set[int]()
        self.last: tuple[datetime, timedelta, timedelta] | None = None
        self.told: list[str] = []
        self.project = _project(root)
        config, secrets = load(root / "config.yaml", {})
        self.context = Context(config, secrets, os.environ, lambda: self.real + self.off)
        self.renew(0.9)

    def step(self) -> None:
        """Time passes, the clock may jump, the monitor may speak of a new window, somebody may act; then a check."""
        self.pass_by(self.dice.choice([MINUTE, 5 * MINUTE, 5 * MINUTE, HOUR, 4 * HOUR]))
        luck = self.dice.random()
        if luck < 0.3:
            self.jump(timedelta() if luck < 0.12 else self.off + self.dice.choice([-1, 1]) * self.dice.choice(JUMPS))
        self.promote_or_reject()
        self.check(fails=self.dice.random() < 0.2)

    def pass_by(self, span: timedelta) -> None:
        """Let real time pass; the monitor writes a window an hour."""
        self.real += span
        if self.real >= self.renewed + WINDOW:
            self.renew(0.7 if self.dice.random() < 0.5 else 0.9)

    def jump(self, off: timedelta) -> None:
        """Let the clock be wrong by this much now."""
        self.forward += max(off - self.off, timedelta())
        self.told.append(f"{self.real}: the clock is off by {off}")
        self.did["jump forward" if off > self.off else "jump back"] += off != self.off
        self.off = off

    def renew(self, f1: float) -> None:
        """Let the monitor report a new window that ends now, by its own clock or by the wrong one."""
        self.window, self.renewed = self.window + 1, self.real
        at = self.real if self.own_clock else self.real + self.off
        (self.project.root / "metrics.json").write_text(json.dumps({"f1": f1, "drift": 0.1, "at": at.isoformat()}))

    def check(self, *, fails: bool = False) -> bool:
        """Whether this check trained, and well; AssertionError where it may not have."""
        (self.project.root / "fails").write_text("1" if fails else "0")
        report = check(self.context, Options())
        reason = str(report.data.get("reason"))
        self.did[f"check {reason}"] += 1
        self.told.append(f"{self.real} (the clock: {self.context.clock()}): window {self.window}, {report.message}")
        run = report.data.get("run")
        if not run:
            return False
        well = bool(run["outcome"] == Outcome.SUCCEEDED)
        if self.last is not None:
            ended, forward, wait = self.last
            waited = (self.real - ended) + (self.forward - forward)
            assert waited >= wait, f"{self}\ntrained again after {waited}, jumps forward included, instead of {wait}"
        if well:
            assert self.window not in self.won, f"{self}\ntrained twice for window {self.window}"
            self.won.add(self.window)
        self.last = (self.real, self.forward, COOLDOWN if well else BACKOFF)
        return well

    def promote_or_reject(self) -> None:
        """Somebody puts what waits in service, or turns it down, at once or later."""
        waits = self.past().challenger
        if waits is None or self.dice.random() < 0.5:
            return
        if self.dice.random() < 0.5:
            promote(self.context, Comparison(rejected="a walk"))
            self.did["rejection"] += 1
            return
        with (
            open_journal(self.context.config.state) as journal,
            lock.hold(self.context.config.state, "promote", self.context.clock()) as lock_fd,
        ):
            settle(self.context, journal, lock_fd, self.context.clock())
            intent = SwapStarted(Swap.PROMOTION, waits.version, journal.past().served, "a walk", forced=True)
            swap(self.context, journal, intent, lock_fd, self.context.clock())
        self.did["promotion"] += 1

    def comes_right(self) -> timedelta:
        """How long after the clock is right again a breach trains; AssertionError where that is too long."""
        self.jump(timedelta())
        if self.past().challenger is not None:
            promote(self.context, Comparison(rejected="a walk"))
        right, failures = self.real, self.past().failures
        backoff = min(BACKOFF * 2 ** max(failures - 1, 0), LONGEST_BACKOFF)
        longest = max(COOLDOWN, backoff) + SETTLE + 2 * WINDOW
        while True:
            self.real += 10 * MINUTE
            if self.real >= self.renewed + WINDOW:
                self.renew(0.7)
            if self.check():
                return self.real - right
            assert self.real - right <= longest, f"{self}\nno training {longest} after the clock was right again"

    def past(self) -> Past:
        """What the journal says."""
        with open_journal(self.context.config.state) as journal:
            return journal.past()

    def __str__(self) -> str:
        monitor = "a clock of its own" if self.own_clock else "the controller's clock"
        return "\n".join([f"walk {self.seed}, a monitor with {monitor}", *self.told[-40:]])


def _project(root: Path) -> Project:
    """A project whose training is a short shell script; nobody scores its model."""
    for name in ("weak", "strong"):
        (root / f"{name}.joblib").write_text(name)
    (root / "holdout.csv").write_text("a,y\n1,1\n")
    project = Project(root, Models(root))
    (root / "data/holdout.csv").unlink()
    (root / "train.sh").write_text('test $(cat fails) = 0 && echo "$RETRAIN_RUN_ID" > "$RETRAIN_CHALLENGER"\n')
    project.configure(
        triggers={
            "cooldown": f"{COOLDOWN // HOUR}h",
            "failure_backoff": f"{BACKOFF // HOUR}h",
            "settle": f"{SETTLE // HOUR}h",
            "challenger_ttl": "12h",
            "max_unpromoted": 10_000,
        },
        training={"command": "sh train.sh"},
        promotion={"predict": "no-such-command"},  # so that no process is started to score a challenger
    )
    project.serve(project.models.weak)
    return project
