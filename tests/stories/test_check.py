"""`retrain check`: what it says, what it does, how it exits."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.effects.servers import Request, page, serving
from tests.stories.project import CHALLENGER, CHAMPION, RETRAIN, Project, end, until

UNASKED = {"drift": None, "window": None, "observed_at": None}
HEAVY = ("sklearn", "joblib", "numpy", "pandas", "pyarrow", "rich", "prometheus_client")


@pytest.mark.own_process
def test_a_healthy_check_under_cron_says_nothing(project: Project) -> None:
    """Zero bytes on both streams: cron mails every byte."""
    for _ in range(2):
        done = project.run("check")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_healthy_check_imports_no_heavy_library(project: Project) -> None:
    """It starts like a small tool: no scikit-learn, joblib, numpy, pandas or pyarrow."""
    project.run("check")
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", RETRAIN, "check"],
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in traced.stderr.splitlines()}
    assert not imported & set(HEAVY)
    assert "jmespath" in imported, "the trace was read"


@pytest.mark.own_process
def test_a_breach_trains_and_says_so_in_one_line(project: Project) -> None:
    """A change is one line on standard output; the challenger waits and nothing is promoted."""
    project.metrics(f1=0.78)
    done = project.run("check")
    assert done.returncode == 0
    assert done.stderr == ""
    assert re.fullmatch(
        r"training: F1 0\.780 is below 0\.850; trained in .*, challenger \w{12} waits .*\n", done.stdout
    )
    assert (project.root / CHALLENGER).exists()
    assert not (project.root / "models/champion.joblib").exists()


def test_trainings_in_vain_are_reported_once_with_their_cause(project: Project) -> None:
    """Also where all is healthy by then; the loop goes on, and cron hears nothing more of it."""
    project.serve(project.models.fair)
    project.configure(triggers={"max_unpromoted": 1, "cooldown": "0s"})
    project.metrics(f1=0.8)
    project.run("check")
    project.run("promote", "--reject", "--reason", "labels are wrong")
    project.metrics(f1=0.9)
    assert project.run("check").stdout == (
        "1 training in a row brought no promotion: 1 rejected by a person (look at data, labels and training);"
        " healthy: F1 0.900 is not below 0.850; drift 0.100 is not above 0.200\n"
    )
    assert project.run("check").stdout == ""
    project.metrics(f1=0.8)
    assert project.json("check")["action"] == "train"


def test_json_is_the_contracts_object(project: Project) -> None:
    """One object on standard output, with exactly the contract's keys."""
    project.metrics(f1=0.78, drift=0.5)
    said = project.json("check")
    assert set(said) == {"action", "reason", "message", "dry_run", "metrics", "breaches", "run", "name"}
    assert (said["action"], said["reason"], said["dry_run"]) == ("train", "breach", False)
    assert set(said["metrics"]) == {"f1", "drift", "samples", "f1_at_usual_share", "usual_share", "observed_at"}
    assert said["breaches"] == [
        {"metric": "f1", "value": 0.78, "threshold": 0.85},
        {"metric": "drift", "value": 0.5, "threshold": 0.2},
    ]
    run = said["run"]
    assert set(run) == {"id", "outcome", "exit_code", "seconds", "challenger", "log"}
    assert (run["outcome"], run["exit_code"]) == ("succeeded", 0)
    assert re.fullmatch(r"[0-9a-f]{64}", run["challenger"])
    project.metrics(f1=0.93, drift=0.02)
    healthy = project.json("check")
    assert (healthy["action"], healthy["reason"], healthy["breaches"], healthy["run"]) == ("hold", "healthy", [], None)
    assert healthy["metrics"]["f1"] == 0.93


def test_a_dry_run_decides_and_writes_nothing_anywhere(project: Project) -> None:
    """Neither before the first check nor after: not a byte, not a file time."""
    project.metrics(f1=0.78)
    for _ in range(2):
        before = project.files()
        assert project.json("check", "--dry-run")["action"] == "train"
        assert project.files() == before
        project.run("check")
        project.metrics(f1=0.77)
        project.configure(triggers={"cooldown": "0s", "challenger_ttl": "0s"})


def test_unknown_metrics_exit_4_told_once_and_never_train(project: Project) -> None:
    """The exit code is honest every time; the line comes once per incident, and so does the recovery."""
    project.run("check")
    project.metrics(f1=None)
    told = [project.run("check") for _ in range(3)]
    assert [done.returncode for done in told] == [4, 4, 4]
    assert "F1 is unknown" in told[0].stderr
    assert told[0].stderr.count("\n") == 1
    assert [done.stderr for done in told[1:]] == ["", ""]
    project.metrics()
    recovered = project.run("check")
    assert recovered.returncode == 0
    assert re.match(r"recovered: the metrics are known again after \d+ s; healthy", recovered.stdout)
    assert project.run("check").stdout == ""
    assert not (project.root / CHALLENGER).exists()


def test_an_incident_that_lasts_is_told_again_after_repeat_after(project: Project) -> None:
    """Once per `repeat_after`."""
    project.configure(notifications={"repeat_after": "0s"})
    project.metrics(f1=None)
    assert all("unknown" in project.run("check").stderr for _ in range(2))


@pytest.mark.parametrize(
    ("recipe", "outcome", "words"),
    [
        (("@echo no such table: sales >&2; exit 3",), "failed", "no such table: sales"),
        (("@true",), "no_challenger", "left no new"),
        (("@sleep 60",), "timed_out", "its time limit"),
        (("@touch $(RETRAIN_CHALLENGER); kill -9 $$$$",), "failed", "exited 2"),
        (("@mkdir -p $(RETRAIN_CHALLENGER)",), "no_challenger", "is a directory; a model is one file"),
        (("@echo '{}' > $(RETRAIN_CHALLENGER)",), "no_challenger", "is a JSON text, which begins with '{}'"),
        (("@head -c 300 models/champion.joblib > $(RETRAIN_CHALLENGER)",), "no_challenger", "is cut off"),
    ],
)
def test_a_training_that_fails_exits_1_and_quotes_its_log(
    project: Project, recipe: tuple[str, ...], outcome: str, words: str
) -> None:
    """make exits 2 for all of them, so the message quotes the last lines; the next check backs off."""
    project.serve(project.models.weak)
    project.configure(training={"timeout": "1s", "grace": "1s"})
    project.train(*recipe)
    project.metrics(f1=0.78)
    done = project.run("check")
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    again = project.json("check")
    assert again["reason"] == "backing_off"
    project.configure(triggers={"failure_backoff": "0s"})
    assert project.json("check")["run"]["outcome"] == outcome


@pytest.mark.parametrize("backdated", [False, True])
def test_a_champion_that_was_overwritten_in_place_is_noticed(project: Project, backdated: bool) -> None:
    """It is read where its stamp is another than when it was read last: told once, exit 1, nothing trained."""
    project.serve(project.models.weak)
    assert project.run("check").returncode == 0
    version = (project.root / CHAMPION).resolve()
    before, found = version.read_bytes(), version.stat()
    version.chmod(0o644)
    assert project.run("check").stderr == ""  # touched, and the same
    version.write_bytes(before[:-1] + b"x")
    if backdated:
        os.utime(version, ns=(found.st_atime_ns, found.st_mtime_ns))
    project.metrics(f1=0.5)
    first, second = project.run("check"), project.run("check")
    assert (first.returncode, first.stdout, first.stderr.count("\n")) == (1, "", 1)
    assert f"{version}: its bytes have changed, to those of " in first.stderr
    assert "restore it from a copy, or serve another version" in first.stderr
    assert (second.returncode, second.stdout + second.stderr) == (1, "")
    assert project.run("check", "--dry-run").returncode == 1
    assert project.run("status").stdout.startswith("NEEDS A PERSON: ")
    version.write_bytes(before)
    assert project.json("check")["action"] == "train"


def test_a_training_that_writes_into_a_link_to_what_serves_changes_only_its_own(project: Project) -> None:
    """Deduplication makes a challenger one file with the champion: the check parts them before the training."""
    project.serve(project.models.weak)
    assert project.run("check").returncode == 0
    version = (project.root / CHAMPION).resolve()
    (project.root / CHALLENGER).hardlink_to(version)
    project.train(f"cat {project.models.strong} > $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    assert project.json("check")["run"]["outcome"] == "succeeded"
    assert version.read_bytes() == (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()


@pytest.mark.parametrize("gone", ["the link", "its file", "all versions, and the link is a loop"])
@pytest.mark.parametrize("f1", [0.9, 0.5])
def test_a_champion_that_is_gone_is_told_and_nothing_is_trained(project: Project, gone: str, f1: float) -> None:
    """The service cannot load it when it starts again: told once, exit 1, however good the metrics are."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    champion = project.root / CHAMPION
    version = champion.resolve()
    if gone == "its file":
        version.unlink()
    else:
        champion.unlink()
    if "loop" in gone:
        shutil.rmtree(version.parent)
        champion.symlink_to(champion.name)
    project.metrics(f1=f1)
    first, second = project.run("check"), project.run("check")
    assert (first.returncode, first.stdout, first.stderr.count("\n")) == (1, "", 1)
    assert f"{champion}: the champion is gone" in first.stderr
    assert (second.returncode, second.stdout + second.stderr) == (1, "")
    assert not (project.root / CHALLENGER).exists()
    assert project.run("status").stdout.startswith("NEEDS A PERSON: the champion is gone")
    if "loop" not in gone:
        assert project.run("rollback").returncode == 0
        assert project.run("check").returncode == 0


@pytest.mark.parametrize("how", ["another file", "another link", "its bytes", "nothing"])
def test_a_training_that_replaces_the_champion_has_failed(project: Project, how: str) -> None:
    """Nobody judged what serves now: that is told at once, with the way back, and no challenger waits."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.strong)).returncode == 0
    champion, fair = project.root / CHAMPION, project.models.fair
    version, other = (
        champion.resolve(),
        next(each for each in champion.resolve().parent.glob("*.joblib") if not each.samefile(champion)),
    )
    replacing = {
        "another file": f"cp --remove-destination {fair} {champion}",
        "another link": f"ln -sfn versions/{other.name} {champion}",
        "its bytes": f"chmod u+w {version} && cat {fair} > {version}",
        "nothing": f"rm {champion}",
    }
    project.train(f"cp {fair} $(RETRAIN_CHALLENGER)", replacing[how])
    project.metrics(f1=0.5)
    done = project.run("check")
    assert done.returncode == 1
    words = f"replaced {champion}" if "another" in how else "changed the champion while it ran"
    assert f"training failed: make train-model {words}" in done.stderr
    assert "retrain rollback" in done.stderr or "restore it from a copy" in done.stderr
    assert "challenger" not in project.json("status") or not project.json("status")["challenger"]
    project.train(f"cp {fair} $(RETRAIN_CHALLENGER)")
    assert how == "its bytes" or project.run("rollback", "--to", version.name[:12]).returncode == 0


def test_a_training_that_leaves_the_champions_bytes_has_left_nothing_new(project: Project) -> None:
    """It is told, exit 0, and no failure: the breach is used up, the cooldown begins, and nothing waits or is kept."""
    project.serve(project.models.weak)
    project.run("check")
    project.train("@cp models/champion.joblib $(RETRAIN_CHALLENGER); echo feature,weight > $(RETRAIN_WEIGHTS)")
    project.metrics(f1=0.78)
    done = project.run("check")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert re.search(r"; trained in .* and left the champion's own bytes, [0-9a-f]{12}: nothing new$", done.stdout)
    assert [path.suffix for path in (project.root / "models/versions").iterdir()] == [".joblib"]
    assert project.json("check")["reason"] == "same_window"
    project.metrics(f1=0.78)
    assert project.json("check")["reason"] == "cooling_down"
    assert project.json("status")["failures"] == 0
    assert project.run("promote", "--if-pending").stdout == ""
    again = project.json("check", "--force", "--reason", "again")
    assert (again["run"]["outcome"], again["run"]["challenger"]) == ("nothing_new", None)
    assert project.run("status").stdout.count("nothing new") == 2


@pytest.mark.own_process
def test_a_challenger_is_tried_at_the_end_of_its_training(project: Project) -> None:
    """What cannot be loaded or scored is a failed training, no challenger; a bad holdout is no such fault."""
    project.serve(project.models.weak)
    project.configure(triggers={"failure_backoff": "0s"})
    save = "import joblib; joblib.dump({}, 'models/challenger.joblib')"
    model = "class Net:\n    def predict(self, rows): return {}\n"
    for text, words in (
        (model.format("[1]") + save.format("Net()"), "Net was defined in the script that saved the model (__main__)"),
        (f"from net import Net\n{save.format('Net()')}", "predicts an array of shape (1,) for 100 rows"),
        (save.format("{'a': 1}"), "holds a dict, which has no predict method"),
        (f"from sayer import Sayer\n{save.format('Sayer()')}", "predicts 'yes', but column 'y' of "),
    ):
        (project.root / "net.py").write_text(model.format("[1]"))
        (project.root / "sayer.py").write_text(model.format("['yes'] * len(rows)").replace("Net", "Sayer"))
        (project.root / "train.py").write_text(text)
        project.train(f"@{sys.executable} train.py")
        done = project.run("check", "--force", "--reason", "now", "--json")
        assert done.returncode == 1
        said = json.loads(done.stdout)
        assert (said["run"]["outcome"], said["run"]["challenger"]) == ("no_challenger", None)
        assert words in said["message"]
        assert len(list((project.root / "models/versions").iterdir())) == 1  # the champion, and nothing of what failed
    (project.root / "data/holdout.csv").write_text("x,y\n1,2,3\n")
    project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    assert project.run("check", "--force", "--reason", "now").returncode == 0


def test_a_training_leaves_a_new_artifact_and_touches_no_other(project: Project) -> None:
    """A challenger that is a link to the champion is refused before it is written through, an empty one after."""
    project.serve(project.models.weak)
    assert project.run("promote", str(project.models.fair)).returncode == 0
    project.train(f"cat {project.models.strong} > $(RETRAIN_CHALLENGER)")
    challenger = project.root / CHALLENGER
    challenger.unlink(missing_ok=True)
    challenger.symlink_to(Path(CHAMPION).name)
    done = project.run("check", "--force", "--reason", "now")
    assert done.returncode == 1
    assert "the champion or a version (remove that link)" in done.stderr
    assert (project.root / CHAMPION).read_bytes() == project.models.fair.read_bytes()
    challenger.unlink()
    project.train(": > $(RETRAIN_CHALLENGER)")
    done = project.run("check", "-v", "--force", "--reason", "now")
    assert done.returncode == 1
    assert "left an empty" in done.stderr
    assert not (project.root / f"models/versions/{hashlib.sha256().hexdigest()}.joblib").exists()


def test_what_a_label_says_is_never_run(project: Project) -> None:
    """Not by make, nor by the shell of a recipe that echoes the reason: signs that mean more than text are gone."""
    label = "$(shell touch made)$(touch made)`touch made`'\\\";touch made;|touch made&>made\ntouch made\n"
    escaped = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    project.train('@echo "$(RETRAIN_REASON)" >> said', "@echo $$RETRAIN_REASON >> said")
    with serving(lambda _: page(f'f1{{model="churn", a="{escaped}"}} 0.7\n')) as url:
        project.configure(monitoring={"type": "metrics", "url": url, "f1": "f1"} | UNASKED)
        project.configure(triggers={"drift_threshold": None})
        told = project.json("check")
    assert told["action"] == "train", told
    said = (project.root / "said").read_text()
    assert said.count("model=churn") == 2, said
    assert not (project.root / "made").exists(), said


def test_what_keeps_a_check_from_looking_is_told_once(project: Project) -> None:
    """The exit code is honest every time; a person who asks is told again, and so is what comes after."""
    champion = project.root / CHAMPION
    champion.unlink(missing_ok=True)
    champion.mkdir()
    first, again = project.run("check"), project.run("check")
    assert (first.returncode, again.returncode) == (1, 1)
    assert f"{champion}: is not a file" in first.stderr
    assert again.stderr == ""
    assert "is not a file" in project.run("status").stdout + project.run("status").stderr
    assert "is not a file" in project.run("check", "-v").stderr
    champion.rmdir()
    assert "recovered" in project.run("check").stdout


def test_a_training_that_fails_again_is_told_once(project: Project) -> None:
    """One line per incident, though every try exits 1; a success ends the incident."""
    project.configure(triggers={"failure_backoff": "0s", "cooldown": "0s", "challenger_ttl": "0s"})
    project.train("@exit 1")
    project.metrics(f1=0.78)
    done = [project.run("check") for _ in range(3)]
    assert [each.returncode for each in done] == [1, 1, 1]
    assert [each.stderr == "" for each in done] == [False, True, True]


def test_what_keeps_a_training_from_starting_is_a_failed_training(project: Project) -> None:
    """No room for its output: exit 1 with a sentence, recorded as failed, and no traceback."""
    (project.root / "models/challenger.reference.parquet").mkdir()
    project.metrics(f1=0.78)
    done = project.run("check")
    assert done.returncode == 1
    assert "could not be started" in done.stderr
    assert project.json("check")["reason"] == "backing_off"


def test_a_missing_target_exits_1(project: Project) -> None:
    """A Makefile without train-model is a failed training, with make's own words."""
    (project.root / "Makefile").write_text("all:\n")
    project.metrics(f1=0.78)
    done = project.run("check")
    assert done.returncode == 1
    assert "No rule to make target" in done.stderr


def test_training_gets_its_environment_and_a_clean_make(project: Project) -> None:
    """RETRAIN_* are there, an outer make's flags and the monitoring secret are not."""
    project.configure(
        monitoring={"headers": {"Authorization": "Bearer ${TOKEN}"}}, training={"environment": {"EXTRA": "1"}}
    )
    project.train(f"env > env.txt; cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.78)
    outer = {"TOKEN": "hunter2hunter2", "MAKEFLAGS": "-k", "MAKELEVEL": "3"}
    run = json.loads(project.run("check", "--json", **outer).stdout)["run"]
    seen = (project.root / "env.txt").read_text()
    assert f"RETRAIN_RUN_ID={run['id']}\n" in seen
    assert "RETRAIN_REASON=F1 0.780 is below 0.850\n" in seen
    assert f"RETRAIN_CHALLENGER={project.root / CHALLENGER}\n" in seen
    assert f"RETRAIN_REFERENCE={project.root}/models/challenger.reference.parquet\n" in seen
    assert f"RETRAIN_WEIGHTS={project.root}/models/challenger.weights.csv\n" in seen
    assert "EXTRA=1\n" in seen
    assert "hunter2" not in seen
    assert "MAKELEVEL=1\n" in seen
    assert "MAKEFLAGS=-k" not in seen


def test_force_needs_a_reason_and_skips_the_rules(project: Project) -> None:
    """--force trains on healthy metrics, with the reason in the journal; without --reason it is wrong usage."""
    assert project.run("check", "--force").returncode == 2
    said = project.json("check", "--force", "--reason", "new labels")
    assert (said["action"], said["reason"]) == ("train", "forced")
    assert "new labels" in project.run("status").stdout


def test_while_a_training_runs_checks_are_busy_and_commands_exit_75(project: Project) -> None:
    """One run at a time: cron's next tick exits 0 in silence, a person's command says who holds the lock."""
    project.train(
        "touch started; while [ ! -e go ]; do sleep 0.05; done", f"cp {project.models.strong} $(RETRAIN_CHALLENGER)"
    )
    project.configure(triggers={"cooldown": "0s"})
    project.metrics(f1=0.78)
    first = project.start("check")
    until((project.root / "started").exists)
    second = project.run("check")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert project.json("check")["reason"] == "busy"
    for words in (["promote", str(project.models.fair)], ["check", "--force", "--reason", "now"]):
        done = project.run(*words)
        assert done.returncode == 75, words
        assert "retrain check (process" in done.stderr
    assert "under way" in project.run("status").stdout
    (project.root / "go").touch()
    assert first.wait(timeout=60) == 0
    first.communicate()


@pytest.mark.parametrize("files", [16, 20])
def test_the_outcome_of_a_training_is_recorded_where_no_more_files_may_be_open(project: Project, files: int) -> None:
    """Requirement: the training failed for a cause that is told; no later command takes its controller for dead."""
    project.run("check")
    project.metrics(f1=0.78)
    limited = ["sh", "-c", f"ulimit -n {files} && exec {RETRAIN} check"]
    done = subprocess.run(
        limited, check=False, capture_output=True, text=True, cwd=project.root, env=project.environment
    )
    assert done.returncode == 1
    assert "training failed: make train-model" in done.stdout + done.stderr
    assert "Too many open files" in done.stdout + done.stderr
    assert project.json("check")["reason"] == "backing_off"
    assert "had died" not in project.run("history").stdout


@pytest.mark.parametrize("replaced", [False, True])
def test_the_file_of_the_lock_is_removed_while_a_training_runs(project: Project, replaced: bool) -> None:
    """Requirement: no second training begins, the first ends as ever, and commands say once what happened."""
    project.train(
        "echo run >> runs; touch started; while [ ! -e go ]; do sleep 0.05; done",
        f"cp {project.models.strong} $(RETRAIN_CHALLENGER)",
    )
    project.metrics(f1=0.78)
    first = project.start("check")
    until((project.root / "started").exists)
    (project.root / "state/lock").unlink()
    if replaced:
        (project.root / "state/lock").touch()
    loud, again = project.run("check"), project.run("check")
    assert (loud.returncode, loud.stdout) == (75, "")
    assert "still runs, but not under the lock" in loud.stderr
    assert "was that file removed?" in loud.stderr
    assert (again.returncode, again.stderr) == (75, ""), "told once"
    for words in (["promote", str(project.models.fair)], ["check", "--force", "--reason", "now"]):
        done = project.run(*words)
        assert (done.returncode, "still runs" in done.stderr) == (75, True), words
    (project.root / "go").touch()
    assert first.wait(timeout=60) == 0
    first.communicate()
    assert (project.root / "runs").read_text() == "run\n"
    assert project.run("promote").returncode == 0


def test_a_lock_held_longer_than_a_training_may_take_is_loud(project: Project) -> None:
    """A training that outlives its killed controller and its own time limit: exit 75, once, with who took it."""
    project.configure(training={"timeout": "1s", "grace": "1s"})
    project.train("touch started; while [ ! -e go ]; do sleep 0.05; done; touch ended")
    project.metrics(f1=0.78)
    process = project.start("check")
    until((project.root / "started").exists)
    end(process, signal.SIGKILL)
    stuck = []

    def is_loud() -> bool:
        stuck.append(project.run("check"))
        return stuck[-1].returncode == 75

    until(is_loud)
    assert "stuck: what retrain check of " in stuck[-1].stderr, "its process is no longer there"
    assert "has held the lock for" in stuck[-1].stderr
    assert {done.returncode for done in stuck[:-1]} <= {0}
    again = project.run("check")
    assert (again.returncode, again.stderr) == (75, "")
    (project.root / "go").touch()
    until((project.root / "ended").exists)


def test_a_lock_that_another_program_holds_is_loud(project: Project) -> None:
    """Nobody knows for how long it has it, and nothing is trained meanwhile: exit 75, once, with its process."""
    project.run("check")
    project.metrics(f1=0.78)
    with (project.root / "state/lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        first, again = project.run("check"), project.run("check")
        assert (first.returncode, first.stdout) == (75, "")
        assert f"another program (process {os.getpid()}) holds the lock" in first.stderr
        assert (again.returncode, again.stderr) == (75, "")
        assert f"another program (process {os.getpid()})" in project.run("doctor").stdout
    assert project.json("check")["action"] == "train"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on_recorded_and_shown_in_the_exit_code(project: Project, number: signal.Signals) -> None:
    """128 + N; the training ends with the controller and counts as failed."""
    project.train("trap 'touch told; exit 1' TERM INT HUP; touch started; while :; do sleep 0.05; done")
    project.metrics(f1=0.78)
    process = project.start("check")
    until((project.root / "started").exists)
    code, _, err = end(process, number)
    assert code == 128 + number
    assert number.name in err
    assert (project.root / "told").exists()
    assert project.json("check")["reason"] == "backing_off"


def test_a_controller_killed_while_training_leaves_the_lock_with_the_training(project: Project) -> None:
    """The next check finds it busy; when the training has ended, the run is settled as failed."""
    project.train("touch started; while [ ! -e go ]; do sleep 0.05; done; touch ended")
    project.metrics(f1=0.78)
    process = project.start("check")
    until((project.root / "started").exists)
    code, _, _ = end(process, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert project.json("check")["reason"] == "busy"
    (project.root / "go").touch()
    until((project.root / "ended").exists)
    until(lambda: "was interrupted" in project.run("check", "-v").stdout)
    assert project.json("check")["reason"] == "backing_off"


def test_a_plain_heartbeat_is_pinged_after_exit_code_0_alone(project: Project) -> None:
    """Its silence is the alarm: no ping after a check that is blind or whose training failed, nor a rehearsal."""
    pings: list[str] = []

    def respond(request: Request) -> list[bytes]:
        pings.append(request.path)
        return page("")

    with serving(respond) as url:
        project.configure(notifications={"heartbeat": f"{url}/ping/uuid"})
        assert project.run("check").returncode == 0
        project.run("check", "--dry-run")
        assert pings == ["/ping/uuid"]
        project.metrics(f1=None)
        assert project.run("check").returncode == 4
        project.train("false")
        project.metrics(f1=0.5)
        assert project.run("check").returncode == 1
    assert pings == ["/ping/uuid"]


def test_a_heartbeat_is_pinged_by_its_conventions_however_the_check_ends(project: Project) -> None:
    """Healthchecks gets the start of a training and every exit code, one run id a check, also of a damaged journal."""
    asked: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        asked.append(request)
        return page("OK")

    with serving(respond) as url:
        project.configure(notifications={"heartbeat": {"url": f"{url}/uuid", "style": "healthchecks"}})
        project.run("check")
        project.metrics(f1=0.5)
        project.run("check")
        (project.root / "state/journal.db").write_bytes(b"no database")
        project.run("check")
    steps = [urlsplit(each.path) for each in asked]
    assert [each.path for each in steps] == ["/uuid/0", "/uuid/start", "/uuid/0", "/uuid/1"]
    assert steps[1].query == steps[2].query != steps[0].query
    assert b"challenger" in asked[2].body
    assert b"the journal is damaged" in asked[3].body


def test_a_heartbeat_that_fails_is_reported_once(project: Project) -> None:
    """It fails no check; it is one line an incident, an event of the journal, and so is that it works again."""
    answers = iter([*[page("", "404 Not Found")] * 2, *[page("OK")] * 2])
    with serving(lambda _request: next(answers)) as url:
        project.configure(notifications={"heartbeat": f"{url}/uuid-1234"})
        checks = [project.run("check") for _ in range(4)]
    assert [check.returncode for check in checks] == [0] * 4
    expected = "the heartbeat answered 404: Not Found (check notifications.heartbeat)\n"
    assert [check.stderr for check in checks] == [expected, "", "", ""]
    kinds = [event["kind"] for event in project.json("status")["events"]]
    assert kinds.count("undelivered") == kinds.count("delivered") == 1


def test_recovered_is_said_only_of_what_has_ended(project: Project) -> None:
    """Metrics that can be read again are not a healthy model: the line says which of the two it is."""
    project.serve(project.models.weak)
    project.configure(triggers={"consecutive": 2})
    project.metrics(f1=None)
    assert project.run("check").returncode == 4
    project.metrics(f1=0.8)
    back = project.run("check").stdout
    waits = "waiting: F1 0.800 is below 0.850, but this is window 1 of 2"
    assert re.match(rf"the metrics are known again after \d+ s; {waits}", back)
    assert "recovered" not in back
    assert project.run("check").stdout == "", "said once"


def test_a_training_that_fails_for_another_cause_is_news(project: Project) -> None:
    """The same failure is silent within repeat_after, another one is not, and a forced one is never silent."""
    project.serve(project.models.weak)
    project.configure(triggers={"failure_backoff": "0s"})

    def failing(recipe: str) -> str:
        project.train(recipe)
        project.metrics(f1=0.8)
        done = project.run("check")
        assert done.returncode == 1
        return done.stderr

    assert "No such file" in failing("cat nosuch")
    assert failing("cat nosuch") == ""
    assert "left no new" in failing("true")
    assert failing("true") == ""
    project.metrics(f1=0.8)
    assert "left no new" in project.run("check", "--force", "--reason", "again").stderr
