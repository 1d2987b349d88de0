"""The recipe `ssh` with a real sshd: a training elsewhere, of which nothing lives on when retrain ends it here."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrain.core.text import shell_text
from tests.conftest import real
from tests.effects.servers import child, said
from tests.stories.project import Models, Project, end, make_models, until

_SSHD = """
ListenAddress 127.0.0.1
HostKey {here}/host
PidFile none
AuthorizedKeysFile {here}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
"""
_CONFIG = """
Host trainer
  HostName 127.0.0.1
  Port {port}
  IdentityFile {here}/key
  IdentitiesOnly yes
  UserKnownHostsFile {here}/known
  StrictHostKeyChecking accept-new
"""
_STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    os.fork()
open(f"alive.{os.getpid()}", "w").close()
time.sleep(600)
"""
"""A training of four processes that ignore SIGTERM, and of which each leaves a file with its number."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Path]:
    """The project on the host `trainer`, which a real sshd serves."""
    here, far = tmp_path / "ssh", tmp_path / "far away"
    for directory in (here, far, here / "bin"):
        directory.mkdir()
    for name in ("host", "key"):
        words: list[str | Path] = [real("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", here / name]
        subprocess.run(words, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (here / "sshd_config").write_text(_SSHD.format(here=here))
    (here / "config").write_text(_CONFIG.format(here=here, port=port))
    # ssh reads no $HOME, so the user's own configuration is named by a program that comes first in PATH.
    (here / "bin/ssh").write_text(f'#!/bin/sh\nexec {real("ssh")} -F {here}/config "$@"\n')
    (here / "bin/ssh").chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with child(real("sshd"), "-D", "-e", "-f", here / "sshd_config", "-p", str(port)) as server:
        said(server, r"Server listening on .* port (\d+)")
        yield far


@pytest.fixture
def project(tmp_path: Path, models: Models, remote: Path) -> Project:
    """A project whose training runs on the trainer."""
    real("rsync")
    (tmp_path / "here").mkdir()
    project = Project(tmp_path / "here", models)
    project.environment["PATH"] = f"{tmp_path}/ssh/bin:{project.environment['PATH']}"
    project.serve(models.weak)
    script = project.run("recipe", "ssh").stdout
    script = script.replace(f"directory={project.root}", f"directory='{remote}'").replace("silence=60", "silence=6")
    (project.root / "ssh.sh").write_text(script)
    project.configure(training={"command": "bash ssh.sh trainer", "grace": "40s", "timeout": "60s"})
    return project


def trains(remote: Path, *recipe: str) -> None:
    """Let `make train-model` run this recipe there."""
    (remote / "Makefile").write_text("train-model:\n" + "".join(f"\t{line}\n" for line in recipe))


def stubborn(remote: Path) -> None:
    """Let the training there be one that only SIGKILL ends."""
    (remote / "stubborn.py").write_text(_STUBBORN)
    trains(remote, f"{sys.executable} -S stubborn.py")


def alive(remote: Path) -> set[int]:
    """The processes of the stubborn training that run; a zombie does not."""
    found = set()
    for number in (int(file.suffix[1:]) for file in remote.glob("alive.*")):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        found |= {number} if state not in "ZX" else set()
    return found


def begun(remote: Path) -> bool:
    """Whether all four processes run."""
    return len(alive(remote)) == 4


def test_the_model_of_another_machine_comes_back_with_what_belongs_to_it(project: Project, remote: Path) -> None:
    """The rows go there, the reason with them; nothing is left there or beside the model."""
    (remote / "strong.joblib").write_bytes(project.models.strong.read_bytes())
    trains(
        remote,
        'cp strong.joblib "$$RETRAIN_CHALLENGER"; cp data.csv "$$RETRAIN_REFERENCE"',
        """printf '{"reason": "%s"}' "$$RETRAIN_REASON" >"$$RETRAIN_NOTES"; pwd""",
    )
    (remote / "data.csv").write_text("sample")
    reason = "it's new; $(touch x)"
    assert project.run("check", "--force", "--reason", reason).returncode == 0
    done = project.run("promote")
    assert done.returncode == 0, done
    link = project.root / "models/champion.joblib"
    assert link.read_bytes() == project.models.strong.read_bytes()
    assert link.resolve().with_suffix(".reference.parquet").read_text() == "sample"
    notes = json.loads(link.resolve().with_suffix(".notes.json").read_text())
    assert notes == {"reason": shell_text(f"forced: {reason}")}
    assert not list((project.root / "models").glob(".*"))
    assert list((remote / ".retrain").iterdir()) == []


def test_the_training_rows_go_there_and_the_rows_left_out_with_them(project: Project, remote: Path) -> None:
    """Under holdout: fresh."""
    import pandas as pd

    rows = pd.read_csv(project.models.holdout)
    rows["timestamp"] = pd.date_range(end=pd.Timestamp.now("UTC") - pd.Timedelta("1D"), periods=len(rows), freq="1min")
    rows.rename(columns={"y": "label"}).assign(prediction=rows["y"]).to_csv(project.root / "data/predictions.csv")
    project.configure(promotion={"holdout": "fresh", "target": "y"})
    (remote / "strong.joblib").write_bytes(project.models.strong.read_bytes())
    trains(
        remote, 'ls "$$(dirname "$$RETRAIN_TRAINING")" "$$RETRAIN_HOLDOUT"', 'cp strong.joblib "$$RETRAIN_CHALLENGER"'
    )
    done = project.run("check", "--force", "--reason", "new", "--json")
    assert done.returncode == 0, done
    (log,) = (project.root / "state/runs").glob("*.log")
    assert "training.parquet" in log.read_text()
    assert "holdout.parquet" in log.read_text()


def test_a_training_that_fails_there_fails_here(project: Project, remote: Path) -> None:
    """With its exit code and its last words; no model comes back."""
    trains(remote, 'echo partial >"$$RETRAIN_CHALLENGER"; echo no data >&2; exit 3')
    done = project.run("check", "--force", "--reason", "new")
    assert done.returncode == 1
    assert "no data" in done.stderr
    assert not (project.root / "models/challenger.joblib").exists()
    assert not list((project.root / "models").glob(".*"))


def test_after_the_time_limit_nothing_runs_there(project: Project, remote: Path) -> None:
    """Not even processes that ignore SIGTERM, when retrain returns."""
    stubborn(remote)
    project.configure(training={"timeout": "10s"})
    done = project.run("check", "--force", "--reason", "new")
    assert done.returncode == 1
    assert "its time limit" in done.stderr
    assert len(list(remote.glob("alive.*"))) == 4
    assert alive(remote) == set()


def test_a_signal_to_retrain_ends_the_training_there(project: Project, remote: Path) -> None:
    """Before retrain itself returns."""
    stubborn(remote)
    running = project.start("check", "--force", "--reason", "new")
    until(lambda: begun(remote))
    assert end(running)[0] == 128 + signal.SIGTERM
    assert alive(remote) == set()


def script_of(run: "subprocess.Popen[str]", name: str) -> int:
    """The youngest process of this name below this one."""
    found = [run.pid]
    for parent in found:
        listed = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)  # noqa: S607
        found += map(int, listed.stdout.split())
    return next(each for each in reversed(found) if Path(f"/proc/{each}/comm").read_text().strip() == name)


def test_a_script_that_is_killed_leaves_no_training_there(project: Project, remote: Path) -> None:
    """By SIGKILL of the connection: HOST sees its end."""
    stubborn(remote)
    running = project.start("check", "--force", "--reason", "new")
    until(lambda: begun(remote))
    os.kill(script_of(running, "ssh"), signal.SIGKILL)
    until(lambda: alive(remote) == set(), 60)
    running.communicate(timeout=60)
    assert running.returncode == 1


def test_a_host_that_hears_nothing_ends_the_training(project: Project, remote: Path) -> None:
    """The connection stands, and nobody speaks, as without a network."""
    stubborn(remote)
    running = project.start("check", "--force", "--reason", "new")
    until(lambda: begun(remote))
    client = script_of(running, "ssh")
    os.kill(client, signal.SIGSTOP)
    until(lambda: alive(remote) == set(), 60)
    os.kill(client, signal.SIGCONT)
    running.communicate(timeout=60)
    assert running.returncode == 1


def test_a_host_that_cannot_be_reached_is_a_failed_training(project: Project) -> None:
    """With the words of ssh."""
    project.configure(training={"command": "bash ssh.sh no-such-host.invalid"})
    done = project.run("check", "--force", "--reason", "new")
    assert done.returncode == 1
    assert "no-such-host.invalid" in done.stderr
