"""What `make train-model` runs in the demo: the newest labelled scans → a challenger. Put your own in its place.

A training reads its rows (never the holdout), writes the model to $RETRAIN_CHALLENGER, and exits 0. It may also
leave its features at $RETRAIN_REFERENCE: then drift is measured against what this very model has seen. Run by hand,
without these two, it writes where `retrain promote` looks.
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

from retrain.demo import MODELS, TRAINING

RECENT = pd.Timedelta(days=1)  # older scans are of the scanner as it was


def main() -> None:
    """Train a challenger; write it and its features where the environment says."""
    challenger = Path(os.environ.get("RETRAIN_CHALLENGER", MODELS / "challenger.joblib"))
    reference = Path(os.environ.get("RETRAIN_REFERENCE", MODELS / "challenger.reference.parquet"))

    rows = pd.read_csv(TRAINING, parse_dates=["timestamp"])
    rows = rows[rows["timestamp"] > rows["timestamp"].max() - RECENT]
    features, labels = rows.drop(columns=["timestamp", "label"]), rows["label"]
    print(f"training on {len(rows)} scans since {rows['timestamp'].min():%Y-%m-%d %H:%M} from {TRAINING}", flush=True)

    model = make_pipeline(PCA(20, random_state=0), SVC(C=10))
    f1 = cross_val_score(model, features, labels, scoring="f1", cv=5).mean()
    print(f"F1 {f1:.3f} in 5-fold cross-validation")

    model.fit(features, labels)
    publish(reference, lambda file: features.to_parquet(file, index=False))
    publish(challenger, lambda file: joblib.dump(model, file))  # last: its arrival means that all is done
    print(f"wrote {os.path.relpath(challenger)}")


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
