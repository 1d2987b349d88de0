"""A bad disk: each call that changes something fails once, the disk is full, directories are read-only."""

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from tests.stories.project import Project
from tests.survival import damage, strace
from tests.survival.mounts import make_space, read_only, small_disk
from tests.survival.scenes import (
    HOLDS,
    HOOKED,
    PROBATION,
    PROMOTES,
    PROMOTES_FIRST,
    ROLLS_BACK,
    SCENES,
    TRAINS,
    Scene,
    Stage,
)
from tests.survival.sound import Row, adoptions, champion, events, proper, told, trainings, versions
from tests.survival.stages import make_stages, on_stages

ERRORS = ("ENOSPC", "EIO")
LEFT = (0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192)
"""KiB that are free on the disk; the artifact has 31, the journal's write-ahead log grows by about 5 an event."""
DIRECTORIES = ("models", "models/versions", "state", "state/runs")


@dataclass(frozen=True)
class Outcome:
    """How a command ended on a bad disk; `harmless` names the call whose failure did not matter."""

    code: int
    harmless: str = ""


Try = Callable[[Stage], Outcome]


def failing(scene: Scene, call: strace.Call, error: str, children: bool, stage: Stage) -> Outcome:
    """Let a call of the command of this scene fail so, once; with `children`, each of its children's, too.

    Raises AssertionError where a requirement is violated.
    """
    project = stage.at(scene)
    done = strace.failed(project, call, error, *scene.words, children=children)
    # With children the same call of retrain itself fails, too: the one that tells, perhaps.
    code = proper(done, silent=children or call.shown.startswith("2<"))
    _stands(stage, project.root)
    if code == 0 and not children:  # a training that takes no notice of an error has left what it has left
        _done(stage, scene, project.root)
    elif code != 0:
        _goes_on(stage, scene, project)
    return Outcome(code, f"{call.name} {call.file}" if code == 0 else "")


READERS = (("check",), ("promote",), ("rollback",), ("prune",), ("status",))
"""What reads the journal of a project whose challenger waits."""


def unread(words: tuple[str, ...], call: strace.Call, stage: Stage) -> Outcome:
    """Let a read of the journal fail once, as a disk does that begins to fail: nothing is lost, nothing is moved.

    SQLite takes such a failure for damage of the file.
    """
    project = stage.at(PROMOTES)
    before = _stands(stage, project.root)
    code = proper(strace.failed(project, call, "EIO", *words))
    after = _stands(stage, project.root)
    assert after[: len(before)] == before or words == ("prune",), "the history is not what it was"
    assert not list(project.root.glob("state/*.damaged-*")), "a journal was set aside that is whole"
    _goes_on(stage, PROMOTES, project)
    return Outcome(code)


def reads(stage: Stage) -> list[Try]:
    """A try for each command and read of the journal."""
    return [
        partial(unread, words, call)
        for words in READERS
        for call in strace.read(stage.at(PROMOTES), "journal.db", *words)
    ]


def full(scene: Scene, free: int, stage: Stage) -> Outcome:
    """Run the command of this scene on a disk with so many bytes free, and again when space was made."""
    project = stage.at(scene)
    with small_disk(project, free) as mounted:
        code = proper(mounted.run(*scene.words))
        _stands(stage, mounted.root)
        if code == 0:
            _done(stage, scene, mounted.root)
        status = mounted.run("status")
        assert status.returncode == 0, status
        make_space(mounted)
        proper(mounted.run(*scene.words))
        _done(stage, scene, mounted.root)
    return Outcome(code)


def written_protected(scene: Scene, directory: str, stage: Stage) -> Outcome:
    """Run the command of this scene where a directory is read-only, and again where it is not."""
    project = stage.at(scene)
    with read_only(project, directory) as mounted:
        code = proper(mounted.run(*scene.words))
        _stands(stage, project.root)
        if code == 0:
            _done(stage, scene, project.root)
        status = mounted.run("status")
        assert status.returncode == 0, status
    _goes_on(stage, scene, project)
    return Outcome(code)


def _stands(stage: Stage, root: Path) -> list[Row]:
    """The journal, which contradicts itself nowhere; the champion stands, and no version is half written."""
    champion(root / "models", stage.versions)
    versions(root / "models")
    rows = events(root / "state")
    told(rows)
    return rows


def _done(stage: Stage, scene: Scene, root: Path) -> None:
    """Assert that what the command of this scene is to bring about is there, and settled."""
    rows = _stands(stage, root)
    assert told(rows) == (None, None)
    assert champion(root / "models", stage.versions) == stage.version(scene.serves)
    kinds = {"check": "Checked", "promote": "Promoted", "rollback": "RolledBack"}
    assert any(row.kind == kinds[scene.words[0]] for row in rows)
    adoptions(rows, root / "models")
    if scene is TRAINS:
        assert any(row.kind == "TrainingFinished" and stage.version("strong") in row.body for row in rows)


def _goes_on(stage: Stage, scene: Scene, project: Project) -> None:
    """Assert that the plain commands settle what a bad disk left, once it is good again."""
    status = project.run("status")
    assert status.returncode == 0, status
    proper(project.run(*scene.words))
    _done(stage, scene, project.root)
    trainings(project)
    assert len(versions(project.root / "models")) <= 1


# ---------------------------------------------------------------- how many


def failures(scene: Scene, stage: Stage, dice: random.Random, share: float) -> list[Try]:
    """A try for this share of the calls of the scene's command, and of its children, with each error."""
    own, others = stage.calls(scene)
    calls = [(call, False) for call in own]
    # Not those that open a file: every program makes as many of them before it does anything.
    theirs = [each for each in others if each.name != "openat"]
    calls += [(call, True) for call in {(each.name, each.nth): each for each in theirs}.values()]
    every = list(product(calls, ERRORS))
    chosen: Sequence[tuple[tuple[strace.Call, bool], str]] = every
    if share < 1:
        chosen = dice.sample(every, max(1, round(share * len(every))))
    return [partial(failing, scene, call, error, children) for (call, children), error in chosen]


def full_disks() -> list[Try]:
    """A try for each command and level."""
    scenes = (HOLDS, TRAINS, PROMOTES_FIRST, PROMOTES, ROLLS_BACK, PROBATION)
    return [partial(full, scene, 1024 * left) for scene, left in product(scenes, LEFT)]


def read_only_directories() -> list[Try]:
    """A try for each command and directory."""
    scenes = (HOLDS, TRAINS, PROMOTES_FIRST, PROMOTES, HOOKED, ROLLS_BACK, PROBATION)
    return [partial(written_protected, scene, directory) for scene, directory in product(scenes, DIRECTORIES)]


def figures(seed: int = 4) -> Iterator[str]:
    """The full size, a line a scene."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="disk-") as directory:
        stages = make_stages(Path(directory))
        for scene in SCENES:
            outcomes = on_stages(stages, failures(scene, stages[0], dice, 1))
            yield f"{scene}, each call that changes something failing with {' and '.join(ERRORS)}: {_told(outcomes)}"
            harmless = Counter(each.harmless for each in outcomes if each.harmless)
            yield f"  ended with 0 all the same: {', '.join(f'{what} ×{count}' for what, count in harmless.items())}"
        yield f"on a full disk ({', '.join(map(str, LEFT))} KiB left): {_told(on_stages(stages, full_disks()))}"
        outcomes = on_stages(stages, read_only_directories())
        yield f"with {', '.join(DIRECTORIES)} read-only in turn: {_told(outcomes)}"
        yield f"each read of the journal failing with EIO: {_told(on_stages(stages, reads(stages[0])))}"
        yield from damage.figures(stages[0], dice)
    yield "the champion always loaded and was a known version, no version was half written, and the plain commands"
    yield "went on when the disk was good again"


def _told(outcomes: Sequence[Outcome]) -> str:
    codes = Counter(each.code for each in outcomes)
    ends = ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items()))
    return f"{len(outcomes)} runs, {ends}"
