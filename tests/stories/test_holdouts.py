"""A holdout of several files: judged as the same rows in one file are."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.stories.project import CHALLENGER, CHAMPION, Project


@pytest.fixture
def parted(project: Project) -> Project:
    """A project with a champion and a challenger, whose holdout is in seven Parquet files."""
    project.link(project.models.weak, CHAMPION)
    project.link(project.models.fair, CHALLENGER)
    part(project, "data/holdout", [f"{number}.parquet" for number in range(7)])
    project.configure(promotion={"holdout": "data/holdout"})
    return project


def part(project: Project, directory: str, names: list[str]) -> Path:
    """Put the rows of the holdout into these files."""
    rows = pd.read_csv(project.models.holdout)
    target = project.root / directory
    target.mkdir(parents=True)
    for name, numbers in zip(names, np.array_split(np.arange(len(rows)), len(names)), strict=True):
        rows.iloc[numbers].to_parquet(target / name)
    return target


def verdict(said: str) -> str:
    """The part of a message that is the verdict."""
    return said[said.index("F1 ") : said.index(", holdout comparison")]


def test_files_are_judged_as_one(parted: Project) -> None:
    """Directory, pattern and one file have the same rows: one verdict, and one comparison is used up, not four."""
    first = parted.run("promote", CHALLENGER, "--dry-run")
    assert "holdout comparison 1 of 10" in first.stdout, first
    part(parted, "data/other", ["z", "a"])
    whole = pd.concat(map(pd.read_parquet, (parted.root / "data/other/a", parted.root / "data/other/z")))
    whole.to_parquet(parted.root / "data/whole.parquet")
    for holdout in ("data/other/", "data/h*/[0-9].parquet", "data/whole.parquet", "data/holdout.csv"):
        parted.configure(promotion={"holdout": holdout})
        again = parted.run("promote", CHALLENGER, "--dry-run")
        assert verdict(again.stdout) == verdict(first.stdout), holdout
        assert "holdout comparison 1 of 10" in again.stdout, again


def test_an_untouched_directory_is_not_scored_again(parted: Project) -> None:
    """The recorded verdict answers for as long as no file changed, came or went; a copy of the rows is counted anew."""
    first = parted.run("promote", CHALLENGER, "--dry-run")
    model = parted.root / CHALLENGER
    assert "recorded" in parted.run("promote", CHALLENGER, "--dry-run").stdout
    (parted.root / "data/holdout/6.parquet").unlink()
    fewer = parted.run("promote", CHALLENGER, "--dry-run")
    assert "holdout comparison 2 of 10" in fewer.stdout, (first, fewer, model)


@pytest.mark.parametrize("holdout", ["data/holdout.csv", "data/holdout/"])
def test_labels_that_are_flipped_in_place_are_another_holdout(parted: Project, holdout: str) -> None:
    """No recorded verdict answers for them, though size and time of every file are as before."""
    parted.configure(promotion={"holdout": holdout})
    assert parted.run("promote", CHALLENGER, "--dry-run").returncode == 0
    assert "recorded" in parted.run("promote", CHALLENGER, "--dry-run").stdout
    for path in [path for path in (parted.root / "data").rglob("*") if path.is_file()]:
        before, is_csv = path.stat(), path.suffix == ".csv"
        rows = pd.read_csv(path, dtype=str) if is_csv else pd.read_parquet(path)
        flipped = rows.assign(y=1 - rows["y"].astype(int))
        with path.open("r+b") as file:
            flipped.to_csv(file, index=False) if is_csv else file.write(flipped.to_parquet())
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        for name in ("st_ino", "st_size", "st_mtime_ns"):
            assert getattr(path.stat(), name) == getattr(before, name)
    done = parted.run("promote", CHALLENGER)
    assert done.returncode == 10, done
    assert "recorded" not in done.stdout
    assert "holdout comparison 1 of 10" in done.stdout, "of another holdout"


def test_files_that_change_while_they_are_read_are_no_holdout(parted: Project) -> None:
    """Nobody knows which rows were counted, so there is no verdict and the champion stays."""
    module = (parted.root / "rules.py").read_text()
    copied = f"{parted.root}/data/holdout/more.parquet"
    (parted.root / "rules.py").write_text(
        f"{module}\nimport shutil\nshutil.copy({str(parted.root / 'data/holdout/1.parquet')!r}, {copied!r})\n"
    )
    parted.installed = True
    done = parted.run("promote", CHALLENGER)
    assert done.returncode == 1, done
    assert "data/holdout: was changed while the models were scored on it; try again" in done.stderr


@pytest.mark.parametrize(
    ("holdout", "said"),
    [
        ("data/nothing/", "data/nothing: is not there, or cannot be read (is it promotion.holdout?)"),
        ("data/*.pq", "data/*.pq has no file of that name (it needs Parquet files) (is it promotion.holdout?)"),
        ("models/", "models/challenger.joblib, which is no Parquet file"),
    ],
)
def test_what_is_no_holdout_is_said(parted: Project, holdout: str, said: str) -> None:
    """A directory that is missing, holds nothing or something else: a sentence, and the champion stays."""
    parted.configure(promotion={"holdout": holdout})
    done = parted.run("promote", CHALLENGER)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_check_and_doctor_read_a_directory(parted: Project) -> None:
    """A training's challenger is tried on it, doctor tests the gate on it, status says how often it was used."""
    parted.metrics(0.3)
    assert "trained" in parted.run("check").stdout
    assert "promoted" in parted.run("promote", "--if-pending").stdout
    assert "1 of 10 used on the holdout" in parted.run("status").stdout
    found = parted.run("doctor", "-v").stdout
    assert "data/holdout has 3,000 rows with the label 'y'" in found, found
    shutil.rmtree(parted.root / "data/holdout")
    assert "is not there" in parted.run("promote", str(parted.models.fair)).stderr
    assert parted.run("status").returncode == 0
