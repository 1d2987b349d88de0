"""The directories that retrain writes, on this machine: who may write there, how much space, which file system."""

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from retrain.context import Context
from retrain.core.text import size
from retrain.doctor import Finding, fail, ok, warn
from retrain.effects import files
from retrain.errors import RetrainError

NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "ncpfs"}
    | {"coda", "orangefs", "vboxsf", "prl_fs", "virtiofs", "davfs", "fuse.sshfs", "fuse.ceph", "fuse.glusterfs"}
    | {"fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "fuse.blobfuse", "fuse.mount-s3", "fuse.davfs", "fuse.vmhgfs-fuse"}
    | {"fuse.curlftpfs", "fuse.mfs", "fuse.juicefs"}
)
"""Types of file systems whose files another machine, or another kernel, may change at the same time."""
_MOUNTS = Path("/proc/self/mountinfo")
_SPARE = 100 * 1024**2
"""Bytes that should be free besides what the models need."""
_SHOWN = 3


def nearest(path: Path) -> Path:
    """The path itself, or the nearest above it that exists, if only as a dangling link."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def may(path: Path, mode: int) -> bool:
    """Whether the effective user has these rights (os.R_OK and others) on the path."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


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
    mounts = (line.partition(" - ") for line in mountinfo.splitlines())
    return next((after.split(" ")[0] for before, _, after in mounts if before.split(" ")[2:3] == [device]), "")


def directories(context: Context) -> Iterator[Finding]:
    """Whether retrain, and nobody else, can write where it must, with space, and on a file system that locks."""
    models, state = context.config.models, context.config.state
    link = models.champion.parent
    kept = link / "versions"
    needed = _SPARE + 2 * (files.size_of(models.champion) if models.champion.exists() else 0)
    for place in dict.fromkeys((link, kept, models.challenger.parent)):
        yield from _place("models", "models.champion", place, needed, inside=place == kept)
    yield from _place("state", "state", state, _SPARE, inside=True)
    yield from _place("state", "state", state / "runs", _SPARE, inside=True)
    if kept.exists() and kept.stat().st_dev != link.stat().st_dev:
        seen = f"{kept} is on another file system than {link}, which links to it"
        yield warn("models", seen, "see that whatever loads the champion, a container say, has both")


def unwritable(what: str, seen: str, remedy: str, *paths: Path) -> Finding:
    """The failure that we may not write one of these paths. If it is another user's, the remedy is their command."""
    try:
        files.refuse_foreign(*paths)
    except RetrainError as error:
        return fail(what, error.why, error.remedy)
    return fail(what, seen, remedy)


def _place(what: str, key: str, place: Path, needed: int, *, inside: bool) -> Iterator[Finding]:
    """One directory, and the files in it that others must not write if `inside`."""
    there = nearest(place)
    if there.is_symlink() and not there.exists():
        yield fail(what, f"{there} is a dangling link to {there.readlink()}", "is its disk mounted?")
    elif not there.is_dir():
        yield fail(what, f"{there} is a file and must be a directory", f"move it away, or change {key}")
    elif not may(there, os.R_OK | os.W_OK | os.X_OK):
        missing = "" if there == place else f", and {place} cannot be made"
        seen = f"{there} is not writable by the user who runs retrain{missing}"
        yield unwritable(what, seen, f"see ls -ld {there}; it may also be on a read-only file system", there)
    else:
        problems = [*_writers(what, place, inside=inside), *_limits(what, there, needed)]
        yield from problems
        if not problems:
            state = "exists" if there == place else "will be made"
            kind = f" ({file_system(there)})" if file_system(there) else ""
            free = f"{size(space(there)[0])} free{kind}"
            yield ok(what, f"{place} {state}, writable by us, not world-writable", numbers=free)


def _writers(what: str, place: Path, *, inside: bool) -> Iterator[Finding]:
    """Who else may write here, and so run code as the user of retrain."""
    if not place.is_dir():
        return
    within = sorted(each for each in place.iterdir() if each.is_file() and not each.is_symlink()) if inside else []
    refused: dict[str, RetrainError] = {}
    for path in (place, *within):
        try:
            files.refuse_writable_by_others(path, "others can run code as the user of retrain")
        except RetrainError as error:
            refused[error.why] = error
    yield from (fail(what, each.why, each.remedy) for each in list(refused.values())[:_SHOWN])
    if group := group_members(place):
        shown = ", ".join(group[:_SHOWN]) + (" ..." if len(group) > _SHOWN else "")
        seen = f"the group of {place} may write it, and so run code as the user of retrain"
        yield warn(what, seen, f"chmod g-w {place}, unless this is intended", shown)


def _limits(what: str, there: Path, needed: int) -> Iterator[Finding]:
    """What the file system lacks: space, inodes, locks."""
    (free, has_inodes), kind = space(there), file_system(there)
    if free < needed:
        yield fail(what, f"too little space at {there}: {size(free)} free, {size(needed)} needed", "make some")
    if not has_inodes:
        yield fail(what, f"no more files can be made at {there}: it has no free inodes", "remove some")
    if kind in NETWORK and what == "state":
        seen = f"{there} is on a network file system ({kind}), where locks and SQLite cannot be relied on"
        yield fail(what, seen, "move it to a local disk and change `state`")
    elif kind in NETWORK:
        seen = f"{there} is on a network file system ({kind}), where other machines may see a new champion late"
        yield warn(what, seen, "see that nothing but retrain writes there")
