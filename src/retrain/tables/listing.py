"""Which files hold the rows: one file, or the Parquet files of a directory or of a pattern, here or in a store."""

import filecmp
import os
import re
import stat as modes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from retrain.core.text import STORES, WILD
from retrain.tables import FileError

_NONE = "__HIVE_DEFAULT_PARTITION__"
_PART_OF_PATTERN = re.compile(r"\*\*/|\*|\?|\[[^]/]+\]|[^*?[]+|.")
_REQUEST = re.compile(r" \(Request ID: [^)]*\)| error_info=.*")


class File(Struct, frozen=True):
    """A file: its path, what changes when it is touched, and the values that its directories, KEY=VALUE, are named by.

    Of a local file that is inode, size, and the times at which content and inode last changed; of a stored object size
    and time of its last change, which the store sets.
    """

    path: str
    stamp: tuple[int, ...]
    keys: dict[str, str | None]


class Listing(Struct, frozen=True):
    """Files in the order of their paths; the address of the store that they are in, None: of this machine."""

    files: tuple[File, ...]
    address: str | None = None

    @property
    def filesystem(self) -> Any:
        """The file system of Arrow; None for this machine's."""
        return _at(self.address)[0] if self.address is not None else None


@cache
def _at(address: str) -> tuple[Any, str]:
    """The file system of an address and the path there, made where it is used: its credentials go nowhere else."""
    from pyarrow import fs

    if address.startswith("gs://") and "retry_limit_seconds=" not in address:  # Google's client would try for minutes
        address += f"{'&' if '?' in address else '?'}retry_limit_seconds=10"
    found: tuple[Any, str] = fs.FileSystem.from_uri(address)
    return found


def is_one(rows: str) -> bool:
    """Whether the rows are one file of this machine, or would be if it were there."""
    return not rows.startswith(STORES) and not Path(rows).is_dir() and (not WILD.search(rows) or Path(rows).exists())


def rotated(log: Path) -> list[Path]:
    """The files that a CSV log was renamed or copied to, oldest first; one that is there twice counts once.

    Their names have a number or a date: predictions.csv.1, predictions.1.csv, predictions.csv-20261128.gz. There twice
    is one that is being compressed, and one of which another has the content.
    """
    found: dict[Path, os.stat_result] = {}
    for path in _renamed(log, r"(\.gz)?"):
        with suppress(FileNotFoundError):  # it is being compressed
            state = path.stat()
            alike = [other for other, its in found.items() if its.st_size == state.st_size]
            if path.is_file() and not any(filecmp.cmp(path, other, shallow=False) for other in alike):
                found[path] = state
    both = {path for path in found if path.suffix == ".gz" and path.with_suffix("") in found}
    return sorted(found.keys() - both, key=lambda path: found[path].st_mtime_ns)


def unreadable(log: Path) -> list[str]:
    """The names of the rotated files that are compressed in another way than gzip's."""
    return sorted(path.name for path in _renamed(log, r"\.(xz|bz2|zst|lz4|zip|Z)"))


def _renamed(log: Path, end: str) -> list[Path]:
    """The files whose name is the log's with a number behind a dot, or with a date, and such an end."""
    mark = r"(\.\d+|[.-](?=(\D?\d){6})\d[\dT:_.-]*)"
    stem, suffix = map(re.escape, (log.stem, log.suffix))
    name = re.compile(rf"{stem}({suffix}{mark}|{mark}{suffix}){end}")
    return sorted(path for path in log.parent.iterdir() if name.fullmatch(path.name)) if log.parent.is_dir() else []


def listed(rows: str) -> Listing:
    """The Parquet files of a directory, of a pattern, or at an address. FileError where there are none.

    What begins with a dot or with _, as Spark's `_SUCCESS`, holds no rows, unless it is a directory KEY=VALUE.
    """
    base, wanted = _split(rows)
    if rows.startswith(STORES):
        with stored():
            address, (base, found) = base, _stored(base)
    else:
        address, found = None, list(_local(base))
    files = []
    for path, stamp in sorted(found):
        parts = PurePosixPath(path).relative_to(base).parts or (PurePosixPath(path).name,)
        is_hidden = any(part[0] in "._" and "=" not in part for part in parts)
        if not is_hidden and (wanted is None or wanted.fullmatch("/".join(parts))):
            files.append(File(path, stamp, _keys(parts[:-1])))
    if not files:
        raise FileError(f"has no file {'of that name' if wanted is not None else 'in it'} (it needs Parquet files)")
    return Listing(tuple(files), address)


@contextmanager
def stored(what: str = "") -> Iterator[None]:
    """Raise FileError where a file cannot be read, a store refuses something or does not answer."""
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:  # a number of the request would make each error news
        raise FileError(f"cannot be read: {what}{_REQUEST.sub('', ' '.join(str(error).split()))}") from error


def _split(rows: str) -> tuple[str, re.Pattern[str] | None]:
    """The directory that is searched, and what the paths below it must match; None: any path.

    An address may have a query, so that `?` is no wildcard there. A directory that is there is meant by its name.
    """
    if rows.startswith(STORES):
        address, mark, query = rows.partition("?")
        scheme, _, path = address.partition("://")
        names = path.split("/")
        first = next((at for at, name in enumerate(names) if re.search(r"[*[]", name)), len(names))
        base = f"{scheme}://{'/'.join(names[:first])}{mark}{query}"
        return base, _pattern("/".join(names[first:])) if first < len(names) else None
    if Path(rows).is_dir():
        return rows, None
    there = next(each for each in Path(rows).parents if each.is_dir())
    return str(there), _pattern(Path(rows).relative_to(there).as_posix())


def _pattern(text: str) -> re.Pattern[str]:
    """The pattern of paths: * and ? and […] within a name, **/ for any directories."""
    meant = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    parts = _PART_OF_PATTERN.findall(text)
    texts = [meant.get(part) or (part if part[0] == "[" and len(part) > 1 else re.escape(part)) for part in parts]
    return re.compile("".join(texts).replace("[!", "[^"))


def _local(base: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The files below a directory. FileError for what would be read by no rule: no file may be left out silently."""

    def refuse(error: OSError) -> None:
        raise FileError(f"cannot be read: {error.filename}: {error.strerror}") from error

    for directory, inner, names in os.walk(base, onerror=refuse):
        inner[:] = [name for name in inner if name[0] not in "._" or "=" in name]
        for name in inner:
            if (path := Path(directory, name)).is_symlink():
                raise FileError(f"has a link to another directory, {path}: name that directory instead")
        for path in (Path(directory, name) for name in names if name[0] not in "._"):
            try:
                found = path.stat()
            except OSError as error:
                raise FileError(f"cannot be read: {path}: {error.strerror}") from error
            if not modes.S_ISREG(found.st_mode):
                raise FileError(f"has {path}, which is no regular file")
            yield str(path), (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _stored(address: str) -> tuple[str, list[tuple[str, tuple[int, ...]]]]:
    """The path of an address in its file system, and the files below that."""
    from pyarrow import fs

    store, base = _at(address)
    found = store.get_file_info(base)
    bucket = base.partition("/")[0]
    if found.type == fs.FileType.NotFound:
        is_there = store.get_file_info(bucket).type != fs.FileType.NotFound
        raise FileError("is not there" if is_there else f"is not there: no bucket {bucket!r} can be seen")
    is_file = found.type == fs.FileType.File
    inside = [found] if is_file else store.get_file_info(fs.FileSelector(base, recursive=True))
    return base, [(each.path, (each.size, each.mtime_ns)) for each in inside if each.type == fs.FileType.File]


def _keys(directories: tuple[str, ...]) -> dict[str, str | None]:
    """The values of directories KEY=VALUE, as Hive and Spark write them."""
    pairs = (name.split("=", 1) for name in directories if "=" in name)
    return {unquote(key): None if text == _NONE else unquote(text) for key, text in pairs}
