"""`retrain pause` and `retrain resume`: nothing trains or promotes by itself; a person still can."""

from retrain.core import events
from tests.stories.project import CHAMPION, Project
from tests.stories.test_history import actors


def test_nothing_happens_by_itself_while_paused(project: Project) -> None:
    """A check records and says nothing, cron promotes nothing; after `resume` both go on where they were."""
    project.serve(project.models.weak)
    project.metrics(f1=0.8)
    project.run("check")
    before = (project.root / CHAMPION).resolve()
    paused = project.run("pause", "--reason", "the labels are wrong", SUDO_USER="alice")
    assert paused.stdout.startswith("paused since ")
    assert "by alice on " in paused.stdout
    assert paused.stdout.endswith(": the labels are wrong (retrain resume ends it)\n")
    assert project.run("promote", "--if-pending").stdout == ""
    assert (project.root / CHAMPION).resolve() == before
    project.metrics(f1=0.8)
    held = project.run("check")
    assert (held.returncode, held.stdout, held.stderr) == (0, "", "")
    said = project.json("check")
    assert (said["action"], said["reason"]) == ("hold", "paused")
    shown = project.json("status")
    assert shown["paused"]["reason"] == "the labels are wrong"
    assert shown["paused"]["by"]["who"] == "alice"
    text = project.run("status").stdout
    assert "\npaused      since " in text
    assert "\nnext check  trains nothing: it is paused" in text
    assert project.run("resume").stdout.startswith("resumed; it was paused since ")
    assert "nothing to resume" in project.run("resume").stdout
    assert project.json("status")["paused"] is None
    assert project.run("promote", "--if-pending").stdout.startswith("promoted ")
    assert len(actors(project, events.Paused)) == len(actors(project, events.Resumed)) == 1


def test_what_a_person_asks_for_is_done_while_paused_and_mentions_the_pause(project: Project) -> None:
    """A training, a comparison, a rollback; the pause goes on."""
    project.serve(project.models.weak)
    project.run("pause", "--reason", "vacation", "--for", "3d")
    for words in (
        ("check", "--force", "--reason", "needed"),
        ("promote",),
        ("rollback", "--reason", "alarms"),
    ):
        done = project.run(*words)
        assert done.returncode == 0, done
        assert "(paused since " in done.stdout, words
    assert project.json("status")["paused"]["until"] is not None


def test_a_pause_that_lasts_is_reported_again_and_one_without_a_reason_is_refused(project: Project) -> None:
    """Once per `repeat_after`, also where all is healthy; a wrong length is exit code 2."""
    project.configure(notifications={"repeat_after": "0s"})
    assert project.run("pause").returncode == 2
    assert project.run("pause", "--reason", "x", "--for", "soon").returncode == 2
    project.run("pause", "--reason", "vacation")
    project.metrics()
    said = project.run("check").stdout
    assert said.startswith("paused since ")
    assert "vacation (retrain resume ends the pause); healthy: " in said
    project.run("resume")
    project.metrics()
    assert project.run("check").stdout == ""
    project.configure(notifications={"repeat_after": "24h"})
    project.run("pause", "--reason", "vacation")
    project.metrics()
    assert project.run("check").stdout == ""
