"""Random answers and configurations at a quick size; the same ones every time."""

from pathlib import Path

import pytest

from retrain.config.schema import MonitorType
from tests.survival import fuzz, fuzz_inputs
from tests.survival.hostile_answers import QUERY, vector

QUICK, INSTALLED = 150, 4


@pytest.mark.parametrize("kind", QUERY)
def test_a_random_answer_is_a_number_or_unknown_and_trains_only_with_cause(kind: MonitorType) -> None:
    """Nothing else comes of it, and the oracle, which shares no code with the product, sees the cause of a training."""
    outcomes = fuzz.trials(fuzz_inputs.answers(kind), QUICK, 1, lambda body: fuzz.judged(kind, body))
    assert outcomes["hold: unknown"]
    assert outcomes["train: breach"]


def test_a_random_configuration_is_read_or_refused(tmp_path: Path) -> None:
    """Every problem is a line with its place, and none quotes the environment."""
    path = tmp_path / "config.yaml"
    outcomes = fuzz.trials(fuzz_inputs.configurations(), 2 * QUICK, 2, lambda content: fuzz.loaded(path, content))
    assert outcomes["read"]
    assert outcomes["refused"]


def test_the_installed_command_ends_as_documented() -> None:
    """Whatever the endpoint says and whatever the file holds: never a traceback, never exit 3."""
    assert fuzz.installed_answers(MonitorType.METRICS, INSTALLED, 3).total() >= INSTALLED
    assert fuzz.installed_configurations(INSTALLED, 4).total() >= INSTALLED


@pytest.mark.parametrize(
    ("kind", "body", "cause"),
    [
        (MonitorType.METRICS, b"f1 0.1\n", True),
        (MonitorType.METRICS, b"f1 0.9\ndrift 0.2\n", False),
        (MonitorType.METRICS, b"f1 0.1\nf1 0.1\n", False),
        (MonitorType.JSON, b'{"f1": 0.1}', True),
        (MonitorType.JSON, b'{"f1": "0.1"}', False),
        (MonitorType.PROMETHEUS, vector([{"value": [1, "0.1"]}]).encode(), True),
        (MonitorType.PROMETHEUS, vector([{"value": [1, "1_0"]}]).encode(), False),
    ],
)
def test_the_oracle_itself(kind: MonitorType, body: bytes, cause: bool) -> None:
    """It sees a cause where there is one, and only there."""
    assert fuzz.causes(kind, body) is cause
