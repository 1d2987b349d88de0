"""Disks as bad as one likes, in a mount namespace of their own: nothing of the machine's own mounts changes."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import IN_CI, real
from tests.stories.project import RETRAIN, Project

SMALL = """
set -e
mkdir -p disk
mount -t tmpfs -o size="$1" tmpfs disk
mkdir disk/models disk/state
cp -a models/. disk/models
[ ! -d state ] || cp -a state/. disk/state
mkdir -p state
mount --bind disk/models models
mount --bind disk/state state
echo ready
read -r _ || :
"""
READ_ONLY = """
set -e
mkdir -p "$1"
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
echo ready
read -r _ || :
"""


@dataclass(frozen=True)
class Mounted:
    """A project as a command in the namespace of this process sees it."""

    project: Project
    process: int

    @property
    def root(self) -> Path:
        """The project's directory in the namespace, seen from outside."""
        return Path(f"/proc/{self.process}/root") / self.project.root.relative_to("/")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `retrain` with these words there."""
        enter: list[str | Path] = [real("nsenter"), "--target", str(self.process), "--mount", "--"]
        return subprocess.run(
            [*enter, "sh", "-c", 'cd "$0" && exec "$@"', self.project.root, RETRAIN, *words],
            env=self.project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@contextmanager
def small_disk(project: Project, free: int, size: int = 1 << 20) -> Iterator[Mounted]:
    """The project with models/ and state/ on one disk of so many bytes, of which so many are free."""
    with _mounted(project, SMALL, str(size)) as mounted:
        _fill(mounted.root / "disk/filler", free)
        yield mounted


@contextmanager
def read_only(project: Project, directory: str) -> Iterator[Mounted]:
    """The project with one directory that nobody may write to, not even root."""
    with _mounted(project, READ_ONLY, directory) as mounted:
        yield mounted


def make_space(mounted: Mounted) -> None:
    """Free the disk that was filled."""
    (mounted.root / "disk/filler").unlink()


def _fill(filler: Path, free: int) -> None:
    """Fill the disk until so many bytes are free."""
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(file.tell() - free)
    assert shutil.disk_usage(filler.parent).free == free


@contextmanager
def _mounted(project: Project, script: str, argument: str) -> Iterator[Mounted]:
    _allowed()
    words: list[str | Path] = [real("unshare"), "--mount", "sh", "-c", script, "mounts", argument]
    with subprocess.Popen(
        words, cwd=project.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        yield Mounted(project, process.pid)


def _allowed() -> None:
    """Skip the test where mounting is not allowed (it is to root); in CI it fails."""
    tried = subprocess.run([real("unshare"), "--mount", "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        message = f"a disk apart from the machine's own needs namespaces: {tried.stderr.strip()}"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
