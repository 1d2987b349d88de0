"""The groups of a tally: rows that belong together, whatever chunks and format."""

from collections import Counter, defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from retrain.core.verdicts import Cell, Groups, Tally
from retrain.effects import evaluation
from retrain.errors import RetrainError
from retrain.scoring import groups
from tests.effects.conftest import configured
from tests.effects.toy_models import Says, Sign
from tests.scoring import scored

pytestmark = pytest.mark.usefixtures("scored_here")


class Counts:
    """1 where it was given this number of columns; it names none."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def predict(self, rows: pd.DataFrame) -> list[int]:
        return [int(rows.shape[1] == self.columns)] * len(rows)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a champion that says 0 and a challenger that looks at column `a`."""
    joblib.dump(Says(0), tmp_path / "champion")
    joblib.dump(Sign(), tmp_path / "challenger")
    return tmp_path


def compare(here: Path, holdout: Path, **changes: Any) -> Tally:
    return evaluation.compare(configured(holdout, **changes), here / "champion", here / "challenger", holdout)


def table(rows: int, customers: int) -> pd.DataFrame:
    """Rows of customers, some without a name; each is its own by its number."""
    random = np.random.default_rng(4)
    customer = pd.Series(random.integers(0, customers, rows)).map(lambda each: f"c{each}" if each else None)
    frame = pd.DataFrame({"a": random.normal(size=rows), "row": range(rows), "customer": customer})
    return frame.assign(label=random.integers(0, 2, rows), kind=random.choice(["x", "y"], rows))


def expected(frame: pd.DataFrame, cells: tuple[Cell, ...]) -> Groups:
    """The groups by their definition, one by one."""
    tallies: dict[Any, Counter[int]] = defaultdict(Counter)
    places = {(cell.truth, cell.champion, cell.challenger): place for place, cell in enumerate(cells)}
    for place, (_, row) in enumerate(frame.iterrows()):
        key = place if row["customer"] is None or pd.isna(row["customer"]) else row["customer"]
        tallies[key][places[row["label"], 0, int(row["a"] > 0)]] += 1
    together: Counter[tuple[int, int]] = Counter()
    for tally in tallies.values():
        for one, other in product(tally, tally):
            together[min(one, other), max(one, other)] += tally[one] * tally[other]
    discordant = sum(any(cells[place].challenger == 1 for place in tally) for tally in tallies.values())
    return Groups(len(tallies), discordant, tuple((*pair, n) for pair, n in sorted(together.items())), "customer")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_of_one_group_are_counted_together(here: Path, suffix: str) -> None:
    """Numbers of groups, discordant ones, and how often two cells share one; a row without a group stands alone."""
    frame, holdout = table(500, 30), here / f"holdout.{suffix}"
    frame.to_parquet(holdout) if suffix == "parquet" else frame.to_csv(holdout, index=False)
    tally = compare(here, holdout, group="customer", slices=("kind",))
    assert tally.groups == expected(frame, tally.cells)
    assert [each.groups for each in tally.slices] == [
        expected(frame[frame["kind"] == each.value], each.cells) for each in tally.slices
    ]


def test_chunks_do_not_matter(here: Path) -> None:
    """A group is whole, whichever chunks its rows are in."""
    table(400, 20).to_csv(here / "holdout.csv", index=False)
    plan: dict[str, Any] = {"job": "compare", "dtypes": {}, "target": "label", "group": "customer"}
    plan |= {name: str(here / name) for name in ("champion", "challenger")} | {"holdout": str(here / "holdout.csv")}
    one, *others = (scored({**plan, "slices": ["kind"], "chunk": size}) for size in (7, 1000, 90))
    assert one["groups"]["number"] > 20
    assert others == [one, one]


def test_many_rows_are_kept_on_disk(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what is kept in memory, groups are counted shard by shard, to the same numbers."""
    table(2000, 70).to_parquet(here / "holdout.parquet")
    plan: dict[str, Any] = {"job": "compare", "dtypes": {}, "target": "label", "group": "customer"}
    plan |= {name: str(here / name) for name in ("champion", "challenger")} | {"holdout": str(here / "holdout.parquet")}
    in_memory = scored({**plan, "slices": ["kind", "customer"], "chunk": 170})
    monkeypatch.setattr(groups, "MOST_IN_MEMORY", 500)
    assert scored({**plan, "slices": ["kind", "customer"], "chunk": 170}) == in_memory
    assert in_memory["groups"]["number"] > 70


def test_copies_of_a_row_are_a_group(here: Path) -> None:
    """Without a column, rows that are equal in all columns, the label among them, belong together."""
    frame = pd.DataFrame({"a": [1.0, -1.0, 2.0], "label": [1, 1, 0]})
    pd.concat([frame, frame[:1], frame[:1].assign(label=0)]).to_csv(here / "holdout.csv", index=False)
    tally = compare(here, here / "holdout.csv")
    assert [(cell.truth, cell.challenger, cell.rows) for cell in tally.cells] == [(0, 1, 2), (1, 0, 1), (1, 1, 2)]
    assert tally.groups == Groups(4, 3, ((0, 0, 2), (1, 1, 1), (2, 2, 4)))
    frame.to_csv(here / "holdout.csv", index=False)
    assert compare(here, here / "holdout.csv").groups is None


def test_the_group_is_no_feature(here: Path) -> None:
    """A model that names no columns is not given it; one that was fitted on it is."""
    frame = pd.DataFrame({"a": [1.0, -1.0] * 4, "user": [1, 1, 2, 2, 3, 3, 4, 4], "label": [1, 0] * 4})
    frame.to_csv(here / "holdout.csv", index=False)
    joblib.dump(Counts(1), here / "champion")
    joblib.dump(LogisticRegression().fit(frame[["a", "user"]], frame["label"]), here / "challenger")
    tally = compare(here, here / "holdout.csv", group="user")
    assert {(cell.truth, cell.champion, cell.challenger) for cell in tally.cells} == {(1, 1, 1), (0, 1, 0)}
    joblib.dump(Counts(2), here / "champion")
    assert {cell.champion for cell in compare(here, here / "holdout.csv").cells} == {1}


def test_the_group_is_no_feature_at_the_end_of_a_training(here: Path) -> None:
    """There, too, a model that names no columns is given those that promote gives it."""
    frame = pd.DataFrame({"a": [1.0, -1.0] * 4, "user": [1, 1, 2, 2, 3, 3, 4, 4], "label": [1, 0] * 4})
    frame.to_csv(here / "holdout.csv", index=False)
    joblib.dump(LogisticRegression().fit(frame[["a"]].to_numpy(), frame["label"]), here / "challenger")
    evaluation.try_out(configured(here / "holdout.csv", group="user"), here / "challenger", here / "holdout.csv")


def test_many_pairs_of_cells_are_bounded_by_their_sizes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the answer would grow too large, a group counts as copies of its rows: no error is too small for that."""
    frame = table(500, 30)
    frame.to_csv(here / "holdout.csv", index=False)
    monkeypatch.setattr(groups, "MOST_PAIRS", 9)
    cells, bounded = (found := compare(here, here / "holdout.csv", group="customer")).cells, found.groups
    exact = expected(frame, cells)
    assert bounded is not None
    assert all(one == other for one, other, _ in bounded.together)
    psi = np.random.default_rng(5).normal(size=len(cells))
    total = {each: sum(n * psi[i] * psi[j] for i, j, n in each.together) for each in (exact, bounded)}
    assert total[bounded] >= total[exact]


@pytest.mark.parametrize(("column", "words"), [("users", "promotion.group names"), ("label", "cannot be grouped by")])
def test_a_group_that_is_none_is_refused(here: Path, column: str, words: str) -> None:
    """A column that is not there, or is the label."""
    pd.DataFrame({"a": [1, -1], "label": [1, 0]}).to_csv(here / "holdout.csv", index=False)
    with pytest.raises(evaluation.Unscorable, match=words) as caught:
        compare(here, here / "holdout.csv", group=column)
    assert caught.value.side == "holdout"


def test_groups_of_other_cells_are_no_answer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is checked field by field; what cannot be is refused."""
    table(50, 5).to_csv(here / "holdout.csv", index=False)
    monkeypatch.setattr(groups, "_pairs", lambda *_: [[0, 99, 1]])
    with pytest.raises(RetrainError, match="cannot be read"):
        compare(here, here / "holdout.csv", group="customer")
