"""One run at a time: between processes, past a killed controller, and whatever the file holds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from retrain.effects import lock
from retrain.errors import Exit, RetrainError
from tests.conftest import real

T0 = datetime(2026, 11, 22, 16, 10, tzinfo=UTC)
HOLDING = """
import subprocess, sys
from datetime import datetime
from pathlib import Path
from retrain.effects import lock
since, inherited = datetime.fromisoformat(sys.argv[2]), sys.argv[4] != "ends and frees it"
with lock.attempt(Path(sys.argv[1]), "check", since) as held:
    held.inherited = inherited
    if sys.argv[3] == "with a child":
        # Like a training: it inherits the descriptor, and ends when its standard input does.
        child = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
        subprocess.Popen(child, pass_fds=(held.descriptor,), start_new_session=True)
    else:
        print(1, flush=True)
    if sys.argv[4] == "waits":
        sys.stdin.read()
"""
FOREIGN = (
    "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); sys.stdin.read()"
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def held(state: Path, how: str = "alone", then: str = "waits") -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock until its standard input ends."""
    command = [sys.executable, "-c", HOLDING, str(state), T0.isoformat(), how, then]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()


def is_free(state: Path) -> bool:
    try:
        with lock.hold(state, "promote", T0):
            return True
    except lock.HeldError:
        return False


def test_it_is_exclusive_between_processes_and_names_its_holder(state: Path) -> None:
    """The second is told at once who holds it and since when; exit code 75."""
    with held(state) as process:
        with pytest.raises(lock.HeldError) as caught, lock.hold(state, "promote", T0):
            pass
        who = lock.Holder("check", process.pid, T0)
        assert caught.value.holder == who
        assert caught.value.exit_code is Exit.BUSY
        expected = f"retrain check (process {process.pid}, since 2026-11-22 16:10 UTC)"
        assert str(caught.value) == f"busy: {expected} holds the lock {state / 'lock'}; try again when it has ended"
        assert lock.holder(state) == who
    process.wait()
    assert is_free(state)
    assert lock.holder(state) is None


def test_the_name_of_a_holder_before_is_not_taken_for_that_of_the_present_one(state: Path) -> None:
    """A run may be held up between taking the lock and writing its name; nobody is called stuck for that."""
    with held(state):
        before = lock.holder(state)
        assert lock.is_held_still(state, before)
    with held(state) as process:
        assert lock.holder(state) != before
        assert not lock.is_held_still(state, before), process.pid
    assert not lock.is_held_still(state, before)


def test_an_attempt_does_not_wait_and_names_who_has_it(state: Path) -> None:
    """A check that finds the lock held goes on without it, and knows who holds it."""
    with held(state) as process, lock.attempt(state, "check", T0) as missed:
        assert missed.descriptor is None
        assert missed.holder == lock.Holder("check", process.pid, T0)
    with lock.attempt(state, "check", T0) as found:
        assert found.descriptor is not None
        assert not is_free(state)
    assert is_free(state)


def test_a_person_waits_for_a_holder_that_is_brief(state: Path) -> None:
    """The holder is named once; when it ends in time, the lock is had."""
    named: list[lock.Holder] = []
    with held(state) as process:
        waiting = Thread(target=process.communicate, args=(b"",))

        def end(holder: lock.Holder) -> None:
            named.append(holder)
            waiting.start()

        with lock.hold(state, "promote", T0, wait=timedelta(seconds=60), on_wait=end) as descriptor:
            assert descriptor > 0
        waiting.join()
    assert [holder.pid for holder in named] == [process.pid]


def test_nobody_waits_for_a_training(state: Path) -> None:
    """A holder that says what takes long is not waited for, and is named with it."""
    with lock.attempt(state, "check", T0) as found:
        lock.describe(found.descriptor or 0, "training")
        with pytest.raises(lock.HeldError, match="16:10 UTC, training"):
            lock.hold(state, "promote", T0, wait=timedelta(hours=1)).__enter__()


def test_it_is_exclusive_within_a_process(state: Path) -> None:
    """Two descriptors of one process are two runs."""
    with lock.hold(state, "check", T0):
        assert not is_free(state)
    assert is_free(state)


def test_it_is_free_when_the_block_fails(state: Path) -> None:
    """However a run ends."""
    with pytest.raises(ZeroDivisionError), lock.hold(state, "check", T0):
        raise ZeroDivisionError
    assert is_free(state)


def test_the_kernel_frees_it_when_the_holder_is_killed(state: Path) -> None:
    """Nobody has to remove anything."""
    with held(state) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lock.holder(state) is None
        assert is_free(state)


@pytest.mark.parametrize("then", ["waits", "ends"])
def test_a_training_keeps_it_when_the_controller_is_gone(state: Path, then: str) -> None:
    """Killed, or ended as ever while a part of the training escaped; busy, and still named, until the last one ends."""
    with held(state, "with a child", then) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_free(state)
        assert lock.holder(state) == lock.Holder("check", process.pid, T0)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.read()  # ends while the child does
        deadline = time.monotonic() + 20
        while not is_free(state):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_service_that_a_hook_started_does_not_keep_it(state: Path) -> None:
    """It inherited the descriptor and lives on; the command has ended, and a rollback must not wait for it."""
    with held(state, "with a child", "ends and frees it") as process:
        process.wait()
        assert is_free(state)
        assert lock.holder(state) is None


def test_the_file_is_never_deleted(state: Path) -> None:
    """Else two runs could hold two files of the same name. Only its owner may read it."""
    with lock.hold(state, "check", T0):
        first = (state / "lock").stat()
    assert is_free(state)
    assert (state / "lock").stat().st_ino == first.st_ino
    assert first.st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xff\x00",
        b"{",
        b"[]",
        b"5",
        b"null",
        b"[" * 4096,
        b"{}",
        b'{"command": "check", "pid": Infinity, "since": "2026-11-22T16:10:00+00:00"}',
        b'{"command": "check", "pid": "x", "since": "2026-11-22T16:10:00+00:00"}',
        b'{"command": "check", "pid": 1, "since": 5}',
        b'{"command": "check", "pid": 1, "since": "soon"}',
    ],
)
def test_garbage_in_the_file_is_no_name(state: Path, garbage: bytes) -> None:
    """What holds is the kernel's lock, not the content: free is free, and busy is busy with whom the kernel names."""
    state.mkdir()
    (state / "lock").write_bytes(garbage)
    assert is_free(state)
    with lock.hold(state, "check", T0):
        (state / "lock").write_bytes(garbage)
        with pytest.raises(lock.HeldError, match=rf"another program \(process {os.getpid()}\) holds the lock"):
            lock.hold(state, "promote", T0).__enter__()


@pytest.mark.parametrize("named", [None, os.getpid(), 2**22 + 1], ids=["nobody", "a living process", "a dead process"])
def test_another_program_that_holds_it_is_named_as_such(state: Path, named: int | None) -> None:
    """flock(1), or a backup: the kernel says which process; a name that a killed run left in the file is not its."""
    assert is_free(state)
    if named is not None:
        (state / "lock").write_bytes(msgspec.json.encode(lock.Holder("check", named, T0)))
    command = [sys.executable, "-c", FOREIGN, str(state / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        with pytest.raises(lock.HeldError) as caught:
            lock.hold(state, "promote", T0).__enter__()
        who = f"another program (process {process.pid})"
        assert str(caught.value) == f"busy: {who} holds the lock {state / 'lock'}; try again when it has ended"
        assert str(lock.holder(state)) == who
        process.communicate(b"")
    assert lock.holder(state) is None


def test_a_holder_in_a_container_is_the_holder(state: Path) -> None:
    """There it has another id, which it writes; here it is named by the id that it has here."""
    namespace = [str(real("unshare")), "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces for processes cannot be made here")
    command = [*namespace, sys.executable, "-c", HOLDING, str(state), T0.isoformat(), "alone", "waits"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        assert json.loads((state / "lock").read_bytes())["pid"] == 1
        found = lock.holder(state)
        assert found is not None and (found.command, found.since) == ("check", T0)
        assert int(Path(f"/proc/{found.pid}/stat").read_text().rpartition(")")[2].split()[1]) == process.pid
        process.communicate(b"")


def test_a_time_without_a_zone_can_be_subtracted(state: Path) -> None:
    """A holder's time is always an aware one, since a check asks how long ago it was."""
    with lock.hold(state, "check", T0):
        content = {"command": "check", "pid": os.getpid(), "since": "2026-11-22T16:10:00"}
        (state / "lock").write_text(json.dumps(content))
        holder = lock.holder(state)
    assert holder is not None and holder.since is not None
    assert abs(holder.since - T0) < timedelta(days=2)


def test_asking_for_the_holder_writes_nothing(state: Path) -> None:
    """Not even the directory: `status` changes nothing."""
    assert lock.holder(state) is None
    assert not state.exists()
    assert is_free(state)
    before = (state / "lock").read_bytes(), (state / "lock").stat().st_mtime_ns
    assert lock.holder(state) is None
    assert ((state / "lock").read_bytes(), (state / "lock").stat().st_mtime_ns) == before


def test_a_lock_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    """In one sentence with the path: a directory in its place, a file in place of the directory, a device."""
    (tmp_path / "directory" / "lock").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "lock").symlink_to(os.devnull)
    for name in ("directory", "file", "device"):
        path = tmp_path / name / "lock"
        with pytest.raises(RetrainError) as caught, lock.hold(tmp_path / name, "check", T0):
            pass
        assert str(caught.value).startswith(f"{path}: the lock cannot be used: ")
