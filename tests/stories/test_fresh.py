"""`promotion.holdout: fresh`: rows of the newest window are left out of a training, and judge its challenger."""

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.stories.project import CHALLENGER, CHAMPION, Project

DAY = 86_400
LOG = "data/predictions.csv"
HOLDOUT, TRAINING = "models/challenger.holdout.parquet", "models/challenger.training.parquet"


def days(models_training: Path, per_day: int, count: int, seed: int = 7) -> pd.DataFrame:
    """A log of labelled predictions of this many whole days, the last of which ended at midnight."""
    dice = np.random.default_rng(seed)
    features = pd.DataFrame(dice.normal(size=(per_day * count, 3)), columns=list("abc"))
    truth = (features["a"] + features["b"] * features["c"] + dice.normal(scale=0.3, size=len(features)) > 0).astype(int)
    midnight = time.time() // DAY * DAY
    day, number = np.divmod(np.arange(len(features)), per_day)
    at = midnight + (day - count) * DAY + number * (DAY // per_day)
    moments = [datetime.fromtimestamp(each, UTC).isoformat() for each in at]
    return features.assign(timestamp=moments, prediction=(features["a"] > 0).astype(int), y=truth)


@pytest.fixture
def fresh(project: Project) -> Project:
    """A project with a log of three days of 2,000 rows, a weak champion in service, and a strong one to be trained."""
    project.configure(promotion={"holdout": "fresh"}, monitor={"log": LOG, "label": "y"}, triggers={"cooldown": "0s"})
    days(project.models.training, 2000, 3).to_csv(project.root / LOG, index=False)
    project.serve(project.models.weak)
    project.metrics(f1=0.5)
    return project


def columns_of(project: Project, name: str) -> pd.DataFrame:
    return pd.read_parquet(project.root / name)


def test_a_training_gets_its_rows_and_promote_judges_on_those_left_out(fresh: Project) -> None:
    """Two files: disjoint, together the labelled rows of the log, the holdout of its newest day.

    They have no column that the champion made, its predictions or its scores.
    """
    pd.read_csv(fresh.root / LOG).assign(score=0.5).to_csv(fresh.root / LOG, index=False)
    fresh.configure(monitor={"score": "score"})
    fresh.train(
        'test "$$RETRAIN_HOLDOUT" = "$(CURDIR)/models/challenger.holdout.parquet"',
        f"cp {fresh.models.strong} $$RETRAIN_CHALLENGER",
        "cp $$RETRAIN_TRAINING given.parquet",
    )
    done = fresh.run("check")
    assert done.returncode == 0, done.stderr
    log = pd.read_csv(fresh.root / LOG)
    holdout, training = columns_of(fresh, HOLDOUT), columns_of(fresh, "given.parquet")
    assert list(holdout) == list(training) == ["a", "b", "c", "timestamp", "y"]
    assert (holdout.dtypes == training.dtypes).all()
    assert len(holdout) == 400
    assert len(holdout) + len(training) == len(log)
    assert not set(holdout["timestamp"]) & set(training["timestamp"])
    assert holdout["timestamp"].min() >= log["timestamp"].iloc[4000]
    promoted = fresh.json("promote")
    assert (promoted["verdict"], promoted["rows"], promoted["older_rows"]) == ("promote", 400, 0)
    assert "; age:" not in promoted["message"]
    version = (fresh.root / CHAMPION).readlink().name.partition(".")[0]
    assert (fresh.root / f"models/versions/{version}.holdout.parquet").read_bytes() == (
        fresh.root / HOLDOUT
    ).read_bytes()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_rows_of_a_log_are_no_more_open_than_the_log(fresh: Project, mode: int) -> None:
    """Neither those beside the challenger nor those that are kept with its version."""
    (fresh.root / LOG).chmod(mode)
    assert fresh.run("check").returncode == 0
    (kept,) = (fresh.root / "models/versions").glob("*.holdout.parquet")
    assert kept.stat().st_mode & 0o777 == mode & 0o444
    for name in (HOLDOUT, TRAINING):
        assert (fresh.root / name).stat().st_mode & 0o777 == mode, name


def test_drift_is_measured_against_the_given_rows_where_a_training_leaves_no_sample(fresh: Project) -> None:
    """A sample of them is kept with the version, unless the training leaves its own, or training.data is set."""
    assert fresh.run("check").returncode == 0
    (kept,) = (fresh.root / "models/versions").glob("*.reference.parquet")
    sample, rows = pd.read_parquet(kept), columns_of(fresh, TRAINING)
    assert set(sample) == {"a", "b", "c", "timestamp", "y"}
    assert len(sample) == len(rows) == 5600
    assert fresh.run("promote", "--reject", "--reason", "test").returncode == 0

    fresh.train(f"cp {fresh.models.fair} $$RETRAIN_CHALLENGER", "echo own >$$RETRAIN_REFERENCE")
    assert fresh.run("check", "--force", "--reason", "test").returncode == 0
    assert "own\n" in {file.read_bytes().decode(errors="replace") for file in kept.parent.glob("*.reference.parquet")}

    fresh.link(fresh.models.training, "data/training.csv")
    fresh.configure(training={"data": "data/training.csv"})
    fresh.train(f"cp {fresh.models.twin} $$RETRAIN_CHALLENGER")
    assert fresh.run("check", "--force", "--reason", "test").returncode == 0
    assert not (fresh.root / "models/challenger.reference.parquet").exists()


def test_the_rows_left_out_are_the_same_each_time(fresh: Project) -> None:
    """The choice is made by a hash: two trainings on one log leave out the same rows, and count as two comparisons."""
    fresh.run("check", "--force", "--reason", "one")
    first = columns_of(fresh, HOLDOUT)
    fresh.train(f"cp {fresh.models.fair} $$RETRAIN_CHALLENGER")
    fresh.run("check", "--force", "--reason", "two")
    pd.testing.assert_frame_equal(first, columns_of(fresh, HOLDOUT))


def test_no_row_is_left_out_that_the_champion_was_trained_on(fresh: Project) -> None:
    """After a promotion the newest day is known to the champion but for its own holdout; the next day is not."""
    fresh.run("check")
    assert fresh.run("promote").returncode == 0
    log = pd.read_csv(fresh.root / LOG)
    moved = (pd.to_datetime(log["timestamp"]) - pd.Timedelta(days=1)).map(pd.Timestamp.isoformat)
    newest = days(fresh.models.training, 300, 1, seed=8)
    pd.concat([log.assign(timestamp=moved), newest]).to_csv(fresh.root / LOG, index=False)
    fresh.train(f"cp {fresh.models.fair} $$RETRAIN_CHALLENGER")
    fresh.run("check", "--force", "--reason", "again")
    holdout = columns_of(fresh, HOLDOUT)
    assert len(holdout) == 200
    assert holdout["timestamp"].isin(newest["timestamp"]).sum() == 150


def test_rows_without_a_group_are_left_out_one_by_one(fresh: Project) -> None:
    """Requirement: groups are left out whole, and a row without a value in the group column stands alone.

    As one group, nearly all rows of the newest day would be missing in the training.
    """
    log = pd.read_csv(fresh.root / LOG)
    log["customer"] = [f"c{row % 40}" if row % 12 == 0 else None for row in range(len(log))]
    log.to_csv(fresh.root / LOG, index=False)
    fresh.configure(promotion={"group": "customer"})
    assert fresh.run("check").returncode == 0
    holdout, training = columns_of(fresh, HOLDOUT), columns_of(fresh, TRAINING)
    newest = training[training["timestamp"] >= log["timestamp"].iloc[4000]]
    assert 400 <= len(holdout) < 420
    assert len(newest) == 2000 - len(holdout)
    assert holdout["customer"].isna().sum() > 300
    assert not set(holdout["customer"].dropna()) & set(newest["customer"].dropna())


def test_without_a_log_the_training_writes_the_rows_that_it_left_out(fresh: Project) -> None:
    """It is told where by RETRAIN_HOLDOUT; a training that leaves none has failed, and the message says why."""
    (fresh.root / LOG).unlink()
    done = fresh.run("check")
    assert done.returncode == 1
    assert f"left no rows at RETRAIN_HOLDOUT, {fresh.root / HOLDOUT}, to be judged on: there is no" in done.stderr
    fresh.train(
        'test -z "$$RETRAIN_TRAINING"',
        f"cp {fresh.models.strong} $$RETRAIN_CHALLENGER",
        f"cp {fresh.root}/own.parquet $$RETRAIN_HOLDOUT",
    )
    pd.read_csv(fresh.models.holdout).head(400).to_parquet(fresh.root / "own.parquet")
    assert fresh.run("check", "--force", "--reason", "again").returncode == 0
    said = fresh.json("promote")
    assert (said["promoted"], said["rows"]) == (True, 400)
    assert "leakage: not checked for the challenger and the champion" in said["message"]


def test_a_training_whose_holdout_is_elsewhere_takes_no_rows_from_the_log(fresh: Project) -> None:
    """A log that cannot be read is in the way of no training whose rows, as its holdout's, are in an object store."""
    (fresh.root / LOG).write_text("no log of predictions\n")
    fresh.configure(promotion={"holdout": "s3://teams/holdout.parquet"})
    fresh.train('test -z "$$RETRAIN_TRAINING"', "touch begun", "exit 3")
    done = fresh.run("check")
    assert (done.returncode, (fresh.root / "begun").exists()) == (1, True), done.stderr
    assert list((fresh.root / "models").glob("challenger.*")) == []


def test_rows_older_than_the_champion_are_said_and_counted(fresh: Project) -> None:
    """Rows that a training wrote itself, in part from before the champion's training: other ones continue the count.

    One row without a time leaves the age of them all unknown.
    """
    (fresh.root / LOG).unlink()
    rows = pd.read_csv(fresh.models.holdout)
    made_at = (fresh.root / CHAMPION).stat().st_mtime
    fresh.train(f"cp {fresh.models.fair} $$RETRAIN_CHALLENGER", f"cp {fresh.root}/own.parquet $$RETRAIN_HOLDOUT")
    for look, first in ((1, 0), (2, 400)):
        own = rows.iloc[first : first + 400].assign(timestamp=[made_at - DAY] * 150 + [made_at + 1] * 250)
        own.to_parquet(fresh.root / "own.parquet")
        assert fresh.run("check", "--force", "--reason", "again").returncode == 0
        said = fresh.json("promote", "--dry-run")
        assert (said["rows"], said["older_rows"], said["look"]) == (400, 150, look)
        assert "age: 150 of the 400 holdout rows are older than the champion's training, so all" in said["message"]
    rows.iloc[800:1200].assign(timestamp=[made_at + 1] * 399 + [float("nan")]).to_parquet(fresh.root / "own.parquet")
    assert fresh.run("check", "--force", "--reason", "again").returncode == 0
    undated = fresh.json("promote", "--dry-run")
    assert (undated["older_rows"], undated["look"]) == (None, 1)
    assert "age: it is not known whether the holdout rows are newer than the champion's training" in undated["message"]


def test_a_log_with_few_rows_leaves_the_rows_to_the_training(fresh: Project) -> None:
    """Fewer than min_rows in half of the log: no file is handed out, and the message has the number of rows."""
    days(fresh.models.training, 100, 3).to_csv(fresh.root / LOG, index=False)
    done = fresh.run("check")
    assert done.returncode == 1
    assert "has 300 labelled rows in complete windows" in done.stderr
    assert not (fresh.root / TRAINING).exists()


def test_a_log_that_cannot_be_used_fails_the_training_before_it_starts(fresh: Project) -> None:
    """The command is not run, and the message names the column and the key."""
    fresh.configure(monitor={"label": "truth"})
    done = fresh.run("check")
    assert done.returncode == 1
    assert "could not be started: the log" in done.stderr
    assert "has no column 'truth', which monitor.label names" in done.stderr
    assert not (fresh.root / CHALLENGER).exists()


@pytest.mark.parametrize("per_day", [2000, 100])
def test_a_window_of_which_lines_are_lost_gives_no_row(fresh: Project, per_day: int) -> None:
    """Neither to the training nor to judge it on, for the lost rows are not lost by chance; it is said how many, why.

    Where too few rows are left, the training does not start.
    """
    rows = days(fresh.models.training, per_day, 3).assign(city="Bonn")
    rows.loc[2 * per_day :, "city"] = rows["a"].map(lambda a: "M\u00fcnchen" if a > 1 else "Bonn")
    (fresh.root / LOG).write_bytes(rows.to_csv(index=False).encode("cp1252"))
    lost = np.flatnonzero(rows["city"] != "Bonn")
    why = f"has {len(lost)} lines that cannot be read (predictions.csv: line {lost[0] + 2} is not UTF-8), so no row of"
    done, doctor = fresh.run("check"), fresh.run("doctor")
    if per_day == 100:
        assert (done.returncode, "could not be started: the log" in done.stderr, why in done.stderr) == (1, True, True)
        assert why in doctor.stdout
        return
    assert (done.returncode, why in done.stdout, why in doctor.stdout) == (0, True, True), (done, doctor)
    holdout, training = columns_of(fresh, HOLDOUT), columns_of(fresh, TRAINING)
    assert (len(holdout), len(holdout) + len(training)) == (400, 4000)
    assert set(holdout["timestamp"]) <= set(rows["timestamp"][2000:4000])


def test_a_row_without_a_time_is_a_lost_one(fresh: Project) -> None:
    """Its window is that of the rows around it, as for the monitor; where all are lost, the training does not start."""
    rows = days(fresh.models.training, 2000, 3)
    rows.loc[5000, "timestamp"] = "soon"
    rows.to_csv(fresh.root / LOG, index=False)
    assert "has 1 row without a time (timestamp: soon), so no row of their windows" in fresh.run("check").stdout
    assert len(columns_of(fresh, HOLDOUT)) + len(columns_of(fresh, TRAINING)) == 4000
    rows.assign(timestamp=20261129).to_csv(fresh.root / LOG, index=False)
    done = fresh.run("check", "--force", "--reason", "again")
    assert "has 6,000 rows without a time (timestamp: 20261129)" in done.stderr


def test_a_training_that_reads_the_rows_to_be_left_out_is_refused(fresh: Project) -> None:
    """With training.data the leakage guard compares what it was trained on with the rows left out."""
    fresh.configure(training={"data": "everything.parquet"})
    fresh.train(
        f"cp {fresh.models.strong} $$RETRAIN_CHALLENGER",
        "cp $$RETRAIN_HOLDOUT everything.parquet",
    )
    assert fresh.run("check").returncode == 0
    done = fresh.run("promote")
    assert done.returncode == 1
    assert "refused: the challenger was trained on 400 of the 400 holdout rows" in done.stderr


def test_a_challenger_without_rows_of_its_own_is_an_error_that_says_what_to_do(fresh: Project) -> None:
    """No training under fresh left it, so there is nothing to judge it on; rows beside the file are taken."""
    fresh.link(fresh.models.strong, "mine.joblib")
    done = fresh.run("promote", "mine.joblib")
    assert done.returncode == 1
    assert "has no rows to be judged on" in done.stderr
    assert "retrain check --force" in done.stderr
    pd.read_csv(fresh.models.holdout).head(400).to_parquet(fresh.root / "mine.holdout.parquet")
    assert fresh.json("promote", "mine.joblib")["promoted"]


def test_a_dry_run_says_that_the_champion_knows_the_rows_beside_a_file(fresh: Project) -> None:
    """They are not kept then, so a refusal is about the rows where they lie."""
    assert fresh.run("check").returncode == 0
    assert fresh.json("promote")["promoted"]
    fresh.link(fresh.models.fair, "mine.joblib")
    pd.read_parquet(fresh.root / TRAINING).head(400).to_parquet(fresh.root / "mine.holdout.parquet")
    done = fresh.run("promote", "mine.joblib", "--dry-run")
    assert done.returncode == 1
    assert "refused: the champion was trained on 400 of the 400 holdout rows" in done.stderr


def test_a_rotated_log_gives_the_rows_that_history_asks_for(fresh: Project) -> None:
    """Copied and cut, so that the new file has no header; without training.history the log alone counts."""
    lines = (fresh.root / LOG).read_text().splitlines(keepends=True)
    (fresh.root / f"{LOG}.1").write_text("".join(lines[:4001]))
    (fresh.root / LOG).write_text("".join(lines[4001:]))
    fresh.run("check")
    assert len(columns_of(fresh, HOLDOUT)) == 400
    assert len(columns_of(fresh, TRAINING)) == 1600
    fresh.configure(training={"history": "30d"})
    fresh.metrics(f1=0.5)
    assert fresh.run("check", "--force", "--reason", "again").returncode == 0
    assert len(columns_of(fresh, HOLDOUT)) == 400
    assert len(columns_of(fresh, TRAINING)) == 5600


def test_history_limits_the_rows_of_the_training(fresh: Project) -> None:
    """training.history counts back from now; the rows left out are of complete windows all the same."""
    fresh.configure(training={"history": "2d"})
    fresh.run("check")
    oldest = pd.to_datetime(columns_of(fresh, TRAINING)["timestamp"]).min().timestamp()
    assert oldest >= time.time() - 2 * DAY - 120
