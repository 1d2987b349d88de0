"""A small project and a run of the installed command in it, with what the run cost."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.stories.project import RETRAIN

MARK = "trained"
"""The file that a training leaves in the project's directory."""
_LIMIT = 120.0
# A child inherits the peak of whoever forked it, so a process that is smaller than any check must do that.
_LAUNCHER = """
import json, os, sys, time
began, child = time.monotonic(), os.fork()
if not child:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, used = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    json.dump([time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


@dataclass(frozen=True)
class Ended:
    """How a run of `retrain` ended; its wall time and its work (CPU) in seconds, and its peak memory in MiB."""

    code: int
    out: str
    err: str
    seconds: float
    work: float
    peak: float


def site(root: Path, monitoring: Mapping[str, Any], **sections: Any) -> Path:
    """A directory with a configuration that watches F1 alone, and with a training that leaves a mark and no model."""
    root.mkdir(parents=True, exist_ok=True)
    document = {"triggers": {"performance_threshold": 0.85, "drift_threshold": None}, "monitoring": dict(monitoring)}
    (root / "config.yaml").write_text(yaml.safe_dump(document | sections))
    (root / "Makefile").write_text(f"train-model:\n\ttouch {MARK}\n")
    return root


def run(root: Path, *words: str, **environment: str) -> Ended:
    """What came of `retrain` with these words, run as cron would: no terminal."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RETRAIN_")}
    cost = root / "cost.json"
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, cost, RETRAIN, *words],
        cwd=root,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LIMIT,
        check=False,
    )
    seconds, work, peak = json.loads(cost.read_text())
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode(), seconds, work, peak)
