"""Who did what, and when: the actor of each event, `retrain history`, `retrain versions`."""

import json
import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retrain.check import Options as CheckOptions
from retrain.check import check
from retrain.config import load
from retrain.context import Context
from retrain.core import events
from retrain.core.events import Actor, Entry
from retrain.core.verdicts import Ruling, Verdict
from retrain.effects import lock, registry
from retrain.effects.journal import open_journal
from retrain.history import Options, history
from retrain.status import prune
from retrain.swap import journal_of, rollback, swap
from tests.stories.project import RETRAIN, Project, on_a_terminal

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


# ---------------------------------------------------------------- retrain history


def lines(project: Project, *words: str) -> list[dict[str, Any]]:
    """What `retrain ... --json` prints: an object a line."""
    done = project.run(*words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_history_has_every_event_with_every_field(project: Project) -> None:
    """A line each, oldest first; what a program reads has actor, run, digests, scores, bounds and reason."""
    project.environment |= {"SUDO_USER": "alice"}
    project.serve(project.models.weak)
    project.metrics(f1=0.8)
    project.run("check")
    project.run("promote")
    project.run("rollback", "--reason", "false\x1b[31m alarms")
    shown = project.run("history").stdout
    assert len(shown.splitlines()) == 6
    assert shown.splitlines()[-1].endswith(": false alarms; by alice on " + HOST)
    found = lines(project, "history")
    kinds = ["adopted", "training_started", "trained", "judged", "promoted", "rolled_back"]
    assert [each["kind"] for each in found] == kinds
    _, started, finished, judged, promoted, rolled_back = found
    assert started["run"] == finished["run"]
    assert finished["challenger"] == judged["challenger"]["version"] == promoted["version"] == rolled_back["previous"]
    assert judged["verdict"] == "promote"
    assert len(judged["interval"]) == 2
    assert judged["challenger"]["score"] > judged["champion"]["score"]
    assert promoted["by"] == {"who": "alice", "host": HOST, "ci": ""}
    assert promoted["reason"]
    assert [each["kind"] for each in lines(project, "history", "--kind", "trained, promoted", "--kind", "checked")] == [
        "checked",
        "trained",
        "promoted",
    ]


def test_the_history_of_a_span(project: Project) -> None:
    """From `--since` on and before `--until`, in UTC where a time names no zone; a wrong time is exit code 2."""
    project.serve(project.models.weak)
    project.run("check")
    (adopted,) = lines(project, "history")
    at = datetime.fromisoformat(adopted["at"])
    soon, naive = (at + timedelta(seconds=1)).isoformat(), f"{at:%Y-%m-%d}"
    assert lines(project, "history", "--since", naive, "--until", soon) == [adopted]
    assert lines(project, "history", "--since", soon) == []
    assert lines(project, "history", "--until", naive) == []
    assert project.run("history", "--until", naive).stdout == "nothing happened in that time\n"
    for words in (["--since", "tuesday"], ["--at", "2026", "--metrics"], ["--kind", "swapped"]):
        assert project.run("history", *words).returncode == 2, words
    assert project.run("history", "--at", "2999-01-01").returncode == 2


def test_the_champion_of_a_moment_and_why(project: Project) -> None:
    """The version, since when, by whom, and the comparison; before the first one nothing is known."""
    project.serve(project.models.weak)
    project.metrics(f1=0.8)
    project.run("check")
    before = datetime.now(UTC).isoformat()
    project.run("promote", SUDO_USER="alice")
    old, new = project.json("history", "--at", before), project.json("history", "--at", datetime.now(UTC).isoformat())
    assert (old["event"]["kind"], new["event"]["kind"]) == ("adopted", "promoted")
    assert old["champion"]["version"] == new["event"]["previous"]
    assert old["champion"]["until"] == new["champion"]["since"]
    assert new["champion"] == {"version": new["event"]["version"], "since": new["event"]["at"], "until": None}
    assert new["comparison"]["verdict"] == "promote"
    assert f"; by alice on {HOST}" in new["message"]
    none = project.json("history", "--at", "2020-01-01")
    assert (none["champion"], none["event"], none["comparison"]) == (None, None, None)


def test_the_metrics_of_each_window(project: Project) -> None:
    """A CSV that `retrain backtest` reads, an object a line, and each window once."""
    project.serve(project.models.weak)
    project.run("check")
    project.run("check")
    project.metrics(f1=0.87, drift=None)
    project.run("check")
    first, second = lines(project, "history", "--metrics")
    assert (first["f1"], first["drift"], second["f1"], second["drift"]) == (0.9, 0.1, 0.87, None)
    (project.root / "metrics.csv").write_text(project.run("history", "--metrics").stdout)
    assert project.run("backtest", "metrics.csv").returncode == 0
    code, shown = on_a_terminal([RETRAIN, "history", "--metrics"], project.root, project.environment)
    assert code == 0
    assert [len(line) <= 80 for line in shown.splitlines()] == [True] * 3
    assert " 0.870 " in shown


# ---------------------------------------------------------------- retrain versions


def test_every_kept_version_with_its_training_its_verdict_and_its_notes(project: Project) -> None:
    """Made when, by which run and why, judged how, served from when to when, what its training noted."""
    project.serve(project.models.weak)
    project.train(
        f"cp {project.models.strong} $(RETRAIN_CHALLENGER)",
        """echo '{"commit": "abc123", "scores": {"f1": 0.9}}' > $(RETRAIN_NOTES)""",
    )
    project.run("check", "--force", "--reason", "new labels")
    project.run("promote")
    first, new = sorted(lines(project, "versions"), key=lambda each: each["run"] is not None)
    assert first["served"][0]["until"] == new["served"][0]["since"]
    assert (first["notes"], new["notes"]) == (None, {"commit": "abc123", "scores": {"f1": 0.9}})
    assert new["training"]["message"] == "forced: new labels"
    assert new["training"]["by"]["host"] == HOST
    assert new["comparison"]["verdict"] == "promote"
    shown = project.run("versions").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert f"{new['version'][:12]}  made " in shown
    assert 'notes: {"commit": "abc123", "scores": {"f1": 0.9}}' in shown
    # The next training that notes nothing has no notes of this one.
    project.train(f"cp {project.models.fair} $(RETRAIN_CHALLENGER)")
    project.run("check", "--force", "--reason", "again")
    assert sum(each["notes"] is not None for each in lines(project, "versions")) == 1


@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ("echo '[1, 2]' > $(RETRAIN_NOTES)", "is not a JSON object"),
        ("printf '\\377\\033[31m' > $(RETRAIN_NOTES)", "is not a JSON object"),
        ("head -c 20000 /dev/zero | tr '\\0' ' ' > $(RETRAIN_NOTES)", "is longer than 16 KiB"),
        ("mkfifo $(RETRAIN_NOTES)", "not a regular file"),
    ],
)
def test_notes_that_cannot_be_kept_are_named_and_harm_nothing(project: Project, recipe: str, why: str) -> None:
    """The challenger waits all the same."""
    project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER)", "rm -f $(RETRAIN_NOTES)", recipe)
    done = project.run("check", "--force", "--reason", "test")
    assert done.returncode == 0, done
    assert " (its notes are not kept: " in done.stdout
    assert why in done.stdout
    assert lines(project, "versions")[0]["notes"] is None


# ---------------------------------------------------------------- a year, pruned


def test_after_a_year_and_a_prune_the_champion_of_every_single_day_is_known(project: Project) -> None:
    """365 daily checks, twelve promotions, three rollbacks and a link moved by hand; the clock is an argument."""
    start = datetime(2025, 11, 1, 6, tzinfo=UTC)
    today = [start]
    config, secrets = load(project.root / "config.yaml", {})
    context = Context(config, secrets, os.environ, lambda: today[0])
    models, truth, made = config.models, {}, []
    project.serve(project.models.fair)
    for day in range(365):
        today[0] = start + timedelta(days=day)
        project.metrics(at=today[0].timestamp())
        check(context, CheckOptions())
        if day % 30 == 15:
            project.link(project.models.fair, "models/challenger.joblib")
            with (project.root / "models/challenger.joblib").open("ab") as file:
                file.write(f"of day {day}".encode())  # other bytes, the same model
            made.append(registry.admit(models, models.challenger))
            promoted(context, made[-1])
        elif day in (60, 150, 240):
            rollback(context, None, "alarms")
        elif day == 300:
            registry.point(models, made[-2])  # by hand, which the next check finds
        truth[today[0] + timedelta(hours=23)] = (models.champion.resolve().stem, day)
    assert len(made) == 12
    today[0] += timedelta(days=1)
    assert prune(context, timedelta(days=30)).data["events"] > 300
    for at, (version, day) in truth.items():
        if day == 300:
            continue  # the hours until a check found it
        said = history(context, Options(at=at)).data
        assert said["champion"]["version"] == version, day
        kinds = {"adopted"} if day < 15 else {"promoted", "rolled_back", "checked"}
        assert said["event"]["kind"] in kinds
        assert said["event"]["kind"] != "promoted" or said["comparison"]["verdict"] == "promote"
    whole = history(context, Options()).lines or ()
    assert [each["kind"] for each in whole].count("promoted") == 12


def promoted(context: Context, version: str) -> None:
    """Put this version in service, as a promotion does once the verdict is in."""
    now, champion = context.clock(), context.config.models.champion.resolve().stem
    verdict = Verdict(Ruling.PROMOTE, "f1", 100, 0.9, 0.8, 0.05, 1, difference=0.1, interval=(0.05, 0.15))
    with (
        journal_of(context) as journal,
        lock.hold(context.config.state, "promote", now, wait=timedelta()) as descriptor,
    ):
        journal.append(events.Judged(version, champion, "h", "q", "f", verdict), now)
        intent = events.SwapStarted(events.Swap.PROMOTION, version, champion, "better", by=context.actor)
        swap(context, journal, intent, descriptor, now)


def test_a_line_in_a_mail_begins_with_the_configured_name(project: Project) -> None:
    """cron mails lines of several projects to one person; on a terminal it is known which one that is."""
    project.settings["name"] = "churn"
    project.configure()
    assert project.run("pause", "--reason", "late labels").stdout.startswith("churn: paused since ")
    assert project.run("rollback").stderr.startswith("retrain: churn: ")
    assert project.run("status").stdout.startswith("UNKNOWN")
