"""Services that load the champion in a tight loop while it changes hands: never a failure, never a mixed file."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from retrain.config import load
from retrain.context import Context
from retrain.core.events import Swap, SwapStarted
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.swap import settle, swap
from tests.stories.project import CHAMPION, Project, make_models, until

SWAPS, COMMANDS, READERS = 10_000, 200, 3
KINDS = 60
"""So many more versions than are kept that files are forgotten and made again all the time."""

READER = """
import hashlib, json, os, sys, pathlib, warnings
import joblib
parent = os.getppid()
champion, known = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
by_bytes, by_name, wrong, row = {}, 0, [], [[0.5, -1.0, 2.0]]
stop, ready = pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
while not stop.exists() and os.getppid() == parent:
    try:
        with open(champion, "rb") as file:  # one open: these bytes, and the model of these very bytes
            version = hashlib.sha256(file.read()).hexdigest()
            file.seek(0)
            said = float(joblib.load(file).predict_proba(row)[0, 1])
        if known.get(version) != said:
            wrong.append(f"{version} said {said}, and should say {known.get(version)}")
        by_bytes[version] = by_bytes.get(version, 0) + 1
        said = float(joblib.load(champion).predict_proba(row)[0, 1])  # as a service does it
        if said not in known.values():
            wrong.append(f"what was loaded by name said {said}")
        by_name += 1
    except Exception as error:
        wrong.append(repr(error))
    ready.touch()
print(json.dumps({"by_bytes": by_bytes, "by_name": by_name, "wrong": wrong[:20], "failures": len(wrong)}))
"""


@dataclass(frozen=True)
class Readings:
    """What all readers together saw."""

    reads: int
    versions: Counter[str]
    failures: int
    wrong: tuple[str, ...]


def figures() -> Iterator[str]:
    """The full size."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "project"
        root.mkdir()
        project = Project(root, make_models(Path(directory)))
        yield swapped_in_process(project, SWAPS)
        yield swapped_by_commands(project, COMMANDS)


def artifacts(project: Project) -> list[Path]:
    """Models that say different things, of 20 kB to 700 kB, so that reading one takes several calls."""
    import joblib
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    dice, made = np.random.default_rng(3), []
    features = dice.normal(size=(400, 3))
    model: Any = LogisticRegression().fit(features, features[:, 0] > 0)
    (project.root / "made").mkdir(exist_ok=True)
    for number in range(KINDS):
        model.intercept_ = model.intercept_ + 0.01
        model.ballast = dice.bytes(20_000 * (number % 6 + 1) ** 2)
        made.append(project.root / "made" / f"{number}.joblib")
        joblib.dump(model, made[-1])
    return made


@contextmanager
def reading(project: Project, made: list[Path]) -> Iterator[Callable[[], Readings]]:
    """Several services at work; the call ends them and gives what they saw."""
    import joblib

    known = {}
    for path in made:
        said = float(joblib.load(path).predict_proba([[0.5, -1.0, 2.0]])[0, 1])
        known[hashlib.sha256(path.read_bytes()).hexdigest()] = said
    assert len(set(known.values())) == len(made), "the models must be told apart"
    (project.root / "known.json").write_text(json.dumps(known))
    stop, ready = project.root / "stop", [project.root / f"ready-{number}" for number in range(READERS)]
    for path in (stop, *ready):
        path.unlink(missing_ok=True)
    words = [sys.executable, "-c", READER, *map(str, (project.root / CHAMPION, project.root / "known.json", stop))]
    services = [
        subprocess.Popen([*words, each], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in ready
    ]

    def end() -> Readings:
        stop.touch()
        versions: Counter[str] = Counter()
        by_name, failures, wrong = 0, 0, []
        for service in services:
            out, err = service.communicate(timeout=60)
            assert (service.returncode, err) == (0, ""), err
            saw = json.loads(out)
            versions.update(saw["by_bytes"])
            by_name, failures = by_name + saw["by_name"], failures + saw["failures"]
            wrong += saw["wrong"]
        return Readings(versions.total() + by_name, versions, failures, tuple(wrong))

    try:
        until(lambda: all(path.exists() for path in ready), 180)
        yield end
    finally:
        stop.touch()
        for service in services:
            service.kill()
            service.wait()


def swapped_in_process(project: Project, swaps: int) -> str:
    """What readers saw while the product's own hand-over moved the link so many times, forgetting as it goes."""
    project.configure(models={"keep": 1})
    made = artifacts(project)
    versions = {path: registry.identify(path) for path in made}
    project.link(made[0], CHAMPION)
    config, secrets = load(project.root / "config.yaml", {})
    context = Context(config, secrets, os.environ, lambda: datetime.now(UTC))
    forgotten, rolled_back, began = 0, 0, time.monotonic()
    with (
        reading(project, made) as end,
        open_journal(config.state) as journal,
        lock.hold(config.state, "promote", context.clock()) as lock_fd,
    ):
        settle(context, journal, lock_fd, context.clock())
        for number in range(swaps):
            past = journal.past()
            back = [version for version in past.lineage if version in registry.kept(config.models)][-1:]
            if number % 3 == 2 and back:
                intent = SwapStarted(Swap.ROLLBACK, back[0], past.served, "survival")
                rolled_back += 1
            else:
                others = [path for path in made if versions[path] != past.served]
                version = registry.admit(config.models, others[number % len(others)])
                intent = SwapStarted(Swap.PROMOTION, version, past.served, "survival", forced=True)
            before = set(registry.kept(config.models))
            swap(context, journal, intent, lock_fd, context.clock())
            forgotten += len(before - set(registry.kept(config.models)))
        seconds = time.monotonic() - began
        saw = end()
    return told(f"{swaps} swaps ({rolled_back} of them rollbacks) in one process", saw, len(made), seconds, forgotten)


def swapped_by_commands(project: Project, commands: int) -> str:
    """What readers saw while the installed commands promoted by force and rolled back, in turn."""
    project.configure(models={"keep": 1})
    made, began = artifacts(project), time.monotonic()
    if not (project.root / CHAMPION).exists():
        project.link(made[0], CHAMPION)
    with reading(project, made) as end:
        for number in range(commands):
            words = ["rollback"]
            if number % 2 == 0:
                served = hashlib.sha256((project.root / CHAMPION).read_bytes()).hexdigest()
                others = [path for path in made if registry.identify(path) != served]
                words = ["promote", str(others[number // 2 % len(others)]), "--force", "--reason", "survival"]
            done = project.run(*words)
            assert done.returncode == 0, done
        seconds = time.monotonic() - began
        saw = end()
    return told(f"{commands} commands, promote --force and rollback in turn", saw, len(made), seconds)


def told(what: str, saw: Readings, versions: int, seconds: float, forgotten: int | None = None) -> str:
    """The line of a run; AssertionError where a reader failed, or hardly anything was read."""
    assert saw.failures == 0, f"{what}: {saw.failures} of {saw.reads} reads went wrong: {saw.wrong}"
    assert len(saw.versions) > 1, f"{what}: the readers saw one version only, so nothing was shown"
    gone = f", {forgotten} version files forgotten meanwhile" if forgotten is not None else ""
    return (
        f"{what} in {seconds:.0f} s{gone}: {READERS} readers loaded the champion {saw.reads:,} times and saw"
        f" {len(saw.versions)} of {versions} versions; failures 0, mixed files 0"
    )
