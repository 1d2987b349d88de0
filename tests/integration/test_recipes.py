"""The recipes for other systems, each run by the program that it is for."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrain.recipes import FORMS
from tests.effects.servers import page, serving
from tests.integration.conftest import environment
from tests.integration.containers import base, docker
from tests.integration.test_wheel import wheel
from tests.stories.project import Models, Project, until
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


# ---------------------------------------------------------------- Docker

SLOW = "while test -e data/slow; do touch data/started; trap 'touch data/ended; exit 1' TERM; sleep 0.05; done"


class Image:
    """The image of a project, built as the recipe says, and the command by which the recipe runs it."""

    def __init__(self, project: Project, directory: Path) -> None:
        self._project, self.program = project, docker(directory)
        text = printed(project, "docker")
        base(self.program, re.findall("^FROM (.+)$", text, re.M)[0])
        copies = 'COPY Makefile rules.py trained.joblib ./\nCOPY --chown=10001:10001 ["data/holdout.csv", "data/"]'
        (project.root / "Dockerfile").write_text(text.replace("COPY Makefile ./", copies))
        libraries = ("scikit-learn", "numpy", "pandas", "pyarrow", "scipy", "joblib")
        (project.root / "requirements.txt").write_text("".join(f"{each}=={version(each)}\n" for each in libraries))
        wheel(project.root / "wheels")
        commands = re.sub(r" \\\n# +", " ", text)
        self._build, self._run = (
            shlex.split(re.findall(f"^# +docker ({verb} .*)$", commands, re.M)[0]) for verb in ("build", "run")
        )
        self._call(*self._build)
        for volume in (each.partition(":")[0] for each in self._run if each.startswith("retrain-") and ":" in each):
            self._call("volume", "rm", "--force", volume)

    def _call(self, *words: str) -> None:
        done = subprocess.run(
            [self.program, *words], cwd=self._project.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-4000:])

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        """What runs `retrain` with these words in a container; `options` are more of Docker's."""
        return [str(self.program), "run", *options, *self._run[1:-1], *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What comes of that."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=False)

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """What comes of a shell in place of `retrain`."""
        command = self.command("-c", script, options=("--entrypoint", "sh"))
        return subprocess.run(command, capture_output=True, text=True, check=False)


def test_docker_builds_the_image_and_runs_it_without_rights(project: Project, tmp_path: Path) -> None:
    """It trains, promotes, and knows what it does not know; another user, a read-only root, SIGTERM as process 1."""
    project.train(SLOW, 'cp trained.joblib "$$RETRAIN_CHALLENGER"')
    project.link(project.models.strong, "trained.joblib")
    said: dict[str, Any] = {"f1": 0.7, "drift": 0.1, "at": time.time()}
    with serving(lambda _: page(json.dumps(said))) as url:
        project.configure(monitoring={"url": url})
        image = Image(project, tmp_path)
        seen = image.shell("id -u; touch /x /srv/x ./x models/x state/x /tmp/x; grep Cap /proc/self/status")
        assert seen.stdout.startswith("10001\n"), seen
        assert re.findall(r"'(.+)'.*Read-only file system", seen.stderr) == ["/x", "/srv/x", "./x"], seen
        assert set(re.findall("Cap.*:\t(.*)", seen.stdout)) == {"0" * 16}

        first = image.run("check", "--force", "--reason", "first model")
        assert (first.returncode, "waits (retrain promote)" in first.stdout) == (0, True), first
        promoted = image.run("promote", "--if-pending")
        assert (promoted.returncode, promoted.stdout.startswith("promoted ")) == (0, True), promoted
        said["f1"] = "?"
        assert image.run("check").returncode == 4

        assert image.shell("touch data/slow").returncode == 0
        command = image.command("check", "--force", "--reason", "slow", options=("--name", "retrain-test"))
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as training:
            until(lambda: image.shell("test -e data/started").returncode == 0)
            subprocess.run([image.program, "stop", "retrain-test"], check=True, capture_output=True)
            _, complaint = training.communicate(timeout=60)
        assert (training.returncode, "SIGTERM" in complaint) == (143, True), complaint
        assert image.shell("test -e data/ended").returncode == 0
        assert "retrain was sent signal 15" in image.run("status").stdout
