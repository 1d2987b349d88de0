"""This machine as far as files depend on it: what kind of file system, how much room, who may write."""

import grp
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from retrain.errors import file_errors_told

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ncpfs"}
    | {"coda", "orangefs", "vboxsf", "prl_fs", "virtiofs", "davfs", "fuse.sshfs", "fuse.ceph", "fuse.glusterfs"}
    | {"fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.blobfuse", "fuse.mount-s3", "fuse.davfs", "fuse.vmhgfs-fuse"}
    | {"fuse.curlftpfs", "fuse.mfs", "fuse.juicefs"}
)
"""Types of file systems whose files another machine, or another kernel, may change at the same time."""
_MOUNTS = Path("/proc/self/mountinfo")


def there(path: Path) -> Path:
    """The path itself, or the nearest above it that is there, if only as a link that leads nowhere."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def leads_nowhere(path: Path) -> bool:
    """Whether this is a link to what is not there, on a disk that is not mounted perhaps."""
    return path.is_symlink() and not path.exists()


def may_write(directory: Path) -> bool:
    """Whether we may make, read and remove files in this directory."""
    return _may(directory, os.R_OK | os.W_OK | os.X_OK)


def may_write_file(file: Path) -> bool:
    """Whether we may write to this file."""
    return _may(file, os.W_OK)


def may_read(file: Path) -> bool:
    """Whether we may read this file."""
    return _may(file, os.R_OK)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def open_to_others(path: Path) -> bool:
    """Whether everybody on this machine may write here."""
    with file_errors_told(path):
        return bool(path.stat().st_mode & stat.S_IWOTH)


def group_members(path: Path) -> list[str]:
    """The other users who may write here, since they are in its group; root, who may anyway, is none of them."""
    with file_errors_told(path):
        found = path.stat()
    if not found.st_mode & stat.S_IWGRP:
        return []
    try:
        listed = grp.getgrgid(found.st_gid).gr_mem
    except KeyError:  # a group without a name, as in a container
        listed = []
    members = {
        user.pw_name: user.pw_uid for user in pwd.getpwall() if user.pw_gid == found.st_gid or user.pw_name in listed
    }
    return sorted(name for name, uid in members.items() if uid not in (0, found.st_uid))


def replaceable_by_others(file: Path) -> bool:
    """Whether everybody on this machine may put another file in the place of this one."""
    with file_errors_told(file.parent):
        mode = file.parent.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def files(directory: Path) -> Iterator[Path]:
    """The ordinary files in this directory, by name; none where there is no directory."""
    with file_errors_told(directory):
        found = sorted(directory.iterdir()) if directory.is_dir() else []
        yield from (path for path in found if path.is_file() and not path.is_symlink())


def free(path: Path) -> int:
    """The bytes that we may still write where this path lies."""
    with file_errors_told(path):
        return shutil.disk_usage(path).free


def has_names_left(path: Path) -> bool:
    """Whether more files can be made where this path lies: a file system runs out of inodes, too."""
    with file_errors_told(path):
        found = os.statvfs(path)
    return found.f_favail > 0 or found.f_files == 0


def device(path: Path) -> int:
    """What is the same for all files of one file system."""
    with file_errors_told(path):
        return path.stat().st_dev


def size(path: Path) -> int:
    """The bytes of this file; 0 where it is not there."""
    with file_errors_told(path):
        return path.stat().st_size if path.exists() else 0


def file_system(path: Path) -> str:
    """The type of the file system where this path lies; empty where this machine does not tell."""
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""
    return type_of(os.path.realpath(path), mounts)


def type_of(path: str, mountinfo: str) -> str:
    """The type of the file system that is mounted at the longest prefix of this absolute path, and last there.

    `mountinfo` is the text of /proc/self/mountinfo, see proc(5). Empty where nothing is.
    """
    longest, kind = -1, ""
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        covers = point in ("/", path) or path.startswith(f"{point}/")
        if covers and len(point) >= longest:
            longest, kind = len(point), after.split(" ")[0]
    return kind
