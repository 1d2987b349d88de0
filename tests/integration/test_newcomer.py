"""The first minutes of a newcomer: from `pip install` of the wheel to the first healthy check of a foreign project."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from uv import find_uv_bin

from tests.conftest import real
from tests.effects.servers import Request, child, page, said, serving
from tests.integration.test_wheel import wheel
from tests.stories.project import until

_TRAIN = """
import os
import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression

rows = pd.read_parquet(os.environ["RETRAIN_TRAINING"])
model = LogisticRegression().fit(rows[["age", "income", "visits"]], rows["label"])
joblib.dump(model, os.environ["RETRAIN_CHALLENGER"])
"""
"""A training as somebody has it; only the two paths are retrain's."""
_MAKEFILE = "train-model:\n\tpython train.py\n"


class Newcomer:
    """Somebody at a shell in a directory of theirs, who types a command and reads what it prints."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory, self.environment = directory, environment
        self.typed: list[str] = []
        self.background: list[subprocess.Popen[bytes]] = []
        self.began = time.monotonic()

    def types(self, line: str) -> "subprocess.CompletedProcess[str]":
        """What comes of the line; at its end an & leaves it running."""
        self.typed.append(line)
        words = shlex.split(line)
        words[0] = shutil.which(words[0], path=self.environment["PATH"]) or words[0]
        if words[-1] == "&":
            process = subprocess.Popen(words[:-1], cwd=self.directory, env=self.environment, stdout=subprocess.DEVNULL)
            self.background.append(process)
            return subprocess.CompletedProcess(words, 0, "", "")
        return subprocess.run(
            words,
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def follows(self, advice: str, wait: Callable[[], None]) -> "subprocess.CompletedProcess[str]":
        """What comes of the last of the commands that init has printed; before it, wait."""
        *before, last = re.findall("^retrain .*$", advice, re.M)
        for line in before:
            done = self.types(line)
            assert done.returncode == 0, done
        wait()
        return self.types(last)


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Newcomer]:
    """Somebody with a virtual environment of theirs, a shell that uses it, and the wheel."""
    built = wheel(tmp_path)
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    (tmp_path / "churn").mkdir()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}/venv/bin:{Path(find_uv_bin()).parent}:/usr/bin:/bin",
        "VIRTUAL_ENV": str(tmp_path / "venv"),
    }
    newcomer = Newcomer(tmp_path / "churn", environment)
    done = newcomer.types(f"uv pip install --quiet {built}")
    assert done.returncode == 0, done
    yield newcomer
    for process in newcomer.background:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def log_of(days: int, rows: int) -> pd.DataFrame:
    """A log of predictions with labels, up to now."""
    dice, now = np.random.default_rng(1), time.time()
    times = pd.to_datetime(now - np.sort(dice.random(rows))[::-1] * days * 86400, unit="s", utc=True)
    features = pd.DataFrame({"age": dice.normal(40, 10, rows), "income": dice.normal(3, 1, rows)}).round(2)
    features["visits"] = dice.poisson(4, rows)
    score = (features["age"] - 40) / 10 + features["income"] - 3 + (features["visits"] - 4) / 2
    seen = {name: (score + dice.normal(0, 0.4, rows) > 0).astype(int) for name in ("prediction", "label")}
    return features.assign(timestamp=times.strftime("%Y-%m-%dT%H:%M:%SZ"), **seen)


def until_served() -> None:
    """Wait for the monitor, which on a busy machine takes long for the first look at the log."""

    def is_served() -> bool:
        try:
            return "model_drift_psi " in requests.get("http://127.0.0.1:9109/metrics", timeout=60).text
        except requests.ConnectionError:
            return False

    until(is_served, 120)


def test_from_a_log_of_predictions_to_the_first_healthy_check(newcomer: Newcomer) -> None:
    """Six commands, `pip install` among them, and one line of a Makefile; each command is printed by the one before."""
    with socket.socket() as taken:
        if not taken.connect_ex(("127.0.0.1", 9109)):
            pytest.skip("port 9109, the default of retrain monitor, is taken on this machine")
    (newcomer.directory / "data").mkdir()
    log_of(days=6, rows=3000).to_csv(newcomer.directory / "data/predictions.csv", index=False)
    (newcomer.directory / "train.py").write_text(_TRAIN)
    (newcomer.directory / "Makefile").write_text(_MAKEFILE)
    advice = newcomer.types("retrain init --monitor data/predictions.csv")
    assert advice.returncode == 0, advice
    done = newcomer.follows(advice.stdout, until_served)
    assert done.returncode == 0, done
    assert "f1: healthy" in done.stderr + done.stdout
    assert "drift: healthy" in done.stderr + done.stdout
    assert len(newcomer.typed) <= 6
    print(*newcomer.typed, f"{time.monotonic() - newcomer.began:.0f} s", sep="\n")


def test_with_a_prometheus_to_the_first_healthy_check(newcomer: Newcomer, tmp_path: Path) -> None:
    """Three commands: the server knows what the model does."""

    def respond(_request: Request) -> list[bytes]:
        return page(
            f"churn_f1 0.93\nchurn_psi 0.04\nchurn_window_end_timestamp_seconds {time.time():.0f}\nup_since 1\n",
            content_type="text/plain; version=0.0.4",
        )

    with serving(respond) as target:
        settings = {
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": [
                {"job_name": "churn", "static_configs": [{"targets": [target.removeprefix("http://")]}]}
            ],
        }
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--web.listen-address=127.0.0.1:0"]
        with child(real("prometheus"), *flags, cwd=tmp_path) as server:
            url = "http://127.0.0.1:" + said(server, r"Listening on.* address=127\.0\.0\.1:(\d+)")

            def is_scraped() -> bool:
                asked = {"query": "churn_f1"}
                return "0.93" in requests.get(f"{url}/api/v1/query", params=asked, timeout=10).text

            until(is_scraped)
            newcomer.began = time.monotonic()
            advice = newcomer.types(f"retrain init --from-prometheus {url}")
            assert advice.returncode == 0, advice
            done = newcomer.types("retrain check -v")
    assert done.returncode == 0, done
    assert "f1: healthy" in done.stderr + done.stdout
    assert "drift: healthy" in done.stderr + done.stdout
    assert len(newcomer.typed) == 3
    print(*newcomer.typed, f"{time.monotonic() - newcomer.began:.0f} s without the install", sep="\n")
