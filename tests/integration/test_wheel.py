"""The package as a user installs it: without the clone, the lock or the development tools."""

import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import install

ROOT = Path(__file__).parents[2]


def wheel(directory: Path) -> Path:
    """The wheel of this package, built into the directory."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    return built


def test_a_wheel_is_all_that_a_user_needs(tmp_path: Path) -> None:
    """It brings the command, the guide and the recipes."""
    installed = install(tmp_path / "venv", str(wheel(tmp_path)))
    for words in (["--version"], ["guide", "decisions"], ["recipe"], ["config", "schema"]):
        command: list[str | Path] = [installed / "retrain", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout
