"""config.yaml at the repository's root, the annotated sample."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from retrain.config import Config, load
from retrain.config.schema import ObservedAt
from retrain.core.rules import MaxAge

SAMPLE = Path(__file__).parents[2] / "config.yaml"
ONE_FOR_BOTH = (MaxAge, ObservedAt)
"""Sections that may be written as one value."""


def keys(section: Any, above: str = "") -> Iterator[str]:
    """Every key of a section of the schema, dotted."""
    hints = get_type_hints(section)
    for name in (field.name for field in fields(section)):
        kinds = get_args(hints[name]) if isinstance(hints[name], UnionType) else (hints[name],)
        yield above + name
        for kind in kinds:
            if is_dataclass(kind) and kind not in ONE_FOR_BOTH:
                yield from keys(kind, f"{above}{name}.")


def test_it_is_valid() -> None:
    """The shipped configuration loads, in an environment without any of our variables, and is what the demo needs."""
    config, _ = load(SAMPLE, {})
    assert config.monitoring is not None
    assert config.monitoring.url == f"http://{config.monitor.listen}/metrics"
    assert config.triggers.max_age == MaxAge(f1=timedelta(days=3), drift=timedelta(days=3))
    assert config.training.command == ("make", "train-model")


@pytest.mark.parametrize("key", list(keys(Config)))
def test_it_names_every_key(key: str) -> None:
    """The sample is the reference of the configuration, so no key of the schema may be missing in it."""
    section = yaml.safe_load(SAMPLE.read_text())
    for step in key.split("."):
        if section is None:  # what is off is shown in the comment beside it
            assert f"{step}: " in SAMPLE.read_text(), f"config.yaml does not mention {key}"
            return
        assert step in section, f"config.yaml does not mention {key}"
        section = section[step]
