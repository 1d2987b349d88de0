"""Twenty commands at once: one acts, the others say so and leave, and the journal shows one order."""

import json
import random
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrain.core.fold import fold
from retrain.core.past import Past
from tests.stories.project import CHAMPION, Project, make_models
from tests.survival.ledger import entries, in_one_order, past_of, served_by, trainings_apart

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
    # 1: a rival has promoted or trained away what waited. 75 also where one put another champion in service.
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
    """The full size: a hundred crowds of all commands, then some of checks alone."""
    with tempfile.TemporaryDirectory() as directory:
        models = make_models(Path(directory))
        root = Path(directory) / "project"
        root.mkdir()
        yield from crowds(Project(root, models), ROUNDS)
        checks = Path(directory) / "checks"
        checks.mkdir()
        yield only_checks(Project(checks, models), ROUNDS // 5)


def crowds(project: Project, rounds: int, seed: int = 1) -> Iterator[str]:
    """Twenty commands at once, so many times over; AssertionError where one of them did what it may not."""
    prepared(project)
    told, began = Told(), time.monotonic()
    dice = random.Random(seed)
    # One training for certain: people wait for checks, so in a small crowd no check may find the lock free.
    project.metrics(f1=0.5)
    note(("check",), project.run("check", "--json"), told)
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
