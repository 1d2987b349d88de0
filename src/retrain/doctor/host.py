"""This machine as far as files depend on it: what kind of file system, how much space, who may write."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ncpfs"}
    | {"coda", "orangefs", "vboxsf", "prl_fs", "virtiofs", "davfs", "fuse.sshfs", "fuse.ceph", "fuse.glusterfs"}
    | {"fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.blobfuse", "fuse.mount-s3", "fuse.davfs", "fuse.vmhgfs-fuse"}
    | {"fuse.curlftpfs", "fuse.mfs", "fuse.juicefs"}
)
"""Types of file systems whose files another machine, or another kernel, may change at the same time."""
_MOUNTS = Path("/proc/self/mountinfo")


def there(path: Path) -> Path:
    """The path itself, or the nearest above it that exists, if only as a dangling link."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def dangling(path: Path) -> bool:
    """Whether this is a link to what does not exist, on a disk that is not mounted perhaps."""
    return path.is_symlink() and not path.exists()


def may(path: Path, mode: int) -> bool:
    """Whether the effective user has these rights (os.R_OK and others) on the path."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def world_writable(path: Path) -> bool:
    """Whether every user of this machine may write here."""
    return bool(path.stat().st_mode & stat.S_IWOTH)


def replaceable(file: Path) -> bool:
    """Whether every user of this machine may put another file in the place of this one."""
    mode = file.parent.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def group_members(path: Path) -> list[str]:
    """The other users who may write here as members of its group; without root, who may anyway."""
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


def files(directory: Path) -> Iterator[Path]:
    """The ordinary files in this directory, by name."""
    return (path for path in sorted(directory.iterdir()) if path.is_file() and not path.is_symlink())


def space(path: Path) -> tuple[int, bool]:
    """The bytes that may still be written where this path lies, and whether more files can be made there.

    A file system may run out of inodes before it runs out of bytes.
    """
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_favail > 0 or found.f_files == 0


def file_system(path: Path) -> str:
    """The type of the file system where this directory lies; empty where this machine does not say."""
    device = path.stat().st_dev
    try:
        mounts = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""
    return type_of(f"{os.major(device)}:{os.minor(device)}", mounts)


def type_of(device: str, mountinfo: str) -> str:
    """The type of the file system on this device; empty where it is not mounted.

    `device` is major:minor, and `mountinfo` the text of /proc/self/mountinfo, see proc(5).
    """
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if before.split(" ")[2:3] == [device]:
            return after.split(" ")[0]
    return ""
