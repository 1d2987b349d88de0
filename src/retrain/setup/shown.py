"""The configuration in force, as YAML with a mark at each default."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml
from msgspec import NODEFAULT, Struct, to_builtins
from msgspec.structs import FieldInfo, fields

from retrain.config.schema import Command, Size

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
    plain = to_builtins(str(value) if isinstance(value, Path) else value)
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("...\n").strip().replace("${", "\\${")


def _whole(number: float, units: Sequence[tuple[int, str]]) -> str:
    """The number in the largest unit of which it is a whole multiple."""
    size, unit = next(each for each in units if (number and number % each[0] == 0) or each == units[-1])
    return f"{number / size:g}{unit}"
