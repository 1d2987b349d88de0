"""Hostile endpoints at a quick size: a selection, each in one way of asking."""

import pytest

from retrain.config.schema import MonitorType
from tests.survival import endpoints
from tests.survival.measured import Ended

SOME = 41
"""Every so many pairs of an endpoint and a type."""


@pytest.fixture(scope="module")
def healthy() -> Ended:
    """What a sound endpoint costs; the harness has seen a low F1 train."""
    return endpoints.controls()


def test_hostile_endpoints_are_unknown_and_never_train(healthy: Ended) -> None:
    """Exit 4, one printable line, no training, in time, in bounded memory; headers do not follow a redirect."""
    seen = [*endpoints.hostile(every=SOME), endpoints.refused(), endpoints.unresolvable()]
    assert len(seen) > 8
    for looked in seen:
        endpoints.unknown(looked, healthy)


def test_answers_of_real_components_are_unknown_where_they_hold_no_f1(healthy: Ended) -> None:
    """What another program says is no F1."""
    seen = [*endpoints.samples([MonitorType.PROMETHEUS], every=7)]
    assert len(seen) > 2
    for looked in seen:
        endpoints.unknown(looked, healthy)
