"""The recipes for other systems, each run by the program that it is for."""

import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrain.recipes import FORMS
from tests.integration.conftest import environment
from tests.stories.project import Models, Project
from tests.stories.test_recipes import HOSTILE, printed

pytestmark = pytest.mark.own_process


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Project:
    """A project with a name that every language reads otherwise; its training copies `trained.joblib`."""
    (tmp_path / HOSTILE).mkdir()
    project = Project(tmp_path / HOSTILE, models)
    project.train('cp trained.joblib "$$RETRAIN_CHALLENGER"')
    project.configure(triggers={"cooldown": "0s"})
    return project


# ---------------------------------------------------------------- Airflow

RUNS = """
import sys
from airflow.__main__ import main
for line in sys.stdin:  # in one process, which takes long to start
    sys.argv[1:] = ["dags", "test", line.strip()]
    try:
        main()
    except SystemExit:
        pass
    print("ended", flush=True)
"""


def runs(dag: str, home: Path) -> Iterator[tuple[dict[str, str], str]]:
    """The state of each task after one more `airflow dags test`, and what that printed."""
    python, seen = environment("apache-airflow==3.*") / "python", set[str]()
    world = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    subprocess.run([python.with_name("airflow"), "db", "migrate"], env=world, check=True, capture_output=True)
    with subprocess.Popen(
        [python, "-c", RUNS],
        env=world,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while True:
            process.stdin.write(f"{dag}\n")
            process.stdin.flush()
            said = ""
            for line in process.stdout:
                said += line
                if line == "ended\n":
                    break
            with closing(sqlite3.connect(home / "airflow.db")) as database:
                found = database.execute("SELECT run_id, task_id, state FROM task_instance").fetchall()
            states = {task: state for run, task, state in found if run not in seen}
            seen |= {run for run, _, _ in found}
            yield states, said


def test_airflow_checks_promotes_and_reloads(project: Project, tmp_path: Path) -> None:
    """What is promoted is reloaded, a rejected challenger skips that, and unknown metrics fail the run."""
    (tmp_path / "airflow/dags").mkdir(parents=True)
    (tmp_path / "airflow/dags/retrain.py").write_text(printed(project, "airflow"))
    run = runs("retrain-" + FORMS["file"](HOSTILE), tmp_path / "airflow")
    project.serve(project.models.fair)
    project.link(project.models.strong, "trained.joblib")
    project.metrics(f1=0.7)
    states, said = next(run)
    assert states == {"check": "success", "promote": "success", "reload": "success"}, said
    assert "reload the service: promoted " in said
    states, said = next(run)
    assert states == {"check": "success", "promote": "success", "reload": "skipped"}, said
    project.link(project.models.weak, "trained.joblib")
    project.metrics(f1=0.7)
    states, said = next(run)
    assert states == {"check": "success", "promote": "skipped", "reload": "skipped"}, said
    project.metrics(f1=None)
    states, said = next(run)
    assert states == {"check": "failed", "promote": "upstream_failed", "reload": "upstream_failed"}, said


# ---------------------------------------------------------------- Kubernetes


def test_kubernetes_takes_each_object(project: Project, tmp_path: Path) -> None:
    """By its own schemas, of which no unknown key is part; every pod has the rights of none, and the same volume."""
    items = yaml.safe_load(printed(project, "kubernetes"))["items"]
    files = [tmp_path / f"{each['kind']}-{each['metadata']['name']}.json" for each in items]
    for file, each in zip(files, items, strict=True):
        file.write_text(json.dumps(each))
    program = environment("kubernetes-validate==1.*") / "kubernetes-validate"
    done = subprocess.run([program, "--strict", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.count(" passed for resource ")) == (0, len(items)), done
    names = [each["metadata"]["name"] for each in items]
    assert all(re.fullmatch(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?", name) for name in names), names
    pods = [pod for each in items if (pod := pod_of(each["spec"])) is not None]
    assert [pod["containers"][0]["args"][0] for pod in pods] == ["check", "promote", "prune", "monitor"]
    for pod in pods:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [each["mountPath"] for each in container["volumeMounts"]] == [
            *(f"/srv/{FORMS['dns'](HOSTILE)}/{name}" for name in ("state", "models", "data")),
            "/tmp",
        ]
        assert pod["terminationGracePeriodSeconds"] == 60  # training.grace is 30s


def pod_of(spec: dict[str, Any]) -> dict[str, Any] | None:
    """What an object says of its pods; None where it has none."""
    found: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return found.get("spec")
