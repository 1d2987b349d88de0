"""`retrain config check`, `config show` (a mark at each default) and `config schema` (for editors)."""

import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from enum import EnumType
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args

import yaml
from msgspec import NODEFAULT, Struct, to_builtins
from msgspec.json import schema as schema_of
from msgspec.structs import FieldInfo, fields

from retrain.config.load import ONE_FOR_BOTH, load, offline
from retrain.config.schema import Command, Config, Heartbeat, HoldoutKind, Remote, Rows, Size, Span, Table, Text, Url
from retrain.core.records import Label
from retrain.core.text import STORES
from retrain.errors import Report
from retrain.output import Output


def check(file: Path) -> Report:
    """Say that the file is valid. Raises ConfigError, exit code 2, that lists every problem."""
    missing, idle = offline(file, os.environ)
    more = f"; not set here: {', '.join(missing)}" if missing else ""
    more += f"; without effect, so delete: {', '.join(idle)}" if idle else ""
    return Report(f"{file} is valid{more}", {"message": f"{file} is valid{more}", "unset": missing})


def show(file: Path, output: Output) -> Report:
    """Print every key as it is in force, with a mark at each default. Secrets become `***`."""
    config, output.secrets = load(file, os.environ)
    output.about = {"name": config.name}
    found = list(keys(config, file.absolute().parent))
    values = {
        ".".join(each.path): {"value": output.secrets.scrub(each.text), "default": each.is_default}
        for each in found
        if each.text is not None
    }
    return Report(as_yaml(found), {"keys": values}, on_stdout=True)


def describe() -> Report:
    """Print the JSON schema of the file."""
    return Report(json.dumps(schema(), indent=2, ensure_ascii=False), schema(), on_stdout=True)


# ---------------------------------------------------------------- what is in force


_SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, "B"))


class Key(NamedTuple):
    """A key of the configuration: its path, its value as YAML (None: a section), and whether that is the default."""

    path: tuple[str, ...]
    text: str | None
    is_default: bool


def keys(section: Struct, base: Path, path: tuple[str, ...] = ()) -> Iterator[Key]:
    """The keys of this section and of those in it, in the order of the schema; `base` is the configuration's directory.

    A section that is not set (null), a mapping and a list are values.
    """
    for each in fields(section):
        value, below = getattr(section, each.name), (*path, each.name)
        if isinstance(value, Struct):
            yield Key(below, None, value == _default(each, base))
            yield from keys(value, base, below)
        else:
            yield Key(below, written(value, each.type), value == _default(each, base))


def as_yaml(found: Iterable[Key]) -> str:
    """The keys as a file that has the same meaning, `# default` behind each value that is one."""
    lines = []
    for path, text, is_default in found:
        line = f"{'  ' * (len(path) - 1)}{path[-1]}:" + ("" if text is None else f" {text}")
        lines.append(f"{line:<45} # default" if is_default and text is not None else line)
    return "\n".join(lines)


def _default(key: FieldInfo, base: Path) -> Any:
    """What the key means where it is left out; a relative path is below `base`."""
    made = key.default_factory() if key.default_factory is not NODEFAULT else key.default
    return base / made if isinstance(made, Path) else made


def written(value: Any, kind: Any) -> str:
    """The value of a key of this type, as YAML."""
    if isinstance(value, timedelta):
        return "24h" if value == timedelta(days=1) else _whole(value.total_seconds(), _SPANS)
    if value is not None and Size in (kind, *get_args(kind)):
        return _whole(value, _SIZES)
    if value is not None and Command in (kind, *get_args(kind)):
        value = shlex.join(value)
    plain = to_builtins(str(value) if isinstance(value, Path | Remote) else value)
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("...\n").strip().replace("${", "\\${")


def _whole(number: float, units: Sequence[tuple[int, str]]) -> str:
    """The number in the largest unit of which it is a whole multiple."""
    size, unit = next(each for each in units if (number and number % each[0] == 0) or each == units[-1])
    return f"{number / size:g}{unit}"


# ---------------------------------------------------------------- the schema, from the types that the file is read by


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
    Rows | Remote | HoldoutKind: {
        "type": "string",
        "pattern": rf"^({'|'.join(HoldoutKind)})$|^({'|'.join(STORES)})|[*?/]|{_TABLE['pattern']}",
    },
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
    found = schema_of(kind)
    enums = found.pop("$defs", {})
    if "$ref" in found.get("items", {}):
        found["items"] = enums[found["items"]["$ref"].rpartition("/")[2]]
    if "anyOf" in found:
        found["anyOf"] = [enums[each["$ref"].rpartition("/")[2]] if "$ref" in each else each for each in found["anyOf"]]
    return found


def _section(kind: type[Struct]) -> dict[str, Any]:
    keys = {key.name: {**_of(key.type), **_as_default(key)} for key in fields(kind)}
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


def _as_default(key: FieldInfo) -> dict[str, Any]:
    """The default as it is written in the file; sections have those of their keys."""
    made = key.default_factory() if key.default_factory is not NODEFAULT else key.default
    return {} if made is NODEFAULT or isinstance(made, Struct) else {"default": yaml.safe_load(written(made, key.type))}
