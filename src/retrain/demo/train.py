"""What `make train-model` runs in the demo: the newest labelled scans → a challenger. Put your own in its place.

A training reads the rows in $RETRAIN_TRAINING, writes the model to $RETRAIN_CHALLENGER, and exits 0. The newest rows
were left out: promote judges the model on them. While there is no log to take rows from, it reads its own, and leaves
some of them out itself, at $RETRAIN_HOLDOUT. It may also leave its features at $RETRAIN_REFERENCE: then drift is
measured against what this very model has seen. Run by hand, without these, it writes where `retrain promote` looks.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import joblib
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from retrain.demo import HISTORY, MODELS

RECENT = pd.Timedelta(days=1)  # older scans are of the scanner as it was
LEFT_OUT = 200


def main() -> None:
    """Train a challenger; write it and its features where the environment says."""
    challenger = Path(os.environ.get("RETRAIN_CHALLENGER", MODELS / "challenger.joblib"))
    reference = Path(os.environ.get("RETRAIN_REFERENCE", MODELS / "challenger.reference.parquet"))

    rows, source = rows_given() or rows_of_history()
    rows = rows.assign(timestamp=pd.to_datetime(rows["timestamp"], format="ISO8601"))
    rows = rows[rows["timestamp"] > rows["timestamp"].max() - RECENT]
    features, labels = rows.drop(columns=["timestamp", "label"]), rows["label"]
    print(f"training on {len(rows)} scans since {rows['timestamp'].min():%Y-%m-%d %H:%M} from {source}", flush=True)

    model = make_pipeline(PCA(20, random_state=0), SVC(C=10))
    f1 = cross_val_score(model, features, labels, scoring="f1", cv=5).mean()
    print(f"F1 {f1:.3f} in 5-fold cross-validation")

    model.fit(features, labels)
    publish(reference, lambda file: features.to_parquet(file, index=False))
    publish(challenger, lambda file: joblib.dump(model, file))  # last: its arrival means that all is done
    print(f"wrote {os.path.relpath(challenger)}")


def rows_given() -> tuple[pd.DataFrame, str] | None:
    """The labelled rows of the prediction log less those that are left out, and their source; None without a log."""
    given = os.environ.get("RETRAIN_TRAINING")
    return (pd.read_parquet(given), "the prediction log") if given is not None else None


def rows_of_history() -> tuple[pd.DataFrame, str]:
    """The labelled rows from before the first model, less the newest, which are for promote; and their source."""
    rows = pd.read_csv(HISTORY)
    left_out = Path(os.environ.get("RETRAIN_HOLDOUT", MODELS / "challenger.holdout.parquet"))
    publish(left_out, lambda file: rows.tail(LEFT_OUT).to_parquet(file, index=False))
    return rows.head(-LEFT_OUT), str(HISTORY)


def publish(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write to `path` so that it appears there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


if __name__ == "__main__":
    main()
