"""What a controller does for itself: a damaged journal, directories that stand open, and what grows with the years."""

import os
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from tests.stories.project import CHAMPION, Project

DAY = 24 * 60 * 60


def damage(project: Project) -> bytes:
    """The bytes of the journal, which is no database any more."""
    journal = project.root / "state/journal.db"
    journal.write_bytes(b"not a database, and longer than a header" * 200)
    return journal.read_bytes()


def events(project: Project) -> list[str]:
    """The kinds of the events in the journal, oldest first."""
    with closing(sqlite3.connect(project.root / "state/journal.db")) as connection:
        return [kind for (kind,) in connection.execute("SELECT kind FROM events ORDER BY id")]


# ---------------------------------------------------------------- a damaged journal


def test_a_check_goes_on_as_if_the_cooldown_began_now(project: Project) -> None:
    """It keeps the damaged file, holds a breach back, tells it in one line, and is silent after that."""
    project.serve(project.models.weak)
    project.run("check")
    broken = damage(project)
    project.metrics(f1=0.78)
    first, second = project.run("check"), project.run("check")
    assert (first.returncode, first.stderr, first.stdout.count("\n")) == (0, "", 1)
    assert "held: F1 0.780 is below 0.850, but the journal was lost" in first.stdout
    (kept,) = (project.root / "state").glob("journal.db.damaged-*")
    assert f"is kept as {kept}" in first.stdout
    assert kept.read_bytes() == broken
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert "the journal was damaged" in project.run("status").stdout
    project.configure(triggers={"cooldown": "0s"})
    project.metrics(f1=0.78)
    assert project.json("check")["action"] == "train"


def test_status_tells_the_damage_and_changes_nothing(project: Project) -> None:
    """Looking at it is no reason to begin a new history."""
    project.run("check")
    damage(project)
    before = project.files()
    for words in (["status"], ["check", "--dry-run"], ["status", "--json"]):
        done = project.run(*words)
        assert done.returncode == 1
        assert "journal.db: the journal is damaged: " in done.stdout + done.stderr
    assert project.files() == before


def test_looks_that_were_lost_count_as_more_than_there_can_have_been(project: Project) -> None:
    """The bound over the holdout's life holds all the same: the next look is tested as holdout_uses + 1."""
    project.serve(project.models.weak)
    project.configure(promotion={"holdout_uses": 4})
    assert project.json("promote", str(project.models.twin))["look"] == 1
    damage(project)
    said = project.json("promote", str(project.models.strong))
    assert (said["look"], said["promoted"]) == (5, True)
    assert said["alpha"] == pytest.approx(0.05 / 4 / 4)
    assert "are not known, since the journal was lost then, and are counted as 4" in said["message"]


def test_a_history_that_is_gone_is_noticed(project: Project) -> None:
    """A version serves that no journal knows: doctor says so, and a check begins with the cooldown, in one line."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    shutil.rmtree(project.root / "state")
    done = project.run("doctor")
    assert done.returncode == 1
    assert "journal.db is not there, and yet a version serves: restore it from a copy" in done.stderr
    project.metrics(f1=0.78)
    first, second = project.run("check"), project.run("check")
    assert (first.returncode, first.stderr, first.stdout.count("\n")) == (0, "", 1)
    assert "there was no journal: it is gone, or this is another project's model" in first.stdout
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert "TrainingStarted" not in events(project)
    assert project.json("promote", str(project.models.fair))["look"] > 10


def test_an_event_that_cannot_be_read_is_found_before_it_is_needed(project: Project) -> None:
    """By doctor, and by prune, which keeps the journal and begins a new one; a check reads none of the old ones."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    with closing(sqlite3.connect(project.root / "state/journal.db")) as connection, connection:
        connection.execute("UPDATE events SET body = '{}' WHERE kind = 'Promoted'")
    for words in (["status"], ["doctor"]):
        done = project.run(*words)
        assert done.returncode == 1
        assert "otherwise retrain prune sets it aside" in done.stdout + done.stderr
    project.run("prune")
    assert len(list((project.root / "state").glob("journal.db.damaged-*"))) == 1
    assert project.run("status").returncode == 0


def test_a_rollback_goes_on_with_a_version_that_is_named(project: Project) -> None:
    """The line of champions is lost with the journal; the versions are not."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    damage(project)
    assert "--to names a kept version" in project.run("rollback").stderr
    weak = project.json("status")["events"]
    assert weak
    versions = sorted(path.name for path in (project.root / "models/versions").glob("*.joblib"))
    other = next(name for name in versions if name != (project.root / CHAMPION).resolve().name)
    assert project.run("rollback", "--to", other[:12]).returncode == 0
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()


# ---------------------------------------------------------------- directories that stand open


@pytest.mark.parametrize("name", ["models", "models/versions"])
def test_models_that_everybody_may_replace_are_refused(project: Project, name: str) -> None:
    """An artifact is a program: nothing is trained, promoted or rolled back, and the sentence says how to mend it."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    directory = project.root / name
    directory.chmod(0o757)
    project.metrics(f1=0.78)
    check, again = project.run("check"), project.run("check")
    assert (check.returncode, check.stdout) == (1, "")
    assert f"{directory}: everybody may write to it (drwxr-xrwx)" in check.stderr
    assert f"chmod o-w {directory}" in check.stderr
    assert (again.returncode, again.stderr) == (1, "")
    for words in (["promote", str(project.models.fair)], ["promote", "--dry-run", "fair"], ["rollback"]):
        done = project.run(*words)
        assert (done.returncode, f"chmod o-w {directory}" in done.stderr) == (1, True), words
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()
    directory.chmod(0o755)
    project.metrics()
    assert project.run("check").stdout.startswith("recovered: ")


def test_state_that_everybody_may_change_is_refused(project: Project) -> None:
    """Nobody can tell what its journal says any more."""
    project.run("check")
    state = project.root / "state"
    state.chmod(0o707)
    for words in (["check"], ["promote"], ["rollback"], ["prune"]):
        done = project.run(*words)
        assert (done.returncode, f"chmod o-w {state}" in done.stderr) == (1, True), words
    state.chmod(0o700)
    assert project.run("check").returncode == 0


# ---------------------------------------------------------------- what grows with the years


def test_the_latest_logs_are_kept(project: Project) -> None:
    """After each training those beyond training.keep_logs are gone, those of hooks among them."""
    project.configure(training={"keep_logs": {"count": 2, "age": "1d"}}, promotion={"after": "true"})
    project.serve(project.models.weak)
    runs = project.root / "state/runs"
    project.run("check")
    for number in range(4):
        log = runs / f"old{number}.log"
        log.write_text("once")
        os.utime(log, (time.time() - 60 * number,) * 2)
    project.run("check", "--force", "--reason", "a test")
    left = sorted(path.name for path in runs.iterdir())
    assert (len(left), left[-1]) == (2, "old0.log")
    os.utime(runs / "old0.log", (time.time() - 2 * DAY,) * 2)
    assert project.run("promote").returncode == 0
    assert len(list(runs.glob("*-promotion-*.log"))) == 1
    assert not (runs / "old0.log").exists()


def test_prune_forgets_what_is_old_and_no_look(project: Project) -> None:
    """Old checks go, the verdict stays recorded, and what the next check does is the same."""
    project.serve(project.models.weak)
    for _ in range(3):
        project.run("check")
    twin = str(project.models.twin)
    first = project.json("promote", twin)
    with closing(sqlite3.connect(project.root / "state/journal.db")) as connection, connection:
        connection.execute("UPDATE events SET at = replace(at, substr(at, 1, 4), '2019')")
    project.run("check")
    before = project.json("status")
    done = project.run("prune")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "pruned 4 events older than 365 d and 0 logs (every look at a holdout stays)\n"
    assert events(project) == ["Judged", "Checked", "Pruned"]
    after = project.json("status")
    assert {**after, "events": 0, "message": 0} == {**before, "events": 0, "message": 0}
    assert project.json("promote", twin)["look"] == first["look"]
    again = project.run("prune")
    assert (again.returncode, again.stdout) == (0, "")


def test_prune_finds_damage_that_a_check_does_not_read(project: Project) -> None:
    """It reads the whole journal, sets a damaged one aside and says so; the next check goes on."""
    for _ in range(40):
        project.run("check")
    journal = project.root / "state/journal.db"
    with journal.open("r+b") as file:
        file.seek(6 * 4096)
        file.write(b"\xff" * 4096)
    done = project.run("prune")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the journal was damaged" in done.stderr
    assert len(list(journal.parent.glob("journal.db.damaged-*"))) == 1
    assert project.run("check").returncode == 0
