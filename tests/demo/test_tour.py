"""The tour's manners. (That it walks the whole loop is tested with the other stories.)"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.conftest import real


def tour(directory: Path) -> subprocess.CompletedProcess[str]:
    """The tour, run in this directory."""
    command = [sys.executable, "-m", "retrain.demo"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def contents(directory: Path) -> dict[str, bytes | None]:
    """Every file and directory below, with its bytes."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in directory.rglob("*")
    }


@pytest.mark.parametrize("name", ["data/rows.csv", "models/champion.joblib", "state/journal.db"])
def test_it_leaves_other_peoples_work_alone(tmp_path: Path, name: str) -> None:
    """Without the marker, an existing data/, models/ or state/ is not the demo's: it stops with a sentence."""
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    ended = tour(tmp_path)
    assert ended.returncode == 1
    assert "Nothing was changed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert name.split("/", maxsplit=1)[0] + "/" in ended.stderr
    assert "$" not in ended.stdout
    assert contents(tmp_path) == before


def test_a_marker_does_not_cover_files_that_the_demo_never_wrote(tmp_path: Path) -> None:
    """Who puts rows of their own into the demo's data/ does not lose them to the next `make demo`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/.demo").write_text("{}")
    (tmp_path / "data/my-rows.csv").write_text("mine")
    ended = tour(tmp_path)
    assert ended.returncode == 1
    assert "it did not make data/my-rows.csv" in ended.stderr
    assert (tmp_path / "data/my-rows.csv").read_text() == "mine"


def test_it_starts_afresh_on_its_own_and_stops_where_a_step_fails(tmp_path: Path) -> None:
    """With the marker the three directories are replaced. Without a Makefile the second step fails: one sentence."""
    real("make")
    for name in ("data", "models", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/.demo").write_text("{}")
    (tmp_path / "models/old.joblib").write_text("old")
    ended = tour(tmp_path)
    assert ended.returncode == 1
    assert "$ make train-model" in ended.stdout
    assert ended.stderr.splitlines()[-1] == (
        "The tour ends here: `make train-model` ended with exit code 2, not with 0."
    )
    assert not (tmp_path / "models").exists()
    assert not (tmp_path / "state").exists()
    assert (tmp_path / "data/history.csv").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_no_process_behind_when_it_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    """A signal ends the running step too, and the exit code tells the signal. The step here would sleep on."""
    step = tmp_path / "bin" / "make"
    step.parent.mkdir()
    step.write_text('#!/bin/sh\necho "step $$"\nexec sleep 90\n')
    step.chmod(0o755)
    path = f"{step.parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "retrain.demo"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PATH": path}, text=True, stdout=PIPE, stderr=PIPE
    ) as process:
        assert process.stdout is not None
        started = next(line for line in process.stdout if line.startswith("step "))
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert told.splitlines()[-1] == "The tour was stopped."
    assert "Traceback" not in told
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.split()[1]), 0)
