"""What a comparison costs: beside a script that a person would write, a tenth of the rows, one core, and peers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import yaml
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tests.benchmark.measure import Cost, Work, clock, exponent, faster, memory, processor, retrain, script, sooner

COLUMNS, SLICED = 20, 10
CLASSES, VALUES, GROUPS = 100, 100, 100_000
ROW_GROUP = 100_000
"""Rows of a Parquet file that are read at once: as many, whatever the size of the file."""
RESAMPLED = 40
"""Resamples that are measured, of the thousand whose cost is reckoned from them."""
SCRIPT = """
import sys, joblib, pandas
from sklearn.metrics import f1_score
file, *models = sys.argv[1:]
rows = pandas.read_csv(file) if file.endswith(".csv") else pandas.read_parquet(file)
features, label = rows.drop(columns="label"), rows["label"]
for model in models:
    print(f1_score(label, joblib.load(model).predict(features)))
"""
RESAMPLING = """
import sys, joblib, numpy, pandas
from sklearn.metrics import f1_score
file, champion, challenger, times = sys.argv[1:]
rows = pandas.read_parquet(file)
features, label = rows.drop(columns="label"), rows["label"].to_numpy()
one, other = (joblib.load(model).predict(features) for model in (champion, challenger))
random = numpy.random.default_rng(0)
gains = [f1_score(label, other) - f1_score(label, one)]
for _ in range(int(times)):
    chosen = random.integers(len(label), size=len(label))
    gains.append(f1_score(label[chosen], other[chosen]) - f1_score(label[chosen], one[chosen]))
print(numpy.percentile(gains, [2.5, 97.5]))
"""


def scripts(here: Path, rows: int) -> Iterator[Work]:
    """A comparison beside what a person would write, with ten times the rows, and on one core."""
    make_elsewhere(here, rows)
    size = f"{rows:,} × {COLUMNS}"
    parquet, csv = promotion(here, "holdout.parquet"), promotion(here, "holdout.csv")
    goals = [processor(1.15), clock(1.0), memory(0.65)]
    yield Work(f"promote, {size}, Parquet", "a script", parquet, _script(here, "holdout.parquet"), goals)
    goals = [processor(1.25), clock(None), memory(None)]
    yield Work(f"promote, {size}, CSV", "a script", csv, _script(here, "holdout.csv"), goals)
    many, goals = promotion(here, "tenfold.parquet"), [processor(10.5), memory(1.1), exponent(10)]
    yield Work(f"promote, {10 * rows:,} rows, Parquet", f"{rows:,} rows", many, parquet, goals)
    yield Work("promote, with its bounds", "1,000 resamples of the rows", parquet, _resampling(here), [faster(20)])
    slow = ("forest", "bushes")
    two, one = promotion(here, "holdout.parquet", slow), promotion(here, "holdout.parquet", slow, cores=1)
    yield Work("promote, two slow models, two cores", "one core", two, one, [sooner(1.7)])


def shapes(here: Path, rows: int) -> Iterator[Work]:
    """Classes, slices and groups beside the same rows without."""
    make_elsewhere(here, rows)
    trees, file = ("tree", "bush"), "plain.parquet"
    plain, goals = promotion(here, file, trees), [processor(1.6)]
    many = promotion(here, "classes.parquet", ("sorter", "sifter"), average="macro")
    yield Work(f"promote, {CLASSES} classes", "two classes", many, plain, goals)
    sliced = promotion(here, file, trees, slices=[f"s{n}" for n in range(SLICED)])
    yield Work(f"promote, {SLICED * VALUES:,} slices", "none", sliced, plain, goals)
    grouped = promotion(here, file, trees, group="g")
    yield Work(f"promote, {GROUPS:,} groups", "none", grouped, plain, goals)


def growth(here: Path, rows: int) -> Iterator[Work]:
    """Ten times as many features, classes, slices and groups: each beside the tenth, with as many rows."""
    make_elsewhere(here, rows)
    trees, file = ("tree", "bush"), "plain.parquet"
    wide, narrow = promotion(here, "wide.parquet", ("broad", "flat")), promotion(here, "tenth.parquet", trees)
    yield Work(f"promote, {10 * COLUMNS} features", f"{COLUMNS}", wide, narrow, [exponent(10)])
    many = promotion(here, "classes.parquet", ("sorter", "sifter"), average="macro")
    few = promotion(here, "tens.parquet", ("binner", "boxer"), average="macro")
    yield Work(f"promote, {CLASSES} classes", f"{CLASSES // 10}", many, few, [exponent(10)])
    many, few = (promotion(here, file, trees, slices=[f"{name}{n}" for n in range(SLICED)]) for name in "st")
    yield Work(f"promote, {SLICED * VALUES:,} slices", f"{SLICED * VALUES // 10}", many, few, [exponent(10)])
    many, few = promotion(here, file, trees, group="g"), promotion(here, file, trees, group="h")
    yield Work(f"promote, {GROUPS:,} groups", f"{GROUPS // 10:,}", many, few, [exponent(10)])


def make_elsewhere(here: Path, rows: int) -> None:
    """Write the holdouts and the models, unless they are there, in a process of its own."""
    if not (here / "holdout.parquet").exists():
        subprocess.run([sys.executable, "-m", __name__, here, str(rows)], check=True, cwd=Path(__file__).parents[2])


def promotion(
    here: Path,
    holdout: str,
    models: tuple[str, str] = ("boosting", "linear"),
    *,
    cores: int | None = None,
    **settings: Any,
) -> Callable[[], Cost]:
    """What compares two models with the installed command, each time with bytes that nobody has judged."""
    number = next(_numbers)
    project = here / f"project{number}"
    (project / "models").mkdir(parents=True)
    (project / "models/champion.joblib").write_bytes((here / f"{models[0]}.joblib").read_bytes())
    rules = {"holdout": str(here / holdout), "target": "label", "holdout_uses": 1000} | settings
    triggers, monitoring = {"performance_threshold": 0.5}, {"url": "file:///dev/null", "f1": "f1"}
    written = {"triggers": triggers, "monitoring": monitoring, "promotion": rules}
    (project / "config.yaml").write_text(yaml.safe_dump(written))

    def once() -> Cost:
        challenger = project / "challenger.joblib"
        challenger.write_bytes((here / f"{models[1]}.joblib").read_bytes() + str(next(_numbers)).encode())
        return retrain(project, "promote", challenger, exits=(0, 10, 11), cores=cores)()

    return once


def _script(here: Path, holdout: str) -> Callable[[], Cost]:
    return script(SCRIPT, here, holdout, "boosting.joblib", "linear.joblib")


def _resampling(here: Path) -> Callable[[], Cost]:
    """What resamples the rows a thousand times: so much as a few take, and the rest in proportion."""
    few, none = (
        script(RESAMPLING, here, "holdout.parquet", "boosting.joblib", "linear.joblib", str(times))
        for times in (RESAMPLED, 0)
    )

    def once() -> Cost:
        some, nothing = few(), none()
        return Cost(*(less + (more - less) * 1000 / RESAMPLED for more, less in zip(some, nothing, strict=True)))

    return once


def make(here: Path, rows: int) -> None:
    """Write the holdouts and the models."""
    random = np.random.default_rng(0)

    def drawn(count: int) -> pd.DataFrame:
        frame = pd.DataFrame(random.normal(size=(count, COLUMNS)), columns=[f"f{n}" for n in range(COLUMNS)])
        return frame.assign(label=(frame["f0"] + frame["f1"] * frame["f2"] + random.normal(size=count) > 0).astype(int))

    training, holdout = drawn(50_000), drawn(rows)
    holdout.to_parquet(here / "holdout.parquet", row_group_size=ROW_GROUP)
    holdout.to_csv(here / "holdout.csv", index=False)
    pd.concat([holdout[: rows // 10]]).to_parquet(here / "tenth.parquet")
    _write_tenfold(here / "tenfold.parquet", holdout, random)
    drawn_aside = {f"s{n}": random.integers(VALUES, size=rows) for n in range(SLICED)}
    drawn_aside |= {f"t{n}": random.integers(VALUES // 10, size=rows) for n in range(SLICED)}
    drawn_aside |= {"g": random.integers(GROUPS, size=rows), "h": random.integers(GROUPS // 10, size=rows)}
    plain = holdout.assign(**drawn_aside)
    plain.to_parquet(here / "plain.parquet")
    ranks = pd.qcut(plain["f0"] + random.normal(size=rows) / 20, CLASSES, labels=False)
    plain.assign(label=ranks).to_parquet(here / "classes.parquet")
    plain.assign(label=ranks // 10).to_parquet(here / "tens.parquet")
    wide = pd.DataFrame(random.normal(size=(rows // 10, 10 * COLUMNS)), columns=[f"f{n}" for n in range(10 * COLUMNS)])
    wide[holdout.columns] = holdout[: rows // 10]
    wide.to_parquet(here / "wide.parquet")
    features, label = training.drop(columns="label"), training["label"]
    classes = pd.qcut(features["f0"], CLASSES, labels=False)
    for name, model, labels in (
        ("linear", LogisticRegression(), label),
        ("boosting", HistGradientBoostingClassifier(), label),
        ("tree", DecisionTreeClassifier(max_depth=12), label),
        ("bush", DecisionTreeClassifier(max_depth=8), label),
        ("sorter", DecisionTreeClassifier(max_depth=12), classes),
        ("sifter", DecisionTreeClassifier(max_depth=8), classes),
        ("binner", DecisionTreeClassifier(max_depth=12), classes // 10),
        ("boxer", DecisionTreeClassifier(max_depth=8), classes // 10),
        ("forest", RandomForestClassifier(200, max_depth=12, random_state=0), label),
        ("bushes", RandomForestClassifier(200, max_depth=12, random_state=1), label),
    ):
        few = 5_000 if name in ("forest", "bushes") else len(training)  # slow to predict, not to make
        joblib.dump(model.fit(features[:few], labels[:few]), here / f"{name}.joblib")
    for name, depth in (("broad", 12), ("flat", 8)):
        some = wide[:5_000]
        model = DecisionTreeClassifier(max_depth=depth).fit(some.drop(columns="label"), some["label"])
        joblib.dump(model, here / f"{name}.joblib")


def _write_tenfold(file: Path, holdout: pd.DataFrame, random: np.random.Generator) -> None:
    """Ten times the rows, none of which are alike, written piece by piece."""
    import pyarrow as pa
    import pyarrow.parquet

    with pa.parquet.ParquetWriter(file, pa.Table.from_pandas(holdout, preserve_index=False).schema) as out:
        for _ in range(10):
            moved = holdout.assign(f19=random.normal(size=len(holdout)))
            out.write_table(pa.Table.from_pandas(moved, preserve_index=False), row_group_size=ROW_GROUP)


_numbers = count()

if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
