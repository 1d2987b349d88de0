"""`monitoring.type: command`: what cron sees of a command that prints the metrics."""

import json
from pathlib import Path

import pytest

from tests.stories import rules
from tests.stories.project import Project


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
