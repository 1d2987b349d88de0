"""What this machine says of files: the kind of file system, and who may write."""

import os
import pwd
from pathlib import Path

import pytest

from retrain.doctor import host

MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:44 / /srv rw,relatime shared:1 - nfs4 nas:/srv rw,vers=4.2
41 40 254:1 /x /srv/churn/state rw,relatime shared:2 master:1 - xfs /dev/vdb rw
42 27 0:45 / /mnt/with\\040blank rw - fuse.sshfs me@there:/ rw
a line of another kernel
"""


@pytest.mark.parametrize(
    ("device", "kind"),
    [("254:0", "ext4"), ("0:44", "nfs4"), ("254:1", "xfs"), ("0:45", "fuse.sshfs"), ("0:21", "proc"), ("9:9", "")],
)
def test_the_type_of_a_file_system_is_that_of_its_device(device: str, kind: str) -> None:
    """As the list of mounts has it, whatever options and optional fields stand between; empty where it is not there."""
    assert host.type_of(device, MOUNTS) == kind


def test_without_mounts_nothing_is_known() -> None:
    """On another system than Linux there is no such list."""
    assert not host.type_of("254:0", "")


def test_the_file_system_of_this_machine_is_named() -> None:
    """/proc itself is of a type that everybody knows; the directory of shared memory is, too."""
    assert host.file_system(Path("/proc/self")) == "proc"
    assert host.file_system(Path("/dev/shm")) == "tmpfs"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs", "lustre"])
def test_network_file_systems_are_known_by_name(kind: str) -> None:
    """flock and SQLite's log cannot be relied on there."""
    assert kind in host.NETWORK
    assert not host.NETWORK & {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.ntfs-3g"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to a group")
def test_who_else_is_in_the_group_of_a_directory_that_it_may_write(tmp_path: Path) -> None:
    """By name; nobody where it is the owner's own group, a group without a name or users, or may not write."""
    daemon = pwd.getpwnam("daemon")
    tmp_path.chmod(0o775)
    os.chown(tmp_path, 0, daemon.pw_gid)
    assert "daemon" in host.group_members(tmp_path)
    tmp_path.chmod(0o755)
    assert host.group_members(tmp_path) == []
    tmp_path.chmod(0o775)
    os.chown(tmp_path, daemon.pw_uid, daemon.pw_gid)
    assert "daemon" not in host.group_members(tmp_path)
    os.chown(tmp_path, 0, 4_000_000)
    assert host.group_members(tmp_path) == []


def test_what_is_there_is_the_nearest(tmp_path: Path) -> None:
    """What is missing is looked at where it would be made; a dangling link is in the way of that."""
    assert host.nearest(tmp_path / "a/b") == tmp_path
    lost = tmp_path / "lost"
    lost.symlink_to("/nowhere/at/all")
    assert host.nearest(lost / "runs") == lost


def test_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    """In bytes; an ordinary file system has inodes left."""
    found = os.statvfs(tmp_path)
    free, has_inodes = host.space(tmp_path)
    assert abs(free - found.f_bavail * found.f_frsize) < 2**30
    assert has_inodes
