"""A command that is killed anywhere leaves a project with which the next one goes on."""

import random
from functools import partial

import pytest

from tests.conftest import real
from tests.survival.kill import at_call, at_random, inside, tries
from tests.survival.scenes import HOOKED, PROMOTES_FIRST, ROLLS_BACK, TRAINS, Scene, Stage
from tests.survival.stages import make_stages, on_stages


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[Stage]:
    return make_stages(tmp_path_factory.mktemp("stages"))


@pytest.mark.parametrize("scene", [TRAINS, PROMOTES_FIRST, ROLLS_BACK], ids=str)
def test_a_kill_at_a_call_that_changes_something_loses_nothing(scene: Scene, stages: list[Stage]) -> None:
    """At a sample of the calls: the champion, the versions and the journal are sound, and the next command settles."""
    real("strace")
    outcomes = on_stages(stages, tries(scene, stages[0], random.Random(scene.name), 0.03))
    assert all(each.killed for each in outcomes)


def test_a_kill_between_intent_and_link_and_between_link_and_record_is_settled(stages: list[Stage]) -> None:
    """A swap that a crash left open is undone or completed by the next command, which says so."""
    real("strace")
    own, _ = stages[0].calls(ROLLS_BACK)
    renamed = next(call for call in own if call.name == "rename" and call.file == "champion.joblib")
    synced = next(call for call in own[own.index(renamed) :] if call.name == "fsync")
    kills = [partial(at_call, ROLLS_BACK, call, True) for call in (renamed, synced)]
    assert [each.settled for each in on_stages(stages, kills)] == ["a swap", "a swap"]


@pytest.mark.parametrize(("scene", "settled"), [(TRAINS, "a training"), (HOOKED, "a swap")], ids=str)
def test_what_outlives_a_killed_controller_keeps_the_lock(scene: Scene, settled: str, stages: list[Stage]) -> None:
    """While the training, or the hook, goes on alone, no other starts; afterwards the next command settles it."""
    outcome = inside(scene, "the controller", False, stages[0])
    assert (outcome.killed, outcome.turned_away, outcome.settled) == (True, True, settled)


def test_a_kill_of_everything_at_a_random_time_loses_nothing(stages: list[Stage]) -> None:
    """As when the machine stops: the controller and all that it started end at once."""
    dice = random.Random(4)
    kills = [
        partial(at_random, scene, "the controller and all its descendants", 0.2 + dice.random() / 5, True)
        for scene in (TRAINS, ROLLS_BACK)
    ]
    on_stages(stages, kills)
