"""A project whose artifacts are skops files: no code of a file is ever run."""

from pathlib import Path

import joblib
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tests.stories.project import CHAMPION, Models, Project

SERVED = "models/champion.skops"
TREE = "sklearn.tree._tree.Tree"


class Payload:
    """Creates a file when a pickle of it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


class Model:
    """Of a module that a file of it names."""

    __module__ = "evil"

    def __init__(self) -> None:
        self.x = 1


@pytest.fixture(scope="session")
def artifacts(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with scikit-learn's models as skops files: `weak` is linear, `strong` a tree."""
    directory = tmp_path_factory.mktemp("skops")
    rows = pd.read_csv(models.training)
    fitted = {"weak": LogisticRegression(), "strong": DecisionTreeClassifier(max_depth=9, random_state=0)}
    for name, model in fitted.items():
        skops.io.dump(model.fit(rows[["a", "b", "c"]], rows["y"]), directory / f"{name}.skops")
    return directory


@pytest.fixture
def safe(project: Project, artifacts: Path) -> Project:
    """Served by a linear model, `strong.skops` lies there; trees are trusted."""
    project.link(artifacts / "weak.skops", SERVED)
    project.link(artifacts / "strong.skops", "strong.skops")
    names = {"champion": SERVED, "challenger": "models/challenger.skops"}
    project.configure(models={**names, "trusted": [TREE]}, promotion={"max_memory": "1GiB"})
    return project


def trained(project: Project, artifact: str) -> None:
    """Let a check train this artifact."""
    project.train(f"cp {artifact} $(RETRAIN_CHALLENGER)", "cp data/holdout.csv $(RETRAIN_REFERENCE)")
    project.metrics(f1=0.5)
    assert project.json("check")["run"]["outcome"] == "succeeded"


def test_the_whole_loop(safe: Project) -> None:
    """Trained, promoted and rolled back; each version ends in .skops; its reference, rows and card are kept."""
    before = (safe.root / SERVED).read_bytes()
    (safe.root / "data/training.csv").write_text("a,b,c,y\n9,9,9,1\n8,8,8,0\n")
    safe.configure(training={"data": "data/training.csv"})
    trained(safe, "strong.skops")
    said = safe.json("promote")
    assert said["promoted"]
    version = said["challenger"]["version"]
    assert str((safe.root / SERVED).readlink()) == f"versions/{version}.skops"
    kept = {path.name for path in (safe.root / "models/versions").iterdir()}
    assert kept == {f"{version}{kind}" for kind in (".skops", ".md", ".reference.parquet", ".rows.parquet")} | {
        f"{said['champion']['version']}.skops"
    }
    assert safe.json("doctor")["findings"]
    assert safe.run("rollback").returncode == 0
    assert (safe.root / SERVED).read_bytes() == before
    assert safe.run("rollback", "--to", version[:9]).returncode == 0
    assert safe.json("status")["champion"]["version"] == version


def test_a_type_that_is_not_trusted_is_named(safe: Project) -> None:
    """With the key to add it to; a file cannot vouch for itself, and --force does not either."""
    safe.configure(models={"trusted": []})
    for more in ((), ("--force", "--reason", "test"), ("--dry-run",)):
        done = safe.run("promote", "strong.skops", *more)
        assert done.returncode == 1
        assert f"has types that are not trusted: {TREE}. Read what they do, then" in done.stderr
        assert "models.trusted" in done.stderr


@pytest.mark.own_process
def test_no_module_is_imported_for_a_type_that_is_not_trusted(safe: Project) -> None:
    """The modules that a file names are code, too."""
    (safe.root / SERVED).unlink()
    skops.io.dump(Model(), safe.root / "evil.skops")
    (safe.root / "evil.py").write_text(f"open({str(safe.root / 'mark')!r}, 'w')\n")
    done = safe.run("promote", "evil.skops")
    assert "not trusted: evil.Model" in done.stderr
    assert not (safe.root / "mark").exists()


@pytest.mark.parametrize("how", ["given", "trained", "forced", "served"])
def test_a_pickle_is_never_loaded_whatever_its_name(safe: Project, how: str) -> None:
    """Exit 1 and a sentence; the code in it does not run."""
    mark, evil = safe.root / "mark", safe.root / "evil.skops"
    joblib.dump(Payload(mark), evil)
    if how == "served":
        (safe.root / SERVED).write_bytes(evil.read_bytes())
    if how == "trained":
        safe.train("cp evil.skops $(RETRAIN_CHALLENGER)")
        safe.metrics(f1=0.5)
    words = {"given": ["promote", "evil.skops"], "trained": ["check"], "served": ["promote", "strong.skops"]}
    done = safe.run(*words.get(how, ["promote", "evil.skops", "--force", "--reason", "test"]))
    assert done.returncode == 1
    assert "cannot be loaded: BadZipFile" in done.stderr
    assert not mark.exists()


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--force", "--reason", "test")])
def test_a_file_of_the_other_format_is_refused(project: Project, safe: Project, more: tuple[str, ...]) -> None:
    """No path given by hand gets a joblib file into a project of skops files, and none the other way round."""
    done = safe.run("promote", str(safe.models.strong), *more)
    assert done.returncode == 1
    assert "takes only skops files, since any other artifact is a program" in done.stderr
    (safe.root / SERVED).unlink()
    project.configure(models={"champion": CHAMPION, "challenger": "models/challenger.joblib", "trusted": []})
    done = project.run("promote", "strong.skops", *more)
    assert done.returncode == 1
    assert "is a skops file, and models.champion does not end in .skops" in done.stderr
    assert not list(project.root.glob("models/versions/*.joblib"))


@pytest.mark.own_process
def test_without_skops_the_extra_is_named(safe: Project) -> None:
    """What an operator who did not install it reads."""
    (safe.root / "absent/skops").mkdir(parents=True)
    (safe.root / "absent/skops/__init__.py").write_text("raise ModuleNotFoundError('skops')\n")
    done = safe.run("promote", "strong.skops", PYTHONPATH=str(safe.root / "absent"))
    assert done.returncode == 1
    assert "pip install 'retrain-controller[skops]'" in done.stderr


# ---------------------------------------------------------------- a directory of MLflow


def test_a_training_may_leave_a_directory_of_mlflow(safe: Project) -> None:
    """The one model file in it is kept and served as it is; the next training finds no directory in its way."""
    into = "$(RETRAIN_CHALLENGER)"
    save = f"mkdir {into} && touch {into}/MLmodel {into}/conda.yaml && cp strong.skops {into}/model.skops"
    safe.train(save, "cp data/holdout.csv $(RETRAIN_REFERENCE)")
    runs = [safe.json("check", "--force", "--reason", "test")["run"]["outcome"] for _ in range(2)]
    assert runs == ["succeeded", "succeeded"]
    said = safe.json("promote")
    assert said["promoted"], said
    assert (safe.root / SERVED).read_bytes() == (safe.root / "strong.skops").read_bytes()
    version = said["challenger"]["version"]
    assert {path.name.removeprefix(version) for path in (safe.root / "models/versions").glob(f"{version}*")} == {
        ".skops",
        ".md",
        ".reference.parquet",
    }


def test_a_person_may_name_a_directory_of_mlflow(safe: Project) -> None:
    """Its model file is in the format of the project, and the only one; another directory is none."""
    saved = safe.root / "saved"
    saved.mkdir()
    (saved / "model.pkl").write_bytes(b"a pickle")
    assert "is a directory" in safe.run("promote", "saved").stderr
    (saved / "MLmodel").touch()
    assert "takes only skops files" in safe.run("promote", "saved").stderr
    (saved / "model.skops").write_bytes((safe.root / "strong.skops").read_bytes())
    assert "is a directory" in safe.run("promote", "saved").stderr
    (saved / "model.pkl").unlink()
    assert safe.json("promote", "saved")["promoted"]
    assert (safe.root / SERVED).read_bytes() == (saved / "model.skops").read_bytes()
