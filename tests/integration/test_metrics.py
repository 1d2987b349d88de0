"""The recipes for metrics of others, followed: `retrain check` decides on what the real programs measure."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import real
from tests.effects.servers import child, said
from tests.integration.conftest import environment
from tests.stories.project import Models, Project, followed, make_models, until

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
EVIDENTLY = ("evidently==0.7.*", "pandas<3")
NANNYML = ("nannyml==0.13.*", "statsmodels")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Project:
    """A project of which a weak model serves."""
    project = Project(tmp_path, models)
    project.serve(models.weak)
    project.configure(monitor={"score": "score"})
    return project


def rows(days: int, drifted: float = 0.0, flipped: float = 0.0, per_day: int = 400) -> pd.DataFrame:
    """A log that ends with yesterday: `a` moves by `drifted`, and this share of the labels contradicts it."""
    dice = np.random.default_rng(7)
    count = days * per_day
    a = dice.normal(size=count) + drifted
    score = 1 / (1 + np.exp(-12 * a))
    label = (dice.random(count) < score) != (dice.random(count) < flipped)
    at = MIDNIGHT - timedelta(days=days) + pd.to_timedelta(np.arange(count) * 86400 / per_day, unit="s")
    columns = {"timestamp": at, "prediction": (score > 0.5) * 1, "score": score, "label": label * 1, "a": a}
    return pd.DataFrame({**columns, "b": dice.normal(size=count)})


def logged(project: Project, log: pd.DataFrame) -> None:
    log.to_csv(project.root / "data/predictions.csv", index=False)


def environment_at(project: Project, place: str, requirements: tuple[str, ...]) -> Path:
    """The environment where the recipe has it made; its `bin` directory."""
    found = environment(*requirements)
    (project.root / place).symlink_to(found.parent)
    return found


def test_the_recipe_for_evidently_measures_f1_and_drift(project: Project) -> None:
    """Of the newest day with every label, and the newest day; a window without positives has no F1."""
    environment_at(project, ".evidently", EVIDENTLY)
    followed(project, "evidently", "evidently_metrics.py")
    rows(5).to_csv(project.root / "data/reference.csv", index=False)
    log = rows(2)
    logged(project, log.assign(label=log["label"].where(log["timestamp"] < MIDNIGHT - timedelta(days=1))))
    healthy = project.json("check", "--dry-run")
    assert healthy["reason"] == "healthy", healthy
    assert (healthy["metrics"]["f1"] > 0.85, healthy["metrics"]["drift"] < 0.1) == (True, True)
    assert healthy["metrics"]["samples"] == 400
    assert healthy["metrics"]["observed_at"] == (MIDNIGHT - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    logged(project, rows(2, drifted=1, flipped=0.3))
    breached = project.json("check", "--dry-run")
    assert {each["metric"] for each in breached["breaches"]} == {"f1", "drift"}, breached
    logged(project, log.assign(label=0))
    assert "positive" in project.json("check", "--dry-run")["message"]


MAKE_REPORTS = """
import datetime, sys
import pandas as pd
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.metrics import F1Score, ValueDrift
from evidently.ui.workspace import RemoteWorkspace
workspace = RemoteWorkspace(sys.argv[1])
roles = DataDefinition(classification=[BinaryClassification(target="label", prediction_labels="prediction")])
files = ("data/reference.csv", "good.csv", "bad.csv")
reference, good, bad = (Dataset.from_pandas(pd.read_csv(file), data_definition=roles) for file in files)
report = Report([F1Score(), *(ValueDrift(column=each, method="psi") for each in "ab")])
for windows in ((good, bad), (bad, good)):
    project = workspace.create_project("churn")
    for current, end in zip(windows, sys.argv[2:]):
        workspace.add_run(project.id, report.run(current, reference, timestamp=datetime.datetime.fromisoformat(end)))
    print(project.id)
"""


def test_the_recipe_for_evidently_reads_its_ui_service(project: Project) -> None:
    """The newest report by its own time, in whichever order they came; where the service is gone, nothing is known."""
    binaries = environment_at(project, ".evidently", EVIDENTLY)
    text = followed(project, "evidently", "evidently_metrics.py")
    rows(5).to_csv(project.root / "data/reference.csv", index=False)
    rows(1).to_csv(project.root / "good.csv", index=False)
    rows(1, drifted=1, flipped=0.3).to_csv(project.root / "bad.csv", index=False)
    (project.root / "reports.py").write_text(MAKE_REPORTS)
    flags = ["ui", "--workspace", "workspace", "--host", "127.0.0.1", "--port", "0"]
    untracked = {**os.environ, "DO_NOT_TRACK": "1"}
    with child(binaries / "evidently", *flags, cwd=project.root) as server:
        url = said(server, r"running on (http://127\.0\.0\.1:\d+)", seconds=180)

        now, before = MIDNIGHT.isoformat(), (MIDNIGHT - timedelta(days=1)).isoformat()
        words: list[str | Path] = [binaries / "python", "reports.py", url, now, before]
        made = subprocess.run(words, cwd=project.root, env=untracked, capture_output=True, text=True, check=True)
        good, bad = made.stdout.split()[-2:]
        (line,) = (line for line in text.splitlines() if "command: python3" in line)
        settings = project.settings["monitoring"]
        for key in ("samples", "positives"):
            del settings[key]

        def asks(number: str) -> None:
            command = line.partition("command: ")[2].replace("http://127.0.0.1:8000", url).replace("PROJECT_ID", number)
            project.configure(monitoring={"command": command.replace("python3", sys.executable)})

        asks(good)
        healthy = project.json("check", "--dry-run")
        assert healthy["reason"] == "healthy", healthy
        asks(bad)
        breached = project.json("check", "--dry-run")
        assert {each["metric"] for each in breached["breaches"]} == {"f1", "drift"}, breached
        asks("01a224b4-f1de-7a98-af81-dc20355644de")
        assert project.json("check", "--dry-run")["reason"] == "unknown"
        asks(bad)
    gone = project.json("check")
    assert gone["reason"] == "unknown"
    assert "Connection refused" in gone["message"]


def test_the_recipe_for_nannyml_estimates_f1_and_measures_drift(project: Project) -> None:
    """Without a single label of the window."""
    environment_at(project, ".nannyml", NANNYML)
    followed(project, "nannyml", "nannyml_metrics.py")
    rows(10).to_csv(project.root / "data/reference.csv", index=False)
    logged(project, rows(2).drop(columns="label"))
    healthy = project.json("check", "--dry-run")
    assert healthy["reason"] == "healthy", healthy
    assert 0.9 < healthy["metrics"]["f1"] < 0.99
    assert (healthy["metrics"]["samples"], healthy["metrics"]["drift"] < 0.15) == (400, True)
    unsure = rows(2).drop(columns="label")
    unsure["score"] = 0.5 + (unsure["score"] - 0.5) / 10
    unsure["a"] += 2
    logged(project, unsure)
    breached = project.json("check", "--dry-run")
    assert {each["metric"] for each in breached["breaches"]} == {"f1", "drift"}, breached


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a database of a server that is made here; not as root, who may not run one."""
    real("psql")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian has the server's programs
    binaries = places[-1] if places else real("postgres").parent
    owner: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    quiet: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, **owner}
    with tempfile.TemporaryDirectory(prefix="pg-") as data:
        if owner:
            shutil.chown(data, "nobody", "nogroup")
        subprocess.run([binaries / "initdb", "--auth=trust", "-U", "me", "-D", data], check=True, **quiet)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        flags = ["-D", data, "-k", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        server = subprocess.Popen([binaries / "postgres", *flags], stderr=subprocess.DEVNULL, **quiet)
        try:
            yield f"postgresql://me@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=30)


def test_the_recipe_for_sql_runs_on_postgresql(project: Project) -> None:
    """With the two changes that it names."""
    with postgresql() as url:
        psql: list[str | Path] = [real("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", url]
        until(lambda: subprocess.run([*psql, "-c", ""], capture_output=True, check=False).returncode == 0)
        values = ", ".join(f"('{row.timestamp}', {row.prediction}, {row.label})" for row in rows(2).itertuples())
        table = "CREATE TABLE predictions (at timestamptz, prediction int, label int); INSERT INTO predictions VALUES "
        subprocess.run(psql, input=f"{table}{values};", text=True, check=True, capture_output=True)
        text = followed(project, "sql", "metrics.sh")
        export, command = re.findall(r"(?m)^#     (export PGTZ.*|psql .*)$", text)
        text = re.sub(r"(?m)^sqlite3 .*$", f"{export}\n{command}", text).replace("json_object", "json_build_object")
        (project.root / "metrics.sh").write_text(text.replace("database=predictions.db", f"database={url}"))
        healthy = project.json("check", "--dry-run")
        assert (healthy["reason"], healthy["metrics"]["samples"]) == ("healthy", 400), healthy
        subprocess.run([*psql, "-c", "UPDATE predictions SET label = 1 - label"], check=True)
        assert project.json("check", "--dry-run")["action"] == "train"
        subprocess.run([*psql, "-c", "DROP TABLE predictions"], check=True)
        assert "exited 3" in project.run("check").stderr
