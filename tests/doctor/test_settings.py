"""What doctor says of the configuration: values that are allowed, and wait for what may never come."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrain.config import Config, Secrets
from retrain.config.schema import HoldoutKind, Monitor, Promotion
from retrain.context import Context
from retrain.core.rules import Triggers
from retrain.doctor import Severity
from retrain.doctor.settings import configuration


@pytest.mark.parametrize(("window", "ttl", "is_found"), [(7, 7, True), (7, 14, False), (1, 7, False)])
def test_a_challenger_that_is_replaced_before_its_rows_have_come_is_a_warning(
    window: int, ttl: int, is_found: bool
) -> None:
    """`live` judges once whole windows have come after a training: triggers.challenger_ttl must last so long."""
    config = Config(
        monitor=Monitor(window=timedelta(days=window)),
        triggers=Triggers(challenger_ttl=timedelta(days=ttl)),
        promotion=Promotion(holdout=HoldoutKind.LIVE),
    )
    context = Context(config, Secrets((), frozenset()), {}, lambda: datetime.now(UTC), Path("config.yaml"))
    warned = [each.message for each in configuration(context) if each.severity is Severity.WARN]
    assert bool(warned) is is_found
    assert not warned or "challenger_ttl is 7 d, and 1 whole window after a training may take 14 d" in warned[0]
