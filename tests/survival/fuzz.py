"""Tens of thousands of random answers and configurations: each ends as documented, and none trains without cause."""

import json
import math
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from msgspec.structs import replace

from retrain.config import load
from retrain.config.schema import Config, Monitoring, MonitorType, ObservedAt
from retrain.core.assess import assess
from retrain.core.decide import decide
from retrain.core.fold import watch
from retrain.core.past import Past
from retrain.core.records import Action, Decision, Snapshot, Unknown
from retrain.core.rules import Triggers
from retrain.effects import monitoring
from retrain.effects.monitoring import Answer, json_text, prometheus_api, prometheus_text, queries, snapshot_of
from retrain.effects.monitoring import prometheus_text as selector
from retrain.errors import ConfigError
from tests.effects.servers import page, serving
from tests.survival import fuzz_inputs
from tests.survival.hostile_answers import QUERY
from tests.survival.measured import MARK, run, site

FULL = 7_000
"""Answers of each type; there are as many configurations as answers."""
INSTALLED = 100
"""Answers of each type, and configurations, that the installed command is asked about."""
_SLOW = 20.0
"""Seconds that no input may take."""
_NOW = datetime.fromtimestamp(fuzz_inputs.NOW, UTC)
_RULES = Triggers(performance_threshold=0.85, drift_threshold=0.2)
_WHERE = "http://h"


def trials(strategy: SearchStrategy[bytes], size: int, number: int, check: Callable[[bytes], str]) -> Counter[str]:
    """How often each outcome came of so many random inputs; the same number makes the same inputs."""
    outcomes: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=size,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(content: bytes) -> None:
        began = time.monotonic()
        outcomes[check(content)] += 1
        assert time.monotonic() - began < _SLOW, content

    one()
    return outcomes


# ---------------------------------------------------------------- answers


def asked(kind: MonitorType, *, dated: bool) -> Monitoring:
    """The configuration that the answers are for."""
    at = ObservedAt("at", "at") if dated else ObservedAt()
    return Monitoring(_WHERE, kind, f1="f1", drift="drift", observed_at=at)


def judged(kind: MonitorType, body: bytes) -> str:
    """The outcome of a check that got this answer to every query: its reason.

    Raises AssertionError where a field is neither Unknown nor finite, or where it trains although `causes` sees none.
    """
    watched = asked(kind, dated=len(body) % 2 == 1)
    seen = _snapshot(watched, body)
    for value in (seen.f1, seen.drift, seen.f1_observed_at):
        assert value is None or _documented(value), (value, body)
    decision = _decision(seen)
    decision.message.encode()
    assert decision.message.isprintable(), (decision, body)
    if decision.action is Action.TRAIN:
        assert causes(kind, body), (decision, body)
    return f"{decision.action}: {decision.reason}"


def _documented(value: object) -> bool:
    if isinstance(value, Unknown):
        return bool(value.kind) and 0 < len(value.why) <= 600 and value.why.isprintable()
    return isinstance(value, datetime) or (isinstance(value, float) and math.isfinite(value))


def _snapshot(watched: Monitoring, body: bytes) -> Snapshot:
    answers: dict[str, Answer] = {}
    for query in dict.fromkeys(queries(watched).values()):
        match watched.type:
            case MonitorType.METRICS:
                answers |= prometheus_text.read({query: selector.parse(query)}, body)
            case MonitorType.JSON:
                answers |= json_text.read({query: json_text.parse(query)}, body)
            case MonitorType.PROMETHEUS:
                answers[query] = prometheus_api.read(body)[0]
    return snapshot_of(watched, answers, _NOW, _WHERE, str)


def _decision(seen: Snapshot) -> Decision:
    assessments = assess(seen, _RULES, Past())
    return decide(watch(Past(), assessments), assessments, _RULES, _NOW)


# ---------------------------------------------------------------- the oracle: it shares no code with the product

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LINE = re.compile(r'\s*([A-Za-z_]\w*)\s*(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s*(\S+)(?:\s+\S+)?\s*')


def causes(kind: MonitorType, body: bytes) -> bool:
    """Whether the body really says that F1 is a number below 0.85, or drift one above 0.2."""
    text = body.decode("utf-8-sig")
    if kind is MonitorType.METRICS:
        lines = takewhile(lambda line: line.removesuffix("\r") != "# EOF", text.split("\n"))  # OpenMetrics ends there
        found = [match for line in lines if (match := _LINE.fullmatch(line))]
        return any(_in_breach(name, [m[3] for m in found if m[1] == name]) for name in ("f1", "drift"))
    document = json.loads(text)
    if kind is MonitorType.PROMETHEUS:
        data = document["data"]
        result = data["result"]
        told = [result[1]] if data["resultType"] == "scalar" else [item["value"][1] for item in result]
        return document["status"] == "success" and any(_in_breach(name, told) for name in ("f1", "drift"))
    return any(
        isinstance(document[name], int | float) and _in_breach(name, [repr(document[name])])
        for name in ("f1", "drift")
        if name in document
    )


def _in_breach(name: str, told: list[str]) -> bool:
    """Whether exactly one plain number was told, and it is in breach."""
    if len(told) != 1 or not isinstance(told[0], str) or _PLAIN.fullmatch(told[0].strip()) is None:
        return False
    value = float(told[0])
    return 0 <= value < 0.85 if name == "f1" else 0.2 < value < math.inf


# ---------------------------------------------------------------- configurations


def loaded(path: Path, content: bytes) -> str:
    """What came of a file as a configuration: `read`, `refused`, or `refused when asked` for a query that is none."""
    path.write_bytes(content)
    try:
        config, secrets = load(path, {"A": "s3cr3t-value", "HOME": "/nowhere"})
    except ConfigError as error:
        assert all(line.startswith(str(path)) for line in str(error).splitlines() if line.strip()), str(error)
        str(error).encode()
        assert "s3cr3t" not in str(error)
        return "refused"
    assert isinstance(config, Config)
    assert config.gate.question
    if config.monitoring is None:
        return "read"
    elsewhere = replace(config.monitoring, url=path.with_name("none").as_uri())
    try:
        seen = monitoring.fetch(elsewhere, secrets, _NOW)
    except ConfigError:
        return "refused when asked"
    assert seen.f1 is None or isinstance(seen.f1, Unknown), seen
    return "read"


# ---------------------------------------------------------------- through the installed command


def installed_answers(kind: MonitorType, size: int, number: int) -> Counter[str]:
    """The exit codes of so many checks of random answers."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        said: list[bytes] = [b""]
        with serving(lambda _: page(said[0])) as url:
            more = {"f1": "f1", "timeout": "5s", "retries": 0}
            root = site(Path(directory), {"type": str(kind), "url": url, **more}, state="state")

            def one(content: bytes) -> str:
                said[0] = content
                (root / MARK).unlink(missing_ok=True)
                for left in (root / "state").glob("journal.db*"):
                    left.unlink()
                ended = run(root, "check")
                assert ended.code in (0, 1, 4), (ended, content)
                assert "Traceback" not in ended.err, (ended, content)
                assert ended.err.count("\n") <= 1, (ended, content)
                trained = (root / MARK).exists()
                assert not trained or causes(kind, content), (ended, content)
                return f"exit {ended.code}" + (", trained" if trained else "")

            return trials(fuzz_inputs.answers(kind), size, number, one)


def installed_configurations(size: int, number: int) -> Counter[str]:
    """The exit codes of so many dry checks with random configurations."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        root = Path(directory)

        def one(content: bytes) -> str:
            (root / "config.yaml").write_bytes(content)
            ended = run(root, "check", "--dry-run", A="value")
            assert ended.code in (0, 1, 2, 4), (ended, content)
            assert "Traceback" not in ended.err, (ended, content)
            return f"exit {ended.code}"

        return trials(fuzz_inputs.configurations(), size, number, one)


def figures() -> Iterator[str]:
    """All of it at full size."""
    total = 0
    for number, kind in enumerate(QUERY):
        outcomes = trials(fuzz_inputs.answers(kind), FULL, number, lambda body, kind=kind: judged(kind, body))  # type: ignore[misc]
        total += outcomes.total()
        yield f"{outcomes.total()} answers to type {kind}: {_told(outcomes)}"
    yield f"{total} answers: a number or Unknown with its reason, every time; no training that the oracle does not see"
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        path = Path(directory) / "config.yaml"
        outcomes = trials(fuzz_inputs.configurations(), 3 * FULL, 9, lambda content: loaded(path, content))
    yield f"{outcomes.total()} configurations: {_told(outcomes)}"
    for number, kind in enumerate(QUERY):
        yield f"retrain check, {kind}: {_told(installed_answers(kind, INSTALLED, 100 + number))}"
    yield f"retrain check --dry-run, configurations: {_told(installed_configurations(INSTALLED, 109))}"


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
