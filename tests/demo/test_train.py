"""The recipe of `make train-model`, which users replace by their own."""

import os
import subprocess
import sys
from contextlib import chdir
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

import joblib
import pandas as pd
import pytest

from retrain.demo import train, world
from retrain.demo.train import publish
from tests.demo.conftest import TODAY, Story


def test_it_writes_where_the_controller_asks(tmp_path: Path) -> None:
    """Model, reference and the rows left out go where the variables say, whole, and nothing else is left."""
    with chdir(tmp_path):
        assert world.main(["start", "--today", TODAY.isoformat()]) == 0
    wanted = tmp_path / "out" / "model.joblib", tmp_path / "out" / "rows.parquet", tmp_path / "out/left.parquet"
    asked = {
        "RETRAIN_CHALLENGER": str(wanted[0]),
        "RETRAIN_REFERENCE": str(wanted[1]),
        "RETRAIN_HOLDOUT": str(wanted[2]),
    }
    subprocess.run([sys.executable, "-m", "retrain.demo.train"], cwd=tmp_path, env=os.environ | asked, check=True)
    assert set((tmp_path / "out").iterdir()) == set(wanted)
    assert not (tmp_path / "models").exists()
    reference = pd.read_parquet(wanted[1])
    assert list(reference.columns) == world.PIXELS
    assert set(joblib.load(wanted[0]).predict(reference)) == {0, 1}


def test_it_reads_the_newest_day_only(story: Story) -> None:
    """Scans of a scanner that is no longer there are not learned from."""
    newest = story.given[world.PIXELS].tail(world.PER_DAY - train.LEFT_OUT).reset_index(drop=True)
    pd.testing.assert_frame_equal(story.challenger_reference, newest)


def test_it_says_what_it_did(story: Story) -> None:
    """Three lines: what it read, how good it seems, where it wrote."""
    rows, score, where = story.said.splitlines()
    assert rows == "training on 399 scans since 2026-03-11 00:00 from data/history.csv"
    assert score.startswith("F1 0.9")
    assert where == "wrote models/challenger.joblib"


def test_nothing_half_made_is_visible(tmp_path: Path) -> None:
    """While a file is being written, and after writing it failed, the one before it is still whole."""
    path = tmp_path / "models" / "model.joblib"
    publish(path, lambda file: file.write(b"before"))

    def fail(file: BinaryIO) -> None:
        file.write(b"hal")
        assert isinstance(file, BufferedIOBase)
        file.flush()
        assert path.read_bytes() == b"before"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        publish(path, fail)
    assert path.read_bytes() == b"before"
    publish(path, lambda file: file.write(b"after"))
    assert path.read_bytes() == b"after"
