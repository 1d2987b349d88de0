"""The champion: one relative link to a version, read, moved atomically, and put in the place of an ordinary file."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

from retrain.config.schema import Models
from retrain.effects.files import Stamp, stamp, sync_directory
from retrain.effects.registry.versions import (
    INCOMING,
    VERSION_FILE,
    admit,
    file_of,
    note_use,
)
from retrain.errors import RetrainError, file_errors


class Served(Struct, frozen=True):
    """What the champion's path holds.

    `version` is None for an ordinary file that was not adopted yet, `made_at` for a link whose file is gone.
    """

    version: str | None
    path: Path
    made_at: datetime | None


def served(models: Models) -> Served | None:
    """What the service loads now; None when nothing is there."""
    link = models.champion
    with file_errors(link):
        target = link.readlink() if link.is_symlink() else None
        made_at = datetime.fromtimestamp(link.stat().st_mtime, UTC) if link.exists() else None
    if target is None and made_at is None:
        return None
    if made_at is not None and not link.is_file():
        raise RetrainError(f"{link}: is not a file: move it away")
    name = VERSION_FILE.fullmatch(target.name) if target is not None else None
    if name is None or os.path.realpath(link) != os.path.realpath(file_of(models, name[1])):
        return Served(None, link, made_at)
    return Served(name[1], file_of(models, name[1]), made_at)


def adopt(models: Models, record: Callable[[str], None]) -> str | None:
    """The version of an ordinary champion file, now kept and linked; None when there was nothing to adopt.

    `record` is given the version before the link replaces the file, so that no crash can leave it unrecorded.
    """
    found = served(models)
    if found is None or found.version is not None or found.made_at is None:
        return None
    before = stamp(found.path)
    version = admit(models, found.path)
    _refuse_changed(found.path, before)
    record(version)
    _refuse_changed(found.path, before)
    point(models, version)
    return version


def _refuse_changed(path: Path, before: Stamp | None) -> None:
    if stamp(path) != before:
        raise RetrainError(f"{path}: was changed while it was being adopted; try again")


def point(models: Models, version: str | None) -> None:
    """Let the champion's path be this version: a relative link, replaced atomically. None removes it."""
    link = models.champion
    with file_errors(link):
        leaving = Path(os.path.realpath(link))
        if version is None:
            link.unlink(missing_ok=True)
        else:
            target = os.path.relpath(file_of(models, version), link.parent)
            fresh = link.with_name(f"{INCOMING}{link.name}")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(link)
        note_use(leaving)
        sync_directory(link.parent)
