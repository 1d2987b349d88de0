"""`retrain config`: the file tested offline, shown as it is in force, described for editors."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrain.config import load
from retrain.setup.command import as_yaml, keys, schema
from tests.documents import ROOT
from tests.stories.project import run_here

SAMPLE = ROOT / "config.yaml"
SMALLEST = "triggers: {performance_threshold: 0.8}\nmonitoring: {url: 'http://localhost/m', f1: f1_score}\n"


def config(*words: str, directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return run_here(directory, ["config", *words], {**os.environ, **environment})


def test_a_valid_file_is_said_to_be_valid_without_its_secrets(tmp_path: Path) -> None:
    """A pre-commit hook has neither a network nor the environment of production, and leaves nothing behind."""
    (tmp_path / "config.yaml").write_text(
        "triggers: {performance_threshold: 0.8}\n"
        "monitoring: {url: '${MONITOR}/metrics', f1: f1_score, headers: {Authorization: 'Bearer ${TOKEN}'}}\n"
        "notifications: {heartbeat: 'https://${PING_HOST}/x'}\n"
    )
    done = config("check", directory=tmp_path)
    assert (done.returncode, done.stdout) == (0, "config.yaml is valid; not set here: MONITOR, PING_HOST, TOKEN\n")
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]
    assert json.loads(config("check", "--json", directory=tmp_path).stdout)["unset"] == [
        "MONITOR",
        "PING_HOST",
        "TOKEN",
    ]


def test_a_key_without_effect_is_named(tmp_path: Path) -> None:
    """It is valid, for a file of before must go on working, and it is said that it does nothing."""
    (tmp_path / "config.yaml").write_text(f"{SMALLEST}promotion: {{jobs: 2}}\n")
    done = config("check", directory=tmp_path)
    assert (done.returncode, done.stdout) == (0, "config.yaml is valid; without effect, so delete: promotion.jobs\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("triggers: {performance_threshold: 2}", "performance_threshold: 2 is not a number from 0 to 1"),
        ("triggers: {performance_threshold: 0.8}", "monitoring.url: is required"),
        (f"{SMALLEST}state: ''\n", "config.yaml:3: state: is empty"),
        (f"{SMALLEST}sate: x\n", "did you mean state?"),
        ("triggers: {performance_threshold: 0.8}\nmonitoring: {url: '${A}', f1: f, retries: -1}", "retries"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_2(tmp_path: Path, text: str, problem: str) -> None:
    """All that `check` would refuse, and nothing that is only not set here."""
    (tmp_path / "config.yaml").write_text(text)
    done = config("check", directory=tmp_path)
    assert done.returncode == 2
    assert problem in done.stderr
    assert "environment variable" not in done.stderr


@pytest.mark.parametrize("text", [SAMPLE.read_text(), SMALLEST, f"{SMALLEST}promotion: {{after: 'sh -c \"a; b\"'}}\n"])
def test_what_is_shown_means_the_same(tmp_path: Path, text: str) -> None:
    """Every key that is in force is there, and the output could be the file."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    before, _ = load(file, {})
    shown = as_yaml(keys(before, tmp_path))
    file.write_text(shown)
    assert load(file, {})[0] == before
    assert as_yaml(keys(before, tmp_path)) == shown


def test_defaults_are_marked_and_others_are_not(tmp_path: Path) -> None:
    """A reader sees what the file decides."""
    (tmp_path / "config.yaml").write_text(f"{SMALLEST}training: {{timeout: 2h}}\n")
    lines = config("show", directory=tmp_path).stdout.splitlines()
    assert "  timeout: 2h" in lines
    marked = {line.split("#")[0].rstrip() for line in lines if line.endswith("# default")}
    assert {"  cooldown: 6h", "  settle: 24h", "  command: make train-model", "  max_body: 5MiB"} <= marked


def test_secrets_are_masked(tmp_path: Path) -> None:
    """Neither the text nor the JSON has a token."""
    (tmp_path / "config.yaml").write_text(
        "triggers: {performance_threshold: 0.8}\n"
        "monitoring: {url: 'http://me:hunter2hunter2@host/m', f1: f, headers: {Authorization: 'Bearer ${TOKEN}'}}\n"
    )
    for flags in ((), ("--json",)):
        done = config("show", *flags, directory=tmp_path, TOKEN="tok3n-of-m0nitoring")  # noqa: S106
        assert done.returncode == 0
        assert "***" in done.stdout
        assert "hunter2" not in done.stdout
        assert "tok3n" not in done.stdout


def properties(section: dict[str, Any]) -> dict[str, Any]:
    """The keys of a section, which may be one of several things that are accepted."""
    for each in (section, *section.get("anyOf", ())):
        if "properties" in each:
            return dict(each["properties"])
    return {}


def test_the_schema_has_every_key_of_the_sample_with_its_default() -> None:
    """An editor that goes by the schema knows what the program knows."""

    def compare(values: dict[str, Any], known: dict[str, Any], below: str = "") -> None:
        for name, value in values.items():
            assert name in known, f"{below}{name}"
            if inner := properties(known[name]):
                compare(value if isinstance(value, dict) else {}, inner, f"{below}{name}.")

    compare(yaml.safe_load(SAMPLE.read_text()), properties(schema()))
    assert properties(properties(schema())["triggers"])["cooldown"]["default"] == "6h"


def test_the_schema_in_the_repository_is_current() -> None:
    """The sample names it for editors; `retrain config schema` prints it."""
    file = ROOT / ".config.schema.json"
    assert f"yaml-language-server: $schema={file.name}" in SAMPLE.read_text().partition("\n")[0]
    assert json.loads(file.read_text()) == json.loads(config("schema", directory=ROOT).stdout) == schema()
