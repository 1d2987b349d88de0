"""`retrain init`: a first configuration, and the steps after it."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from retrain.config import load
from retrain.config.schema import HoldoutKind
from tests.effects.servers import Request, page, serving
from tests.stories.project import run_here


def init(*words: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    return run_here(directory, ["init", *words], os.environ)


def prometheus(*names: str) -> Callable[[Request], list[bytes]]:
    """A server that knows series of these names, and no other path."""

    def respond(request: Request) -> list[bytes]:
        if request.path != "/api/v1/label/__name__/values":
            return page("no such path", "404 Not Found")
        return page(json.dumps({"status": "success", "data": names}))

    return respond


def test_a_log_becomes_a_configuration_that_knows_its_columns(tmp_path: Path) -> None:
    """The usual names are recognised, and the file loads as it is."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/log.csv").write_text("ts,age,pred,target,prob\n1,2,1,1,0.5\n")
    done = init("--monitor", "data/log.csv", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    config, _ = load(tmp_path / "config.yaml", {})
    monitor = config.monitor
    assert (monitor.timestamp, monitor.prediction, monitor.label, monitor.score) == ("ts", "pred", "target", "prob")
    assert monitor.log == tmp_path / "data/log.csv"
    assert config.promotion.holdout is HoldoutKind.FRESH
    assert config.promotion.target == "target"
    assert "log: data/log.csv" in (tmp_path / "config.yaml").read_text()


def test_a_column_that_is_not_known_is_named(tmp_path: Path) -> None:
    """The user is asked for what no name shows."""
    (tmp_path / "log.csv").write_text("timestamp,a,b\n1,2,1\n")
    done = init("--monitor", "log.csv", directory=tmp_path)
    assert "no column is known as monitor.prediction: set it" in done.stdout
    assert "monitor.timestamp" not in done.stdout


def test_nothing_that_exists_is_changed(tmp_path: Path) -> None:
    """Neither the configuration nor a Makefile; the steps are shown again."""
    (tmp_path / "config.yaml").write_text("mine")
    (tmp_path / "Makefile").write_text("train-model:\n\ttrue\n")
    done = init(directory=tmp_path)
    assert (done.returncode, (tmp_path / "config.yaml").read_text()) == (0, "mine")
    assert "config.yaml exists, and stays as it is" in done.stdout
    assert "add to the Makefile" not in done.stdout
    assert sorted(each.name for each in tmp_path.iterdir()) == ["Makefile", "config.yaml"]


def test_the_steps_are_commands_that_exist(tmp_path: Path) -> None:
    """Each line can be copied: the files are named where the directory is another one."""
    done = init("churn model", directory=tmp_path)
    steps = [line for line in done.stdout.splitlines() if line.startswith("retrain ")]
    assert steps[2] == "retrain promote -c 'churn model/config.yaml'"
    assert [line.split()[1] for line in steps] == ["monitor", "check", "promote", "check"]
    assert "`retrain doctor -c 'churn model/config.yaml'` tests the set-up" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("*/5")]
    command = line.removeprefix("*/5 * * * * ").replace(r"\%", "%")
    shell = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, cwd="/", check=False, timeout=60)
    assert shell.returncode == 4, "it finds its configuration, and no monitor"
    assert load(tmp_path / "churn model/config.yaml", {})


@pytest.mark.parametrize(
    ("names", "flags", "chosen"),
    [
        (["up", "fraud_f1", "fraud_psi"], (), ("fraud_f1", "fraud_psi")),
        (["a_f1", "b_f1", "x_drift"], ("--f1", 'max(a_f1{model="x"})'), ('max(a_f1{model="x"})', "x_drift")),
        (["model_f1_score"], (), ("model_f1_score", None)),
    ],
)
def test_series_of_a_prometheus_are_found(
    tmp_path: Path, names: list[str], flags: tuple[str, ...], chosen: tuple[str, str | None]
) -> None:
    """The only one of a likely name is taken, or the query that is given."""
    with serving(prometheus(*names)) as url:
        done = init("--from-prometheus", url, *flags, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    config, _ = load(tmp_path / "config.yaml", {})
    assert config.monitoring is not None
    assert (config.monitoring.url, config.monitoring.type) == (url, "prometheus")
    assert (config.monitoring.f1, config.monitoring.drift) == chosen
    assert (config.triggers.drift_threshold is None) == (chosen[1] is None)


def test_candidates_are_listed_where_there_are_several(tmp_path: Path) -> None:
    """Nothing is guessed, and nothing is written."""
    with serving(prometheus("a_f1", "b_f1", "up")) as url:
        done = init("--from-prometheus", url, directory=tmp_path)
    assert done.returncode == 1
    assert "Candidates: f1: a_f1, b_f1; drift: none" in done.stderr
    assert "--f1 QUERY" in done.stderr
    assert not (tmp_path / "config.yaml").exists()


def test_a_server_that_does_not_answer_is_exit_code_4(tmp_path: Path) -> None:
    """As wherever metrics cannot be read."""
    done = init("--from-prometheus", "http://127.0.0.1:1", directory=tmp_path)
    assert done.returncode == 4
    assert re.search("cannot be reached", done.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *((flag, value) for flag in ("--performance-threshold", "--drift-threshold") for value in ("nan", "-1", "inf")),
        ("--performance-threshold", "0"),
    ],
)
def test_a_threshold_is_a_number_that_the_configuration_takes(tmp_path: Path, flag: str, value: str) -> None:
    """Another one is exit code 2, and no file is written that every command would refuse."""
    assert init(flag, value, directory=tmp_path).returncode == 2
    assert not (tmp_path / "config.yaml").exists()


def test_queries_without_a_server_are_refused(tmp_path: Path) -> None:
    """They would be left out without a word."""
    done = init("--f1", "my_f1", directory=tmp_path)
    assert (done.returncode, "--from-prometheus" in done.stderr) == (2, True)
    assert not (tmp_path / "config.yaml").exists()
