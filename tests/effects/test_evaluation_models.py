"""Models as they are: what is no artifact, names and dtypes of other libraries, older versions, hidden causes."""

import io
import pickle
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from retrain.scoring.artifact import loaded
from retrain.scoring.models import notes, predict
from retrain.tables import FileError
from tests.effects.toy_models import Named, Raises, Ratio, Returns, Says

RANDOM = np.random.default_rng(4)
ROWS = pd.DataFrame({"mean spend": RANDOM.normal(size=400), "age": RANDOM.normal(size=400)})
LABELS = (ROWS["mean spend"] > 0).astype(int)


def gbm(**changes: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=5, verbosity=-1, n_jobs=1, **changes)


def nothing_before(model: Any) -> Pipeline:
    return Pipeline([("nothing", "passthrough"), ("model", model)])


def predicted(here: Path, model: Any, rows: pd.DataFrame) -> list[Any]:
    path = here / f"{len(list(here.iterdir()))}.joblib"
    joblib.dump(model, path)
    codes, labels = predict(str(path), None, rows)
    return [labels[code] for code in codes]


def fault(here: Path, model: Any, rows: pd.DataFrame = ROWS) -> str:
    with pytest.raises(FileError) as caught:
        predicted(here, model, rows)
    return str(caught.value)


def of_bytes(here: Path, content: bytes, trusted: tuple[str, ...] | None = None) -> str:
    """The sentence on a file of these bytes."""
    path = here / f"{len(list(here.iterdir()))}.joblib"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        loaded(str(path), trusted)
    return str(caught.value)


def zipped() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", "x")
    return archive.getvalue()


def tarred() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as file:
        file.addfile(tarfile.TarInfo("model.joblib"))
    return archive.getvalue()


# ---------------------------------------------------------------- what the file is


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 7\n", "is a Git LFS pointer, not the model"),
        (b"outs:\n- md5: " + b"a1" * 16 + b"\n  size: 7\n  path: model.joblib\n", "is a DVC pointer, not the model"),
        (b"/annex/objects/SHA256E-s7--ab.joblib\n", "is a git-annex pointer"),
        (b"\n<HTML><body>Forbidden</body>", "is an HTML page (the error page of a download?)"),
        (b"<?xml version='1.0'?><Error/>", "is an XML text"),
        (b'{"learner": {"version": [2, 0]}}', 'is a JSON text, which begins with \'{"learner"'),
        (b"{L\0\0\0\0\0\0\0\1", "is a model in XGBoost's own binary format"),
        (b"tree\nversion=v4\n", "is a model in LightGBM's own text format"),
        (b"CBM1\0\0", "is a model in CatBoost's own format"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (zipped(), "is a zip archive"),
        (b"PAR1\0", "is a Parquet file"),
        (tarred(), "is a tar archive: save the fitted model itself"),
        (b"\x08\x07\x12\x07pytorch\x1a\x032.1", "is a model in the ONNX format: "),
        (b"\0" * 5000, "is a file of zero bytes"),
        (b"\0", "is a file of zero bytes"),
        (b"hello world\n", "is a text, which begins with 'hello world'"),
        (b"\n", "is empty: save the fitted model itself with joblib.dump"),
    ],
)
def test_a_file_that_is_no_artifact(tmp_path: Path, content: bytes, sentence: str) -> None:
    """Requirement: the sentence says what the file is, not which byte the unpickler did not know."""
    assert of_bytes(tmp_path, content).startswith(sentence)


@pytest.mark.parametrize("compress", [0, 3, "gzip", "xz", "bz2"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_a_file_that_is_cut_off(tmp_path: Path, compress: Any, part: float) -> None:
    """Requirement: half a file is called that, compressed or not, wherever it ends."""
    whole = tmp_path / "whole"
    joblib.dump(DecisionTreeClassifier().fit(RANDOM.normal(size=(500, 9)), np.arange(500) % 7), whole, compress)
    content = whole.read_bytes()
    assert of_bytes(tmp_path, content[: int(len(content) * part)]).startswith("is cut off, it ends too early")


def test_a_directory_is_no_artifact(tmp_path: Path) -> None:
    """Requirement: MLflow's and TensorFlow's models are directories; a model is one file."""
    with pytest.raises(FileError, match="is a directory, and a model is one file"):
        loaded(str(tmp_path), None)


def test_a_class_of_the_training_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: the name, and that it belongs into a module of its own."""
    script = types.ModuleType("__main__")
    exec("class Net: pass\ndef scaled(rows): return rows", script.__dict__)  # noqa: S102
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "__main__", script)
        contents = {name: pickle.dumps(script.__dict__[name]) for name in ("Net", "scaled")}
    for name, content in contents.items():
        message = of_bytes(tmp_path, content)
        assert f"{name} was defined in the script that saved the model (__main__)" in message
        assert "move it to a module of its own in training.directory" in message


# ---------------------------------------------------------------- versions


def test_an_artifact_of_another_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: both versions are in the notes, in the error where it cannot predict, and where it cannot load."""
    path, broken = tmp_path / "old.joblib", tmp_path / "broken.joblib"
    state = LogisticRegression.__getstate__
    old = lambda self: {**state(self), "_sklearn_version": "1.0.2"}  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(LogisticRegression, "__getstate__", old)
        joblib.dump(LogisticRegression().fit(ROWS, LABELS), path)
        joblib.dump(LogisticRegression(), broken)
    now = version_of_sklearn()
    assert notes(str(path), None) == (f"saved with scikit-learn 1.0.2, loaded with {now}", False)
    with pytest.raises(FileError, match=rf"\(the model was saved with scikit-learn 1.0.2, loaded with {now}\)"):
        predict(str(broken), None, ROWS)
    gone = path.read_bytes().replace(b"sklearn.linear_model._logistic", b"sklearn.linear_model._logistik")
    assert f"saved with scikit-learn 1.0.2, loaded with {now}" in of_bytes(tmp_path, gone)


def version_of_sklearn() -> str:
    import sklearn

    return str(sklearn.__version__)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "made",
    [
        gbm,
        lambda: make_pipeline(gbm()),
        lambda: GridSearchCV(gbm(), {"num_leaves": [4, 8]}, cv=2),
        lambda: GridSearchCV(make_pipeline(gbm()), {"lgbmclassifier__num_leaves": [4, 8]}, cv=2),
        lambda: CalibratedClassifierCV(gbm(), cv=2),
        lambda: VotingClassifier([("a", gbm()), ("b", gbm(num_leaves=4))]),
        lambda: GridSearchCV(nothing_before(gbm()), {"model__num_leaves": [4, 8]}, cv=2),
        lambda: CalibratedClassifierCV(nothing_before(gbm()), cv=2),
        lambda: VotingClassifier([("a", nothing_before(gbm()))]),
        lambda: Pipeline([("outer", nothing_before(gbm()))]),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_lightgbm_is_given_its_columns(tmp_path: Path, made: Any, named: bool) -> None:
    """Requirement: it writes spaces as underscores, and calls the columns of an array Column_0; so do its wrappers."""
    model = made().fit(ROWS if named else ROWS.to_numpy(), LABELS)
    given = ROWS.assign(id=7)[["id", "age", "mean spend"]] if named else ROWS
    found = predicted(tmp_path, model, given)
    assert np.mean(np.array(found) == LABELS) > 0.95


def test_names_that_only_resemble_those_of_the_holdout(tmp_path: Path) -> None:
    """Requirement: a name is taken as it is first; of two columns that one could mean, none is."""
    model = Named(["mean_spend"], "mean_spend")
    assert predicted(tmp_path, model, ROWS.assign(mean_spend=1).head(2)) == [1, 1]
    both = pd.DataFrame({"a b c": [1], "a b_c": [1]})
    assert "was fitted on columns that the holdout lacks: 'a_b_c'" in fault(tmp_path, Named(["a_b_c"], "a_b_c"), both)


def test_column_0_of_older_releases_is_a_position(tmp_path: Path) -> None:
    """Requirement: before 4.7 LightGBM names the columns of an array; a holdout need not."""
    rows = pd.DataFrame({"x": [1, 0], "y": [0, 0]})
    model = Named(["Column_0", "Column_1"], "x")
    assert predicted(tmp_path, model, rows) == [1, 0]
    joblib.dump(model, tmp_path / "m")
    assert notes(str(tmp_path / "m"), None) == ("", True)


@pytest.mark.parametrize("made", [gbm, LogisticRegression])
def test_columns_that_are_called_column_0(tmp_path: Path, made: Any) -> None:
    """Requirement: where the rows have such names, each column is given by its name, in whatever order they come."""
    rows = ROWS.set_axis([f"Column_{number}" for number in range(len(ROWS.columns))], axis=1)
    model = made().fit(rows, LABELS)
    other = rows.assign(id=7)[["id", *reversed(rows.columns)]]
    assert predicted(tmp_path, model, other) == predicted(tmp_path, model, rows)


@pytest.mark.parametrize("skipped", ["passthrough", None])
@pytest.mark.parametrize("made", [gbm, LogisticRegression])
def test_a_pipeline_whose_first_step_does_nothing(tmp_path: Path, made: Any, skipped: str | None) -> None:
    """Requirement: such a pipeline has no names of its own; those of the first step that was fitted are used."""
    model = Pipeline([("nothing", skipped), ("model", made())]).fit(ROWS, LABELS)
    other = ROWS.assign(id=7)[["id", *reversed(ROWS.columns)]]
    assert predicted(tmp_path, model, other) == predicted(tmp_path, model, ROWS)
    assert notes(str(tmp_path / "0.joblib"), None)[1] is False


def test_predictions_that_name_their_rows(tmp_path: Path) -> None:
    """Requirement: a Series is read by the rows that it names, in whatever order; by position where it names others."""
    rows = pd.DataFrame({"a": [1, 0, 1]})
    assert predicted(tmp_path, Returns(pd.Series([0, 1, 1], index=[1, 2, 0])), rows) == [1, 0, 1]
    assert predicted(tmp_path, Returns(pd.DataFrame({"y": [0, 1, 1]}, index=[1, 2, 0])), rows) == [1, 0, 1]
    assert predicted(tmp_path, Returns(pd.Series([0, 1, 1], index=[7, 8, 9])), rows) == [0, 1, 1]
    by_customer = pd.Series([0, 1, 1], index=pd.Index([1, 2, 0], name="customer"))
    assert predicted(tmp_path, Returns(by_customer), rows) == [0, 1, 1]
    assert predicted(tmp_path, Returns([np.array(0), np.array(1), np.array(1)]), rows) == [0, 1, 1]
    assert predicted(tmp_path, Returns(pd.Series([0, 1, 1], index=["a", 2, None])), rows) == [0, 1, 1]


def test_a_wrapper_of_ones_own_gets_every_column(tmp_path: Path) -> None:
    """Requirement: it may make the columns that it gives to the model within, whose names are no names of the rows."""
    model = Ratio(LogisticRegression().fit(pd.DataFrame({"ratio": [0.5, 2.0]}), [0, 1]))
    rows = pd.DataFrame({"a": [1.0, 4.0], "b": [2.0, 2.0]})
    assert predicted(tmp_path, model, rows) == [0, 1]
    joblib.dump(Ratio(model), tmp_path / "m")
    assert notes(str(tmp_path / "m"), None) == ("", True)


def test_odd_names(tmp_path: Path) -> None:
    """Requirement: a method is asked; what is no list of names is called that."""
    assert predicted(tmp_path, Named(lambda_of_names, "age"), ROWS.assign(age=1).head(2)) == [1, 1]
    assert "has one text, 'age', as its feature_names_in_" in fault(tmp_path, Named("age", "age"))
    assert "cannot give its feature_names_in_: TypeError" in fault(tmp_path, Named(7, "age"))


def lambda_of_names() -> list[str]:
    return ["age"]


def test_a_class_is_no_model(tmp_path: Path) -> None:
    """Requirement: the class itself, saved instead of a fitted model, is called that."""
    assert fault(tmp_path, LogisticRegression).startswith("holds the class LogisticRegression, and no model of it")


# ---------------------------------------------------------------- causes


def test_a_category_that_is_text_in_the_holdout(tmp_path: Path) -> None:
    """Requirement: the column, and promotion.dtypes; following that the model is scored."""
    region = pd.Series(np.where(LABELS, "eu", "us"))
    model = gbm().fit(ROWS.assign(region=region.astype("category")), LABELS)
    message = fault(tmp_path, model, ROWS.assign(region=region))
    assert "(the holdout has text in region: " in message
    assert "promotion.dtypes: {region: category})" in message
    assert predicted(tmp_path, model, ROWS.assign(region=region.astype("category")))


def test_a_text_that_a_model_takes_for_numbers(tmp_path: Path) -> None:
    """Requirement: the text column of the holdout, and promotion.dtypes."""
    message = fault(tmp_path, LogisticRegression().fit(ROWS, LABELS), ROWS.assign(age="old"))
    assert "could not convert string to float: 'old' (the holdout has text in age: " in message
    assert "promotion.dtypes: {age: category})" in message


@pytest.mark.parametrize(
    ("fitted", "held"),
    [([1, 2], ["1", "2", "-"]), ([1, 2], ["1.0", "2.0"]), (["1", "2"], [1, 2]), (["001", "002"], [1, 2])],
)
@pytest.mark.parametrize("wrapped", [lambda model: model, nothing_before])
def test_categories_that_the_holdout_holds_as_another_type(
    tmp_path: Path, fitted: list[Any], held: list[Any], wrapped: Any
) -> None:
    """Requirement: LightGBM takes them for missing without a word; a CSV has no types, and one word makes texts."""

    def region(values: list[Any]) -> "pd.Series[Any]":
        return pd.Series([values[label] for label in LABELS], dtype=object).astype("category")

    rows = pd.DataFrame({"age": ROWS["age"], "region": region(fitted)})
    model = wrapped(gbm()).fit(rows, LABELS)
    other = rows.assign(region=region(held).cat.set_categories(held))
    assert predicted(tmp_path, model, other) == predicted(tmp_path, model, rows) == LABELS.tolist()


def encoder(**changes: Any) -> Any:
    return OneHotEncoder(handle_unknown="ignore", **changes)


@pytest.mark.parametrize(
    ("fitted", "held"),
    [([1, 2], ["1", "2"]), ([1, 2], ["1.0", "2.0"]), (["1", "2"], [1, 2]), ([0.5, 1], ["0.5", "1"])],
)
@pytest.mark.parametrize(
    "made",
    [
        lambda: make_pipeline(ColumnTransformer([("region", encoder(), ["region"])]), LogisticRegression()),
        lambda: make_pipeline(
            ColumnTransformer(
                [("region", make_pipeline(SimpleImputer(strategy="most_frequent"), encoder()), ["region"])]
            ),
            DecisionTreeClassifier(),
        ),
        lambda: GridSearchCV(make_pipeline(encoder(), LogisticRegression()), {}, cv=2),
        lambda: make_pipeline(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), DecisionTreeClassifier()
        ),
    ],
)
def test_values_of_an_encoder_that_the_holdout_holds_as_another_type(
    tmp_path: Path, fitted: list[Any], held: list[Any], made: Any
) -> None:
    """Requirement: they are those that it knows; a word among numbers is one that it does not know, as before."""

    def rows(values: list[Any]) -> pd.DataFrame:
        return pd.DataFrame({"region": [values[label] for label in LABELS]})

    model = made().fit(rows(fitted), LABELS)
    other = rows(held)
    if isinstance(held[0], str):
        other = pd.concat([other, pd.DataFrame({"region": ["?"]})], ignore_index=True)
    assert predicted(tmp_path, model, other)[: len(LABELS)] == LABELS.tolist()


def test_values_that_an_encoder_does_not_know_stay_what_they_are(tmp_path: Path) -> None:
    """Requirement: of texts none becomes another one, and an encoder that refuses what is new does so."""
    rows = pd.DataFrame({"region": np.where(LABELS, "eu", "us")})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, LABELS)
    assert "unknown categories" in fault(tmp_path, model, rows.replace("eu", "1"))


def test_what_is_not_about_dtypes_gets_no_hint(tmp_path: Path) -> None:
    """Requirement: an error of another kind is quoted alone."""
    assert "promotion.dtypes" not in fault(tmp_path, Raises(ValueError("no such licence")), ROWS.assign(region="eu"))


@pytest.mark.parametrize("refused", [MemoryError(), RuntimeError("can't start new thread")])
def test_a_refusal_that_a_thread_pool_hides(tmp_path: Path, refused: Exception) -> None:
    """Requirement: the refusal is the cause, not the error of the pool that cleans up after it."""

    error = AttributeError("'DummyProcess' object has no attribute 'terminate'")
    message = fault(tmp_path, Raises(error, refused))
    assert "DummyProcess" not in message
    assert type(refused).__name__ in message


def test_a_model_without_a_fault(tmp_path: Path) -> None:
    """Requirement: nothing is noted about a model that names its columns."""
    model = LogisticRegression().fit(ROWS, LABELS)
    joblib.dump(model, tmp_path / "m")
    assert notes(str(tmp_path / "m"), None) == ("", False)
    assert predicted(tmp_path, Says(1), ROWS.head(1)) == [1]
