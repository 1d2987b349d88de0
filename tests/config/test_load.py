"""config.yaml → Config, or a ConfigError that says all that is wrong with it, where, and no secret."""

import os
import re
import subprocess
import sys
from base64 import b64encode
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from retrain.config import Config, Secrets, load
from retrain.config.load import parse_rule
from retrain.config.schema import CountQueries, Models, Monitor, Monitoring, ObservedAt, Promotion, Training
from retrain.core.rules import Auto, Average, Guarantee, MaxAge, Metric, MinAge, Side, Triggers
from retrain.errors import ConfigError

SMALLEST = "triggers: {max_model_age: 90d}\n"
ON_DASK = "backend: dask, scheduler: 'tcp://h:1'"
DASK_NEEDS_BOTH = "is required: promotion.backend and promotion.scheduler go together"
DASK_NEEDS = "needs a promotion.holdout of Parquet files that the workers can read"
DASK_LACKS = "lets workers load the models, where promotion.{} does not reach"
NEVER = "can never train: no window is in breach of it (set it to null)"
ALWAYS = "is above every p-value, so each window would train with drift_breach: below"
OF_BOTH = "url: http://h, f1: x, drift: y"
WATCHED = """\
triggers:
  performance_threshold: 0.85
  drift_threshold: 0.2
monitoring:
  url: http://127.0.0.1:9109/metrics
  f1: model_f1_score
  drift: model_drift_psi
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The directory of the configuration file, which is not the current one."""
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


def written(home: Path, content: str | bytes) -> Path:
    path = home / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def loaded(home: Path, content: str | bytes, **environ: str) -> Config:
    return load(written(home, content), environ)[0]


def secrets_of(home: Path, content: str, **environ: str) -> Secrets:
    return load(written(home, content), environ)[1]


def complaints(home: Path, content: str | bytes, **environ: str) -> list[str]:
    """What is said about this file, a line each, less the path of the file."""
    path = written(home, content)
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:").strip() for line in lines]


def at(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with this value at the dotted path."""
    *sections, key = path.split(".")
    below = document
    for section in sections:
        below = below.setdefault(section, {})
    below[key] = value
    return document


# ---------------------------------------------------------------- what a file may say


def test_defaults_and_the_smallest_file(home: Path) -> None:
    """Only `triggers` must be there; all else has the default of the contract, and paths are absolute."""
    config = loaded(home, SMALLEST)
    assert config.monitoring is None
    assert config.triggers.max_model_age == timedelta(days=90)
    assert (config.triggers.consecutive, config.triggers.min_samples, config.triggers.max_unpromoted) == (1, 0, 3)
    assert config.triggers.cooldown == timedelta(hours=6)
    assert config.triggers.drift_breach is Side.ABOVE
    assert config.training.command == ("make", "train-model")
    assert (config.training.directory, config.training.timeout) == (home, timedelta(hours=6))
    assert config.models.champion == home / "models/champion.joblib"
    assert (config.state, config.monitor.log) == (home / "state", home / "data/predictions.csv")
    assert (config.promotion.metric, config.promotion.average) == (Metric.F1, Average.BINARY)
    assert (config.gate.guarantee, config.promotion.alpha) == (Guarantee.LIFETIME, 0.05)


@pytest.mark.parametrize(
    ("path", "value", "means"),
    [
        ("triggers.performance_threshold", 1, 1.0),
        ("triggers.performance_threshold", 0.001, 0.001),
        ("triggers.drift_threshold", 7, 7.0),
        ("triggers.drift_threshold", 0, 0.0),
        ("triggers.drift_breach", "below", Side.BELOW),
        ("triggers.consecutive", 3, 3),
        ("triggers.max_age", "2h", MaxAge(timedelta(hours=2), timedelta(hours=2))),
        ("triggers.max_age", {"f1": "30d"}, MaxAge(f1=timedelta(days=30))),
        ("triggers.max_age", {"f1": "30d", "drift": "1.5h"}, MaxAge(timedelta(days=30), timedelta(minutes=90))),
        ("triggers.max_drop", 0.05, 0.05),
        ("triggers.min_age", "0s", MinAge()),
        ("triggers.cooldown", "0s", timedelta()),
        ("triggers.cooldown", "90s", timedelta(seconds=90)),
        ("triggers.settle", "15m", timedelta(minutes=15)),
        ("monitoring.observed_at", "end", ObservedAt("end", "end")),
        ("monitoring.observed_at", {"drift": "end"}, ObservedAt(None, "end")),
        ("monitoring.observed_at", None, ObservedAt()),
        ("monitoring.counts", {"tp": "a", "fp": "b", "fn": "c"}, CountQueries("a", "b", "c")),
        ("monitoring.counts", None, None),
        ("monitoring.url", "file:///tmp/x", "file:///tmp/x"),
        ("monitoring.url", "file://localhost/tmp/x", "file://localhost/tmp/x"),
        ("monitoring.max_body", "512KiB", 512 * 1024),
        ("monitoring.max_body", "2 MB", 2_000_000),
        ("monitoring.headers", None, {}),
        ("monitoring.headers", {"X-Empty": ""}, {"X-Empty": ""}),
        ("training.command", "a 'b c' d", ("a", "b c", "d")),
        ("training.environment", {"OMP_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "4"}),
        ("models.trusted", [], ()),
        ("promotion.max_memory", "2GiB", 2 * 1024**3),
        ("promotion.max_memory", "512MiB", 512 * 1024**2),
        ("promotion.max_memory", None, None),
        ("promotion.positive", True, 1),
        ("promotion.positive", "yes", "yes"),
        ("promotion.positive", 2.5, 2.5),
        ("promotion.min_improvement", -0.01, -0.01),
        ("promotion.floor", None, None),
        ("promotion.dtypes", {"zip": "str"}, {"zip": "str"}),
        ("monitor.features", ["a", "b"], ("a", "b")),
    ],
)
def test_values(home: Path, path: str, value: Any, means: Any) -> None:
    """Every kind of value in the forms that the contract names."""
    config: Any = loaded(home, yaml.safe_dump(at(yaml.safe_load(WATCHED), path, value)))
    for step in path.split("."):
        config = getattr(config, step)
    assert config == means
    assert type(config) is type(means)


def test_every_count_of_seconds_is_a_duration_up_to_ten_years(home: Path) -> None:
    """The limits of a duration."""
    assert loaded(home, SMALLEST.replace("90d", "3653d")).triggers.max_model_age == timedelta(days=3653)
    assert complaints(home, SMALLEST.replace("90d", "3654d")) == ["1: triggers.max_model_age: is longer than ten years"]


@pytest.mark.parametrize("section", ["triggers", "monitoring", "training", "models", "promotion", "monitor"])
def test_a_section_whose_keys_are_all_commented_out_is_as_good_as_absent(home: Path, section: str) -> None:
    """YAML makes null of it; the defaults hold, and a section that is needed is named."""
    config = f"{section}:\n  # nothing here\n"
    if section == "triggers":
        assert complaints(home, config)[0].startswith("1: triggers: nothing can trigger a training")
    else:
        assert loaded(home, SMALLEST + config) == loaded(home, SMALLEST)


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "\ufeff"])
def test_an_empty_file_lacks_its_triggers(home: Path, content: str) -> None:
    """It is not an odd kind of YAML to complain about."""
    (line,) = complaints(home, content)
    assert line.startswith("1: triggers: nothing can trigger a training")


def test_paths_are_relative_to_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to the current directory, also when the file is named relatively; absolute ones and ~ stay what they are."""
    content = SMALLEST + (
        "models: {champion: ../served/m.joblib, challenger: /srv/c.joblib}\ntraining: {directory: ~/train}\n"
        "promotion: {holdout: h.csv}\nstate: ./s\n"
    )
    written(home, content)
    monkeypatch.chdir(home.parent)
    config, _ = load(Path("project/config.yaml"), {})
    assert config.models.champion == home / "../served/m.joblib"
    assert config.models.challenger == Path("/srv/c.joblib")
    assert config.training.directory == Path(os.environ["HOME"]) / "train"
    assert (config.promotion.holdout, config.state) == (home / "h.csv", home / "s")


def test_skops_files_and_the_types_they_may_have(home: Path) -> None:
    """Where both names end in .skops, and only there, the types that the configuration lists are trusted."""
    content = "models: {champion: m/a.skops, challenger: m/b.skops, trusted: [sklearn.tree._tree.Tree]}"
    (home / "config.yaml").write_text(SMALLEST + content)
    config, _ = load(home / "config.yaml", {})
    assert config.models.are_skops
    assert config.models.trusted == ("sklearn.tree._tree.Tree",)


def test_artifacts_that_a_command_reads_may_end_in_anything(home: Path) -> None:
    """Where both names end alike, also in nothing; the command is split into words, and a part of the question."""
    questions = set()
    for ending, command in ((".onnx", "python 'a b.py'"), ("", "python c.py")):
        names = f"models: {{champion: m/a{ending}, challenger: m/b{ending}}}\n"
        config = loaded(home, f'{SMALLEST}{names}promotion: {{predict: "{command}"}}')
        assert config.models.are_any
        assert not config.models.are_skops
        questions.add(config.question)
    assert len(questions) == 2
    assert not loaded(home, SMALLEST).models.are_any


def test_one_champion_path_in_two_spellings_is_one_path(home: Path) -> None:
    """Training must not overwrite what the service loads, however the path is written."""
    for challenger in ("models/champion.joblib", "./models/../models//champion.joblib"):
        (line,) = complaints(home, f"{SMALLEST}models: {{challenger: {challenger}}}")
        assert line.startswith("2: models.challenger: is also the path of the champion")


# ---------------------------------------------------------------- every error, with its place


def test_every_error_at_once_in_the_order_of_the_file(home: Path) -> None:
    """One line an error, each with the line and the path of its key, from the top of the file to its end."""
    content = """\
trigers: {}
monitoring:
  timout: 10s
  url: ftp://somewhere
  retries: -1
  url: http://somewhere:99999
  counts:
    tp: a
    fp: 1
  headers:
    X-Retries: 5
promotion:
  alpha: 0.5
  metric: F1
  floor: ${FLOOR}
models:
  keep: five
monitor:
  features:
    - a
    - ${COLUMN}
state: 5
"""
    assert complaints(home, content) == [
        "1: trigers: unknown key; did you mean triggers?",
        "3: monitoring.timout: unknown key; did you mean timeout?",
        "5: monitoring.retries: -1 is not a whole number from 0 to 1,000,000,000",
        "6: monitoring.url: is given twice (first on line 4)",
        "6: monitoring.url: is not a URL",
        "7: monitoring.counts.fn: is required",
        "9: monitoring.counts.fp: 1 is not a text (put it in quotes)",
        "11: monitoring.headers.X-Retries: is not a text (put it in quotes)",
        "13: promotion.alpha: 0.5 is not a number above 0 and below 0.5",
        "14: promotion.metric: F1 is not one of f1, precision, recall, accuracy, balanced_accuracy, mcc",
        "15: promotion.floor: the environment variable FLOOR is not set (set it, or write ${FLOOR:-default})",
        "17: models.keep: five is not a whole number from 1 to 1,000,000,000",
        "19: monitor.features: is not a list of column names",
        "21: monitor.features.1: the environment variable COLUMN is not set (set it, or write ${COLUMN:-default})",
        "22: state: 5 is not a text (put it in quotes)",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("frobnicate: 1", "1: frobnicate: unknown key; known here: name, triggers, monitoring, training, models,"),
        ("models: {kept: 3}", "1: models.kept: unknown key; did you mean keep?"),
        ("triggers: {max_age: {f2: 3d}}", "1: triggers.max_age.f2: unknown key; known here: f1, drift"),
        ("1: 2", "1: 1: unknown key; known here"),
        ("models: {keep: 1}\nmodels: {keep: 2}", "2: models: is given twice (first on line 1)"),
        ("models:\n  keep: 1\n  keep: 2", "3: models.keep: is given twice (first on line 2)"),
        ("training: {environment: {A: a,\n A: b}}", "2: training.environment.A: is given twice (first on line 1)"),
        ("monitoring: {}", "1: monitoring.url: is required"),
        ("triggers: fast", "1: triggers: fast is not a section (a mapping of keys)"),
        ("triggers: [1, 2]", "1: triggers: is not a section (a mapping of keys)"),
        ("triggers: !!set {cooldown}", "1: triggers: is not a section (a mapping of keys)"),
        ("monitoring: {url: http://h, counts: tp}", "1: monitoring.counts: tp is not a section"),
        ("state:", "1: state: null is not a text"),
        ('state: ""', "1: state: is empty"),
        ('state: "a\\0b"', "1: state: has a character that no name can hold"),
        ('state: "a\\ud800"', "1: state: has a character that no name can hold"),
        ("state: 2026-01-01", "1: state: 2026-01-01 is not a text"),
        ("state: ~no-such-user-here/x", "1: state: begins with ~, but that user has no home directory"),
        ("promotion: {target: yes}", "1: promotion.target: yes is not a text (put it in quotes)"),
    ],
)
def test_keys_and_sections(home: Path, content: str, expected: str) -> None:
    """Unknown, misspelt, repeated, missing and mistaken ones, in a sentence that helps."""
    assert any(line.startswith(expected) for line in complaints(home, content)), complaints(home, content)


@pytest.mark.parametrize(
    ("path", "values", "sentence"),
    [
        ("triggers.performance_threshold", ["1.01", "-0.1", ".nan", ".inf", "true", "'0.5'", "[0.5]"], "a number from"),
        ("triggers.drift_threshold", ["-1", ".nan", ".inf", "1.0e+999", "no", "0x" + "f" * 5000], "a number, 0 or"),
        ("triggers.consecutive", ["0", "-1", "1.0", "true", "'1'", "0x" + "f" * 5000, "10000000000"], "a whole number"),
        ("triggers.min_samples", ["-1", "0.5", "null"], "a whole number"),
        ("triggers.drift_breach", ["Above", "on", "1", "{}"], "one of above, below"),
        (
            "triggers.cooldown",
            ["6", "6 h", "-6h", "h", "1w", "null", "1:30", "[6h]", "1e3s", "٣٣", "٣٣h", "1.h", ".5h"],
            "a duration such as",
        ),
        ("triggers.max_age", ["24", "null", "[1h, 2h]"], "a duration such as"),
        ("triggers.max_age.f1", ["24"], "a duration such as"),
        ("monitoring.max_body", ["0B", "5", "5 mib", "5  MiB", "5MiB ago", "-5MiB", "1.5MiB"], "a size such as"),
        ("models.trusted", ["null", "a.B", "[1]", "['']", "{a: b}"], "a list of types, with their modules"),
        ("promotion.max_memory", ["0B", "2", "2 gib", "-2GiB"], "a size such as"),
        ("monitoring.type", ["grafana", "null"], "one of metrics, prometheus, json"),
        ("monitoring.f1", ["1", "{}", "[a]"], "a text"),
        ("training.command", ["[make, all]", "null", "1"], "a text"),
        ("promotion.positive", ["null", "[1]", ".nan", ".inf", "2026-01-01", "0x" + "f" * 20], "a class label"),
        ("promotion.min_improvement", ["1.5", "-1.5", "x"], "a number from -1 to 1"),
        ("promotion.alpha", ["0", "0.5", "1", "-0.1", "x"], "a number above 0 and below 0.5"),
        ("promotion.dtypes", ["[a]", "str"], "a mapping of names to texts"),
        ("promotion.dtypes.zip", ["5", "[str]", "true"], "a text"),
        ("monitor.features", ["a", "[]", "[1]", "['']", "{a: b}"], "a list of column names"),
    ],
)
def test_wrong_types_and_ranges(home: Path, path: str, values: list[str], sentence: str) -> None:
    """Each is reported once, with its place and, where it is a plain value, with the value as the file has it."""
    *sections, key = path.split(".")
    for value in values:
        lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate(sections)]
        content = "\n".join([*lines, f"{'  ' * len(sections)}{key}: {value}"])
        (line,) = (line for line in complaints(home, content) if f" {path}: " in line)
        assert line.startswith(f"{len(sections) + 1}: {path}: ")
        assert f"is not {sentence}" in line
        assert len(line) < 200
        if value.isalnum() and len(value) < 60:
            assert f": {value} is not" in line


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://host/", "is not an http, https or file URL"),
        ("host:9090/metrics", "is not an http, https or file URL"),
        ("http://", "has no host"),
        ("http://:80/", "has no host"),
        ("http://host:99999/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
        ("http://ho st/", "is not a URL: it has a blank"),
        ("http://host/a\tb", "is not a URL: it has a blank"),
        ("file:metrics.txt", "a file URL has three slashes"),
        ("file://share/metrics.txt", "a file URL has three slashes"),
    ],
)
def test_urls(home: Path, url: str, sentence: str) -> None:
    """What no request can be made of is an error of the configuration, before the first request."""
    (line,) = complaints(home, SMALLEST + yaml.safe_dump({"monitoring": {"url": url}}))
    assert line.startswith(f"3: monitoring.url: {sentence}")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('training: {command: "make \'x"}', "2: training.command: cannot be split into words: no closing quotation"),
        ("training: {command: ' '}", "2: training.command: is empty"),
        ("training: {environment: {A: }}", '2: training.environment: has a name without a text (write name: "text")'),
    ],
)
def test_commands_and_mappings(home: Path, content: str, sentence: str) -> None:
    """Values whose form is wrong inside."""
    assert complaints(home, SMALLEST + content) == [sentence]


def test_a_number_in_a_base_of_yaml_1_1_is_a_text(home: Path) -> None:
    """Nobody means 90 by 1:30, 120.5 by 2:00.5 or 8 by 010: a number is refused as it stands, a text is taken so."""
    numbers = "{consecutive: %s, drift_threshold: %s, max_model_age: 90d}"
    for whole, number in (("1:30", "2:00.5"), ("010", "-1:30"), ("+0_7", "190:20:30"), ("00", "007")):
        assert complaints(home, "triggers: " + numbers % (whole, number)) == [
            f"1: triggers.drift_threshold: {number} is not a number, 0 or more",
            f"1: triggers.consecutive: {whole} is not a whole number from 1 to 1,000,000,000",
        ]
        with pytest.raises(ConfigError, match=f"consecutive: {re.escape(whole)} is not"):
            parse_rule(f"consecutive: {whole}", Triggers(0.85))
    config = loaded(home, SMALLEST + "promotion: {positive: 010}\nmodels: {keep: 1_0}\nmonitor: {bins: 0x10}\n")
    assert (config.promotion.positive, config.models.keep, config.monitor.bins) == ("010", 10, 16)


def test_every_problem_of_a_value_with_parts(home: Path) -> None:
    """One value for both signals is reported once, each part of two with its own path, at every depth."""
    content = "triggers: {max_age: %s, evidence: {min_drop: x}, max_model_age: 90d}"
    rate = "1: triggers.evidence.false_retrains_per_year: is required"
    drop = "1: triggers.evidence.min_drop: x is not a number from 0 to 1"
    age = "is not a duration such as 90s, 15m, 6h or 7d"
    assert complaints(home, content % "5") == [f"1: triggers.max_age: 5 {age}", drop, rate]
    assert complaints(home, content % "{f1: 5, drift: 6}") == [
        f"1: triggers.max_age.f1: 5 {age}",
        f"1: triggers.max_age.drift: 6 {age}",
        drop,
        rate,
    ]


def test_a_configuration_in_order_is_read_with_little(home: Path) -> None:
    """No library that generates code for each class, and nothing that only a problem needs: cron starts us often."""
    path = written(home, WATCHED)
    code = f"import sys; from pathlib import Path; from retrain.config import load; load(Path({str(path)!r}), {{}})"
    code += "; print(*sys.modules)"
    loaded_modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"attr", "attrs", "cattrs", "pydantic", "difflib", "shlex"} & set(loaded_modules.split())


@pytest.mark.parametrize(
    ("text", "dispersion", "prevalence"),
    [
        ("", Auto.AUTO, None),
        (", dispersion: auto, prevalence: auto", Auto.AUTO, Auto.AUTO),
        (", dispersion: 1, prevalence: 0.2", 1.0, 0.2),
        (", dispersion: 2.5, prevalence: null", 2.5, None),
    ],
)
def test_what_the_evidence_rule_estimates_can_be_set(text: str, dispersion: Any, prevalence: Any) -> None:
    """A word or a number; the dispersion is at least 1, a share lies between 0 and 1."""
    rule = parse_rule(f"evidence: {{min_drop: 0.03, false_retrains_per_year: 1{text}}}", Triggers(0.85)).evidence
    assert rule is not None
    assert (rule.dispersion, rule.prevalence) == (dispersion, prevalence)


@pytest.mark.parametrize(
    "text",
    ["dispersion: 0.9", "dispersion: null", "dispersion: yes", "prevalence: 0", "prevalence: 1", "prevalence: x"],
)
def test_what_it_cannot_be_is_named(text: str) -> None:
    """With what it can be."""
    with pytest.raises(ConfigError, match=r"is not (null, )?auto, or a number"):
        parse_rule(f"evidence: {{min_drop: 0.03, false_retrains_per_year: 1, {text}}}", Triggers(0.85))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2h", MinAge(timedelta(hours=2), timedelta(hours=2))), ("{f1: 14d}", MinAge(f1=timedelta(days=14)))],
)
def test_one_min_age_is_for_both_signals_or_each_has_its_own(text: str, expected: MinAge) -> None:
    """Labels come later than features."""
    assert parse_rule(f"min_age: {text}, max_age: 30d", Triggers(0.85)).min_age == expected


# ---------------------------------------------------------------- keys that do not fit together


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "triggers: {performance_threshold: 0.8}\nmonitoring: {url: 'http://a/metrics', f1: model_estimated_f1}",
            ["2: monitoring.f1: asks for an estimate without labels"],
        ),
        ("triggers: {cooldown: 1h}", ["1: triggers: nothing can trigger a training (set performance_threshold,"]),
        (
            "triggers: {performance_threshold: 0.8}",
            ["1: monitoring.url: is required", "1: monitoring.f1: is required, since triggers.performance_threshold"],
        ),
        (
            "triggers: {drift_threshold: 0.8}\nmonitoring:\n  # url: x",
            ["2: monitoring.url: is required", "2: monitoring.drift: is required, since triggers.drift_threshold"],
        ),
        (
            "triggers: {drift_threshold: 0.8}\nmonitoring: {url: http://h, f1: x}",
            ["2: monitoring.drift: is required, since triggers.drift_threshold is set (or set that to null)"],
        ),
        (
            "triggers: {max_drop: 0.05}\nmonitoring: {url: http://h}",
            ["2: monitoring.f1: is required, since triggers.max_drop is set (or set that to null)"],
        ),
        *(
            (
                f"triggers: {{{key}: {value}{more}, max_model_age: 9d}}\nmonitoring: {{{OF_BOTH}}}",
                [f"1: triggers.{why}"],
            )
            for key, value, more, why in (
                ("performance_threshold", "0", "", f"performance_threshold: 0 {NEVER}"),
                ("performance_threshold", "-0.0", ", max_drop: 0.05", f"performance_threshold: -0.0 {NEVER}"),
                ("max_drop", "1.0", "", f"max_drop: 1.0 {NEVER}"),
                ("drift_threshold", "0", ", drift_breach: below", f"drift_threshold: 0 {NEVER}"),
                ("drift_threshold", "1.5", ", drift_breach: below", f"drift_threshold: 1.5 {ALWAYS}"),
            )
        ),
        (
            "triggers: {max_drop: 0.05, min_age: 1h}\nmonitoring: {url: http://h, f1: x}",
            ["1: triggers.min_age: needs the end of the windows of F1 (set monitoring.observed_at.f1)"],
        ),
        (
            "triggers: {max_drop: 0.05, min_age: 24h}\nmonitoring: {url: http://h, f1: x, observed_at: t}",
            ["1: triggers.min_age: 24h is not shorter than max_age, so no window of F1 would ever count"],
        ),
        (
            "triggers: {drift_threshold: 0.8}\nmonitoring: {url: http://h, drift: x, window_length: 7d}",
            ["2: monitoring.window_length: needs the end of the windows of drift (set monitoring.observed_at.drift)"],
        ),
        (
            "triggers: {max_drop: 0.05}\nmonitoring: {url: http://h, f1: x, observed_at: t, window_length: 0s}",
            ["2: monitoring.window_length: is 0; it must be longer, such as 1h"],
        ),
        (
            f"{SMALLEST[:-2]}, min_samples: 1}}\nmonitoring: {{url: http://h}}",
            ["2: monitoring.samples: is required, since triggers.min_samples is set"],
        ),
        (
            SMALLEST + "monitoring: {type: prometheus, url: file:///x}",
            ["2: monitoring.url: is a file URL; it must be an http or https URL here"],
        ),
        (
            SMALLEST + "notifications: {heartbeat: file:///x}",
            ["2: notifications.heartbeat: is a file URL; it must be an http or https URL here"],
        ),
        *(
            (f"{SMALLEST}promotion: {{holdout: {holdout}, {ON_DASK}{more}}}", [f"2: promotion.backend: {problem}"])
            for holdout, more, problem in (
                ("fresh", "", f"{DASK_NEEDS} (fresh and live rows and a CSV are scored here: set it to null)"),
                ("h.csv", "", f"{DASK_NEEDS} (fresh and live rows and a CSV are scored here: set it to null)"),
                ("d/", ", sandbox: bwrap", f"{DASK_LACKS.format('sandbox')} (set one of both to null)"),
                ("s3://b/d", ", predict: p", f"{DASK_LACKS.format('predict')} (set one of both to null)"),
            )
        ),
        (
            SMALLEST + "monitor: {label: prediction}",
            ["2: monitor.label: is 'prediction', as monitor.prediction is"],
        ),
        (
            SMALLEST + "monitor: {timestamp: label, prediction: at}",
            ["2: monitor.timestamp: is 'label', as monitor.label is"],
        ),
        (
            SMALLEST + "monitor: {timestamp: prediction}",
            ["2: monitor.timestamp: is 'prediction', as monitor.prediction is"],
        ),
        (
            SMALLEST + "promotion: {holdout: d/, backend: dask}",
            [f"2: promotion.scheduler: {DASK_NEEDS_BOTH}"],
        ),
        (
            SMALLEST + "promotion: {holdout: d/, scheduler: 'tcp://h:1'}",
            [f"2: promotion.backend: {DASK_NEEDS_BOTH}"],
        ),
        (
            SMALLEST + "promotion: {holdout: d/, backend: dask, scheduler: scheduler}",
            ["2: promotion.scheduler: scheduler is not an address such as tcp://scheduler:8786"],
        ),
        *(
            (f"{SMALLEST}promotion: {{holdout: {holdout!r}}}", [f"2: promotion.holdout: {problem}"])
            for holdout, problem in {
                "h.tsv": "must end in .csv or .parquet, or in / where it is a directory of Parquet files",
                "frehs": "must end in .csv or .parquet, or in / where it is a directory of Parquet files",
                "d/*.csv": "is a pattern of CSV files; it must be one of Parquet files, or a single CSV file",
                "http://h/x.parquet": "must be a path, or begin with s3:// or gs://",
                "s3://b/x.csv": "is a CSV; of a store only Parquet files are read",
                "s3://KEY:SECRET@b/x": "has a user or a password: leave them to the environment (AWS_ACCESS_KEY_ID"
                " and others)",
                "s3://anonymous@b/x": "has a user or a password: leave them to the environment (AWS_ACCESS_KEY_ID"
                " and others)",
            }.items()
        ),
        (SMALLEST + "monitor: {log: log.json}", ["2: monitor.log: must end in .csv or .parquet"]),
        (
            SMALLEST + "monitoring: {url: http://h, timeout: 0s}\ntraining: {timeout: 0h}\npromotion: {timeout: 0s}\n"
            "monitor: {window: 0d}",
            [
                "2: monitoring.timeout: is 0; it must be longer, such as 1h",
                "3: training.timeout: is 0; it must be longer, such as 1h",
                "4: promotion.timeout: is 0; it must be longer, such as 1h",
                "5: monitor.window: is 0; it must be longer, such as 1h",
            ],
        ),
        (
            SMALLEST + "models: {champion: m/c.skops}\npromotion: {max_memory: 511MiB}",
            [
                "2: models.challenger: and models.champion must both end in .skops, or neither of them",
                "3: promotion.max_memory: is less than 512MiB, which scikit-learn, pandas and pyarrow alone may take",
            ],
        ),
        (
            SMALLEST + "models: {challenger: m/c.skops, trusted: [a.B]}",
            ["2: models.challenger: and models.champion must both end in .skops, or neither of them"],
        ),
        (
            SMALLEST + "models: {trusted: [a.B]}",
            ["2: models.trusted: is for skops files, but models.champion and models.challenger are not"],
        ),
        (
            SMALLEST + "promotion: {predict: p}\nmodels: {champion: m/c.md, challenger: m/c.onnx, trusted: [a.B]}",
            [
                "3: models.challenger: m/c.onnx must end in .md, as models.champion does",
                "3: models.champion: m/c.md must not end in .md, as the model cards do",
                "3: models.trusted: has no effect with promotion.predict",
            ],
        ),
        (
            SMALLEST + "promotion: {predict: p}\nmodels: {champion: m/c}",
            ["3: models.challenger: must have no extension, as models.champion does"],
        ),
    ],
)
def test_keys_that_do_not_fit_together(home: Path, content: str, expected: list[str]) -> None:
    """What no key shows alone; all of them at once."""
    lines = complaints(home, content)
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


def test_a_repeated_key_hides_no_other_error(home: Path) -> None:
    """Neither one in the repeated value, nor one between two keys."""
    assert len(complaints(home, "triggers: {cooldown: 1h,\ncooldown: 5}")) == 2
    assert len(complaints(home, "triggers: {cooldown: 1h,\ncooldown: 2h}")) == 2


# ---------------------------------------------------------------- the environment


def test_variables(home: Path) -> None:
    """They are put into texts after parsing, so no value can become YAML."""
    content = SMALLEST + (
        "monitoring:\n  url: http://${HOST}:${PORT:-9109}/metrics\n  f1: ${QUERY}\n  drift: '\\${HOST} \\${1'\n"
        "  window: ${EMPTY:-}x${EMPTY}\n  headers: {'${HOST}': a}\n"
    )
    monitoring = loaded(home, content, HOST="h", QUERY="{a: [b", EMPTY="").monitoring
    assert monitoring is not None
    assert (monitoring.url, monitoring.f1) == ("http://h:9109/metrics", "{a: [b")
    assert (monitoring.drift, monitoring.window) == ("${HOST} ${1", "x")
    assert monitoring.headers == {"${HOST}": "a"}
    with_port = loaded(home, content, HOST="h", QUERY="q", EMPTY="", PORT="1").monitoring
    assert with_port is not None
    assert with_port.url == "http://h:1/metrics"


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${A-b}", "${A", "${A:-${B}}", "${ A }"])
def test_what_looks_like_a_variable_and_is_none(home: Path, text: str) -> None:
    """It is an error: taken as it stands, it would be sent to the monitoring endpoint as a password."""
    (line,) = complaints(home, SMALLEST + f"monitoring:\n  url: http://h\n  f1: '{text}'", B="b")
    assert (
        line == r'4: monitoring.f1: has a "${" that is neither ${VAR} nor ${VAR:-default} (write \${ for a literal one)'
    )


def test_a_variable_that_is_not_set_is_the_only_thing_said_of_its_value(home: Path) -> None:
    """The URL that could not be made is not also no URL."""
    (line,) = complaints(home, SMALLEST + "monitoring:\n  url: ${URL}")
    assert line == "3: monitoring.url: the environment variable URL is not set (set it, or write ${URL:-default})"


def test_a_value_of_several_lines_is_quoted_in_one(home: Path) -> None:
    """A problem is a line."""
    (line,) = complaints(home, "triggers: {performance_threshold: 0.8}\nstate: s\nmodels:\n  keep: five\n    or six\n")
    assert line == "4: models.keep: five or six is not a whole number from 1 to 1,000,000,000"


# ---------------------------------------------------------------- secrets

SECRETIVE = """\
monitoring:
  url: http://user:s3cr3t-1@h/metrics?key=s3cr3t-2
  headers:
    Authorization: Bearer s3cr3t-3
    X-Key: ${TOKEN}
training:
  environment: {PASSWORD: s3cr3t-4}
registry:
  url: http://user:s3cr3t-7@h/mlflow
  model: churn
  headers: {Authorization: Bearer s3cr3t-8}
notifications:
  heartbeat: https://hc.example/s3cr3t-5
"""
BROKEN = [
    "state: 5",
    "monitoring: [http://s3cr3t-1]",
    "monitoring: http://s3cr3t-1",
    "monitoring: !!binary czNjcjN0",
    "monitoring: {url:http://user:s3cr3t@h}",
    "monitoring: {url: {http://user:s3cr3t@h: 1}}",
    "monitoring: {url: 's3cr3t'}",
    "monitoring: {url: 's3cr3t://x'}",
    "monitoring: {url: 'http://a:s3cr3t@h:s3cr3t'}",
    "monitoring: {url: [s3cr3t]}",
    "monitoring: {url: file://s3cr3t}",
    "monitoring: {headers: Bearer s3cr3t}",
    "monitoring: {headers: [s3cr3t]}",
    "monitoring: {headers: {Authorization:Bearer-s3cr3t}}",
    "monitoring: {headers: {s3cr3t}}",
    "monitoring: {headers: {A: [s3cr3t]}}",
    "monitoring: {headers: {A: {s3cr3t: s3cr3t}}}",
    'monitoring: {headers: {A: "s3cr3t\\0"}}',
    "monitoring: {headers: {A: *s3cr3t}}",
    "monitoring: {headers: {A: &s3cr3t x, B: &s3cr3t y, C: *s3cr3tt}}",
    "monitoring: {headers: {A: !s3cr3t x}}",
    "monitoring: {headers: {A: !s3cr3t!x y}}",
    "monitoring: {headers: {A: !!int s3cr3t}}",
    "monitoring: {headers: {A: !!float s3cr3t}}",
    "monitoring: {headers: {A: !!bool s3cr3t}}",
    "monitoring: {headers: {A: %s3cr3t}}",
    "monitoring: {headers: {A: @s3cr3t}}",
    "monitoring: {headers: {A: `s3cr3t}}",
    "monitoring:\n  headers:\n    A: s3cr3t: x\n",
    "monitoring:\n  headers:\n    A: 's3cr3t\n",
    "monitoring:\n  headers:\n  A: s3cr3t\n",
    "monitoring:\n  headers:\n    A: s3cr3t\n   B: s3cr3t\n",
    "monitoring: {f1: '${TOKEN}', timeout: '${TOKEN}', url: '${TOKEN}'}",
    "state: '${TOKEN}'\ntriggers: {cooldown: '${TOKEN}'}",
    "training: {environment: s3cr3t}",
    'training: {environment: {s3cr3t: 5}, command: "x \'s3cr3t"}'.replace("s3cr3t: 5", "A: !!binary czNjcjN0"),
    "training: [environment, {A: s3cr3t}]",
    "notifications: s3cr3t",
    "registry: s3cr3t",
    "registry: {url: s3cr3t, model: m}",
    "registry: {url: 'http://h', model: m, headers: {A: [s3cr3t]}}",
    "registry: {url:http://user:s3cr3t@h, model: m}",
    "notifications: {heartbeat: s3cr3t}",
    "notifications: {heartbeat:https://hc.example/s3cr3t}",
    "notifications: {heartbeat: file:///s3cr3t, repeat_after: s3cr3t}",
    "[s3cr3t]",
    "s3cr3t",
]


def test_the_secrets_of_a_registry_are_those_of_the_monitor(home: Path) -> None:
    """No training inherits them; a variable that is the address, with no credentials in it, is none."""
    content = SMALLEST + "registry: {url: '${PLACE}', model: m, headers: {Authorization: 'Bearer ${TOKEN}'}}"
    sent = "s3cr3t-sent-9"
    secrets = secrets_of(home, content, PLACE="http://mlflow.example:5000", TOKEN=sent)
    assert secrets.variables == {"TOKEN"}
    assert secrets.scrub(f"http://mlflow.example:5000 took {sent}") == "http://mlflow.example:5000 took ***"
    content = content.replace("${PLACE}", "http://me:${TOKEN}@h")
    assert secrets_of(home, content, TOKEN=sent).variables == {"TOKEN"}


@pytest.mark.parametrize(
    ("registry", "complaint"),
    [
        ("{model: m}", "registry.url: is required"),
        ("{url: 'http://h'}", "registry.model: is required"),
        ("{url: 'file:///h', model: m}", "registry.url: is a file URL"),
        ("{url: 'http://h', model: a/b}", "registry.model: a/b is not a name without / : or quotes"),
        ("{url: 'http://h', model: m, type: wandb}", "registry.type: wandb is not one of mlflow"),
    ],
)
def test_a_registry_is_an_address_and_a_model(home: Path, registry: str, complaint: str) -> None:
    """What no registry of MLflow takes is found before it is asked."""
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        load(written(home, f"{SMALLEST}registry: {registry}"), {})


@pytest.mark.parametrize("broken", BROKEN)
def test_no_error_shows_a_secret(home: Path, broken: str) -> None:
    """Whatever else is wrong, before a good part with secrets, after it, and alone."""
    for content in (broken, f"{broken}\n{SECRETIVE}", f"{SECRETIVE}{broken}\n"):
        with pytest.raises(ConfigError) as caught:
            load(written(home, content), {"TOKEN": "s3cr3t-6"})
        assert "s3cr3t" not in str(caught.value)
        assert "s3cr3t" not in repr(caught.value)
        assert "czNjcjN0" not in str(caught.value)


def test_secrets_are_scrubbed_in_every_form(home: Path) -> None:
    """From a text that may quote a URL, a header, or JSON; ordinary words stay."""
    secrets = secrets_of(
        home,
        SMALLEST + SECRETIVE.replace("s3cr3t-1", "p%40ss%22word") + "  repeat_after: 1h\n",
        TOKEN='tok"en',  # noqa: S106  (no password, a test of one)
    )
    for text in (
        "http://user:p%40ss%22word@h",
        'as p@ss"word',
        '{"x": "p@ss\\"word"}',
        "?key=s3cr3t-2",
        "key s3cr3t-2",
        "Bearer s3cr3t-3",
        "the key s3cr3t-3",
        'tok"en',
        "tok%22en",
        '"tok\\"en"',
        "https://hc.example/s3cr3t-5",
        "Max retries exceeded with url: /s3cr3t-5",
    ):
        scrubbed = secrets.scrub(text)
        assert "***" in scrubbed
        assert not any(word in scrubbed for word in ("s3cr3t", "word", "tok")), scrubbed
    assert secrets.scrub("held: F1 0.780 is below 0.850") == "held: F1 0.780 is below 0.850"
    assert "s3cr3t" not in repr(secrets)


def test_a_secret_is_known_by_its_letters_and_digits_alone(home: Path) -> None:
    """A server may spell it in the name of a metric, where no other signs can stand, or cut it off at one."""
    token = "550e8400-e29b-41d4/AbCdEfGh12345678&+"  # noqa: S105  (no password, a test of one)
    secrets = secrets_of(home, SMALLEST + "monitoring: {url: 'http://h/', headers: {X-Key: '${TOKEN}'}}", TOKEN=token)
    for text in ("f1_550e8400e29b41d4AbCdEfGh12345678 is unknown", "AbCdEfGh12345678", "abcdefgh12345678"):
        assert "abcdefgh" not in secrets.scrub(text).lower()
    for part in (token[:12], token[3:15].upper(), f"{token[:8]}-{token[9:17]}"):
        assert secrets.scrub(f"the token {part} ...").count("***")
    assert secrets.scrub("550e840 and a performance_threshold") == "550e840 and a performance_threshold"


def test_no_word_is_cut_out_of_another(home: Path) -> None:
    """A short secret is one as a whole word; a tenant in a header that holds no token is none at all."""
    headers = "monitoring: {url: 'http://h/', headers: {X-Key: '${KEY}', X-Scope-OrgID: '${TENANT}'}}"
    secrets = secrets_of(home, SMALLEST + headers, KEY="prod7", TENANT="churn")
    said = "prod7 of preprod7s in churn"
    assert secrets.scrub(said) == "*** of preprod7s in churn"


@pytest.mark.parametrize("name", ["HOME", "USER", "LOGNAME", "HOSTNAME", "PWD"])
def test_what_every_process_has_is_no_secret(home: Path, name: str) -> None:
    """A header may name the user; the training keeps the variable, and messages their paths."""
    content = SMALLEST + f"monitoring: {{url: 'http://h/', headers: {{X-By: '${{{name}}}'}}}}"
    secrets = secrets_of(home, content, **{name: "/srv/somebody"})
    assert not secrets.variables and secrets.scrub("/srv/somebody/log") == "/srv/somebody/log"


@pytest.mark.parametrize("value", ["s3cr3t-token\n", " s3cr3t-token\r\n"])
def test_a_token_from_a_file_may_end_in_a_line_feed(home: Path, value: str) -> None:
    """No header can hold one, and mounted secrets often end so."""
    content = SMALLEST + "monitoring: {url: 'http://h/', headers: {A: 'Bearer ${TOKEN}'}}"
    config, _ = load(written(home, content), {"TOKEN": value})
    assert config.monitoring is not None and config.monitoring.headers == {"A": "Bearer s3cr3t-token"}


@pytest.mark.parametrize("between", ["\n", "\r\n"])
def test_a_token_with_a_line_feed_in_it_is_named(home: Path, between: str) -> None:
    """No header can hold one within; the variable is named, its value is not shown."""
    content = SMALLEST + "monitoring: {url: 'http://h/', headers: {A: 'Bearer ${TOKEN}'}}"
    with pytest.raises(ConfigError, match="the environment variable TOKEN has a control character") as error:
        load(written(home, content), {"TOKEN": f"s3cr3t{between}t0ken"})
    assert "s3cr3t" not in str(error.value) and "t0ken" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "environ", "secrets"),
    [
        ("${URL}", {"URL": "http://h:9/tenant-77/m"}, {}),
        ("${URL}", {"URL": "http://user:passw0rd-1@h:9/tenant-77/m"}, {"URL": "passw0rd-1"}),
        ("${URL}", {"URL": "http://h:9/tenant-77/m?key=abcdef12345"}, {"URL": "abcdef12345"}),
        ("${BASE}/m?key=${KEY}", {"BASE": "http://h:9/tenant-77", "KEY": "abc/def12345"}, {"KEY": "abc/def12345"}),
        (
            "${BASE}/m?key=${KEY}&to=http://x",
            {"BASE": "http://h:9/tenant-77", "KEY": "abcdef12345"},
            {"KEY": "abcdef12345"},
        ),
        ("${SCHEME}://h:9/${TENANT}/m", {"SCHEME": "http", "TENANT": "tenant-77"}, {}),
        ("http://${AUTH}/m", {"AUTH": "user:passw0rd-1@h:9"}, {"AUTH": "passw0rd-1"}),
        ("http://h:9/${TAIL}", {"TAIL": "m?key=abcdef12345"}, {"TAIL": "abcdef12345"}),
        ("http://h:9/tenant-77/m${QUERY}", {"QUERY": "?key=abcdef12345"}, {"QUERY": "abcdef12345"}),
        ("http://h:${PORT}/m", {"PORT": "9/m?key=abcdef12345"}, {"PORT": "abcdef12345"}),
        ("http://${HOST}/${TENANT}/m", {"HOST": "h:9", "TENANT": "tenant-77"}, {}),
    ],
)
def test_a_variable_may_hold_several_parts_of_a_url(
    home: Path, url: str, environ: dict[str, str], secrets: dict[str, str]
) -> None:
    """Of it, too, only userinfo, query and fragment are secret: host and path are named; no command inherits it."""
    content = SMALLEST + f"monitoring: {{url: '{url}'}}"
    config, found = load(written(home, content), environ)
    assert config.monitoring is not None and config.monitoring.address.startswith("http://")
    assert found.variables == set(secrets)
    place = "http://h:9/tenant-77/m cannot be reached"
    assert found.scrub(place) == place
    assert not any(secret in found.scrub(f"the key {secret} is wrong") for secret in secrets.values())


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://user:passw0rd-1@h:9", "passw0rd-1"),
        ("http://user:passw0rd-1@h:9", b64encode(b"user:passw0rd-1").decode()),
        ("user:passw0rd-1@h:9", "passw0rd-1"),
        ("http://user:pass%2Fw0rd@h:9", "pass/w0rd"),
        ("http://user:12/pass-w0rd@h:9", "12/pass-w0rd"),
        ("http://t0ken-number-1@h:9", "t0ken-number-1"),
    ],
)
def test_the_password_of_a_proxy_is_a_secret(home: Path, name: str, url: str, secret: str) -> None:
    """Proxies repeat it in their errors; the training inherits the variable all the same."""
    _, found = load(written(home, SMALLEST), {name: url})
    assert secret not in found.scrub(f"the proxy http://h:9 said {secret}") and not found.variables
    assert found.scrub("the proxy http://h:9 said no") == "the proxy http://h:9 said no"


@pytest.mark.parametrize("value", ["12345#rest", "2024?abc", "a/b", "a@b", "two words"])
def test_a_password_that_breaks_a_url_is_named(home: Path, value: str) -> None:
    """The variable is named, its value is not shown."""
    content = SMALLEST + "monitoring: {url: 'http://user:${PASSWORD}@h/'}"
    with pytest.raises(ConfigError, match="the environment variable PASSWORD holds") as error:
        load(written(home, content), {"PASSWORD": value})
    assert value not in str(error.value)


@pytest.mark.parametrize(
    "spelt",
    [
        "k7/Qp'3x&Zz9/w\"T+=<",
        r"k7/Qp'3x&Zz9/w\"T+=<",
        "k7%2FQp%273x%26Zz9%2Fw%22T%2B%3D%3C",
        "k7/Qp%273x%26Zz9/w%22T%2B%3D%3C",
        "k7/Qp'3x&Zz9/w%22T+=%3C",
    ],
)
def test_a_secret_is_known_in_each_spelling(home: Path, spelt: str) -> None:
    """As it is, JSON-escaped, and quoted in a URL, wholly or as far as a path needs it."""
    secrets = secrets_of(
        home,
        SMALLEST + "monitoring: {url: 'http://h/', headers: {X-Key: '${TOKEN}'}}",
        TOKEN="k7/Qp'3x&Zz9/w\"T+=<",  # noqa: S106  (no password, a test of one)
    )
    assert secrets.scrub(f"refused: {spelt}.") == "refused: ***."


def test_a_variable_that_is_no_text_is_a_wrong_configuration(home: Path) -> None:
    """A header cannot carry what is not UTF-8, and it could not be found again to be hidden."""
    content = SMALLEST + "monitoring: {url: 'http://h/', headers: {X-Key: '${TOKEN}'}}"
    with pytest.raises(ConfigError, match="the environment variable TOKEN is not UTF-8 text"):
        load(written(home, content), {"TOKEN": os.fsdecode(b"p\xe9ssword12")})


def test_a_token_in_front_of_the_host_is_a_secret(home: Path) -> None:
    """https://TOKEN@host has no password, yet a secret."""
    secrets = secrets_of(home, SMALLEST + "monitoring: {url: 'https://s3cr3t@h/'}")
    assert secrets.scrub("no answer from s3cr3t@h") == "no answer from ***@h"


@pytest.mark.parametrize("place", ["https://{}:@h/", "https://{}:x-oauth-basic@h/", "https://{}:x@h/"])
@pytest.mark.parametrize("key", ["monitoring: {{url: {}}}", "registry: {{url: {}, model: m}}"])
def test_a_token_beside_no_real_password_is_a_secret(home: Path, key: str, place: str) -> None:
    """Services take a token as the user, with an empty password or a word that stands for none."""
    for content, environment in (
        (place.format("s3cr3t-token"), {}),
        ("${U}", {"U": place.format("s3cr3t-token")}),
    ):
        secrets = secrets_of(home, SMALLEST + key.format(f"'{content}'"), **environment)
        assert "s3cr3t" not in secrets.scrub("no answer from s3cr3t-token, S3CR3T-TOKEN, s3cr3t-tok")


@pytest.mark.parametrize("url", ["http://${U}/m", "${U}/m"])
def test_the_user_and_the_fragment_are_secrets_where_a_variable_holds_them(home: Path, url: str) -> None:
    """Though the variable holds the host, too, which is none."""
    whole = ("" if "//" in url else "http://") + "me-and-my-7:passw0rd-8@monitor.example"
    secrets = secrets_of(home, SMALLEST + f"monitoring: {{url: '{url}'}}", U=whole)
    assert secrets.scrub("me-and-my-7 asked monitor.example with passw0rd-8") == "*** asked monitor.example with ***"
    secrets = secrets_of(home, SMALLEST + "monitoring: {url: '${U}'}", U="http://h/m#fragment-9")
    assert secrets.scrub("http://h/m#fragment-9") == "http://h/m#***"
    secrets = secrets_of(home, SMALLEST + "monitoring: {url: '${U}'}", U="http://prometheus:passw0rd-8@h/")
    assert secrets.scrub("the series of prometheus") == "the series of prometheus", "a word is in every message"
    secrets = secrets_of(home, SMALLEST + "monitoring: {url: 'http://retrain-1:passw0rd-8@h/'}")
    assert secrets.scrub("the user retrain-1") == "the user retrain-1", "written in the file it is none"


def test_the_training_does_not_inherit_what_a_secret_was_read_from(home: Path) -> None:
    """Variables of monitoring and notifications, also those with a default; not those of paths and of training."""
    content = SMALLEST + (
        "monitoring: {url: 'http://${HOST:-h}/', headers: {A: 'Bearer ${TOKEN}'}}\nstate: ${STATE}\n"
        "training: {environment: {KEY: '${KEY}'}}\nnotifications: {heartbeat: 'https://hc/${PING}'}\n"
    )
    environ = {"TOKEN": "s3cr3t", "STATE": "somewhere", "KEY": "abcdefg", "PING": "uuid-1234"}
    secrets = secrets_of(home, content, **environ)
    assert secrets.variables == {"TOKEN", "PING"}  # a host is no secret
    assert secrets.scrub("s3cr3t uuid-1234 somewhere") == "*** *** somewhere"


def test_what_addresses_a_notification_is_a_secret(home: Path) -> None:
    """Services take tokens in any part of an Apprise URL; neither they nor those of the command are inherited."""
    content = SMALLEST + (
        "notifications: {urls: ['tgram://${BOT}/4711', 'mailto://bob:s3cr3t-mail@mail'], command: 'post ${KEY}'}\n"
    )
    secrets = secrets_of(home, content, BOT="987654321:AbCdEfGhIj", KEY="k3y-of-hook")
    assert secrets.variables == {"BOT", "KEY"}
    assert secrets.scrub("987654321:AbCdEfGhIj bob s3cr3t-mail k3y-of-hook") == "*** bob *** ***"


# ---------------------------------------------------------------- files that are no configuration


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: 1\nb: \xff\n", "2: is not UTF-8 text: it holds the byte 0xff"),
        (b"a: 1\n\x00\n", "2: is not text: it holds the character #x0000"),
        (b"\x7fELF\x02\x01\x01", "1: is not text: it holds the character #x007f"),
        (b"\xff\xfea\x00", "1: is not UTF-8 text: it holds the byte 0xff"),
        (b"triggers:\n\tcooldown: 1h\n", "2: is not valid YAML: while scanning for the next token, found character"),
        (b"triggers: {\n", "2: is not valid YAML: while parsing a flow node, expected the node content,"),
        (b"triggers: 1\n---\n", "2: is not valid YAML: expected a single document in the stream, but found another"),
        (b"a:\n  b: 2026-13-45\n", "2: is not valid YAML: found a value that does not fit its type"),
        (b"a: !!bool perhaps\n", "1: is not valid YAML: found a value that does not fit its type"),
        (b"a: !!int ''\n", "1: is not valid YAML: found a value that does not fit its type"),
        (b"a: !!timestamp soon\n", "1: is not valid YAML: found a value that does not fit its type"),
        (b"a: !!python/object/apply:os.getcwd []\n", "1: is not valid YAML: could not determine a constructor"),
        (b"- a\n", "1: is not a mapping of sections (triggers:, monitoring:, ...)"),
        (b"5\n", "1: is not a mapping of sections (triggers:, monitoring:, ...)"),
        (b"? [a]\n: b\n", "1: a key must be a plain text"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"{a: " * 100_000, "is nested too deeply"),
        (b"a: " + b"[" * 30 + b"]" * 30, "1: is nested too deeply"),
        (b"#" * 2_000_000, "is longer than 1 MiB"),
    ],
)
def test_files_that_are_no_configuration(home: Path, content: bytes, sentence: str) -> None:
    """One line that says what the file is instead, and where."""
    (line,) = complaints(home, content)
    assert line.startswith(sentence)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing one and a directory, with the way round."""
    for path, why in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert str(caught.value) == f"{path}: cannot be read: {why} (name another file with -c)"


@pytest.mark.parametrize(
    "content",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\n",
        "x: &x {k: v}\ny: {<<: *x}\n",
        "x: &x {k: v}\ny: {<<: [*x, *x]}\n",
        "a: &a [*a]\n",
        "a: &a {b: *a}\n",
        "a: &a {? *a : 1}\n",
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]\n" for n in range(40)),
        "".join(f"? &a{n} [{', '.join([f'*a{n - 1}'] * 9 if n else ['x'] * 9)}]\n: {n}\n" for n in range(40)),
        "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9 if n else ['{x: y}'])}]}}\n" for n in range(40)),
    ],
)
def test_aliases_cannot_blow_up(home: Path, content: str) -> None:
    """Aliases of sections and lists are refused at once, in values, keys and merges."""
    (line,) = complaints(home, content)
    assert "aliases of sections" in line or "a key must be" in line


def test_aliases_of_a_text_with_a_variable_cannot_blow_up(home: Path) -> None:
    """Each one is filled in by itself, so all together are bounded."""
    content = f"name: &a '${{A:-a}}{'x' * 50_000}'\ntriggers: [{', '.join(['*a'] * 5_000)}]\n"
    (line,) = complaints(home, content)
    assert line.endswith("is longer than 16 MiB with its variables, so it is no configuration")


def test_a_value_may_have_an_alias_and_a_section_a_merge(home: Path) -> None:
    """What cannot blow up is plain YAML."""
    content = "triggers: {cooldown: &t 2h, settle: *t, <<: {max_model_age: 1d}}\n"
    assert loaded(home, content).triggers.settle == timedelta(hours=2)
    assert loaded(home, content).triggers.max_model_age == timedelta(days=1)


# ---------------------------------------------------------------- whatever a file says

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=5),
    st.text(max_size=12),
    st.sampled_from(["${A}", "${", "1h", "0s", "5MiB", "http://h/", "file:///x", "f1", "0.5", "~", "~x/y", "a.csv"]),
)
SECTIONS = [field.name for field in fields(Config)]
NAMES = [
    field.name for section in (Triggers, Monitoring, Training, Models, Promotion, Monitor) for field in fields(section)
]
KEYS = st.one_of(st.sampled_from(NAMES), st.text(max_size=5), st.integers(), st.none())
NESTED = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=5), max_leaves=12
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(SECTIONS) | KEYS, st.dictionaries(KEYS, NESTED, max_size=6) | NESTED, max_size=6
)
SIGNS = """[ ] { } ? : - , & * ! | > ' " % @ ` # ~ < = !!int !!bool !!set !!omap !!pairs !!timestamp !!float !!binary
<<: &a *a 0x_ 0b_ 0_ 1:2:3 ._ .nan 2026-02-30 2026-01-01T00:00:00+99:99 ${A} ${ \ud800 \0 é url f1 1h"""
YAMLISH = st.lists(
    st.sampled_from([*SECTIONS, *SIGNS.split(), " ", ": ", "\n", "\n  ", "\n- ", "\t", "---\n", "\0"]), max_size=30
).map("".join)
quietly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def either(home: Path, content: str | bytes) -> None:
    path = written(home, content)
    try:
        config, _ = load(path, {"A": "value"})
    except ConfigError as error:
        assert str(error).startswith(str(path))
        str(error).encode()
    else:
        assert isinstance(config, Config)


@quietly
@given(DOCUMENTS)
def test_any_document_is_a_configuration_or_an_error(home: Path, document: dict[Any, Any]) -> None:
    """Whatever plain values stand under the names of the sections."""
    either(home, yaml.safe_dump(document, allow_unicode=True))


@quietly
@given(YAMLISH | st.text(max_size=40))
def test_any_text_is_a_configuration_or_an_error(home: Path, text: str) -> None:
    """Whatever somebody types."""
    either(home, text.encode("utf-8", "surrogatepass"))


@quietly
@given(st.binary(max_size=60))
def test_any_file_is_a_configuration_or_an_error(home: Path, content: bytes) -> None:
    """Whatever file is named."""
    either(home, content)
