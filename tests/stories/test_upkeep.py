"""What a controller does for itself: a damaged journal, directories that stand open, and what grows with the years."""

import fcntl
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.stories.project import CHAMPION, Models, Project
from tests.survival.mounts import read_only

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


def test_a_damaged_journal_stops_every_command(project: Project) -> None:
    """One sentence with cause, meaning and remedy, exit 1; the file and the champion stay as they are."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    project.metrics(f1=0.78)
    damage(project)
    before = project.files()
    for words in (
        *[
            ["check"],
            ["check", "--dry-run"],
            ["check", "--force", "--reason", "test"],
            ["status"],
            ["status", "--json"],
        ],
        *[["promote"], ["promote", "--if-pending"], ["rollback"], ["prune"]],
    ):
        done = project.run(*words)
        assert done.returncode == 1, words
        said = done.stdout + done.stderr
        assert "journal.db: the journal is damaged: file is not a database; the champion stays, and nothing is" in said
        assert "retrain doctor --repair" in said
        assert len(said.splitlines()) == 1
    assert {name: content for name, content in project.files().items() if "lock" not in name} == {
        name: content for name, content in before.items() if "lock" not in name
    }


def test_a_repair_sets_a_damaged_journal_aside(project: Project) -> None:
    """It says what it will do, and does it: the file is kept, what serves is known, and the cooldown begins now."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    broken = damage(project)
    done = project.run("doctor", "--repair")
    assert (done.returncode, done.stderr) == (0, "")
    will, did = done.stdout.splitlines()
    (kept,) = (project.root / "state").glob("journal.db.damaged-*")
    assert will.startswith("the journal is damaged: file is not a database. It will be kept as ")
    assert "unknown holdout comparisons count as 10 (holdout_uses)" in will
    assert did.startswith("repaired: a new journal starts with champion ")
    assert str(kept) in will
    assert str(kept) in did
    assert kept.read_bytes() == broken
    project.metrics(f1=0.78)
    held = project.json("check")
    assert (held["action"], held["reason"]) == ("hold", "cooling_down")
    assert "the journal was damaged and is kept as" in project.run("status").stdout
    project.configure(triggers={"cooldown": "0s"})
    project.metrics(f1=0.78)
    assert project.json("check")["action"] == "train"
    again = project.json("doctor", "--repair")
    assert (again["repaired"], again["kept"]) == (False, None)
    assert again["message"].startswith("nothing to repair")


def test_a_repair_changes_nothing_else(project: Project) -> None:
    """Nothing to repair is said, exit 0; no right of a file is changed; another run is not disturbed."""
    project.serve(project.models.weak)
    project.run("check")
    (project.root / "models").chmod(0o777)
    before = project.files()
    done = project.run("doctor", "--repair")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "nothing to repair: the journal can be read, and knows what serves\n"
    assert {name: content for name, content in project.files().items() if "lock" not in name} == {
        name: content for name, content in before.items() if "lock" not in name
    }
    assert (project.root / "models").stat().st_mode & 0o777 == 0o777
    damage(project)
    with (project.root / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert project.run("doctor", "--repair").returncode == 75
    assert list((project.root / "state").glob("journal.db*")) == [project.root / "state/journal.db"]
    assert project.run("doctor", "--repair", "--cron-env").returncode == 2


def test_comparisons_that_were_lost_count_as_more_than_there_can_have_been(project: Project) -> None:
    """The bound over the holdout's life holds all the same: the next one is tested as holdout_uses + 1."""
    project.serve(project.models.weak)
    project.configure(promotion={"holdout_uses": 4})
    assert project.json("promote", str(project.models.twin))["look"] == 1
    damage(project)
    assert project.json("doctor", "--repair")["repaired"]
    found = {each["what"]: each for each in project.json("doctor")["findings"]}
    assert found["holdout"]["verdict"] == "warn"
    assert "4 of 4 comparisons used" in found["holdout"]["message"]
    said = project.json("promote", str(project.models.strong))
    assert (said["look"], said["promoted"]) == (5, True)
    assert said["alpha"] == pytest.approx(0.05 / 4 / 4)
    assert "are counted as 4" in said["message"]


def stopped(project: Project) -> None:
    """Every command that trains or swaps fails with the same sentence, which a check says once."""
    words = "there was no journal that put champion "
    project.metrics(f1=0.78)
    first, second = project.run("check"), project.run("check")
    assert (first.returncode, first.stdout, first.stderr.count("\n")) == (1, "", 1)
    assert words in first.stderr
    assert "retrain doctor --repair" in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (1, "", "")
    for command in (
        *[["check", "--dry-run"], ["check", "--force", "--reason", "test"], ["promote", str(project.models.fair)]],
        *[["promote", "--dry-run", str(project.models.fair)], ["rollback"]],
    ):
        done = project.run(*command)
        assert done.returncode == 1, command
        assert words in done.stdout + done.stderr, command
    status = project.run("status")
    assert (status.returncode, status.stdout.partition(words)[0]) == (0, "NEEDS A PERSON: ")
    assert "next check  stops until a repair\n" in status.stdout
    assert "TrainingStarted" not in events(project)


@pytest.mark.parametrize("left", ["nothing", "an empty file", "its log"])
def test_a_journal_that_is_gone_stops_every_command(project: Project, left: str) -> None:
    """A version serves that no journal knows: it is told once, and nothing is trained or promoted before a repair."""
    project.serve(project.models.weak)
    project.run("check")
    journal, log = project.root / "state/journal.db", project.root / "state/journal.db-wal"
    with closing(sqlite3.connect(journal)) as reader:
        reader.execute("SELECT * FROM events").fetchone()  # so that the log stays, as after a crash
        assert project.run("promote", str(project.models.strong)).returncode == 0
        written = log.read_bytes()
    served = (project.root / CHAMPION).readlink()
    shutil.rmtree(project.root / "state")
    if left != "nothing":
        (project.root / "state").mkdir(mode=0o700)
    if left == "an empty file":
        journal.touch()
    if left == "its log":
        assert b"Promoted" in written
        log.write_bytes(written)
    assert project.run("doctor", "-q").returncode == 1
    stopped(project)
    done = project.run("doctor", "--repair")
    assert done.returncode == 0
    assert "It will start again with that champion; the cooldown of 6 h starts now" in done.stdout
    assert "repaired: the journal starts again with champion" in done.stdout
    assert (project.root / CHAMPION).readlink() == served
    held = project.json("check")
    assert (held["action"], held["reason"]) == ("hold", "cooling_down")
    assert project.json("promote", str(project.models.fair))["look"] > 10


def test_a_journal_that_is_gone_stops_every_command_before_the_first_promotion(project: Project) -> None:
    """A container whose state/ lasts for one run would train at each; the versions that are kept show it."""
    project.metrics(f1=0.5)
    assert project.run("check").stdout.startswith("training: ")
    shutil.rmtree(project.root / "state")
    project.metrics(f1=0.5)
    first, second = project.run("check"), project.run("check")
    assert (first.returncode, first.stdout, first.stderr.count("\n")) == (1, "", 1)
    assert "there was no journal that kept 1 version: " in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (1, "", "")
    for words in (["promote"], ["check", "--force", "--reason", "test"], ["rollback"], ["doctor", "-q"]):
        done = project.run(*words)
        assert (done.returncode, "no journal that kept" in done.stdout + done.stderr) == (1, True), words
    assert project.run("status").stdout.startswith("NEEDS A PERSON: there was no journal that kept 1 version")
    assert "It will start again with no champion; the cooldown" in project.run("doctor", "--repair").stdout
    assert project.json("check")["reason"] == "cooling_down"
    kept = next((project.root / "models/versions").glob("*.joblib")).name
    assert project.run("promote", kept[:12]).returncode == 0


def test_another_project_in_the_same_directory_loses_nothing(project: Project) -> None:
    """The versions may be those of a champion beside this one: a first check begins a journal of its own."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    project.settings["state"] = "state-b"
    project.configure(models={"champion": "models/b.joblib", "challenger": "models/b-next.joblib"})
    assert project.run("check").returncode == 0


def test_a_journal_that_is_older_than_what_serves_stops_every_command(project: Project) -> None:
    """A copy from before the last promotion: the repair takes what serves for the champion."""
    project.serve(project.models.weak)
    project.configure(triggers={"cooldown": "0s"})
    project.run("promote", "--dry-run", str(project.models.twin))
    project.run("check")
    shutil.copytree(project.root / "state", project.root / "copy")
    assert project.run("promote", str(project.models.strong)).returncode == 0
    shutil.rmtree(project.root / "state")
    (project.root / "copy").rename(project.root / "state")
    stopped(project)
    assert project.json("doctor", "--repair")["repaired"]
    version = project.json("status")["champion"]["version"]
    assert (project.root / CHAMPION).resolve().name == f"{version}.joblib"
    project.metrics(f1=0.78)
    assert project.json("check")["action"] == "train"
    assert project.json("doctor", "--repair")["repaired"] is False


@pytest.mark.parametrize("older", [False, True])
def test_an_event_of_a_newer_release_stops_every_command_and_is_no_damage(project: Project, older: bool) -> None:
    """After a downgrade: it is named with its kind, and nothing is set aside, even where the journal is an old copy."""
    project.serve(project.models.weak)
    project.run("check")
    shutil.copytree(project.root / "state", project.root / "copy")
    assert project.run("promote", str(project.models.strong)).returncode == 0
    if older:
        shutil.rmtree(project.root / "state")
        (project.root / "copy").rename(project.root / "state")
    row = {"at": "2026-11-30T12:00:00+00:00", "kind": "ShadowScored", "subject": "", "body": "{}"}
    with closing(sqlite3.connect(project.root / "state/journal.db")) as connection, connection:
        insert = "INSERT INTO events (at, kind, subject, body) VALUES (:at, :kind, :subject, :body)"
        number = connection.execute(insert, row).lastrowid
    project.metrics(f1=0.78)
    for words in (["check"], ["status"], ["doctor", "--repair"]):
        done = project.run(*words)
        assert done.returncode == 1, words
        assert f"event {number} is of the kind 'ShadowScored', which this release does not know" in done.stderr, words
    assert [path.name for path in (project.root / "state").glob("journal.db*") if "damaged" in path.name] == []
    with closing(sqlite3.connect(project.root / "state/journal.db")) as connection, connection:
        connection.execute("DELETE FROM events WHERE kind = 'ShadowScored'")
    if older:
        stopped(project)
        assert project.json("doctor", "--repair")["repaired"]
    assert project.run("status").returncode == 0
    project.configure(triggers={"cooldown": "0s"})
    project.metrics(f1=0.78)
    assert project.json("check")["action"] == "train"


def test_an_event_that_cannot_be_read_is_found_before_it_is_needed(project: Project) -> None:
    """By doctor and prune, which read the whole journal; a check reads none of the old events."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    with closing(sqlite3.connect(project.root / "state/journal.db")) as connection, connection:
        connection.execute("UPDATE events SET body = '{}' WHERE kind = 'Promoted'")
    for words in (["status"], ["doctor"], ["prune"]):
        done = project.run(*words)
        assert done.returncode == 1
        assert "retrain doctor --repair" in done.stdout + done.stderr
    assert project.json("doctor", "--repair")["repaired"]
    assert len(list((project.root / "state").glob("journal.db.damaged-*"))) == 1
    assert project.run("status").returncode == 0


def test_a_rollback_after_a_repair_goes_to_a_version_that_is_named(project: Project) -> None:
    """The line of champions is lost with the journal; the versions are not."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    damage(project)
    assert project.run("doctor", "--repair").returncode == 0
    assert "--to names a kept version" in project.run("rollback").stderr
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
    assert f"{directory}: is world-writable (drwxr-xrwx)" in check.stderr
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


def test_a_read_only_mount_is_no_danger(project: Project) -> None:
    """Nobody can write there, whatever the mode says."""
    (project.root / "models").chmod(0o777)
    assert project.run("check").returncode == 1
    with read_only(project, "models") as mounted:
        assert mounted.run("check").returncode == 0


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
    assert done.stdout == "pruned 3 checks older than 365 d and 0 logs (trainings, comparisons and promotions stay)\n"
    assert events(project) == ["Adopted", "Judged", "Checked", "Pruned"]
    after = project.json("status")
    assert {**after, "events": 0, "message": 0} == {**before, "events": 0, "message": 0}
    assert project.json("promote", twin)["look"] == first["look"]
    again = project.run("prune")
    assert (again.returncode, again.stdout) == (0, "")


def test_prune_finds_damage_that_a_check_does_not_read(project: Project) -> None:
    """It reads the whole journal, removes nothing, and says what repairs it."""
    for _ in range(40):
        project.run("check")
    journal = project.root / "state/journal.db"
    with journal.open("r+b") as file:
        file.seek(6 * 4096)
        file.write(b"\xff" * 4096)
    content = journal.read_bytes()
    done = project.run("prune")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the journal is damaged" in done.stderr
    assert journal.read_bytes() == content


def test_one_state_is_that_of_one_champion(project: Project) -> None:
    """Two configurations that share `state` would serve one model as the other; nothing is done, and it is said."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    project.configure(models={"champion": "models/b.joblib", "challenger": "models/b-next.joblib"})
    for words in (("status",), ("check",), ("rollback",), ("promote",), ("prune",)):
        refused = project.run(*words)
        assert refused.returncode != 0 and "is the state of " in refused.stdout + refused.stderr, words
    assert not (project.root / "models/b.joblib").exists()


def test_one_state_by_two_links_is_that_of_one_champion(project: Project, models: Models, tmp_path: Path) -> None:
    """Also where the projects have it under the same name; the own project may be reached through a link."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    (project.root / "state").symlink_to(shared)
    project.serve(project.models.weak)
    assert project.run("check").returncode == 0
    (tmp_path / "other").mkdir()
    other = Project(tmp_path / "other", models, installed=False)
    (other.root / "state").symlink_to(shared)
    other.serve(models.fair)
    for words in (("status",), ("check",), ("rollback",), ("promote",)):
        refused = other.run(*words)
        assert refused.returncode != 0 and "is the state of " in refused.stdout + refused.stderr, words
    (tmp_path / "current").symlink_to(project.root)
    assert project.run("-c", str(tmp_path / "current/config.yaml"), "check").returncode == 0


@pytest.mark.parametrize("file", ["journal.db", "lock"])
def test_what_is_no_file_in_state_is_said(project: Project, file: str) -> None:
    """Nobody waits for the other end of a pipe."""
    project.serve(project.models.weak)
    project.run("check")
    path = project.root / "state" / file
    path.unlink()
    os.mkfifo(path)
    for words in (("status",), ("doctor",), ("doctor", "--repair")):
        done = project.run(*words)
        assert re.search("not a regular file|the lock cannot be used", done.stdout + done.stderr), words


def test_a_champion_that_is_renamed_keeps_its_journal(project: Project) -> None:
    """The old name is gone then; the whole project may move, too."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    (project.root / CHAMPION).rename(project.root / "models/renamed.joblib")
    project.configure(models={"champion": "models/renamed.joblib"})
    assert project.run("rollback").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who makes files for others")
def test_what_root_makes_belongs_to_who_runs_there(project: Project) -> None:
    """An engineer runs `sudo retrain check` once; cron's user must be able to go on."""
    for path in (project.root, *project.root.rglob("*")):
        os.chown(path, 65534, 65534)
    project.train(f"cp {project.models.fair} $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    assert project.run("check", "--force", "--reason", "by hand").returncode == 0
    assert project.run("rollback").returncode == 1
    made = [project.root / "state", *(project.root / "state").rglob("*"), *(project.root / "models").rglob("*")]
    assert [path for path in made if path.lstat().st_uid != 65534] == []
