"""What the commands are killed in, and where their calls fail: every kind of change that they make."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.stories.project import Models, Project
from tests.survival import strace
from tests.survival.sound import digest

TRAINING = """
set -e
echo begin $RETRAIN_RUN_ID >> trainings
while [ -e wait ]; do sleep 0.05; done
cp {artifact} $RETRAIN_CHALLENGER
echo end $RETRAIN_RUN_ID >> trainings
"""
# The kernel frees this lock when all who hold it have ended: whoever finds it held is a second training.
RECIPE = (
    "@flock -n -E 99 training.lock sh train.sh ||"
    " { code=$$?; [ $$code != 99 ] || echo overlap $(RETRAIN_RUN_ID) >> trainings; exit $$code; }"
)
HOOK = """
echo begin >> hooks
while [ -e wait ]; do sleep 0.05; done
echo end >> hooks
"""


@dataclass(frozen=True)
class Scene:
    """A command in the state of a project in which it changes something; `serves` names the champion in the end."""

    name: str
    words: tuple[str, ...]
    serves: str
    prepare: Callable[[Project], None]

    def __str__(self) -> str:
        return self.name


class Stage:
    """A project that is put back into the state of a scene as often as one likes, always at the same place."""

    def __init__(self, directory: Path, models: Models) -> None:
        self.root, self.templates, self.models = directory / "project", directory / "templates", models
        self.projects: dict[str, Project] = {}

    def at(self, scene: Scene) -> Project:
        """The project as it is before the command of this scene."""
        template = self.templates / scene.name.replace(" ", "_")
        if scene.name not in self.projects:
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(parents=True)
            project = Project(self.root, self.models)
            _furnish(project)
            scene.prepare(project)
            shutil.copytree(self.root, template, symlinks=True)
            self.projects[scene.name] = project
        shutil.rmtree(self.root)
        shutil.copytree(template, self.root, symlinks=True)
        return self.projects[scene.name]

    def calls(self, scene: Scene) -> tuple[list[strace.Call], list[strace.Call]]:
        """The calls of this scene's command and of its children, when nothing is new to it."""
        self.at(scene).run(*scene.words)
        return strace.seen(self.at(scene), *scene.words)

    def version(self, name: str) -> str:
        """The version of a model, by its name."""
        return digest(getattr(self.models, name))

    @property
    def versions(self) -> set[str]:
        """Every version that can ever serve."""
        return {digest(path) for path in self.models.directory.glob("*.joblib")}


def _furnish(project: Project) -> None:
    """Training that tells of itself, a hook to use, and no wait that would hide a second training."""
    artifact = project.models.strong
    (project.root / "train.sh").write_text(TRAINING.format(artifact=artifact))
    (project.root / "hook.sh").write_text(HOOK)
    (project.root / "trainings").touch()
    (project.root / "hooks").touch()
    project.train(RECIPE)
    project.configure(triggers={"cooldown": "0s", "failure_backoff": "0s"})
    # Elsewhere, so that it is the same file, with the same inode, however often the project is put back.
    project.configure(promotion={"holdout": str(project.models.holdout)})
    project.serve(project.models.weak)


def _ran(project: Project, *words: str) -> None:
    done = project.run(*words)
    assert done.returncode == 0, done


def _healthy(project: Project) -> None:
    project.metrics()


def _checked_before(project: Project) -> None:
    _ran(project, "check")
    project.metrics()


def _breach(project: Project) -> None:
    project.metrics(f1=0.7)


def _by_hand(project: Project) -> None:
    project.link(project.models.strong, "candidate.joblib")
    _ran(project, "promote", "--dry-run", "candidate.joblib")  # the look is recorded, so promote need not score


def _trained(project: Project) -> None:
    _ran(project, "check")
    project.metrics(f1=0.7)
    _ran(project, "check")


def _hooked(project: Project) -> None:
    project.configure(promotion={"after": "sh hook.sh"})
    _trained(project)
    _ran(project, "promote", "--dry-run")


def _promoted(project: Project) -> None:
    _trained(project)
    _ran(project, "promote")


def _on_probation(project: Project) -> None:
    project.configure(promotion={"probation": "7d"})
    _promoted(project)
    project.metrics(f1=0.4)


def _held_back(project: Project) -> None:
    _trained(project)
    project.configure(triggers={"cooldown": "6h"})
    project.metrics(f1=0.7)


SCENES = (
    Scene("the first check, which holds", ("check",), "weak", _healthy),
    Scene("a check that holds", ("check",), "weak", _checked_before),
    Scene("a check that adopts and trains", ("check",), "weak", _breach),
    Scene("the first promote, which adopts", ("promote", "candidate.joblib"), "strong", _by_hand),
    Scene("a promote that scores and swaps", ("promote",), "strong", _trained),
    Scene("a promote with a hook", ("promote",), "strong", _hooked),
    Scene("a rollback", ("rollback",), "weak", _promoted),
    Scene("a check that rolls back on probation", ("check",), "weak", _on_probation),
)
HOLDS_FIRST, HOLDS, TRAINS, PROMOTES_FIRST, PROMOTES, HOOKED, ROLLS_BACK, PROBATION = SCENES
HELD_BACK = Scene("a check that a challenger holds back", ("check",), "weak", _held_back)
