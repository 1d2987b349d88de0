"""Files as the registry needs them: known by their bytes, written whole, with errors that a person can read."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from retrain.errors import RetrainError

_CHUNK = 1 << 20


def is_there(path: Path) -> bool:
    """Whether a file has this name; what can be no name at all is none."""
    try:
        return path.exists()
    except OSError:
        return False


def identify(path: Path) -> str:
    """The version of these bytes."""
    with errors_told(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_out(file: BinaryIO, fresh: Path) -> str:
    """The digest of the file, whose bytes and times are now in `fresh`, read-only and on disk."""
    digest = hashlib.sha256()
    with fresh.open("xb") as copy:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        times = os.fstat(file.fileno())
        os.utime(copy.fileno(), ns=(times.st_atime_ns, times.st_mtime_ns))
        os.fchmod(copy.fileno(), 0o444)
        os.fsync(copy.fileno())
    return digest.hexdigest()


def signature(path: Path) -> tuple[int, int, int]:
    with errors_told(path):
        found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetrainError(f"{error.filename or path}: {error.strerror}") from error
