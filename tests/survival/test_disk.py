"""A bad disk: a clear sentence, the right exit code, and the champion stays."""

import random

import pytest

from tests.conftest import real
from tests.stories.project import Project
from tests.survival import damage
from tests.survival.disk import failing, failures, full, reads, written_protected
from tests.survival.mounts import small_disk
from tests.survival.scenes import HOOKED, PROMOTES, ROLLS_BACK, TRAINS, Scene, Stage
from tests.survival.stages import make_stages, on_stages


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    return make_stages(tmp_path_factory.mktemp("stages"))


@pytest.mark.parametrize("scene", [TRAINS, ROLLS_BACK], ids=str)
def test_a_call_that_fails_is_told_and_harms_nothing(scene: Scene, stages: list[Stage]) -> None:
    """At a sample of the calls that change something, with ENOSPC or EIO; then the plain command does its work."""
    real("strace")
    on_stages(stages, failures(scene, stages[0], random.Random(scene.name), 0.02))


def test_a_pipe_to_the_scoring_process_that_fails_is_told(stages: list[Stage]) -> None:
    """The comparison ends with a sentence and the exit code of an expected failure, not as a bug."""
    real("strace")
    own, _ = stages[0].calls(PROMOTES)
    plan = next(call for call in own if call.name == "write" and "pipe:" in call.shown and "compare" in call.shown)
    assert failing(PROMOTES, plan, "EIO", False, stages[0]).code == 1


def test_a_read_that_fails_once_is_no_damage(stages: list[Stage]) -> None:
    """Exit 1 and a sentence at some reads of the journal; nothing is moved, and the next command goes on."""
    real("strace")
    tries = random.Random(4).sample(reads(stages[0]), 6)
    assert 1 in {outcome.code for outcome in on_stages(stages, tries)}


@pytest.mark.parametrize("left", [0, 32 * 1024, 64 * 1024])
def test_a_full_disk_is_told_and_harms_nothing(left: int, stages: list[Stage]) -> None:
    """With nothing left, or less than the journal and the artifact need: once there is space, the training runs."""
    assert full(TRAINS, left, stages[0]).code == 1


@pytest.mark.parametrize(
    ("scene", "directory", "code"),
    [
        (TRAINS, "models/versions", 1),
        (ROLLS_BACK, "models", 1),
        (ROLLS_BACK, "state", 1),
        (ROLLS_BACK, "state/runs", 0),
        (HOOKED, "state/runs", 1),
    ],
    ids=str,
)
def test_a_read_only_directory_is_told_and_harms_nothing(
    scene: Scene, directory: str, code: int, stages: list[Stage]
) -> None:
    """What needs the directory fails with a sentence; what does not need it goes on."""
    assert written_protected(scene, directory, stages[0]).code == code


@pytest.mark.parametrize("name", ["a header of garbage", "no content", "its first half"])
def test_a_damaged_journal_stops_every_command_until_it_is_repaired(name: str, stages: list[Stage]) -> None:
    """Nothing is moved or trained before; the repair keeps the file, and the next check holds for the cooldown."""
    damage.damaged(name, stages[0], random.Random(name), thorough=False)


def test_a_page_of_garbage_in_the_middle_of_the_journal_trains_nothing(stages: list[Stage]) -> None:
    """Found by a check or by the repair: nothing is trained, and the next check after the repair goes on."""
    assert damage.page_damaged(damage.pages(stages[0])[-1], stages[0], random.Random(4))


@pytest.mark.parametrize("kind", damage.LOST)
def test_a_repair_that_is_killed_is_finished_by_the_next(kind: str, stages: list[Stage]) -> None:
    """At a sample of its calls: no file is lost, no command goes on before, and the loss is recorded once."""
    real("strace")
    tries = damage.repairs(kind, stages[0])
    assert any(on_stages(stages, random.Random(kind).sample(tries, 5)))


def test_the_journal_of_a_newer_release_is_left_alone(stages: list[Stage]) -> None:
    """Every command says what to do, with exit code 1."""
    damage.newer(stages[0])


def test_a_journal_that_another_program_holds_is_told(stages: list[Stage]) -> None:
    """The check gives up after a while, with exit code 1; `status` need not wait."""
    damage.locked(stages[0])


def test_a_training_that_fills_the_disk_has_an_outcome(project: Project) -> None:
    """Room for that is kept before it starts; the cause is named though its own last words could not be written."""
    project.train("cat /dev/zero > models/filler")
    project.metrics(f1=0.7)
    with small_disk(project, 2 << 20, 8 << 20) as mounted:
        done = mounted.run("check")
        assert (done.returncode, "/runs is full" in done.stderr) == (1, True), done
        assert "training failed" in mounted.run("status").stdout
        (mounted.root / "models/filler").unlink()
        assert mounted.run("check").returncode == 0
        assert "interrupted" not in mounted.run("status").stdout


def test_a_hook_that_fills_the_disk_undoes_no_promotion(project: Project) -> None:
    """What the link says is recorded."""
    project.configure(promotion={"after": "sh -c 'cat /dev/zero > models/filler; true'"})
    with small_disk(project, 2 << 20, 8 << 20) as mounted:
        done = mounted.run("promote", str(project.models.strong))
        assert (done.returncode, done.stdout[:8]) == (0, "promoted"), done
        (mounted.root / "models/filler").unlink()
        assert "interrupted" not in mounted.run("status").stdout


def test_a_disk_that_is_full_is_named(project: Project) -> None:
    """SQLite calls it an I/O error where it cannot make its files; what only reads needs none."""
    project.serve(project.models.weak)
    assert project.run("check").returncode == 0
    with small_disk(project, 0) as mounted:
        assert "champion" in mounted.run("status").stdout
        for words in (["check"], ["promote", str(project.models.strong)], ["rollback"], ["prune"]):
            done = mounted.run(*words)
            assert (done.returncode, "its disk is full (make some room" in done.stderr) == (1, True), done
