"""ONNX models, trained and predicted in an environment that has their libraries, and retrain has not."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.documents import GUIDE, blocks
from tests.integration.conftest import environment
from tests.stories.project import Models, Project, make_models

TRAIN = """
import os, sys
import pandas as pd
from skl2onnx import to_onnx
from sklearn.tree import DecisionTreeClassifier

rows = pd.read_csv("training.csv")
features = rows[["a", "b", "c"]].to_numpy("float32")
model = DecisionTreeClassifier(max_depth=int(sys.argv[1]), random_state=0).fit(features, rows["y"])
with open(os.environ["RETRAIN_CHALLENGER"], "wb") as file:
    file.write(to_onnx(model, features[:1], options={"zipmap": False}).SerializeToString())
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def project(tmp_path: Path, models: Models) -> Iterator[Project]:
    """A project as the guide describes it, served by a shallow tree; a training makes a deep one."""
    project = Project(tmp_path, models)
    (tmp_path / "venv").symlink_to(environment("onnxruntime==1.*", "skl2onnx==1.*", "pandas", "pyarrow").parent)
    (example,) = (each for each in blocks(GUIDE["operations"], "yaml") if "predict:" in each)
    (script,) = (each for each in blocks(GUIDE["operations"], "python") if "onnxruntime" in each)
    (tmp_path / "predict.py").write_text(script)
    (tmp_path / "train.py").write_text(TRAIN)
    shutil.copy(models.training, tmp_path / "training.csv")
    project.configure(**yaml.safe_load(example))
    project.train("venv/bin/python train.py 9")
    words = [str(tmp_path / "venv/bin/python"), "train.py", "2"]
    served = {"RETRAIN_CHALLENGER": str(tmp_path / "models/champion.onnx")}
    subprocess.run(words, cwd=tmp_path, env=project.environment | served, check=True)
    yield project


def test_the_whole_loop_with_the_example_of_the_guide(project: Project) -> None:
    """Trained, tried, promoted and rolled back; what serves is an ONNX file."""
    champion = project.root / "models/champion.onnx"
    before = champion.read_bytes()
    project.metrics(f1=0.5)
    assert project.json("check")["run"]["outcome"] == "succeeded"
    said = project.json("promote")
    assert said["promoted"], said
    assert champion.readlink() == Path("versions", f"{said['challenger']['version']}.onnx")
    assert champion.read_bytes() == (project.root / "models/challenger.onnx").read_bytes()
    assert project.run("doctor").returncode == 0
    assert project.run("rollback").returncode == 0
    assert champion.read_bytes() == before


def test_a_file_that_is_no_onnx_is_no_challenger(project: Project) -> None:
    """The training has failed, with the last line of onnxruntime's error."""
    project.train("cp train.py $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    done = project.run("check")
    assert done.returncode == 1
    assert "the command of promotion.predict ended with exit code 1" in done.stderr
    assert "INVALID_PROTOBUF" in done.stderr
