"""README, --help, config.yaml, crontab.example and the exit codes say the same."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

from retrain.config import load
from retrain.config.schema import HoldoutKind
from retrain.errors import Exit
from tests.conftest import real
from tests.documents import GUIDE, README, ROOT, blocks, commands
from tests.stories.project import on_a_terminal, run_here


def help_of(*words: str) -> str:
    done = run_here(ROOT, [*words, "--help"], os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_is_short() -> None:
    """A newcomer reads it to its end: about 1,000 words, transcripts and tables included."""
    assert len([word for word in README.split() if re.search(r"\w", word)]) <= 1100


def test_the_readme_has_every_command_and_only_flags_that_exist() -> None:
    """The table of commands is the list in --help; of the flags it has those that a newcomer needs."""
    table = dict(re.findall(r"^\| `retrain (\w+)[^`]*` \| (.*) \|$", README, re.M))
    listed = re.findall(r"^  (\w+)  ", help_of().partition("Commands:")[2].partition("Exit codes")[0], re.M)
    assert sorted(table) == sorted(listed)
    for command, text in table.items():
        usage = help_of(command).partition("Example:")[0]
        assert set(re.findall(r"--[a-z-]+", text)) <= set(re.findall(r"--[a-z-]+", usage)), command


def test_the_exit_codes_of_the_readme_are_those_of_the_code_and_of_help() -> None:
    """One table, three places."""
    listed = {int(code) for code in re.findall(r"^\| (\d+) \| ", README, re.M)}
    assert listed == {int(code) for code in Exit}
    by_help = help_of().partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"\b(\d+) +[a-z]", by_help)} == listed
    assert "128+N" in README
    assert "128+N" in by_help


def test_the_configuration_of_the_readme_is_complete_and_loads(tmp_path: Path) -> None:
    """A user may start from these lines."""
    (written,) = blocks(README, "yaml")
    (tmp_path / "config.yaml").write_text(written)
    config, _ = load(tmp_path / "config.yaml", {})
    assert config.triggers.performance_threshold == 0.85
    assert config.promotion.holdout is HoldoutKind.FRESH
    assert set(yaml.safe_load(written)) <= set(yaml.safe_load((ROOT / "config.yaml").read_text()))


def test_the_cron_lines_of_the_readme_are_those_of_the_example() -> None:
    """An operator copies either."""
    example = re.sub(r"[ \t]+", " ", (ROOT / "crontab.example").read_text())
    (lines,) = blocks(README, "crontab")
    for line in lines.splitlines():
        assert re.sub(r"[ \t]+", " ", line) in example


def test_every_link_of_the_readme_leads_to_a_file_and_every_topic_is_linked() -> None:
    """The way from the README into the guide."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    for link in links:
        assert (ROOT / link).exists(), link
    assert {f"src/retrain/guide/{topic}.md" for topic in GUIDE} <= set(links)


@pytest.mark.usefixtures("scored_here")
def test_the_first_model_is_had_as_the_readme_says(tmp_path: Path) -> None:
    """Its configuration and a training, no log and no monitor yet: doctor and a dry run, then the two commands."""
    (tmp_path / "config.yaml").write_text(blocks(README, "yaml")[0].replace("9109", str(free_port())))
    (tmp_path / "Makefile").write_text(f"train-model:\n\t{sys.executable} -m retrain.demo.train\n")
    subprocess.run([sys.executable, "-m", "retrain.demo.world", "start"], cwd=tmp_path, check=True)

    run = partial(run_here, tmp_path, environment=os.environ)
    doctor = run(["doctor"])
    assert doctor.returncode == Exit.FAILED
    assert "cannot be reached" in doctor.stdout + doctor.stderr
    assert run(["check", "--dry-run", "-v"]).returncode == Exit.UNKNOWN
    for command in commands("".join(f"```sh\n{block}```\n" for block in blocks(README, "sh")[1:])):
        done = run(command[1:])
        assert done.returncode == Exit.DONE, done
    assert (tmp_path / "models/champion.joblib").is_symlink()


@pytest.mark.long
def test_make_demo_runs_as_the_readme_shows(tmp_path: Path) -> None:
    """The whole tour, with the shipped files, and a terminal shows the README's transcript but for the numbers.

    Only the port differs, which may be taken on this machine.
    """
    for name in ("config.yaml", "Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("127.0.0.1:9109", f"127.0.0.1:{free_port()}"))
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # `-o setup`: the environment that runs this test is the one that is used.
    code, said = on_a_terminal([real("make"), "-o", "setup", "demo"], tmp_path, {**os.environ, "NO_COLOR": "1"})
    assert code == 0, said
    said = masked(said.replace("\r\n", "\n"))
    (transcript,) = blocks(README, "console")
    for block in transcript.strip().split("\n\n"):
        command, _, shown = masked(block).partition("\n")
        assert command.removeprefix("$ ") in said
        assert shown in said, shown


def masked(text: str) -> str:
    """The text without what differs from run to run or machine to machine: versions, numbers, paths of programs."""
    return re.sub(r"\d+", "#", re.sub(r"\b[0-9a-f]{12}\b", "VERSION", text.replace(".venv/bin/", "")))


def free_port() -> int:
    """A port that no other test is given: below those that the kernel hands out, and by the number of this process."""
    for port in range(10_000 + os.getpid() % 20_000, 32_768):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("every port is taken")
