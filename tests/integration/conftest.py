"""The environments of the programs of others, made once for a machine and kept in the user's cache."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.stories.project import Models, make_models

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "retrain-integration")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode a large program takes twice as long to start


def environment(*requirements: str, overrides: Sequence[str] = ()) -> Path:
    """The `bin` directory of a virtual environment with these requirements, as `mlflow==3.*`.

    It is made by the first test that asks, and kept for as long as the requirements stay the same. `overrides` are
    requirements that win over what a package says of its dependencies.
    """

    def make(place: Path) -> None:
        extra = Path(f"{place}.overrides")
        extra.write_text("\n".join(overrides))
        install(place, *requirements, "--override", str(extra))

    return made("\n".join([sys.version, *requirements, "overrides", *overrides]), make) / "bin"


def made(asked: str, make: Callable[[Path], None]) -> Path:
    """The directory in the cache of what was asked; `make` makes it, unless it is there already."""
    place = CACHE / hashlib.sha256(asked.encode()).hexdigest()[:16]
    place.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{place}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / ".ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            (place / ".ready").touch()
    return place


def install(place: Path, *words: str) -> Path:
    """Make a virtual environment at this place with what these words of `uv pip install` say; its `bin` directory."""
    uv = find_uv_bin()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, place], check=True)
    python = place / "bin/python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *words], check=True)
    return place / "bin"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))
