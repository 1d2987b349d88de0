"""What the commands that read no holdout cost: check, status, backtest, monitor, and all after a million events."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tests.benchmark.measure import (
    PYTHON,
    RETRAIN,
    Cost,
    Work,
    clock,
    exponent,
    mebibytes,
    memory,
    milliseconds,
    own,
    processor,
    retrain,
    run,
    script,
)
from tests.effects.servers import Request, page, serving
from tests.survival.million import challenges, ledger, lived, stretch
from tests.survival.year import models_beside

FEW, MANY = 100, 1000
"""Projects."""
EVENTS, FEW_DAYS = 1_000_000, 7
YEAR = 365 * 24 * 12
"""Readings, one in five minutes."""
APPENDED = 10_000
ASKING = """
import sys, click, yaml, requests
yaml.safe_load(open(sys.argv[1]))
print(requests.get(sys.argv[2], timeout=10).text)
"""
GETS = """
import sys, urllib3
pool = urllib3.PoolManager()
for _ in range(int(sys.argv[2])):
    assert pool.request("GET", sys.argv[1]).data
"""
READING = "import sys, json; print(len([json.loads(line) for line in open(sys.argv[1])]))"
FIRST_LOOK = """
import sys, time
from pathlib import Path
from retrain.config.schema import Config, Monitor
from retrain.exporter.measure import Gauge
print(Gauge(Config(monitor=Monitor(log=Path(sys.argv[1]), reference=Path(sys.argv[2])))).measure(time.time()))
"""
SECOND_LOOK = """
import os, sys, time
from pathlib import Path
from retrain.config.schema import Config, Monitor
from retrain.exporter.measure import Gauge
log = Path(sys.argv[1])
gauge = Gauge(Config(monitor=Monitor(log=log, reference=Path(sys.argv[2]))))
gauge.measure(time.time())
with log.open("rb+") as file:
    size = file.seek(0, os.SEEK_END)
    file.seek(-100 * int(sys.argv[3]), os.SEEK_END)
    more = b"".join(file.readlines()[1:][-int(sys.argv[3]):])
    file.write(more)
    file.flush()
    began = time.process_time()
    measured = gauge.measure(time.time())
    print(time.process_time() - began)
    file.truncate(size)
"""
PYARROW = "import sys, pyarrow.csv; print(pyarrow.csv.read_csv(sys.argv[1]).num_rows)"
"""Beside it stands what reads the same rows and does nothing with them."""
SAID = "f1 0.9\ndrift 0.1\n"


def check(here: Path, _rows: int) -> Iterator[Work]:
    """A healthy check, and what asks the same endpoint with the same libraries."""
    with serving(_answer) as url:
        root = _project(here / "check", {"type": "metrics", "url": url, "f1": "f1", "drift": "drift"})
        ours, other = retrain(root, "check"), script(ASKING, root, "config.yaml", url)
        goals = processor(1.3), clock(None), mebibytes(36)
        yield Work("check, healthy", "click, yaml, requests, one GET", ours, other, goals)


def _answer(_request: Request) -> list[bytes]:
    return page(SAID, content_type="text/plain; version=0.0.4")


def _project(root: Path, monitoring: dict[str, str]) -> Path:
    root.mkdir()
    triggers = {"performance_threshold": 0.85, "drift_threshold": 0.2}
    (root / "config.yaml").write_text(yaml.safe_dump({"triggers": triggers, "monitoring": monitoring}))
    return root


def projects(here: Path, _rows: int) -> Iterator[Work]:
    """A check of many healthy projects, beside as many requests in one process, and beside fewer projects."""
    with serving(_answer) as url:
        ours = {number: _many(here / f"many-{number}", number, url) for number in (FEW, MANY)}
        gets = script(GETS, here, url, str(MANY))
        yield Work(f"check -c DIR, {MANY:,} projects", f"{MANY:,} GETs", ours[MANY], gets, [milliseconds(MANY, 5)])
        name, linear = f"check -c DIR, {MANY:,} projects", [processor(1.05 * MANY / FEW), exponent(MANY / FEW)]
        yield Work(name, f"{FEW:,} projects", ours[MANY], ours[FEW], linear)


def _many(root: Path, number: int, url: str) -> Callable[[], Cost]:
    root.mkdir()
    for each in range(number):
        _project(root / f"project-{each:04}", {"type": "metrics", "url": url, "f1": "f1", "drift": "drift"})
    return retrain(root.parent, "check", "-c", root)


def history(here: Path, _rows: int) -> Iterator[Work]:
    """The commands after a million events, and after a few."""
    models = models_beside(here)
    old, new = lived(here, "old", FEW_DAYS, models), lived(here, "new", 2, models)
    stretch(old, EVENTS)
    name, beside = f"after {EVENTS:,} events", "after two days"
    yield Work(f"check, {name}", beside, retrain(old.root, "check"), retrain(new.root, "check"), [processor(1.05)])
    several = iter(challenges(here, models, "new", 1000))

    def promoted(root: Path) -> Callable[[], Cost]:
        return lambda: run([RETRAIN, *next(several)], root, exits=(0, 10, 11))

    yield Work(f"promote, {name}", beside, promoted(old.root), promoted(new.root), [processor(1.1)])
    fresh = lived(here, "fresh", FEW_DAYS, models)
    stretch(fresh, EVENTS, own_rows=True)
    name = f"promote, {len(ledger(fresh)):,} holdouts before it"
    yield Work(name, beside, promoted(fresh.root), promoted(new.root), [processor(None), memory(None)])
    year = lived(here, "year", FEW_DAYS, models)
    stretch(year, YEAR)
    retrain(year.root, "check")()  # which records what the events add up to
    html, nothing = retrain(year.root, "status", "--html", year.root / "page.html"), script("pass", year.root)
    yield Work(f"status --html, {YEAR:,} events", "python that does nothing", html, nothing, [own(1.5), memory(None)])


def backtest(here: Path, _rows: int) -> Iterator[Work]:
    """A year of readings in JSON lines, under one rule."""
    root = _project(here / "backtest", {"url": "http://127.0.0.1:9/metrics", "f1": "f1", "drift": "drift"})
    random, began = np.random.default_rng(0), datetime.now(UTC) - timedelta(days=366)
    with (root / "year.jsonl").open("w") as out:
        for number in range(YEAR):
            at = (began + timedelta(minutes=5 * number)).timestamp()
            f1, drift = round(random.normal(0.9, 0.01), 4), round(random.gamma(2, 0.02), 4)
            print(json.dumps({"at": at, "f1": f1, "drift": drift, "observed_at": at}), file=out)
    ours, other = retrain(root, "backtest", "year.jsonl"), script(READING, root, "year.jsonl")
    yield Work(f"backtest, {YEAR:,} readings", "reading the file", ours, other, [own(1.5)])


def monitor(here: Path, rows: int) -> Iterator[Work]:
    """The first look at a log of ten times so many rows, and the look after some more."""
    logs = [(here / "tenth", rows), (here / "monitor", 10 * rows)]
    for root, size in logs:
        root.mkdir()
        subprocess.run([sys.executable, "-m", __name__, root, str(size)], check=True, cwd=Path(__file__).parents[2])
    ours, other = (script(code, here / "monitor", "log.csv", "reference.parquet") for code in (FIRST_LOOK, PYARROW))
    name = f"monitor, first look at {10 * rows:,} rows of CSV"
    yield Work(name, "pyarrow.csv.read_csv", ours, other, [processor(1.5), memory(None)])
    short, long = (partial(_refreshed, root) for root, _ in logs)
    yield Work(f"monitor, {APPENDED:,} more rows", "where the log is a tenth as long", long, short, [processor(1.1)])


def _refreshed(root: Path) -> Cost:
    """What the second look took of the processor, by the process itself."""
    command = [PYTHON, "-c", SECOND_LOOK, "log.csv", "reference.parquet", str(APPENDED)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return Cost(float(done.stdout), 0, 0)


def make(root: Path, rows: int) -> None:
    """Write a log of the last days, and a reference."""
    random = np.random.default_rng(0)
    reference = pd.DataFrame(random.normal(size=(20_000, 4)), columns=list("abcd"))
    reference.to_parquet(root / "reference.parquet")
    now = datetime.now(UTC).timestamp()
    for number in range(10):
        frame = pd.DataFrame(random.normal(size=(rows // 10, 4)).round(6), columns=list("abcd"))
        labels = random.integers(2, size=len(frame))
        times = np.linspace(now - (10 - number) * 86400, now - (9 - number) * 86400, len(frame), endpoint=False)
        wrong = random.random(len(frame)) < 0.1
        full = frame.assign(timestamp=times.round(3), prediction=np.where(wrong, 1 - labels, labels), label=labels)
        full.to_csv(root / "log.csv", mode="a", header=number == 0, index=False)


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
