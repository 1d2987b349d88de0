"""The queries of each type of endpoint: what a body is worth, a number or an Unknown that says why."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from retrain.config.schema import CountQueries, Monitoring, MonitorType, ObservedAt
from retrain.config.secrets import Secrets
from retrain.core.records import Counts, Snapshot, Unknown
from retrain.effects.monitoring import fetch
from retrain.errors import ConfigError
from tests.effects.servers import Request, page, serving

SAMPLES = Path(__file__).parent / "samples"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NO_SECRETS = Secrets((), frozenset())


def look(path: Path, body: str | bytes, kind: MonitorType, **queries: Any) -> Snapshot:
    """What a file with this body says to these queries."""
    path.write_bytes(body.encode() if isinstance(body, str) else body)
    return fetch(Monitoring(path.as_uri(), kind, **queries), NO_SECRETS, NOW)


def worth(value: object) -> object:
    """The number, or the kind of the Unknown."""
    return value.kind if isinstance(value, Unknown) else value


def why(value: object) -> str:
    """What an Unknown says: the cause, and what can be done."""
    assert isinstance(value, Unknown)
    return value.message


PUSHED = (SAMPLES / "pushgateway-metrics.txt").read_text()


@pytest.mark.parametrize(
    ("body", "selector", "expected"),
    [
        (PUSHED, "model_f1_score", 0.7421),
        (PUSHED, 'model_f1_score{model="churn", version="7"}', 0.7421),
        (PUSHED, 'model_f1_score{model="other"}', "missing"),
        (PUSHED, "model_f1", "missing"),
        (PUSHED, "model_drift_psi", "ambiguous"),
        (PUSHED, 'model_drift_psi{feature="age"}', 0.31),
        (PUSHED, 'model_drift_psi{feature!="income",}', 0.31),
        (PUSHED, 'model_drift_psi{feature=~"a.*"}', 0.31),
        (PUSHED, 'model_drift_psi{feature=~"ag"}', "missing"),
        (PUSHED, "model_drift_psi{feature!~'inc.+'}", 0.31),
        (PUSHED, 'model_drift_psi{feature="income"}', "not_finite"),
        (PUSHED, '{__name__="push_time_seconds"}', 1.7953637996396968e9),
        (PUSHED, '{__name__=~"model_f1.*",instance=""}', 0.7421),
        (PUSHED, "pushgateway_http_push_size_bytes_sum", 445.0),
        (PUSHED, 'pushgateway_http_push_duration_seconds{quantile="0.5"}', "not_finite"),
        ("# TYPE hits counter\nhits 3\n", "hits", 3.0),
        ("# TYPE hits counter\nhits 3\n", "hits_total", "missing"),
        ("# TYPE hits_total counter\nhits_total 3 1795363799000\n", "hits_total", 3.0),
        ("f1 0.5\nf1 0.6\n", "f1", "ambiguous"),
        ("f1 +Inf\n", "f1", "not_finite"),
        (f"f1 {'9' * 400}\n", "f1", "not_finite"),
        ('f1{model="a\\"b\\\\c\\nd"} 0.5\r\n', 'f1{model="a\\"b\\\\c\\nd"}', 0.5),
        ('f1{version="10"} 1\n', 'f1{version=~"\\d+"}', 1.0),
        ("\ufefff1 0.5\n", "f1", 0.5),
        ("", "f1", "missing"),
        ("f1 0.7421\ndrift 0.3", "drift", "unparseable"),
        ("f1 high\n", "f1", "unparseable"),
        ("f1 0_1\n", "f1", "unparseable"),
        ("f1 \uff10.\uff15\n", "f1", "unparseable"),
        ("f1 0.5 17_00\n", "f1", "unparseable"),
        ("f1 0.5 0.9 1700000000000\n", "f1", "unparseable"),
        ('f1{a="}"} 0.5 0.9 1700000000000\n', 'f1{a="}"}', "unparseable"),
        ('\n\t f1{a="} 1 2 3"}0.5\t17\n\n', "f1", 0.5),
        ('f1{a="\u2028"} 0.5\n', "f1", 0.5),
        ("f1{a=b} 0.5\n", "f1", "unparseable"),
        ('f1{a="b" c="d"} 0.5\n', "f1", "unparseable"),
        ("f1{\0=,\0=} 0.5\n", "f1", "unparseable"),
        ("f1\0{} 0.9\nf1 0.5\n", "f1", "unparseable"),
        ("f1\n", "f1", "unparseable"),
        (b"f1 0.5 \xff\n", "f1", "unparseable"),
        ("<!DOCTYPE html><title>Sign in</title>\n", "f1", "unparseable"),
        ('{"f1": 0.5}\n', "f1", "unparseable"),
        ('f1{a="' + "b" * 70000 + '"} 1\n', "f1", "unparseable"),
        ('f1{a="' + "prod" * 2600 + "eu" * 2600 + '"} 1\n', 'f1{a=~".*prod.*eu.*churn.*"}', "unparseable"),
        ('f1{a="' + "b" * 256 + '"} 1\n', 'f1{a=~"b+"}', 1.0),
        ('f1{a="' + "b" * 60000 + '"} 1\n', 'f1{a!="c"}', 1.0),
    ],
)
def test_metrics(tmp_path: Path, body: str | bytes, selector: str, expected: object) -> None:
    """A selector names exactly one series of the Prometheus text format, or the answer says why not."""
    assert worth(look(tmp_path / "metrics", body, MonitorType.METRICS, f1=selector).f1) == expected


@pytest.mark.parametrize(
    "selector",
    [
        "max(model_f1)",
        "f1{model=churn}",
        "f1{",
        "{}",
        "f1[5m]",
        'f1{a="x" b="y"}',
        'f1{a=~"("}',
        'a{b="c"} or d{e="f"}',
    ],
)
def test_selectors_that_are_none(tmp_path: Path, selector: str) -> None:
    """A selector that cannot be read is a configuration error that names its key, before anything is asked."""
    with pytest.raises(ConfigError, match=r"monitoring\.f1: ") as caught:
        look(tmp_path / "metrics", "", MonitorType.METRICS, f1=selector)
    assert selector in str(caught.value)


REPORT = (SAMPLES / "evidently-report-n500-drift-and-classification.json").read_text()
SERIES = (SAMPLES / "evidently-ui-data_series_batch.response.json").read_text()
HISTORY = (SAMPLES / "mlflow-metrics-get-history.json").read_text()
RUN = (SAMPLES / "mlflow-runs-get.json").read_text()
F1 = "metrics[?starts_with(metric_name, 'F1Score(')].value | [0]"


@pytest.mark.parametrize(
    ("body", "expression", "expected"),
    [
        (REPORT, F1, 0.8375350140056023),
        (REPORT, "metrics[?config.column=='age'].value | [0]", 2.931154045000726e-15),
        (REPORT, "metrics[?starts_with(metric_name, 'ValueDrift')].value | max(@)", 0.7189191850204419),
        (REPORT, "metrics[?starts_with(metric_name, 'ValueDrift')].value", "ambiguous"),
        (REPORT, "metrics[?starts_with(metric_name, 'DriftedColumns')].value | [0]", "not_a_number"),
        (REPORT, "metrics[?config.column=='town'].value | [0]", "missing"),
        (REPORT, "metrics[?config.column=='town'].value", "missing"),
        ((SAMPLES / "evidently-report-f1-no-positives.json").read_text(), F1, 1.0),
        ((SAMPLES / "evidently-report-n5000-drift.json").read_text(), "metrics[0].value.share", 2 / 3),
        (SERIES, "series[?ends_with(metric_type, ':F1Score')] | [0].values[-1]", 0.8441926345609065),
        (HISTORY, "max_by(metrics, &step).value", 0.811),
        (RUN, "run.data.metrics[?key=='f1_score'].value | [0]", 0.811),
        (RUN, "run.data.metrics[?key=='psi_age'].value | [0]", "not_a_number"),
        (RUN, "run.data.metrics[?key=='psi_age'].value | [0] | to_number(@)", "not_finite"),
        ((SAMPLES / "mlflow-metrics-get-history-nan.json").read_text(), "metrics[0].value", "not_a_number"),
        ((SAMPLES / "mlflow-metrics-get-history-unknown-key.200.json").read_text(), "metrics[0].value", "missing"),
        (
            (SAMPLES / "mlflow-metrics-get-history-unknown-key.200.json").read_text(),
            "max_by(metrics, &step)",
            "missing",
        ),
        ('{"f1": NaN}', "f1", "not_finite"),
        ('{"f1": -Infinity}', "f1", "not_finite"),
        (f'{{"f1": {"9" * 400}}}', "f1", "not_finite"),
        (f'{{"f1": -{"9" * 5000}}}', "f1", "not_finite"),
        ('{"f1": 1e999}', "f1", "not_finite"),
        ('{"f1": "0.5"}', "f1", "not_a_number"),
        ('{"f1": "0.5"}', "to_number(f1)", 0.5),
        ('{"f1": true}', "f1", "not_a_number"),
        ('{"f1": null}', "f1", "missing"),
        ('{"f1": "-5e-1"}', "to_number(f1)", -0.5),
        ('{"f1": "12"}', "to_number(f1)", 12.0),
        ('{"f1": "0_1"}', "to_number(f1)", "missing"),
        ('{"f1": "\uff10.\uff15"}', "to_number(f1)", "missing"),
        ('{"f1": [0.1, NaN, 0.05]}', "max(f1)", "not_a_number"),
        ('{"f1": [NaN, 0.1, 0.05]}', "min(f1)", "not_a_number"),
        ('{"f1": [0.1, NaN, 0.05]}', "sort(f1)[0]", "not_a_number"),
        ('{"f1": [0.1, NaN, 0.05]}', "avg(f1)", "not_finite"),
        ('{"f1": [0.1, NaN, 0.05]}', "f1[0]", 0.1),
        ('{"f1": [{"v": 0.1}, {"v": NaN}, {"v": 0.05}]}', "max_by(f1, &v).v", "not_a_number"),
        ('{"f1": [{"v": 0.1}, {"v": NaN}, {"v": 0.05}]}', "sort_by(f1, &v)[0].v", "not_a_number"),
        ('{"f1": [{"v": 0.1}, {"v": 0.2}, {"v": 0.05}]}', "max_by(f1, &v).v", 0.2),
        ('{"f1": [1, "a"]}', "max(f1)", "not_a_number"),
        ('{"f1": [1, "a"]}', "sort(f1)", "not_a_number"),
        ("[" * 100_000, "f1", "unparseable"),
        ('{"f1": 0.', "f1", "unparseable"),
        ("", "f1", "unparseable"),
        (b'{"f1": "\xff"}', "f1", "unparseable"),
        ("<html><body>Sign in</body></html>", "f1", "unparseable"),
    ],
)
def test_json(tmp_path: Path, body: str | bytes, expression: str, expected: object) -> None:
    """An expression selects one finite number of the document, or the answer says why not."""
    assert worth(look(tmp_path / "report.json", body, MonitorType.JSON, f1=expression).f1) == expected


@pytest.mark.parametrize("body", ['{"f1": 1, "f1": 0.25}', '{"f1": 1, "a": [{"b": 0, "c": 0, "b": 0}]}'])
def test_a_key_twice_in_one_object_makes_a_json_answer_unknown(tmp_path: Path, body: str) -> None:
    """Which of the two values is meant is known to nobody, wherever in the answer the object stands."""
    value = look(tmp_path / "report.json", body, MonitorType.JSON, f1="f1").f1
    assert worth(value) == "unparseable" and "twice in one object" in why(value)


def test_expressions_that_are_none(tmp_path: Path) -> None:
    """Every JMESPath that cannot be compiled is told at once, each with its key, before anything is asked."""
    with pytest.raises(ConfigError) as caught:
        look(
            tmp_path / "report.json", "", MonitorType.JSON, f1="a[", drift="maximum(a)", samples="n", window="(" * 3000
        )
    f1, drift, window = str(caught.value).splitlines()
    assert f1.startswith("monitoring.f1: a[ is not a JMESPath expression")
    assert drift.startswith("monitoring.drift: maximum(a) calls maximum()")
    assert window.startswith("monitoring.window: (((")


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-22T12:00:00Z", NOON),
        ("2026-11-22T12:00:00", NOON),
        ("2026-11-22 13:00:00.000+01:00", NOON),
        (NOON.timestamp(), NOON),
        (NOON.timestamp() * 1000, NOON),
        (int(NOON.timestamp()) * 10**6, NOON),
        (int(NOON.timestamp()) * 10**9, NOON),
        (1e21, "not_a_number"),
        (-99_999_999_999, "not_a_number"),
        (10**400, "not_finite"),
        ("0001-01-01T00:00:00+05:00", "not_a_number"),
        ("yesterday", "not_a_number"),
        (True, "not_a_number"),
        (None, "missing"),
    ],
)
def test_moments(tmp_path: Path, value: object, expected: object) -> None:
    """The end of a window is an epoch in s, ms, µs or ns, or ISO 8601 (UTC without a zone); all else is Unknown."""
    body = json.dumps({"f1": 0.5, "at": value})
    snapshot = look(tmp_path / "m.json", body, MonitorType.JSON, f1="f1", observed_at=ObservedAt(f1="at"))
    assert worth(snapshot.f1_observed_at) == expected
    assert snapshot.f1 == 0.5
    assert snapshot.drift_observed_at is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-W47", "2026-W47"),
        (7, "7"),
        (1795363200.0, "1795363200"),
        (12345678901234567890, "12345678901234567890"),
        (0.5, "0.5"),
        (" ", "missing"),
        (False, "not_a_number"),
        (["a"], "ambiguous"),
        (None, "missing"),
    ],
)
def test_windows(tmp_path: Path, value: object, expected: object) -> None:
    """A window is named by a text or a number, nothing else."""
    snapshot = look(tmp_path / "m.json", json.dumps({"w": value}), MonitorType.JSON, window="w")
    assert worth(snapshot.window) == expected


def test_long_names_of_windows_are_told_apart(tmp_path: Path) -> None:
    """Whatever differs makes another window; a name that is short enough is recorded as it is."""
    names = ["w" * 200, "w" * 201, "w" * 5000 + "a", "w" * 5000 + "b", "w" * 20000]
    found = [look(tmp_path / "m", json.dumps({"w": name}), MonitorType.JSON, window="w").window for name in names]
    assert found[0] == names[0] and len({*map(str, found)}) == len(names)
    assert all(isinstance(each, str) and len(each) <= 200 for each in found)


def test_every_field(tmp_path: Path) -> None:
    """One look fills every field that is asked for, and leaves the others None.

    Of the labels of drift it has what drifted: others, such as a pod or a version, may change while a drift lasts.
    """
    body = PUSHED + "model_labelled_samples 500\ntp 40\nfp 10\nfn 5\n"
    snapshot = look(
        tmp_path / "metrics",
        body,
        MonitorType.METRICS,
        f1="model_f1_score",
        drift='model_drift_psi{feature="age"}',
        observed_at=ObservedAt("push_time_seconds", "model_last_evaluated_timestamp_seconds"),
        window="model_last_evaluated_timestamp_seconds",
        samples="model_labelled_samples",
        counts=CountQueries("tp", "fp", "fn"),
    )
    assert NOW < snapshot.fetched_at < NOW + timedelta(minutes=1), "when all was there"
    assert snapshot == Snapshot(
        fetched_at=snapshot.fetched_at,
        f1=0.7421,
        drift=0.31,
        f1_observed_at=datetime.fromtimestamp(1.7953637996396968e9, UTC),
        drift_observed_at=datetime.fromtimestamp(1.7953632e9, UTC),
        window="1795363200",
        samples=500.0,
        counts=Counts(40, 10, 5),
        labels={"f1": "model=churn, version=7", "drift": "feature=age"},
    )


def test_counts_are_known_together(tmp_path: Path) -> None:
    """One unknown count makes the counts unknown, and nothing else."""
    counts = CountQueries("tp", "fp", "fn")
    snapshot = look(tmp_path / "metrics", "tp 1\nfp 0\nf1 0.5\n", MonitorType.METRICS, f1="f1", counts=counts)
    assert (worth(snapshot.counts), snapshot.f1) == ("missing", 0.5)


def answer(sample: str) -> tuple[str, str]:
    """A recorded answer of Prometheus, and its status line."""
    status = {"400": "400 Bad Request", "422": "422 Unprocessable Entity"}.get(sample[-8:-5], "200 OK")
    return (SAMPLES / sample).read_text(), status


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("query-vector.json", 0.7421),
        ("query-vector-nan.json", "not_finite"),
        ("query-vector-empty.json", "missing"),
        ("query-vector-two-series-one-nan.json", "ambiguous"),
        ("query-scalar.json", 0.7421),
        ("query-scalar-inf.json", "not_finite"),
        ("query-scalar-of-empty-nan.json", "not_finite"),
        ("query-string.json", "not_a_number"),
        ("query-matrix.json", "not_a_number"),
        ("query-push_time_seconds.json", 1795363799.6396968),
        ("query-error-bad-data.400.json", "status"),
        ("query-error-execution.422.json", "status"),
    ],
)
def test_recorded_answers_of_prometheus(sample: str, expected: object) -> None:
    """Each kind of answer of the HTTP API is a number or its own kind of Unknown."""
    body, status = answer(sample)
    with serving(lambda _: page(body, status)) as url:
        value = fetch(Monitoring(url, MonitorType.PROMETHEUS, f1="f1"), NO_SECRETS, NOW).f1
    assert worth(value) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("null", "unparseable"),
        ('{"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {}]}]}', "not_a_number"),
        ('{"resultType": "vector", "result": [7]}', "not_a_number"),
        ('{"resultType": "vector", "result": [7, 8]}', "ambiguous"),
        ('{"resultType": "vector", "result": 7}', "not_a_number"),
        ('{"resultType": "scalar", "result": [1, "a"]}', "not_a_number"),
        ('{"resultType": "scalar", "result": [NaN, "1"]}', 1.0),
        ('{"resultType": 1}', "unparseable"),
        ("}", "unparseable"),
    ],
)
def test_strange_answers_for_prometheus(data: str, expected: object) -> None:
    """An answer in another shape than the HTTP API's is Unknown, never a crash."""
    with serving(lambda _: page(f'{{"status": "success", "data": {data}}}')) as url:
        value = fetch(Monitoring(url, MonitorType.PROMETHEUS, f1="f1"), NO_SECRETS, NOW).f1
    assert worth(value) == expected


def test_one_instant() -> None:
    """The first answer with a time fixes the instant of every query after it; a query is sent once."""
    asked: list[str] = []

    def respond(path: str) -> list[bytes]:
        asked.append(path)
        return page(answer("query-vector-empty.json" if len(asked) == 1 else "query-vector.json")[0])

    queries: Mapping[str, Any] = {"f1": "a", "drift": "b + 1", "samples": "c", "positives": "c"}
    with serving(lambda request: respond(request.path)) as url:
        fetch(Monitoring(url + "/prom/?tenant=x", MonitorType.PROMETHEUS, **queries), NO_SECRETS, NOW)
    place, whole = "/prom/api/v1/query?tenant=x&query=", "&partial_response=false&deny_partial_response=1"
    assert asked == [place + "a" + whole, place + "b+%2B+1" + whole, place + "c&time=1795364439.131" + whole]


def test_whole_url_of_the_api() -> None:
    """A URL that ends in /api/v1/query already is taken as it is."""
    with serving(lambda r: page(answer("query-vector.json")[0] if r.path.startswith("/api/v1/query?") else "?")) as url:
        snapshot = fetch(Monitoring(url + "/api/v1/query", MonitorType.PROMETHEUS, f1="a"), NO_SECRETS, NOW)
    assert snapshot.f1 == 0.7421


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"isPartial": True}, "incomplete"),
        ({"warnings": ["store 192.0.2.2 is unavailable"]}, "incomplete"),
        ({"warnings": ["PromQL warning: metric might not be a counter"]}, None),
        ({"infos": ["PromQL info: metric might not be a counter"]}, None),
        ({"warnings": None, "isPartial": False}, None),
    ],
)
def test_an_answer_without_some_stores_is_unknown(said: dict[str, Any], kind: str | None) -> None:
    """A sum over half of the shards is a number, and wrong; a remark on the query is shown and spoils nothing."""
    result = [{"metric": {}, "value": [1795364439.1, "0.9"]}]
    body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}} | said)
    with serving(lambda _: page(body)) as url:
        snapshot = fetch(Monitoring(url, MonitorType.PROMETHEUS, f1="sum(a)"), NO_SECRETS, NOW)
    assert worth(snapshot.f1) == (kind or 0.9)
    remarks = said.get("warnings") or said.get("infos") or ()
    assert snapshot.warnings == (tuple(remarks) if kind is None else ())


@pytest.mark.parametrize("type_", [MonitorType.METRICS, MonitorType.JSON])
def test_a_file_is_as_old_as_its_last_change(tmp_path: Path, type_: MonitorType) -> None:
    """Where no query says when a window ended, a file that nobody writes any more is stale, and never a new window."""
    file = tmp_path / "metrics"
    file.write_text('{"f1": 0.5}' if type_ is MonitorType.JSON else "f1 0.5\n")
    os.utime(file, (NOON.timestamp(),) * 2)
    snapshot = fetch(Monitoring(file.as_uri(), type_, f1="f1"), NO_SECRETS, NOW)
    assert snapshot.written_at == {"f1": NOON} and snapshot.f1_observed_at is None


@pytest.mark.parametrize(
    ("headers", "ago", "written"),
    [
        ({}, 0, None),
        ({}, 60, None),
        ({}, 86400, 86400),
        ({"age": "7200"}, 0, 7200),
        ({"age": "7200"}, 86400, 86400),
        ({"last_modified": "Sun, 22 Nov 2026 12:00:00 GMT"}, 0, NOON),
    ],
)
def test_an_answer_of_prometheus_that_a_cache_kept_is_as_old_as_it_is(
    headers: dict[str, str], ago: int, written: int | datetime | None
) -> None:
    """By its Age, or by the instant that it was evaluated at, beyond what clocks differ by; so are those after it."""
    now = datetime.now(UTC)

    def respond(request: Request) -> list[bytes]:
        at = float(dict(parse_qsl(request.path)).get("time", now.timestamp() - ago))
        data = {"resultType": "scalar", "result": [at, "0.5"]}
        return page(json.dumps({"status": "success", "data": data}), **headers)

    with serving(respond) as url:
        snapshot = fetch(Monitoring(url, MonitorType.PROMETHEUS, f1="a", drift="b"), NO_SECRETS, now)
    assert snapshot.f1 == 0.5 and snapshot.written_at.keys() == ({"f1", "drift"} if written else set())
    for at in snapshot.written_at.values():
        expected = written if isinstance(written, datetime) else now - timedelta(seconds=written or 0)
        assert abs(at - expected) < timedelta(seconds=60)


def test_a_sample_says_when_it_was_taken(tmp_path: Path) -> None:
    """Its own time stamp, in milliseconds, is nearer to it than that of the answer."""
    snapshot = look(tmp_path / "m", f"f1 0.5 {int(NOON.timestamp()) * 1000}\n", MonitorType.METRICS, f1="f1")
    assert snapshot.written_at == {"f1": NOON}


@pytest.mark.parametrize("stamp", ["1e25", "NaN", "+Inf", "-1e25"])
def test_a_sample_of_a_time_that_cannot_be_read_is_unknown(tmp_path: Path, stamp: str) -> None:
    """It may be of any age, so that it is not of now."""
    value = look(tmp_path / "m", f"f1 0.5 {stamp}\n", MonitorType.METRICS, f1="f1").f1
    assert worth(value) == "not_a_number" and "has a time stamp that is" in why(value)


@pytest.mark.parametrize(("unit", "mark"), [(1, "# EOF\n"), (1, "# EOF"), (1000, ""), (10**6, ""), (10**9, "")])
def test_a_time_stamp_is_read_in_its_own_unit(tmp_path: Path, unit: int, mark: str) -> None:
    """OpenMetrics writes seconds, the older format milliseconds, and some programs finer ones."""
    text = f"f1 0.5 {int(NOON.timestamp()) * unit}\n{mark}"
    assert look(tmp_path / "m", text, MonitorType.METRICS, f1="f1").written_at == {"f1": NOON}


def test_an_exemplar_is_no_time_stamp(tmp_path: Path) -> None:
    """OpenMetrics may write one behind a sample; what looks like one in a label stays there."""
    text = 'f1{a="x # {"} 0.5 # {trace_id="b"} 0.25 1.5\nf1{a="y"} 0.6 # {} 1\n# EOF\n'
    for selector, expected in (('f1{a="x # {"}', 0.5), ('f1{a="y"}', 0.6)):
        (tmp_path / "m").write_text(text)
        os.utime(tmp_path / "m", (NOON.timestamp(),) * 2)
        asked = Monitoring((tmp_path / "m").as_uri(), f1=selector)
        snapshot = fetch(asked, NO_SECRETS, NOW)
        assert (snapshot.f1, snapshot.written_at) == (expected, {"f1": NOON})


@pytest.mark.parametrize("line", ["a" * 2_000_000, "{" * 2_000_000, 'a{b="' * 400_000, "a " * 1_000_000])
def test_a_long_line_does_not_hold_the_check(tmp_path: Path, line: str) -> None:
    """An exemplar is looked for in one pass: no thread, not even the deadline's, runs meanwhile."""
    text = f"f1 0.5 # {{}} 1\n{line}\n"
    assert worth(look(tmp_path / "m", text, MonitorType.METRICS, f1="f1").f1) == "unparseable"


@pytest.mark.parametrize("kind", [MonitorType.PROMETHEUS, MonitorType.JSON])
@pytest.mark.parametrize(
    ("said", "trouble", "part"),
    [
        ({"status": "error", "errorType": "execution", "error": "out of memory"}, "status", "an error: out of memory"),
        ({"status": "fail", "message": "no such tenant"}, "status", "an error: no such tenant"),
        ({"status": "success", "isPartial": True, "data": {"result": [1]}}, "incomplete", "a part of its answer"),
        ({"isPartial": "true"}, "incomplete", "(isPartial)"),
        ({"partial": True}, "incomplete", "(partial)"),
        ({"timed_out": True, "_shards": {"failed": 2}}, "incomplete", "(timed_out)"),
        ({"timed_out": False, "_shards": {"failed": 2}}, "incomplete", "(2 shards failed)"),
        ({"status": "success", "warnings": ["store 192.0.2.2 is unavailable"]}, "incomplete", "warns: store 192.0.2.2"),
        ({"status": "success", "warnings": "store down"}, "incomplete", "warns: store down"),
        ({"status": "error", "error": {"code": 500, "message": "boom"}}, "status", "an error: boom"),
        ({"status": "error"}, "status", "an error: status error"),
        ({"status": "error", "message": None}, "status", "an error: status error"),
        ({"status": "ERROR", "error": ""}, "status", "an error: status ERROR"),
        ({"status": "failed", "detail": "no such job"}, "status", "an error: no such job"),
        ({"error": "db down"}, "status", "an error: db down"),
        ({"error": True, "message": "db down"}, "status", "an error: db down"),
        ({"error": {"type": "search", "reason": "no such index"}}, "status", "an error: no such index"),
        ({"errors": [{"message": "no such field"}]}, "status", "an error: no such field"),
        ({"results": [{"series": [], "partial": True}]}, "incomplete", "(partial)"),
        ({"MetricDataResults": [{"StatusCode": "PartialData"}]}, "incomplete", "(PartialData)"),
        ({"responses": [{"_shards": {"failed": 2}}]}, "incomplete", "(2 shards failed)"),
    ],
)
def test_an_answer_that_is_none_although_its_status_is_200(
    kind: MonitorType, said: dict[str, Any], trouble: str, part: str
) -> None:
    """The error of the server is the cause, not what is missing because of it."""
    body = json.dumps({"data": {"result": [1]}} | said)
    with serving(lambda _: page(body)) as url:
        value = fetch(Monitoring(url, kind, f1="data.result[0]"), NO_SECRETS, NOW).f1
    assert worth(value) == trouble and part in why(value)


@pytest.mark.parametrize(
    "said",
    [
        {"error": 0.1},
        {"error": {"rmse": 0.1}},
        {"error": None, "errors": []},
        {"error": "", "errors": 0},
        {"errors": [0.1, 0.2], "status": "ok"},
        {"status": "success", "warnings": [], "partial": False, "_shards": {"failed": 0}},
        {"status": "success", "warnings": ["PromQL info: metric might not be a counter"]},
        {"warnings": ["3 rows are left out"], "message": "done"},
        {"ok": False, "success": False, "metric": {"partial": "true"}, "results": [{"partial": False}]},
        {"hits": {"hits": [{"_source": {"timed_out": True}}]}},
    ],
)
def test_what_only_looks_like_an_error_of_the_server_is_none(tmp_path: Path, said: dict[str, Any]) -> None:
    """A report may hold an error rate, and say that there were no errors and no partial answers."""
    assert look(tmp_path / "m", json.dumps({"f1": 0.9} | said), MonitorType.JSON, f1="f1").f1 == 0.9


def test_an_f1_in_per_cent_is_scaled(tmp_path: Path) -> None:
    """57 % of a scale of 0.01 is 0.57 to the letter: equal to a threshold is healthy. Drift is left as it is."""
    queries: Mapping[str, Any] = {"f1": "f1", "drift": "psi"}
    snapshot = look(tmp_path / "m", "f1 57\npsi 12\n", MonitorType.METRICS, **queries, scale=0.01)
    assert (snapshot.f1, snapshot.drift) == (0.57, 12)


@pytest.mark.parametrize(
    "query",
    ['f1{"model.version"="1"}', '{"f1", "model.version"="1"}', '{"f1","model.version"=~"1|3"}', '{"größe"}'],
)
def test_utf8_names_are_selected_as_promql_does(tmp_path: Path, query: str) -> None:
    """Quoted names of labels, and of the metric within the braces (Prometheus 3)."""
    text = 'f1{"model.version"="1"} 0.5\nf1{"model.version"="2"} 0.6\n{"größe"} 0.5\n'
    assert look(tmp_path / "m", text, MonitorType.METRICS, f1=query).f1 == 0.5


@pytest.mark.parametrize("value", ['x\\"y', "x  y", " x", "x\u00a0y(.)", "x\ry", "\x1b[1mx", "\u202ex"])
def test_a_selector_that_a_message_proposes_is_one(tmp_path: Path, value: str) -> None:
    """Whatever signs the names and texts of the series have, also those that no message shows."""
    text = f'{{"größe","a.b"="{value}"}} 0.5\n{{"größe","a.b"="z"}} 0.6\n'
    ambiguous = look(tmp_path / "m", text, MonitorType.METRICS, f1='{"größe"}').f1
    assert isinstance(ambiguous, Unknown)
    proposed = ambiguous.why.partition("series: ")[2].partition(", {")[0]
    assert look(tmp_path / "m", text, MonitorType.METRICS, f1=proposed).f1 == 0.5


@pytest.mark.parametrize(
    "text", ["f1 0.5\n# EOF", "f1 0.5\n# EOF\n", "f1 0.5\n# EOF\nf1 0.1\n", "f1 0.5\r\n# EOF\r\nf1 0.1\r\n"]
)
def test_the_end_mark_ends_an_answer(tmp_path: Path, text: str) -> None:
    """OpenMetrics needs no line feed after it, and nothing after it counts."""
    assert look(tmp_path / "m", text, MonitorType.METRICS, f1="f1").f1 == 0.5


def test_sentences(tmp_path: Path) -> None:
    """An Unknown says what was asked, where, what came back, and how to mend it."""
    queries = {"f1": 'model_f1_score{model="x"}', "drift": "model_drift_psi"}
    snapshot = look(tmp_path / "metrics", PUSHED, MonitorType.METRICS, **queries, samples="model_f1_scor")
    place = (tmp_path / "metrics").as_uri()
    assert why(snapshot.f1) == (
        f'model_f1_score{{model="x"}} at {place} matches no series '
        '(there is model_f1_score{job="evidently",model="churn",version="7"})'
    )
    assert why(snapshot.drift).startswith(f"model_drift_psi at {place} matches 2 series: model_drift_psi{{")
    assert why(snapshot.drift).endswith(" (narrow the selector to one)")
    assert "(the nearest names are model_f1_score" in why(snapshot.samples)
    body, status = answer("query-error-bad-data.400.json")
    with serving(lambda _: page(body, status)) as url:
        value = fetch(Monitoring(url, MonitorType.PROMETHEUS, f1="f1{"), NO_SECRETS, NOW).f1
    assert why(value) == (
        f'{url}/api/v1/query answered 400: invalid parameter "query": 1:5: parse error: unclosed left parenthesis'
        " (check the query f1{)"
    )


def test_a_long_query_does_not_hide_the_cause(tmp_path: Path) -> None:
    """Each part of a sentence is short, so that nothing else is cut off."""
    long = "model_f1_score{" + ",".join(f'label_{number}="value"' for number in range(99)) + "}"
    snapshot = look(tmp_path / ("x" * 200), PUSHED, MonitorType.METRICS, f1=long)
    assert " matches no series (there is model_f1_score{" in why(snapshot.f1)
    assert isinstance(snapshot.f1, Unknown)
    assert len(snapshot.f1.why) < 200


def test_what_an_endpoint_says_is_one_short_line(tmp_path: Path) -> None:
    """Control characters, line ends and length of an answer do not reach a terminal or a mail."""
    body = json.dumps({"f1": "\x1b[31m\r\nSubject: \u202e" + "x" * 10_000})
    snapshot = look(tmp_path / "m.json", body, MonitorType.JSON, f1="f1", window="f1")
    for told in (why(snapshot.f1), snapshot.window):
        assert isinstance(told, str)
        assert told.isprintable()
        assert len(told) <= 600


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"status": "error", "error": "ab " * 1_000_000}),
        json.dumps({"f1": "ab " * 500_000, "w": "ab " * 500_000}),
        "ab " * 1_000_000,
        "\n" * 5_000_000 + "x",
    ],
)
def test_a_long_answer_is_not_searched_for_secrets_to_its_end(tmp_path: Path, body: str) -> None:
    """Of what cannot be a number the beginning is enough, for no more is shown; of megabytes it took many seconds."""
    (tmp_path / "m").write_text(body)
    asked = Monitoring((tmp_path / "m").as_uri(), MonitorType.JSON, f1="f1", window="w")
    began = time.process_time()
    snapshot = fetch(asked, Secrets(("t0ken-number-1",), frozenset()), NOW)
    assert time.process_time() - began < 2
    assert isinstance(snapshot.f1, Unknown) and ("ab ab" in snapshot.f1.why or "it begins: x" in snapshot.f1.why)


@pytest.mark.parametrize("spelt", ["Zk4Tq9v(Bn2Lx)7Wr0", "Zk4Tq9v\x1b[0mBn2Lx7Wr0", "Zk4\x1b[1mTq9\x1b[2mvBn(2L)x7Wr0"])
def test_a_secret_is_taken_out_where_leaving_signs_out_joins_it(tmp_path: Path, spelt: str) -> None:
    """Escape sequences go from what is shown, and parentheses from labels, and may have kept its parts apart."""
    secrets = Secrets(("Zk4Tq9vBn2Lx7Wr0",), frozenset())
    (tmp_path / "m").write_text(json.dumps({"f1": spelt, "w": spelt}))
    (tmp_path / "t").write_text(f'f1{{a="{spelt}"}} 0.5\n')
    shown = fetch(Monitoring((tmp_path / "m").as_uri(), MonitorType.JSON, f1="f1", window="w"), secrets, NOW)
    read = fetch(Monitoring((tmp_path / "t").as_uri(), f1="f1"), secrets, NOW)
    for told in (why(shown.f1), shown.window, read.labels["f1"]):
        assert isinstance(told, str) and "Zk4Tq9vBn2Lx7Wr0" not in told


def test_a_long_answer_ends_in_no_half_of_a_secret(tmp_path: Path) -> None:
    """It would not be recognised; the blanks before it, which are left out, would bring it into sight."""
    secret = "no sign of chance in this pass word"  # noqa: S105
    body = " " * 8180 + secret
    (tmp_path / "m").write_text(json.dumps({"f1": body + "x" * 9000}))
    snapshot = fetch(
        Monitoring((tmp_path / "m").as_uri(), MonitorType.JSON, f1="f1"), Secrets((secret,), frozenset()), NOW
    )
    assert "no sign" not in why(snapshot.f1)


def test_the_import_is_light() -> None:
    """`retrain check` starts like a small tool: no library of the network or of a format comes with the import."""
    heavy = "{'requests', 'urllib3', 'prometheus_client', 'jmespath', 'numpy'}"
    script = f"import sys, retrain.effects.monitoring; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert told.strip() == "[]"


def test_the_monitors_own_problem_is_the_cause(tmp_path: Path) -> None:
    """A metric that `retrain monitor` does not serve is unknown for the reason that it gives; other names are not."""
    problems = ("no reference: there is no champion", "no F1: rows are lost", "some rows wait")
    text = "".join(f'model_monitor_problem{{problem="{problem}"}} 1\n' for problem in problems)
    queries = {"f1": "model_f1_score", "drift": "model_drift_psi", "samples": "labelled_rows"}
    snapshot = look(tmp_path / "metrics", text.encode(), MonitorType.METRICS, **queries)
    place = (tmp_path / "metrics").as_uri()
    assert why(snapshot.f1) == f"model_f1_score at {place} is not served: no F1: rows are lost"
    assert why(snapshot.drift) == f"model_drift_psi at {place} is not served: no reference: there is no champion"
    assert "matches no series" in why(snapshot.samples)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", platform.node()])  # noqa: S104
def test_the_monitor_of_another_project_is_not_believed(tmp_path: Path, host: str) -> None:
    """It says whose log it measures, and is on this machine by whatever name it is asked."""
    (tmp_path / "log").touch()
    answer = page("f1 0.5\n", Retrain_Log="1:1 churn")
    with serving(lambda _: answer) as url:
        asked = Monitoring(url.replace("127.0.0.1", host), f1="f1", retries=0)
        value = fetch(asked, NO_SECRETS, NOW, log=tmp_path / "log").f1
    assert worth(value) in ("of_another", "unreachable")  # the machine's name may lead to an address of the network


@pytest.mark.parametrize("why_not", ["cannot be read: no line ends within 9 bytes", "is missing (monitor.log)"])
def test_a_log_that_cannot_be_read_is_the_first_cause(tmp_path: Path, why_not: str) -> None:
    """Requirement: what the monitor says of windows that it read before is not why it serves nothing new."""
    problems = (
        "no F1: no complete window has all its labels yet",
        "no drift: too few rows",
        f"the log a.csv {why_not}",
    )
    text = "".join(f'model_monitor_problem{{problem="{problem}"}} 1\n' for problem in problems)
    queries = {"f1": "model_f1_score", "drift": "model_drift_psi"}
    snapshot = look(tmp_path / "metrics", text.encode(), MonitorType.METRICS, **queries)
    assert why(snapshot.f1).endswith(f"is not served: the log a.csv {why_not}")
    assert why(snapshot.drift).endswith(f"is not served: the log a.csv {why_not}")
