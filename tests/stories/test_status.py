"""`retrain status`: the state in one word, before everything else, and the latest numbers beside their thresholds."""

import json
import re
import time
from typing import Any

import pytest

from tests.stories.project import Project, until
from tests.stories.test_guards import trained


def word(project: Project) -> str:
    """The first line of `retrain status`."""
    line = project.run("status").stdout.splitlines()[0]
    assert project.json("status")["state"] == line.split(":")[0]
    return line


def test_the_state_follows_the_metrics(project: Project) -> None:
    """UNKNOWN before the first check, HEALTHY, IN BREACH while windows are confirmed, UNKNOWN without metrics."""
    project.serve(project.models.fair)
    project.configure(triggers={"consecutive": 2})
    assert word(project) == "UNKNOWN: no check has run yet"
    project.run("check")
    assert word(project) == "HEALTHY: F1 0.900 is not below 0.850; drift 0.100 is not above 0.200"
    project.metrics(f1=0.8)
    project.run("check")
    assert word(project) == "IN BREACH: F1 0.800 is below 0.850"
    (project.root / "metrics.json").unlink()
    project.run("check")
    assert word(project).startswith("UNKNOWN: F1 and drift are unknown: ")


@pytest.mark.parametrize(("f1", "state"), [(0.9, "HEALTHY"), (0.8, "IN BREACH")])
def test_a_reading_that_is_stale_by_now_says_nothing(project: Project, f1: float, state: str) -> None:
    """UNKNOWN, as a check would find it, with why; its numbers are still shown. Of several projects, too."""
    project.serve(project.models.fair)
    project.configure(triggers={"consecutive": 2, "max_age": "2h"})
    project.metrics(f1=f1, at=time.time() - 3600)
    project.run("check")
    assert word(project).startswith(f"{state}: F1 {f1:.3f} is ")
    project.configure(triggers={"max_age": "30m"})
    why = "F1 and drift are unknown: the latest reading is 1 h old and max_age is 30 min (does cron run retrain check?)"
    assert word(project) == f"UNKNOWN: {why}"
    assert f"\nf1          {f1:.3f}, threshold 0.850, window to " in project.run("status").stdout
    (project.root / "other").mkdir()
    (project.root / "other" / "config.yaml").write_text((project.root / "config.yaml").read_text())
    table = project.run("status", "-c", ".", "-c", "other").stdout
    assert table.startswith("2 projects: 2 UNKNOWN\n")
    assert project.run("check").returncode == 4


def test_the_state_follows_a_training_and_its_promotion(project: Project) -> None:
    """TRAINING while one runs, WAITING FOR PROMOTE after it; a new champion has no metrics yet."""
    project.serve(project.models.weak)
    project.train(
        "touch started; while [ ! -e go ]; do sleep 0.05; done", f"cp {project.models.strong} $(RETRAIN_CHALLENGER)"
    )
    project.metrics(f1=0.8)
    training = project.start("check")
    until((project.root / "started").exists)
    assert word(project).startswith("TRAINING: ")
    (project.root / "go").touch()
    training.communicate(timeout=60)
    assert word(project).startswith("WAITING FOR PROMOTE: challenger ")
    project.run("promote")
    assert word(project) == "UNKNOWN: no check has read the metrics of this champion yet"


def test_a_state_that_only_a_person_can_end_says_so(project: Project) -> None:
    """NEEDS A PERSON: no champion any more, a check that fails; trainings in vain are named, and go on."""
    project.serve(project.models.fair)
    project.configure(triggers={"max_unpromoted": 1, "challenger_ttl": "0s", "cooldown": "0s"})
    project.metrics(f1=0.8)
    project.run("check")
    project.metrics(f1=0.8)
    project.run("check")
    assert word(project).startswith("WAITING FOR PROMOTE: challenger ")
    shown = project.run("status").stdout
    assert "\ntrainings   2 trainings in a row brought no promotion: 1 not compared (have cron run retrain" in shown
    (project.root / "models").chmod(0o777)
    assert project.run("check").returncode == 1
    assert "models" in word(project)
    (project.root / "models").chmod(0o755)
    (project.root / "models" / "champion.joblib").unlink()
    assert word(project) == "NEEDS A PERSON: the champion is gone"


def test_a_forced_promotion_whose_hook_failed_won_nothing(project: Project) -> None:
    """What the verdict was is said, and what tries again; `promote` alone does not."""
    project.serve(project.models.weak)
    trained(project, project.models.twin)
    project.configure(promotion={"after": "false"})
    assert project.run("promote", "--force", "--reason", "test").returncode == 1
    shown = project.run("status").stdout
    failed = "and the hook after its forced promotion failed (promote --force --reason TEXT tries again)"
    assert f" was judged: inconclusive, {failed}\n" in shown
    assert " won, but" not in shown
    assert project.run("promote").returncode == 11


def test_the_latest_numbers_stand_beside_their_thresholds(project: Project) -> None:
    """F1 and drift with their thresholds; the champion's score on the holdout, and how often that was compared."""
    project.serve(project.models.weak)
    project.metrics(f1=0.8)
    project.run("check")
    project.run("promote")
    project.metrics(f1=0.91, drift=0.12)
    project.run("check")
    shown = project.run("status").stdout
    assert "\nf1          0.910, threshold 0.850, window to " in shown
    assert "\ndrift       0.120, threshold 0.200, window to " in shown
    assert re.search(r"; holdout f1 0\.\d+ on 3,000 rows\n", shown)
    assert "\ncomparisons 1 of 10 used on the holdout" in shown
    metrics = json.loads(project.run("status", "--json").stdout)["metrics"]
    assert metrics == {"f1": {"value": 0.91, "threshold": 0.85}, "drift": {"value": 0.12, "threshold": 0.2}}


def test_a_forced_training_is_named_once(project: Project) -> None:
    """`check --force --reason "new labels"`: the reason, and not twice that it trains."""
    project.run("check", "--force", "--reason", "new labels")
    shown = project.run("status").stdout
    assert ": forced: new labels; by " in shown
    assert "training: training" not in shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "trains when the evidence reaches 13.2 or on a new window of drift in breach"),
        ({"max_drop": 0.05}, "trains when the evidence reaches 13.2 or on a new window max_drop below the first or of"),
        (
            {"max_drop": 0.05, "drift_threshold": None, "consecutive": 3},
            "trains when the evidence reaches 13.2 or after 3 more windows max_drop below the first",
        ),
        ({"evidence": None, "max_drop": 0.05}, "trains on a new window in breach"),
    ],
)
def test_the_next_check_says_what_trains(project: Project, changes: dict[str, Any], words: str) -> None:
    """Each way that the rules give."""
    rule = {"min_drop": 0.03, "false_retrains_per_year": 1}
    project.configure(triggers={"evidence": rule} | changes, monitoring={"positives": "positives"})
    assert words in project.run("status").stdout


def test_f1_at_the_usual_share_of_positives_is_shown(project: Project) -> None:
    """In `status`, `check -v` and both objects, with the first window that it is compared with."""
    project.configure(
        triggers={"max_drop": 0.2},
        monitoring={"counts": {"tp": "tp", "fp": "fp", "fn": "fn"}, "samples": "n"},
    )
    for _ in range(8):
        project.metrics(f1=0.86, tp=172, fp=28, fn=28, n=1000)
        project.run("check")
    project.metrics(f1=0.80816, tp=99, fp=31, fn=16, n=1000)
    said = project.json("check")
    assert said["metrics"]["usual_share"] == 0.2
    assert said["metrics"]["f1_at_usual_share"] == pytest.approx(0.860, abs=0.001)
    numbers = "0.808, threshold 0.850, first window 0.860 (max_drop 0.200), 0.860 at the usual 20 % positives"
    assert f"f1          {numbers}" in project.run("status").stdout
    shown = project.json("status")["metrics"]["f1"]
    assert (shown["first_window"], shown["usual_share"]) == (0.86, 0.2)
    assert f"f1: breach, {numbers}, observed at " in project.run("check", "-v").stderr


def test_projects_may_share_a_secret(project: Project) -> None:
    """One that takes it from the environment leaves it there for the next."""
    project.configure(monitoring={"headers": {"Authorization": "Bearer ${TOKEN}"}})
    for name in ("one", "two"):
        (project.root / name).mkdir()
        (project.root / name / "config.yaml").write_text((project.root / "config.yaml").read_text())
    done = project.run("status", "-c", "one", "-c", "two", TOKEN="abcdefgh-1")  # noqa: S106  (no password of anything)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "2 projects: 2 UNKNOWN")
