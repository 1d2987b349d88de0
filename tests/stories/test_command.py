"""`monitoring.type: command`: what cron sees of a command that prints the metrics."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import real
from tests.effects.servers import Request, page, serving
from tests.effects.test_process import runs
from tests.stories import rules
from tests.stories.project import Project, end, followed, until


@pytest.fixture
def asking(project: Project) -> Project:
    """A project whose metrics a script in another directory prints: those that its test writes into `metrics.json`."""
    (project.root / "work").mkdir()
    (project.root / "Makefile").rename(project.root / "work/Makefile")
    project.link(Path(rules.__file__), "work/rules.py")
    script = project.root / "work/metrics.sh"
    script.write_text("#!/bin/sh\necho asked >&2\ncat ../metrics.json\n")
    script.chmod(0o755)
    del project.settings["monitoring"]["url"]
    project.configure(monitoring={"type": "command", "command": "./metrics.sh"}, training={"directory": "work"})
    project.serve(project.models.weak)
    return project


@pytest.mark.own_process
def test_check_decides_on_what_a_command_prints(asking: Project) -> None:
    """It runs in training.directory; healthy is silent, a breach trains, and a failure is unknown."""
    assert asking.run("check").returncode == 0
    asking.metrics(f1=0.5)
    done = asking.run("check", "--dry-run", "-v")
    assert done.stdout == "training: F1 0.500 is below 0.850\n"
    assert done.stderr.startswith("f1: breach, 0.500, threshold 0.850")
    assert asking.json("check")["run"]["outcome"] == "succeeded"
    (asking.root / "work/metrics.sh").write_text("#!/bin/sh\necho the database is locked >&2\nexit 5\n")
    done = asking.run("check")
    assert (done.returncode, done.stdout) == (4, "")
    assert "the command ./metrics.sh exited 5: the database is locked" in done.stderr


@pytest.mark.own_process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_check_that_is_stopped_leaves_no_command_behind(asking: Project, number: int) -> None:
    """The whole process group of the command ends, and the check dies of the signal."""
    (asking.root / "work/metrics.sh").write_text("#!/bin/sh\nsleep 300 & echo $! > ../child\nwait\n")
    asking.configure(monitoring={"timeout": "5m"})
    started, child = asking.start("check"), asking.root / "child"
    until(lambda: child.exists() and child.read_text().endswith("\n"))
    code, out, _ = end(started, number)
    assert (code, out) == (128 + number, "") or code == -number
    assert not runs(child.read_text().strip())


def test_doctor_runs_the_command_and_says_what_it_gave(asking: Project) -> None:
    """It has no clock to compare with."""
    said = asking.run("doctor", "-v").stdout
    assert "the command ./metrics.sh answers" in said
    assert "agree on the time" not in said
    (asking.root / "work/metrics.sh").unlink()
    said = asking.run("doctor", "-v").stdout
    assert "the command ./metrics.sh could not be started: No such file or directory" in said


def test_a_command_keeps_no_history(asking: Project) -> None:
    """`backtest` of a span of time asks a Prometheus."""
    done = asking.run("backtest", "7d")
    assert "the command ./metrics.sh keeps no history (monitoring.type: command)" in done.stderr


def test_the_configuration_is_shown_with_the_command(asking: Project) -> None:
    """As it can be copied."""
    keys = asking.json("config", "show")["keys"]
    assert keys["monitoring.command"] == {"value": "./metrics.sh", "default": False}
    assert json.loads(keys["monitoring.url"]["value"]) is None


# ---------------------------------------------------------------- the recipe for databases, and what its notes say

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


def days(wrong: int) -> Iterator[tuple[str, int, int | None]]:
    """Predictions at noon, of which one of yesterday has no label, and `wrong` of the day before are wrong."""
    for ago, errors in ((0, 0), (1, 0), (2, wrong), (3, 0)):
        at = (NOON - timedelta(days=ago)).isoformat()
        for number in range(40):
            label = number % 2 if number >= errors else 1 - number % 2
            yield at, number % 2, label if (ago, number) != (1, 7) else None


def test_the_recipe_for_sql_measures_f1_of_the_newest_day_with_all_labels(project: Project) -> None:
    """As its first lines say: two keys of the configuration, one file."""
    real("sqlite3")
    followed(project, "sql", "metrics.sh")
    with sqlite3.connect(project.root / "predictions.db") as database:
        database.execute("CREATE TABLE predictions (at TEXT, prediction INTEGER, label INTEGER)")
        database.executemany("INSERT INTO predictions VALUES (?, ?, ?)", days(wrong=0))
    project.serve(project.models.weak)
    said = project.json("check", "--dry-run")
    assert (said["reason"], said["metrics"]["f1"], said["metrics"]["samples"]) == ("healthy", 1.0, 40)
    assert said["metrics"]["observed_at"] == (NOON - timedelta(days=2)).isoformat().replace("+00:00", "Z")
    with sqlite3.connect(project.root / "predictions.db") as database:
        database.execute("DELETE FROM predictions")
        database.executemany("INSERT INTO predictions VALUES (?, ?, ?)", days(wrong=8))
    said = project.json("check", "--dry-run")
    assert (said["action"], said["metrics"]["f1"]) == ("train", 0.8)
    with sqlite3.connect(project.root / "predictions.db") as database:
        database.execute("UPDATE predictions SET label = NULL")
    assert "the command sh metrics.sh printed nothing" in project.run("check").stderr
    (project.root / "predictions.db").unlink()
    done = project.run("check")
    assert (done.returncode, "unable to open database" in done.stderr) == (4, True)


def test_an_api_that_takes_post_only_is_asked_with_curl(project: Project) -> None:
    """As a note of the recipe says; the token stands in no line of the process table."""
    real("curl")
    (line,) = (line for line in project.run("recipe", "sql").stdout.splitlines() if "command: curl" in line)
    (project.root / "token").write_text("Authorization: Bearer t0ken\n")
    (project.root / "query.json").write_text('{"metric": "f1"}')
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        sound = request.method == "POST" and request.headers.get("authorization") == "Bearer t0ken"
        return page('{"f1": 0.95}') if sound else page("no", "405 Method Not Allowed")

    with serving(respond) as url:
        command = line.partition("command: ")[2].replace("https://example.com/api", url)
        del project.settings["monitoring"]
        project.configure(
            triggers={"drift_threshold": None}, monitoring={"type": "command", "command": command, "f1": "f1"}
        )
        assert project.json("check")["metrics"]["f1"] == 0.95
        assert json.loads(asked[0].body) == {"metric": "f1"}
        (project.root / "token").write_text("Authorization: Bearer old\n")
        assert "exited 22: curl: (22) The requested URL returned error: 405" in project.run("check").stderr
