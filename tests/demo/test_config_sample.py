"""config.yaml at the repository's root, the annotated sample."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from retrain.config import Config, load
from retrain.config.load import structure
from retrain.config.schema import ObservedAt
from retrain.core.rules import MaxAge, MinAge

SAMPLE = Path(__file__).parents[2] / "config.yaml"
ONE_FOR_BOTH = (MaxAge, MinAge, ObservedAt)
"""Sections that may be written as one value."""
OF_THE_DEMO = {
    "triggers.performance_threshold": "a signal without a threshold is not watched",
    "triggers.max_drop": "decay is seen before the threshold is reached",
    "triggers.drift_threshold": "the same",
    "triggers.max_age": "a window of a whole day is older than 24 h before the next one ends",
    "monitoring.url": "`retrain monitor` of the demo",
    "monitoring.f1": "the series that `retrain monitor` serves",
    "monitoring.drift": "the same",
    "monitoring.observed_at": "the same",
    "monitoring.observed_at.f1": "the same",
    "monitoring.observed_at.drift": "the same",
    "monitoring.samples": "the same",
    "monitoring.positives": "the same",
    "monitoring.counts": "the same",
    "promotion.holdout": "what a newcomer should have; the default is what it was",
}
"""Where the sample has another value than the default, and why."""
REQUIRED = object()
"""The default of a key that has none."""


def parts(annotation: Any) -> tuple[Any, ...]:
    """The types of which a value may be."""
    return get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)


def keys(section: Any, above: str = "") -> Iterator[str]:
    """Every key of a section of the schema, dotted."""
    hints = get_type_hints(section)
    for name in (field.name for field in fields(section)):
        yield above + name
        for kind in parts(hints[name]):
            if isinstance(kind, type) and issubclass(kind, Struct) and kind not in ONE_FOR_BOTH:
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


def default_of(field: FieldInfo) -> Any:
    """What the schema takes where a key is not there."""
    if field.required:
        return REQUIRED
    return field.default_factory() if field.default is NODEFAULT else field.default


def schema(section: Any = Config, above: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted path, type and default of each key, but of those that are sections of the file."""
    hints = get_type_hints(section, include_extras=True)
    for field in fields(section):
        path, annotation = above + field.name, hints[field.name]
        inner = next((kind for kind in parts(annotation) if isinstance(kind, type) and issubclass(kind, Struct)), None)
        if section is not Config or inner is None:
            yield path, annotation, default_of(field)
        if inner is not None:
            yield from schema(inner, f"{path}.")


def entries() -> dict[str, tuple[Any, str]]:
    """Each key of the sample by its dotted path: its value, and the comment between it and the next one."""
    text = SAMPLE.read_text()
    lines = text.splitlines()
    found: list[tuple[str, int, Any]] = []

    def walk(node: yaml.MappingNode, above: str) -> None:
        for key, value in node.value:
            found.append((above + key.value, key.start_mark.line, yaml.safe_load(yaml.serialize(value))))
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                walk(value, f"{above}{key.value}.")

    document = yaml.compose(text)
    assert isinstance(document, yaml.MappingNode)
    walk(document, "")
    ends = [line for _, line, _ in found[1:]] + [len(lines)]
    spans = (lines[at:end] for (_, at, _), end in zip(found, ends, strict=True))
    comments = [" ".join(line.partition("#")[2].strip() for line in span) for span in spans]
    return {path: (value, comment) for (path, _, value), comment in zip(found, comments, strict=True)}


ENTRIES = entries()
MARKED = [each for each in schema() if each[0] in ENTRIES]


@pytest.mark.parametrize(("key", "annotation", "default"), MARKED, ids=[each[0] for each in MARKED])
def test_each_key_is_marked_with_its_default(key: str, annotation: Any, default: Any) -> None:
    """Whoever has changed a value can see what it was: `(default: 6h)` in its comment, or `(required)`."""
    value, comment = ENTRIES[key]
    marks = re.findall(r"\((required|default: .+?)\)", comment)
    assert len(marks) == 1, comment
    if default is REQUIRED:
        assert marks == ["required"]
        return
    written = yaml.safe_load(marks[0].removeprefix("default: "))
    assert structure(annotation, written, []) == default
    is_default = structure(annotation, value, []) == default
    assert is_default == (key not in OF_THE_DEMO), f"{key}: {value!r}, and its default is {default!r}"


def test_only_keys_of_the_sample_may_differ() -> None:
    """No reason is given for a key that is not there."""
    assert set(OF_THE_DEMO) <= {key for key, _, _ in MARKED}
