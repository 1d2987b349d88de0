"""`retrain rehearse` with a real training command, on a small stream whose world turns round half-way."""

import json
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from retrain.config.load import load
from retrain.context import open_context
from retrain.core.rules import Average
from retrain.errors import RetrainError
from retrain.exporter.measure import Gauge
from retrain.rehearse.stream import read
from tests.conftest import IN_CI
from tests.stories.project import Models, Project, make_models, until

pytestmark = pytest.mark.usefixtures("scored_here")

DAYS, TURN, MOVE, ROWS = 12, 6, 9, 120
T0 = datetime(2026, 1, 1, tzinfo=UTC)
TRAIN = """
import json, os
import joblib, pandas as pd
from rules import Rule

rows = pd.read_parquet(os.environ["RETRAIN_TRAINING"])
left_out = pd.read_parquet(os.environ["RETRAIN_HOLDOUT"])
with open("seen.jsonl", "a") as file:
    shared = len(rows.merge(left_out))
    newest = max([rows["timestamp"].max(), *left_out["timestamp"]])
    print(json.dumps([rows["timestamp"].min(), newest, len(rows), len(left_out), shared]), file=file)
joblib.dump(Rule(0.5).fit(rows, rows["label"]), os.environ["RETRAIN_CHALLENGER"])
"""


def write_log(path: Path) -> Path:
    """One window a day; from day TURN on what was positive is negative, from day MOVE on `c`, a noise, is larger."""
    dice = np.random.default_rng(1)
    rows = pd.DataFrame(dice.normal(size=(DAYS * ROWS, 3)), columns=list("abc"))
    day = np.arange(len(rows)) // ROWS
    sign = np.where(day < TURN, 1, -1)
    rows["label"] = (sign * rows["a"] + dice.normal(scale=0.3, size=len(rows)) > 0).astype(int)
    rows["c"] += np.where(day < MOVE, 0.0, 3.0)
    step = timedelta(days=1) / ROWS
    rows.insert(0, "timestamp", [(T0 + number * step).isoformat() for number in range(len(rows))])
    rows.loc[5, "label"] = None
    rows.sample(frac=1, random_state=0).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of its own, whose trainings are shared by the tests as they are by the policies."""
    models: Models = make_models(tmp_path_factory.mktemp("models"))
    made = Project(tmp_path_factory.mktemp("project"), models, installed=False)
    made.settings["triggers"] = {"performance_threshold": 0.8}
    made.settings["promotion"] = {"holdout": "fresh", "fresh": {"min_rows": 40}}
    made.settings["monitor"] = {"bins": 5, "reference": None}
    made.configure(training={"command": f"{sys.executable} train.py", "history": "2d"})
    (made.root / "train.py").write_text(TRAIN)
    write_log(made.root / "log.csv")
    return made


def rehearsed(project: Project, *words: str) -> dict[str, dict[str, Any]]:
    """The policies by name."""
    done = project.run("rehearse", "log.csv", "--json", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return {each["policy"]: each for each in json.loads(done.stdout)["policies"]}


def test_it_shows_what_each_policy_is_worth(project: Project) -> None:
    """Never, after every window, as configured, no gate, and hindsight, on the same windows with the same trainings."""
    before = {name: file for name, file in project.files().items() if not name.startswith("state")}
    found = rehearsed(project)
    assert list(found) == ["never", "calendar", "as configured", "gate: none", "hindsight"]
    windows = DAYS - 2
    assert all(len(each["f1"]) == windows for each in found.values())
    assert found["never"]["trainings"] == 0
    assert found["calendar"]["trainings"] == found["calendar"]["promotions"] == windows - 1
    assert 0 < found["as configured"]["promotions"] <= found["as configured"]["trainings"] < windows - 1
    gaps = {name: each["gap_closed"] for name, each in found.items()}
    assert gaps["never"] == 0 < gaps["as configured"] <= gaps["hindsight"] == 1
    assert found["never"]["mean_f1"] < 0.65 < found["as configured"]["mean_f1"]
    after = {name: file for name, file in project.files().items() if not name.startswith("state")}
    assert before == {name: after[name] for name in before}, "neither models nor data are touched"
    assert not (project.root / "state/journal.db").exists()


def test_drift_is_that_of_the_monitor(project: Project) -> None:
    """Drift trains as in production: the monitor's index, against the rows that the serving model was trained on."""
    triggers = {"performance_threshold": None, "drift_threshold": 0.2}
    project.configure(triggers=triggers)
    try:
        done = project.run("rehearse", "log.csv", "-v", "--json", "--rule", "drift_threshold: 50")
        story = project.run("rehearse", "log.csv", "-v").stderr
    finally:
        project.configure(triggers={"performance_threshold": 0.8, "drift_threshold": None})
    found = {each["policy"]: each for each in json.loads(done.stdout)["policies"]}
    assert found["drift_threshold: 50"]["trainings"] == 0
    assert found["as configured"]["trainings"] > 0
    rows = pd.read_csv(project.root / "log.csv")
    day = (pd.to_datetime(rows["timestamp"], format="ISO8601") - T0) // timedelta(days=1)
    log, reference = project.root / "moved.csv", project.root / "reference.parquet"
    rows[day == MOVE].to_csv(log, index=False)
    rows[(day < 2) & rows["label"].notna()].to_parquet(reference)
    config = open_context(project.root / "config.yaml").config
    gauge = Gauge(replace(config, monitor=replace(config.monitor, log=log, reference=reference)))
    drift = gauge.measure((T0 + (MOVE + 1) * timedelta(days=1)).timestamp()).drift
    assert drift is not None
    first = story.splitlines()[1]
    assert (
        first == f"{T0 + (MOVE + 1) * timedelta(days=1):%Y-%m-%d}  training: drift {drift.psi['c']:.3f} is above 0.200"
    )


def test_drift_that_cannot_be_rehearsed_is_named(project: Project) -> None:
    """A p-value is none that the monitor serves; and a window may have too few rows for its bins."""
    project.configure(triggers={"drift_threshold": 0.2, "drift_breach": "below"})
    try:
        assert "drift is not rehearsed: triggers.drift_breach is below" in project.run("rehearse", "log.csv").stdout
        project.configure(triggers={"drift_breach": "above"}, monitor={"bins": 10})
        few = "as configured: drift of 9 windows is unknown; the last: no drift: the window that ended at 2026-01-12"
        assert few in project.run("rehearse", "log.csv").stdout
    finally:
        project.configure(triggers={"drift_threshold": None}, monitor={"bins": 5})


@pytest.mark.parametrize(("name", "begins"), [("chart.png", b"\x89PNG"), ("chart.svg", b"<?xml")])
def test_the_chart_shows_every_policy(project: Project, name: str, begins: bytes) -> None:
    """--chart draws F1 of each policy, the threshold, and what the configured one did, in the format of the suffix."""
    if IN_CI:
        import matplotlib  # noqa: F401
    pytest.importorskip("matplotlib")
    done = project.run("rehearse", "log.csv", "--chart", name)
    assert f"the chart is in {name}" in done.stdout, done.stderr
    drawn = (project.root / name).read_bytes()
    assert drawn.startswith(begins)
    if name.endswith(".svg"):
        policies = ("never", "calendar", "as configured", "gate: none", "hindsight")
        texts = (*policies, "log.csv: live F1 by window", "performance_threshold 0.8", "trained", "promoted")
        assert all(f"<!-- {text} -->" in drawn.decode() for text in texts)


def test_a_chart_that_cannot_be_drawn_is_refused_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install, or which formats there are, before anything is trained."""
    done = project.run("rehearse", "log.csv", "--chart", "chart.doc", "--cache", "unused")
    assert (done.returncode, done.stderr) == (2, "retrain: --chart: chart.doc must end in .png or .svg\n")
    assert "no directory nowhere" in project.run("rehearse", "log.csv", "--chart", "nowhere/chart.png").stderr
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = project.run("rehearse", "log.csv", "--chart", "chart.png", "--cache", "unused")
    assert done.returncode == 1
    assert "pip install 'retrain-controller[report]'" in done.stderr
    assert not (project.root / "unused").exists()


def test_a_training_knows_nothing_of_later_days(project: Project) -> None:
    """RETRAIN_TRAINING has the rows of training.history up to then, without those in RETRAIN_HOLDOUT."""
    rehearsed(project)
    seen = [json.loads(line) for line in (project.root / "seen.jsonl").read_text().splitlines()]
    for oldest, newest, rows, left_out, shared in seen:
        end = datetime.fromisoformat(newest)
        assert end.hour == 23, "the newest row is one of the end of a window"
        assert end - datetime.fromisoformat(oldest) < timedelta(days=2)
        assert shared == 0
        assert left_out in (0, 40)
        assert rows + left_out in (2 * ROWS, 2 * ROWS - 1), "but one row has no label"


def test_a_second_rehearsal_goes_on_with_the_trainings_of_the_first(project: Project) -> None:
    """The same trainings are not made again, and the figures are the same."""
    first = rehearsed(project)
    made = (project.root / "seen.jsonl").read_text()
    assert rehearsed(project) == first
    assert (project.root / "seen.jsonl").read_text() == made
    assert "of an earlier rehearsal used again" in project.run("rehearse", "log.csv").stdout


def test_other_rules_and_gates_are_tried(project: Project) -> None:
    """--rule takes triggers, --gate the kind of the holdout, keys of promotion, or both."""
    rule, gates = "performance_threshold: 0.01", ("old", "live, live: {min_rows: 100}", "alpha: 0.4")
    found = rehearsed(project, "--rule", rule, *(word for gate in gates for word in ("--gate", gate)))
    names = [rule, *(f"gate: {gate}" for gate in gates)]
    assert list(found) == ["never", "calendar", "as configured", *names, "hindsight"]
    assert found[rule]["trainings"] == 0
    assert found["gate: live, live: {min_rows: 100}"]["trainings"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gate", "fresch"], "unknown key"),
        (["--gate", "alpha: 2"], "--gate takes fresh, live, old, none"),
        (["--gate", "none", "--gate", "none"], "given twice"),
        (["--rule", "consecutiv: 3"], "did you mean consecutive?"),
        (["--window", "soon"], "is not a duration"),
        (["--sample", "2"], "Invalid value for '--sample'"),
    ],
)
def test_what_is_wrong_with_a_flag_is_said(project: Project, words: list[str], said: str) -> None:
    """Exit code 2, and a sentence that names the flag."""
    done = project.run("rehearse", "log.csv", *words)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr


def test_spoiled_trainings_show_what_the_gate_is_for(project: Project) -> None:
    """With --break the calendar serves spoiled models, and the gate keeps them out."""
    found = rehearsed(project, "--break", "0.4", "--seed", "1")
    assert found["calendar"]["broken_windows"] > 0
    assert found["as configured"]["broken_windows"] == 0
    assert "broken" in project.run("rehearse", "log.csv", "--break", "0.4", "--seed", "1").stdout


def test_a_probation_compares_on_the_same_rows(project: Project) -> None:
    """As `check` does: a spoiled model that the gate let through goes, when the one before is better on its rows."""
    before = dict(project.settings["triggers"]), dict(project.settings["promotion"])
    live = {"holdout": "live", "live": {"min_rows": 40}, "min_improvement": -1.0, "probation": "5d"}
    project.configure(triggers={"max_model_age": "1d"}, promotion=live)
    try:
        done = project.run("rehearse", "log.csv", "-v", "--break", "0.4", "--seed", "1")
    finally:
        project.settings |= dict(zip(("triggers", "promotion"), before, strict=True))
        project.configure()
    assert "rolling back: on the same 120 rows since the promotion" in done.stderr


def test_prices_name_the_cheapest(project: Project) -> None:
    """Dear trainings make never the cheapest, cheap ones do not."""
    said = json.loads(project.run("rehearse", "log.csv", "--json", "--training-costs", "1000000").stdout)
    assert said["cheapest"] == "never"
    said = project.run("rehearse", "log.csv", "--training-costs", "1", "--f1-point-is-worth", "100").stdout
    assert "cheapest: never" not in said
    assert "cheapest: " in said


def test_a_command_that_does_not_train_on_the_given_rows_is_refused(project: Project) -> None:
    """It would have read rows of the future, and its figures would mislead."""
    project.configure(training={"command": f"cp {project.models.strong} models/other.joblib"})
    try:
        done = project.run("rehearse", "log.csv")
        assert done.returncode == 1
        assert "must write its model to $RETRAIN_CHALLENGER" in done.stderr
        project.configure(training={"command": f"sh -c 'cp {project.models.strong} $RETRAIN_CHALLENGER'"})
        done = project.run("rehearse", "log.csv")
        assert done.returncode == 1
        assert "left the same model for different rows" in done.stderr
    finally:
        project.configure(training={"command": f"{sys.executable} train.py"})


def test_labels_and_times_are_read_as_the_monitor_reads_them(project: Project) -> None:
    """No label, of blanks or none, and no time that is understood: the row is left out; `NA` is a class."""
    config, _ = load(project.root / "config.yaml", {})
    rows, file = pd.read_csv(project.root / "log.csv").dropna(), project.root / "words.csv"
    rows["label"] = rows["label"].map({0.0: "NA", 1.0: "b"})
    rows.loc[rows.index[:7], "label"] = [" ", "", "  ", " ", "", " ", " "]
    rows.to_csv(file, index=False)
    stream, left_out = read(config, file, timedelta(days=1), None, 1.0)
    assert left_out == 7
    assert set(stream.truth) == {"NA", "b"}
    rows["timestamp"] = pd.to_datetime(rows["timestamp"], format="ISO8601").map(lambda at: 1000 * at.timestamp())
    rows.to_csv(file, index=False)
    with pytest.raises(RetrainError, match="has no row with a label and a time"):
        read(config, file, timedelta(days=1), None, 1.0)


def test_classes_that_are_one_number_are_apart_as_for_the_monitor(project: Project) -> None:
    """Requirement: a model that takes each for the other is always wrong."""
    config, _ = load(project.root / "config.yaml", {})
    config = replace(config, promotion=replace(config.promotion, average=Average.MACRO))
    rows, file = pd.read_csv(project.root / "log.csv").dropna(), project.root / "versions.csv"
    rows["label"] = rows["label"].map({0.0: "1.1", 1.0: "1.10"})
    rows.loc[rows.index[0], "label"] = "other"
    rows.to_csv(file, index=False)
    stream, _ = read(config, file, timedelta(days=1), None, 1.0)
    confused = np.where(stream.truth == "1.1", "1.10", "1.1").astype(object)
    assert stream.quality(confused, 3).f1 == 0
    assert stream.quality(stream.truth, 3).f1 == 1


def test_a_log_that_is_too_short_or_lacks_a_column_is_refused(project: Project) -> None:
    """The sentence says what is missing."""
    target = project.settings["promotion"].get("target", "label")
    rows = pd.read_csv(project.root / "log.csv")
    rows.drop(columns="label").to_csv(project.root / "unlabelled.csv", index=False)
    assert "has no column 'label'" in project.run("rehearse", "unlabelled.csv").stderr
    rows.assign(y=0).to_csv(project.root / "twice.csv", index=False)
    project.configure(promotion={"target": "y"})
    twice = "has a column 'y', the name that promotion.target gives to 'label'"
    assert twice in project.run("rehearse", "twice.csv").stderr
    project.configure(promotion={"target": target})
    project.configure(promotion={"group": "customer"})
    assert "has no column 'customer', which promotion.group names" in project.run("rehearse", "log.csv").stderr
    project.configure(promotion={"group": None, "slices": ["region"]})
    assert "has no column 'region', which promotion.slices names" in project.run("rehearse", "log.csv").stderr
    project.configure(promotion={"slices": []})
    rows.sort_values("timestamp").head(2 * ROWS).to_csv(project.root / "short.csv", index=False)
    assert "take a longer log" in project.run("rehearse", "short.csv").stderr


def test_it_ends_well_when_it_is_interrupted_and_goes_on(project: Project) -> None:
    """Ctrl-C ends it in a sentence; what was trained is kept."""
    cache = project.root / "other-cache"
    words = ("rehearse", "log.csv", "--window", "2d", "--cache", str(cache))
    process = project.start(*words)
    until(lambda: len(list(cache.glob("*/version"))) >= 2, 60)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert not list(cache.glob(".scratch-*"))
    kept = len(list(cache.glob("*/version")))
    done = project.run(*words)
    assert done.returncode == 0, done.stderr
    assert f"{kept} trainings of an earlier rehearsal used again" in done.stdout
