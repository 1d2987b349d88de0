"""evaluation.compare when the child ends badly: whatever a model does, the controller says who and how."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from retrain.config.schema import LEAST_MEMORY, Models, Promotion, Size
from retrain.core.rules import Positive
from retrain.effects import evaluation
from retrain.errors import RetrainError
from tests.effects.toy_models import Calls, Exits, ExitsInWorkers, Fills, Keeps, Says, Segfaults, Sleeps

ROOT = Path(__file__).parents[2]


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


def compare(here: Path, champion: Any, challenger: Any, **changes: Any) -> int:
    joblib.dump(champion, here / "champion")
    joblib.dump(challenger, here / "challenger")
    promotion = Promotion(holdout=here / "holdout.csv", **changes)
    return evaluation.compare(
        here / "champion", here / "challenger", promotion, ROOT, lambda _: None, models=Models()
    ).rows


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


def test_a_fault_found_by_a_worker_keeps_its_side(here: Path) -> None:
    """An error in a worker process arrives as it left."""
    with pytest.raises(evaluation.Unscorable, match=r"the champion .* holds a dict") as caught:
        compare(here, {}, Says(1), jobs=Positive(2))
    assert caught.value.side == "champion"


def test_a_dead_worker_does_not_lose_the_comparison(here: Path) -> None:
    """Where a worker dies (for want of memory, say), the child does the work alone."""
    assert compare(here, Says(1), ExitsInWorkers(0), jobs=Positive(2)) == 4


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("what", ["arrays", "bytes", "numbers"])
def test_a_model_that_takes_memory_without_end_cannot_be_used(here: Path, what: str, jobs: int) -> None:
    """The model is at fault, whoever of child and workers it was loaded by, and the limit is named."""
    with pytest.raises(evaluation.Unscorable, match=r"raise promotion\.max_memory, now 576 MiB, or rep") as caught:
        compare(here, Fills(what), Says(1), jobs=Positive(jobs), max_memory=Size(576 * 1024**2))
    assert caught.value.side == "champion"


def test_a_csv_that_is_too_large_for_the_memory(here: Path) -> None:
    """A CSV is read whole, Parquet is not: the sentence says so, and names the limit."""
    with (here / "holdout.csv").open("w") as file:
        file.write("a,label\n" + "1.25,0\n" * 15_000_000)
    limit = Size(LEAST_MEMORY)
    with pytest.raises(
        evaluation.Unscorable, match=r"holdout\.csv .*max_memory.*Parquet.*a CSV is read whole"
    ) as caught:
        compare(here, Says(1), Says(1), max_memory=limit)
    assert caught.value.side == "holdout"


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_least_memory_that_can_be_configured_is_enough_for_small_models(here: Path, jobs: int) -> None:
    """What libraries reserve and do not use fails no healthy work."""
    frame = pd.read_csv(here / "holdout.csv")
    model = LogisticRegression().fit(frame[["a"]], frame["label"])
    assert compare(here, model, Says(1), jobs=Positive(jobs), max_memory=Size(LEAST_MEMORY)) == 4


def test_the_time_limit_ends_the_child(here: Path) -> None:
    """The error names the limit, long before the model would have answered."""
    with pytest.raises(RetrainError, match=r"promotion\.timeout \(2 s\)"):
        compare(here, Says(1), Sleeps(), timeout=timedelta(seconds=2))


def test_a_directory_that_is_not_there(here: Path) -> None:
    """A child that cannot start is an error that names the directory and its key."""
    with pytest.raises(RetrainError, match=r"nowhere: No such file or directory \(check training\.directory\)"):
        rules = Promotion(holdout=here / "holdout.csv")
        evaluation.compare(None, here / "m", rules, here / "nowhere", lambda _: None, models=Models())


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_controller_ends_the_child(here: Path, listener: socket.socket, jobs: int) -> None:
    """An exception in the controller ends the child and its workers, and goes on."""
    joblib.dump(Calls(listener.getsockname()[1]), here / "challenger")
    plan: dict[str, Any] = {
        "job": "compare",
        "champion": None,
        "trusted": None,
        "challenger": str(here / "challenger"),
        "holdout": str(here / "holdout.csv"),
        "target": "label",
        "dtypes": {},
        "jobs": jobs,
        "chunk": 1,
    }

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation.carry_out(plan, Promotion(), ROOT, interrupt)
    with listener.accept()[0] as line:
        assert broken(line)


@pytest.mark.parametrize(
    ("champion", "jobs"),
    [
        (Calls, 1),
        (Calls, 2),
        pytest.param(Keeps, 1, marks=pytest.mark.skipif(sys.platform != "linux", reason="needs F_SETSIG")),
    ],
)
def test_a_killed_controller_leaves_no_child_behind(
    here: Path, listener: socket.socket, champion: type[Calls], jobs: int
) -> None:
    """Even where the controller could do nothing (SIGKILL), the child and its workers end by themselves.

    That holds for a model that lets no other thread of its process run, too.
    """
    joblib.dump(champion(listener.getsockname()[1]), here / "champion")
    script = (
        "import sys\nfrom pathlib import Path\nfrom retrain.config.schema import Models, Promotion\n"
        "from retrain.effects.evaluation import compare\nhere = Path(sys.argv[1])\n"
        "rules = Promotion(holdout=here / 'holdout.csv', jobs=int(sys.argv[3]))\n"
        "compare(here / 'champion', here / 'challenger', rules, Path(sys.argv[2]), float, models=Models())\n"
    )
    joblib.dump(Sleeps(), here / "challenger")
    command = [sys.executable, "-c", script, str(here), str(ROOT), str(jobs)]
    with subprocess.Popen(command) as controller, listener.accept()[0] as line:
        controller.send_signal(signal.SIGKILL)
        assert broken(line)
