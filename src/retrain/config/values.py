"""One value of config.yaml → its type: strict, with a sentence where it does not fit."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import cache, partial
from operator import eq
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import cattrs
from cattrs.errors import IterableValidationError, IterableValidationNote

from retrain.config.schema import Columns, Command, MonitorType, ObservedAt, Size, Types, Url
from retrain.core.records import Label
from retrain.core.rules import (
    Amount,
    Average,
    Difference,
    Guarantee,
    Level,
    MaxAge,
    Metric,
    Natural,
    Positive,
    Rate,
    Share,
    Side,
)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_TEN_YEARS = timedelta(days=3653)
_MOST = 1_000_000_000
_IMPOSSIBLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""No file name, header or variable can hold these; the bytes of a name that is not UTF-8 are surrogates, too."""


@cache
def converter() -> cattrs.Converter:
    """A converter from plain YAML values to the schema."""
    made = cattrs.Converter(forbid_extra_keys=True)
    hooks: dict[Any, Callable[[Any, Any], Any]] = {
        str: lambda value, _: _string(value),
        Path: lambda value, _: _path(value),
        timedelta: lambda value, _: _duration(value),
        Size: lambda value, _: _size(value),
        Url: lambda value, _: _url(value),
        Command: lambda value, _: _command(value),
        Columns: lambda value, _: () if value == [] else _names(value),
        Types: lambda value, _: () if value == [] else _names(value, "types, with their modules"),
        Share: lambda value, _: _number(value, 0, 1, "a number from 0 to 1"),
        Amount: lambda value, _: _number(value, 0, sys.float_info.max, "a number, 0 or more"),
        Difference: lambda value, _: _number(value, -1, 1, "a number from -1 to 1"),
        Level: lambda value, _: _level(value),
        Rate: lambda value, _: _rate(value),
        Natural: lambda value, _: _integer(value, 0),
        Positive: lambda value, _: _integer(value, 1),
        Label: lambda value, _: _label(value),
        Mapping[str, str]: lambda value, _: _strings(value),
        tuple[str, ...]: lambda value, _: _names(value),
    }
    for target, hook in hooks.items():
        if isinstance(target, type):
            made.register_structure_hook(target, hook)
        else:
            made.register_structure_hook_func(partial(eq, target), hook)
    for choices in (MonitorType, Side, Metric, Average, Guarantee):
        made.register_structure_hook(choices, _choice)
    for parts in (MaxAge, ObservedAt):
        _accept_one_for_both(made, parts)
    return made


def _accept_one_for_both(made: cattrs.Converter, parts: type[Any]) -> None:
    """Let one value stand for both signals: `max_age: 2h` is `{f1: 2h, drift: 2h}`."""
    whole = made.get_structure_hook(parts)
    (part,) = set(get_type_hints(parts).values())

    def structure(value: Any, kind: type[Any]) -> Any:
        return whole(value, kind) if isinstance(value, dict) else kind(*[made.structure(value, part)] * 2)

    made.register_structure_hook(parts, structure)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text (put it in quotes)")
    if _IMPOSSIBLE.search(value):
        raise ValueError("has a character that no name can hold")
    return value


def _string(value: object) -> str:
    if not (text := _text(value)):
        raise ValueError("is empty")
    return text


def _path(value: object) -> Path:
    try:
        return Path(_string(value)).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with ~, but that user has no home directory") from error


def _duration(value: object) -> timedelta:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 90s, 15m, 6h or 7d")
    duration = timedelta(seconds=float(match[1]) * _SECONDS[match[2]])
    if duration > _TEN_YEARS:
        raise ValueError("is longer than ten years")
    return duration


def _size(value: object) -> int:
    match = re.fullmatch(r"(\d{1,9}) ?([KMG]iB|[kMG]?B)", value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError("is not a size such as 512KiB or 5MiB")
    return int(match[1]) * _BYTES[match[2]]


def _url(value: object) -> str:
    url = _string(value)
    if re.search(r"[\0-\x20\x7f]", url):
        raise ValueError("is not a URL: it has a blank or a control character")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError("is not an http, https or file URL")
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise ValueError("a file URL has three slashes: file:///path")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("has no host")
    return url


def _command(value: object) -> tuple[str, ...]:
    text = _string(value)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {str(error).lower()}") from error
    if not words:
        raise ValueError("is empty")
    return words


def _number(value: object, low: float, high: float, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"is not {wanted}")
    return float(value)


def _level(value: object) -> float:
    level = _number(value, 0, 0.5, "a number above 0 and below 0.5")
    if level in (0, 0.5):
        raise ValueError("is not a number above 0 and below 0.5")
    return level


def _rate(value: object) -> float:
    return _number(value, 0.001, 1_000_000, "a number from 0.001 to 1,000,000")


def _integer(value: object, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"is not a whole number, {low} or more")
    if value > _MOST:
        raise ValueError(f"is not a whole number up to {_MOST:,}")
    return value


def _label(value: object) -> Label:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float) and abs(value) < 2**63:
        return value
    raise ValueError("is not a class label (a number or a text)")


def _strings(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("is not a mapping of names to texts")
    if None in value.values():
        # The name is not told: it may be name and secret, with the blank between them forgotten.
        raise ValueError('has a name without a text (write name: "text")')
    problems = [problem for item in value.items() if (problem := _problem(*item)) is not None]
    if problems:
        raise IterableValidationError("texts", problems, dict)
    return dict(value)


def _problem(name: object, text: object) -> ValueError | None:
    """What is wrong with one text of a mapping, noted with its name."""
    try:
        _string(name), _text(text)
    except ValueError as error:
        error.add_note(IterableValidationNote("", str(name), str))
        return error
    return None


def _names(value: object, what: str = "column names") -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"is not a list of {what}")
    return tuple(map(_text, value))


def _choice(value: object, kind: type[StrEnum]) -> StrEnum:
    if value not in list(kind):
        raise ValueError(f"is not one of {', '.join(kind)}")
    return kind(str(value))
