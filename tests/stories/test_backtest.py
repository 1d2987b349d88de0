"""`retrain backtest` through the installed command, on files, on its own journal and on a real Prometheus."""

import csv
import json
import os
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import real
from tests.effects.servers import child, page, said, serving
from tests.stories.project import Project, end, until

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def write(path: Path, windows: list[tuple[int, int, int]]) -> Path:
    """A history of one window a day with these counts."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["at", "observed_at", "f1", "drift", "tp", "fp", "fn"])
        for day, (tp, fp, fn) in enumerate(windows):
            end = (T0 + timedelta(days=day)).isoformat()
            rows.writerow([end, end, 2 * tp / (2 * tp + fp + fn), 0.1, tp, fp, fn])
    return path


GOOD, LOW, BAD = (180, 20, 20), (169, 31, 31), (150, 50, 50)


@pytest.fixture
def history(project: Project) -> Path:
    return write(project.root / "history.csv", [*[GOOD] * 10, LOW, *[GOOD] * 9, *[BAD] * 10])


def by_rule(answer: dict[str, Any]) -> dict[str, int]:
    return {each["rule"]: each["trainings"] for each in answer["rules"]}


def test_it_shows_the_configured_rule_beside_others(project: Project, history: Path) -> None:
    """The table, the dates and the reasons; `consecutive: 1` is the configured rule, so it is not shown twice."""
    done = project.run("backtest", str(history))
    assert done.returncode == 0, done.stderr
    assert "30 readings from 2026-01-01 00:00 UTC to 2026-01-30 00:00 UTC" in done.stdout
    assert "2026-01-11 00:00 UTC  F1 0.845 is below 0.850" in done.stdout
    answer = project.json("backtest", str(history))
    by_evidence = "evidence: {min_drop: 0.03, false_retrains_per_year: 1}"
    assert by_rule(answer) == {"as configured": 11, "consecutive: 3": 3, by_evidence: 10}
    configured = answer["rules"][0]
    assert configured["at"][0] == "2026-01-11T00:00:00Z"
    assert configured["per_year"] == pytest.approx(11 * 365.25 / 29)
    evidence = answer["rules"][2]
    assert evidence["at"][0] > "2026-01-21", "one low window among good ones is no evidence"


def test_any_rule_can_be_tried(project: Project, history: Path) -> None:
    """--rule changes the named triggers of the configured rule, and what is wrong with it is told."""
    rules = ["performance_threshold: 0.5", "{consecutive: 2, cooldown: 3d}"]
    answer = project.json("backtest", str(history), "--rule", rules[0], "--rule", rules[1])
    assert by_rule(answer) == {"as configured": 11, rules[0]: 0, rules[1]: 3}
    for wrong, words in (
        ("consecutiv: 3", "did you mean consecutive?"),
        ("consecutive: 0", "is not a whole number from 1 to"),
        ("[1, 2]", "a key must be a plain text"),
        ("3", "unknown key"),
        ("", "is empty"),
        ("consecutive: 2, consecutive: 3", "is given twice"),
        ("cooldown: 2020-13-45", "found a value that does not fit its type"),
        ("consecutive: 0b_", "found a value that does not fit its type"),
        ("cooldown: !!python/object/apply:os.system [id]", "is not valid YAML"),
        ("drift_threshold: null, performance_threshold: null", "nothing can trigger a training"),
        ("evidence: {min_drop: 0.9, false_retrains_per_year: 1}", "is not from 0.001 to 0.849"),
    ):
        done = project.run("backtest", str(history), "--rule", wrong)
        assert done.returncode == 2, wrong
        assert words in done.stderr


def test_a_history_without_counts_cannot_carry_the_evidence_rule(project: Project) -> None:
    """Refused with the way out; what was not recorded is left out and said."""
    history = project.root / "history.jsonl"
    lines = [{"at": (T0 + timedelta(days=day)).timestamp(), "f1": 0.8} for day in range(5)]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = project.run("backtest", str(history))
    assert "drift was not recorded, so it is left out" in done.stdout
    assert "evidence" not in done.stdout
    assert "readings of equal numbers count as one window" in done.stdout
    unrecorded = project.run("backtest", str(history), "--rule", "drift_threshold: 0.3")
    assert unrecorded.returncode == 2
    assert "needs drift, which" in unrecorded.stderr
    refused = project.run("backtest", str(history), "--rule", "evidence: {min_drop: 0.03, false_retrains_per_year: 1}")
    assert refused.returncode == 2
    assert "needs tp, fp and fn" in refused.stderr


def test_a_configured_rule_that_this_record_cannot_answer_is_left_out_for_others(project: Project) -> None:
    """The way out that its refusal names is one."""
    history = project.root / "history.jsonl"
    history.write_text("".join(json.dumps({"observed_at": 86400 * day, "f1": 0.8}) + "\n" for day in range(5)))
    project.configure(
        triggers={"evidence": {"min_drop": 0.03, "false_retrains_per_year": 1}, "drift_threshold": None},
        monitoring={"positives": "p"},
    )
    refused = project.run("backtest", str(history))
    assert refused.returncode == 2
    assert "--rule 'evidence: null' tries the plain rule" in refused.stderr
    answer = project.json("backtest", str(history), "--rule", "evidence: null")
    assert by_rule(answer) == {"evidence: null": 5}
    assert "so it is left out" in answer["message"]


def test_it_writes_nothing(project: Project, history: Path) -> None:
    """The past is read only."""
    before = project.files()
    assert project.run("backtest", str(history)).returncode == 0
    assert project.files() == before


def test_the_projects_own_journal_is_a_history(project: Project) -> None:
    """What the checks saw, decided anew: the same trainings."""
    project.configure(triggers={"cooldown": "0s", "challenger_ttl": "0s"})
    trained = 0
    for f1 in (0.9, 0.8, 0.9, None, 0.8):
        project.metrics(f1=f1)
        trained += project.json("check")["action"] == "train"
    answer = project.json("backtest", "state/journal.db")
    assert trained == 2
    assert by_rule(answer)["as configured"] == 2
    assert answer["readings"] == 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.csv", None, "gone.csv"),
        ("gone.db", None, "there is no such journal"),
        ("empty.csv", "", "empty.csv"),
        ("other.csv", "a,b\n1,2\n", "has no f1 or drift"),
        ("text.csv", "at,f1\n1,high\n", "text.csv:2"),
        ("x" * 300, None, "x" * 300),
        (f"{'x' * 300}.csv", None, "File name too long"),
        ("/dev/null.csv", None, "/dev/null.csv"),
    ],
)
def test_a_history_that_is_none_is_told(project: Project, name: str, content: str | None, words: str) -> None:
    """Exit 1, what is wrong and where."""
    if content is not None:
        (project.root / name).write_text(content)
    done = project.run("backtest", name)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_pipe_is_no_history(project: Project) -> None:
    """It is refused at once, and not waited for."""
    os.mkfifo(project.root / "pipe.csv")
    done = project.run("backtest", "pipe.csv")
    assert done.returncode == 1
    assert "not a regular file" in done.stderr


def test_a_signal_ends_the_replay_of_a_long_record(project: Project) -> None:
    """One process replays it, and ends at once with the code of the signal."""
    history = project.root / "long.csv"
    with history.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["observed_at", "f1"])
        rows.writerows([T0.timestamp() + 3600 * hour, 0.8 if hour % 1000 == 0 else 0.9] for hour in range(40_000))
    process = project.start("backtest", str(history))
    status = Path(f"/proc/{process.pid}/status")
    until(lambda: int(re.findall(r"SigCgt:\s+(\w+)", status.read_text())[0], 16) >> (signal.SIGTERM - 1) & 1 == 1)
    time.sleep(1)
    assert not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert end(process)[0] == 128 + signal.SIGTERM


def test_a_prometheus_is_asked_for_what_it_remembers(project: Project) -> None:
    """A span such as 1h reads the configured queries back from a real Prometheus."""
    scrape = "model_f1_score 0.8\nmodel_drift_psi 0.1\n"
    with serving(lambda _: page(scrape, content_type="text/plain; version=0.0.4")) as url:
        host = url.removeprefix("http://")
        (project.root / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            f"scrape_configs: [{{job_name: model, static_configs: [{{targets: ['{host}']}}]}}]\n"
        )
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=127.0.0.1:0"]
        with child(real("prometheus"), *flags, cwd=project.root) as server:
            port = said(server, r"Listening on.* address=127\.0\.0\.1:(\d+)")
            project.settings["monitoring"] = {
                "type": "prometheus",
                "url": f"http://127.0.0.1:{port}",
                "f1": "model_f1_score",
                "drift": "model_drift_psi",
            }
            project.configure()
            until(lambda: project.json("check", "--dry-run")["metrics"]["f1"] == 0.8)
            past = ("backtest", "1h", "--every", "1s")
            until(lambda: project.json(*past).get("readings", 0) >= 2)
            answer = project.json(*past)
    assert by_rule(answer)["as configured"] == 1, "without a date a window is its numbers, which never change here"


def test_an_endpoint_that_remembers_nothing_is_told(project: Project) -> None:
    """A span needs a Prometheus."""
    done = project.run("backtest", "30d")
    assert done.returncode == 1
    assert "keeps no history" in done.stderr


def test_a_prometheus_that_does_not_answer_is_unknown_metrics(project: Project) -> None:
    """Exit 4, as for a check; a span that cannot be meant is wrong usage."""
    project.configure(monitoring={"type": "prometheus", "url": "http://127.0.0.1:9", "retries": 0})
    done = project.run("backtest", "1h")
    assert done.returncode == 4
    assert "cannot be reached" in done.stderr
    for words in (["1h", "--every", "0s"], ["1h", "--every", "0.0001s"], ["0d"], ["3650d", "--every", "1s"]):
        assert project.run("backtest", *words).returncode == 2, words
