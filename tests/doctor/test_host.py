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
43 27 0:46 / /mnt/twice rw - nfs nas:/old rw
44 43 0:47 / /mnt/twice rw - tmpfs tmpfs rw
a line of another kernel
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/state", "ext4"),
        ("/srv/churn", "nfs4"),
        ("/srv/churn/state", "xfs"),
        ("/srv/churn/state/journal.db", "xfs"),
        ("/srv/churn/statement", "nfs4"),
        ("/srvice", "ext4"),
        ("/mnt/with blank/models", "fuse.sshfs"),
        ("/mnt/twice/models", "tmpfs"),
        ("/proc/self", "proc"),
    ],
)
def test_a_path_lies_on_what_is_mounted_nearest_above_it(path: str, kind: str) -> None:
    """The longest mount point that is a whole prefix, blanks in it escaped; the later of two at one place."""
    assert host.type_of(path, MOUNTS) == kind


def test_without_mounts_nothing_is_known() -> None:
    """On another system than Linux there is no such list."""
    assert not host.type_of("/srv", "")


def test_the_file_system_of_this_machine_is_told(tmp_path: Path) -> None:
    """/proc itself is of a type that everybody knows; a temporary directory is of some type."""
    assert host.file_system(Path("/proc/self")) == "proc"
    assert host.file_system(tmp_path)


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs", "lustre"])
def test_network_file_systems_are_known_by_name(kind: str) -> None:
    """flock and SQLite's log cannot be relied on there."""
    assert kind in host.NETWORK
    assert not host.NETWORK & {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "fuse.ntfs-3g"}


def test_who_else_may_write_is_told(tmp_path: Path) -> None:
    """The right of others counts; the sticky bit keeps them from replacing a file, not from adding one."""
    file = tmp_path / "place/file"
    file.parent.mkdir(mode=0o755)
    file.touch(0o644)
    assert (host.open_to_others(file), host.replaceable_by_others(file)) == (False, False)
    file.chmod(0o666)
    file.parent.chmod(0o777)
    assert (host.open_to_others(file), host.replaceable_by_others(file)) == (True, True)
    file.parent.chmod(0o1777)
    assert (host.open_to_others(file.parent), host.replaceable_by_others(file)) == (True, False)


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
    """What is missing is looked at where it would be made; a link that leads nowhere is in the way of that."""
    assert host.there(tmp_path / "a/b") == tmp_path
    lost = tmp_path / "lost"
    lost.symlink_to("/nowhere/at/all")
    assert host.there(lost / "runs") == lost
    assert host.leads_nowhere(lost)
    assert not host.leads_nowhere(tmp_path)


def test_room_and_names_are_those_of_the_file_system(tmp_path: Path) -> None:
    """In bytes; an ordinary file system has names left."""
    found = os.statvfs(tmp_path)
    assert abs(host.free(tmp_path) - found.f_bavail * found.f_frsize) < 2**30
    assert host.has_names_left(tmp_path)
    assert host.size(tmp_path / "missing") == 0
