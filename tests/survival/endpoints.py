"""Endpoints that are broken or mean harm, asked by the installed command: unknown metrics, and never a training."""

import socket
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from retrain.config.schema import MonitorType
from tests.effects.servers import page, serving
from tests.survival import hostile_answers, hostile_transport
from tests.survival.hostile_answers import QUERY, body
from tests.survival.measured import MARK, Ended, run, site

SAMPLES = Path(__file__).parents[1] / "effects" / "samples"
TIMEOUT = 2
"""Seconds: monitoring.timeout."""
_LATE = 30.0
"""Seconds beyond that in which even a busy machine has started, read what came and ended."""
_MEMORY = 64.0
"""MiB that no answer may take beyond a healthy check, unless it is a whole max_body of the smallest JSON values."""
_MEMORY_AT_THE_CAP = 200.0
_READABLE = {
    ("query-vector.json", MonitorType.PROMETHEUS),
    ("query-scalar.json", MonitorType.PROMETHEUS),
    ("pushgateway-metrics.txt", MonitorType.METRICS),
    ("evidently-report-n500-drift-and-classification.json", MonitorType.JSON),
    ("evidently-report-f1-no-positives.json", MonitorType.JSON),
    ("evidently-report-with-tests.json", MonitorType.JSON),
    ("evidently-ui-snapshot-download.json", MonitorType.JSON),
}
"""The samples that hold an F1, and how they are asked for it; every other pair is unknown."""
_STATUS = {"400": "400 Bad Request", "404": "404 Not Found", "422": "422 Unprocessable Entity"}


@dataclass(frozen=True)
class Looked:
    """One hostile endpoint, how it was asked, and what came of it."""

    name: str
    kind: MonitorType
    ended: Ended
    trained: bool


def look(kind: MonitorType, name: str, url: str, **more: Any) -> Looked:
    """What `retrain check` makes of this endpoint, in a project of its own."""
    with tempfile.TemporaryDirectory(prefix="endpoint-") as directory:
        asked = {"type": str(kind), "url": url, "f1": QUERY[kind], "timeout": f"{TIMEOUT}s", "retries": 1}
        root = site(Path(directory), asked | more)
        ended = run(root, "check")
        return Looked(name, kind, ended, (root / MARK).exists())


def unknown(looked: Looked, healthy: Ended) -> None:
    """Nothing where the check said in one line that F1 is unknown, in time and in bounded memory, and trained nothing.

    Raises AssertionError with the evidence.
    """
    ended = looked.ended
    assert ended.code == 4, looked
    assert not looked.trained, looked
    assert ended.out == "", looked
    assert ended.err.startswith("no decision: F1 is unknown: "), looked
    assert ended.err.count("\n") == 1, looked
    assert ended.err.removesuffix("\n").isprintable(), looked
    assert len(ended.err) < 800, looked
    assert ended.seconds < healthy.seconds + TIMEOUT + _LATE, looked
    bound = _MEMORY_AT_THE_CAP if looked.name in hostile_answers.AT_THE_CAP else _MEMORY
    assert ended.peak < healthy.peak + bound, looked


def controls() -> Ended:
    """A healthy check of a sound endpoint; raises AssertionError unless that says nothing, and a low F1 trains."""
    for kind in QUERY:
        with serving(lambda _, kind=kind: page(body(kind, "0.1"))) as url:  # type: ignore[misc]
            low = look(kind, "low", url)
        assert low.trained, low
        with serving(lambda _, kind=kind: page(body(kind, "0.9"))) as url:  # type: ignore[misc]
            healthy = look(kind, "healthy", url)
        assert (healthy.ended.code, healthy.ended.out, healthy.ended.err) == (0, "", ""), healthy
    return healthy.ended


def samples(kinds: Iterable[MonitorType] = tuple(QUERY), every: int = 1) -> Iterator[Looked]:
    """Every recorded answer of a real component, asked for an F1 in each way; only some of them have one."""
    jobs = [(path, kind) for kind in kinds for path in sorted(SAMPLES.iterdir())]
    with ThreadPoolExecutor(4) as pool:
        for looked in pool.map(lambda job: _sample(*job), jobs[::every]):
            assert not looked.trained, looked
            if (looked.name, looked.kind) in _READABLE:
                assert (looked.ended.code, looked.ended.err) == (0, ""), looked
            else:
                yield looked


def _sample(path: Path, kind: MonitorType) -> Looked:
    queries = {
        MonitorType.METRICS: "model_f1_score",
        MonitorType.PROMETHEUS: "f1",
        MonitorType.JSON: "metrics[?starts_with(metric_name, 'F1Score(')].value | [0]",
    }
    answer = page(path.read_bytes(), _STATUS.get(path.stem[-3:], "200 OK"))
    with serving(lambda _: answer) as url, tempfile.TemporaryDirectory(prefix="sample-") as directory:
        asked = {"type": str(kind), "url": url, "f1": queries[kind], "timeout": "10s", "retries": 0}
        # Some have the time at which they were recorded.
        triggers = {"performance_threshold": 0.05, "drift_threshold": None, "max_age": "3650d"}
        root = site(Path(directory), asked, triggers=triggers)
        return Looked(path.name, kind, run(root, "check"), (root / MARK).exists())


def hostile(every: int = 1) -> Iterator[Looked]:
    """Every hostile endpoint asked in every way, or every so many of these pairs."""
    with ExitStack() as stack:
        other, asked_elsewhere = hostile_transport.elsewhere(stack)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certificates-")))
        certificates = hostile_transport.certificates(directory)
        jobs = []
        for kind in QUERY:
            for name, respond in hostile_answers.answers(kind).items():
                jobs.append(partial(_served, kind, name, respond))
            for name, respond in hostile_transport.answers(kind, other).items():
                jobs.append(partial(_served, kind, name, respond))
            jobs += [
                partial(look, kind, name, url, **more)
                for name, url, more in hostile_transport.places(stack, directory, kind, certificates)
            ]
        with ThreadPoolExecutor(4) as pool:
            yield from pool.map(lambda job: job(), jobs[::every])
        for request in asked_elsewhere:
            assert not {"authorization", "x-marker", "cookie"} & request.headers.keys(), request


def _served(kind: MonitorType, name: str, respond: Any) -> Looked:
    with serving(respond) as url:
        headers = {"X-Marker": "marker", "Cookie": "a=b"}
        return look(kind, name, url.replace("//", "//user:word@"), headers=headers)


def unresolvable() -> Looked:
    """A host whose name nobody knows (RFC 6761 keeps .invalid free)."""
    return look(MonitorType.METRICS, "no such host", "http://nobody.invalid/metrics")


def refused() -> Looked:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return look(MonitorType.METRICS, "refused", f"http://127.0.0.1:{port}/metrics")


def figures() -> Iterator[str]:
    """What was asked and what it cost, at full size."""
    healthy = controls()
    yield f"a healthy check over HTTP: {healthy.seconds:.2f} s, {healthy.peak:.0f} MiB at most"
    seen = [*hostile(), refused(), unresolvable()]
    told = [*samples()]
    for looked in (*seen, *told):
        unknown(looked, healthy)
    names = {looked.name for looked in seen}
    yield f"{len(seen)} checks of {len(names)} hostile endpoints (3 types): exit 4, one line, no training, every time"
    readable = f"{len(_READABLE)} pairs with an F1 were read"
    yield f"{len(told)} pairs of a recorded answer and a wrong type or query: the same; {readable}"
    slowest = max(seen, key=lambda looked: looked.ended.seconds)
    over = slowest.ended.seconds - TIMEOUT
    yield f"the slowest took {over:.2f} s more than monitoring.timeout ({slowest.name}, {slowest.kind})"
    for label, chosen in (
        ("at most", [each for each in seen if each.name not in hostile_answers.AT_THE_CAP]),
        ("5 MiB of the smallest JSON values", [each for each in seen if each.name in hostile_answers.AT_THE_CAP]),
    ):
        largest = max(chosen, key=lambda looked: looked.ended.peak)
        more = largest.ended.peak - healthy.peak
        yield f"memory beyond a healthy check, {label}: {more:.0f} MiB ({largest.name}, {largest.kind})"
