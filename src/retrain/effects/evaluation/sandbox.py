"""A model's process under bubblewrap: no network, nothing to write to, and nothing to see of what it could forge."""

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from retrain.config.schema import Config
from retrain.core.text import STORES
from retrain.errors import RetrainError

_ALONE = ("bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--ro-bind", "/", "/")
_SHARED = ("/tmp", "/var/tmp", "/run")  # noqa: S108
"""Directories where processes find each other, by files and sockets."""
_REMEDY = "apt install bubblewrap and allow user namespaces, or set promotion.sandbox to null"


def command(config: Config, artifact: Path, holdout: str) -> list[str]:
    """What stands before the command of the process of this model; empty where no sandbox is configured.

    Hidden from it are the state, other versions, and rows with their labels: `holdout` (empty: there is none), those of
    the configuration and beside the challenger. Of a directory that has what the process needs, only these files are.
    """
    if config.promotion.sandbox is None:
        return []
    models, rows = config.models, (config.training.data, config.promotion.rows, config.monitor.log, holdout)
    cut = [each for each in models.challenger.parent.glob("*.parquet") if each.name.startswith(models.challenger.stem)]
    files = (models.champion, models.challenger, *(path for each in rows for path in _files(str(each or ""))))
    hidden = (config.state, models.champion.parent / "versions", *files, *cut)
    directory = config.training.directory
    kept = [each.resolve() for each in (directory, *map(Path, (sys.prefix, sys.base_prefix, *sys.path)))]
    shared = [each for each in _SHARED if Path(each).is_dir()]
    back = [str(each) for each in kept if any(each.is_relative_to(path) for path in shared) and each.exists()]
    return [
        *_ALONE,
        *(word for path in shared for word in ("--tmpfs", path)),
        *(word for path in back for word in ("--ro-bind", path, path)),
        *("--dev", "/dev", "--proc", "/proc"),
        *(word for words in dict.fromkeys(_mask(path.resolve(), kept) for path in hidden) for word in words),
        *("--ro-bind", str(artifact.resolve()), str(artifact), "--chdir", str(directory), "--"),
    ]


def _files(rows: str) -> list[Path]:
    """Where these rows are on this machine: a file and those rotated from it, a directory, files of a pattern."""
    if not rows or rows.startswith(STORES):
        return []
    from retrain.tables import FileError
    from retrain.tables.listing import is_one, listed, rotated

    with suppress(FileError):  # then nothing is counted
        if is_one(rows) or Path(rows).is_dir():
            return [Path(rows), *(rotated(Path(rows)) if os.access(Path(rows).parent, os.R_OK) else ())]
        return [Path(each.path) for each in listed(rows).files]
    return []


def _mask(path: Path, kept: Iterable[Path]) -> tuple[str, ...]:
    whole = path if path.is_dir() else path.parent
    if whole.is_dir() and not any(each.is_relative_to(whole) for each in kept):
        return "--tmpfs", str(whole)
    return ("--ro-bind", os.devnull, str(path)) if path.is_file() else ()


def refuse_where_it_fails(config: Config) -> None:
    """Raise RetrainError where the configured sandbox is missing, or may not be used."""
    if config.promotion.sandbox is None:
        return
    try:
        done = subprocess.run([*_ALONE, "true"], capture_output=True, timeout=60, check=False)
    except FileNotFoundError as error:
        raise RetrainError("bwrap, which promotion.sandbox asks for, is not installed", _REMEDY) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise RetrainError(f"bwrap, which promotion.sandbox asks for, may not be used here: {said}", _REMEDY)
