"""Files as the registry needs them: known by their bytes, written whole, with errors that a person can read."""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from retrain.errors import RetrainError, file_errors_told

_CHUNK = 1 << 20
_MOMENT = 1.0
"""Seconds. Far longer than any kernel takes from a link to its file."""


def is_there(path: Path) -> bool:
    """Whether a file has this name; what can be no name at all is none."""
    try:
        return path.exists()
    except OSError:
        return False


def identify(path: Path) -> str:
    """The version of these bytes."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """The file, to read. Raises RetrainError where there is none, or what would never end: a pipe, a device."""
    with file_errors_told(path):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise RetrainError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            yield file


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


def signature(path: Path) -> tuple[int, int, int]:
    with file_errors_told(path):
        found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
