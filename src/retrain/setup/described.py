"""The JSON schema of config.yaml, for editors: made from the types that the file is read by."""

from collections.abc import Mapping
from datetime import timedelta
from enum import EnumType
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import yaml
from msgspec import NODEFAULT, Struct, json
from msgspec.structs import FieldInfo, fields

from retrain.config.load import ONE_FOR_BOTH
from retrain.config.schema import Command, Config, Heartbeat, HoldoutKind, Size, Span, Table, Text, Url
from retrain.core.records import Label
from retrain.setup.shown import written

_VARIABLE = r"\$\{"
_DURATION = {"type": "string", "pattern": rf"^[0-9]{{1,9}}(\.[0-9]{{1,6}})?[smhd]$|{_VARIABLE}"}
_TEXT = {"type": "string"}
_TABLE = {"type": "string", "pattern": rf"\.(csv|parquet)$|{_VARIABLE}"}
_LEAVES: dict[Any, dict[str, Any]] = {
    str: _TEXT,
    Text: _TEXT,
    Path: _TEXT,
    Command: _TEXT,
    Table: _TABLE,
    Table | HoldoutKind: {"type": "string", "pattern": rf"^({'|'.join(HoldoutKind)})$|{_TABLE['pattern']}"},
    timedelta: _DURATION,
    Span: _DURATION,
    Size: {"type": "string", "pattern": rf"^[0-9]{{1,9}} ?([KMG]iB|[kMG]?B)$|{_VARIABLE}"},
    Url: {"type": "string", "pattern": rf"^(https?|file)://|{_VARIABLE}"},
    Label: {"type": ["string", "number", "boolean"]},
    Mapping[str, str]: {"type": ["object", "null"], "additionalProperties": _TEXT},
}
"""What is accepted of a value of each type, before its variables are filled in."""


def schema() -> dict[str, Any]:
    """The schema, JSON Schema 2020-12: keys, their types, bounds and defaults, and what the sections are about."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "config.yaml", **_of(Config)}


def _of(kind: Any) -> dict[str, Any]:
    """What is accepted of a value of this type."""
    if (leaf := _LEAVES.get(kind)) is not None:
        return leaf
    if isinstance(kind, EnumType):
        return {"enum": list(kind)}
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _section(kind)
    if NoneType in get_args(kind):
        (wanted,) = set(get_args(kind)) - {NoneType}
        return {"anyOf": [_of(wanted), {"type": "null"}]}
    found = json.schema(kind)
    enums = found.pop("$defs", {})
    if "anyOf" in found:
        found["anyOf"] = [enums[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in found["anyOf"]]
    return found


def _section(kind: type[Struct]) -> dict[str, Any]:
    keys = {key.name: {**_of(key.type), **_default(key)} for key in fields(kind)}
    section = {
        "type": ["object", "null"],
        "description": (kind.__doc__ or "").partition("\n")[0],
        "properties": keys,
        "required": [key.name for key in fields(kind) if key.required],
        "additionalProperties": False,
    }
    if kind not in (*ONE_FOR_BOTH, Heartbeat):
        return section
    return {"anyOf": [_of(fields(kind)[0].type), section]}  # one value may stand for it


def _default(key: FieldInfo) -> dict[str, Any]:
    """The default as it is written in the file; sections have those of their keys."""
    made = key.default_factory() if key.default_factory is not NODEFAULT else key.default
    return {} if made is NODEFAULT or isinstance(made, Struct) else {"default": yaml.safe_load(written(made, key.type))}
