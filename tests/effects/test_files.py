"""What is known of a file without reading it, and how one is opened."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from retrain.effects import files
from retrain.errors import RetrainError


def grow(path: Path) -> None:
    path.write_text("longer")


def rewrite(path: Path) -> None:
    """Other bytes, and the time of the former ones."""
    before = path.stat()
    path.write_text("diff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Another file of the same name, size and time."""
    before = path.stat()
    path.with_name("new").write_text("diff")
    os.utime(path.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_name("new").replace(path)


@pytest.mark.parametrize("touch", [grow, rewrite, replace, Path.touch])
def test_a_stamp_changes_when_the_file_is_touched(tmp_path: Path, touch: Callable[[Path], None]) -> None:
    """Also where size and time are made to be what they were."""
    path = tmp_path / "file"
    path.write_text("same")
    before = files.stamp(path)
    assert before == files.stamp(path) is not None
    touch(path)
    assert files.stamp(path) not in (None, before)


def test_a_stamp_does_not_change_when_the_file_is_read(tmp_path: Path) -> None:
    """By its path or by a descriptor of it."""
    path = tmp_path / "file"
    path.write_text("same")
    before = files.stamp(path)
    with files.opened(path) as file:
        assert file.read() == b"same"
        assert files.stamp(file.fileno()) == before
    assert files.stamp(path) == before


def test_what_is_not_there_has_no_stamp(tmp_path: Path) -> None:
    """Nor what is below a file, or in a loop of links."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("none", "file/below", "loop", "x" * 300):
        assert files.stamp(tmp_path / name) is None
        assert not files.is_there(tmp_path / name)
    assert files.is_there(tmp_path / "file")


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    """A pipe without a writer would be waited for, and a device never ends."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file") as caught, files.opened(path):
            pass
        assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError), files.opened(tmp_path):
        pass
    with pytest.raises(FileNotFoundError), files.opened(tmp_path / "none"):
        pass


def test_who_could_replace_a_file_is_refused_like_who_may_write_it(tmp_path: Path) -> None:
    """By the file, and by a directory above it; the sticky bit keeps others from replacing, not from adding."""
    file = tmp_path / "place/below/file"
    file.parent.mkdir(parents=True, mode=0o755)
    file.touch(0o644)
    files.refuse_writable_by_others(file, "x")
    files.refuse_writable_by_others(tmp_path / "nothing", "x")
    for open_to_all, mode in ((file, 0o666), (file.parent, 0o777), (file.parent.parent, 0o777)):
        before = open_to_all.stat().st_mode
        open_to_all.chmod(mode)
        with pytest.raises(RetrainError, match=rf"{open_to_all}: is world-writable .* \(chmod o-w {open_to_all},"):
            files.refuse_writable_by_others(file, "x")
        open_to_all.chmod(before)
    file.parent.chmod(0o1777)
    files.refuse_writable_by_others(file, "x")
    with pytest.raises(RetrainError, match="below: is world-writable"):
        files.refuse_writable_by_others(file.parent, "x")


def test_what_a_link_leads_to_is_as_safe_as_what_is_above_that(tmp_path: Path) -> None:
    """A project's `state` may be a link to another disk."""
    (tmp_path / "open/state").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/state").symlink_to(tmp_path / "open/state")
    with pytest.raises(RetrainError, match="open: is world-writable"):
        files.refuse_writable_by_others(tmp_path / "project/state", "x")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_as_open_to_the_group_as_its_directory(tmp_path: Path, umask: int) -> None:
    """And no more open to others, nor where the group may not write; a link is left alone."""
    before = os.umask(umask)
    try:
        for mode, made, shared in ((0o2770, 0o2770, 0o660), (0o755, 0o700, 0o600)):
            place = tmp_path / oct(mode)
            place.mkdir()
            place.chmod(mode)
            files.make_directory(place / "below", 0o700)
            assert (place / "below").stat().st_mode & 0o7777 == made
            (place / "file").touch(0o600)
            files.share(place / "file")
            assert (place / "file").stat().st_mode & 0o777 == shared
            (tmp_path / "target").touch()
            (tmp_path / "target").chmod(0o600)
            (place / "link").symlink_to(tmp_path / "target")
            files.share(place / "link")
            assert (tmp_path / "target").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_who_owns_a_directory_above_could_replace_what_is_below(tmp_path: Path) -> None:
    """Unless that is root, we, who owns what is below, or one of a group that may write it; sticky or not."""
    place = tmp_path / "project/state"
    place.mkdir(parents=True)
    files.refuse_writable_by_others(place, "x")
    for mode in (0o755, 0o1755):
        os.chown(place.parent, 12345, -1)
        place.parent.chmod(mode)
        with pytest.raises(RetrainError, match=rf"project: belongs to user 12345, .* in the place of {place}, so x"):
            files.refuse_writable_by_others(place, "x")
    os.chown(place, 12345, -1)
    files.refuse_writable_by_others(place, "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
def test_whose_link_leads_to_a_directory_could_let_it_lead_elsewhere(tmp_path: Path) -> None:
    """In a sticky directory, where nobody else may."""
    place = tmp_path / "disk/state"
    place.mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk")
    files.refuse_writable_by_others(tmp_path / "link/state", "x")
    os.chown(tmp_path / "link", 12345, -1, follow_symlinks=False)
    with pytest.raises(RetrainError, match="link: belongs to user 12345"):
        files.refuse_writable_by_others(tmp_path / "link/state", "x")
