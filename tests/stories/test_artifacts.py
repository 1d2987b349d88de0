"""What a model may try while it is scored, through the installed command: nothing but its own promotion fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest

from retrain.effects.evaluation import tally_of
from retrain.effects.journal import open_journal
from tests.conftest import real
from tests.stories import wild_models
from tests.stories.project import CHALLENGER, CHAMPION, RETRAIN, Project

BWRAP = {"sandbox": "bwrap"}


def wild(project: Project, does: str) -> Path:
    """The file of a model that does this where it should predict."""
    project.link(Path(wild_models.__file__), "wild.py")
    sys.modules["wild"] = wild_models  # the name under which an artifact refers to it
    joblib.dump(wild_models.Wild(does), project.root / f"{does}.joblib")
    return project.root / f"{does}.joblib"


@pytest.mark.own_process
@pytest.mark.parametrize(
    ("does", "rules", "words"),
    [
        ("hangs", {"timeout": "5s"}, "was ended after promotion.timeout (5 s)"),
        ("never_lets_go", {"timeout": "5s"}, "was ended after promotion.timeout (5 s)"),
        ("aborts", {}, "ended by SIGABRT while it was loaded or predicted"),
        ("dies_oddly", {}, "ended by signal 40 while it was loaded or predicted"),
        ("fills_arrays", {"max_memory": "600MiB"}, "raise promotion.max_memory, now 600 MiB, or repair a model"),
        ("keeps_objects", {"max_memory": "600MiB"}, "raise promotion.max_memory, now 600 MiB, or repair a model"),
        ("closes_all", {}, "cannot be used: the scoring process"),
        ("writes_everywhere", {}, "answer of the scoring process cannot be read"),
        ("writes_everywhere", BWRAP, "answer of the scoring process cannot be read"),
        ("answers_without_the_champion", {}, "answer of the scoring process cannot be read"),
        ("answers_without_the_champion", BWRAP, "answer of the scoring process cannot be read"),
        ("answers_when_loaded", {}, "answer of the scoring process cannot be read"),
        ("answers_when_loaded", BWRAP, "answer of the scoring process cannot be read"),
        ("leaves_a_child_and_dies", {}, "ended with exit code 7"),
    ],
)
def test_a_model_that_harms_its_process_harms_nothing_else(
    project: Project, does: str, rules: dict[str, object], words: str
) -> None:
    """Exit 1 with one object that says what was wrong; the champion stays."""
    if "sandbox" in rules:
        real("bwrap")
    project.serve(project.models.weak)
    project.configure(promotion=rules)
    done = project.run("promote", str(wild(project, does)), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    assert said["exit_code"] == 1
    assert words in said["error"]
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()


def test_the_answer_that_a_model_makes_up_would_be_one() -> None:
    """Where the process that counts said what `answers_when_loaded` writes, the challenger would win each row."""
    tally = tally_of(wild_models.answer_with(wild_models.WON), None, compared=True)
    assert {(cell.truth == cell.champion, cell.truth == cell.challenger) for cell in tally.cells} == {(False, True)}


@pytest.mark.own_process
def test_the_process_that_counts_loads_no_model(project: Project) -> None:
    """Each artifact is loaded once, in a process of its own; a third process beside them loads none."""
    model = wild(project, "says_its_process_when_loaded")
    project.serve(model)
    joblib.dump(wild_models.Wild("says_its_process_when_loaded"), model, compress=1)  # other bytes
    assert project.run("promote", str(model)).returncode == 11
    loads = [json.loads(line) for line in (project.root / "loaded.txt").read_text().splitlines()]
    (one, family), (other, _) = loads
    assert one != other
    assert len({*family} - {one, other}) == 1


@pytest.mark.own_process
def test_a_model_finds_no_secret_in_its_environment(project: Project) -> None:
    """A variable that a configured header needs is not in it, nor in what its process began with; others are."""
    project.serve(project.models.strong)
    project.configure(monitoring={"headers": {"Authorization": "Bearer ${TOKEN}"}})
    model = wild(project, "says_its_environment_when_loaded")
    done = project.run("promote", str(model), TOKEN="0123456789abcdef", MINE="yes")  # noqa: S106  (no password)
    assert done.returncode == 10, done
    text = (project.root / "environment.json").read_text()
    own, begun = json.loads(text)
    assert own["MINE"] == "yes"
    assert "MINE=yes" in begun
    assert "TOKEN" not in own
    assert "0123456789abcdef" not in text


def test_a_model_that_prints_for_ever_fills_no_disk(project: Project) -> None:
    """It prints until the time limit, where no file of its process could hold more than 4 MiB."""
    project.serve(project.models.weak)
    project.configure(promotion={"timeout": "8s"})
    command = ["sh", "-c", 'ulimit -f 8192; exec "$0" "$@"', str(RETRAIN), "promote", "--json"]
    done = subprocess.run(
        [*command, str(wild(project, "prints_for_ever"))],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "was ended after promotion.timeout (8 s), while it was busy with the challenger" in done.stdout
    assert json.loads(done.stdout)["exit_code"] == 1


@pytest.mark.own_process
@pytest.mark.parametrize("does", ["prints_beside", "prints_junk", "leaves_a_child"])
def test_what_a_model_prints_or_starts_spoils_no_answer(project: Project, does: str) -> None:
    """The comparison is made and told in one object, though the model prints and its child holds the pipes open."""
    project.serve(project.models.strong)
    done = project.run("promote", str(wild(project, does)), "--json")
    assert (done.returncode, done.stderr) == (10, "")
    assert json.loads(done.stdout)["verdict"] == "reject"


@pytest.mark.own_process
def test_what_a_model_says_moves_no_cursor(project: Project) -> None:
    """An error message is text; it cannot clear the terminal of the person who reads it and write another verdict."""
    project.serve(project.models.weak)
    done = project.run("promote", str(wild(project, "moves_the_cursor")))
    assert done.returncode == 1
    assert "promoted: all is well" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_pipe_is_no_artifact(project: Project) -> None:
    """It is refused at once: whoever read it would wait for ever, with the lock held."""
    project.serve(project.models.weak)
    os.mkfifo(project.root / "pipe.joblib")
    for words in (["promote", "pipe.joblib"], ["promote", "--dry-run", "pipe.joblib"]):
        done = project.run(*words)
        assert done.returncode == 1
        assert "pipe.joblib: not a regular file" in done.stderr


def test_a_rehearsal_compares_with_the_champion_itself(project: Project) -> None:
    """A version whose bytes were changed is compared with nothing: its verdict would hold for the real one, too."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    champion = (project.root / CHAMPION).resolve()
    champion.chmod(0o644)
    champion.write_bytes(project.models.weak.read_bytes())
    done = project.run("promote", "--dry-run", str(project.models.fair))
    assert done.returncode == 1
    assert "its bytes have changed" in done.stderr


def test_the_journal_says_whence_a_challenger_came(project: Project) -> None:
    """The training's run, or the path that a person gave."""
    project.serve(project.models.strong)
    project.train(f"cp {project.models.fair} $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    run = project.json("check")["run"]["id"]
    assert project.run("promote").returncode == 10
    given = str(project.models.weak)
    assert project.run("promote", given).returncode == 10
    with open_journal(project.root / "state", writable=False) as journal:
        assert [judged.source for judged in journal.latest_judgements()][::-1] == [f"training {run}", given]
    assert (project.root / CHALLENGER).read_bytes() == project.models.fair.read_bytes()
