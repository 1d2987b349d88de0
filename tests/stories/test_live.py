"""`promotion.holdout: live`: a challenger is judged once, on the first labelled rows that come after its training."""

import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from tests.stories.project import CHAMPION, Project

LOG = "data/predictions.csv"


def arrive(project: Project, count: int) -> None:
    """Let this many labelled predictions be logged, spread over the second that comes; return when it has passed."""
    begin = time.time() // 1 + 1
    dice = np.random.default_rng(int(begin))
    rows = pd.DataFrame(dice.normal(size=(count, 3)), columns=list("abc"))
    moments = [datetime.fromtimestamp(begin + 0.9 * each / count, UTC).isoformat() for each in range(count)]
    truth = (rows["a"] + rows["b"] * rows["c"] > 0).astype(int)
    rows = rows.assign(timestamp=moments, prediction=(rows["a"] > 0).astype(int), y=truth)
    rows.to_csv(project.root / LOG, mode="a", header=not (project.root / LOG).exists(), index=False)
    time.sleep(max(0.0, begin + 1.1 - time.time()))


@pytest.fixture
def live(project: Project) -> Project:
    """A project whose challenger waits for 1,000 rows in a window of a second."""
    project.configure(
        promotion={"holdout": "live", "live": {"min_rows": 1000, "windows": 1, "give_up": "1h"}},
        monitor={"log": LOG, "label": "y", "window": "1s"},
        triggers={"cooldown": "0s"},
    )
    arrive(project, 300)
    project.serve(project.models.weak)
    project.train(
        f"cp {project.models.strong} $$RETRAIN_CHALLENGER",
        'test -z "$$RETRAIN_HOLDOUT"',
        "cp $$RETRAIN_TRAINING given.parquet",
    )
    project.metrics(f1=0.5)
    done = project.run("check")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(project.root / "given.parquet")) == 300, "no row is left out"
    return project


def test_it_is_judged_once_on_the_first_rows_after_the_training(live: Project) -> None:
    """Until they are complete, promote says how far they are, cron hears nothing; then it swaps, on the first rows."""
    arrive(live, 600)
    early = live.run("promote")
    assert early.returncode == 11
    assert "600 labelled rows in 1 whole window came after its training, 1,000 in 1 are needed" in early.stdout
    silent = live.run("promote", "--if-pending")
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")
    assert live.json("promote")["verdict"] is None
    assert "waits for labelled rows after its training" in live.run("status").stdout
    arrive(live, 700)
    arrive(live, 500)
    done = live.run("promote", "--if-pending")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("promoted ")
    assert "holdout rows 1,300" in done.stdout
    assert (live.root / CHAMPION).read_bytes() == live.models.strong.read_bytes()


def test_rows_are_not_lost_when_the_log_is_rotated(live: Project) -> None:
    """Those of a file that was written to after the training count as those of the log."""
    arrive(live, 700)
    (live.root / LOG).rename(live.root / f"{LOG}.1")
    arrive(live, 500)
    done = live.run("promote", "--if-pending")
    assert done.returncode == 0, done
    assert "holdout rows 1,200" in done.stdout


def test_rows_of_a_window_of_which_lines_are_lost_are_not_waited_for(live: Project) -> None:
    """Requirement: it is judged on windows that are whole, and what keeps it waiting is said."""
    arrive(live, 1100)
    log = live.root / LOG
    log.write_bytes(log.read_bytes() + "1,2,3,K\u00f6ln,1,1\n".encode("latin-1"))
    early = live.run("promote")
    assert early.returncode == 11
    for words in ("0 labelled rows in 0 whole windows", "1 line that cannot be read", "line 1402 is not UTF-8"):
        assert words in early.stdout
    arrive(live, 200)  # the line may belong to this window, too
    arrive(live, 1050)
    arrive(live, 100)
    assert "holdout rows 1,050" in live.run("promote").stdout.replace(" " * 14, " ")


def test_it_is_given_up_in_a_sentence(live: Project) -> None:
    """After give_up too few rows will not come: it is said once, and holds no training back any more."""
    live.configure(promotion={"live": {"min_rows": 1000, "windows": 1, "give_up": "1s"}})
    arrive(live, 100)
    done = live.run("promote", "--if-pending")
    assert done.returncode == 11
    assert "up after 1 s, the champion stays: 100 labelled rows" in done.stdout
    again = live.run("promote", "--if-pending")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    live.metrics(f1=0.5)
    assert live.json("check", "--dry-run")["action"] == "train"


@pytest.mark.own_process
def test_rows_from_before_the_training_do_not_count(live: Project) -> None:
    """However many the log has: its own training has read them."""
    said = live.json("promote")
    assert (said["verdict"], said["rows"], said["windows"]) == (None, 0, 0)
