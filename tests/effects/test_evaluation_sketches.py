"""A holdout is known again, whatever columns, dtypes and decimals its file has; a fresh one is not taken for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from retrain.core.events import Judged
from retrain.core.judge import SKETCH, next_comparison, row_keys
from retrain.core.verdicts import Ruling, Tally, Verdict
from retrain.effects import evaluation
from tests.effects.conftest import configured
from tests.effects.toy_models import Says
from tests.scoring import scored as asked_of_scoring

pytestmark = pytest.mark.usefixtures("scored_here")

CHANGES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "one more column": lambda frame: frame.assign(ab=frame["a"] * frame["b"]),
    "one column less": lambda frame: frame.drop(columns="b"),
    "another dtype": lambda frame: frame.astype({"a": "float32", "zip": "str"}),
    "one column rounded": lambda frame: frame.assign(a=frame["a"].round(1)),
    "all rounded": lambda frame: frame.round(3),
    "numbered rows": lambda frame: frame.assign(row=range(len(frame))),
    "another order": lambda frame: frame.sample(frac=1, random_state=1)[sorted(frame.columns, reverse=True)],
    "half of it": lambda frame: frame[::2],
}


def rows(count: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({name: random.normal(size=count) for name in "abc"})
    town, label = random.choice(["x", "y", "z"], count), random.integers(0, 2, count)
    return frame.assign(zip=random.integers(0, 97, count), town=town, label=label)


def scored(here: Path, frame: pd.DataFrame, past: list[Judged]) -> Tally:
    frame.to_parquet(here / "holdout.parquet", index=False)
    joblib.dump(Says(1), here / "model")
    holdout = here / "holdout.parquet"
    return evaluation.compare(configured(holdout), None, here / "model", holdout, keys=row_keys(past))


def counts(here: Path, *frames: pd.DataFrame) -> list[int]:
    """The number of the comparison on each of these holdouts in turn."""
    past: list[Judged] = []
    for frame in frames:
        tally = scored(here, frame, past)
        number = next_comparison(tally, past, 10)
        verdict = Verdict(Ruling.INCONCLUSIVE, "f1", tally.rows, 0.8, 0.8, 0.05, number)
        past.append(Judged("b", "a", tally.holdout, "q", "f", verdict, sketches=tally.sketches))
    return [judged.verdict.look for judged in past]


@pytest.mark.parametrize("count", [300, 5000])
@pytest.mark.parametrize("change", CHANGES)
def test_the_count_goes_on_with_the_rows(tmp_path: Path, change: str, count: int) -> None:
    """From the holdout to the changed one, and back."""
    frame = rows(count, 1)
    other = CHANGES[change](frame)
    assert counts(tmp_path, frame, other, frame) == [1, 2, 3]
    assert counts(tmp_path, other, frame) == [1, 2]


@pytest.mark.parametrize("columns", ["abc", "zip town a", "zip town row", "a row"])
def test_fresh_rows_are_fresh(tmp_path: Path, columns: str) -> None:
    """Few columns, coarse ones and numbers of the rows make no rows known that are only alike."""
    frames = [rows(5000, seed).assign(row=range(5000)) for seed in (1, 2)]
    kept = list(columns) if columns == "abc" else columns.split()
    one, other = (frame[[*kept, "label"]] for frame in frames)
    assert counts(tmp_path, one, other) == [1, 1]


def test_hashes_of_many_rows_do_not_depend_on_the_chunk_size(tmp_path: Path) -> None:
    """More rows than hashes are kept of: what a chunk leaves out is what the whole would not keep."""
    rows(200_000, 1).to_parquet(tmp_path / "holdout.parquet", index=False)
    joblib.dump(Says(1), tmp_path / "model")
    asked: dict[str, Any] = {
        "job": "compare",
        "holdout": str(tmp_path / "holdout.parquet"),
        "target": "label",
        "dtypes": {},
    }
    asked |= {"champion": None, "challenger": str(tmp_path / "model")}
    whole, halves, pieces = (
        asked_of_scoring({**asked, "chunk": chunk})["sketches"] for chunk in (200_000, 100_000, 9_000)
    )
    assert whole == halves == pieces
    assert len(whole) > 1
    assert all(len(each["hashes"]) == SKETCH for each in whole)


def test_a_file_that_says_nothing_of_its_rows_is_known_by_all_it_has(tmp_path: Path) -> None:
    """Where every column only numbers the rows."""
    frame = pd.DataFrame({"row": range(50), "label": [0, 1] * 25})
    assert counts(tmp_path, frame, frame.assign(row=frame["row"] + 50)) == [1, 1]


def test_the_sketch_of_a_release_is_that_of_the_next(tmp_path: Path) -> None:
    """Requirement: comparisons are counted by sketches, so other hashes for the same rows give away a fresh start."""
    count = np.arange(60)
    gaps = np.where(count % 9 == 0, np.nan, count / 3)
    frame = pd.DataFrame({"a": count / 7, "gaps": gaps, "much": count * 1e9 / 7, "town": list("xyz") * 20})
    found = scored(tmp_path, frame.assign(label=count % 2), [])
    smallest = {(len(each.columns), each.decimals): min(each.hashes) for each in found.sketches}
    assert smallest[5, None] == 337554741517451035
    assert smallest[5, 2] == 265793963434527082
    assert smallest[5, 0] == 439473664618477939
