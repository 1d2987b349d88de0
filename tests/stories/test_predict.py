"""promotion.predict: a command predicts instead of retrain, and the artifact is any file, or a directory."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import real
from tests.stories import predicting
from tests.stories.project import Models, Project

pytestmark = pytest.mark.own_process
COMMAND = f"{sys.executable} predict.py"
SERVED = "models/champion"


def model(path: Path, reach: float, **more: Any) -> Path:
    """A model in JSON: a file where the name has an extension, else a directory."""
    text = json.dumps({"reach": reach, **more})
    if path.suffix:
        path.write_text(text)
        return path
    (path / "parts/none").mkdir(parents=True)
    (path / "weights.json").write_text(text)
    (path / "parts/one").write_text(f"of {path.name}")
    return path


@pytest.fixture
def foreign(project: Project) -> Callable[[str], Project]:
    """The project with artifacts of this extension; served by a weak one, a strong one lies there."""

    def prepared(extension: str, **rules: Any) -> Project:
        shutil.copy(predicting.__file__, project.root / "predict.py")
        names = {name: f"models/{name}{extension}" for name in ("champion", "challenger")}
        model(project.root / names["champion"], 0)
        strong = model(project.root / f"strong{extension}", 0.5)
        project.configure(models=names, promotion={"predict": COMMAND, **rules})
        project.train("rm -rf $(RETRAIN_CHALLENGER)", f"cp -r {strong.name} $(RETRAIN_CHALLENGER)")
        return project

    return prepared


def tree(path: Path) -> dict[str, bytes]:
    """What is in a directory, or in a file."""
    return {str(each.relative_to(path)): each.read_bytes() for each in [path, *path.rglob("*")] if each.is_file()}


@pytest.mark.parametrize("extension", ["", ".json"])
def test_the_whole_loop(foreign: Callable[..., Project], extension: str) -> None:
    """Adopted, trained, tried, promoted, rolled back, pruned; a version is what training left, read-only."""
    project = foreign(extension)
    champion, before = project.root / f"{SERVED}{extension}", tree(project.root / f"{SERVED}{extension}")
    project.metrics(f1=0.5)
    assert project.json("check")["run"]["outcome"] == "succeeded"
    assert champion.is_symlink()
    assert tree(champion) == before
    said = project.json("promote")
    version, old = said["challenger"]["version"], said["champion"]["version"]
    assert said["promoted"]
    assert str(champion.readlink()) == f"versions/{version}{extension}"
    assert tree(champion) == tree(project.root / f"strong{extension}")
    kept = champion.resolve()
    assert not [each for each in (kept, *kept.rglob("*")) if each.stat().st_mode & 0o222]
    assert (kept / "parts/none").is_dir() == (not extension)
    assert version in project.run("versions", "--json").stdout
    assert project.json("status")["champion"]["version"] == version
    assert project.run("doctor").returncode == 0
    assert "library_name" not in (project.root / f"models/versions/{version}.md").read_text()
    assert project.run("rollback").returncode == 0
    assert tree(champion) == before
    assert project.run("rollback", "--to", version[:9]).returncode == 0
    project.configure(models={"keep": 1})
    for reach in (0.4, 0.45):
        for path in (project.root / "models/versions").iterdir():
            os.utime(path, (0, 0))  # not in use
        another = model(project.root / f"another{reach * 100:.0f}{extension}", reach)
        assert project.run("promote", another.name, "--force", "--reason", "test").returncode == 0
    assert not (project.root / f"models/versions/{old}{extension}").exists()
    assert not list((project.root / "models/versions").glob(".incoming*"))


def test_what_the_command_gets(foreign: Callable[..., Project], models: Models) -> None:
    """The features in their order and type, without label and group; its own environment, less the secrets."""
    project = foreign(".json", group="customer")
    rows = pd.read_csv(models.holdout).assign(n=range(3000), text="x", customer=range(3000))
    rows[["n", "a", "y", "text", "b", "customer", "c"]].to_parquet(project.root / "data/holdout.parquet")
    project.configure(
        promotion={"holdout": "data/holdout.parquet"},
        monitoring={"headers": {"Authorization": "Bearer ${TOKEN}"}},
        training={"environment": {"MINE": "yes"}},
    )
    model(project.root / "strong.json", 0.5, seen="seen.json")
    done = project.run("promote", "strong.json", TOKEN="0123456789abcdef")  # noqa: S106  (no password)
    assert done.returncode == 10, done
    seen = json.loads((project.root / "seen.json").read_text())
    assert seen["schema"] == {"n": "int64", "a": "double", "text": "large_string", "b": "double", "c": "double"}
    assert seen["rows"] == 3000
    assert seen["first"] == rows[["n", "a", "text", "b", "c"]].head(1).to_dict("records")
    assert seen["environment"]["MINE"] == "yes"
    assert "TOKEN" not in seen["environment"]
    assert Path(seen["model"]).parent == project.root / "models/versions"
    assert seen["directory"] == str(project.root)


def test_rows_in_several_batches(foreign: Callable[..., Project], models: Models) -> None:
    """A command may answer batch by batch, or when it has read all; the verdict is the same, and so are text labels."""
    project = foreign(".json")
    rows = pd.concat([pd.read_csv(models.holdout)] * 40)  # 120,000
    rows.assign(y=rows["y"].map({0: "no", 1: "yes"})).to_parquet(project.root / "data/holdout.parquet")
    project.configure(promotion={"holdout": "data/holdout.parquet", "positive": "yes"})
    model(project.root / f"{SERVED}.json", 0, names=["no", "yes"])
    scores = set()
    for name, more in (("all", {}), ("streams", {"streams": True})):
        model(project.root / f"{name}.json", 0.5, names=["no", '"yes"'], **more)
        said = project.json("promote", f"{name}.json", "--dry-run")
        assert said["verdict"] == "promote", said
        scores.add((said["champion"]["score"], said["challenger"]["score"]))
    assert len(scores) == 1


@pytest.mark.parametrize(
    ("does", "rules", "words"),
    [
        ("too few", {}, "wrote 2,999 labels for 3,000 rows"),
        ("too many", {}, "wrote 3,001 labels for 3,000 rows"),
        ("nothing", {}, "wrote 0 labels for 3,000 rows"),
        ("an empty line", {}, "wrote no label ('') for some rows"),
        ("NaN", {}, "wrote no label ('NaN') for some rows"),
        ("lists", {}, "wrote '[1]', which is no class label"),
        ("scores", {}, "retrain needs class labels"),
        ("bytes", {}, "which is no class label"),
        ("other labels", {}, "predicts 'yes', but column 'y'"),
        ("prints for ever", {}, "and more labels for 3,000 rows"),
        ("prints one line for ever", {}, "a line is too long"),
        ("fails", {}, "the command of promotion.predict ended with exit code 1; it last printed: first line | no such"),
        ("aborts", {}, "the command of promotion.predict was ended by SIGABRT"),
        ("takes memory", {"max_memory": "600MiB"}, "raise promotion.max_memory, now 600 MiB"),
        ("hangs", {"timeout": "8s"}, "was ended after promotion.timeout (8 s)"),
        ("hangs in silence", {"timeout": "8s"}, "was ended after promotion.timeout (8 s)"),
    ],
)
def test_a_command_that_misbehaves_leaves_the_champion(
    foreign: Callable[..., Project], does: str, rules: dict[str, Any], words: str
) -> None:
    """Exit 1 and one object that says what was wrong, with both numbers of rows where they differ."""
    project = foreign(".json", **rules)
    before = tree(project.root / "models/champion.json")
    model(project.root / "candidate.json", 0.5, does=does)
    done = project.run("promote", "candidate.json", "--json")
    assert done.returncode == 1, done
    assert words in json.loads(done.stdout)["error"]
    assert tree(project.root / "models/champion.json") == before


def test_a_child_of_the_command_ends_with_it(foreign: Callable[..., Project]) -> None:
    """Though it holds the output open; what the command wrote is judged."""
    project = foreign(".json")
    model(project.root / "candidate.json", 0.5, does="leaves a child")
    done = project.run("promote", "candidate.json")
    assert done.returncode == 0, done
    status = Path(f"/proc/{(project.root / 'child').read_text().strip()}/status")
    assert not status.exists() or "\nState:\tZ" in status.read_text()


def test_a_challenger_is_tried_by_the_command(foreign: Callable[..., Project]) -> None:
    """At the end of its training: one that fails is no challenger, and an empty directory is none."""
    project = foreign("")
    project.metrics(f1=0.5)
    (project.root / "bad").mkdir()
    for recipe, words in (("true", "left an empty"), ("cp predict.py bad/weights.json", "left what cannot be used")):
        project.train(recipe, "rm -rf $(RETRAIN_CHALLENGER)", "cp -r bad $(RETRAIN_CHALLENGER)")
        done = project.run("check", "--force", "--reason", "test")
        assert done.returncode == 1
        assert words in done.stderr
    assert "JSONDecodeError" in done.stderr


def test_a_directory_that_was_changed_is_not_served(foreign: Callable[..., Project]) -> None:
    """A byte, a name or a file more, of a kept version or of the champion: each is noticed."""
    project = foreign("")
    assert project.run("promote", "strong").returncode == 0
    kept = [path for path in (project.root / "models/versions").iterdir() if path.is_dir()]
    other = next(path for path in kept if path != (project.root / SERVED).resolve())
    for directory in (other, other / "parts"):
        directory.chmod(0o755)
    (other / "parts/two").touch()
    done = project.run("rollback")
    assert done.returncode == 1
    assert "its bytes have changed" in done.stderr
    (other / "parts/two").unlink()
    assert project.run("rollback").returncode == 0
    (other / "parts/one").chmod(0o644)
    (other / "parts/one").write_text("of CHAMPION")
    done = project.run("check")
    assert done.returncode == 1
    assert "its bytes have changed" in done.stderr


@pytest.mark.parametrize(("what", "words"), [("link", "is a symbolic link"), ("fifo", "is no regular file")])
def test_a_directory_holds_only_files(foreign: Callable[..., Project], what: str, words: str) -> None:
    """A link would lead to what may change, so it is refused, with the remedy."""
    project = foreign("")
    path = project.root / "strong/parts" / what
    path.symlink_to("one") if what == "link" else os.mkfifo(path)
    done = project.run("promote", "strong")
    assert done.returncode == 1
    assert words in done.stderr
    assert "put the file itself there" in done.stderr


def test_without_predict_a_directory_is_no_model(foreign: Callable[..., Project]) -> None:
    """Neither as challenger, where the sentence says which key takes one, nor as champion."""
    project = foreign("")
    project.configure(promotion={"predict": None})
    assert "models/champion: is not a file" in project.run("promote", "strong").stderr
    shutil.rmtree(project.root / SERVED)
    done = project.run("promote", "strong")
    assert done.returncode == 1
    assert "is a directory, and a model is one file (promotion.predict takes directories)" in done.stderr


def test_a_command_that_is_not_there(foreign: Callable[..., Project]) -> None:
    """No model is at fault: the training keeps its challenger, promote says why, and doctor the remedy."""
    project = foreign(".json", predict="python-of-nobody predict.py")
    project.metrics(f1=0.5)
    assert project.json("check")["run"]["outcome"] == "succeeded"
    done = project.run("promote")
    assert done.returncode == 1
    assert "promotion.predict: the command python-of-nobody was not found" in done.stderr
    assert "the command python-of-nobody was not found in PATH" in project.run("doctor").stdout


def test_another_command_asks_another_question(foreign: Callable[..., Project]) -> None:
    """A recorded verdict is that of the command that predicted."""
    project = foreign(".json")
    assert "repeated" not in project.json("promote", "strong.json", "--dry-run")["message"]
    project.configure(promotion={"predict": f"{COMMAND} again"})
    said = project.run("promote", "strong.json").stdout
    assert "comparison 2 of 10" in said


def test_in_the_sandbox(foreign: Callable[..., Project]) -> None:
    """The command sees its model, a directory too, and no other; it is judged as without."""
    real("bwrap")
    project = foreign("", sandbox="bwrap")
    done = project.run("promote", "strong")
    assert done.returncode == 0, done
    model(project.root / "candidate", 0.6, does="fails")
    done = project.run("promote", "candidate")
    assert "the command of promotion.predict ended with exit code 1" in done.stderr
