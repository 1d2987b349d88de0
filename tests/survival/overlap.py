"""Twenty commands at once: one acts, the others say so and leave, and the journal shows one order."""

import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from retrain.core.events import (
    Adopted,
    Checked,
    Entry,
    Judged,
    Promoted,
    RolledBack,
    Swap,
    SwapStarted,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.past import Past
from retrain.core.recall import fold
from tests.stories.project import CHALLENGER, CHAMPION, RETRAIN, Project, make_models, until
from tests.survival.ledger import entries, past_of

ROUNDS = 100

FORCED = ("promote", "{models}/fair.joblib", "--force", "--reason", "overlap")
CROWD: tuple[tuple[str, ...], ...] = (
    *[("check",)] * 6,
    *[("check", "--force", "--reason", "overlap")] * 2,
    ("check", "--dry-run"),
    *[("promote", "--if-pending")] * 3,
    *[("promote",)] * 2,
    *[FORCED] * 2,
    *[("rollback",)] * 3,
    ("status",),
)
"""The twenty that start at once."""

BUSY = 75
CODES = {
    "check": {0},
    "check --force": {0, BUSY},
    "check --dry-run": {0},
    "status": {0},
    "promote --if-pending": {0, 10, 11, BUSY},
    # 1: a rival has promoted or trained away what waited, or put back what was to be replaced.
    "promote": {0, 1, 10, 11, BUSY},
    "promote --force": {0, 1, BUSY},
    "rollback": {0, 1, BUSY},
}
"""The exit codes that are right where others run at the same time."""
SENTENCES = re.compile(
    r"no challenger waits|is what serves already|are the same file|there is no champion before this one"
    r"|was in service and was rolled back"
)
"""What an exit code of 1 may say here."""


@dataclass
class Told:
    """What the commands said of themselves."""

    codes: Counter[str] = field(default_factory=Counter)
    trained: int = 0
    promoted: int = 0
    rolled_back: int = 0


def figures() -> Iterator[str]:
    """The full size: a hundred crowds, then twenty commands around a training that outlives its controller."""
    with tempfile.TemporaryDirectory() as directory:
        models = make_models(Path(directory))
        root = Path(directory) / "project"
        root.mkdir()
        yield from crowds(Project(root, models), ROUNDS)
        others = [Path(directory) / name for name in ("orphan", "late", "checks", "meanwhile")]
        for other in others:
            other.mkdir()
        yield from around_an_orphan(Project(others[0], models))
        yield recorded_late(Project(others[1], models))
        yield only_checks(Project(others[2], models), ROUNDS // 5)
        if shutil.which("strace"):
            yield promoted_meanwhile(Project(others[3], models))


def crowds(project: Project, rounds: int, seed: int = 1) -> Iterator[str]:
    """Twenty commands at once, so many times over; AssertionError where one of them did what it may not."""
    prepared(project)
    told, began = Told(), time.monotonic()
    dice = random.Random(seed)
    for number in range(rounds):
        project.metrics(f1=0.5)
        crowd = dice.sample(CROWD, len(CROWD))
        for words, done in zip(crowd, at_once(project, crowd), strict=True):
            note(words, done, told)
        served = served_by(entries(project))
        assert (project.root / CHAMPION).resolve().stem == served, f"round {number}: the link and the journal differ"
        seen = past_of(project).served
        assert seen == served, f"round {number}: {served} serves, and the journal remembers {seen}"
    history = entries(project)
    in_one_order(history)
    trainings_apart(project, history)
    counted = Counter(type(entry.event).__name__ for entry in history)
    did = (counted["TrainingFinished"], counted["Promoted"], counted["RolledBack"])
    assert did == (told.trained, told.promoted, told.rolled_back), f"the journal has {did}, the commands told {told}"
    assert past_of(project) == fold(Past(), history)
    seconds = time.monotonic() - began
    yield f"{rounds * len(CROWD)} commands, {len(CROWD)} at once, {rounds} times, in {seconds:.0f} s"
    acted = f"trainings {told.trained}, promotions {told.promoted}, rollbacks {told.rolled_back}"
    yield f"{acted}: each once in the journal, one after the other"
    yield from (f"  {number:5} × {words}" for words, number in sorted(told.codes.items()))


def only_checks(project: Project, rounds: int) -> str:
    """Twenty checks that all see the same new breach at once, so many times: exactly one of them trains."""
    prepared(project)
    trained = 0
    for number in range(rounds):
        time.sleep(1)  # the challenger of the round before waits no longer
        project.metrics(f1=0.5)
        told = Told()
        for done in at_once(project, [("check",)] * len(CROWD)):
            note(("check",), done, told)
        # Where all the others were busy, nobody has to look again: the one that trained has used the window up.
        assert told.trained == 1, f"round {number}: {told.trained} of {len(CROWD)} checks trained"
        trained += told.trained
    history = entries(project)
    in_one_order(history)
    trainings_apart(project, history)
    return f"{len(CROWD)} checks at once that see one new breach, {rounds} times: {trained} trainings, one each time"


def prepared(project: Project) -> None:
    """Let every training make new bytes and leave its times, and no rule but the lock hold anything back."""
    strong = project.models.strong
    project.train(
        'echo "begin $$RETRAIN_RUN_ID $$(date +%s%N)" >> trainings; sleep 0.1;'
        f" cat {strong} > $$RETRAIN_CHALLENGER; echo $$RETRAIN_RUN_ID >> $$RETRAIN_CHALLENGER;"
        ' echo "end $$RETRAIN_RUN_ID $$(date +%s%N)" >> trainings'
    )
    project.configure(triggers={"cooldown": "0s", "challenger_ttl": "1s", "max_unpromoted": 10_000}, models={"keep": 3})
    project.serve(project.models.weak)
    assert project.run("check").returncode == 0


def at_once(project: Project, crowd: Sequence[tuple[str, ...]]) -> list[subprocess.CompletedProcess[str]]:
    """How each of these ended, started as fast as can be."""
    started = [
        project.start(*(word.format(models=project.models.directory) for word in words), "--json") for words in crowd
    ]
    ended = []
    for process in started:
        out, err = process.communicate(timeout=300)
        ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return ended


def note(words: tuple[str, ...], done: subprocess.CompletedProcess[str], told: Told) -> None:
    """Count what this command did; AssertionError where its exit code or its words are wrong here."""
    flags = [word for word in words if word in {"--force", "--dry-run", "--if-pending"}]
    name = " ".join([words[0], *flags])
    evidence = f"{name} exited {done.returncode}: {done.stdout}{done.stderr}"
    assert done.returncode in CODES[name], evidence
    assert done.stderr == "", evidence
    told.codes[f"{name}: {done.returncode}"] += 1
    said = json.loads(done.stdout)
    if done.returncode == 1:
        assert SENTENCES.search(said["error"]), evidence
    if done.returncode == BUSY:
        assert said["error"].startswith("busy: "), evidence
    told.trained += bool(said.get("run"))
    told.promoted += said.get("promoted") is True
    told.rolled_back += words[0] == "rollback" and done.returncode == 0


def served_by(history: Sequence[Entry]) -> str | None:
    """The version that the swaps of the journal leave in service."""
    served = None
    for entry in history:
        if isinstance(entry.event, Promoted | RolledBack | Adopted):
            served = entry.event.version
    return served


def in_one_order(history: Sequence[Entry]) -> None:
    """AssertionError unless everything that was begun ends before anything else begins, on what served then."""
    assert [entry.id for entry in history] == list(range(1, len(history) + 1)), "ids are missing or doubled"
    run, swap, served = None, None, None
    for entry in history:
        event = entry.event
        match event:
            case TrainingStarted():
                assert (run, swap) == (None, None), entry
                run = event.run
            case TrainingFinished():
                assert event.run == run, entry
                run = None
            case SwapStarted():
                assert (run, swap, event.previous) == (None, None, served), (entry, served)
                swap = event
            case Promoted() | RolledBack():
                kind = Swap.PROMOTION if isinstance(event, Promoted) else Swap.ROLLBACK
                assert swap is not None, entry
                assert (swap.swap, swap.version, swap.previous) == (kind, event.version, event.previous), entry
                swap, served = None, event.version
            case Judged():
                assert (run, swap) == (None, None), entry
            case Adopted():
                assert (run, swap, served) == (None, None, None), entry
                served = event.version
            case _:
                pass
    assert (run, swap) == (None, None), "something was begun and not ended"


def trainings_apart(project: Project, history: Sequence[Entry]) -> None:
    """AssertionError unless the trainings' own times say that no two ran at once, and the journal has each once."""
    lines = [line.split() for line in (project.root / "trainings").read_text().splitlines()]
    begun, ended = lines[::2], lines[1::2]
    assert all(line[0] == "begin" for line in begun), lines
    assert all(line[0] == "end" for line in ended), lines
    assert [line[1] for line in begun] == [line[1] for line in ended], lines
    moments = [int(line[2]) for line in lines]
    assert moments == sorted(moments)
    started = [entry.event.run for entry in history if isinstance(entry.event, TrainingStarted)]
    assert started == [line[1] for line in begun]


def recorded_late(project: Project) -> str:
    """A check that looked before a promotion and is recorded after it: what the next rollback goes back to."""
    project.serve(project.models.weak)
    promoted = ("--force", "--reason", "overlap")
    assert project.run("promote", str(project.models.fair), *promoted).returncode == 0
    before = past_of(project).served
    with closing(sqlite3.connect(project.root / "state/journal.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        check = project.start("check")
        # It waits for its turn to write, so it has looked.
        waits = Path(f"/proc/{check.pid}/wchan")
        until(lambda: "nanosleep" in waits.read_text(), 60)
        check.send_signal(signal.SIGSTOP)
        db.execute("ROLLBACK")
    assert project.run("promote", str(project.models.strong), *promoted).returncode == 0
    served = past_of(project).served
    check.send_signal(signal.SIGCONT)
    assert check.communicate(timeout=60) == ("", "")
    last = entries(project)[-1].event
    assert isinstance(last, Checked), last
    assert last.served == before, "the check was to have looked before the promotion"
    assert past_of(project).served == served, "the check took the promotion back in the journal"
    back = project.json("rollback")
    assert (back["champion"], back["previous"]) == (before, served), back
    return (
        "a check that looked before a promotion and was recorded after it: the promotion stands, rollback finds its way"
    )


def promoted_meanwhile(project: Project) -> str:
    """cron's `promote --if-pending` has seen that a challenger waits; before it has the lock, somebody promotes it."""
    prepared(project)
    project.metrics(f1=0.5)
    assert project.run("check").returncode == 0
    lock, log = project.root / "state/lock", project.root / "strace"
    stops = ["strace", "-f", "-o", str(log), "-P", str(lock), "-e", "inject=openat:signal=SIGSTOP:when=1"]
    with subprocess.Popen(
        [*stops, RETRAIN, "promote", "--if-pending"],
        cwd=project.root,
        env=project.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tracer:
        until(lambda: log.exists() and "stopped by SIGSTOP" in log.read_text(), 60)
        pid = int(log.read_text().split()[0])
        try:
            assert project.run("promote").returncode == 0
        finally:
            os.kill(pid, signal.SIGCONT)
        out, err = tracer.communicate(timeout=60)
    assert (tracer.returncode, out, err) == (0, "", ""), (tracer.returncode, out, err)
    return "promote --if-pending while somebody promotes what waits: exit 0 in silence"


def around_an_orphan(project: Project) -> Iterator[str]:
    """Twenty commands while a training goes on whose controller was killed; then it ends, and is settled once."""
    prepared(project)
    project.metrics(f1=0.5)
    assert project.run("check").returncode == 0
    assert project.run("promote").returncode == 0
    project.train(
        'echo "begin $$RETRAIN_RUN_ID $$(date +%s%N)" >> trainings; touch started;'
        " while [ ! -e go ]; do sleep 0.05; done;"
        ' echo "end $$RETRAIN_RUN_ID $$(date +%s%N)" >> trainings; touch ended'
    )
    time.sleep(0.01)
    project.metrics(f1=0.5)
    controller = project.start("check")
    until((project.root / "started").exists)
    controller.send_signal(signal.SIGKILL)
    controller.communicate(timeout=60)
    before = entries(project)
    codes: Counter[str] = Counter()
    for words, done in zip(CROWD, at_once(project, CROWD), strict=True):
        evidence = f"{words} exited {done.returncode}: {done.stdout}{done.stderr}"
        said = json.loads(done.stdout)
        if words in {("check",), ("check", "--dry-run"), ("status",), ("promote", "--if-pending")}:
            assert done.returncode == 0, evidence
            assert said.get("run") is None, evidence
        else:
            assert done.returncode == BUSY, evidence
            assert f"retrain check (process {controller.pid}," in said["error"], evidence
        codes[str(done.returncode)] += 1
    assert f"process {controller.pid}" in project.run("status").stdout
    meanwhile = {type(entry.event).__name__ for entry in entries(project)[len(before) :]}
    assert meanwhile == {"Checked"}, meanwhile
    (project.root / "go").touch()
    until((project.root / "ended").exists)
    until(lambda: "was interrupted" in project.run("check", "-v").stdout)
    history = entries(project)
    in_one_order(history)
    trainings_apart(project, history)
    assert (project.root / CHALLENGER).exists()
    told = f"exit codes {dict(codes)}, nothing started, settled once"
    yield f"twenty commands around a training that outlives its killed controller: {told}"
