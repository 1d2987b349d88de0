"""The slices of a tally: the holdout by the values of its columns, whatever chunks and format."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from retrain.core.verdicts import Cell, Slice, Tally
from retrain.effects import evaluation
from tests.effects.conftest import configured
from tests.effects.toy_models import Says, Sign
from tests.scoring import scored

pytestmark = pytest.mark.usefixtures("scored_here")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a champion that says 0 and a challenger that looks at column `a`."""
    joblib.dump(Says(0), tmp_path / "champion")
    joblib.dump(Sign(), tmp_path / "challenger")
    return tmp_path


def compare(here: Path, holdout: Path, slices: tuple[str, ...], **changes: Any) -> Tally:
    config = configured(holdout, slices=slices, **changes)
    return evaluation.compare(config, here / "champion", here / "challenger", holdout)


def answer(here: Path, holdout: Path, slices: tuple[str, ...], chunk: int) -> dict[str, Any]:
    """What the child answers, for a chunk size of choice."""
    request: dict[str, Any] = {
        "job": "compare",
        "champion": str(here / "champion"),
        "challenger": str(here / "challenger"),
        "holdout": str(holdout),
        "target": "label",
        "dtypes": {},
        "chunk": chunk,
        "slices": list(slices),
    }
    return scored(request)


def refusal(here: Path, frame: pd.DataFrame, *slices: str) -> str:
    """The sentence of a holdout that cannot be sliced so."""
    frame.to_csv(here / "holdout.csv", index=False)
    with pytest.raises(evaluation.Unscorable) as caught:
        compare(here, here / "holdout.csv", slices)
    assert caught.value.side == "holdout"
    return str(caught.value)


def test_every_value_of_every_column_is_a_slice(here: Path) -> None:
    """In the order of the configuration, then of the values: numbers, texts, and at last the missing value."""
    frame = pd.DataFrame(
        {
            "a": [1, -1, 1, -1, 1],
            "region": ["south", "north", None, "north", "south"],
            "adult": [True, False, True, True, True],
            "children": [2.0, 0.0, None, 10.0, 2.0],
            "row": range(5),
            "label": [1, 0, 0, 1, 1],
        }
    )
    frame.to_parquet(here / "holdout.parquet")
    tally = compare(here, here / "holdout.parquet", ("region", "adult", "children"))
    won, kept, false_alarm, missed = (1, 0, 1), (0, 0, 0), (0, 0, 1), (1, 0, 0)
    assert tally.slices == (
        Slice("region", "north", (Cell(*kept, 1), Cell(*missed, 1))),
        Slice("region", "south", (Cell(*won, 2),)),
        Slice("region", None, (Cell(*false_alarm, 1),)),
        Slice("adult", 0, (Cell(*kept, 1),)),
        Slice("adult", 1, (Cell(*false_alarm, 1), Cell(*missed, 1), Cell(*won, 2))),
        Slice("children", 0, (Cell(*kept, 1),)),
        Slice("children", 2, (Cell(*won, 2),)),
        Slice("children", 10, (Cell(*missed, 1),)),
        Slice("children", None, (Cell(*false_alarm, 1),)),
    )
    assert all(type(part.value) is int for part in tally.slices if part.column in ("adult", "children") and part.value)


def test_without_slices_there_are_none(here: Path) -> None:
    """A column is sliced by only if the configuration says so."""
    pd.DataFrame({"a": [1, -1], "label": [1, 0]}).to_csv(here / "holdout.csv", index=False)
    assert compare(here, here / "holdout.csv", ()).slices == ()


def test_chunks_and_format_do_not_matter(here: Path) -> None:
    """Missing cells, truth values, days and words among numbers give the same slices in CSV and Parquet."""
    frame = pd.DataFrame(
        {
            "a": [1.0, -1.0, 2.0, -2.0] * 3,
            "shop": ["1", "x", None, "2"] * 3,
            "rooms": pd.array([1, None, 3, 1] * 3, "Int64"),
            "share": [0.5, 1.0, 2.0, None] * 3,
            "member": pd.array([True, None, False, True] * 3, "boolean"),
            "day": pd.to_datetime(pd.Series(["2024-01-01", "2024-02-01", None, "2024-01-01"] * 3)),
            "month": [date(2024, 1, 1), date(2024, 2, 1), None, date(2024, 1, 1)] * 3,
            "price": [Decimal("1.50"), Decimal("2.00"), None, Decimal("1.50")] * 3,
            "grade": pd.Categorical(["b", "a", None, "b"] * 3),
            "label": [1, 0, 1, 0] * 3,
        }
    )
    frame.to_csv(here / "holdout.csv", index=False)
    frame.sample(frac=1, random_state=1).to_parquet(here / "holdout.parquet")
    names = tuple(name for name in frame.columns if name not in ("a", "label"))
    found = [
        answer(here, here / f"holdout.{file}", names, chunk)["slices"]
        for file, chunk in (("csv", 1), ("csv", 7), ("parquet", 5), ("parquet", 100))
    ]
    assert all(one == found[0] for one in found)
    assert [value for column, value, *_ in found[0] if column == "day"] == ["2024-01-01", "2024-02-01", None]
    assert [value for column, value, *_ in found[0] if column == "month"] == ["2024-01-01", "2024-02-01", None]
    assert [value for column, value, *_ in found[0] if column == "price"] == [1.5, 2, None]


def test_values_that_are_no_labels_are_called_by_their_text(here: Path) -> None:
    """Lists, too; where there is none the value is missing."""
    frame = pd.DataFrame({"a": [1, -1, 1], "tags": [["x", "y"], None, ["x", "y"]], "label": [1, 0, 1]})
    frame.to_parquet(here / "holdout.parquet")
    assert [part.value for part in compare(here, here / "holdout.parquet", ("tags",)).slices] == ["['x', 'y']", None]


def test_the_slices_of_a_column_are_the_whole_holdout(here: Path) -> None:
    """Also of a holdout of several chunks."""
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"a": random.normal(size=120_000), "s": random.choice(["x", "y", "z"], 120_000)})
    frame.assign(label=(frame["a"] > 1).astype(int)).to_parquet(here / "holdout.parquet")
    one = compare(here, here / "holdout.parquet", ("s",))
    assert [part.value for part in one.slices] == ["x", "y", "z"]
    assert sum(cell.rows for part in one.slices for cell in part.cells) == 120_000


def test_a_column_that_is_not_there(here: Path) -> None:
    """The column, the key that names it, and what there is."""
    message = refusal(here, pd.DataFrame({"a": [1], "label": [1]}), "region")
    assert message.endswith("has no column 'region', which promotion.slices names; it has a, label")


def test_the_label_is_no_slice(here: Path) -> None:
    """Slices by the truth would ask of each class what the metric asks of all."""
    message = refusal(here, pd.DataFrame({"a": [1], "label": [1]}), "label")
    assert "cannot be sliced by 'label', which is promotion.target: promotion.slices names" in message


def test_a_column_of_too_many_values(here: Path) -> None:
    """Hundreds of tiny slices protect no one: the sentence says how many at least, and what to name instead."""
    frame = pd.DataFrame({"a": range(101), "label": [0, 1] + [1] * 99})
    frame.to_csv(here / "holdout.csv", index=False)
    with pytest.raises(evaluation.Unscorable, match=r"at least 101 different values in column 'a'.*such as an age gr"):
        compare(here, here / "holdout.csv", ("a",))
    frame.assign(a=pd.Series([None, *range(100)], dtype="Int64")).to_csv(here / "holdout.csv", index=False)
    assert len(compare(here, here / "holdout.csv", ("a",)).slices) == 101


def test_too_many_values_are_counted_over_all_chunks(here: Path) -> None:
    """No chunk alone has too many."""
    pd.DataFrame({"a": range(300), "label": [0, 1, 1] * 100}).to_csv(here / "holdout.csv", index=False)
    with pytest.raises(Exception, match="at least 110 different values"):
        answer(here, here / "holdout.csv", ("a",), 10)
