"""The objects of --json, as `retrain guide json` shows them."""

import json
from pathlib import Path
from typing import Any

import retrain
from tests.documents import blocks, section
from tests.stories.project import Project

GUIDE = (Path(retrain.__file__).parent / "guide/json.md").read_text()


def shown(title: str) -> list[dict[str, Any]]:
    """The objects of this section of the guide."""
    return [json.loads(block) for block in blocks(section(GUIDE, title), "json")]


def keys(found: dict[str, Any]) -> set[str]:
    """The keys of an object of a project; each has its name besides what the guide shows."""
    assert found["name"]
    return {*found} - {"name"}


def test_each_object_has_the_keys_that_the_guide_shows(project: Project) -> None:
    """Of the commands that act, and of those that only look."""
    project.serve(project.models.weak)
    project.metrics(f1=0.5)
    checked = project.json("check")
    assert keys(checked) == shown("check")[0].keys()
    assert checked["run"].keys() == shown("check")[0]["run"].keys()
    promoted, (example,) = project.json("promote"), shown("promote")
    assert keys(promoted) == example.keys()
    compared = json.loads(project.run("history", "--kind", "judged", "--json").stdout)
    fields = list(example)
    of_both = {*fields} - {"promoted", "forced"}
    assert of_both <= keys(compared)
    assert {name: compared[name] for name in of_both - {"message"}} == {
        name: promoted[name] for name in of_both - {"message"}
    }
    assert keys(project.json("rollback")) == shown("rollback")[0].keys()
    assert keys(project.json("prune")) == shown("prune")[0].keys()
    status, (example,) = project.json("status"), shown("status")
    assert keys(status) == example.keys()
    assert status["events"][0].keys() == example["events"][0].keys()
    assert status["last_check"].keys() == example["last_check"].keys()
    doctor, repair = shown("doctor")
    found = project.json("doctor")
    assert keys(found) == doctor.keys()
    assert found["findings"][0].keys() == doctor["findings"][0].keys()
    assert keys(project.json("doctor", "--repair")) == repair.keys()
    check, show, init = shown("config and init")
    assert project.json("config", "check").keys() == check.keys()
    assert keys(project.json("config", "show")) == show.keys()
    assert project.json("init").keys() == init.keys()
    paused, resumed = shown("pause and resume")
    assert keys(project.json("pause", "--reason", "x")) == paused.keys()
    assert keys(project.json("resume")) == resumed.keys()
    (replayed,) = shown("backtest")
    found = project.json("backtest", "state/journal.db")
    assert keys(found) == replayed.keys()
    assert found["rules"][0].keys() == replayed["rules"][0].keys()
    assert project.json("promote", "nosuch.joblib").keys() == {"error", "exit_code"}
