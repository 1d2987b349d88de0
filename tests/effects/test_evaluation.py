"""evaluation.compare with a real child: what is counted, and that format and order do not matter."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from retrain.core.verdicts import Cell, ModelNote, Tally
from retrain.effects import evaluation
from tests.effects.conftest import ROOT, configured
from tests.effects.toy_models import Prints, Says, Sign


def compare(champion: Path | None, challenger: Path, holdout: Path, **changes: Any) -> Tally:
    return evaluation.compare(configured(holdout, **changes), champion, challenger, holdout)


def dump(model: Any, path: Path) -> Path:
    joblib.dump(model, path)
    return path


def rows(count: int) -> pd.DataFrame:
    """Two numbers and a label that leans on the first."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"a": random.normal(size=count), "b": random.normal(size=count)})
    return frame.assign(label=(frame["a"] + random.normal(size=count) > 0).astype(int))


def expected(frame: pd.DataFrame, champion: Any, challenger: Any) -> set[Cell]:
    counts = pd.DataFrame({"t": frame["label"], "a": champion, "b": challenger}).value_counts()
    return {Cell(*labels, rows=count) for labels, count in counts.items()}  # type: ignore[misc]


def test_counts_every_combination_of_truth_and_predictions(tmp_path: Path) -> None:
    """The tally is the cross table of truth and both predictions; progress ends at 1."""
    frame = rows(200)
    frame.to_csv(tmp_path / "holdout.csv", index=False)
    tree = DecisionTreeClassifier(max_depth=2).fit(frame[["b", "a"]], frame["label"])
    heard: list[float] = []
    tally = evaluation.compare(
        configured(tmp_path / "holdout.csv"),
        dump(Sign(), tmp_path / "champion"),
        dump(tree, tmp_path / "challenger"),
        tmp_path / "holdout.csv",
        heard.append,
    )
    assert set(tally.cells) == expected(frame, (frame["a"] > 0).astype(int), tree.predict(frame[["b", "a"]]))
    assert tally.rows == 200
    assert tally.models == (ModelNote("champion", unnamed=True),)
    assert heard[-1] == 1.0
    kinds = {type(label) for cell in tally.cells for label in (cell.truth, cell.champion, cell.challenger)}
    assert kinds == {int}


def test_without_a_champion_only_the_challenger_is_scored(tmp_path: Path) -> None:
    """A champion of None is None in every cell; what a model prints, on whatever level, harms nothing."""
    rows(50).to_parquet(tmp_path / "holdout.parquet")
    tally = compare(None, dump(Prints(1), tmp_path / "challenger"), tmp_path / "holdout.parquet")
    assert {(cell.champion, cell.challenger) for cell in tally.cells} == {(None, 1)}
    assert tally.rows == 50


def test_models_print_nothing_into_our_output(tmp_path: Path) -> None:
    """Standard output and standard error of the controller stay clean; it imports no heavy library."""
    rows(20).to_parquet(tmp_path / "holdout.parquet")
    dump(Prints(1), tmp_path / "challenger")
    script = (
        "import sys\nfrom pathlib import Path\nfrom retrain.config.schema import Config, Promotion, Training\n"
        "from retrain.effects.evaluation import compare\nhere, holdout = map(Path, (sys.argv[1], 'holdout.parquet'))\n"
        "rules, training = Promotion(holdout=here / holdout), Training(directory=Path(sys.argv[2]))\n"
        "config = Config(promotion=rules, training=training)\n"
        "compare(config, None, here / 'challenger', here / holdout)\n"
        "print(sorted({'sklearn', 'joblib', 'numpy', 'pandas', 'pyarrow'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path, ROOT], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("[]\n", "")


@pytest.mark.usefixtures("scored_here")
def test_format_and_order_of_the_holdout_do_not_matter(tmp_path: Path) -> None:
    """CSV and shuffled Parquet give one tally and one fingerprint to a pipeline that needs columns and dtypes."""
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"zip": random.choice(["02138", "2138", "10001"], 300), "spend": random.normal(size=300)})
    frame["label"] = np.where(frame["zip"] == "02138", "gold", np.where(frame["spend"] > 0, "silver", "none"))
    frame["row"] = range(300)
    encoder = make_column_transformer((OneHotEncoder(), ["zip"]), remainder="passthrough")
    pipeline = make_pipeline(encoder, LogisticRegression()).fit(frame[["spend", "zip"]], frame["label"])
    artifact = dump(pipeline, tmp_path / "model")
    champion = dump(Says("none"), tmp_path / "champion")
    frame.to_csv(tmp_path / "holdout.csv", index=False)
    frame.sample(frac=1, random_state=3)[["row", "label", "spend", "zip"]].to_parquet(tmp_path / "holdout.parquet")

    of_csv = compare(champion, artifact, tmp_path / "holdout.csv", dtypes={"zip": "str"})
    of_parquet = compare(champion, artifact, tmp_path / "holdout.parquet")
    assert of_csv == of_parquet
    assert set(of_csv.cells) == expected(frame, "none", pipeline.predict(frame[["spend", "zip"]]))


def test_modules_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's modules are found, and shadow no library."""
    (tmp_path / "our_rules.py").write_text(
        "class Positive:\n    def predict(self, rows):\n        return (rows['b'] > 0).to_numpy()\n"
    )
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')\n")
    rows(120_000).to_parquet(tmp_path / "holdout.parquet")
    monkeypatch.syspath_prepend(tmp_path)
    artifact = dump(importlib.import_module("our_rules").Positive(), tmp_path / "model")
    assert compare(None, artifact, tmp_path / "holdout.parquet", directory=tmp_path).rows == 120_000
