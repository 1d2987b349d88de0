"""What retrain says of itself to Prometheus: in the textfile after each command, and on the page of its monitor."""

import subprocess
import time
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import real
from tests.effects.servers import child, said
from tests.stories.project import Project


@pytest.fixture
def file(project: Project) -> Path:
    """The textfile of a project with a champion, which no command has written yet."""
    (project.root / "collector").mkdir()
    project.configure(notifications={"textfile": "collector/churn.prom"})
    project.serve(project.models.weak)
    return project.root / "collector/churn.prom"


def samples(text: str) -> dict[str, float]:
    """Every sample by its name and its label besides the project."""
    found = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    named = ((each, [text for label, text in each.labels.items() if label != "project"]) for each in found)
    return {"|".join([each.name, *others]): each.value for each, others in named}


def test_each_command_writes_the_textfile_and_promtool_finds_nothing_wrong(project: Project, file: Path) -> None:
    """A check, a training, a promotion, a rollback: what came of each stands in it at once."""
    assert project.run("check").returncode == 0
    assert samples(file.read_text())["retrain_check_reason|healthy"] == 1
    assert project.run("check", "--force", "--reason", "test").returncode == 0
    said = samples(file.read_text())
    assert (said["retrain_challenger_waiting"], said["retrain_trainings_total|succeeded"]) == (1, 1)
    assert project.run("promote").returncode == 0
    said = samples(file.read_text())
    assert said["retrain_promotions_total|promote"] == 1
    champion = project.json("status")["champion"]["version"]
    assert said[f"retrain_champion_info|{champion}"] == 1
    assert project.run("rollback").returncode == 0
    assert f"retrain_champion_info|{champion}" not in samples(file.read_text())
    linted = subprocess.run(
        [str(real("promtool")), "check", "metrics"], input=file.read_text(), capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout, linted.stderr) == (0, "", "")


def test_node_exporter_serves_the_textfile(project: Project, file: Path) -> None:
    """Every sample as it stands in it."""
    assert project.run("check").returncode == 0
    flags = ["--collector.disable-defaults", "--collector.textfile", "--web.listen-address=127.0.0.1:0"]
    flags += [f"--collector.textfile.directory={file.parent}"]
    with child(real("prometheus-node-exporter"), *flags) as exporter:
        address = said(exporter, r"Listening on.* address=(127\.0\.0\.1:\d+)")
        served = samples(requests.get(f"http://{address}/metrics", timeout=10).text)
    assert {name: value for name, value in served.items() if name.startswith("retrain_")} == samples(file.read_text())


def test_a_check_that_fails_or_is_blind_says_so(project: Project, file: Path) -> None:
    """The reason is shown, and the value that is not known is not."""
    project.metrics(f1=None)
    assert project.run("check").returncode == 4
    said = samples(file.read_text())
    assert said["retrain_check_reason|unknown"] == 1
    assert "retrain_metric_value|f1" not in said
    assert said["retrain_metric_value|drift"] == 0.1
    (project.root / "models/champion.joblib").unlink()
    (project.root / "models/champion.joblib").mkdir()
    assert project.run("check").returncode == 1
    assert samples(file.read_text())["retrain_check_reason|needs_a_person"] == 1


def test_counters_survive_prune(project: Project, file: Path) -> None:
    """Prometheus would see a reset, and count nothing twice; but a total is a total."""
    for _ in range(2):
        project.metrics()
        assert project.run("check", "--force", "--reason", "test").returncode == 0
        project.run("promote", "--reject", "--reason", "test")
    project.metrics()
    project.run("check")
    before = samples(file.read_text())
    assert before["retrain_trainings_total|succeeded"] == 2
    time.sleep(1)
    assert "pruned 2 checks" in project.run("prune", "--older-than", "1s").stdout
    assert samples(file.read_text()) == before


def test_what_only_looks_writes_nothing(project: Project, file: Path) -> None:
    """`status` and a dry run change nothing, also not here."""
    assert project.run("check", "--dry-run").returncode == 0
    assert project.run("status").returncode == 0
    assert not file.exists()


def test_a_textfile_that_cannot_be_written_changes_no_result(project: Project, file: Path) -> None:
    """The check says and does what it does without one; `doctor` says what is wrong."""
    file.parent.rmdir()
    done = project.run("check", "--force", "--reason", "test")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trained in" in done.stdout
    assert project.run("promote").returncode == 0
    assert f"textfile       {file.parent} is missing, or not writable" in project.run("doctor").stdout
    file.parent.mkdir()
    assert f"textfile       {file} can be written" in project.run("doctor", "-v").stdout
