"""Two commands that meet at the worst moment: what one has seen is no longer so when it acts."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from retrain.core.events import Checked
from retrain.effects import lock
from tests.stories.project import CHALLENGER, RETRAIN, Project, make_models, until
from tests.survival.ledger import entries, in_one_order, past_of, trainings_apart
from tests.survival.overlap import BUSY, CROWD, at_once, prepared


def figures() -> Iterator[str]:
    """Each race once."""
    with tempfile.TemporaryDirectory() as directory:
        models = make_models(Path(directory))
        others = [Path(directory) / name for name in ("orphan", "late", "meanwhile")]
        for other in others:
            other.mkdir()
        yield from around_an_orphan(Project(others[0], models))
        yield recorded_late(Project(others[1], models))
        if shutil.which("strace"):
            yield promoted_meanwhile(Project(others[2], models))


def recorded_late(project: Project) -> str:
    """A check that looked before a promotion and is recorded after it: what the next rollback goes back to."""
    project.serve(project.models.weak)
    promoted = ("--force", "--reason", "overlap")
    assert project.run("promote", str(project.models.fair), *promoted).returncode == 0
    before = past_of(project).served
    state = project.root / "state"
    # With the lock a check keeps everybody else out; so it is one that finds the lock held, and only looks.
    with (
        lock.hold(state, "promote", datetime.now(UTC)),
        closing(sqlite3.connect(state / "journal.db", isolation_level=None)) as db,
    ):
        db.execute("BEGIN IMMEDIATE")
        check = project.start("check")
        until(lambda: waits_to_write(check.pid), 60)
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


def waits_to_write(process: int) -> bool:
    """Whether the process has slept for a while: it has looked, and waits for its turn at the journal."""
    for _ in range(10):
        if "nanosleep" not in Path(f"/proc/{process}/wchan").read_text():
            return False
        time.sleep(0.02)
    return True


def promoted_meanwhile(project: Project) -> str:
    """cron's `promote --if-pending` has seen that a challenger waits; before it has the lock, somebody promotes it."""
    prepared(project)
    project.metrics(f1=0.5)
    assert project.run("check").returncode == 0
    locked, log = project.root / "state/lock", project.root / "strace"
    stops = ["strace", "-f", "-o", str(log), "-P", str(locked), "-e", "inject=openat:signal=SIGSTOP:when=1"]
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
        elif words[0] == "rollback":  # which waits for no training
            assert done.returncode in {0, 1, BUSY}, evidence
        else:
            assert done.returncode == BUSY, evidence
            assert "what retrain check of " in said["error"], evidence
        codes[str(done.returncode)] += 1
    assert "what retrain check of " in project.run("status").stdout
    meanwhile = {type(entry.event).__name__ for entry in entries(project)[len(before) :]}
    assert meanwhile <= {"Checked", "SwapStarted", "RolledBack"}, meanwhile
    (project.root / "go").touch()
    until((project.root / "ended").exists)
    until(lambda: "was interrupted" in project.run("check", "-v").stdout)
    history = entries(project)
    in_one_order(history)
    trainings_apart(project, history)
    assert (project.root / CHALLENGER).exists()
    told = f"exit codes {dict(codes)}, nothing started, settled once"
    yield f"twenty commands around a training that outlives its killed controller: {told}"
