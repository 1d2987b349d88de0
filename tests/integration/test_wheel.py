"""The package as a user installs it: without the clone, the lock or the development tools."""

import subprocess
import sys
from pathlib import Path

from tests.integration.conftest import install

ROOT = Path(__file__).parents[2]


def test_a_wheel_is_all_that_a_user_needs(tmp_path: Path) -> None:
    """It brings the command, the guide and the recipes."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = install(tmp_path / "venv", str(wheel))
    for words in (["--version"], ["guide", "decisions"], ["recipe"], ["config", "schema"]):
        command: list[str | Path] = [installed / "retrain", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert done.stdout
