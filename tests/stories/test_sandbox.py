"""promotion.sandbox: what a hostile model can reach, through the installed command."""

import sys
from pathlib import Path

import joblib
import pandas as pd
import pytest

from tests.conftest import real
from tests.stories import wild_models
from tests.stories.project import CHAMPION, Project

pytestmark = pytest.mark.own_process


def promoted(project: Project, does: str) -> tuple[int, str]:
    """Exit code and message of a promote whose challenger does this."""
    project.link(Path(wild_models.__file__), "wild.py")
    sys.modules["wild"] = wild_models
    joblib.dump(wild_models.Wild(does), project.root / f"{does}.joblib")
    done = project.run("promote", str(project.root / f"{does}.joblib"))
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "does", ["writes_the_journal", "reads_the_journal", "reads_the_holdout", "calls_the_network", "sees_others"]
)
def test_a_sandboxed_model_harms_its_own_score_only(project: Project, does: str) -> None:
    """Requirement: what it tries fails, so it predicts 1 for each row and is judged on that."""
    real("bwrap")
    project.serve(project.models.strong)
    project.configure(promotion={"sandbox": "bwrap"})
    code, said = promoted(project, does)
    assert code == 10, said
    assert (project.root / "state/journal.db").exists()
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()


@pytest.mark.parametrize("holdout", ["data/parts/", "data/parts/*.parquet", "part-*.parquet"])
def test_a_holdout_of_several_files_is_hidden(project: Project, holdout: str) -> None:
    """Requirement: a directory, the files of a pattern, and those beside what the model needs: none can be read."""
    real("bwrap")
    project.serve(project.models.strong)
    (project.root / "data/parts").mkdir()
    rows = pd.read_csv(project.models.holdout)
    for number in range(2):
        beside = "" if holdout.startswith("part") else "data/parts/"
        rows[number::2].to_parquet(project.root / f"{beside}part-{number}.parquet")
    project.configure(promotion={"sandbox": "bwrap", "holdout": holdout})
    code, said = promoted(project, "reads_the_parts")
    assert code == 10, said


def test_rows_beside_the_challenger_are_hidden(project: Project) -> None:
    """Requirement: what was cut for a training cannot be read, also where the challenger lies among the code."""
    real("bwrap")
    project.serve(project.models.strong)
    project.configure(promotion={"sandbox": "bwrap"}, models={"challenger": "challenger.joblib"})
    for kind in ("holdout", "training", "reference"):
        pd.read_csv(project.models.holdout).to_parquet(project.root / f"challenger.{kind}.parquet")
    code, said = promoted(project, "reads_the_parts")
    assert code == 10, said


def test_a_sandboxed_model_is_judged_like_another(project: Project) -> None:
    """Requirement: the better model is promoted, and a crash is worded as without the sandbox."""
    real("bwrap")
    project.serve(project.models.weak)
    project.configure(promotion={"sandbox": "bwrap"})
    code, said = promoted(project, "crashes")
    assert code == 1
    assert "ended by SIGSEGV while it was loaded or predicted" in said
    assert project.run("promote", str(project.models.strong)).returncode == 0


def test_a_sandbox_that_is_not_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: nothing is scored without it; the sentence has the remedy, and doctor says it, too."""
    project.serve(project.models.weak)
    project.configure(promotion={"sandbox": "bwrap"})
    project.environment["PATH"] = str(Path(sys.executable).parent)
    code, said = promoted(project, "hangs")
    assert code == 1
    assert "bwrap, which promotion.sandbox asks for, is not installed" in said
    assert "apt install bubblewrap" in said
    assert "apt install bubblewrap" in project.run("doctor").stdout


@pytest.mark.parametrize("sandbox", [None, "bwrap"])
def test_a_model_that_changes_a_library_changes_its_own_predictions(project: Project, sandbox: str | None) -> None:
    """Requirement: without a sandbox, too, the champion predicts what it always does."""
    if sandbox is not None:
        real(sandbox)
    project.serve(project.models.strong)
    project.configure(promotion={"sandbox": sandbox})
    code, said = promoted(project, "patches_the_library")
    assert code == 10, said
