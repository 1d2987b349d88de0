"""Versions: immutable files named by their SHA-256, admitted, verified, found and forgotten."""

import hashlib
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from retrain.config.schema import Models
from retrain.core.text import short
from retrain.effects.files import opened, sync_directory
from retrain.errors import RetrainError, file_errors

_CHUNK = 1 << 20
_MOMENT = 1.0
"""Seconds. Far longer than any kernel takes from a link to its file."""


def identify(path: Path) -> str:
    """The version of these bytes."""
    with file_errors(path), opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_out(file: BinaryIO, fresh: Path) -> str:
    """The digest of the file, whose bytes and times are now in `fresh`, read-only and on disk."""
    digest = hashlib.sha256()
    with fresh.open("xb") as copy:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.utime(copy.fileno(), ns=(0, os.fstat(file.fileno()).st_mtime_ns))  # never read; made when it was made
        os.fchmod(copy.fileno(), 0o444)
        os.fsync(copy.fileno())
    return digest.hexdigest()


def note_use(path: Path) -> None:
    """Let the file's time of access be now; nothing where that may not be, or no file is there."""
    with suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def is_in_use(path: Path) -> bool:
    """Whether the file was in use a moment ago: who has read the link to it may be about to open it."""
    return abs(time.time() - path.stat().st_atime) < _MOMENT


_JOBLIB, _SKOPS, _REFERENCE, _ROWS = "joblib", "skops", "reference.parquet", "rows.parquet"
"""What is kept of a version: the model (in one format or the other), a sample of its training rows, their hashes."""
VERSION_FILE = re.compile(rf"([0-9a-f]{{64}})\.({'|'.join(map(re.escape, (_JOBLIB, _SKOPS, _REFERENCE, _ROWS)))})")
INCOMING = ".incoming-"


def refuse_open_doors(models: Models) -> None:
    """Nothing, where only its owner and their group may put a file in the champion's directory or among the versions.

    Raises RetrainError where everybody may: an artifact is a program, and it would run as us.
    """
    for directory in (models.champion.parent, _directory(models)):
        with file_errors(directory):
            mode = directory.stat().st_mode if directory.is_dir() else 0
        if mode & stat.S_IWOTH:
            raise RetrainError(
                f"{directory}: everybody may write to it ({stat.filemode(mode)}), so no model in it can be trusted:"
                f" chmod o-w {directory}, and see that nobody put one there"
            )


def check_format(models: Models, artifact: Path) -> None:
    """Raise RetrainError where the file's name says that it is in another format than the project's artifacts."""
    if (artifact.suffix == f".{_SKOPS}") == models.are_skops:
        return
    if models.are_skops:
        raise RetrainError(
            f"{artifact}: does not end in .skops, and this project takes skops files alone, since any other artifact"
            " is a program (models.champion, models.challenger): save the model with skops.io.dump"
        )
    raise RetrainError(
        f"{artifact}: is a skops file, and models.champion does not end in .skops: let it and models.challenger do so"
    )


def admit(models: Models, artifact: Path) -> str:
    """The version of this artifact; its bytes are now kept, and the reference that lies beside it with them."""
    version = _copy(models, artifact, None, _artifact(models))
    reference = reference_beside(artifact)
    if reference.is_file():
        _copy(models, reference, version, _REFERENCE)
    return version


def keep_rows(models: Models, version: str, hashes: Path) -> None:
    """Keep the hashes of the rows that this version was trained on with it."""
    _copy(models, hashes, version, _ROWS)


def forget_rows(models: Models, version: str) -> None:
    """Forget which rows this version was trained on: it was made anew, from others perhaps."""
    path = file_of(models, version, _ROWS)
    with file_errors(path):
        path.unlink(missing_ok=True)


def rows_of(models: Models, version: str) -> Path | None:
    """The hashes of the rows that this version was trained on; None where they are not known."""
    path = file_of(models, version, _ROWS)
    return path if path.is_file() else None


def verify(models: Models, version: str) -> Path:
    """The file of a version whose bytes are still those of its name."""
    path = file_of(models, version)
    if not path.is_file():
        raise RetrainError(f"{path}: version {short(version)} is not there; retrain rollback --to another mends it")
    found = identify(path)
    if found != version:
        raise RetrainError(f"{path}: its bytes were changed (they are {short(found)} now); it is not to be trusted")
    return path


def find(models: Models, prefix: str) -> str:
    """The one kept version with this prefix. Raises RetrainError where there is none, or several."""
    found = [version for version in kept(models) if version.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    if found:
        raise RetrainError(f"several kept versions begin with {prefix}: {', '.join(map(short, found))}")
    raise RetrainError(f"no kept version begins with {prefix} (kept: {', '.join(map(short, kept(models))) or 'none'})")


def kept(models: Models) -> list[str]:
    """Every version that is kept, in the order of their names."""
    names = (VERSION_FILE.fullmatch(path.name) for path in _directory(models).glob(f"*.{_artifact(models)}"))
    return sorted(name[1] for name in names if name is not None)


def forget(models: Models, versions: set[str]) -> None:
    """Remove these versions, unless a link beside the champion's points to them, or did a moment ago; and what crashes
    left.
    """
    directory = _directory(models)
    with file_errors(directory):
        beside = models.champion.parent.iterdir() if directory.is_dir() else ()
        linked = {path.readlink().name.partition(".")[0] for path in beside if path.is_symlink()}
        for path in directory.iterdir() if directory.is_dir() else ():
            name = VERSION_FILE.fullmatch(path.name)
            is_outlived = name is not None and name[1] in versions - linked and not is_in_use(path)
            if is_outlived or _is_leftover(path):
                path.unlink(missing_ok=True)


def make_room(models: Models) -> None:
    """Let training write where it is told to: the directory is there, and no sample of an earlier training.

    Raises RetrainError where that is a link to what is served or kept: whoever may write to any file, as root may,
    would change the champion unjudged.
    """
    challenger = models.challenger
    reference = reference_beside(challenger)
    leads_to = Path(os.path.realpath(challenger))
    if leads_to.parent == Path(os.path.realpath(_directory(models))) or leads_to == models.champion.absolute():
        raise RetrainError(f"{challenger}: leads to {leads_to}, which is the champion or a version: remove that link")
    with file_errors(reference):
        challenger.parent.mkdir(parents=True, exist_ok=True)
        reference.unlink(missing_ok=True)


def reference_beside(artifact: Path) -> Path:
    """Where training may leave a sample of its rows: beside the artifact."""
    return artifact.with_name(f"{artifact.stem}.reference.parquet")


def _is_leftover(path: Path) -> bool:
    """Whether this is the half copy of a process that has gone."""
    process = path.name.removeprefix(INCOMING)
    if not path.name.startswith(INCOMING) or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return int(process) == os.getpid()


def _directory(models: Models) -> Path:
    return models.champion.parent / "versions"


def _artifact(models: Models) -> str:
    return _SKOPS if models.are_skops else _JOBLIB


def file_of(models: Models, version: str, kind: str | None = None) -> Path:
    """The file of this kind; of the model, where none is named."""
    return _directory(models) / f"{version}.{kind or _artifact(models)}"


def _copy(models: Models, source: Path, version: str | None, kind: str) -> str:
    """The version under which `source` is kept: its own digest, or `version`, to which it then belongs.

    Written beside, synced and renamed, so that no half of it is ever seen.
    """
    directory = _directory(models)
    fresh = directory / f"{INCOMING}{os.getpid()}"
    with file_errors(source), opened(source) as file:
        if not directory.is_dir():
            # The service must get in as it does beside it, whatever our umask is.
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(directory.parent.stat().st_mode & 0o755)
        # A crash may have left one with this very process id, and read-only.
        fresh.unlink(missing_ok=True)
        try:
            digest = write_out(file, fresh)
            is_artifact, version = version is None, version or digest
            target = file_of(models, version, kind)
            if not (is_artifact and target.exists() and identify(target) == digest):
                fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)
        sync_directory(directory)
    return version
