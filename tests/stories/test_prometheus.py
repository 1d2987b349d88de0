"""The whole chain of a team with Prometheus: prediction log → retrain monitor → Prometheus → retrain check."""

import time

import pytest

from tests.conftest import real
from tests.effects.servers import child, said
from tests.stories.project import RETRAIN, Project, until

pytestmark = pytest.mark.own_process

DAY = 86400


def log(project: Project, day: float, wrong: float) -> None:
    """Append the predictions of a day, of which this share is wrong; feature `a` does not drift."""
    path = project.root / "data/predictions.csv"
    rows = [] if path.exists() else ["timestamp,prediction,label,a"]
    for number in range(400):
        label = number % 2
        prediction = 1 - label if number % 100 < 100 * wrong else label
        rows.append(f"{day + number},{prediction},{label},{number % 97}")
    with path.open("a") as file:
        file.write("\n".join(rows) + "\n")


def test_a_prometheus_that_scrapes_retrain_monitor_drives_check(project: Project) -> None:
    """Healthy, then a day of bad predictions: the next check asks Prometheus in PromQL, sees the breach and trains.

    The window's end is what tells the days apart: Prometheus answers with the time of evaluation.
    """
    today = time.time() // DAY * DAY
    log(project, today - 2 * DAY, wrong=0.05)
    project.configure(
        triggers={"drift_threshold": None, "max_age": "3d"},
        monitoring={
            "type": "prometheus",
            "url": "http://127.0.0.1:9",
            "f1": 'model_f1_score{job="retrain"}',
            "drift": None,
            "observed_at": "model_labelled_window_end_timestamp_seconds",
            "samples": "model_labelled_samples",
            "counts": {"tp": "model_true_positives", "fp": "model_false_positives", "fn": "model_false_negatives"},
        },
        monitor={"log": "data/predictions.csv", "features": ["a"]},
    )
    with child(RETRAIN, "monitor", "--listen", "127.0.0.1:0", cwd=project.root) as monitor:
        address = said(monitor, r"http://(\S+)/metrics")
        scrape = f"scrape_configs: [{{job_name: retrain, static_configs: [{{targets: ['{address}']}}]}}]"
        (project.root / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n{scrape}\n"
        )
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=127.0.0.1:0"]
        with child(real("prometheus"), *flags, cwd=project.root) as server:
            port = said(server, r"Listening on.* address=127\.0\.0\.1:(\d+)")
            project.configure(monitoring={"url": f"http://127.0.0.1:{port}"})
            until(lambda: project.json("check")["reason"] == "healthy")
            healthy = project.json("check")["metrics"]
            assert (round(healthy["f1"], 3), healthy["samples"]) == (0.95, 400)
            log(project, today - DAY, wrong=0.4)
            until(lambda: project.json("check", "--dry-run")["action"] == "train")
            said_so = project.json("check")
            assert (said_so["reason"], said_so["run"]["outcome"]) == ("breach", "succeeded")
            assert said_so["breaches"][0]["value"] < 0.7
            assert project.json("check")["reason"] == "same_window"
