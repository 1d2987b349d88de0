"""As process 1 of a container, to which the kernel sends no signal that has no handler."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stories.cron_daemon import namespaces
from tests.stories.project import RETRAIN, Project, until

pytestmark = pytest.mark.own_process


@contextmanager
def as_process_1(project: Project, **environment: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A check that is process 1 of a namespace, and its number outside."""
    with subprocess.Popen(
        [*namespaces(), RETRAIN, "check"],
        cwd=project.root,
        env={**project.environment, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        until(lambda: bool(children.read_text().split()))
        yield outer, int(children.read_text().split()[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_while_it_still_imports(project: Project, tmp_path: Path, number: signal.Signals) -> None:
    """`docker stop` must not have to wait for its SIGKILL, and prints no traceback."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow/click.py").write_text("open('importing', 'w').close(); import time; time.sleep(60)")
    with as_process_1(project, PYTHONPATH=str(tmp_path / "slow")) as (outer, inner):
        until((project.root / "importing").exists)
        os.kill(inner, number)
        out, err = outer.communicate(timeout=30)
        assert (outer.returncode, out, err) == (128 + number, "", "")


def test_a_signal_ends_the_training_with_its_group(project: Project) -> None:
    """It gets the signal, and the journal its outcome, before the kernel ends what is left of the container."""
    project.train("trap 'touch told; exit 1' TERM; touch started; while :; do sleep 0.05; done")
    project.metrics(f1=0.78)
    with as_process_1(project) as (outer, inner):
        until((project.root / "started").exists)
        os.kill(inner, signal.SIGTERM)
        _, err = outer.communicate(timeout=30)
        assert (outer.returncode, "SIGTERM" in err) == (128 + signal.SIGTERM, True)
    assert (project.root / "told").exists()
    assert "retrain was sent signal 15" in project.run("status").stdout
