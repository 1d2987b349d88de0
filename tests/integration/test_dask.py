"""A holdout that the workers of a real Dask cluster score: the same counts as here, and what goes wrong there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tests.integration.conftest import environment
from tests.stories.project import CHALLENGER, CHAMPION, Models, Project, make_models, until

ROOT = Path(__file__).parents[2]
NEEDS = (
    "distributed==2025.*",
    *("click", "jmespath", "joblib", "msgspec", "pandas>=2.2", "prometheus-client", "pyarrow>=17", "pyyaml"),
    *("requests", "scikit-learn>=1.5", "urllib3>=2.6"),
)


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with `distributed` and what retrain needs, but no LightGBM."""
    return environment(*NEEDS) / "python"


@pytest.fixture
def cluster(python: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two workers."""
    found = tmp_path / "scheduler.json"
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    quiet["env"] = paths({**os.environ, "PYTHONPATH": str(tmp_path)})
    dask = str(python.with_name("dask"))
    with ExitStack() as stack:

        def start(*words: str) -> None:
            process = stack.enter_context(subprocess.Popen([dask, *words, "--no-dashboard"], **quiet))
            stack.callback(process.terminate)

        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(found))
        until(partial(is_json, found))
        address = str(json.loads(found.read_text())["address"])
        for _ in range(2):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1")
        yield address


def is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False


def paths(environ: dict[str, str]) -> dict[str, str]:
    """This environment, where retrain and the tests can be imported."""
    before = environ.get("PYTHONPATH", "")
    return {**environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), before)))}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models, cluster: str) -> Project:
    """A project whose holdout, seven Parquet files, the workers score."""
    root = tmp_path / "project"
    root.mkdir()
    project = Project(root, models)
    rows = pd.read_csv(models.holdout)
    (root / "data/holdout").mkdir()
    for number, places in enumerate(np.array_split(np.arange(len(rows)), 7)):
        rows.iloc[places].to_parquet(root / f"data/holdout/{number}.parquet")
    project.configure(promotion={"holdout": "data/holdout/", "backend": "dask", "scheduler": cluster})
    for name, strength in ((CHAMPION, 5), (CHALLENGER, 2500)):
        some = pd.read_csv(models.training)[:strength]
        crossed = some.assign(bc=some["b"] * some["c"])[["a", "b", "c"]]
        joblib.dump(LogisticRegression().fit(crossed, some["y"]), root / name)
    return project


def run(python: Path, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    """What comes of retrain with these words under this Python."""
    return subprocess.run(
        [str(python), "-m", "retrain", *words],
        cwd=project.root,
        env=paths(project.environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


BOTH = """
import json, sys
from tests.scoring import scored
directory, scheduler = sys.argv[1:]
plan = {"holdout": f"{directory}/rows", "target": "label", "dtypes": {}, "slices": ["kind"]}
plan |= {"keys": [[["a", "label"], 1]], "known_challenger": f"{directory}/known.parquet", "chunk": 90}
data = {"job": "rows", "data": f"{directory}/rows/2.parquet", "into": plan["known_challenger"]}
scored({**data, "holdout": plan["holdout"], "target": "label", "dtypes": {}})
files = {side: f"{directory}/{side}" for side in ("champion", "challenger")}
artifacts = {side: {"path": file, "file": file, "trusted": None, "aside": []} for side, file in files.items()}
for group in (None, "customer"):
    here = scored({**plan, **files, "job": "compare", "group": group})
    asked = {**plan, "job": "scattered", "group": group, "champion": None, "artifacts": artifacts, "piece": 1100}
    there = scored({**asked, "scheduler": scheduler, "timeout": 100})
    assert here == there, {key: (here[key], there[key]) for key in here if here[key] != there[key]}
    assert sum(cell[-1] for cell in here["cells"]) == 2100
    assert here["leaked"]["challenger"] >= 700
    assert here["groups"]["number"] < 2100
print("same")
"""


def test_the_counts_are_the_same_to_the_last_row(python: Path, cluster: str, tmp_path: Path) -> None:
    """Cells, slices, groups and copies across pieces, training rows, fingerprint, sketches: all as they are here."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.normal(size=2000), "b": random.normal(size=2000)})
    frame = frame.assign(label=(frame["a"] > 0).astype(int), kind=random.choice(["x", "y", "z"], 2000))
    frame["customer"] = random.integers(0, 90, 2000)
    frame = pd.concat([frame, frame[:100]])
    (tmp_path / "rows").mkdir()
    for number in range(3):
        frame[number * 700 : (number + 1) * 700].to_parquet(tmp_path / f"rows/{number}.parquet", row_group_size=350)
    for side, rows in (("champion", 40), ("challenger", 500)):
        joblib.dump(LogisticRegression().fit(frame[["a", "b"]][:rows], frame["label"][:rows]), tmp_path / side)
    command = [str(python), "-c", BOTH, str(tmp_path), cluster]
    done = subprocess.run(command, env=paths({**os.environ}), capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "same", done.stderr


def test_a_challenger_is_promoted(python: Path, project: Project) -> None:
    """The workers' counts decide; doctor tests the gate with processes of this machine."""
    done = run(python, project, "promote", CHALLENGER)
    assert done.returncode == 0, done
    assert "holdout rows 3,000" in done.stdout
    assert run(python, project, "doctor").returncode == 0


MORTAL = '''
import os, signal
from pathlib import Path

class Mortal:
    """Predicts 1; once, somewhere, it kills the worker that waits for it."""
    def __init__(self, mark):
        self.mark = mark
    def predict(self, rows):
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return [1] * len(rows)
        os.kill(os.getppid(), signal.SIGKILL)
        return [1] * len(rows)
'''


def test_a_worker_that_is_killed(python: Path, project: Project, tmp_path: Path) -> None:
    """Its pieces are counted again by the other: the verdict is that of all rows."""
    (tmp_path / "mortal.py").write_text(MORTAL)
    mark = tmp_path / "killed"
    save = "import joblib, mortal, sys; joblib.dump(mortal.Mortal(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", save, str(mark), str(project.root / CHALLENGER)]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = run(python, project, "promote", CHALLENGER, "--dry-run")
    assert mark.exists()
    assert done.returncode in (0, 10, 11), done
    assert "holdout rows 3,000" in done.stdout


def test_a_worker_without_the_library_of_a_model(python: Path, project: Project, models: Models) -> None:
    """It is said which module is missing and that a worker lacks it, and the champion stays."""
    rows = pd.read_csv(models.training)
    model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows[["a", "b", "c"]], rows["y"])
    joblib.dump(model, project.root / CHALLENGER)
    before = (project.root / CHAMPION).read_bytes()
    done = run(python, project, "promote", CHALLENGER)
    assert done.returncode == 1
    assert "No module named 'lightgbm'" in done.stderr, done
    assert "on worker tcp://127.0.0.1:" in done.stderr
    assert (project.root / CHAMPION).read_bytes() == before


def test_a_scheduler_that_is_not_there(python: Path, project: Project) -> None:
    """There is no verdict. Without the extra the sentence says how to install it."""
    project.configure(promotion={"scheduler": "tcp://127.0.0.1:1"})
    done = run(python, project, "promote", CHALLENGER)
    assert done.returncode == 1
    assert "the scheduler tcp://127.0.0.1:1 cannot be reached: " in done.stderr, done
    lacks = project.run("promote", CHALLENGER)
    assert "promotion.backend: dask needs distributed: pip install 'retrain-controller[dask]'" in lacks.stderr
