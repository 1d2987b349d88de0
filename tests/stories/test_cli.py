"""The command line: every exit code of the contract through the installed command, JSON failures, help, streams."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
import requests

from retrain.cli import retrain
from retrain.config.load import parse_rule, parse_span
from retrain.core.rules import Triggers
from retrain.errors import Exit, Report
from retrain.output import Output
from tests.documents import GUIDE, blocks, section
from tests.stories.project import RETRAIN, Models, Project, end, on_a_terminal, run_here


@pytest.mark.own_process
def test_every_exit_code_of_the_contract(project: Project) -> None:
    """0 1 2 4 10 11 here, 75 and 128+N in test_check, 3 below: each through the installed command."""
    project.serve(project.models.fair)
    assert project.run("check").returncode == 0
    assert project.run("promote").returncode == 1
    assert project.run("check", "--nonsense").returncode == 2
    assert project.run("check", "-c", "nowhere.yaml").returncode == 2
    project.metrics(f1=None)
    assert project.run("check").returncode == 4
    assert project.run("promote", str(project.models.weak)).returncode == 10
    project.configure(promotion={"alpha": 1e-12, "min_improvement": 0.01})
    assert project.run("promote", str(project.models.strong)).returncode == 11


def test_a_machine_that_runs_out_of_files_is_no_bug(project: Project) -> None:
    """Exit 1 and a sentence, wherever in a check it is that no more can be opened, and 0 where there are enough."""
    codes = []
    for most in (6, 7, 8, 9, 10, 20):
        command = f"ulimit -n {most}; exec {shlex.quote(str(RETRAIN))} check"
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=project.root,
            env=project.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done
        assert done.returncode == 0 or done.stderr, done
        assert "a bug in retrain" not in done.stderr, done
        codes.append(done.returncode)
    assert codes[-1] == 0


@pytest.mark.own_process
def test_a_bug_exits_3_with_one_line_and_the_path_of_its_traceback(project: Project, tmp_path: Path) -> None:
    """A standard library that breaks under us is nothing we expect; no traceback reaches the terminal."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sqlite3\ndef connect(*a, **k): raise ZeroDivisionError('boom')\nsqlite3.connect = connect\n"
    )
    (tmp_path / "tmp").mkdir()
    done = project.run("check", PYTHONPATH=str(broken), TMPDIR=str(tmp_path / "tmp"))
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    (report,) = (tmp_path / "tmp").iterdir()
    assert str(report) in done.stderr
    assert "ZeroDivisionError: boom" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("check", "-c", "nowhere.yaml"), 2),
        (("check", "--force"), 2),
        (("check", "--nonsense"), 2),
        (("promote",), 1),
        (("rollback",), 1),
        (("promote", "--reject", "--reason", "x"), 1),
    ],
)
def test_with_json_a_failure_is_one_object_too(project: Project, words: tuple[str, ...], code: int) -> None:
    """{"error": ..., "exit_code": n} on standard output, and nothing on standard error."""
    done = project.run(*words, "--json")
    assert done.returncode == code
    said = json.loads(done.stdout)
    assert set(said) == {"error", "exit_code"}
    assert said["exit_code"] == code
    assert done.stderr == ""


def test_json_of_unknown_metrics_is_the_decision(project: Project) -> None:
    """A check without metrics is a decision, not an error: reason unknown, exit 4."""
    project.metrics(f1=None)
    done = project.run("check", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["reason"] == "unknown"


def shape(value: object) -> object:
    """The keys of an object, and of the objects in it."""
    if isinstance(value, dict):
        return {key: shape(below) for key, below in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_the_json_of_the_guide_is_what_the_commands_say(project: Project) -> None:
    """Other programs are written against it: every key of both objects, at every depth."""
    project.serve(project.models.weak)
    project.metrics(f1=0.5, drift=0.9)
    for command in ("check", "promote"):
        (shown,) = blocks(section(GUIDE["json"], command), "json")
        assert shape(project.json(command)) == shape(json.loads(shown) | {"name": project.root.name})
    (failure,) = blocks(section(GUIDE["json"], "The objects that --json prints"), "json")
    assert shape(project.json("promote", "nosuch")) == shape(json.loads(failure))


def test_wrong_configuration_lists_everything_at_once(project: Project) -> None:
    """Every error with path and line, and exit 2; nothing is made."""
    (project.root / "config.yaml").write_text("triggers:\n  performance_treshold: 0.85\n  cooldown: 6\nmonitorin: {}\n")
    done = project.run("check")
    assert done.returncode == 2
    for words in (
        "config.yaml:2",
        "did you mean performance_threshold",
        "config.yaml:3",
        "config.yaml:4",
        "monitoring",
    ):
        assert words in done.stderr
    assert not (project.root / "state").exists()


def test_a_path_that_names_no_file_is_a_wrong_flag(project: Project) -> None:
    """One that is too long; and an empty one, which an unset variable leaves: it is not all that lies here."""
    for command in ("check", "status", "prune", "history"):
        done = project.run(command, "-c", "x" * 300)
        assert (done.returncode, "xx: cannot be read: File name too long" in done.stderr) == (2, True), done
    assert project.run("init", "-c", "x" * 300).returncode == 1
    before = project.files()
    for words in (
        *(["check", "-c", ""], ["-c", "", "check"], ["promote", "--report", ""], ["promote", ""]),
        *(["backtest", ""], ["rehearse", ""], ["init", ""], ["init", "--monitor", ""]),
    ):
        done = project.run(*words)
        assert done.returncode == 2, done
        assert "is empty and names no file (an unset variable?)" in done.stderr
    assert project.files() == before


def test_the_configuration_is_found_by_flag_and_by_environment(project: Project, tmp_path: Path) -> None:
    """-c and RETRAIN_CONFIG; paths in it are relative to the file, wherever the command runs."""
    project.metrics(f1=0.78)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config = str(project.root / "config.yaml")
    done = subprocess.run(
        [RETRAIN, "check"], cwd=elsewhere, env={**project.environment, "RETRAIN_CONFIG": config}, check=False
    )
    assert done.returncode == 0
    assert (project.root / "models/challenger.joblib").exists()
    assert list(elsewhere.iterdir()) == []
    status = [str(RETRAIN), "status", "-c", config]
    assert "challenger" in subprocess.run(status, cwd=elsewhere, capture_output=True, text=True, check=True).stdout


def test_a_terminal_changes_presentation_only(project: Project) -> None:
    """On a terminal a healthy check says so, and a training's output is shown; cron's silence is unchanged after it."""
    project.train("echo epoch 7", f"cp {project.models.strong} $(RETRAIN_CHALLENGER)")
    assert "healthy" in at_a_terminal(project, "check")
    assert project.run("check").stdout == ""
    project.metrics(f1=0.78)
    said = at_a_terminal(project, "check")
    assert "epoch 7" in said
    assert "trained in" in said


def test_a_promotion_shows_its_progress_on_a_terminal_only(project: Project) -> None:
    """Long work has a bar where a person reads; elsewhere there is none."""
    project.serve(project.models.weak)
    assert "scoring on the holdout" in at_a_terminal(project, "promote", str(project.models.strong))
    assert project.run("promote", str(project.models.fair)).stderr == ""


def test_status_works_before_anything_has_happened_and_writes_nothing(project: Project) -> None:
    """One screen, also in an empty project."""
    before = project.files()
    done = project.run("status")
    assert done.returncode == 0
    assert "none serves yet" in done.stdout
    assert project.files() == before
    assert set(project.json("status")) >= {"champion", "challenger", "last_check", "held_back", "events"}


def test_status_shows_what_holds_training_back_and_until_when(project: Project) -> None:
    """Why is nothing happening, and what happens next."""
    project.serve(project.models.weak)
    project.metrics(f1=0.78)
    project.run("check")
    project.metrics(f1=0.78)
    project.run("check")
    waiting = project.run("status").stdout
    assert "waits to be judged" in waiting
    assert "trains nothing before " in waiting
    project.run("promote")
    cooling = project.run("status").stdout
    assert "cooldown is 6 h" in cooling
    assert "promoted" in cooling
    assert "retrain rollback" in cooling


def test_monitor_serves_until_it_is_stopped(project: Project) -> None:
    """`retrain monitor` announces its address, answers, and ends with 128 + N."""
    rows = "".join(f"{time.time() - 90000 + n},1,{n % 2},0.5\n" for n in range(40))
    (project.root / "data/predictions.csv").write_text("timestamp,prediction,label,a\n" + rows)
    process = project.start("monitor", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("serving http://127.0.0.1:")
    assert "model_labelled_samples" in requests.get(line.split()[1], timeout=30).text
    code, _, _ = end(process)
    assert code == 128 + signal.SIGTERM


def test_the_monitor_of_another_project_is_not_believed(project: Project, models: Models) -> None:
    """Two projects, one port: whoever came second knows nothing, and says so, by whatever path the first is reached."""
    rows = "".join(f"{time.time() - 90000 + n},1,{n % 2},0.5\n" for n in range(40))
    for name in ("one", "two"):
        (project.root / name).mkdir()
    one, two = (Project(project.root / name, models, installed=False) for name in ("one", "two"))
    process = one.start("monitor", "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    url = process.stderr.readline().split()[1]
    queries: dict[str, Any] = {"type": "metrics", "f1": "model_f1_score", "drift": None, "observed_at": {}}
    for each in (one, two):
        each.configure(triggers={"drift_threshold": None}, monitoring={"url": url, **queries})
        (each.root / "data/predictions.csv").write_text("timestamp,prediction,label,a\n" + rows)
    one.serve(models.fair)
    two.serve(models.fair)
    done = two.run("check")
    assert (done.returncode, "is the monitor of the project one," in done.stderr) == (4, True), done
    assert "monitor.listen and monitoring.url" in two.run("doctor").stdout
    assert one.run("check", "--dry-run", "-v").stdout.startswith("training: F1 0.667 is below 0.850")
    (project.root / "link").symlink_to("one")
    assert run_here(project.root, ["check", "--dry-run", "-c", "link/config.yaml"], {}).returncode == 0
    (two.root / "data/predictions.csv").unlink()  # a project without a log of its own may read any monitor
    assert two.run("check", "--dry-run").returncode == 0
    (one.root / "data/predictions.csv").rename(two.root / "data/predictions.csv")  # what it served, it goes on serving
    assert two.run("check", "--dry-run").returncode == 4
    assert one.run("check", "--dry-run").returncode == 0
    end(process)


def test_a_reader_that_goes_away_is_no_bug(project: Project) -> None:
    """`retrain status | head` ends quietly."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [RETRAIN, "status"], cwd=project.root, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["status"], ["check", "--json"], ["check", "-v"]])
def test_a_full_disk_under_our_output_is_no_bug(project: Project, words: list[str]) -> None:
    """Exit 1, no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [RETRAIN, *words], cwd=project.root, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_secret_that_looks_like_a_number_does_not_break_the_json(project: Project) -> None:
    """Only sentences are scrubbed."""
    project.configure(monitoring={"headers": {"X-Tenant": "${TENANT}"}})
    done = project.run("check", "--json", TENANT="hold")
    assert json.loads(done.stdout)["action"] == "hold"


def at_a_terminal(project: Project, *words: str, code: int = 0, **environment: str) -> str:
    """What a person at a terminal sees of a command that ends with this code."""
    environment = {**project.environment, "TERM": "xterm", **environment}
    found, said = on_a_terminal([RETRAIN, *words], project.root, environment)
    assert found == code, said
    return said


def coloured(number: int, word: str) -> str:
    """The word in bold and this colour of ANSI: 31 red, 32 green, 33 yellow."""
    return f"\x1b[{number}m\x1b[1m{word}\x1b[0m"


def test_a_terminal_has_colours_and_nothing_else_has(project: Project) -> None:
    """The state of `status`, failures of `doctor`, the verdict of `promote`; never with NO_COLOR or in a pipe."""
    project.serve(project.models.fair)
    assert coloured(33, "UNKNOWN") + ":" in at_a_terminal(project, "status")
    project.run("check")
    assert coloured(32, "HEALTHY") + ":" in at_a_terminal(project, "status")
    assert project.run("promote", str(project.models.weak)).returncode == Exit.REJECTED
    rejected = at_a_terminal(project, "promote", str(project.models.weak), code=Exit.REJECTED)
    assert coloured(31, "rejected") in rejected
    assert "\x1b" not in at_a_terminal(project, "status", NO_COLOR="1")
    assert "\x1b" not in at_a_terminal(project, "status", TERM="dumb")
    assert "\x1b" not in project.run("status").stdout
    assert "\x1b" not in project.run("status", "--json").stdout
    project.configure(promotion={"target": "nosuch"})
    assert coloured(31, "FAIL") in at_a_terminal(project, "doctor", code=Exit.FAILED)
    assert "\x1b" not in project.run("doctor").stdout


def test_what_is_printed_cannot_drive_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and control characters of a label, a reason or a model are taken out; our line breaks stay."""
    output = Output(as_json=False, quiet=False, verbose=True)
    hostile = "\x1b]0;title\x07red \x1b[31mand\x1b[0m\rover \x9b2Jback\u202e"
    output.show(Report(f"one {hostile}\n\ttwo", {}, details=(hostile,)))
    output.fail(hostile, Exit.FAILED)
    output.say(hostile)
    clean = "red and over back "
    said = capsys.readouterr()
    assert said.out == f"one {clean}\n\ttwo\n{clean}\n"
    assert said.err == f"{clean}\nretrain: {clean}\n"


def test_a_reason_is_one_line_that_the_journal_can_hold(project: Project) -> None:
    """Line breaks and control characters become blanks, also a byte that is not UTF-8; blanks alone are no reason."""
    done = project.run("check", "--force", "--reason", "new\nlabels \x1b[31mof\x07 caf\udce9 4 ")
    assert done.returncode == 0, done
    assert done.stdout.count("\n") == 1
    assert "new labels of caf 4;" in done.stdout
    assert "forced: new labels of caf 4" in project.json("status")["events"][-1]["message"]
    assert project.run("check", "--force", "--reason", " \n").returncode == Exit.USAGE


def test_the_time_of_an_answer_is_known_where_that_of_its_window_is_not(project: Project) -> None:
    """`-v` says which of the two it shows."""
    project.settings["monitoring"].pop("observed_at")
    project.configure()
    assert " UTC (when the answer was written)" in project.run("check", "-v").stderr


@pytest.mark.parametrize(
    ("flag", "command", "text"),
    [("--json", "check", '{"action"'), ("-v", "check", "healthy: F1"), ("-q", "status", "")],
)
@pytest.mark.parametrize("before", [True, False])
def test_each_common_flag_is_understood_on_both_sides(
    project: Project, flag: str, command: str, text: str, before: bool
) -> None:
    """`retrain -v check` is `retrain check -v`: it prints though nothing changed, and -q keeps `status` silent."""
    done = project.run(*([flag, command] if before else [command, flag]))
    assert done.returncode == 0
    assert done.stdout.startswith(text)
    assert bool(done.stdout) == bool(text)


def test_the_summaries_of_the_commands_are_whole_on_80_columns(project: Project) -> None:
    """No summary is cut, and no line of any help is longer than a terminal."""
    for words in ([], *([name] for name in retrain.commands)):
        text = project.run(*words, "--help").stdout
        assert all(len(line) <= 80 for line in text.splitlines()), text
        if not words:
            assert "..." not in text.partition("Commands:")[2]


@pytest.mark.parametrize("name", retrain.commands)
def test_each_command_has_an_example_that_it_understands(name: str) -> None:
    """The last line of its help is one that it would run: its flags, durations, rules and topics are right."""
    command = retrain.commands[name]
    words = shlex.split((command.epilog or "").removeprefix("Example: "))
    assert words[:2] == ["retrain", name]
    values = command.make_context(name, words[2:]).params
    for rule in values.get("rules", ()):
        parse_rule(rule, Triggers(performance_threshold=0.85))
    if "older_than" in values:
        parse_span("--older-than", values["older_than"])
    if "topic" in values:
        assert values["topic"] in GUIDE


@pytest.mark.parametrize(
    ("name", "option", "metavar"),
    [
        ("rollback", "version", "VERSION"),
        ("prune", "older_than", "DURATION"),
        ("backtest", "rules", "RULE"),
        ("backtest", "every", "DURATION"),
        ("check", "config", "FILE"),
    ],
)
def test_help_names_what_a_flag_takes(name: str, option: str, metavar: str) -> None:
    """Not TEXT where a version, a duration or a rule is meant."""
    (found,) = (each for each in retrain.commands[name].params if each.name == option)
    assert isinstance(found, click.Option)
    assert found.metavar == metavar


def test_the_package_runs_as_a_module_too() -> None:
    """`python -m retrain` is `retrain`."""
    done = subprocess.run([sys.executable, "-m", "retrain", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("retrain, version ")


def test_the_common_flags_may_stand_before_the_command(project: Project) -> None:
    """`retrain -c FILE --json status` is `retrain status -c FILE --json`; a file named behind the command wins."""
    (project.root / "config.yaml").rename(project.root / "churn.yaml")
    before = project.run("-c", "churn.yaml", "--json", "status")
    assert json.loads(before.stdout)["champion"] is None
    assert project.run("-c", "nosuch.yaml", "status", "-c", "churn.yaml").returncode == 0
    assert project.run("-c", "nosuch.yaml", "status").returncode == 2
