"""The world of the demo and what its physics do to a model."""

from collections import Counter
from contextlib import chdir
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score

from retrain.config import load
from retrain.core.judge import judge
from retrain.core.verdicts import Cell, Ruling, Tally
from retrain.demo import world
from retrain.demo.train import LEFT_OUT
from retrain.exporter.psi import shift
from tests.demo.conftest import TODAY, Story

PIXELS = world.PIXELS


def f1(model: Any, rows: pd.DataFrame) -> float:
    """The model's F1 on labelled rows."""
    return float(f1_score(rows["label"], model.predict(rows[PIXELS])))


def drift(reference: pd.DataFrame, rows: pd.DataFrame) -> float:
    """The largest PSI over the pixels, as `retrain monitor` measures it."""
    return max(shift(reference[pixel], rows[pixel], bins=10).psi for pixel in PIXELS)


def days_of(log: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clean and the worn day of the log."""
    return log[: world.PER_DAY], log[world.PER_DAY :]


def test_the_images_are_dealt_once() -> None:
    """History and live scans share no image, and every image of the data set is used."""
    dealt = world.deal()
    images, _ = load_digits(return_X_y=True)
    assert len(np.unique(images, axis=0)) == len(images), "the data set itself has no image twice"
    everything = pd.concat(dealt.values())[PIXELS].to_numpy()
    assert len(everything) == len(images)
    assert len(np.unique(everything, axis=0)) == len(images)


def test_two_days_and_the_first_training_share_no_scan(story: Story) -> None:
    """The champion is judged on scans that it has not learned from, live and before its promotion."""
    first, second = days_of(story.log)
    seen = [{tuple(row) for row in rows[PIXELS].to_numpy()} for rows in (story.history, first, second)]
    assert len(set.union(*seen)) == sum(map(len, seen))
    assert len(story.clean_holdout) == LEFT_OUT
    trained = {tuple(row) for row in story.champion_reference[PIXELS].to_numpy()}
    assert trained.isdisjoint(tuple(row) for row in story.clean_holdout[PIXELS].to_numpy())


def test_the_world_is_deterministic(tmp_path: Path) -> None:
    """Starting twice on the same date gives the same bytes."""
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with chdir(tmp_path / name):
            assert world.main(["start", "--today", "2026-03-14"]) == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / name / "data").iterdir()})
    assert set(written[0]) == {".demo", "history.csv", "predictions.csv"}
    assert written[0] == written[1]


def test_a_day_is_deterministic() -> None:
    """The same day of the same world looks the same; another day has other images and other noise."""
    here = world.World(TODAY, days=1, worn=True)
    live = world.scans_of_day(here)
    pd.testing.assert_frame_equal(live, world.scans_of_day(here))
    other = world.scans_of_day(world.World(TODAY, days=2, worn=True))
    assert (other[PIXELS].to_numpy() != live[PIXELS].to_numpy()).any()


def test_a_scan_is_whole_grey_levels(story: Story) -> None:
    """However worn, the scanner gives integers from 0 to 16."""
    for rows in (story.history, story.log, story.worn_holdout):
        pixels = rows[PIXELS].to_numpy()
        assert pixels.dtype == np.int64
        assert pixels.min() >= 0
        assert pixels.max() <= 16


def test_the_log_has_the_columns_that_the_configuration_names(story: Story) -> None:
    """The monitor finds timestamp, prediction and label where config.yaml says, and takes the rest as features."""
    config, _ = load(Path(__file__).parents[2] / "config.yaml", {})
    named = [config.monitor.timestamp, config.monitor.prediction, config.monitor.label]
    assert list(story.log.columns) == named + PIXELS
    assert config.promotion.target == config.monitor.label
    assert list(story.history.columns) == ["timestamp", *PIXELS, "label"]
    assert list(story.champion_reference.columns) == PIXELS
    assert len(days_of(story.log)[0]) >= max(20 * config.monitor.bins, config.triggers.min_samples)


def test_the_days_fill_the_last_two_windows(story: Story) -> None:
    """In windows that begin at midnight in UTC, the clean day is the last but one before today, the worn the last."""
    times = pd.to_datetime(story.log["timestamp"], format="ISO8601")
    midnight = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    expected = [midnight - timedelta(days=2)] * world.PER_DAY + [midnight - timedelta(days=1)] * world.PER_DAY
    assert times.dt.floor("D").tolist() == expected
    assert times.is_monotonic_increasing


def test_the_log_holds_what_the_champion_said(story: Story) -> None:
    """The predictions in the log are those of the model that served."""
    assert (story.champion.predict(story.log[PIXELS]) == story.log["prediction"]).all()


def test_the_champion_is_good_while_the_scanner_is_clean(story: Story) -> None:
    """It clears the floor of 0.85 with room to spare, and drift stays far below 0.2."""
    clean, _ = days_of(story.log)
    assert f1(story.champion, story.clean_holdout) >= 0.95
    assert f1(story.champion, clean) >= 0.95
    assert drift(story.champion_reference, clean) <= 0.12


def test_the_worn_scanner_breaches_both_thresholds(story: Story) -> None:
    """F1 falls clearly below 0.85 without going to pieces, and drift is far above 0.2."""
    _, worn = days_of(story.log)
    assert 0.60 <= f1(story.champion, worn) <= 0.78
    assert drift(story.champion_reference, worn) >= 1.0


def test_the_challenger_beats_the_champion_clearly(story: Story) -> None:
    """On scans of today that were left out the first comparison promotes it, with room to spare."""
    config, _ = load(Path(__file__).parents[2] / "config.yaml", {})
    rows = story.worn_holdout
    said = zip(
        rows["label"].tolist(),
        story.champion.predict(rows[PIXELS]).tolist(),
        story.challenger.predict(rows[PIXELS]).tolist(),
        strict=True,
    )
    cells = tuple(Cell(*triple, rows=count) for triple, count in sorted(Counter(said).items()))
    verdict = judge(Tally(cells, holdout="worn"), config.gate, 1)
    assert verdict.ruling is Ruling.PROMOTE
    assert verdict.interval is not None
    assert verdict.interval[0] > 0.1
    assert f1(story.challenger, rows) >= 0.93


def test_after_the_promotion_the_days_are_healthy(story: Story) -> None:
    """The challenger knows the worn scanner: on a later day neither its F1 nor its drift is in breach."""
    later = world.scans_of_day(world.World(TODAY, days=2, worn=True))
    assert f1(story.challenger, later) >= 0.93
    assert drift(story.challenger_reference, later) <= 0.15


def test_the_verbs_say_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Out of order, a verb says what to do first, changes nothing and ends in 1."""
    with chdir(tmp_path):
        assert world.main(["day"]) == 1
        assert "world start" in capsys.readouterr().err
        assert not Path("data").exists()
        assert world.main(["start"]) == 0
        assert world.main(["day"]) == 1
        assert "champion.joblib is missing" in capsys.readouterr().err
        assert len(pd.read_csv("data/predictions.csv")) == 0
        assert world.main(["start"]) == 1
        assert "exists already" in capsys.readouterr().err


def test_a_day_that_is_not_over_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log never holds scans of the future."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    with chdir(tmp_path):
        assert world.main(["start", "--today", (tomorrow + timedelta(days=2)).isoformat()]) == 0
        assert world.main(["day"]) == 1
    assert f"{tomorrow} is not over yet" in capsys.readouterr().err


def test_the_story_is_told_on_any_date() -> None:
    """Nothing but the timestamps depends on the date: what is measured here holds whenever the demo is run."""
    one = world.scans_of_day(world.World(date(2026, 1, 1), days=1, worn=True))
    other = world.scans_of_day(world.World(date(2031, 7, 9), days=1, worn=True))
    pd.testing.assert_frame_equal(one.drop(columns="timestamp"), other.drop(columns="timestamp"))
