"""Evidence, slices, leakage, probation and the ban, as the command decides and reports them."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.stories.project import CHAMPION, Project, end, until


def promoted(project: Project, model: Path) -> None:
    """Serve `weak`, let a check train this model, and promote it whatever the verdict."""
    project.serve(project.models.weak)
    trained(project, model)
    assert project.run("promote", "--force", "--reason", "test").returncode == 0


def trained(project: Project, model: Path, f1: float = 0.8) -> dict[str, Any]:
    """What a check says that trains this model."""
    project.train(f"cp {model} $(RETRAIN_CHALLENGER)")
    project.configure(triggers={"cooldown": "0s", "challenger_ttl": "0s", "max_unpromoted": 99})
    project.metrics(f1=f1)
    said = project.json("check")
    assert said["action"] == "train", said
    return said


def counted(project: Project, tp: int, fp: int, fn: int) -> None:
    """Let the monitor report a window with these counts."""
    project.metrics(f1=2 * tp / (2 * tp + fp + fn), drift=0.1, tp=tp, fp=fp, fn=fn)


def children(process: int) -> list[str]:
    """The process ids of what this process has started."""
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def command_of(process: str) -> bytes:
    """The command line; empty where it has ended meanwhile."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


# ---------------------------------------------------------------- evidence


def test_evidence_is_shown_and_trains_when_it_is_enough(project: Project) -> None:
    """Held as gathering_evidence, with the score in `check -v` and `status`, until the windows together show it."""
    project.configure(
        triggers={"evidence": {"min_drop": 0.03, "false_retrains_per_year": 1}, "drift_threshold": None},
        monitoring={"counts": {"tp": "tp", "fp": "fp", "fn": "fn"}},
    )
    counted(project, 150, 32, 32)
    first = project.run("check", "-v")
    assert first.returncode == 0
    assert "evidence 0." in first.stderr
    assert "of 13.2 for a drop of F1 from 0.85 to 0.82" in first.stderr
    assert project.json("check")["reason"] == "same_window"
    reasons = []
    for _ in range(9):
        counted(project, 110, 60, 60)
        reasons.append(project.json("check")["reason"])
        if reasons[-1] == "breach":
            break
        status = project.run("status").stdout
        assert "evidence    " in status
        assert "trains when the evidence reaches" in status
    assert reasons[0] == "gathering_evidence"
    assert reasons[-1] == "breach"
    assert project.json("status")["evidence"]["score"] == 0


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"monitoring": {"samples": "n"}}, "F1 and the number of samples alone give no bound"),
        ({"triggers": {"performance_threshold": None}}, "needs performance_threshold"),
        ({"triggers": {"evidence": {"min_drop": 0.9, "false_retrains_per_year": 1}}}, "is not from 0.001 to 0.849"),
        ({"triggers": {"evidence": {"min_drop": 0.1, "false_retrains_per_year": 0}}}, "is not a number from 0.001"),
        ({"triggers": {"evidence": {"min_drop": 0.1}}}, "false_retrains_per_year: is required"),
    ],
)
def test_evidence_that_cannot_carry_its_bound_is_refused(
    project: Project, sections: dict[str, Any], words: str
) -> None:
    """Exit 2, with the sentence that says why."""
    project.configure(triggers={"evidence": {"min_drop": 0.03, "false_retrains_per_year": 1}})
    project.configure(**sections)
    done = project.run("check")
    assert done.returncode == 2
    assert words in done.stderr


# ---------------------------------------------------------------- slices


def test_a_slice_that_is_worse_vetoes_the_promotion(project: Project) -> None:
    """Exit 10; JSON tells every slice; without `slices` the same challenger is promoted."""
    rows = pd.read_csv(project.models.holdout)
    south = rows.index % 10 == 0
    rows["region"] = ["south" if each else "north" for each in south]
    rows.loc[south, "y"] = (rows["a"] > 0).astype(int)[south]
    rows.to_csv(project.root / "data/holdout.csv", index=False)
    project.serve(project.models.weak)
    project.configure(promotion={"slices": ["region"]})
    said = project.json("promote", str(project.models.strong))
    assert said["verdict"] == "reject"
    assert "where region = south" in said["message"]
    assert [set(each) for each in said["slices"]] == [{"column", "value", "rows", "difference", "worse"}] * 2
    assert [(each["value"], each["rows"], each["worse"]) for each in said["slices"]] == [
        ("north", 2700, False),
        ("south", 300, True),
    ]
    assert project.run("promote", str(project.models.strong)).returncode == 10
    project.configure(promotion={"slices": []})
    assert project.run("promote", str(project.models.strong)).returncode == 0


# ---------------------------------------------------------------- leakage


Pick = Callable[[pd.DataFrame], pd.DataFrame]


def with_training_data(project: Project, pick: Pick, kind: str = "csv") -> None:
    """Let training leave as its data what `pick` makes of the holdout's rows."""
    picked, prepared = pick(pd.read_csv(project.root / "data/holdout.csv")), project.root / f"prepared.{kind}"
    picked.to_csv(prepared, index=False) if kind == "csv" else picked.to_parquet(prepared, index=False)
    project.configure(training={"data": f"data/training.{kind}"})
    project.train(f"cp prepared.{kind} data/training.{kind}", f"cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    project.configure(triggers={"cooldown": "0s", "challenger_ttl": "0s"})
    project.metrics(f1=0.5)
    assert project.json("check")["run"]["outcome"] == "succeeded"


def all_rows(holdout: pd.DataFrame) -> pd.DataFrame:
    return holdout


def every_20th(holdout: pd.DataFrame) -> pd.DataFrame:
    return holdout.iloc[::20]


def other_rows(holdout: pd.DataFrame) -> pd.DataFrame:
    return holdout.assign(a=holdout["a"] + 100)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_challenger_that_was_trained_on_holdout_rows_is_refused(project: Project, kind: str) -> None:
    """Exit 1 with the share, no comparison used, the champion stays; a person may go past it, with a warning."""
    project.serve(project.models.weak)
    with_training_data(project, every_20th, kind)
    done = project.run("promote")
    assert done.returncode == 1
    assert "the challenger was trained on 150 of the 3,000 holdout rows (5.00%" in done.stderr
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
    forced = project.json("promote", "--force", "--reason", "I know")
    assert (forced["promoted"], forced["look"]) == (True, 1)
    assert "warning: the challenger was trained on 150" in forced["message"]


def test_rows_that_may_leak_are_configured(project: Project) -> None:
    """At `max_leakage` a share of the rows may occur in both: coarse rows repeat by chance."""
    project.serve(project.models.weak)
    with_training_data(project, every_20th)
    project.configure(promotion={"max_leakage": 0.05})
    assert project.run("promote").returncode == 0


def test_a_champion_that_has_seen_the_holdout_is_told_apart(project: Project) -> None:
    """The rows of both are compared: a fresh training does not hide what the champion knows."""
    with_training_data(project, other_rows)
    assert project.run("promote").returncode == 0
    seen = pd.read_csv(project.root / "data/training.csv").head(300)
    pd.concat([pd.read_csv(project.models.holdout), seen]).to_csv(project.root / "data/holdout.csv", index=False)
    done = project.run("promote", str(project.models.fair))
    assert done.returncode == 1
    assert "the champion was trained on 300 of the 3,300 holdout rows" in done.stderr


def test_what_is_not_known_is_said_and_a_training_without_known_rows_is_refused(project: Project) -> None:
    """Of a file named by hand nobody knows the rows: the verdict says so. Training must have left them."""
    project.serve(project.models.weak)
    project.configure(training={"data": "data/gone.csv"})
    said = trained(project, project.models.strong)
    assert "its training rows are not known" in said["message"]
    refused = project.run("promote")
    assert refused.returncode == 1
    assert "it is not known on which rows" in refused.stderr
    for words in ([], ["--dry-run"], [str(project.models.strong)], [said["run"]["challenger"][:8]]):
        assert project.run("promote", *words).returncode == 1, "whatever it is called, it is the same challenger"
    done = project.run("promote", str(project.models.fair))
    assert done.returncode == 0
    assert "leakage: not checked for the challenger and the champion" in done.stdout


def test_a_recorded_verdict_is_no_way_past_leakage(project: Project) -> None:
    """Rows that are known only later are counted then; the comparison is not spent twice."""
    project.serve(project.models.weak)
    project.configure(training={"data": "data/training.csv"})
    first = project.json("promote", str(project.models.strong), "--dry-run")
    assert (first["verdict"], first["look"]) == ("promote", 1)
    with_training_data(project, every_20th)
    for _ in range(2):
        refused = project.run("promote")
        assert refused.returncode == 1
        assert "the challenger was trained on 150" in refused.stderr
    forced = project.json("promote", "--force", "--reason", "I know", "--dry-run")
    assert forced["look"] == 1
    assert "recorded verdict" in forced["message"]


def test_a_refused_challenger_holds_no_training_back_and_cron_is_told_once(project: Project) -> None:
    """It was judged, in a way: training is free again, and only a fresh holdout brings it up again."""
    project.serve(project.models.weak)
    with_training_data(project, every_20th)
    first, second = project.run("promote", "--if-pending"), project.run("promote", "--if-pending")
    assert (first.returncode, first.stdout) == (1, "")
    assert "was trained on 150" in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert "was refused" in project.run("status").stdout
    project.metrics(f1=0.5)
    assert project.json("check", "--dry-run")["action"] == "train"
    (project.root / "data/holdout.csv").write_text("y\n")
    broken = project.run("promote", "--if-pending")
    assert (broken.returncode, broken.stderr != "") == (1, True), "another failure is told"
    rows = pd.read_csv(project.models.holdout)
    rows[rows.index % 20 != 0].to_csv(project.root / "data/holdout.csv", index=False)
    project.configure(promotion={"after": "false"})
    assert [project.run("promote", "--if-pending").returncode for _ in range(3)] == [1, 0, 0], "no flapping"
    assert "won, but the hook after the swap failed" in project.run("status").stdout
    project.configure(promotion={"after": None})
    assert project.run("promote").returncode == 0


def test_a_challenger_of_unknown_rows_is_refused_on_any_holdout(project: Project) -> None:
    """Rejected or not, by whatever name; status says what helps."""
    project.serve(project.models.weak)
    project.configure(training={"data": "data/gone.csv"})
    version = trained(project, project.models.strong)["run"]["challenger"]
    assert project.run("promote", "--if-pending").returncode == 1
    assert "train anew" in project.run("status").stdout
    os.utime(project.root / "data/holdout.csv")
    assert project.run("promote", "--if-pending").stdout == ""
    assert project.run("promote", "--reject", "--reason", "test").returncode == 0
    assert project.run("promote", version, "--dry-run").returncode == 1


def test_a_forced_comparison_is_no_way_past_leakage(project: Project) -> None:
    """What was compared without the training rows does not answer with them."""
    project.serve(project.models.weak)
    with_training_data(project, all_rows)
    (known,) = (project.root / "models/versions").glob("*.rows.parquet")
    known.chmod(0o644)
    known.write_bytes(b"PAR1")
    assert project.run("promote", "--force", "--reason", "test", "--dry-run").returncode == 0
    assert project.run("promote").returncode == 1


def test_more_leakage_allowed_is_asked_anew(project: Project) -> None:
    """A refusal hangs on `max_leakage`, too."""
    project.serve(project.models.weak)
    with_training_data(project, every_20th)
    assert project.run("promote", "--if-pending").returncode == 1
    project.configure(promotion={"max_leakage": 0.05})
    assert project.run("promote", "--if-pending").returncode == 0


@pytest.mark.parametrize("spoil", ["garbage", "column"])
def test_known_rows_that_are_no_use_lock_nobody_out(project: Project, spoil: str) -> None:
    """The champion's count as unknown, which is said; the challenger's refuse it, and --force goes past them."""
    project.serve(project.models.weak)
    rows = pd.read_csv(project.models.holdout)
    rows.assign(extra=1).to_csv(project.root / "data/holdout.csv", index=False)
    with_training_data(project, other_rows)
    (known,) = (project.root / "models/versions").glob("*.rows.parquet")
    if spoil == "garbage":
        known.chmod(0o644)
        known.write_bytes(b"PAR1")
    rows.to_csv(project.root / "data/holdout.csv", index=False)
    refused = project.run("promote")
    assert refused.returncode == 1
    assert "the training rows" in refused.stderr
    assert project.run("promote", "--force", "--reason", "test").returncode == 0
    done = project.run("promote", str(project.models.fair), "--dry-run")
    assert done.returncode == 10, done.stderr
    assert "whose training rows are not known" in done.stdout


def test_a_signal_while_rows_are_remembered_loses_no_training(project: Project) -> None:
    """128 + N, and the challenger waits: only its rows are not known."""
    os.mkfifo(project.root / "data/training.csv")
    project.configure(training={"data": "data/training.csv"})
    project.metrics(f1=0.5)
    process = project.start("check")
    until(lambda: b"retrain.scoring" in b"".join(map(command_of, children(process.pid))))
    code, _, _ = end(process)
    assert code == 128 + signal.SIGTERM
    assert "waits" in project.run("status").stdout
    assert "its training rows are not known" in project.run("status").stdout


@pytest.mark.own_process
def test_the_known_rows_are_kept_and_forgotten_with_their_version(project: Project) -> None:
    """They lie beside the artifact, read-only."""
    project.serve(project.models.weak)
    with_training_data(project, other_rows)
    kept = list((project.root / "models/versions").glob("*.rows.parquet"))
    assert len(kept) == 1
    assert kept[0].name.partition(".")[0] == project.json("status")["challenger"]["version"]
    assert not kept[0].stat().st_mode & 0o222


# ---------------------------------------------------------------- probation and the ban


def on_probation(project: Project) -> None:
    """Promote `strong` in the place of `weak`, which showed F1 0.8 last."""
    project.configure(promotion={"probation": "7d"})
    promoted(project, project.models.strong)


def test_a_new_champion_that_does_worse_live_is_rolled_back_by_the_next_check(project: Project) -> None:
    """One line on standard output, no training, and the version stays out without --force."""
    on_probation(project)
    assert "below 0.800" in project.run("status").stdout
    project.metrics(f1=0.75)
    dry = project.json("check", "--dry-run")
    assert (dry["action"], dry["reason"], dry["run"]) == ("rollback", "probation", None)
    done = project.run("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("rolled back: ")
    assert done.stdout.count("\n") == 1
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
    assert "rolled back to" in project.run("status").stdout
    refused = project.run("promote", str(project.models.strong))
    assert refused.returncode == 1
    assert "was in service and was rolled back" in refused.stderr
    again = project.run("promote", str(project.models.strong), "--force", "--reason", "it was the data")
    assert again.returncode == 0


def test_a_new_champion_that_does_as_well_stays(project: Project) -> None:
    """A breach above what the old one showed trains as ever."""
    on_probation(project)
    project.metrics(f1=0.82)
    assert project.json("check")["action"] == "train"
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()


@pytest.mark.parametrize("command", ["check", "rollback"])
def test_a_rollback_whose_hook_fails_stands(project: Project, command: str) -> None:
    """The new champion was worse, as a check or a person says; that a service may not have loaded the old one fails."""
    on_probation(project)
    project.configure(promotion={"after": "false"})
    project.metrics(f1=0.75)
    done = project.run(command)
    assert (
        done.returncode == 1 and "serves again, but the service may not have loaded it: promotion.after" in done.stderr
    )
    assert (project.root / CHAMPION).read_bytes() == project.models.weak.read_bytes()
    assert "; promotion.after exited 1" in project.run("status").stdout


def test_a_version_that_never_served_needs_force(project: Project) -> None:
    """It was rejected, or is no model at all; a person may insist."""
    project.serve(project.models.strong)
    assert project.run("promote", str(project.models.weak)).returncode == 10
    version = hashlib.sha256(project.models.weak.read_bytes()).hexdigest()[:12]
    refused = project.run("rollback", "--to", version)
    assert refused.returncode == 1 and "has never served" in refused.stderr
    assert project.run("rollback", "--to", version, "--force").returncode == 2, "--force needs --reason"
    assert project.run("rollback", "--to", version, "--force", "--reason", "x").returncode == 0


def test_a_check_while_the_hook_runs_spoils_no_probation(project: Project) -> None:
    """cron reads the moved link before the promotion is recorded."""
    project.configure(
        promotion={"probation": "7d", "after": "sh -c 'touch hooked; while [ ! -e go ]; do sleep 0.05; done'"}
    )
    project.serve(project.models.weak)
    trained(project, project.models.strong)
    assert project.run("promote", "--dry-run").returncode == 0  # whose verdict the process need not find again
    process = project.start("promote")
    until((project.root / "hooked").exists)
    assert project.run("check").returncode == 0
    (project.root / "go").touch()
    said, _ = process.communicate(timeout=60)
    assert "probation: for 7 d a check rolls back if it is worse than" in said
    assert "if live F1 falls below the 0.800 of that one" in said
    project.metrics(f1=0.75)
    assert project.json("check", "--dry-run")["action"] == "rollback"


def test_a_training_that_makes_what_was_rolled_back_has_made_nothing_new(project: Project) -> None:
    """The same bytes again are no challenger that could be promoted."""
    promoted(project, project.models.strong)
    assert project.run("rollback").returncode == 0
    project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    project.metrics(f1=0.5)
    said = project.json("check")
    assert (said["run"]["outcome"], said["run"]["challenger"]) == ("nothing_new", None)
    assert "and left bytes that were rolled back, " in said["message"]


def test_the_drift_of_before_a_rollback_trains_again(project: Project) -> None:
    """What was promoted for it is out of service: the next window of the same drift is no old news any more."""
    project.serve(project.models.weak)
    project.configure(triggers={"cooldown": "0s"})
    project.metrics(drift=0.5)
    assert project.json("check")["action"] == "train"
    assert project.run("promote").returncode == 0
    project.metrics(drift=0.5)
    assert project.json("check")["reason"] == "not_rearmed"
    assert project.run("rollback").returncode == 0
    project.train(f"cp {project.models.fair} $(RETRAIN_CHALLENGER)")
    project.metrics(drift=0.5)
    again = project.json("check")
    assert (again["action"], again["run"]["outcome"]) == ("train", "succeeded")


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"promotion": {"probation": "12h"}, "triggers": {"settle": "24h"}}, "no window would ever count"),
        ({"promotion": {"probation": "7d"}, "triggers": {"performance_threshold": None}}, "needs F1"),
    ],
)
def test_a_probation_that_could_never_act_is_refused(project: Project, sections: dict[str, Any], words: str) -> None:
    """Exit 2."""
    project.configure(**sections)
    done = project.run("check")
    assert done.returncode == 2
    assert words in done.stderr


# ---------------------------------------------------------------- the gate


def test_doctor_proves_that_the_gate_can_say_no(project: Project) -> None:
    """Exit 0 and a finding for each control; nothing is written, and no comparison is used."""
    project.serve(project.models.weak)
    before = project.files()
    said = project.json("doctor")
    assert project.files() == before
    assert all(each["ok"] for each in said["findings"])
    gate = [each["message"] for each in said["findings"] if each["what"] == "gate"]
    assert len(gate) == 5
    assert project.run("doctor").returncode == 0
    assert project.json("promote", str(project.models.strong), "--dry-run")["look"] == 1


def test_doctor_finds_a_gate_that_promotes_a_control(project: Project) -> None:
    """A holdout with its labels turned round: shuffled predictions do better than the champion. Exit 1, and why."""
    project.serve(project.models.strong)
    rows = pd.read_csv(project.models.holdout)
    rows.assign(y=1 - rows["y"]).to_csv(project.root / "data/holdout.csv", index=False)
    done = project.run("doctor")
    assert done.returncode == 1
    assert "FAIL  gate           would promote the champion with its predictions shuffled" in done.stdout
    assert "promotion.target" in done.stdout


@pytest.mark.parametrize(
    ("promotion", "words"),
    [
        ({"positive": "yes"}, "no row has the positive label 'yes'"),
        ({"slices": ["nope"]}, "has no column 'nope', which promotion.slices names"),
        ({"slices": ["a"]}, "a slice column needs few"),
    ],
)
def test_doctor_finds_a_gate_that_can_judge_nobody(project: Project, promotion: dict[str, Any], words: str) -> None:
    """What every promote would run into."""
    project.serve(project.models.weak)
    project.configure(promotion=promotion)
    done = project.run("doctor")
    assert done.returncode == 1
    assert words in done.stdout


@pytest.mark.own_process
def test_a_model_that_spoils_the_answer_is_no_bug(project: Project) -> None:
    """It writes into every open file of its process: exit 1 with a sentence, and nothing is left beside its module."""
    (project.root / "loud.py").write_text(
        "import os\nclass Loud:\n    def predict(self, rows):\n        for file in range(3, 256):\n            try:\n"
        "                os.write(file, b'garbage\\n')\n            except OSError:\n                pass\n"
        "        return [1] * len(rows)\n"
    )
    make = "import joblib, loud; joblib.dump(loud.Loud(), 'models/champion.joblib')"
    subprocess.run([sys.executable, "-B", "-c", make], cwd=project.root, env={"PYTHONPATH": "."}, check=True)
    done = project.run("doctor", PYTHONDONTWRITEBYTECODE="")
    assert done.returncode == 1
    assert "answer of the scoring process cannot be read" in done.stdout
    assert not (project.root / "__pycache__").exists()


def test_a_probation_with_nothing_to_go_back_to_trains(project: Project) -> None:
    """The version before is gone: no rollback is tried in vain for days."""
    on_probation(project)
    before = project.json("status")["previous"][0]
    (project.root / f"models/versions/{before}.joblib").unlink()
    project.metrics(f1=0.75)
    assert project.json("check", "--dry-run")["action"] == "train"


def test_rows_that_are_known_anew_are_counted_anew(project: Project) -> None:
    """The same bytes, trained on other rows: the recorded verdict does not answer for these."""
    project.serve(project.models.weak)
    with_training_data(project, other_rows)
    assert project.json("promote", "--dry-run")["verdict"] == "promote"
    assert project.run("promote", "--reject", "--reason", "test").returncode == 0
    with_training_data(project, all_rows)
    refused = project.run("promote")
    assert refused.returncode == 1
    assert "was trained on 3,000" in refused.stderr
    project.metrics(f1=0.5)
    (project.root / "data/training.csv").unlink()
    project.train(f"cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    assert "its training rows are not known" in project.json("check")["message"]
    assert "it is not known on which rows" in project.run("promote").stderr
