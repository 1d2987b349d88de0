"""A real Prometheus that scrapes a real Pushgateway and an exposition of ours."""

import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retrain.config.schema import Monitoring, MonitorType, ObservedAt
from retrain.core.records import Snapshot
from retrain.effects.monitoring import fetch
from tests.conftest import real
from tests.effects.servers import child, page, said, serving
from tests.effects.test_monitoring import NO_SECRETS, why, worth

EXPOSITION = """\
# TYPE model_f1_score gauge
model_f1_score{model="churn"} 0.7421
model_drift_psi{feature="age"} 0.31
model_drift_psi{feature="income"} NaN
model_monitor_problem{problem="no F1: rows are lost"} 1
"""
LISTENING = r"Listening on.* address=127\.0\.0\.1:(\d+)"


@dataclass(frozen=True)
class World:
    """The URLs of both servers, and when the one push took place."""

    prometheus: str
    pushgateway: str
    pushed: datetime

    def ask(self, **queries: Any) -> Snapshot:
        """What Prometheus says."""
        return fetch(Monitoring(self.prometheus, MonitorType.PROMETHEUS, **queries), NO_SECRETS, self.pushed)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both servers, after a push that Prometheus has scraped more than once."""
    programs = real("prometheus"), real("prometheus-pushgateway")
    directory = tmp_path_factory.mktemp("prometheus")
    exposition = serving(lambda _: page(EXPOSITION, content_type="text/plain; version=0.0.4"))
    anywhere = "--web.listen-address=127.0.0.1:0"
    with exposition as model, child(programs[1], anywhere, cwd=directory) as gateway:
        pushgateway = f"http://127.0.0.1:{said(gateway, LISTENING)}"
        push(pushgateway, b"model_recall 0.9\n")
        pushed = datetime.now(UTC)
        (directory / "prometheus.yml").write_text(configuration(model, pushgateway))
        flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", anywhere]
        with child(programs[0], *flags, cwd=directory) as server:
            made = World(f"http://127.0.0.1:{said(server, LISTENING)}", pushgateway, pushed)
            until(lambda: made.ask(f1="count(model_f1_score) + count(model_recall offset 500ms)").f1)
            yield made


def configuration(exposition: str, pushgateway: str) -> str:
    """Two scrapes, five times a second."""
    lines = ["global: {scrape_interval: 200ms, scrape_timeout: 200ms}", "scrape_configs:"]
    for job, url in {"model": exposition, "push": pushgateway}.items():
        target = f"static_configs: [{{targets: ['{url.removeprefix('http://')}']}}]"
        lines.append(f"  - {{job_name: {job}, honor_labels: true, {target}}}")
    return "\n".join(lines)


def push(pushgateway: str, body: bytes) -> None:
    """Push as a nightly job would."""
    request = urllib.request.Request(f"{pushgateway}/metrics/job/nightly", body, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310
        pass


def until(number: Callable[[], object]) -> None:
    """Wait for a number to be there."""
    end = time.monotonic() + 30
    while not isinstance(value := number(), float):
        assert time.monotonic() < end, value
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("model_f1_score", 0.7421),
        ('model_f1_score{model="churn"} * 2', 1.4842),
        ("scalar(model_f1_score)", 0.7421),
        ("nope", "missing"),
        ("model_drift_psi", "ambiguous"),
        ('model_drift_psi{feature="income"}', "not_finite"),
        ("max(model_drift_psi)", 0.31),
        ("scalar(nope)", "not_finite"),
        ("model_f1_score / 0", "not_finite"),
        ("model_f1_score[5s]", "not_a_number"),
        ('"text"', "not_a_number"),
        ("model_f1_score{", "status"),
        ("model_f1_score + on(model) group_left model_drift_psi + on() model_drift_psi", "status"),
    ],
)
def test_queries(world: World, query: str, expected: object) -> None:
    """PromQL gives one finite number, or the kind of answer that it gave instead."""
    assert worth(world.ask(f1=query).f1) == expected


def test_the_servers_own_words_are_told(world: World) -> None:
    """A query that Prometheus cannot read is told with the error of Prometheus."""
    sentence = why(world.ask(f1="model_f1_score{").f1)
    assert sentence.startswith(f"{world.prometheus}/api/v1/query answered 400: ")
    assert "parse error: unexpected end of input" in sentence
    assert sentence.endswith(" (check the query model_f1_score{)")


def test_series_are_told_apart(world: World) -> None:
    """Two series are named by their labels, and a reading carries those of its series."""
    snapshot = world.ask(f1="model_drift_psi", drift='model_drift_psi{feature="age"}')
    assert 'feature="age"' in why(snapshot.f1)
    assert snapshot.labels == {"drift": "feature=age"}


def test_the_monitors_own_problem_is_the_cause(world: World) -> None:
    """What `retrain monitor` does not serve is unknown for the reason that it gives, also behind Prometheus."""
    snapshot = world.ask(f1="model_f1_score_of_nothing", drift="some_drift")
    assert why(snapshot.f1).endswith("is not served: no F1: rows are lost")
    assert "matches no series" in why(snapshot.drift)


def test_all_queries_are_about_one_instant(world: World) -> None:
    """Scrapes go on between the queries; the server's clock is asked once."""
    at = ObservedAt(f1="time() + 0 * model_f1_score", drift="time()")
    snapshot = world.ask(f1="time()", observed_at=at, drift="timestamp(model_f1_score)", window="time()")
    assert isinstance(snapshot.f1, float)
    instant = datetime.fromtimestamp(snapshot.f1, UTC)
    assert (snapshot.f1_observed_at, snapshot.drift_observed_at) == (instant, instant)
    assert snapshot.window == repr(snapshot.f1)


def test_a_value_once_pushed_looks_fresh_for_ever(world: World) -> None:
    """The scrape of a pushed value is always new; only push_time_seconds tells when it was pushed."""
    at = ObservedAt(f1="timestamp(model_recall)", drift='push_time_seconds{job="nightly"}')
    pushed = world.ask(drift="model_recall", observed_at=at).drift_observed_at
    assert isinstance(pushed, datetime)
    assert abs(pushed - world.pushed) < timedelta(seconds=30)

    def scraped_later() -> object:
        scraped = world.ask(f1="model_recall", observed_at=at).f1_observed_at
        assert isinstance(scraped, datetime)
        return 1.0 if scraped > pushed + timedelta(seconds=0.5) else scraped

    until(scraped_later)
    assert world.ask(drift="model_recall", observed_at=at).drift_observed_at == pushed


def test_the_pushgateway_itself(world: World) -> None:
    """The text that a Pushgateway shows is read as it is."""
    at = ObservedAt(f1='push_time_seconds{job="nightly"}')
    asked = Monitoring(f"{world.pushgateway}/metrics", f1='model_recall{job="nightly"}', observed_at=at)
    snapshot = fetch(asked, NO_SECRETS, world.pushed)
    assert snapshot.f1 == 0.9
    assert isinstance(snapshot.f1_observed_at, datetime)
    assert worth(fetch(Monitoring(world.pushgateway, f1="model_recall"), NO_SECRETS, world.pushed).f1) == (
        "unparseable"
    )


def test_the_exposition_of_prometheus(world: World) -> None:
    """The large text that Prometheus shows of itself is read whole."""
    asked = Monitoring(
        f"{world.prometheus}/metrics",
        f1="prometheus_tsdb_head_series",
        samples="prometheus_http_requests_total{handler='/metrics'}",
        window="prometheus_ready",
    )
    snapshot = fetch(asked, NO_SECRETS, world.pushed)
    assert isinstance(snapshot.f1, float)
    assert snapshot.window == "1"
