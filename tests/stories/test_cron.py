"""crontab.example: what it says, its commands in cron's bare environment, and all of it under a real cron daemon."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stories.cron_daemon import cron
from tests.stories.project import CHAMPION, RETRAIN, Models, Project, until

EXAMPLE = Path(__file__).parents[2] / "crontab.example"
VARIABLE = re.compile(r'(\w+)="?([^"]*)"?')
JOB = re.compile(r"(#?)([\d*/]+ [\d*/]+ [\d*/]+ [\d*/]+ [\d*/]+) (.+)")
DAYS = 24 * 60 * 60


@dataclass(frozen=True)
class Crontab:
    """The lines of a crontab: variables, and (schedule, command) of its jobs and of those that are commented out."""

    variables: Mapping[str, str]
    jobs: tuple[tuple[str, str], ...]
    offered: tuple[tuple[str, str], ...]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of it as cron does: with a home and these variables, and nothing else."""
        return subprocess.run(
            [self.variables["SHELL"], "-c", command],
            cwd="/",
            env={"HOME": os.environ["HOME"], "LOGNAME": "operator", **self.variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def commands(self) -> tuple[str, str, str]:
        """The commands that check, prune and promote."""
        (_, check), (_, prune), (_, promote), _ = self.jobs + self.offered
        return check, prune, promote


def parse(text: str) -> Crontab:
    """The crontab; every line that is neither empty nor a comment must be a variable or a job."""
    variables: dict[str, str] = {}
    jobs: dict[str, list[tuple[str, str]]] = {"": [], "#": []}
    for line in text.splitlines():
        if job := JOB.fullmatch(line):
            jobs[job[1]].append((job[2], job[3]))
        elif line and not line.startswith("#"):
            variable = VARIABLE.fullmatch(line)
            assert variable, line
            variables[variable[1]] = variable[2]
    return Crontab(variables, tuple(jobs[""]), tuple(jobs["#"]))


def example_for(project: Project) -> str:
    """The example as an operator has it: `retrain recipe cron` prints it for a project."""
    return str(project.json("recipe", "cron")["text"]).replace(str(RETRAIN.parent), f"{project.root}/.venv/bin")


def equip(project: Project) -> Project:
    """The project, with retrain installed where the example looks for it."""
    (project.root / ".venv").symlink_to(sys.prefix)
    return project


@pytest.fixture
def crontab(project: Project) -> Crontab:
    return parse(example_for(equip(project)))


def test_the_example_is_these_lines() -> None:
    """Absolute paths, cron's variables, a check every 5 minutes, pruning once a month; the rest is only offered."""
    example = parse(EXAMPLE.read_text())
    assert example.variables == {
        "SHELL": "/bin/sh",
        "PATH": "/srv/churn/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "MAILTO": "root",
        "CONTENT_TYPE": "text/plain; charset=utf-8",
    }
    assert example.jobs == (
        ("*/5 * * * *", "/srv/churn/.venv/bin/retrain check -c /srv/churn/config.yaml"),
        ("40 4 1 * *", "/srv/churn/.venv/bin/retrain prune -q -c /srv/churn/config.yaml"),
    )
    assert example.offered == (
        ("13 * * * *", "/srv/churn/.venv/bin/retrain promote --if-pending -c /srv/churn/config.yaml"),
        ("*/5 * * * *", "flock -nF /srv/churn /srv/churn/.venv/bin/retrain monitor -c /srv/churn/config.yaml"),
    )


def test_every_command_is_silent_when_there_is_nothing_to_do(crontab: Crontab) -> None:
    """From any directory and in a bare environment each command exits 0 and writes nothing: cron mails every byte."""
    for command in crontab.commands:
        done = crontab.run(command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command


def test_only_old_logs_are_deleted(project: Project, crontab: Crontab) -> None:
    """Outputs of trainings go after 90 days; younger ones and everything else in state/ stay."""
    check, prune, _ = crontab.commands
    crontab.run(check)
    state = project.root / "state"
    before = {path for path in state.rglob("*") if path.is_file()}
    ages = {"runs/old.log": 91, "runs/young.log": 89, "runs/old.txt": 91, "old.log": 91}
    for name, days in ages.items():
        (state / name).touch()
        os.utime(state / name, (time.time(), time.time() - days * DAYS))
    pruned = crontab.run(prune)
    assert (pruned.returncode, pruned.stdout, pruned.stderr) == (0, "", "")
    kept = {state / name for name in ages if name != "runs/old.log"}
    assert {path for path in state.rglob("*") if path.is_file()} == before | kept


def test_the_offered_line_promotes_once(project: Project, crontab: Crontab) -> None:
    """A challenger that training left is promoted with one line to mail; after that there is silence."""
    check, _, promote = crontab.commands
    project.serve(project.models.weak)
    project.metrics(f1=0.78)
    assert crontab.run(check).returncode == 0
    first, second = crontab.run(promote), crontab.run(promote)
    assert (first.returncode, first.stdout.count("\n"), first.stderr) == (0, 1, "")
    assert first.stdout.startswith("promoted ")
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_closed_streams_do_not_keep_a_check_from_training(project: Project, crontab: Crontab) -> None:
    """Some silence a cron job with `>&- 2>&-`: the training and the exit code are the same as ever."""
    check, _, _ = crontab.commands
    project.metrics(f1=0.78)
    assert crontab.run(f"{check} <&- >&- 2>&-").returncode == 0
    assert project.json("status")["challenger"]


def test_what_the_encoding_lacks_is_escaped(project: Project, crontab: Crontab) -> None:
    """A message is told in any locale: a letter that it lacks is escaped, and is no bug."""
    check, _, _ = crontab.commands
    project.metrics(f1=0.78)
    assert crontab.run(f"{check} --force --reason 'größer als 7 µs ✓'").returncode == 0
    status = check.replace(" check ", " status ")
    done = crontab.run(f"PYTHONIOENCODING=latin-1 {status} | iconv -f latin1 -t utf8")
    assert ("größer als 7 µs \\u2713" in done.stdout, done.stderr) == (True, "")


def test_cron_mails_news_and_nothing_else(tmp_path: Path, models: Models) -> None:
    """Under a real cron a breach trains, in its bare environment, and mails one line; a failure mails one, health none.

    The jobs start with cron, not with the next minute. That cron understands the lines of the example is tried, too.
    """
    healthy, breached, failing = (_project(tmp_path / name, models) for name in ("healthy", "breached", "failing"))
    breached.train("env > environment", f"cp {models.strong} $(RETRAIN_CHALLENGER)")
    breached.metrics(f1=0.78)
    failing.train("@echo 'zu groß: 7 µs'; exit 3")
    failing.metrics(f1=0.78)
    at_once = [example_for(each).replace("\n*/5 * * * * ", "\n@reboot ") for each in (healthy, breached, failing)]
    (tmp_path / "crontab").write_text("\n".join(at_once))

    with cron(tmp_path / "cron", EXAMPLE, tmp_path / "crontab") as daemon:
        until(lambda: len(daemon.received()) >= 2, seconds=100)
        until(daemon.is_idle)
        mails = daemon.received()

    assert healthy.json("status")["last_check"]["reason"] == "healthy"
    of_breach, of_failure = sorted(mails, key=lambda mail: str(mail["Subject"]))
    assert of_breach["To"] == "root"
    assert of_breach["Subject"].endswith(f" check -c {breached.root}/config.yaml")
    assert of_failure["Subject"].endswith(f" check -c {failing.root}/config.yaml")
    what = r"training: F1 0\.780 is below 0\.850; "
    assert re.fullmatch(rf"{what}trained in .*, challenger \w{{12}} waits .*\n", of_breach.get_content())
    assert re.fullmatch(rf"{what}training failed: .*: zu groß: 7 µs \(log: .*\n", of_failure.get_content())
    trained_with = dict(line.split("=", 1) for line in (breached.root / "environment").read_text().splitlines())
    assert "VIRTUAL_ENV" not in trained_with
    assert trained_with["PATH"] == parse(example_for(breached)).variables["PATH"]
    assert trained_with["PWD"] == str(breached.root)


def _project(root: Path, models: Models) -> Project:
    root.mkdir()
    return equip(Project(root, models))
