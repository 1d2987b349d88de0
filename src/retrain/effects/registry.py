"""Versions and the champion link: immutable files named by their SHA-256, and one relative symlink to one of them.

Where a command predicts (`promotion.predict`), a directory may stand for the file of a model.
"""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from msgspec import MsgspecError, Struct, json

from retrain.config.schema import HoldoutKind, Models, Remote
from retrain.core.past import Past
from retrain.core.records import Cause
from retrain.core.text import short, size
from retrain.effects import files
from retrain.effects.files import Stamp, make_directory, opened, remove, share_all, stamp, sync_directory
from retrain.errors import RetrainError, file_errors

_JOBLIB, _SKOPS = ".joblib", ".skops"
REFERENCE, WEIGHTS, HOLDOUT, ROWS = "reference.parquet", "weights.csv", "holdout.parquet", "rows.parquet"
"""What is kept with a version: a sample of its training rows, the importance of its features, the rows that it is
judged on, and the hashes of all its training rows. All but the last lie beside the challenger at first."""
CARD = "md"
"""The model card of a version that was promoted."""
TRAINING = "training.parquet"
"""The rows that a training is given, beside the challenger."""
NOTES = "notes.json"
"""What a training says of itself, as a JSON object: beside the challenger, then with the version."""
_MOST_NOTES = 16 * 1024
_VERSION_FILE = r"([0-9a-f]{64})(\.notes\.json|\.weights\.csv|\.(?:reference|rows|holdout)\.parquet|\.[^.]+)?"
_OF_MLFLOW = (".skops", ".pkl")
"""How the file of a scikit-learn model ends in a directory of MLflow; a pickle is loaded as a joblib file is."""
_INCOMING = ".incoming-"
_MOMENT = 1.0
"""Seconds. Far longer than any kernel takes from a link to its file."""


# ---------------------------------------------------------------- the champion


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
    if made_at is not None and not (link.is_file() or (models.are_any and link.is_dir())):
        raise RetrainError(f"{link}: is not a file", "move it away")
    version = _version_in(target.name) if target is not None else None
    if version is None or os.path.realpath(link) != os.path.realpath(_file_of(models, version)):
        return Served(None, link, made_at)
    return Served(version, _file_of(models, version), made_at)


def lost(models: Models, serving: Served | None, past: Past) -> Cause | None:
    """Why this past is not that of the versions that are kept here, of which this one serves; None where it may be."""
    if serving is not None:
        return past.lost(serving.version)
    # Another champion beside this one may have made them.
    return past.lost(None, kept(models) if not _links(models) else ())


def adopt(models: Models, record: Callable[[str], None]) -> str | None:
    """The version of an ordinary champion file, now kept and linked; None when there was nothing to adopt.

    `record` is given the version before the link replaces the file, so that no crash can leave it unrecorded.
    """
    found = served(models)
    if found is None or found.version is not None or found.made_at is None:
        return None
    before = stamp(found.path)
    _refuse_unfinished(found.path, before)
    version = admit(models, found.path)
    _refuse_unfinished(found.path, before)
    record(version)
    _refuse_unfinished(found.path, before)
    point(models, version)
    return version


def _refuse_unfinished(path: Path, before: Stamp | None) -> None:
    """RetrainError where the champion file is not whole, or no longer what it was."""
    with file_errors(path):
        if files.is_being_written(path):
            raise RetrainError(f"{path}: is still being written, so it is not adopted", "try again when it is whole")
        if not files.size_of(path):
            raise RetrainError(f"{path}: is empty, so it is not adopted", "put the model there")
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
            target = os.path.relpath(_file_of(models, version), link.parent)
            fresh = link.with_name(f"{_INCOMING}{link.name}")
            remove(fresh)  # after a crash it may be a directory that was adopted
            fresh.symlink_to(target)
            (files.supplant if models.are_any else Path.replace)(fresh, link)
        _note_use(leaving)
        sync_directory(link.parent)


# ---------------------------------------------------------------- the versions


def identify(path: Path) -> str:
    """The version of these bytes; of a directory, that of all names and bytes in it."""
    with file_errors(path):
        if path.is_dir():
            return files.digest_of_tree(path, identify)
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_unsafe(models: Models) -> None:
    """Raise RetrainError where the directory of the champion or of the versions is another user's, or world-writable.

    An artifact is a program: whoever may put one there would run it as the user of retrain.
    """
    for directory in (models.champion.parent, _directory(models)):
        files.refuse_foreign(directory)
        files.refuse_writable_by_others(directory, "no model in it can be trusted")


def check_format(models: Models, artifact: Path) -> None:
    """Raise RetrainError where the file's name says that it is in another format than the project's artifacts."""
    if artifact.is_dir() and not models.are_any:
        why = f"{artifact}: is a directory, and a model is one file"
        raise RetrainError(why, "promotion.predict takes directories")
    if models.are_any or (artifact.suffix == _SKOPS) == models.are_skops:
        return
    if models.are_skops:
        why = "does not end in .skops, and this project takes only skops files, since any other artifact is a program"
        remedy = "save the model with skops.io.dump, or change models.champion and models.challenger"
        raise RetrainError(f"{artifact}: {why}", remedy)
    why = f"{artifact}: is a skops file, and models.champion does not end in .skops"
    raise RetrainError(why, "let models.champion and models.challenger end so")


def model_file(models: Models, artifact: Path) -> Path:
    """The file of the model: of a directory as MLflow writes it the one with the model, else the artifact itself.

    Where a command predicts, the directory is the model.
    """
    if models.are_any or not _is_of_mlflow(artifact):
        return artifact
    found = [each for each in artifact.iterdir() if each.suffix in _OF_MLFLOW]
    return found[0] if len(found) == 1 else artifact


def _is_of_mlflow(artifact: Path) -> bool:
    return (artifact / "MLmodel").is_file()


def admit(models: Models, artifact: Path) -> str:
    """The version of this artifact; its bytes are now kept, and with them what lies beside it."""
    with copied(models, model_file(models, artifact)) as (version, copy):
        keep(models, artifact, version, copy)
    return version


def keep(models: Models, artifact: Path, version: str, copy: Path) -> None:
    """Keep a copy of this artifact as a version, and with it what lies beside the artifact."""
    target = _file_of(models, version)
    if not (target.exists() and identify(target) == version):
        _put(copy, target)
    for kind in (REFERENCE, WEIGHTS, HOLDOUT):
        if (file := beside(artifact, kind)).is_file():
            attach(models, version, kind, file)


def attach(models: Models, version: str, kind: str, file: Path | None) -> None:
    """Keep this file with the version, in place of another of its kind; none where there is none."""
    if file is not None:
        with copied(models, file, kind) as (_, copy):
            _put(copy, _file_of(models, version, kind))
    elif (kept := attached(models, version, kind)) is not None:
        with file_errors(kept):
            kept.unlink(missing_ok=True)


def attached(models: Models, version: str | None, kind: str) -> Path | None:
    """The file of this kind that is kept with the version; None where there is none, or no version."""
    path = _file_of(models, version, kind) if version is not None else None
    return path if path is not None and path.is_file() else None


def holdout_of(models: Models, holdout: Path | Remote | HoldoutKind, version: str) -> Path | Remote | None:
    """The rows that this version is judged on: those configured, else its own; None while it has none."""
    return attached(models, version, HOLDOUT) if isinstance(holdout, HoldoutKind) else holdout


def read_notes(file: Path) -> dict[str, Any]:
    """The notes in this file. Raises RetrainError where it is no JSON object, or too long."""
    with file_errors(file), opened(file) as content:
        text = content.read(_MOST_NOTES + 1)
    if len(text) > _MOST_NOTES:
        raise RetrainError(f"{file}: is longer than {size(_MOST_NOTES)}")
    try:
        notes: dict[str, Any] = json.decode(text, type=dict[str, Any])
    except (MsgspecError, ValueError, RecursionError) as error:
        raise RetrainError(f"{file}: is not a JSON object: {error}") from error
    return notes


def made_at(models: Models, version: str) -> datetime:
    """When the artifact of this version was made."""
    file = _file_of(models, version)
    with file_errors(file):
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)


def verify(models: Models, version: str) -> Path:
    """The file of a version whose bytes are still those of its name."""
    path = _file_of(models, version)
    remedy = "restore it from a copy, or serve another version with retrain rollback --to"
    if not path.exists():
        raise RetrainError(f"{path}: version {short(version)} is missing", remedy)
    if (found := identify(path)) != version:
        why = f"{path}: its bytes have changed, to those of {short(found)}, so it cannot be trusted"
        raise RetrainError(why, remedy)
    return path


def is_gone(serving: Served | None, past: Past) -> bool:
    """Whether the service finds no file where there was one."""
    return past.served is not None if serving is None else serving.made_at is None


def verified(models: Models, serving: Served | None, past: Past) -> str:
    """The stamp of the champion, once its bytes are those of its name; empty, and nothing read, where it is known.

    Raises RetrainError where they are not, or it is gone.
    """
    if is_gone(serving, past):
        why = f"{models.champion}: the champion is gone, and the service cannot load it again"
        raise RetrainError(why, "retrain rollback serves it again, or the one before where its file is gone, too")
    stamp = files.stamped(serving.path) if serving is not None and serving.version is not None else ""
    if serving is None or serving.version is None or stamp in ("", past.verified):
        return ""
    verify(models, serving.version)
    return stamp


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
    names, ending = (path.name for path in _directory(models).glob("*")), _ending(models)
    return sorted(version for name in names if (version := _version_in(name)) is not None and name == version + ending)


def forget(models: Models, versions: set[str]) -> None:
    """Remove what crashes left, and these versions, unless a link beside the champion's points there, or just did."""
    directory = _directory(models)
    with file_errors(directory), ExitStack() as stack:
        is_alone = directory.is_dir() and _locked(stack, directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        linked = {path.readlink().name.partition(".")[0] for path in _links(models)}
        for path in directory.iterdir() if directory.is_dir() else ():
            if _version_in(path.name) in versions - linked and not _is_in_use(path):
                # A directory is not removed at one moment, and no half of a version may have its name.
                remove(path.rename(_incoming(directory, f".{path.name}")) if path.is_dir() else path)
            elif path.name.startswith(_INCOMING) and is_alone:
                remove(path)


def prepare(models: Models) -> None:
    """Make the directory of the challenger, and remove sample, weights and notes that an earlier training left.

    Raises RetrainError where the challenger is a link to what is served or kept: whoever may write to any file, as
    root may, would change the champion unjudged.
    """
    challenger = models.challenger
    leads_to = Path(os.path.realpath(challenger))
    kept_in = Path(os.path.realpath(_directory(models)))
    if leads_to.is_relative_to(kept_in) or leads_to == models.champion.absolute():
        raise RetrainError(f"{challenger}: is a link to {leads_to}, the champion or a version", "remove that link")
    with file_errors(challenger.parent):
        make_directory(challenger.parent)
        _part_from_versions(models, challenger)
        if _is_of_mlflow(challenger):
            remove(challenger)  # MLflow writes into no directory that has files
        for kind in (REFERENCE, WEIGHTS, NOTES):
            beside(challenger, kind).unlink(missing_ok=True)


def _part_from_versions(models: Models, challenger: Path) -> None:
    """Remove the challenger where a file of it is one with that of a kept version, as a deduplication makes it.

    A training that writes into it would change the champion unjudged; its bytes stay under the other name.
    """
    mine = set(_inodes(challenger, several=True))
    if mine and mine & {*_inodes(_directory(models)), *_inodes(models.champion)}:
        remove(challenger)


def _inodes(path: Path, *, several: bool = False) -> Iterator[tuple[int, int]]:
    """The files at this path, by device and inode; or only those with `several` names."""
    for file in filter(Path.is_file, files.within(path)):
        found = file.stat()
        if not several or found.st_nlink > 1:
            yield found.st_dev, found.st_ino


def beside(artifact: Path, kind: str) -> Path:
    """Where a file of this kind is that belongs to the artifact: beside it."""
    return artifact.with_name(f"{artifact.stem}.{kind}")


@contextmanager
def copied(models: Models, source: Path, kind: str | None = None) -> Iterator[tuple[str, Path]]:
    """The version of these bytes, and a copy of them that is no version yet; it is removed at the end if it is none.

    A file that belongs to a version has a `kind`.
    """
    directory = _directory(models)
    fresh = _incoming(directory, _ending(models, kind))
    with ExitStack() as stack:
        with file_errors(source):
            is_tree = kind is None and models.are_any and source.is_dir()
            file = None if is_tree else stack.enter_context(opened(source))
            if not directory.is_dir():
                # Service and group must get in as they do beside it, whatever our umask is.
                make_directory(directory)
                directory.chmod(directory.parent.stat().st_mode & 0o2775)
            _locked(stack, directory, fcntl.LOCK_SH)
            stack.callback(_discard, fresh)
            digest = files.copy_file(file, fresh) if file is not None else files.copy_tree(source, fresh)
        yield digest, fresh


def _discard(copy: Path) -> None:
    """Remove what became no version; where that cannot be, as on a read-only disk, a later copy clears it."""
    with suppress(OSError):
        remove(copy)


def _put(copy: Path, target: Path) -> None:
    """Give the copy its name. It is written, synced and renamed, so that no half of it is ever seen."""
    with file_errors(target):
        files.supplant(copy, target)
        share_all(target)
        sync_directory(target.parent)


def _note_use(path: Path) -> None:
    """Let the file's time of access be now; nothing where that may not be, or no file is there."""
    with suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _is_in_use(path: Path) -> bool:
    """Whether the file was in use a moment ago: a service that has read the link to it may be about to open it."""
    return abs(time.time() - path.stat().st_atime) < _MOMENT


def _incoming(directory: Path, ending: str) -> Path:
    """A path for what is no version yet, or none any more: no other process has it, on whatever machine."""
    return directory / f"{_INCOMING}{token_hex(8)}{ending}"


def _locked(stack: ExitStack, directory: Path, how: int) -> bool:
    """Whether the directory could be locked until the end of the stack: shared to copy into it, alone to clear it.

    Not by process ids: two containers that share the directory have the same ones.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    with suppress(OSError):  # another has it; or the file system has no locks, and nothing is ever cleared
        fcntl.flock(descriptor, how)
        return True
    return False


def _version_in(name: str) -> str | None:
    """The version whose file has this name; None where it is another file."""
    found = re.fullmatch(_VERSION_FILE, name)
    return found[1] if found is not None else None


def _links(models: Models) -> list[Path]:
    """The links beside the champion and its own, each perhaps the champion of a project."""
    beside = models.champion.parent
    return [path for path in beside.iterdir() if path.is_symlink()] if beside.is_dir() else []


def _file_of(models: Models, version: str, kind: str | None = None) -> Path:
    """The file of this kind; of the model, where none is named."""
    return _directory(models) / f"{version}{_ending(models, kind)}"


def _directory(models: Models) -> Path:
    return models.champion.parent / "versions"


def _ending(models: Models, kind: str | None = None) -> str:
    """How the names of files of this kind end; of the models, where none is named."""
    if kind is not None:
        return f".{kind}"
    if models.are_any:
        return models.champion.suffix
    return _SKOPS if models.are_skops else _JOBLIB
