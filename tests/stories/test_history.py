"""Who did what, and when: the actor of each event, `retrain history`, `retrain versions`."""

import os
import pwd
from collections.abc import Iterator

import pytest

from retrain.config import load
from retrain.core import events
from retrain.core.events import Actor, Entry
from retrain.effects.journal import open_journal
from tests.stories.project import Project

LOGIN = pwd.getpwuid(os.getuid()).pw_name
HOST = os.uname().nodename


def entries(project: Project) -> Iterator[Entry]:
    with open_journal(project.root / "state", writable=False) as journal:
        yield from journal.turning_points(1000)


def actors(project: Project, kind: type[events.Event]) -> list[Actor | None]:
    """Whom the events of this kind name, the latest first."""
    return [getattr(entry.event, "by", None) for entry in entries(project) if type(entry.event) is kind]


def test_every_event_of_a_person_names_the_person_and_the_host(project: Project) -> None:
    """A forced training, an adoption, a comparison, a promotion, a rollback, a rejection; cron is nobody."""
    alice = Actor("alice", HOST)
    project.environment |= {"SUDO_USER": "alice"}
    project.serve(project.models.weak)
    project.run("check", "--force", "--reason", "new labels")
    project.run("promote")
    project.run("rollback", "--reason", "as before")
    project.train(f"cp {project.models.fair} $(RETRAIN_CHALLENGER)")
    project.run("check", "--force", "--reason", "once more")
    project.run("promote", "--reject", "--reason", "not this one")
    for kind in (events.TrainingStarted, events.Adopted, events.Judged, events.Promoted, events.RolledBack):
        assert set(actors(project, kind)) == {alice}, kind
    assert actors(project, events.Rejected) == [alice]
    assert "alice" in project.run("status").stdout


def test_what_cron_does_is_nobodys_but_an_adoption(project: Project) -> None:
    """The check trains, and `promote --if-pending` compares and promotes, by themselves."""
    project.serve(project.models.weak)
    project.metrics(f1=0.8)
    project.run("check")
    project.run("promote", "--if-pending")
    for kind in (events.TrainingStarted, events.Judged, events.Promoted):
        assert actors(project, kind) == [None], kind
    assert actors(project, events.Adopted) == [Actor(LOGIN, HOST)]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"USER": "mallory", "LOGNAME": "mallory"}, Actor(LOGIN, HOST)),
        ({"SUDO_USER": ""}, Actor(LOGIN, HOST)),
        ({"SUDO_USER": "alice\x1b[31m\nmallory"}, Actor("alice mallory", HOST)),
        ({"GITHUB_ACTOR": "octocat"}, Actor(LOGIN, HOST, "octocat")),
        ({"GITHUB_ACTOR": "octocat", "GITHUB_TRIGGERING_ACTOR": "hubot"}, Actor(LOGIN, HOST, "hubot")),
        ({"GITLAB_USER_LOGIN": "tanuki", "SUDO_USER": "alice"}, Actor("alice", HOST, "tanuki")),
    ],
)
def test_who_a_person_is(project: Project, environment: dict[str, str], expected: Actor) -> None:
    """Before sudo, else the login name of the system and not of $USER; and for whom a CI service runs the job."""
    project.serve(project.models.weak)
    project.run("rollback", **environment)  # adopts it, and has no champion before to go back to
    assert actors(project, events.Adopted) == [expected]


def test_a_project_is_called_as_its_configuration_or_its_directory_says(project: Project) -> None:
    """Also where the file is named from elsewhere."""
    (project.root / "below").mkdir()
    for file in (project.root / "config.yaml", project.root / "below/../config.yaml"):
        assert load(file, {})[0].name == project.root.name
    project.settings["name"] = "churn"
    project.configure()
    assert load(project.root / "config.yaml", {})[0].name == "churn"
    project.settings["name"] = "two\nlines"
    project.configure()
    assert "name:" in project.run("status").stderr
