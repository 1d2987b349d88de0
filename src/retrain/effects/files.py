"""Files: what changes when one is touched, how one is read, digested and copied, and what puts a directory on disk.

A directory may stand for a file: then all that is in it is meant.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import signal
import stat as modes
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from retrain.core.text import WILD
from retrain.errors import RetrainError, file_errors

Stamp = tuple[int, int, int, int]
_RECORDED = 128 * 1024
_CHUNK = 1 << 20


def stamp(file: Path | int) -> Stamp | None:
    """What changes when the file, or the one of this descriptor, is touched; None where none can be seen.

    Inode, size, and the times at which its content and its inode last changed (of a directory the sums of all that is
    in it). Not the device: a mount may change its number, and some stamps are kept.
    """
    try:
        found = os.fstat(file) if isinstance(file, int) else file.stat()
        all_found = [found]
        if modes.S_ISDIR(found.st_mode) and isinstance(file, Path):
            all_found += [each.lstat() for each in tree(file)]
    except OSError:
        return None
    size, modified, changed = (
        sum(getattr(each, name) for each in all_found) for name in ("st_size", "st_mtime_ns", "st_ctime_ns")
    )
    return found.st_ino, size, modified, changed


def stamped(file: Path) -> str:
    """The stamp as it is recorded; empty where none can be seen."""
    return ":".join(map(str, stamp(file) or ()))


def stamps(*paths: Path | None) -> str:
    """What changes when one of these files is touched or becomes known. RetrainError where one is not there."""
    known = [path for path in paths if path is not None]
    if absent := next((path for path in known if not stamped(path)), None):
        raise RetrainError(f"{absent}: is not there, or cannot be read", "is it promotion.holdout?")
    return ", ".join(map(stamped, known))


def stamp_of_rows(rows: Path | str) -> str:
    """What changes when rows are touched: the stamp of their file, or a digest of those of all their files.

    A pattern, a directory or an address may have several files. RetrainError where there are none.
    """
    if isinstance(rows, Path) and not rows.is_dir() and not WILD.search(str(rows)):
        return stamps(rows)
    from retrain.tables import FileError, listing  # few projects need it, none for `check`

    if listing.is_one(str(rows)):
        return stamps(Path(rows))
    try:
        files = listing.listed(str(rows)).files
    except FileError as error:
        raise RetrainError(f"{rows} {error}", "is it promotion.holdout?") from error
    found = repr([(file.path, file.stamp) for file in files])
    return f"{len(files)} files {hashlib.sha256(found.encode()).hexdigest()[:32]}"


def is_there(path: Path) -> bool:
    """Whether a file has this name; what can be no name at all is none."""
    try:
        return path.exists()
    except OSError:
        return False


def tree(directory: Path) -> list[Path]:
    """All that is in the directory, at any depth, each after the directory that it is in. Raises OSError."""

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for above, directories, names in os.walk(directory, onerror=refuse):  # follows no link
        found += [Path(above, name) for name in (*directories, *names)]
    return sorted(found, key=os.fsencode)


def within(path: Path) -> list[Path]:
    """The path itself, and all that is in it where it is a directory. Raises OSError."""
    return [path, *(tree(path) if path.is_dir() else ())]


def size_of(path: Path) -> int:
    """Bytes in the file, or in all files of the directory. Raises OSError."""
    return sum(each.stat().st_size for each in within(path) if each.is_file())


def remove(path: Path) -> None:
    """Remove the file or whole directory, if only its owner may read it; nothing where none is. Raises OSError."""
    if not _is_directory(path):
        path.unlink(missing_ok=True)
        return
    for each in within(path):
        if _is_directory(each) and not os.access(each, os.W_OK | os.X_OK):
            each.chmod(0o700)
    shutil.rmtree(path)


def supplant(new: Path, old: Path) -> None:
    """Let `new` have the name `old`, and remove what had it. Raises OSError, also for a file in place of a directory.

    No directory can be replaced as a file can. Linux exchanges two names at one moment; elsewhere nothing has the name
    for a moment.
    """
    replaces = _is_directory(new) or (new.is_symlink() and _is_directory(old))
    if not (replaces and os.path.lexists(old)):
        new.replace(old)
    elif _exchanged(new, old):
        remove(new)
    else:
        aside = new.with_name(f"{new.name}.old")
        remove(aside)
        old.rename(aside)
        new.rename(old)
        remove(aside)


def _is_directory(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _exchanged(one: Path, other: Path) -> bool:
    """Whether each of the two has the other's name now."""
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return _by_kernel("renameat2", here, os.fsencode(one), here, os.fsencode(other), exchange)


def freed(descriptor: int, begin: int, length: int) -> bool:
    """Whether these bytes of the file take no room any more, and are 0: a hole."""
    from ctypes import c_int64  # a plain number would be passed with 32 bits

    hole = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    return _by_kernel("fallocate64", descriptor, hole, c_int64(begin), c_int64(length))


def _by_kernel(call: str, *arguments: object) -> bool:
    """Whether this call of Linux, which Python does not have, succeeded: no other system has it, nor every disk."""
    import ctypes  # which only this needs

    try:
        failed = getattr(ctypes.CDLL(None), call)(*arguments)
    except (OSError, AttributeError):
        return False
    return not failed


@contextmanager
def opened(path: Path | str) -> Iterator[BufferedReader]:
    """The regular file, to be read. Raises OSError where there is none; a pipe or a device may never end."""
    with open(path, "rb", opener=_at_once) as file:
        if not modes.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file


def is_being_written(path: Path) -> bool:
    """Whether a process has the file, or one in the directory, open to write, as far as the system tells.

    Linux gives no lease to read then. Some file systems of a network never give one: not of a new file, either.
    """
    if not any(map(_refuses_lease, within(path))):
        return False
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        return not _refuses_lease(Path(name))
    finally:
        Path(name).unlink()


def _refuses_lease(path: Path) -> bool:
    if sys.platform != "linux":
        return False
    try:
        with opened(path) as file:
            # Who opens it to write meanwhile waits until it is closed here; of that a signal tells, which ends nothing.
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def _at_once(path: str, flags: int) -> int:
    """A descriptor of the file; nobody waits for a writer to open the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def digest_of_tree(directory: Path, of_file: Callable[[Path], str]) -> str:
    """The digest of a directory, with that of each file. RetrainError where it holds what is no file.

    It is the SHA-256 of a record for each file and directory, in the order of their relative paths: the SHA-256 of the
    file (of a directory the word "directory"), a blank, the path, and a zero byte.
    """
    whole = hashlib.sha256()
    for path in tree(directory):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            what = "a symbolic link" if path.is_symlink() else "no regular file"
            remedy = "put the file itself there"
            raise RetrainError(f"{path}: is {what}, and the directory of a model may hold only files", remedy)
        what = "directory" if path.is_dir() else of_file(path)
        whole.update(what.encode() + b" " + os.fsencode(path.relative_to(directory)) + b"\0")
    return whole.hexdigest()


def copy_file(file: BinaryIO, fresh: Path) -> str:
    """The digest of the file, whose bytes and times are now in `fresh`, read-only and on disk. Raises RetrainError."""
    whole = hashlib.sha256()

    def read() -> bytes:
        with file_errors(Path(file.name)):
            return file.read(_CHUNK)

    with file_errors(fresh.parent), fresh.open("xb") as copy:
        for chunk in iter(read, b""):
            whole.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.utime(copy.fileno(), ns=(0, os.fstat(file.fileno()).st_mtime_ns))  # never read; made when it was made
        os.fchmod(copy.fileno(), 0o400 | os.fstat(file.fileno()).st_mode & 0o444)  # no more open than its source
        os.fsync(copy.fileno())
    return whole.hexdigest()


def copy_tree(source: Path, fresh: Path) -> str:
    """The digest of the directory, all of which is now in `fresh`, read-only and on disk. Raises RetrainError."""

    def write(path: Path) -> str:
        with opened(path) as file:
            return copy_file(file, fresh / path.relative_to(source))

    everything = within(source)
    directories = [(each, fresh / each.relative_to(source)) for each in everything if each.is_dir()]
    for _, copy in directories:
        copy.mkdir(mode=0o700)
    whole, made_at = digest_of_tree(source, write), max(each.stat().st_mtime_ns for each in everything)
    for original, copy in reversed(directories):
        found = original.stat()
        os.utime(copy, ns=(0, made_at if copy == fresh else found.st_mtime_ns))
        copy.chmod(0o500 | found.st_mode & 0o555)
        sync_directory(copy)
    return whole


def make_directory(path: Path, mode: int = 0o755) -> None:
    """Make the directory with this mode, and those above it that are missing; never open to all, whatever the umask."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(mode=mode, exist_ok=True)
        share(path)


def share_all(path: Path) -> None:
    """Share the file, or the directory with all that is in it."""
    with suppress(OSError):
        for each in within(path):
            share(each, path.parent)


def share(path: Path, made_in: Path | None = None) -> None:
    """Give what was made here to those who work here every day.

    That is the owner of the directory, where root has made it, and its group, where that may write to the directory.
    """
    with suppress(OSError):  # another's file, or a mount that knows no owners
        above, found = (made_in or path.parent).stat(), path.lstat()
        if os.geteuid() == 0:
            os.chown(path, above.st_uid, above.st_gid, follow_symlinks=False)
        if above.st_mode & modes.S_IWGRP and not modes.S_ISLNK(found.st_mode):
            if os.geteuid() != 0 and found.st_gid != above.st_gid:
                os.chown(path, -1, above.st_gid)
            mode = modes.S_IMODE(path.stat().st_mode)
            if modes.S_ISDIR(found.st_mode):  # else only its owner could remove it
                mode |= modes.S_IWUSR
            if (shared := mode | (mode & modes.S_IRWXU) >> 3) != mode:
                path.chmod(shared)


def refuse_foreign(*paths: Path, need: int = os.W_OK | os.X_OK) -> None:
    """Raise RetrainError with the command of the owner, where one of these is another user's and we lack this right.

    Of a path that is not there yet, the nearest directory above it counts. A file that is not of the owner of its
    directory was made by mistake, and is to be given to that one.
    """
    for path in paths if os.geteuid() != 0 else ():
        there = next(each for each in (path, *path.absolute().parents) if os.path.exists(each))  # noqa: PTH110
        number = there.stat().st_uid
        if number != os.geteuid() and not os.access(there, need if there.is_dir() else need & ~os.X_OK):
            owner = str(number)  # a container may have no name for it
            with suppress(KeyError):
                owner = pwd.getpwuid(number).pw_name
            remedy = f"sudo -u {owner} retrain {shlex.join(sys.argv[1:])}"
            if there.is_file() and number != there.parent.stat().st_uid:
                remedy = f"sudo chown --reference={there.parent} {there}"
            raise RetrainError(f"{there}: belongs to {owner}, and user {os.geteuid()} has no right to use it", remedy)


def refuse_writable_by_others(path: Path, danger: str) -> None:
    """Raise RetrainError where any user may write to the path, or another than its owner put one in its place.

    In a sticky directory, as /tmp is, nobody but its owner may rename what is another's; on a read-only mount nobody
    may anything. Those who may write to the path by its group could do no more.
    """
    above = dict.fromkeys((path, *path.absolute().parents, *path.resolve().parents))  # of a link, too
    is_directory = path.is_dir()
    for each in above if is_directory or path.exists() else ():
        with file_errors(each):
            found = each.stat()
            strangers = _strangers(each, path) if is_directory and each != path else []
            is_open = found.st_mode & modes.S_IWOTH and (each == path or not found.st_mode & modes.S_ISVTX)
            is_fixed = bool(is_open or strangers) and os.statvfs(each).f_flag & os.ST_RDONLY
        if is_open and not is_fixed:
            why = f"{each}: is world-writable ({modes.filemode(found.st_mode)}), so {danger}"
            raise RetrainError(why, f"chmod o-w {each}, and see that nobody changed what is in it")
        if strangers and not is_fixed:
            why = f"{each}: belongs to user {strangers[0]}, who may put another directory in the place of {path}"
            remedy = f"chown it to root or to the owner of {path}, or move the project elsewhere"
            raise RetrainError(f"{why}, so {danger}", remedy)


def _strangers(above: Path, path: Path) -> list[str]:
    """Who owns this directory above the path, or the link to it, and is neither root nor one who may write the path."""
    ours, found = path.stat(), []
    for number in {above.stat().st_uid, above.lstat().st_uid} - {0, os.geteuid(), ours.st_uid, *_unknown_users()}:
        with suppress(KeyError):
            user = pwd.getpwuid(number)
            if ours.st_mode & modes.S_IWGRP and ours.st_gid in os.getgrouplist(user.pw_name, user.pw_gid):
                continue
        found.append(str(number))
    return found


@cache
def _unknown_users() -> set[int]:
    """The number that stands for all users outside of this user namespace, as of a rootless container, if it is one."""
    with suppress(OSError):
        mapped = Path("/proc/self/uid_map").read_text().split()
        return {65534} if mapped[1:] != ["0", "4294967295"] else set()
    return set()


def free(path: Path) -> int:
    """Bytes that may still be written to the disk of this file or directory."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def is_full(path: Path) -> bool:
    """Whether this disk has no room for what a command records."""
    return free(path) < _RECORDED


def replace(file: Path, content: bytes) -> None:
    """Replace the file by one with this content, which every user may read and nobody sees half. Raises OSError.

    What a crash loses is written again by the next command, so nothing waits for the disk.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        new.unlink()
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, 0o644)  # whatever the umask
            opened.write(content)
        new.replace(file)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def sync_directory(directory: Path) -> None:
    """Put what was created, renamed and removed in the directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
