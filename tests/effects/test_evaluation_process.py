"""evaluation.compare when the child ends badly: whatever a model does, the controller says who and how."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from retrain.config.schema import LEAST_MEMORY
from retrain.effects import evaluation
from retrain.effects.evaluation import child
from retrain.effects.process import until
from retrain.errors import RetrainError
from retrain.scoring.predict import RemoteModel
from retrain.tables import CHUNK
from tests.effects.conftest import ROOT, configured
from tests.effects.toy_models import (
    Calls,
    Draws,
    Exits,
    Fills,
    Keeps,
    Lists,
    Mute,
    Raises,
    Says,
    Segfaults,
    Sleeps,
    Tires,
)
from tests.scoring import scored

_PR_GET_CHILD_SUBREAPER = 37


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a holdout of four rows."""
    pd.DataFrame({"a": [1, 2, 3, 4], "label": [0, 1, 0, 1]}).to_csv(tmp_path / "holdout.csv", index=False)
    return tmp_path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that a model can call: the line breaks when the model's process ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def broken(line: socket.socket) -> bool:
    """Whether the other end is gone, within a minute."""
    line.settimeout(60)
    try:
        return line.recv(1) == b""
    except ConnectionResetError:
        return True


def controller(here: Path) -> list[str]:
    """The command of one that compares."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom retrain.config.schema import Config, Training\n"
        "from retrain.effects.evaluation import compare\nhere = Path(sys.argv[1])\n"
        "config = Config(training=Training(directory=Path(sys.argv[2])))\n"
        "compare(config, here / 'champion', here / 'challenger', here / 'holdout.csv')\n"
    )
    return [sys.executable, "-c", script, str(here), str(ROOT)]


def marked(mark: bytes) -> list[str]:
    """The ids of the processes that run with this in their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (each / "environ").read_bytes().split(b"\0"):
                found.append(each.name)
    return found


def compare(here: Path, champion: Any, challenger: Any, **changes: Any) -> int:
    joblib.dump(champion, here / "champion")
    joblib.dump(challenger, here / "challenger")
    holdout = here / "holdout.csv"
    config = configured(holdout, **changes)
    return evaluation.compare(config, here / "champion", here / "challenger", holdout).rows


def test_an_exit_is_the_fault_of_the_model_that_was_at_work(here: Path) -> None:
    """Exit code and last words are quoted, without control characters; the side is machine-readable."""
    with pytest.raises(evaluation.Unscorable, match=r"the challenger .*exit code 7 .*giving up") as caught:
        compare(here, Says(1), Exits())
    assert caught.value.side == "challenger"
    assert str(here / "challenger") in str(caught.value)


def test_a_segfault_is_named(here: Path) -> None:
    """A champion that crashes is an error that names the signal, not a win for the challenger."""
    with pytest.raises(evaluation.Unscorable, match=r"the champion .*by SIGSEGV") as caught:
        compare(here, Segfaults(), Says(1))
    assert caught.value.side == "champion"


def test_a_fault_found_by_the_process_of_a_model_keeps_its_side(here: Path) -> None:
    """An error in that process arrives as it left."""
    with pytest.raises(evaluation.Unscorable, match=r"the champion .* holds a dict") as caught:
        compare(here, {}, Says(1))
    assert caught.value.side == "champion"


def test_no_model_is_blamed_while_the_rows_are_read_and_counted(here: Path) -> None:
    """Requirement: what ends the process that counts is laid on a model only while that one is waited for."""
    joblib.dump(Says(1), here / "model")
    asked = {"job": "compare", "holdout": str(here / "holdout.csv"), "target": "label", "dtypes": {}, "chunk": 1}
    heard: list[Any] = []
    scored({**asked, "champion": None, "challenger": str(here / "model")}, heard.append)
    at = [message["at"] for message in heard if "at" in message]
    assert at.count("challenger") == 8, "each of four rows is sent and answered"
    assert all(after == "holdout" for side, after in pairwise(at) if side == "challenger")
    assert at[0] == at[-1] == "holdout"


@pytest.mark.parametrize(
    ("ends", "sentence", "chunks"),
    [
        (Raises(ValueError("worn out")), "ValueError: worn out", 2),
        (Raises(MemoryError()), "MemoryError", 4),
        (Segfaults(), "by SIGSEGV", 4),
        (Mute(), "exit code 1 .*Bad file descriptor", 2),
    ],
    ids=["an error", "no memory", "a signal", "no answer"],
)
def test_a_model_that_fails_in_the_middle(here: Path, ends: Any, sentence: str, chunks: int) -> None:
    """Requirement: nobody waits for rows that will not be sent, or for answers to those that had been read ahead."""
    rows = pd.DataFrame({"a": range(CHUNK * chunks), "label": [0, 1] * (CHUNK * chunks // 2)})
    rows.to_parquet(here / "holdout.parquet")
    holdout = here / "holdout.parquet"
    joblib.dump(Tires(ends), here / "challenger")
    joblib.dump(Says(1), here / "champion")
    config = configured(holdout, timeout=timedelta(minutes=2))
    with pytest.raises(evaluation.Unscorable, match=rf"the challenger .*{sentence}"):
        evaluation.compare(config, here / "champion", here / "challenger", holdout)


@pytest.mark.parametrize("what", ["bytes", "numbers"])
def test_a_model_that_takes_memory_without_end_cannot_be_used(here: Path, what: str) -> None:
    """The model is at fault, and the limit is named."""
    with pytest.raises(evaluation.Unscorable, match=r"raise promotion\.max_memory, now 576 MiB, or rep") as caught:
        compare(here, Fills(what), Says(1), max_memory=576 * 1024**2)
    assert caught.value.side == "champion"


def test_a_csv_that_is_too_large_for_the_memory(here: Path) -> None:
    """A CSV is read whole, Parquet is not: the sentence says so, and names the limit."""
    with (here / "holdout.csv").open("w") as file:
        file.write("a,label\n" + f"{'x' * 200},0\n" * 1_500_000)
    limit = LEAST_MEMORY
    with pytest.raises(
        evaluation.Unscorable, match=r"holdout\.csv .*max_memory.*Parquet.*a CSV is read whole"
    ) as caught:
        compare(here, Says(1), Says(1), max_memory=limit)
    assert caught.value.side == "holdout"


def test_the_least_memory_that_can_be_configured_is_enough_for_small_models(here: Path) -> None:
    """What libraries reserve and do not use fails no healthy work."""
    frame = pd.read_csv(here / "holdout.csv")
    model = LogisticRegression().fit(frame[["a"]], frame["label"])
    assert compare(here, model, Says(1), max_memory=LEAST_MEMORY) == 4


def test_too_little_memory_for_the_libraries_is_no_fault_of_a_model(here: Path) -> None:
    """Requirement: neither side is blamed before it was loaded; the sentence names the limit."""
    with pytest.raises(
        RetrainError, match=r"before it named a model.*raise promotion\.max_memory, now 40 MiB"
    ) as caught:
        compare(here, Says(1), Says(1), max_memory=40 * 1024**2)
    assert not isinstance(caught.value, evaluation.Unscorable)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_model_has_no_file_of_another_process(here: Path) -> None:
    """Requirement: its plan, what it prints, features and predictions: four pipes, none of which another model has."""
    compare(here, Lists(str(here / "one")), Lists(str(here / "other")))
    one, other = ({*(here / name).read_text().split()} for name in ("one", "other"))
    assert one & other == {"/dev/null"}
    for each in (one, other):
        assert len({name for name in each if name.startswith("pipe:")}) == len(each) - 1 == 4


def test_two_models_draw_different_numbers(here: Path) -> None:
    """Requirement: their errors are independent, where they draw: only rows on which they differ tell them apart."""
    compare(here, Draws(str(here / "one")), Draws(str(here / "other")))
    assert (here / "one").read_text() != (here / "other").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_nothing_is_left_of_the_processes_that_were_forked(here: Path) -> None:
    """Requirement: no zombie, and no change of how this process adopts: others may call it as a library."""
    libc, before, after = ctypes.CDLL(None), ctypes.c_int(), ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before))
    compare(here, Says(0), Says(1))
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(after))
    assert before.value == after.value == 0
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not any(b"retrain.scoring" in command or not command for command in commands)


def test_rows_that_cannot_be_sent_are_an_error() -> None:
    """Nobody waits for the answer to rows that were not sent; only a process that has ended says so by itself."""
    rows = pa.table({"a": range(10_000)})
    with open("/dev/full", "wb", 0) as full, open(os.devnull, "rb") as answers:  # noqa: PTH123
        model = RemoteModel("champion", "champion", full, answers, lambda _message: None)
        with pytest.raises(OSError, match="No space left"):
            model.ask(rows)


def test_the_time_limit_ends_the_child(here: Path) -> None:
    """The error names the limit, long before the model would have answered."""
    with pytest.raises(RetrainError, match=r"promotion\.timeout \(2 s\)"):
        compare(here, Says(1), Sleeps(), timeout=timedelta(seconds=2))


def test_a_directory_that_is_not_there(here: Path) -> None:
    """A child that cannot start is an error that names the directory and its key."""
    with pytest.raises(RetrainError, match=r"nowhere: No such file or directory \(check training\.directory\)"):
        holdout = here / "holdout.csv"
        evaluation.compare(configured(holdout, here / "nowhere"), None, here / "m", holdout)


def test_an_interrupted_controller_ends_the_child(here: Path, listener: socket.socket) -> None:
    """An exception in the controller ends the child and its workers, and goes on."""
    joblib.dump(Calls(listener.getsockname()[1]), here / "challenger")
    plan: dict[str, Any] = {
        "job": "compare",
        "model": {"trusted": None, "aside": []},
        "champion": None,
        "challenger": str(here / "challenger"),
        "holdout": str(here / "holdout.csv"),
        "target": "label",
        "dtypes": {},
        "chunk": 1,
    }

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.carry_out(plan, configured(here / "holdout.csv"), interrupt)
    with listener.accept()[0] as line:
        assert broken(line)


@pytest.mark.parametrize(
    "champion",
    [
        Calls,
        pytest.param(Keeps, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs F_SETSIG")),
    ],
)
def test_a_killed_controller_leaves_no_child_behind(here: Path, listener: socket.socket, champion: type[Calls]) -> None:
    """Even where the controller could do nothing (SIGKILL), the child and its workers end by themselves.

    That holds for a model that lets no other thread of its process run, too.
    """
    joblib.dump(champion(listener.getsockname()[1]), here / "champion")
    joblib.dump(Sleeps(), here / "challenger")
    with subprocess.Popen(controller(here)) as process, listener.accept()[0] as line:
        process.send_signal(signal.SIGKILL)
        assert broken(line)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0])
def test_a_controller_that_is_killed_at_the_start_leaves_no_child_behind(here: Path, seconds: float) -> None:
    """Requirement: that holds before it knows the processes that were forked for it, and where there are none yet."""
    for model in ("champion", "challenger"):
        joblib.dump(Sleeps(), here / model)
    mark = f"MARK={here}".encode()
    with subprocess.Popen(controller(here), env={**os.environ, "MARK": str(here)}) as process:
        assert until(lambda: len(marked(mark)) > 1, 60)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    assert until(lambda: not marked(mark), 60), "none that sleeps for two minutes, or waits for a plan"


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/job/step\n", ("memory.max", "memory.current", "inactive_file")),
        ("5:cpu,memory:/job/step\n", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ],
    ids=["v2", "v1"],
)
def test_the_memory_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: tuple[str, str, str]
) -> None:
    """Requirement: the smallest of what the machine has and what is left of the limit of each group above ours."""
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (tmp_path / "self/cgroup").write_text(groups)
    monkeypatch.setattr(child, "_PROC", tmp_path)
    monkeypatch.setattr(child, "_CGROUPS", tmp_path / "groups")
    assert child._free() == 8000 * 1024

    def limit(group: str, most: str, used: int, cached: int) -> None:
        directory = tmp_path / "groups" / ("memory" if "memory" in groups else "") / group
        directory.mkdir(parents=True, exist_ok=True)
        for name, value in zip(files, (most, str(used), f"{files[2]} {cached}"), strict=True):
            (directory / (name if "inactive" not in name else "memory.stat")).write_text(f"{value}\n")

    limit("job", "5000000", 1_000_000, 250_000)
    assert child._free() == 4_250_000
    limit("job/step", "max", 1000, 0)
    assert child._free() == 4_250_000
    limit("", "3000000", 2_000_000, 0)
    assert child._free() == 1_000_000, "in a container the path of the host is not there, the root is"
    limit("job/step", "3000", 4000, 0)
    assert child._free() == 0
