"""The guide: shown by `retrain guide`, part of the package, and true."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from math import floor, log10
from pathlib import Path

import click
import pytest
import yaml

from retrain.cli import retrain
from retrain.config import load
from retrain.core.bounds import WORSE_LATER
from retrain.core.events import Checked, Entry
from retrain.core.families import families as core_families
from retrain.core.kinds import Kind
from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Counts, Outcome, Reason, Signal, State
from retrain.core.score import Quality
from retrain.exporter.measure import Drift, Measures
from retrain.exporter.psi import Shift
from retrain.exporter.serve import families
from tests import simulations
from tests.conftest import real
from tests.demo.test_config_sample import schema
from tests.documents import DOCUMENTS, GUIDE, ROOT, blocks, commands, quoted, rows, section
from tests.simulations.probation import PACES
from tests.simulations.tables import markdown
from tests.stories.project import run_here
from tests.survival.__main__ import KINDS

RETRAIN = Path(sys.executable).with_name("retrain")
START = datetime(2026, 1, 1, tzinfo=UTC)
COMING = {"--repair"}
"""Flags that the texts describe and the program does not have yet."""


def guide(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What `retrain guide` does in this directory."""
    return run_here(directory, ("guide", *words), os.environ)


# ---------------------------------------------------------------- the command


def test_the_guide_lists_every_topic_without_a_configuration(tmp_path: Path) -> None:
    """A line each, from its first heading; nothing is written."""
    done = guide(tmp_path)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(GUIDE)
    for line, text in zip(done.stdout.splitlines(), GUIDE.values(), strict=True):
        assert text.startswith(f"# {line.split(maxsplit=1)[1]}\n")
        assert len(line) <= 80
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("topic", GUIDE)
def test_the_guide_shows_a_topic(tmp_path: Path, topic: str) -> None:
    """As it stands in the file, and as one object with --json."""
    assert guide(tmp_path, topic).stdout == GUIDE[topic]
    assert json.loads(guide(tmp_path, topic, "--json").stdout) == {"topic": topic, "text": GUIDE[topic]}


def test_the_guide_knows_its_topics_by_json(tmp_path: Path) -> None:
    """The list, for a program; with the keys that the guide shows."""
    said = json.loads(guide(tmp_path, "--json").stdout)
    assert list(said["topics"]) == list(GUIDE)
    shown, text = (json.loads(block) for block in blocks(section(GUIDE["json"], "guide"), "json"))
    assert set(shown) == set(said)
    assert shown["topics"].items() <= said["topics"].items()
    assert set(text) == {"topic", "text"}


@pytest.mark.parametrize("topic", GUIDE)
def test_a_topic_fits_a_terminal(topic: str) -> None:
    """Lines of prose break before the 80th column, and a text in backquotes is on one line."""
    prose = re.sub(r"^```.*?^```$", "", GUIDE[topic], flags=re.M | re.S)
    for line in prose.splitlines():
        assert line.startswith("|") or len(line) < 80, line
        assert line.count("`") % 2 == 0, line


def test_an_unknown_topic_is_a_wrong_flag_and_the_message_names_the_topics(tmp_path: Path) -> None:
    """Exit code 2."""
    done = guide(tmp_path, "nosuch")
    assert done.returncode == 2
    assert done.stdout == ""
    for topic in GUIDE:
        assert topic in done.stderr


def test_a_terminal_reads_a_topic_page_by_page(tmp_path: Path) -> None:
    """In the pager of the user; the list fits on a screen and needs none."""
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\necho PAGED\ncat\n")
    pager.chmod(0o755)
    for words, is_paged in ((["survival"], True), ([], False), (["survival", "--json"], False)):
        master, terminal = pty.openpty()
        done = subprocess.run(
            [RETRAIN, "guide", *words],
            env=os.environ | {"PAGER": str(pager), "TERM": "xterm"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            timeout=60,
            check=False,
        )
        os.close(terminal)
        said = os.read(master, 65536).decode()
        os.close(master)
        assert done.returncode == 0
        assert ("PAGED" in said) == is_paged
        assert "survive" in said


def test_the_wheel_has_every_topic_and_recipe(tmp_path: Path) -> None:
    """They come with the package."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        recipes = {f"retrain/recipes/{file.name}" for file in (ROOT / "src/retrain/recipes").glob("*.*")}
        assert {f"retrain/guide/{topic}.md" for topic in GUIDE} | recipes <= set(archive.namelist())


# ---------------------------------------------------------------- what a reader may type, set or follow


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_a_text_exists(document: str) -> None:
    """With each of its flags and their values; `make` with its targets, `retrain guide` with its topics."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for words in commands(DOCUMENTS[document]):
        if words[0] == "make":
            assert set(words[1:]) <= {*targets, "-n"}, words
            continue
        command, arguments = retrain.commands[words[1]], [word for word in words[2:] if word not in COMING]
        try:
            command.make_context(words[1], arguments)
        except click.MissingParameter:
            pass  # a sentence names the command
        except click.ClickException as error:
            pytest.fail(f"{' '.join(words)}: {error.format_message()}")
        if words[1] == "guide" and arguments:
            assert arguments[0] in {*GUIDE, "TOPIC", "[TOPIC]", "--json"}, words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_key_of_the_configuration_in_a_text_exists(document: str) -> None:
    """`triggers.max_age` and the like."""
    known = {path for path, _, _ in schema()}
    sections = {path.partition(".")[0] for path in known}
    named = [word for text in quoted(DOCUMENTS[document]) for word in re.findall(r"^[a-z]+\.[a-z_.0-9]+", text)]
    for word in named:
        if word.partition(".")[0] in sections and not (ROOT / word).exists():
            assert word in known, word


@pytest.mark.parametrize("topic", GUIDE)
def test_every_link_between_topics_leads_to_a_file(topic: str) -> None:
    """(`retrain guide TOPIC` in a sentence is one of the commands above.)"""
    for link in re.findall(r"\]\(([^)#:]+)\)", GUIDE[topic]):
        assert (ROOT / "src/retrain/guide" / link).exists(), link


def test_the_rules_of_the_guide_load(tmp_path: Path) -> None:
    """Beside the rest of the annotated sample."""
    (written,) = blocks(GUIDE["decisions"], "yaml")
    sample = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, keys in yaml.safe_load(written).items():
        sample[name] |= keys
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(sample))
    config, _ = load(tmp_path / "config.yaml", {})
    assert config.triggers.evidence is not None


# ---------------------------------------------------------------- tables that are closed lists in the code


def test_the_guide_explains_every_reason_of_a_check() -> None:
    """Those of `hold` in the table, the others below it."""
    others = {Reason.BREACH, Reason.MODEL_AGE, Reason.FORCED, Reason.PROBATION}
    listed = re.findall(r"^- `(\w+)`: ", section(GUIDE["decisions"], "check: train, or not"), re.M)
    assert sorted(listed) == sorted(set(Reason) - others)
    assert others <= set(quoted(GUIDE["decisions"]))
    explained = set(quoted(section(GUIDE["json"], "check")))
    assert set(Action) | set(Outcome) <= explained


def test_the_guide_names_every_kind_of_event() -> None:
    """As `notifications.events` and `history --kind` take them, and --json gives them."""
    assert set(Kind) <= set(quoted(section(GUIDE["operations"], "Notifications")))


def test_the_guide_names_every_series_of_the_exporter() -> None:
    """With the name that a query needs."""
    everything = Measures(
        Quality(1.0, 4, 0.5, Counts(1, 1, 1), (0.6, 0.4)),
        Drift(1.0, 4, {"a": Shift(0.1, 0.05)}, weighted=0.1),
        0.5,
        ("a problem",),
        {"future": 1},
    )
    text = section(GUIDE["monitoring"], "retrain monitor: an exporter for a log of predictions")
    assert set(re.findall(r"`(model_\w+)`", text)) == {family.name for family in families(everything)}


def test_the_guide_names_every_family_and_alert_of_retrain_itself() -> None:
    """No more and no less."""
    seen = Assessment(Signal.F1, State.HEALTHY, 0.9, 0.85)
    check = Entry(1, START, Checked(Action.HOLD, Reason.HEALTHY, "", "a" * 64, (seen,)))
    listed = rows(section(GUIDE["monitoring"], "Metrics of retrain itself"))
    found = core_families("p", Past(served="a" * 64, served_since=START), check, START)
    alerts = re.findall(r"alert: (\w+)", (ROOT / "src/retrain/recipes/prometheus.yml").read_text())
    named = {name.strip("`") for name in listed} - {"family", "alert"}
    assert named == {*alerts, *(family.name for family in found)}


def test_the_guide_names_every_variable_of_a_training(tmp_path: Path) -> None:
    """What a training finds in its environment, no more and no less."""
    (tmp_path / "config.yaml").write_text(
        "triggers: {max_model_age: 90d}\npromotion: {holdout: fresh}\nmonitor: {log: log.csv}\n"
    )
    logged = "".join(f"{number},{number % 2},{number % 2}\n" for number in range(500))
    (tmp_path / "log.csv").write_text(f"timestamp,label,prediction\n{logged}")
    (tmp_path / "Makefile").write_text("train-model:\n\tenv > variables\n")
    done = subprocess.run(
        [RETRAIN, "check", "--force", "--reason", "test"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    given = set(re.findall(r"^(RETRAIN_\w+)=", (tmp_path / "variables").read_text(), re.M))
    assert {name.strip("`") for name in rows(section(GUIDE["operations"], "The training command"))} == {
        *given,
        "variable",
    }


def test_the_guide_has_every_kind_of_harm_of_make_survive() -> None:
    """A heading each."""
    assert re.findall(r"^## (.+)$", GUIDE["survival"], re.M) == [*KINDS, "What it does not survive"]


def test_the_layout_names_what_is_there() -> None:
    """Every path of the tree and of the table, and every name at the top level of the package is in the tree."""
    package = ROOT / "src/retrain"
    tree, *_ = re.findall(r"```\n(.*?)```", GUIDE["layout"], re.S)
    named = [name for line in tree.splitlines()[1:] for name in re.findall(r"\w+(?:\.py|/)", line[:36])]
    paths = [path for cells in rows(GUIDE["layout"]).values() for path in re.findall(r"`([^`]+\.py)`", cells[0])]
    for name in (*named, *paths):
        assert (package / name).exists(), name
    there = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert set(named) == there | {f"{path.parent.name}/" for path in (*package.glob("*/*.py"), *package.glob("*/*.md"))}
    for line in tree.splitlines():
        if line.split()[0] == "effects/":
            for word in line.partition(": ")[2].split():
                assert list(package.glob(f"effects/{word}*")), word


# ---------------------------------------------------------------- figures and transcripts


def test_the_backtest_of_the_guide_is_what_it_prints(tmp_path: Path) -> None:
    """The seeded history, replayed with the shipped configuration, to the letter."""
    history = tmp_path / "history.csv"
    with history.open("w") as file:
        subprocess.run([sys.executable, "-m", "tests.simulations.history"], cwd=ROOT, stdout=file, check=True)
    shutil.copy(ROOT / "config.yaml", tmp_path)
    said = subprocess.run(
        [RETRAIN, "backtest", "history.csv"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (transcript,) = blocks(GUIDE["decisions"], "console")
    assert transcript == f"$ retrain backtest history.csv\n{said.stdout}"


ROUGH = (simulations.RATIOS, simulations.DELAYS, simulations.DELTA)
"""Tables that need more effort than a test has before their figures say anything: those of test_simulations do."""
EFFORTS = {
    "daily windows of 1,000 rows": 0.1,
    simulations.PROMOTIONS: 0.1,
    **{simulations.PROBATION + pace: 0.2 for pace in PACES},
    **dict.fromkeys(ROUGH, 0.01),
}


@pytest.mark.parametrize("title", simulations.SECTIONS)
def test_the_figures_of_the_guide_are_those_of_the_simulations(title: str) -> None:
    """It has each table, and each figure is within the Monte Carlo error of a faster run of the same simulation.

    (`make simulations` has them all.)
    """
    simulated = simulations.SECTIONS[title](EFFORTS.get(title, 0.05), simulations.silent)
    table = simulated.table
    lines = markdown(simulated.rows, table).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(table)
    shown = rows(section(GUIDE["statistics"] + GUIDE["gates"], title))
    (corner, columns), *others = shown.items()
    assert (corner, columns) == (simulated.rows, list(next(iter(table.values()))))
    assert [row for row, _ in others] == list(table)
    for row, figures in table.items() if title not in ROUGH else ():
        for cell, figure in zip(shown[row], figures.values(), strict=True):
            printed, _, decimals = cell.replace(",", "").partition(".")
            # Three digits are shown at most.
            rounding = 0.5 * 10 ** (-len(decimals) if decimals else floor(log10(float(printed) or 1)) - 2)
            error = abs(float(f"{printed}.{decimals}") - figure.value)
            assert error <= 2 * figure.half + rounding, (row, cell, figure)


def test_the_guide_says_how_often_a_promotion_was_worse_later() -> None:
    """The shares that a verdict quotes."""
    shown = rows(section(GUIDE["statistics"], "Worse later on real streams"))
    shares = [tuple(int(each) / 100 for each in re.findall(r"(\d+) %", cell)) for (cell,) in list(shown.values())[1:]]
    assert shares == [share for _, share in WORSE_LATER]
    assert [float(re.findall(r"[\d.]+", name)[0]) for name in list(shown)[1:]] == [low for low, _ in WORSE_LATER]


@pytest.mark.parametrize("target", ["demo", "test", "lint", "simulations", "survive"])
def test_make_help_lists_the_targets_that_the_texts_name(target: str) -> None:
    """And each is named somewhere."""
    assert any(words[:2] == ["make", target] for text in DOCUMENTS.values() for words in commands(text))
    listed = subprocess.run([real("make"), "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^{target} ", listed.stdout, re.M)
