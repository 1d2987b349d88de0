"""A kill while a directory is kept, put in service or removed leaves no half of one under the name of a version."""

import os
import random
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrain.effects import files, registry
from tests.conftest import real
from tests.stories import predicting
from tests.stories.project import Models, Project, make_models
from tests.stories.test_predict import COMMAND, SERVED, model
from tests.survival import strace
from tests.survival.sound import proper

TRIES = 4
"""Of each command, besides the calls that put a directory in its place."""


class Place:
    """A project that is put back into one state as often as one likes, always at the same place."""

    def __init__(self, directory: Path, models: Models) -> None:
        self.root, self.template = directory / "project", directory / "template"
        self.root.mkdir()
        self.project = Project(self.root, models)
        shutil.copy(predicting.__file__, self.root / "predict.py")
        reaches = {SERVED: 0.0, "first": 0.3, "second": 0.4, "strong": 0.5}
        self.known = {registry.identify(model(self.root / name, reach)) for name, reach in reaches.items()}
        names = {name: f"models/{name}" for name in ("champion", "challenger")}
        self.project.configure(
            models=names, promotion={"predict": COMMAND}, triggers={"cooldown": "0s", "failure_backoff": "0s"}
        )
        self.project.train("rm -rf $(RETRAIN_CHALLENGER)", "cp -r strong $(RETRAIN_CHALLENGER)")

    def keep(self) -> None:
        """Let this state be the one that comes back."""
        shutil.copytree(self.root, self.template, symlinks=True)

    def fresh(self) -> Project:
        """The project in that state."""
        files.remove(self.root)
        shutil.copytree(self.template, self.root, symlinks=True)
        for path in (self.root / "models/versions").glob("*"):
            os.utime(path, (0, 0))  # not in use
        return self.project

    def sound(self) -> None:
        """Raise AssertionError where a version is not what its name says, or no known directory is served."""
        for path in (self.root / "models/versions").glob("*"):
            if re.fullmatch("[0-9a-f]{64}", path.name):
                assert registry.identify(path) == path.name
        assert registry.identify(self.root / SERVED) in self.known

    def kill(self, call: strace.Call, words: Sequence[str]) -> None:
        """Kill the command as it enters the call; the next ones go on, and remove what it left."""
        project = self.fresh()
        assert strace.killed(project, call, *words).returncode == -signal.SIGKILL, call
        self.sound()
        project.metrics(f1=0.5)
        strong, second = (registry.identify(self.root / name) for name in ("strong", "second"))
        proper(project.run("check"))
        self.sound()
        other = second if registry.identify(self.root / SERVED) == strong else strong
        done = project.run("rollback", "--to", other[:12], "--force", "--reason", "test")
        assert done.returncode == 0, done  # with this swap goes what was left over
        self.sound()
        assert not [*self.root.glob("models/.incoming*"), *self.root.glob("models/versions/.incoming*")], call


@pytest.fixture
def place(tmp_path: Path) -> Place:
    real("strace")
    (tmp_path / "fitted").mkdir()
    return Place(tmp_path, make_models(tmp_path / "fitted"))


def tried(place: Place, words: Sequence[str], seed: int) -> list[strace.Call]:
    """All calls of the command that change something below models/; it is killed at some of them."""
    project = place.fresh()
    calls = [call for call in strace.seen(project, *words)[0] if "/models/" in call.shown or "incoming" in call.shown]
    decisive = [call for call in calls if call.name.startswith(("rename", "symlink"))]
    for call in dict.fromkeys([*decisive, *random.Random(seed).sample(calls, TRIES)]):
        place.kill(call, words)
    return calls


def test_a_kill_while_directories_are_adopted_and_kept(place: Place) -> None:
    """A check that keeps the champion's directory, links it, trains, and keeps the challenger's."""
    place.project.metrics(f1=0.5)
    place.keep()
    names = {call.name for call in tried(place, ("check",), 1)}
    assert {"mkdir", "renameat2", "rename", "fsync"} <= names


def test_a_kill_while_a_directory_is_removed(place: Place) -> None:
    """A rollback after which an old champion is no longer kept: it is renamed first."""
    for name in ("first", "second", "strong"):
        proper(place.project.run("promote", name, "--force", "--reason", "test"))
    place.project.configure(models={"keep": 1})
    place.keep()
    calls = tried(place, ("rollback",), 2)
    assert {"rmdir", "unlink", "rename"} <= {call.name.removesuffix("at") for call in calls}
