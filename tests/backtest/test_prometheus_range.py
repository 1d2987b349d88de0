"""What Prometheus remembers: a look at every instant, the same as a fetch at that instant would have been."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec import structs
from msgspec.structs import replace

from retrain.backtest.prometheus_range import record
from retrain.backtest.replay import Recorded
from retrain.config.schema import CountQueries, Monitoring, MonitorType, ObservedAt
from retrain.config.secrets import Secrets
from retrain.core.records import Counts, Snapshot
from retrain.effects.monitoring import fetch
from retrain.errors import RetrainError
from tests.conftest import real
from tests.effects.servers import Request, child, frozen_server, page, said, serving
from tests.effects.test_monitoring import NO_SECRETS, SAMPLES, why, worth
from tests.effects.test_monitoring_prometheus import LISTENING

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
EPOCH = int(START.timestamp())
MINUTE = timedelta(minutes=1)
Series = tuple[dict[str, str], dict[int, str]]
"""The labels of a series, and its values at some minutes after START."""


def asked(request: Request) -> dict[str, str]:
    """The parameters of a request."""
    return {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}


def matrix(*found: Series) -> str:
    """An answer with these series."""
    result = [
        {"metric": labels, "values": [[EPOCH + 60 * minute, text] for minute, text in values.items()]}
        for labels, values in found
    ]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def prometheus(url: str, **more: Any) -> Monitoring:
    """A configuration that asks for f1, as `more` changes it."""
    base: dict[str, Any] = {"type": MonitorType.PROMETHEUS, "f1": "f1", "retries": 0}
    return Monitoring(url, **(base | more))


def looks(answers: dict[str, str], **queries: Any) -> list[Recorded]:
    """What a server with these answers to these queries remembers of ten minutes."""
    with serving(lambda request: page(answers[asked(request)["query"]])) as url:
        return record(prometheus(url, **queries), NO_SECRETS, START, START + 9 * MINUTE, MINUTE)


def refused(url: str, secrets: Secrets = NO_SECRETS, **more: Any) -> str:
    """Why a server cannot be read back."""
    with pytest.raises(RetrainError) as caught:
        record(prometheus(url, **more), secrets, START, START + 9 * MINUTE, MINUTE)
    return str(caught.value)


def complaint(body: str) -> str:
    """Why an answer with this body is none; the server's address is left out."""
    with serving(lambda _: page(body)) as url:
        return refused(url).replace(url, "")


def test_a_recorded_answer() -> None:
    """The answer of a real server is a look at each of its instants, with the labels of its series."""
    body = (SAMPLES / "query_range-matrix.json").read_text()
    first = datetime.fromtimestamp(1795364435, UTC)
    second = timedelta(seconds=1)
    with serving(lambda _: page(body)) as url:
        told = record(prometheus(url), NO_SECRETS, first, first + 4 * second, second)
    labels = {"f1": "model=churn, version=7"}
    assert told == [Recorded(Snapshot(first + n * second, f1=0.7421, labels=labels)) for n in (0, 2, 4)]


def test_every_query() -> None:
    """Every field of an instant is worth what it would be for a fetch; what has no value there is missing."""
    answers = {
        "f1": matrix(({}, {0: "0.75", 1: "NaN", 2: "0.5"})),
        "drift": matrix(({"feature": "age", "job": "x"}, {1: "0.1", 2: "+Inf", 4: "0.25"})),
        "end": matrix(({}, {0: str(EPOCH - 60), 1: "1e21", 4: "NaN"})),
        "window": matrix(({}, {0: "7", 1: "0.5"})),
        "n": matrix(({}, {0: "450", 3: "460"})),
        "fp": matrix(({}, {0: "2"})),
    }
    told = looks(
        answers,
        drift="drift",
        observed_at=ObservedAt(f1="end", drift="end"),
        window="window",
        samples="n",
        positives="n",
        counts=CountQueries(tp="n", fp="fp", fn="n"),
    )
    assert [look.served for look in told] == [None] * 4
    first, second, third, last = (look.snapshot for look in told)
    assert replace(first, drift=None) == Snapshot(
        START,
        f1=0.75,
        f1_observed_at=START - MINUTE,
        drift_observed_at=START - MINUTE,
        window="7",
        samples=450.0,
        positives=450.0,
        counts=Counts(450.0, 2.0, 450.0),
    )
    assert worth(first.drift) == "missing"
    assert (second.fetched_at, worth(second.f1), second.drift, second.window) == (
        START + MINUTE,
        "not_finite",
        0.1,
        "0.5",
    )
    assert (worth(second.f1_observed_at), worth(second.samples)) == ("not_a_number", "missing")
    assert second.labels == {"drift": "feature=age"}
    assert (third.f1, worth(third.drift), worth(third.counts)) == (0.5, "not_finite", "missing")
    assert (last.fetched_at, last.drift, worth(last.drift_observed_at)) == (START + 4 * MINUTE, 0.25, "not_finite")
    assert why(last.f1).startswith("f1 at http://127.0.0.1:")
    assert "/api/v1/query_range matches no series (" in why(last.f1)


def test_pieces() -> None:
    """No question is about more than 10,000 instants, every query is asked the same ones, and none twice."""
    requests: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        requests.append(request)
        return page(matrix(({}, {})))

    end = START + 25_000 * MINUTE
    with serving(respond) as url:
        monitoring = prometheus(f"{url}/prom/api/v1/query/?tenant=x", drift="b + 1", samples="f1")
        assert record(monitoring, NO_SECRETS, START - 59 * MINUTE / 60, end, MINUTE) == []
    assert {urlsplit(request.path).path for request in requests} == {"/prom/api/v1/query_range"}
    assert {asked(request)["tenant"] for request in requests} == {"x"}
    assert {asked(request)["step"] for request in requests} == {"60.0"}
    told = [tuple(asked(request)[name] for name in ("query", "start", "end")) for request in requests]
    spans = [(0, 9_999), (10_000, 19_999), (20_000, 25_000)]
    assert told == [
        (query, f"{EPOCH + 60 * first}.0", f"{EPOCH + 60 * last}.0")
        for first, last in spans
        for query in ("f1", "b + 1")
    ]


@pytest.mark.parametrize(
    ("start", "end", "step", "expected"),
    [
        (START + timedelta(milliseconds=1), START + MINUTE, MINUTE, [("60.0", "60.0")]),
        (START, START + MINUTE - timedelta(microseconds=1), MINUTE, [("0.0", "0.0")]),
        (START + timedelta(seconds=1), START + timedelta(seconds=59), MINUTE, []),
        (START, START - MINUTE, MINUTE, []),
        (START, START + timedelta(seconds=1), timedelta(milliseconds=300), [("0.0", "0.9")]),
    ],
)
def test_instants(start: datetime, end: datetime, step: timedelta, expected: list[tuple[str, str]]) -> None:
    """The instants are the multiples of the step that lie between start and end, and both are in."""
    told: list[tuple[str, str]] = []

    def respond(request: Request) -> list[bytes]:
        first, last = (float(asked(request)[name]) - EPOCH for name in ("start", "end"))
        told.append((str(round(first, 3)), str(round(last, 3))))
        return page(matrix())

    with serving(respond) as url:
        assert record(prometheus(url), NO_SECRETS, start, end, step) == []
    assert told == expected


def test_series_that_follow_one_another() -> None:
    """A new version has a new series; as long as one has a value at a time the query is not ambiguous."""
    old, new = ({"version": "7"}, {0: "0.7", 1: "0.6"}), ({"version": "8"}, {2: "0.9"})
    told = [(look.snapshot.f1, look.snapshot.labels["f1"]) for look in looks({"f1": matrix(new, old)})]
    assert told == [(0.7, "version=7"), (0.6, "version=7"), (0.9, "version=8")]


def test_series_of_one_instant() -> None:
    """Several values at one instant are an error that names the series."""
    assert complaint(matrix(({"version": "7"}, {0: "1", 1: "1"}), ({"version": "8"}, {1: "1"}))) == (
        'f1 at /api/v1/query_range matches 2 series: {version="7"}, {version="8"}'
        " (name one by its labels, or aggregate them, as max(...) does)"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("null", "/api/v1/query_range is not an answer of the Prometheus HTTP API (is monitoring.url"),
        ('{"resultType": "vector", "result": []}', "/api/v1/query_range is not an answer of the Prometheus HTTP API"),
        ('{"resultType": "matrix", "result": [7]}', "f1 at /api/v1/query_range is not a number at each instant"),
        (
            '{"resultType": "matrix", "result": [{"metric": {}, "values": [], "histograms": [[1, {}]]}]}',
            "f1 at /api/v1/query_range is a series of histograms, not of numbers",
        ),
        ("}", "/api/v1/query_range is not JSON: "),
    ],
)
def test_strange_answers(data: str, expected: str) -> None:
    """An answer in another shape than the HTTP API's is an error that says so."""
    assert complaint(f'{{"status": "success", "data": {data}}}').startswith(expected)


@pytest.mark.parametrize("said", ['"isPartial": true', '"warnings": ["store 192.0.2.2 is unavailable"]'])
def test_a_history_of_some_stores_is_none(said: str) -> None:
    """As for a check: a sum over half of the shards is a number, and wrong."""
    series = f'{{"metric": {{}}, "values": [[{EPOCH}, "0.9"]]}}'
    body = f'{{"status": "success", {said}, "data": {{"resultType": "matrix", "result": [{series}]}}}}'
    assert complaint(body).startswith(("/api/v1/query_range sent a part", "/api/v1/query_range warns: store"))


@pytest.mark.parametrize(
    "value", ['7, "1"', f'{EPOCH + 600}, "1"', 'NaN, "1"', 'null, "1"', '[], "1"', f'{EPOCH}, "a"', f"{EPOCH}, []", "1"]
)
def test_strange_values(value: str) -> None:
    """A value that is no number, or not about an instant that was asked for, is an error."""
    data = f'{{"resultType": "matrix", "result": [{{"metric": {{}}, "values": [[{value}]]}}]}}'
    told = complaint(f'{{"status": "success", "data": {data}}}')
    assert told == "f1 at /api/v1/query_range is not a number at each instant that was asked for"


def test_no_answer() -> None:
    """A question without an answer is an error, never a look; it says what was asked."""
    with frozen_server() as url:
        assert refused(url, timeout=timedelta(seconds=0.3)) == (
            f"{url}/api/v1/query_range did not answer within 0.3 s"
            " (see what makes it slow, or raise monitoring.timeout)"
        )
    assert refused(url) == (
        f"{url}/api/v1/query_range cannot be reached: Connection refused (is it running, and is monitoring.url right?)"
    )
    with serving(lambda _: page(matrix(({}, {0: "1"})))) as url:
        assert "sent more than 50 bytes (raise monitoring.max_body)" in refused(url, max_body=50)


def test_a_second_attempt() -> None:
    """A question is repeated as a fetch is, and carries the configured headers."""
    told: list[Request] = []

    def respond(request: Request) -> list[bytes]:
        told.append(request)
        return page("", "503 Service Unavailable") if len(told) == 1 else page(matrix(({}, {0: "1"})))

    with serving(respond) as url:
        monitoring = prometheus(url, retries=1, headers={"X-Scope": "team"})
        assert len(record(monitoring, NO_SECRETS, START, START, MINUTE)) == 1
    assert [request.headers["x-scope"] for request in told] == ["team", "team"]


def test_secrets() -> None:
    """What an endpoint echoes of a secret is not shown."""
    with serving(lambda _: page("no such token: s3cret-t0ken", "401 Unauthorized")) as url:
        told = refused(url.replace("//", "//me:passw0rd@"), Secrets(("s3cret-t0ken",), frozenset()))
    assert told == f"{url}/api/v1/query_range answered 401: Unauthorized (check monitoring.headers)"


@pytest.mark.parametrize("kind", [MonitorType.METRICS, MonitorType.JSON])
def test_endpoints_that_remember_nothing(kind: MonitorType) -> None:
    """Only Prometheus can be asked for the past."""
    assert refused("http://me:passw0rd@127.0.0.1:9/metrics", type=kind) == (
        f"http://127.0.0.1:9/metrics keeps no history (monitoring.type: {kind}); "
        "take a file of recorded metrics, or a Prometheus"
    )


# ---------------------------------------------------------------- a real Prometheus

EXPOSITION = """\
model_f1_score{model="churn"} 0.7421
model_drift_psi{feature="age"} 0.31
model_drift_psi{feature="income"} NaN
model_tp 75
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus that scrapes an exposition five times a second."""
    program, directory = real("prometheus"), tmp_path_factory.mktemp("prometheus")
    flags = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]
    with serving(lambda _: page(EXPOSITION, content_type="text/plain; version=0.0.4")) as model:
        (directory / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            f"scrape_configs: [{{job_name: model, static_configs: [{{targets: ['{model.removeprefix('http://')}']}}]}}]"
        )
        with child(program, *flags, cwd=directory) as process:
            url = f"http://127.0.0.1:{said(process, LISTENING)}"
            until(lambda: isinstance(fetch(prometheus(url, f1="model_tp"), NO_SECRETS, START).f1, float))
            yield url


def until(there: Callable[[], bool]) -> None:
    """Wait for it to be there."""
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)


def fields(snapshot: Snapshot) -> dict[str, object]:
    """What every field of a snapshot is worth."""
    return {field.name: worth(getattr(snapshot, field.name)) for field in structs.fields(snapshot)}


def test_what_was_scraped(server: str) -> None:
    """Each look in the past is the one that a fetch at that instant gives."""
    monitoring = prometheus(
        server,
        f1="model_f1_score",
        drift='model_drift_psi{feature="age"}',
        observed_at=ObservedAt(f1="timestamp(model_f1_score)", drift="time() - 5"),
        window="floor(vector(time()) / 2)",
        samples="nope",
        positives='model_drift_psi{feature="income"}',
        counts=CountQueries(tp="model_tp", fp="scalar(model_tp) / 3", fn="0 * model_tp"),
    )
    start, second = datetime.now(UTC), timedelta(seconds=1)

    def told() -> list[Recorded]:
        return record(monitoring, NO_SECRETS, start - 5 * second, datetime.now(UTC) - second, second)

    until(lambda: len(told()) >= 3)
    found = [look.snapshot for look in told()]
    instants = [snapshot.fetched_at for snapshot in found]
    assert instants == sorted(set(instants))
    assert {at.microsecond for at in instants} == {0}
    for snapshot in found:
        at = snapshot.fetched_at
        then = fetch(replace(monitoring, url=f"{server}?time={at.timestamp()}"), NO_SECRETS, at)
        assert fields(snapshot) == fields(then) | {"fetched_at": at}  # an answer takes its time
        assert (snapshot.f1, snapshot.counts) == (0.7421, Counts(75.0, 25.0, 0.0))
        assert (worth(snapshot.samples), worth(snapshot.positives)) == ("missing", "not_finite")
        assert snapshot.labels == {"f1": "model=churn", "drift": "feature=age"}


def test_the_most_that_one_question_may_ask(server: str) -> None:
    """A long time in short steps is asked in pieces that Prometheus accepts."""
    end = datetime.now(UTC).replace(microsecond=0)
    told = record(
        prometheus(server, f1="time()"), NO_SECRETS, end - timedelta(seconds=24_999), end, timedelta(seconds=1)
    )
    assert [look.snapshot.f1 for look in told] == [end.timestamp() - 24_999 + n for n in range(25_000)]


def test_the_servers_own_words_are_told(server: str) -> None:
    """A query that Prometheus cannot read, or read back, is an error with the words of Prometheus."""
    told = refused(server, f1="model_f1_score{")
    assert told.startswith(f"{server}/api/v1/query_range answered 400: ")
    assert "parse error: unexpected end of input" in told
    assert "answered 400" in refused(server, f1='"text"')
    assert "answered 400" in refused(server, f1="model_f1_score[5s]")


def test_series_are_told_apart(server: str) -> None:
    """Two series of a real server are named by their labels."""
    second = timedelta(seconds=1)
    monitoring = prometheus(server, f1="model_drift_psi")
    with pytest.raises(RetrainError, match=r'^model_drift_psi at .* matches 2 series: .*feature="age"'):
        record(monitoring, NO_SECRETS, datetime.now(UTC) - 5 * second, datetime.now(UTC) + second, second)
