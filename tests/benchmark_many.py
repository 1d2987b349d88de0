"""What `retrain check -c DIR` costs for 100, 300 and 1,000 healthy projects, beside as many GETs in one process.

The processor time of all processes of the command, a project, in rounds that alternate.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from math import log
from pathlib import Path

from tests.effects.servers import page, serving

SIZES, ROUNDS, MOST = (100, 300, 1000), 3, 5.0
CONFIG = """
triggers: {{performance_threshold: 0.85, drift_threshold: 0.2}}
monitoring:
  url: {url}/metrics
  f1: model_f1_score
  drift: model_drift_psi
  observed_at:
    f1: model_labelled_window_end_timestamp_seconds
    drift: model_window_end_timestamp_seconds
promotion: {{holdout: fresh, target: label}}
"""
GETS = """
import sys, urllib3
pool = urllib3.PoolManager()
for _ in range(int(sys.argv[2])):
    assert pool.request("GET", sys.argv[1] + "/metrics").data
"""


def many_projects(sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> list[str]:
    """The lines of the table: milliseconds of processor time a project, and how they grow with the number."""
    costs: dict[tuple[str, int], list[float]] = {}
    with serving(lambda _request: page(_metrics())) as url, tempfile.TemporaryDirectory() as here:
        for size in sizes:
            _make(Path(here, str(size)), size, url)
        for _ in range(rounds + 1):  # the first check of a project makes its journal, and is not counted
            for size in sizes:
                check = [sys.executable, "-m", "retrain", "check", "-c", f"{here}/{size}"]
                gets = [sys.executable, "-c", GETS, url, str(size)]
                for name, command in (("check", check), ("GET", gets)):
                    costs.setdefault((name, size), []).append(_cost(command))
    counted = {key: [1000 * each / key[1] for each in found[1:]] for key, found in costs.items()}
    lines = [f"{'projects':>8}  {'check, ms each':<24}{'GET, ms each':<24}"]
    lines += [f"{n:>8,}  {_shown(counted['check', n]):<24}{_shown(counted['GET', n]):<24}" for n in sizes]
    least, most = sizes[0], sizes[-1]
    whole = {n: n * statistics.median(counted["check", n]) for n in sizes}
    each = (whole[most] - whole[least]) / (most - least)
    exponent = log(whole[most] / whole[least]) / log(most / least)
    verdict = "kept" if each <= MOST else "MISSED"
    return [*lines, f"one more project: {each:.2f} ms (at most {MOST:g}: {verdict}); exponent {exponent:.2f}"]


def _metrics() -> str:
    at = int(time.time()) - 3600
    names = ("model_labelled_window_end_timestamp_seconds", "model_window_end_timestamp_seconds")
    return "\n".join(["model_f1_score 0.93", "model_drift_psi 0.05", *(f"{name} {at}" for name in names), ""])


def _make(directory: Path, count: int, url: str) -> None:
    for number in range(count):
        project = directory / f"project-{number:04}"
        (project / "models").mkdir(parents=True)
        (project / "config.yaml").write_text(CONFIG.format(url=url))


def _cost(command: Sequence[str]) -> float:
    """Seconds of processor time of this command and what it has started."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def _shown(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


if __name__ == "__main__":
    print(*many_projects(), sep="\n")
