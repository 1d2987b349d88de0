"""What others take for the same verdict, each in an environment of its own; without it their rows are left out."""

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.benchmark.measure import Work, faster, run
from tests.benchmark.scoring import make_elsewhere, promotion
from tests.integration.conftest import environment

MLFLOW = """
import sys, joblib, mlflow, pandas, logging
from mlflow.models import MetricThreshold
file, champion, challenger = sys.argv[1:]
mlflow.set_tracking_uri("sqlite:///mlflow.db")
rows = pandas.read_parquet(file)
results = [
    mlflow.evaluate(
        joblib.load(each).predict, rows, targets="label", model_type="classifier",
        evaluator_config={"log_explainer": False, "log_model_explainability": False},
    )
    for each in (champion, challenger)
]
better = MetricThreshold(threshold=0.5, min_absolute_change=0.001, greater_is_better=True)
try:
    mlflow.validate_evaluation_results({"f1_score": better}, results[1], results[0])
except Exception as error:
    print(error)
"""
EVIDENTLY = """
import sys, joblib, pandas
from evidently import BinaryClassification, DataDefinition, Dataset, Report
from evidently.presets import ClassificationPreset
file, champion, challenger = sys.argv[1:]
rows = pandas.read_parquet(file)
said = BinaryClassification(target="label", prediction_labels="prediction")
data = [
    Dataset.from_pandas(
        rows.assign(prediction=joblib.load(each).predict(rows.drop(columns="label"))),
        data_definition=DataDefinition(classification=[said]),
    )
    for each in (champion, challenger)
]
print(Report([ClassificationPreset()]).run(data[1], data[0]).json()[:100])
"""
PEERS = (
    ("MLflow: evaluate twice, validate", MLFLOW, ("mlflow==3.*",), 5.0),
    ("Evidently: report of both", EVIDENTLY, ("evidently==0.7.*", "pandas<3"), 8.0),
)


def peers(here: Path, rows: int) -> Iterator[Work]:
    """The rows of the table, on a tenth of the holdout, which the others take minutes for."""
    make_elsewhere(here, rows)
    ours = promotion(here, "tenth.parquet")
    for name, code, requirements, least in PEERS:
        try:
            python = environment(*requirements, "scikit-learn", "pyarrow") / "python"
        except subprocess.CalledProcessError:
            print(f"{name}: left out, its environment cannot be made here")
            continue
        files = (here / file for file in ("tenth.parquet", "boosting.joblib", "linear.joblib"))
        words: list[str | Path] = [python, "-c", code, *files]
        yield Work("promote, a tenth of the rows", name, ours, partial(run, words, here), [faster(least)])
