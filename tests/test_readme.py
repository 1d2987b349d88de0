"""README, --help, config.yaml, crontab.example and the exit codes tell the same truth."""

import re
import shutil
import socket
import subprocess
import sys
from math import floor, log10
from pathlib import Path

import pytest
import yaml

from retrain.config import load
from retrain.errors import Exit
from tests import simulations
from tests.conftest import real

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RETRAIN = Path(sys.executable).with_name("retrain")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def help_of(*words: str) -> str:
    done = subprocess.run([RETRAIN, *words, "--help"], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_every_command_and_flag_of_the_readme_exists_and_none_is_left_out() -> None:
    """The table of commands is the list in --help, with every flag of each."""
    table = dict(re.findall(r"^\| `retrain (\w+)[^`]*` \| (.*) \|$", README, re.M))
    listed = re.findall(r"^  (\w+)  ", help_of().partition("Commands:")[2].partition("Exit codes")[0], re.M)
    assert sorted(table) == sorted(listed)
    shared = {"--config", "--quiet", "--verbose", "--json", "--help"}
    for command, text in table.items():
        flags = set(re.findall(r"--[a-z-]+", help_of(command))) - shared
        flags -= {"--force"} if command == "promote" and "--force" not in text else set()
        assert set(re.findall(r"--[a-z-]+", text)) == flags, command


def test_the_exit_codes_of_the_readme_are_those_of_the_code_and_of_help() -> None:
    """One table, three places."""
    told = {int(code) for code in re.findall(r"^\| (\d+) \| ", README, re.M)}
    assert told == {int(code) for code in Exit}
    told_by_help = help_of().partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", told_by_help)} == told
    assert "128+N" in README
    assert "128+N" in told_by_help


def test_the_configuration_of_the_readme_is_complete_and_loads(tmp_path: Path) -> None:
    """A user may start from these lines."""
    (tmp_path / "config.yaml").write_text(blocks("yaml")[0])
    config, _ = load(tmp_path / "config.yaml", {})
    assert config.triggers.performance_threshold == 0.85
    assert config.promotion.holdout == tmp_path / "data/holdout.csv"
    keys = yaml.safe_load(blocks("yaml")[0])
    assert set(keys) <= set(yaml.safe_load((ROOT / "config.yaml").read_text()))


def test_the_cron_lines_of_the_readme_are_those_of_the_example() -> None:
    """An operator copies either."""
    example = re.sub(r"[ \t]+", " ", (ROOT / "crontab.example").read_text())
    for line in blocks("crontab")[0].splitlines():
        assert re.sub(r"[ \t]+", " ", line) in example


def test_every_file_that_the_readme_names_is_there() -> None:
    """Links and the map of the rooms."""
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
    rooms = README.partition("## The map of the rooms")[2].partition("```\n")[2].partition("```")[0]
    for line in rooms.splitlines()[1:]:
        for name in re.findall(r"\b\w+(?:\.py|/)", line.split("   ")[0]):
            assert (ROOT / "src/retrain" / name).exists(), name


def test_make_demo_runs_as_the_readme_shows(tmp_path: Path) -> None:
    """The whole tour, with the shipped files, and its output is the README's transcript but for the numbers.

    Only the port differs, which may be taken on this machine.
    """
    for name in ("config.yaml", "Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("127.0.0.1:9109", f"127.0.0.1:{port}"))
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # `-o setup`: the environment that runs this test is the one that is used.
    done = subprocess.run(
        [real("make"), "-o", "setup", "demo"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    said = masked(done.stdout)
    for block in blocks("console")[0].strip().split("\n\n"):
        command, *lines = masked(block).splitlines()
        assert command.removeprefix("$ ") in said
        for line in lines:
            assert line in said, line


def test_the_backtest_of_the_readme_is_what_it_prints(tmp_path: Path) -> None:
    """The seeded history, replayed with the shipped configuration, to the letter."""
    history = tmp_path / "history.csv"
    with history.open("w") as file:
        subprocess.run([sys.executable, "-m", "tests.simulations.history"], cwd=ROOT, stdout=file, check=True)
    shutil.copy(ROOT / "config.yaml", tmp_path)
    said = subprocess.run(
        [RETRAIN, "backtest", "history.csv"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert blocks("console")[1] == f"$ retrain backtest history.csv\n{said.stdout}"


def test_the_figures_of_the_readme_are_those_of_the_simulations() -> None:
    """Each is within the Monte Carlo error of a faster run of the same simulation (`make simulations` has them all)."""
    tables = [simulations.triggers.table(next(iter(simulations.triggers.MONITORS)), 0.1)]
    tables.append(simulations.promotions.table(0.1))
    tables.append(simulations.probation.table(next(iter(simulations.probation.PACES)), 0.2))
    rows = {row: list(figures.values()) for table in tables for row, figures in table.items()}
    for row, figures in rows.items():
        (line,) = re.findall(rf"^\| {re.escape(row)} \| (.+) \|$", README, re.M)
        for cell, figure in zip(line.split(" | "), figures, strict=True):
            shown = float(cell.replace(",", ""))
            rounding = 0.5 * 10 ** (floor(log10(shown)) - 2)  # three digits are shown
            assert abs(shown - figure.value) <= 2 * figure.half + rounding, (row, cell, figure)


def masked(text: str) -> str:
    """The text without what differs from run to run or machine to machine: versions, numbers, paths of programs."""
    return re.sub(r"\d+", "#", re.sub(r"\b[0-9a-f]{12}\b", "VERSION", text.replace(".venv/bin/", "")))


@pytest.mark.parametrize("words", ["make demo", "make test", "make lint", "make simulations"])
def test_the_makes_of_the_readme_exist(words: str) -> None:
    """Each is a target that `make help` lists."""
    assert words in "\n".join(blocks("sh"))
    listed = subprocess.run([real("make"), "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^{words.split()[1]} ", listed.stdout, re.M)
