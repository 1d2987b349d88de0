"""What scoring costs beside a script that a person would write: `make benchmark`.

A logistic regression and gradient boosting on 1,000,000 rows of 20 columns, as Parquet and as CSV, in rounds that
alternate. Processor time of all processes, time on the clock, and the memory of the largest process.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

ROUNDS, ROWS, COLUMNS = 5, 1_000_000, 20
SCRIPT = """
import sys, joblib, pandas
from sklearn.metrics import f1_score
file, *models = sys.argv[1:]
rows = pandas.read_csv(file) if file.endswith(".csv") else pandas.read_parquet(file)
features, label = rows.drop(columns="label"), rows["label"]
for model in models:
    print(f1_score(label, joblib.load(model).predict(features)))
"""
RETRAIN = """
import sys
from pathlib import Path
from retrain.config.schema import Config, Promotion
from retrain.effects.evaluation import compare
holdout, champion, challenger = map(Path, sys.argv[1:])
compare(Config(promotion=Promotion(holdout=holdout)), champion, challenger, holdout)
"""
GOALS = {"parquet": (1.2, 1.0, 0.65), "csv": (1.3, None, None)}
"""The most that scoring may cost, as a multiple of the script: processor, clock, memory."""


class Cost(NamedTuple):
    """Seconds of processor time, seconds on the clock, MB of the largest process."""

    processor: float
    clock: float
    memory: float


def main() -> None:
    """Measure, and print medians with the least and the most."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        with ProcessPoolExecutor(1) as pool:  # what is started counts the memory of its starter as its own
            models = pool.submit(_made, here).result()
        for suffix, goals in GOALS.items():
            costs: dict[str, list[Cost]] = {"script": [], "retrain": []}
            for _ in range(ROUNDS):
                for name, code in (("script", SCRIPT), ("retrain", RETRAIN)):
                    costs[name].append(_cost([sys.executable, "-c", code, f"holdout.{suffix}", *models], here))
            _report(suffix, costs, goals)


def _made(here: Path) -> list[str]:
    """Two holdouts with the same rows, and two models."""
    random = np.random.default_rng(0)

    def rows(count: int) -> pd.DataFrame:
        frame = pd.DataFrame(random.normal(size=(count, COLUMNS)), columns=[f"f{n}" for n in range(COLUMNS)])
        return frame.assign(label=(frame["f0"] + frame["f1"] * frame["f2"] + random.normal(size=count) > 0).astype(int))

    training, holdout = rows(50_000), rows(ROWS)
    holdout.to_parquet(here / "holdout.parquet")
    holdout.to_csv(here / "holdout.csv", index=False)
    for name, model in (("linear", LogisticRegression()), ("boosting", HistGradientBoostingClassifier())):
        joblib.dump(model.fit(training.drop(columns="label"), training["label"]), here / name)
    return ["linear", "boosting"]


def _cost(command: Sequence[str], directory: Path) -> Cost:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)  # with all that it has waited for
    clock = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[3:])}: exit code {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, clock, used.ru_maxrss / 1000)


def _report(suffix: str, costs: dict[str, list[Cost]], goals: Sequence[float | None]) -> None:
    print(f"{ROWS:,} × {COLUMNS} {suffix}, {ROUNDS} rounds: median (least to most)")
    for field, unit, goal in zip(Cost._fields, ("s", "s", "MB"), goals, strict=True):
        found = {name: [getattr(cost, field) for cost in each] for name, each in costs.items()}
        shown = [f"{name} {_summary(values)} {unit}" for name, values in found.items()]
        ratio: Callable[[str], float] = lambda name: statistics.median(found[name])  # noqa: B023, E731
        wanted = f", goal {goal:g}" if goal is not None else ""
        print(f"  {field:<10}{'; '.join(shown)}; ratio {ratio('retrain') / ratio('script'):.2f}{wanted}")


def _summary(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


if __name__ == "__main__":
    main()
