"""Rows of the training data that are found in the holdout, however the two files hold them."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from retrain.core.verdicts import Leaked
from retrain.effects import evaluation
from retrain.errors import RetrainError
from tests.effects.conftest import configured
from tests.effects.toy_models import Says
from tests.scoring import scored

pytestmark = pytest.mark.usefixtures("scored_here")

Save = Callable[[pd.DataFrame, Path], Path]


def csv(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def people(count: int, seed: int) -> pd.DataFrame:
    """Rows with whole numbers, fractions, texts, truth values, moments and codes; some cells are empty."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 99, count),
            "spend": random.normal(size=count),
            "zip": random.choice(["02138", "10001", "SW1A"], count),
            "member": random.choice([True, False], count),
            "since": pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 10**6, count), unit="s"),
            "id": random.integers(2**40, 2**60, count),
            "label": random.integers(0, 2, count),
        }
    )
    return frame.assign(note=frame["age"].map(lambda age: "née" if age > 50 else None))


def known_rows(data: Path, holdout: Path, **changes: Any) -> Path:
    into = data.with_name(f"{data.name}.rows")
    evaluation.remember_rows(configured(holdout, **changes), data, holdout, into)
    return into


def leaked(holdout: Path, known: Path | None, champion: Path | None = None, **changes: Any) -> Leaked:
    """What a comparison says of the rows that both sides were trained on."""
    model = holdout.with_name("model")
    joblib.dump(Says(1), model)
    config = configured(holdout, **changes)
    return evaluation.compare(config, model, model, holdout, known_challenger=known, known_champion=champion).leaked


def found(data: Path, holdout: Path, **changes: Any) -> int | None:
    return leaked(holdout, known_rows(data, holdout, **changes), **changes).challenger


def refused(tmp_path: Path, data: Path, holdout: Path, side: str, **changes: Any) -> str:
    """The sentence of rows that cannot be remembered."""
    with pytest.raises(evaluation.Unscorable) as caught:
        evaluation.remember_rows(configured(holdout, **changes), data, holdout, tmp_path / "rows")
    assert caught.value.side == side
    assert not (tmp_path / "rows").exists()
    return str(caught.value)


def test_what_is_remembered(tmp_path: Path) -> None:
    """The number of rows is returned; the file has each hash once, in order, and the names of the columns."""
    frame = people(50, 1)
    data = csv(pd.concat([frame, frame]).assign(timestamp=range(100)), tmp_path / "train")
    holdout = csv(frame.assign(region="x"), tmp_path / "holdout")
    count = evaluation.remember_rows(configured(holdout), data, holdout, tmp_path / "rows")
    assert count == 100
    table = pyarrow.parquet.read_table(tmp_path / "rows")
    assert table.schema.names == ["row"]
    assert table.schema.field("row").type == pa.uint64()
    hashes = table["row"].to_pylist()
    assert hashes == sorted(set(hashes))
    assert len(hashes) == 50
    assert json.loads(table.schema.metadata[b"columns"]) == sorted(frame.columns)


@pytest.mark.parametrize("training", [csv, parquet])
@pytest.mark.parametrize("holding", [csv, parquet])
def test_rows_are_known_again_in_any_file(tmp_path: Path, training: Save, holding: Save) -> None:
    """Order, other columns, format and empty cells elsewhere do not hide a row; a fresh row is not taken for one."""
    old, fresh = people(200, 1), people(300, 2)
    data = old.assign(timestamp=range(200)).sample(frac=1, random_state=3)
    data = pd.concat([data, data[:1].assign(age=None, member=None, zip=None, id=None)])
    holdout = pd.concat([fresh, old[:40], old[:2]])[[*reversed(old.columns)]]
    assert found(training(data, tmp_path / "train"), holding(holdout, tmp_path / "holdout")) == 42


def test_a_row_is_known_whatever_its_neighbours_are(tmp_path: Path) -> None:
    """A column of numbers is one of texts as soon as it holds a word: its numbers stay what they are."""
    holdout = csv(
        pd.DataFrame({"code": [7, 8, 9], "on": [True, False, True], "label": [1, 0, 1]}), tmp_path / "holdout"
    )
    texts = pd.DataFrame({"code": ["007", "8.0", "unknown"], "on": ["True", "false", "?"], "label": ["1", "0", "n/a"]})
    assert found(csv(texts, tmp_path / "train"), holdout) == 2
    assert found(parquet(texts, tmp_path / "train"), holdout) == 2


def test_numbers_of_32_bits(tmp_path: Path) -> None:
    """0.1 with 32 bits and with 64 is the same 0.1; identifiers differ in their last digit."""
    frame = pd.DataFrame({"share": [0.1, 0.2, 0.7], "id": [123456789, 123456791, 123456793], "label": [1, 0, 1]})
    data = parquet(frame.astype({"share": "float32"}), tmp_path / "train")
    assert found(data, csv(frame, tmp_path / "holdout")) == 3
    assert found(data, csv(frame.assign(id=frame["id"] + 1), tmp_path / "holdout")) == 0


@pytest.mark.parametrize("save", [csv, parquet])
def test_fractional_seconds_are_times_of_their_own(tmp_path: Path, save: Save) -> None:
    """Requirement: rows of one minute that differ in nothing but their time are no copies of each other."""
    frame = pd.DataFrame({"at": 1795737628.123 + np.arange(9) * 0.004, "kind": "x", "label": 1})
    data = csv(frame, tmp_path / "train")
    assert found(data, save(frame, tmp_path / "holdout")) == 9
    assert found(data, save(frame.assign(at=frame["at"] + 0.002), tmp_path / "holdout")) == 0


def test_rows_that_another_release_recorded_are_not_known(tmp_path: Path) -> None:
    """Requirement: the challenger is trained again; what the champion was trained on is unknown, and stops nothing."""
    old = people(5, 1)
    holdout = csv(old, tmp_path / "holdout")
    known = known_rows(csv(old, tmp_path / "train"), holdout)
    table = pyarrow.parquet.read_table(known)
    pyarrow.parquet.write_table(table.replace_schema_metadata(table.schema.metadata | {b"hashing": b"2"}), known)
    with pytest.raises(evaluation.Unscorable, match="another release recorded these rows: train again"):
        leaked(holdout, known)
    assert leaked(holdout, None, known) == Leaked(None, None)


def test_missing_values_and_moments(tmp_path: Path) -> None:
    """An empty text is missing in CSV; a moment is the same with its time zone, or as a text."""
    moments = pd.to_datetime(pd.Series(["2024-01-01", "2024-01-02", None]))
    frame = pd.DataFrame({"name": ["", "NA", "Ada"], "at": moments.dt.tz_localize("UTC"), "label": [1, 0, 1]})
    data = parquet(frame.assign(at=frame["at"].dt.tz_convert("Asia/Tokyo")), tmp_path / "train")
    assert found(data, csv(frame.assign(at=moments), tmp_path / "holdout")) == 3


def test_the_number_of_a_row_is_no_part_of_it(tmp_path: Path) -> None:
    """pandas writes an unnamed index into a CSV file by default."""
    old = people(20, 1)
    old.to_csv(tmp_path / "train.csv")
    old[::-1].reset_index(drop=True).to_csv(tmp_path / "holdout.csv")
    assert found(tmp_path / "train.csv", tmp_path / "holdout.csv") == 20


@pytest.mark.parametrize("save", [csv, parquet])
@pytest.mark.parametrize(
    "own",
    [
        lambda frame: frame.assign(number=range(len(frame))),
        lambda frame: frame.assign(number=np.arange(1.0, len(frame) + 1)),
        lambda frame: frame.assign(key=[f"{len(frame)}-{place}" for place in range(len(frame))]),
        lambda frame: frame.assign(exported=pd.Timestamp("2024-01-01") + pd.to_timedelta(range(len(frame)), unit="s")),
        lambda frame: frame.assign(spend=frame["spend"].round(3 if len(frame) < 1000 else 12)),
        lambda frame: frame.assign(spend=frame["spend"].round(3 if len(frame) == 1000 else 12)),
        lambda frame: frame.assign(spend=frame["spend"].round(len(frame) % 7), number=range(len(frame))),
    ],
    ids=["number", "float", "text", "exported", "rounded-holdout", "rounded-training", "both"],
)
def test_what_a_file_has_of_its_own_is_no_part_of_a_row(
    tmp_path: Path, save: Save, own: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    """A seen row is recognised in a file that was rounded, or numbers its rows; a new one is not seen."""
    known, new = people(1000, 1), people(300, 2)
    data = save(own(known), tmp_path / "train")
    shuffled = pd.concat([known[500:700], new]).sample(frac=1, random_state=0)
    assert found(data, save(own(shuffled), tmp_path / "holdout")) == 200
    assert found(data, save(own(new), tmp_path / "new")) == 0


def test_rows_that_only_resemble_others_are_new(tmp_path: Path) -> None:
    """Rows that their number or decimals alone tell apart are not seen; nor are few that are equal but for these."""
    few = pd.DataFrame({"age": [20, 30] * 50, "label": [0, 1] * 50})
    data = csv(few.assign(number=range(100)), tmp_path / "train")
    assert found(data, csv(few.assign(number=range(100, 200)), tmp_path / "holdout")) == 0
    data = csv(few.assign(spend=np.arange(100) / 100), tmp_path / "train")
    assert found(data, csv(few.assign(spend=0), tmp_path / "holdout")) == 50
    known, new = people(1000, 1), people(300, 2)
    data = csv(known.assign(number=range(1000)), tmp_path / "train")
    for alike, expected in ((30, 0), (40, 40)):
        some = pd.concat([known[:alike], new]).assign(number=range(1000, 1300 + alike))
        assert found(data, csv(some, tmp_path / "holdout")) == expected


def test_rounding_may_tell_more_rows_apart(tmp_path: Path) -> None:
    """Numbers that are one as 32-bit floats may be two with fewer decimals."""
    numbers = pd.DataFrame({"spend": [*np.arange(200) / 7, 0.125, 0.12500000001], "label": [0, 1] * 101})
    data = csv(numbers.assign(label=1), tmp_path / "train")
    assert found(data, csv(numbers.assign(label=1).round(2)[:200], tmp_path / "holdout")) == 200


def test_names_with_dots_and_lists(tmp_path: Path) -> None:
    """Columns a and a.b are two, of which one may be extra; lists are compared as texts."""
    frame = pd.DataFrame({"a": [1, 2], "vector": [[1.5, 2], None], "label": [0, 1]})
    data = parquet(frame.assign(**{"a.b": [3, 4]}), tmp_path / "train")
    assert found(data, parquet(frame, tmp_path / "holdout")) == 2


def test_configured_dtypes_hold_for_both_files(tmp_path: Path) -> None:
    """promotion.dtypes may name columns that the training data lack."""
    old = people(20, 1)
    data = csv(old.drop(columns="note"), tmp_path / "train")
    dtypes = {"zip": "str", "note": "category"}
    assert found(data, csv(old, tmp_path / "holdout"), dtypes=dtypes) == 20


def test_each_side_has_its_own_rows(tmp_path: Path) -> None:
    """The two sides may know rows by different columns; where nothing was remembered nothing is known."""
    old = people(30, 1)
    holdout = csv(old, tmp_path / "holdout")
    one = known_rows(csv(old[:10], tmp_path / "one"), holdout)
    two = known_rows(csv(old[5:].drop(columns="spend"), tmp_path / "two"), holdout)
    assert leaked(holdout, one, two) == Leaked(challenger=10, champion=25)
    assert leaked(holdout, None, one) == Leaked(challenger=None, champion=10)
    assert leaked(holdout, None) == Leaked()


def test_chunks_do_not_matter(tmp_path: Path) -> None:
    """Chunks of a few rows find what one of all rows finds."""
    old = people(10, 1)
    data, holdout, model = csv(old[:4], tmp_path / "train"), parquet(old, tmp_path / "holdout"), tmp_path / "model"
    joblib.dump(Says(1), model)
    given = {"holdout": str(holdout), "target": "label", "dtypes": {}}
    tables = []
    for chunk in (1, 3, 100):
        into = str(tmp_path / f"rows{chunk}")
        assert scored({"job": "rows", **given, "chunk": chunk, "data": str(data), "into": into}) == {"rows": 4}
        tables.append(pyarrow.parquet.read_table(into))
        asked = {"job": "compare", **given, "chunk": chunk, "champion": None, "challenger": str(model)}
        assert scored({**asked, "known_challenger": into})["leaked"]["challenger"] == 4
    assert tables[0] == tables[1] == tables[2]


def test_training_data_that_cannot_be_used(tmp_path: Path) -> None:
    """Named with the path and what is wrong; so is a holdout that is not there. No rows are recorded."""
    old = people(5, 1)
    holdout = csv(old, tmp_path / "holdout")
    gone = tmp_path / "gone.csv"
    message = refused(tmp_path, gone, holdout, "training data")
    assert message.startswith(f"the training data {gone} cannot be read: FileNotFoundError")
    assert "cannot be read: FileNotFound" in refused(tmp_path, holdout, gone, "holdout")
    unlabelled = csv(old.drop(columns="label"), tmp_path / "train")
    message = refused(tmp_path, unlabelled, holdout, "training data")
    assert "has no column 'label', which promotion.target names; it has age, spend" in message
    other = csv(pd.DataFrame({"x": [1], "label": [0]}), tmp_path / "train")
    message = refused(tmp_path, other, holdout, "training data")
    assert f"has only the label, 'label', in common with the holdout {holdout}" in message
    assert "it has x, label, the holdout age, spend" in message
    assert "has no rows" in refused(tmp_path, csv(old[:0], tmp_path / "train"), holdout, "training data")
    respelt = csv(old.assign(label=old["label"].map({0: "no", 1: "yes"})), tmp_path / "train")
    message = refused(tmp_path, respelt, holdout, "training data")
    assert f"has the labels 'no', 'yes', and the holdout {holdout} 0, 1, so that no row could be recogn" in message
    (tmp_path / "train.csv").write_text("age,label\n1,0\n2,3,4\n")
    assert "has 3 values in line 3" in refused(tmp_path, tmp_path / "train.csv", holdout, "training data")
    (tmp_path / "train.csv").write_text("age,age,label\n1,1,0\n")
    assert "has more than one column 'age'" in refused(tmp_path, tmp_path / "train.csv", holdout, "training data")
    dtypes = {"note": "int64"}
    message = refused(tmp_path, csv(old, tmp_path / "train"), holdout, "training data", dtypes=dtypes)
    assert message.endswith("(promotion.dtypes: note)")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Named, with the reason."""
    holdout = csv(people(5, 1), tmp_path / "holdout")
    with pytest.raises(evaluation.Unscorable, match=r"training rows .*nowhere/rows cannot be written: FileNotFound"):
        evaluation.remember_rows(configured(holdout), holdout, holdout, tmp_path / "nowhere" / "rows")


@pytest.mark.own_process
def test_the_time_limit(tmp_path: Path) -> None:
    """promotion.timeout bounds this job, too."""
    holdout = csv(people(5, 1), tmp_path / "holdout")
    config = configured(holdout, timeout=timedelta(0))
    with pytest.raises(RetrainError, match=r"remembering the rows of .*holdout.csv was ended after promotion.timeout"):
        evaluation.remember_rows(config, holdout, holdout, tmp_path / "rows")


def test_a_holdout_without_a_remembered_column(tmp_path: Path) -> None:
    """By which columns they were remembered, which one is gone, and what renews it.

    No training renews what is known of the champion: its rows are as good as unknown then.
    """
    old = people(5, 1)
    known = known_rows(csv(old, tmp_path / "train"), csv(old, tmp_path / "holdout"))
    holdout = csv(old.drop(columns="id"), tmp_path / "holdout")
    with pytest.raises(evaluation.Unscorable) as caught:
        leaked(holdout, known)
    assert caught.value.side == "training rows"
    columns = "recorded by the columns age, id, label, member, note, since, spend, zip, and the holdout"
    assert f"of the challenger were {columns} {holdout} has no 'id'" in str(caught.value)
    assert str(caught.value).endswith("train again with this holdout")
    assert leaked(holdout, None, known) == Leaked(None, None)


@pytest.mark.parametrize("content", [None, b"PAR1", "foreign"])
def test_known_rows_that_cannot_be_read(tmp_path: Path, content: bytes | str | None) -> None:
    """A missing, broken or foreign file is named with the side it belongs to, and never taken for no leakage."""
    old = people(5, 1)
    known, holdout = tmp_path / "rows", csv(old, tmp_path / "holdout")
    if isinstance(content, bytes):
        known.write_bytes(content)
    elif content:
        old.to_parquet(known)
    with pytest.raises(evaluation.Unscorable, match=f"the training rows {known} of the challenger cannot be read: "):
        leaked(holdout, known)
