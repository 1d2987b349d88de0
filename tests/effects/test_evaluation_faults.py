"""What makes a model or a holdout unusable, and the sentence that says so."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from retrain.effects import evaluation
from retrain.scoring.plan import UnusableError
from tests.effects.toy_models import Raises, RaisesOnLoading, Returns, Says, Sign, Vandal
from tests.scoring import scored

FRAME = pd.DataFrame({"a": [-1.0, 2.0, -3.0, 4.0], "b": [1, 2, 3, 4], "label": [0, 1, 0, 1]})


def plan(here: Path, challenger: Any = None, holdout: str | pd.DataFrame = FRAME, **changes: Any) -> dict[str, Any]:
    """A plan in which everything is right but what is given."""
    table = here / "holdout.csv"
    if isinstance(holdout, str):
        table.write_text(holdout)
    else:
        holdout.to_csv(table, index=False)
    joblib.dump(Says(1) if challenger is None else challenger, here / "challenger")
    given = {"job": "compare", "champion": None, "challenger": str(here / "challenger"), "holdout": str(table)}
    return {**given, "target": "label", "dtypes": {}, **changes}


def fault(asked: dict[str, Any]) -> tuple[str, str]:
    """The side at fault and the sentence."""
    with pytest.raises(UnusableError) as caught:
        scored(asked)
    return caught.value.side, caught.value.message


def cells(asked: dict[str, Any]) -> dict[Any, int]:
    return {tuple(labels): rows for *labels, rows in scored(asked)["cells"]}


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({"model": 1}, "holds a dict, which has no predict method"),
        (Raises(ValueError("bad\nrow")), "cannot predict 4 holdout rows: ValueError: bad row"),
        (Raises(SystemExit(3)), "cannot predict 4 holdout rows: SystemExit: 3"),
        (Says(float("nan")), "predicts no label (NaN) for 4 of 4 rows"),
        (
            Returns(np.ma.array([1, 0, 1, 0], mask=[False, True, False, False])),
            "predicts no label (NaN) for 1 of 4 rows",
        ),
        (Returns(np.ma.array([[1], [0], [1], [0]], mask=True)), "predicts no label (NaN) for 4 of 4 rows"),
        (Returns(np.zeros((4, 3))), "predicts an array of shape (4, 3) for 4 rows"),
        (Returns([1, 0]), "predicts an array of shape (2,) for 4 rows"),
        (Returns(None), "predicts an array of shape () for 4 rows"),
        (Returns([0.0, 1.0, 0.73, 1.0]), "returns 0.73; retrain needs class labels: wrap the model"),
        (Returns(["a", float("nan"), "a", "b"]), "predicts no label (NaN) for 1 of 4 rows"),
        (Returns(["1", "nan", "None", "1"]), "predicts 'None', 'nan', which is no class of column 'label'"),
        (Returns([1, -1, 1, -1]), "predicts -1, 1, but column 'label' of "),
        (Says(b"yes"), "b'yes' (bytes) is not a class label"),
        (Says(float("inf")), "inf (float) is not a class label"),
        (Says("1"), "predicts '1', but column 'label' of "),
        (RaisesOnLoading(), "cannot be loaded: SystemExit: licence expired"),
        (LogisticRegression(), "cannot predict 4 holdout rows: NotFittedError"),
    ],
)
def test_a_model_that_cannot_be_used(tmp_path: Path, model: Any, sentence: str) -> None:
    """The challenger is named with its path and what is wrong with it."""
    side, message = fault(plan(tmp_path, model))
    assert side == "challenger"
    assert message.startswith(f"the challenger {tmp_path / 'challenger'} ")
    assert sentence in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be loaded: FileNotFoundError"),
        (b"", "is empty: save the fitted model itself with joblib.dump"),
        (
            b"cno_such_module\nModel\n.",
            "ModuleNotFoundError: No module named 'no_such_module' (what an artifact refers",
        ),
        (b"csklearn.linear_model\nGone\n.", "cannot be loaded: AttributeError"),
    ],
)
def test_a_champion_that_cannot_be_loaded(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    """A missing or truncated champion, or one whose module is gone, is an error and no win for the challenger."""
    path = tmp_path / "champion"
    if content is not None:
        path.write_bytes(content)
    side, message = fault(plan(tmp_path, champion=str(path)))
    assert side == "champion"
    assert message.startswith(f"the champion {path} ")
    assert sentence in message


def test_labels_of_another_type_are_quoted_on_both_sides(tmp_path: Path) -> None:
    """The sentence quotes both sides, and names promotion.dtypes."""
    _, message = fault(plan(tmp_path, Says("1")))
    assert "has 0, 1: " in message
    assert "promotion.dtypes" in message
    assert cells(plan(tmp_path, Says("1"), dtypes={"label": "str"})) == {("0", None, "1"): 2, ("1", None, "1"): 2}


def test_a_label_of_too_many_values_is_no_class(tmp_path: Path) -> None:
    """Requirement: a price or an identifier as label is named as such; many classes with rows enough are none."""
    many = pd.DataFrame({"a": range(3000), "label": range(3000)})
    side, message = fault(plan(tmp_path, Says(1), many))
    assert side == "holdout"
    assert "has 3,000 different labels (column 'label') in 3,000 rows: is this a regression" in message
    assert cells(plan(tmp_path, Says(1), many.assign(label=many["a"] % 200)))[1, None, 1] == 15


def test_a_class_may_be_called_like_a_missing_value(tmp_path: Path) -> None:
    """Requirement: None is a class in a CSV as it is in Parquet; NA among numbers is quoted, with what to write."""
    named = FRAME.assign(label=["None", "n/a", "None", "NA"])
    expected = {("None", None, "None"): 2, ("n/a", None, "None"): 1, ("NA", None, "None"): 1}
    assert cells(plan(tmp_path, Says("None"), named)) == expected
    named.to_parquet(tmp_path / "holdout.parquet")
    assert cells({**plan(tmp_path, Says("None")), "holdout": str(tmp_path / "holdout.parquet")}) == expected


def test_what_is_a_class_and_what_is_no_label(tmp_path: Path) -> None:
    """Requirement: NA among numbers is quoted, with what to write; an empty text is no label in Parquet either."""
    _, message = fault(plan(tmp_path, Says(1), "a,label\n1,0\n2,1\n3,NA\n"))
    assert "predicts 1, but column 'label' of " in message
    assert "('NA' is a class: leave the field empty where a label is missing)" in message
    FRAME.assign(label=pd.Series(["x", " ", None, "x"], dtype=object)).to_parquet(tmp_path / "holdout.parquet")
    _, message = fault({**plan(tmp_path), "holdout": str(tmp_path / "holdout.parquet")})
    assert "has no label (column 'label') in 2 of 4 rows" in message


def test_a_prediction_unknown_to_the_truth_is_let_through(tmp_path: Path) -> None:
    """As long as some labels match, the judge rules on the others."""
    assert cells(plan(tmp_path, Returns([0, 2, 0, 2]))) == {(0, None, 0): 2, (1, None, 2): 2}


def test_a_model_gets_the_columns_it_was_fitted_on(tmp_path: Path) -> None:
    """In its own order and without the others; a column that is not there is named."""
    model = LogisticRegression().fit(FRAME[["b", "a"]], FRAME["label"])
    assert sum(cells(plan(tmp_path, model, FRAME.assign(id="x"))).values()) == 4
    side, message = fault(plan(tmp_path, model, FRAME.drop(columns="a")))
    assert side == "challenger"
    assert "was fitted on columns that the holdout lacks: 'a'" in message


def test_a_regressor_is_not_a_classifier(tmp_path: Path) -> None:
    """Estimates with decimals are no labels."""
    model = LinearRegression().fit(FRAME[["b"]], FRAME["label"])
    assert "retrain needs class labels" in fault(plan(tmp_path, model))[1]


def test_labels_with_decimals_are_labels_where_the_holdout_has_them(tmp_path: Path) -> None:
    """0.5 is a class where the truth says so."""
    frame = FRAME.assign(label=[0.5, 1.0, 0.5, 1.0])
    assert cells(plan(tmp_path, Says(0.5), frame)) == {(0.5, None, 0.5): 2, (1, None, 0.5): 2}


def test_truth_values_are_zero_and_one(tmp_path: Path) -> None:
    """A truth of True and a prediction of 1.0 are the same label."""
    asked = plan(tmp_path, Says(np.float64(1.0)), FRAME.assign(label=[False, True, False, True]))
    assert cells(asked) == {(0, None, 1): 2, (1, None, 1): 2}


def test_a_model_cannot_spoil_the_rows_of_the_other(tmp_path: Path) -> None:
    """Both models see the same rows, whatever the first does to them."""
    joblib.dump(Vandal(), tmp_path / "vandal")
    asked = plan(tmp_path, Sign(), champion=str(tmp_path / "vandal"))
    assert cells(asked) == {(0, 0, 0): 2, (1, 1, 1): 2}


@pytest.mark.parametrize(
    ("content", "changes", "sentence"),
    [
        ("", {}, "is empty: it has no header line"),
        ("a,label\n", {}, "has no rows"),
        ("a,label\n1,0\n2,3,4\n", {}, "has 3 values in line 3, but its header names 2 columns"),
        ("a,label,a\n1,0,1\n", {}, "has more than one column 'a'"),
        ("a,b\n1,0\n", {}, "has no column 'label', which promotion.target names; it has a, b"),
        ("a,label\n1,0\n2,\n3,\n", {}, "has no label (column 'label') in 2 of 3 rows"),
        ("a,label\n1,0\n", {"dtypes": {"a": "strng"}}, "gives 'a' the dtype 'strng', which pandas does not know"),
        ("a,label\n1,0\n", {"dtypes": {"zip": "str"}}, "has no column 'zip', which promotion.dtypes names"),
        ("a,label\nx,0\n", {"dtypes": {"a": "int64"}}, "cannot be read: ValueError"),
    ],
)
def test_a_holdout_that_cannot_be_used(tmp_path: Path, content: str, changes: dict[str, Any], sentence: str) -> None:
    """The holdout is named with its path, the column and the number of rows."""
    side, message = fault(plan(tmp_path, holdout=content, **changes))
    assert side == "holdout"
    assert message.startswith(f"the holdout {tmp_path / 'holdout.csv'} ")
    assert sentence in message


def test_a_parquet_holdout_that_cannot_be_used(tmp_path: Path) -> None:
    """Absent and broken files, columns that occur twice, and labels that are none."""
    path = tmp_path / "holdout.parquet"
    asked = {**plan(tmp_path), "holdout": str(path)}
    assert "cannot be read: FileNotFoundError" in fault(asked)[1]
    path.write_bytes(b"PAR1")
    assert "cannot be read: ArrowInvalid" in fault(asked)[1]
    pyarrow.parquet.write_table(pa.table([[1], [0], [1]], names=["a", "label", "a"]), path)
    assert "has more than one column 'a'" in fault(asked)[1]
    FRAME.assign(label=pd.Timestamp("2024-01-01", tz="UTC")).to_parquet(path)
    assert "cannot be used: column 'label': ValueError" in fault(asked)[1]
    for nested in ([1, 2], {"class": 1}):
        FRAME.assign(label=pd.Series([None, *[nested] * (len(FRAME) - 1)], dtype=object)).to_parquet(path)
        assert "holds lists or the like in column 'label': a class label is a text or a number" in fault(asked)[1]


@pytest.mark.parametrize(
    "forged",
    [[], [[1, 0, 1, 1500], [0, 0, 0, -5], [0, 0, 1, 5]], [[1, None, 1, 1500], [0, None, 0, 1500]]],
    ids=["nothing", "less than nothing", "no champion"],
)
def test_an_answer_that_counts_what_was_not_asked_is_none(forged: list[Any]) -> None:
    """A model may find the descriptor of the answer. Where a champion is compared, it says something of each row."""
    with pytest.raises(ValueError, match="no tally of what was asked"):
        evaluation.tally_of({"cells": forged}, None, compared=True)
