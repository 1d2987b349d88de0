"""Controls: challengers made from the champion, for which the right verdict is known."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from retrain.core.verdicts import Cell, Tally
from retrain.effects import evaluation
from retrain.errors import RetrainError
from tests.effects.conftest import configured
from tests.effects.toy_models import Returns, Says, Segfaults, Sign, Sleeps
from tests.scoring import scored

pytestmark = pytest.mark.usefixtures("scored_here")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a holdout of 300 rows, of which a champion that looks at column `a` gets most."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"a": random.normal(size=300)})
    frame.assign(label=(frame["a"] + random.normal(size=300) > 0).astype(int)).to_csv(
        tmp_path / "holdout.csv", index=False
    )
    return tmp_path


def controls(here: Path, champion: Any, **changes: Any) -> dict[str, Tally]:
    if champion is not None:
        joblib.dump(champion, here / "champion")
    path = None if champion is None else here / "champion"
    holdout = here / "holdout.csv"
    return dict(evaluation.controls(configured(holdout, **changes), path, holdout))


def pairs(tally: Tally) -> Counter[Any]:
    """Truth and the champion's prediction, counted."""
    counts: Counter[Any] = Counter()
    for cell in tally.cells:
        counts[cell.truth, cell.champion] += cell.rows
    return counts


def test_controls_against_a_champion(here: Path) -> None:
    """Each control meets the champion that compare meets, on the same rows of the same holdout."""
    made = controls(here, Sign())
    assert set(made) == {"itself", "shuffled", "always 0", "always 1"}
    holdout = here / "holdout.csv"
    against = evaluation.compare(configured(holdout), here / "champion", here / "champion", holdout)
    assert made["itself"].cells == against.cells
    assert all(pairs(tally) == pairs(against) for tally in made.values())
    assert {tally.holdout for tally in made.values()} == {against.holdout}
    assert {cell.challenger for cell in made["always 0"].cells} == {0}
    assert {tally.sketches for tally in made.values()} == {()}


@pytest.mark.own_process
def test_the_shuffled_control_says_what_the_champion_says_for_other_rows(here: Path) -> None:
    """As often each label, but with no more knowledge of the row than chance."""
    tally = controls(here, Sign())["shuffled"]
    mine, shuffled = Counter[Any](), Counter[Any]()
    for cell in tally.cells:
        mine[cell.champion] += cell.rows
        shuffled[cell.challenger] += cell.rows
    assert mine == shuffled
    right = {
        name: sum(c.rows for c in tally.cells if getattr(c, name) == c.truth) for name in ("champion", "challenger")
    }
    assert right["champion"] > 200
    assert 120 < right["challenger"] < 180
    assert controls(here, Sign())["shuffled"] == tally, "the seed is fixed"


def test_chunks_do_not_matter(here: Path) -> None:
    """Any chunk size makes the same controls, and progress ends at 1."""
    joblib.dump(Sign(), here / "champion")
    request = {
        "champion": str(here / "champion"),
        "holdout": str(here / "holdout.csv"),
        "target": "label",
    }
    heard: list[dict[str, Any]] = []
    made = [
        scored({"job": "controls", **request, "dtypes": {}, "chunk": chunk}, heard.append) for chunk in (7, 99, 1000)
    ]
    assert made[0] == made[1] == made[2]
    assert heard[-1] == {"progress": 1.0}
    assert {"at": "champion"} in heard


def test_without_a_champion_there_are_only_dummies(here: Path) -> None:
    """One for each of the ten most frequent labels, the most frequent first; labels may be texts."""
    labels = ["m"] * 5 + [letter for letter in "abcdefghijkl" for _ in range(2)]
    pd.DataFrame({"a": range(29), "label": labels}).to_csv(here / "holdout.csv", index=False)
    made = controls(here, None)
    assert list(made) == [f"always {letter}" for letter in "mabcdefghi"]
    assert set(made["always m"].cells) == {Cell("m", None, "m", 5)} | {Cell(x, None, "m", 2) for x in "abcdefghijkl"}


def test_a_champion_that_cannot_be_used(here: Path) -> None:
    """Faults and other labels are the champion's, in the sentences of compare."""
    for champion, sentence in [
        ({}, "the champion .* holds a dict"),
        (Says("1"), "the champion .* predicts '1', but column 'label' of .* has 0, 1"),
        (Returns([0.5] * 300), "the champion .* returns 0.5; retrain needs class labels"),
    ]:
        with pytest.raises(evaluation.Unscorable, match=sentence) as caught:
            controls(here, champion)
        assert caught.value.side == "champion"


@pytest.mark.own_process
def test_a_champion_that_crashes(here: Path) -> None:
    """As in compare."""
    with pytest.raises(evaluation.Unscorable, match=r"the champion .*by SIGSEGV while it was loaded or pred") as caught:
        controls(here, Segfaults())
    assert caught.value.side == "champion"


def test_a_holdout_that_cannot_be_used(here: Path) -> None:
    """The holdout is read as compare reads it."""
    with pytest.raises(evaluation.Unscorable, match=r"has no column 'churn', which promotion\.target names"):
        controls(here, None, target="churn")


@pytest.mark.own_process
def test_the_time_limit(here: Path) -> None:
    """promotion.timeout bounds this job, too."""
    with pytest.raises(
        RetrainError, match=r"scoring on .*promotion\.timeout \(2 s\).*raise promotion.timeout, or repai"
    ):
        controls(here, Sleeps(), timeout=timedelta(seconds=2))
