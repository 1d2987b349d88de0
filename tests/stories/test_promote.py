"""`retrain promote` and `rollback` with real models on a real holdout."""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from retrain.config import load
from retrain.context import Context
from retrain.effects import lock
from retrain.promote import Options
from retrain.promote import promote as promote_story
from tests.effects.servers import page, serving
from tests.stories.project import CHALLENGER, CHAMPION, RETRAIN, Project, end, on_a_terminal, until


def served(project: Project) -> str:
    """The version that the champion link points to."""
    target = str((project.root / CHAMPION).readlink())
    found = re.fullmatch(r"versions/([0-9a-f]{64})\.joblib", target)
    assert found is not None, "the link is relative and names a version"
    return found[1]


def trained(project: Project, model: Path) -> None:
    """Let a check train this model."""
    project.train(f"cp {model} $(RETRAIN_CHALLENGER)")
    project.configure(triggers={"cooldown": "0s"})
    project.metrics(f1=0.5)
    assert project.run("check").returncode == 0


def compared(project: Project, *challenger: Path | str) -> None:
    """Record the verdict on this challenger, so that a command in a process of its own need not start others for it."""
    assert project.run("promote", "--dry-run", *map(str, challenger)).returncode == 0


@pytest.mark.own_process
def test_a_better_challenger_replaces_the_champion(project: Project) -> None:
    """Exit 0; the ordinary champion file is adopted, the link moves, the challenger's file is left alone."""
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    before = (project.root / CHALLENGER).stat().st_mtime_ns
    done = project.run("promote")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"promoted \w{12}: better than the champion; F1 0\.\d{3}, champion 0\.\d{3}, gain \+0\.\d{3}, confidence bounds"
        r" \+0\.\d{3} to \+0\.\d{3}, holdout rows 3,000, holdout comparison 1 of 10\n",
        done.stdout,
    ), done.stdout
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()
    assert (project.root / CHALLENGER).stat().st_mtime_ns == before
    kept = {path.name for path in (project.root / "models/versions").glob("*.joblib")}
    assert len(kept) == 2
    assert all(not path.stat().st_mode & 0o222 for path in (project.root / "models/versions").iterdir())


def test_json_is_the_contracts_object(project: Project) -> None:
    """One object with exactly the contract's keys."""
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    said = project.json("promote")
    assert set(said) == {
        *("verdict", "message", "promoted", "dry_run", "forced", "metric", "rows", "discordant", "champion"),
        *("challenger", "difference", "standard_error", "interval", "alpha", "look", "detectable", "slices"),
        *("groups", "effective_rows", "expected_gain", "expected_loss", "worse_later", "lower_bound", "few_discordant"),
        *("reason", "name"),
    }
    assert (said["verdict"], said["promoted"], said["rows"], said["look"]) == ("promote", True, 3000, 1)
    assert said["alpha"] == pytest.approx(0.0025)
    assert said["difference"] == pytest.approx(said["challenger"]["score"] - said["champion"]["score"])
    assert said["interval"][0] > 0
    assert said["challenger"]["version"] == served(project)


@pytest.mark.parametrize(
    ("champion", "challenger", "code", "words"),
    [("strong", "weak", 10, "not better"), ("weak", "twin", 11, "predict the same on every row")],
)
def test_a_challenger_that_is_not_better_leaves_the_champion(
    project: Project, champion: str, challenger: str, code: int, words: str
) -> None:
    """10: it is not better; 11: the holdout cannot tell. The champion stays, and training is free again."""
    project.serve(getattr(project.models, champion))
    trained(project, getattr(project.models, challenger))
    done = project.run("promote")
    assert done.returncode == code
    assert words in done.stdout
    assert (project.root / CHAMPION).read_bytes() == getattr(project.models, champion).read_bytes()
    project.metrics(f1=0.5)
    assert project.json("check", "--dry-run")["action"] == "train"


def test_the_same_question_is_answered_once(project: Project) -> None:
    """A dry run records its comparison; the promotion after it returns the recorded verdict and costs no second one."""
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    first = project.json("promote", "--dry-run")
    assert (first["promoted"], first["dry_run"], first["look"]) == (False, True, 1)
    os.utime(project.root / "data/holdout.csv")
    again = project.json("promote", "--dry-run")
    assert again["look"] == 1
    assert "recorded verdict" in again["message"]
    done = project.json("promote")
    assert (done["promoted"], done["look"]) == (True, 1)
    project.link(project.models.fair, "fair.joblib")
    assert project.json("promote", "fair.joblib")["look"] == 2


def test_a_holdout_that_keeps_rows_keeps_its_count(project: Project) -> None:
    """Dropping rows, or turning them round, is no way to a fresh budget; other rows are."""
    project.serve(project.models.weak)
    holdout = project.root / "data/holdout.csv"
    header, *rows = holdout.read_text().splitlines()

    def comparison(kept: list[str]) -> int:
        holdout.write_text("\n".join([header, *kept]) + "\n")
        number = project.json("promote", str(project.models.fair), "--dry-run")["look"]
        assert isinstance(number, int)
        return number

    assert comparison(rows[:2000]) == 1
    assert comparison(rows[1999::-1]) == 1, "the same rows: the recorded verdict"
    assert comparison(rows[:1999]) == 2
    assert comparison(rows[1000:]) == 3
    assert comparison(rows[:900]) == 3, "these rows were not in the latest one, but in the one before"


def test_a_dry_run_changes_nothing_but_the_record_of_its_comparison(project: Project) -> None:
    """Neither link nor versions move, and the challenger still waits."""
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    before = {name: value for name, value in project.files().items() if not name.startswith("state")}
    assert project.run("promote", "--dry-run").returncode == 0
    assert {name: value for name, value in project.files().items() if not name.startswith("state")} == before
    project.metrics(f1=0.5)
    assert project.json("check")["reason"] == "challenger_waiting"


def test_without_a_champion_the_floor_decides(project: Project) -> None:
    """Unopposed promotion needs the floor, by default the performance threshold."""
    assert project.run("promote", str(project.models.weak)).returncode == 10
    assert not (project.root / CHAMPION).exists()
    done = project.run("promote", str(project.models.strong))
    assert done.returncode == 0
    assert "no champion to beat" in done.stdout
    assert served(project)


def test_another_floor_is_another_question(project: Project) -> None:
    """A recorded verdict answers only what was asked."""
    assert project.run("promote", str(project.models.weak)).returncode == 10
    project.configure(triggers={"performance_threshold": 0.7})
    assert project.run("promote", str(project.models.weak)).returncode == 0


def test_the_same_bytes_are_refused(project: Project) -> None:
    """Champion and challenger are one file: nothing to compare, exit 1, no comparison."""
    project.serve(project.models.weak)
    done = project.run("promote", str(project.models.weak))
    assert done.returncode == 1
    assert "nothing to compare" in done.stderr


def test_nothing_waits(project: Project) -> None:
    """Exit 1 with a sentence; with --if-pending exit 0 in silence."""
    project.serve(project.models.weak)
    assert project.run("promote").returncode == 1
    quiet = project.run("promote", "--if-pending")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_if_pending_acts_once_on_a_challenger(project: Project) -> None:
    """It judges what training left, and is silent once this holdout has judged it; a fresh holdout is asked anew."""
    project.serve(project.models.strong)
    trained(project, project.models.weak)
    assert project.run("promote", "--if-pending").returncode == 10
    quiet = project.run("promote", "--if-pending")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    rows = (project.root / "data/holdout.csv").read_text().splitlines()
    (project.root / "data/holdout.csv").write_text("\n".join(rows[:2001]) + "\n")
    assert project.run("promote", "--if-pending").returncode == 10


def test_a_swapped_challenger_file_is_refused_and_named(project: Project) -> None:
    """Only the bytes that the recorded training left are promoted without naming them."""
    project.serve(project.models.weak)
    trained(project, project.models.fair)
    project.link(project.models.strong, CHALLENGER)
    done = project.run("promote")
    assert done.returncode == 1
    assert "is not what training" in done.stderr
    assert project.run("promote", CHALLENGER).returncode == 0


@pytest.mark.parametrize("broken", ["champion", "challenger"])
def test_a_model_that_cannot_be_scored_is_an_error_never_a_win(project: Project, broken: str) -> None:
    """Exit 1, it names the side, and the champion stays."""
    project.serve(project.models.weak)
    project.link(project.models.strong, "new.joblib")
    path = project.root / (CHAMPION if broken == "champion" else "new.joblib")
    path.write_bytes(path.read_bytes()[:100])
    before = path.read_bytes()
    done = project.run("promote", "new.joblib")
    assert done.returncode == 1
    assert broken in done.stderr
    assert (project.root / CHAMPION).read_bytes() == (
        before if broken == "champion" else project.models.weak.read_bytes()
    )


def test_force_skips_the_verdict_but_not_the_record(project: Project) -> None:
    """A person replaces a champion that beats the challenger, or one that cannot be scored; the reason is kept."""
    project.serve(project.models.strong)
    assert project.run("promote", str(project.models.weak), "--force").returncode == 2
    said = project.json("promote", str(project.models.weak), "--force", "--reason", "smaller")
    assert (said["verdict"], said["promoted"], said["forced"]) == ("reject", True, True)
    assert "by force: smaller" in project.run("status").stdout
    version = project.root / "models" / (project.root / CHAMPION).readlink()
    version.chmod(0o644)
    version.write_bytes(b"rotten")
    assert project.run("promote", str(project.models.fair)).returncode == 1
    assert project.run("promote", str(project.models.fair), "--force", "--reason", "rotten").returncode == 0
    assert (project.root / CHAMPION).read_bytes() == project.models.fair.read_bytes()


def test_reject_turns_a_challenger_down_with_a_reason(project: Project) -> None:
    """It no longer waits, and cron's promotion leaves it alone."""
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    assert project.run("promote", "--reject").returncode == 2
    assert project.run("promote", "--reject", "--reason", "trained on test rows").returncode == 0
    assert project.run("promote", "--if-pending").stdout == ""
    assert "trained on test rows" in project.run("status").stdout
    assert project.run("promote", "--reject", "--reason", "again").returncode == 1


def test_a_hook_that_fails_undoes_the_swap(project: Project) -> None:
    """Exit 1; the champion before serves again, and the hook has seen both."""
    project.serve(project.models.weak)
    project.link(project.models.strong, "new.joblib")
    hook = "sh -c 'sha256sum models/champion.joblib >> seen; echo the service did not come up >&2; exit 7'"
    project.configure(promotion={"after": hook})
    done = project.run("promote", "new.joblib")
    assert done.returncode == 1
    assert "undone" in done.stderr
    assert "the service did not come up" in done.stderr
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
    assert len(set((project.root / "seen").read_text().split("\n")[:2])) == 2
    project.configure(promotion={"after": "true"})
    assert project.run("promote", "new.joblib").returncode == 0


def test_rollback_puts_the_champion_before_back(project: Project) -> None:
    """Down the line of champions one by one; --to takes a prefix; a version that was changed is not trusted."""
    project.serve(project.models.weak)
    for name in ("fair", "strong"):
        assert project.run("promote", str(getattr(project.models, name))).returncode == 0
    latest = served(project)
    for name in ("fair", "weak"):
        assert project.run("rollback", "--reason", "worse live").returncode == 0
        assert (project.root / CHAMPION).read_bytes() == getattr(project.models, name).read_bytes()
    assert project.run("rollback").returncode == 1
    assert project.run("rollback", "--to", "zzz").returncode == 1
    assert project.run("rollback", "--to", latest[:8]).returncode == 0
    assert served(project) == latest
    weak = next(
        path
        for path in (project.root / "models/versions").iterdir()
        if path.read_bytes() == project.models.weak.read_bytes()
    )
    weak.chmod(0o644)
    weak.write_bytes(weak.read_bytes() + b"!")
    done = project.run("rollback", "--to", weak.stem)
    assert done.returncode == 1
    assert "changed" in done.stderr
    assert served(project) == latest


def test_a_rollback_to_nothing_is_a_wrong_flag(project: Project) -> None:
    """An unset variable in a script names no version, not any."""
    done = project.run("rollback", "--to", "")
    assert done.returncode == 2
    assert "--to is empty" in done.stderr


def test_what_was_done_before_nobody_could_be_told_stands(project: Project) -> None:
    """Exit 1, since the output was lost, and a sentence that says so: the champion is the new one."""
    project.serve(project.models.weak)
    compared(project, project.models.strong)
    command = f"exec {shlex.quote(str(RETRAIN))} promote {shlex.quote(str(project.models.strong))} > /dev/full"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "stdout cannot be written: No space left on device; what was done stands" in done.stderr
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()


def test_a_hook_that_cannot_be_started_is_named(project: Project) -> None:
    """By its own key of the configuration."""
    project.serve(project.models.weak)
    project.configure(promotion={"after": "nosuchcommand"})
    done = project.run("promote", str(project.models.strong))
    assert done.returncode == 1
    assert "give its absolute path in promotion.after" in done.stderr


def test_the_reference_is_kept_and_swapped_with_its_version(project: Project) -> None:
    """What training leaves at RETRAIN_REFERENCE lies beside its version, under the version's name."""
    project.serve(project.models.weak)
    project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER); echo sample > $(RETRAIN_REFERENCE)")
    project.metrics(f1=0.5)
    project.run("check")
    assert project.run("promote").returncode == 0
    assert (project.root / f"models/versions/{served(project)}.reference.parquet").read_text() == "sample\n"


def test_only_as_many_versions_are_kept_as_configured(project: Project) -> None:
    """`keep` champions before the present one, and the challenger of the last training."""
    project.configure(models={"keep": 1}, promotion={"min_improvement": -0.9})
    project.serve(project.models.weak)
    versions = project.root / "models/versions"
    for name in ("fair", "strong", "twin"):
        for kept in versions.glob("*.joblib"):  # one that was in use a second ago is kept whatever the number
            os.utime(kept, (time.time() - 10, kept.stat().st_mtime))
        assert project.run("promote", str(getattr(project.models, name))).returncode == 0
    assert len(list(versions.glob("*.joblib"))) == 2
    assert project.run("rollback").returncode == 0


@pytest.mark.parametrize("happened", [True, False])
def test_a_swap_that_a_crash_interrupted_is_settled_by_the_next_command(project: Project, happened: bool) -> None:
    """The controller dies in the hook: what the link says is completed, hook included, or recorded as not done."""
    project.serve(project.models.weak)
    project.configure(promotion={"after": "sh -c 'echo x >> hooked; while [ ! -e calm ]; do sleep 0.05; done'"})
    compared(project, project.models.strong)
    process = project.start("promote", str(project.models.strong))
    until((project.root / "hooked").exists)
    end(process, signal.SIGKILL)
    assert "settles" not in project.run("status").stdout, "the hook that goes on holds the lock"
    (project.root / "calm").touch()
    if not happened:
        link = project.root / CHAMPION
        weak = next(
            path
            for path in (project.root / "models/versions").iterdir()
            if path.read_bytes() == project.models.weak.read_bytes()
        )
        link.unlink()
        link.symlink_to(f"versions/{weak.name}")
    told = "was completed" if happened else "had not happened"
    until(lambda: told in project.run("check").stdout)
    if happened:
        assert (project.root / "hooked").read_text().count("x") == 2
        assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()
        assert project.run("rollback").returncode == 0
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()


def test_a_reader_never_fails_during_1000_swaps(project: Project) -> None:
    """A service that loads the champion in a tight loop always gets a whole, known model."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    reader = (
        "import joblib,sys,pathlib\n"
        "kinds, loads = set(), 0\n"
        "while not pathlib.Path('stop').exists():\n"
        "    model = joblib.load('models/champion.joblib'); loads += 1; kinds.add(model.reach)\n"
        "print(loads, sorted(kinds))\n"
    )
    swapper = (
        "from pathlib import Path\n"
        "from retrain.config.schema import Models\n"
        "from retrain.effects import registry\n"
        "models = Models(Path('models/champion.joblib').absolute())\n"
        "versions = registry.kept(models)\n"
        "for number in range(1000): registry.point(models, versions[number % 2])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reader], cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            subprocess.run([sys.executable, "-c", swapper], cwd=project.root, check=True, timeout=120)
            for _ in range(6):
                versions = {path.stem for path in (project.root / "models/versions").glob("*.joblib")}
                (other,) = versions - {served(project)}
                assert project.run("rollback", "--to", other[:12]).returncode == 0
        finally:
            (project.root / "stop").touch()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert re.fullmatch(r"\d+ \[0, 0\.5\]\n", out), out


def test_if_pending_finishes_what_a_crash_interrupted_but_repeats_no_failed_hook(project: Project) -> None:
    """A winner that was not put in service since the controller died is; one whose hook failed waits for a person."""
    project.serve(project.models.weak)
    project.configure(promotion={"after": "sh -c 'touch hooked; sleep 60'"})
    trained(project, project.models.strong)
    compared(project)
    process = project.start("promote", "--if-pending")
    until((project.root / "hooked").exists)
    assert end(process, signal.SIGTERM)[0] == 128 + signal.SIGTERM
    project.configure(promotion={"after": "false"})
    assert project.run("promote", "--if-pending").returncode == 1
    quiet = project.run("promote", "--if-pending")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert "won, but the hook after the swap failed" in project.run("status").stdout
    project.configure(promotion={"after": "true"})
    assert project.run("promote").returncode == 0


def test_if_pending_tells_a_failure_once(project: Project) -> None:
    """Under cron a holdout that is missing is one mail, not one an hour; the exit code is honest every time."""
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    holdout = project.root / "data/holdout.csv"
    rows = holdout.read_bytes()
    holdout.unlink()
    project.run("check")
    done = [project.run("promote", "--if-pending") for _ in range(2)]
    assert [each.returncode for each in done] == [1, 1]
    assert "holdout" in done[0].stderr
    assert done[1].stderr == ""
    project.metrics()
    assert project.run("check").stdout == "", "a check does not claim that this has recovered"
    assert "could not judge" in project.run("status").stdout
    holdout.write_bytes(rows)
    assert project.run("promote", "--if-pending").returncode == 0


def test_a_verdict_without_a_champion_is_never_replayed_as_a_win_over_it(project: Project) -> None:
    """--force past a champion that cannot be scored compares nothing; once it can be, it is compared."""
    project.serve(project.models.strong)
    champion = project.root / CHAMPION
    broken = project.root / "broken"
    broken.write_bytes(champion.read_bytes()[:100])
    champion.write_bytes(broken.read_bytes())
    project.configure(promotion={"after": "false", "floor": 0.5})
    forced = project.run("promote", str(project.models.weak), "--force", "--reason", "broken")
    assert forced.returncode == 1
    assert "was undone" in forced.stderr
    again = project.run("promote", str(project.models.weak))
    assert again.returncode == 1
    assert "champion" in again.stderr
    assert champion.read_bytes() == broken.read_bytes()


def test_a_champion_that_was_deleted_is_not_beaten_by_anyone(project: Project) -> None:
    """The journal knows what served: promotion refuses, status says so, rollback puts it back."""
    project.serve(project.models.strong)
    project.link(project.models.fair, "fair.joblib")
    assert project.run("promote", "fair.joblib").returncode == 10
    (project.root / CHAMPION).unlink()
    done = project.run("promote", "fair.joblib")
    assert done.returncode == 1
    assert "is gone" in done.stderr
    assert "GONE" in project.run("status").stdout
    assert project.run("rollback").returncode == 0
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()


def test_two_projects_may_share_the_models_directory(project: Project) -> None:
    """Each removes only versions of its own journal, and none that a link points to."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    project.configure(models={"champion": "models/other.joblib", "keep": 1})
    project.settings["state"] = "other"
    project.configure()
    project.link(project.models.weak, "models/other.joblib")
    for name in ("fair", "twin"):
        project.configure(promotion={"min_improvement": -0.9})
        assert project.run("promote", str(getattr(project.models, name))).returncode == 0
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()


def test_a_signal_during_the_hook_ends_promote_with_its_number(project: Project) -> None:
    """The swap is undone where the hook did not end well, and the exit code is 128 + N."""
    project.serve(project.models.weak)
    project.configure(promotion={"after": "sh -c 'touch hooked; sleep 60'"})
    compared(project, project.models.strong)
    process = project.start("promote", str(project.models.strong))
    until((project.root / "hooked").exists)
    code, _, _ = end(process, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
    assert "was undone" in project.run("status").stdout


# ---------------------------------------------------------------- words


def test_on_a_terminal_the_verdict_is_a_table_under_one_sentence(project: Project) -> None:
    """Every number with its name. What cron runs is one line there, too."""
    project.serve(project.models.weak)
    project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    assert project.run("check").returncode == 0
    environment = {**project.environment, "NO_COLOR": "1"}
    code, said = on_a_terminal([RETRAIN, "promote", "--dry-run"], project.root, environment)
    assert code == 0
    _, found, table = said.partition("dry run, ")
    assert found
    assert re.match(r"\w{12} would be promoted: better than the champion\n  F1  ", table)
    rows = dict(re.findall(r"^  (\S.*?)  +(\S.*)$", table, re.M))
    assert list(rows) == [
        *("F1", "gain", "confidence bounds", "holdout rows", "discordant rows", "missed positives"),
        "false alarms",
        *("holdout comparison", "smallest detectable gain", "false-promotion risk", "dry run"),
    ]
    assert rows["holdout comparison"] == "1 of 10"
    assert all(len(line) <= 80 for line in table.splitlines())
    code, said = on_a_terminal([RETRAIN, "promote", "--if-pending"], project.root, environment)
    assert code == 0
    (line,) = (each for each in said.splitlines() if each.startswith("promoted"))
    assert "recorded verdict: better than the champion; F1 " in line


def test_a_name_that_is_neither_a_file_nor_a_version_is_named(project: Project) -> None:
    """Exit 1, and what is kept."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.fair)).returncode == 0
    done = project.run("promote", "nosuch.joblib")
    assert done.returncode == 1
    assert "nosuch.joblib: no such file, and no kept version begins with nosuch.joblib (kept: " in done.stderr
    assert served(project)[:12] in done.stderr


def test_a_rejection_says_what_the_next_check_may_do(project: Project) -> None:
    """It may train; but not within the cooldown, which too many trainings without a promotion make longer."""
    project.serve(project.models.weak)
    for most, cooldown, words in (
        (9, "0s", "the champion stays, the next check may train"),
        (9, "6h", "the next check trains nothing: training ended "),
        (3, "6h", "the cooldown is 12 h, since 3 trainings in a row brought no promotion"),
    ):
        trained(project, project.models.strong)
        project.configure(triggers={"max_unpromoted": most, "cooldown": cooldown})
        assert words in project.run("promote", "--reject", "--reason", "labels are wrong").stdout


def test_a_verdict_that_an_earlier_release_recorded_still_counts(project: Project) -> None:
    """It had a sentence and no reason: the comparison is not made again, and the numbers are shown."""
    project.serve(project.models.weak)
    model = str(project.models.strong)
    assert project.json("promote", model, "--dry-run")["look"] == 1
    with closing(sqlite3.connect(project.root / "state/journal.db")) as journal, journal:
        (body,) = journal.execute("SELECT body FROM events WHERE kind = 'Judged'").fetchone()
        event = json.loads(body)
        for name in ("reason", "won", "lost", "positives", "labels"):
            del event["verdict"][name]
        event["verdict"]["message"] = "F1 0.892 against the champion's 0.783"
        journal.execute("UPDATE events SET body = ? WHERE kind = 'Judged'", (json.dumps(event),))
        journal.execute("DELETE FROM past")
    said = project.json("promote", model)
    assert (said["promoted"], said["look"]) == (True, 1)
    assert "recorded verdict: promote; F1 0.892, champion 0.783, gain +0.1" in said["message"]


# ---------------------------------------------------------------- the lock and the clock


def test_a_person_waits_for_a_check_that_only_fetches(project: Project) -> None:
    """It says on standard error what it waits for, and then does what it was told."""
    project.serve(project.models.weak)
    project.link(project.models.strong, "strong.joblib")
    assert project.run("promote", str(project.models.fair)).returncode == 0
    compared(project, "strong.joblib")
    answer = Event()

    def respond(_request: object) -> list[bytes]:
        answer.wait(30)
        return page(json.dumps({"f1": 0.9, "drift": 0.1, "at": time.time()}))

    with serving(respond) as url:
        project.configure(monitoring={"url": url})
        check = project.start("check")
        until(lambda: lock.holder(project.root / "state") is not None)
        waiting = project.start("promote", "strong.joblib")
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith(f"waiting for retrain check (process {check.pid}, since 2")
        answer.set()
        assert check.communicate(timeout=60)[1] == ""
        said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert said.startswith("promoted")


def test_nobody_waits_for_a_training(project: Project) -> None:
    """Exit 75, with the training and since when it runs; it may take hours. A rollback goes on beside it."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    project.link(project.models.strong, "strong.joblib")
    project.train(
        "touch started; while [ ! -e go ]; do sleep 0.05; done", f"cp {project.models.fair} $(RETRAIN_CHALLENGER)"
    )
    project.metrics(f1=0.5)
    check = project.start("check")
    until((project.root / "started").exists)
    done, back = project.run("promote", "strong.joblib"), project.run("rollback", "--reason", "incident")
    serves = (project.root / CHAMPION).read_bytes()
    (project.root / "go").touch()
    assert check.communicate(timeout=60)[1] == "" and check.returncode == 0
    assert back.returncode == 0 and serves == project.models.weak.read_bytes(), back.stderr
    assert "waits" in project.run("status").stdout, "the training has ended well"
    assert done.returncode == 75
    assert re.search(rf"busy: retrain check \(process {check.pid}, since 2\S+ \S+ UTC, training\)", done.stderr)
    assert "waiting" not in done.stderr


@pytest.mark.own_process
def test_a_rollback_waits_for_nothing_that_a_training_left_behind(project: Project) -> None:
    """A daemon in its own session keeps the lock of the run: promote is busy until it ends, a rollback is not."""
    project.serve(project.models.weak)
    project.run("promote", str(project.models.strong))
    daemon = "setsid sh -c 'touch escaped; while [ ! -e go ]; do sleep 0.05; done'"
    wait = "while [ ! -e escaped ]; do sleep 0.05; done"
    project.train(f"{daemon} & {wait}", f"cp {project.models.fair} $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    try:
        assert project.json("check")["run"]["outcome"] == "succeeded"
        busy, back = project.run("promote"), project.run("rollback", "--reason", "incident")
        assert busy.returncode == 75 and "left behind" in busy.stderr
        assert back.returncode == 0, back.stderr
        assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
        assert project.run("doctor", "--repair").returncode == 75
    finally:
        (project.root / "go").touch()
    until(lambda: project.run("doctor", "--repair").returncode == 0)


def test_what_could_not_be_judged_is_not_kept(project: Project) -> None:
    """Neither what cannot be loaded nor what was refused stays in versions/, nor what lies beside it."""
    project.serve(project.models.weak)
    project.run("check")
    versions = project.root / "models/versions"
    project.run("promote", "--dry-run", str(project.models.twin))
    before = sorted(versions.iterdir())
    (project.root / "broken.joblib").write_bytes(os.urandom(3000))
    (project.root / "broken.weights.csv").write_text("feature,weight\n")
    for words in (["broken.joblib"], ["broken.joblib", "--force", "--reason", "test"], ["models/champion.joblib"]):
        assert project.run("promote", *words).returncode == 1, words
        assert sorted(versions.iterdir()) == before, words
    assert project.run("promote", str(project.models.twin)).returncode != 1
    assert len(sorted(versions.iterdir())) == 2


def test_a_file_that_cannot_be_loaded_is_named_as_it_was_given(project: Project) -> None:
    """What is loaded is a copy of it, of which nobody has heard."""
    project.serve(project.models.weak)
    (project.root / "broken.joblib").write_bytes(os.urandom(3000))
    refused = project.run("promote", "broken.joblib")
    assert f"challenger {project.root}/broken.joblib cannot be loaded: " in refused.stderr
    assert "versions" not in refused.stderr and "incoming" not in refused.stderr


@pytest.mark.own_process
def test_a_first_promotion_that_is_killed_needs_no_person(project: Project) -> None:
    """No version is kept before the journal knows it, so what a kill leaves is not taken for a lost journal."""
    (project.root / "slow.py").write_text(
        "import time\nclass Slow:\n    def __setstate__(self, state):\n"
        f"        open({str(project.root / 'loading')!r}, 'w').close()\n        time.sleep(60)\n"
    )
    saving = "import joblib, slow; it = slow.Slow(); it.x = 1; joblib.dump(it, 'slow.joblib')"
    subprocess.run([sys.executable, "-c", saving], cwd=project.root, check=True)
    process = project.start("promote", "slow.joblib")
    until((project.root / "loading").exists)
    end(process, signal.SIGKILL)
    versions = project.root / "models/versions"
    assert [path.name[:10] for path in versions.iterdir()] == [".incoming-"]
    assert project.run("check").returncode == 0
    assert project.run("promote", str(project.models.strong)).returncode == 0
    assert [path.name for path in versions.glob("*.joblib")] == [f"{served(project)}.joblib"]


def test_the_clock_is_read_once_and_again_after_a_comparison_and_a_hook(project: Project) -> None:
    """Everything that happens at one moment has one time; what takes long ends at a later one."""
    project.serve(project.models.weak)
    project.configure(promotion={"after": "true"})
    config, secrets = load(project.root / "config.yaml", {})
    times = [datetime(2026, 11, 22, tzinfo=UTC) + timedelta(minutes=number) for number in range(9)]
    for dry_run, reads in ((True, 2), (True, 1), (False, 2)):
        clock = iter(times)
        context = Context(config, secrets, project.environment, partial(next, clock))
        assert promote_story(context, Options(str(project.models.strong), dry_run=dry_run)).exit_code == 0
        assert next(clock) == times[reads]


def test_the_hook_knows_what_was_swapped(project: Project) -> None:
    """What serves now and did before, why, and where: in its environment."""
    project.serve(project.models.weak)
    project.configure(promotion={"after": "sh -c 'env | grep ^RETRAIN_ | sort > hook.txt'"})
    assert project.run("promote", str(project.models.strong)).returncode == 0
    promoted = dict(line.split("=", 1) for line in (project.root / "hook.txt").read_text().splitlines())
    assert project.run("rollback", "--reason", "it's worse; (see #7)").returncode == 0
    back = dict(line.split("=", 1) for line in (project.root / "hook.txt").read_text().splitlines())
    assert (promoted["RETRAIN_SWAP"], back["RETRAIN_SWAP"]) == ("promotion", "rollback")
    assert (back["RETRAIN_VERSION"], back["RETRAIN_PREVIOUS"]) == (
        promoted["RETRAIN_PREVIOUS"],
        promoted["RETRAIN_VERSION"],
    )
    assert back["RETRAIN_REASON"] == "it_s worse, see _7"
    assert back["RETRAIN_CHAMPION"] == str(project.root / CHAMPION)
    assert back["RETRAIN_NAME"] == project.root.name
