"""Plain values → the records of the schema: strict, with every problem at once, each with its path and line.

A small reader that follows the types of the fields. Libraries that report every problem generate code for each
class at every start, which costs `check` more than its decision.
"""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import EnumType
from functools import cache
from os.path import normpath
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args
from urllib.parse import urlsplit

from msgspec import Struct, ValidationError, convert
from msgspec.structs import FieldInfo, asdict, fields, replace

from retrain.config.document import Document, Keys, Problem, content, fill, named, parse
from retrain.config.schema import (
    AnyModels,
    Command,
    Config,
    Heartbeat,
    HoldoutKind,
    ObservedAt,
    Promotion,
    Remote,
    Rows,
    Size,
    Span,
    Table,
    Text,
    Url,
    conflicts,
    contradictions,
    idle,
)
from retrain.config.secrets import Secrets, secret_values
from retrain.core.records import Label
from retrain.core.rules import MaxAge, MinAge, Triggers
from retrain.core.text import STORES, WILD, one_line
from retrain.errors import ConfigError

T = TypeVar("T", Triggers, Promotion)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_IMPOSSIBLE = r"[\0\ud800-\udc7f\udd00-\udfff]"
"""What no file name, header or variable can hold; the other surrogates are bytes of a name that is not UTF-8."""
_STORE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""The variables in which an object store's client looks for credentials."""
_FLAGS = {
    Triggers: ("--rule", "triggers, such as 'consecutive: 3, cooldown: 1h'"),
    Promotion: ("--gate", "keys of promotion, such as 'alpha: 0.2'"),
}
"""The flag that changes a section, and what it takes."""
ONE_FOR_BOTH = (MaxAge, MinAge, ObservedAt)
"""Sections that one value may stand for: `max_age: 2h` is `{f1: 2h, drift: 2h}`."""


def load(path: Path, environ: Mapping[str, str]) -> tuple[Config, Secrets]:
    """The configuration and its secrets.

    Raises ConfigError that lists every problem, one a line: `config.yaml:12: triggers.cooldown: ...`.
    """
    text = content(path)
    try:
        config, document = _read(path, text, environ)
    except ConfigError as error:
        error.variables = named(text)
        raise
    is_remote = isinstance(config.promotion.holdout, Remote)
    keys = {name: environ[name] for name in _STORE if name in environ} if is_remote else {}
    proxies = {url for name, url in environ.items() if re.fullmatch(r"(?i)(https?|all)_proxy", name)}
    secrets = secret_values(config, document.withheld, document.passed | keys, document.public, proxies)
    return config, Secrets(secrets, frozenset(document.withheld), frozenset(document.used))


def offline(path: Path, environ: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The variables that the file takes and the environment lacks, and the keys that have no effect.

    Raises ConfigError for all else that is wrong.
    """
    config, document = _read(path, content(path), environ, lenient=True)
    return sorted(document.unset), idle(config)


def _read(path: Path, text: str, environ: Mapping[str, str], *, lenient: bool = False) -> tuple[Any, Document]:
    """The configuration and its document; where it is `lenient`, variables may be unset, and a value is then None."""
    document = parse(path, text, "sections (triggers:, monitoring:, ...)")
    fill(document, environ, lenient=lenient)
    problems: list[Problem] = []
    config = structure(Config, document.values, problems)
    if not problems:
        directory = path.absolute().parent
        config = replace(_anchored(config, directory), name=config.name or _name_of(directory))
        if config.promotion.predict is not None:
            config = replace(config, models=AnyModels(**asdict(config.models)))
        problems += conflicts(config)
    document.check(problems)
    return config, document


def _name_of(directory: Path) -> str:
    """The name of a project that gives itself none, on one line: that of its directory."""
    return one_line(Path(normpath(directory)).name, 100) or "retrain"


def parse_rule(text: str, base: T) -> T:
    """The section with the keys changed that the text names: `consecutive: 3, cooldown: 1h`, as YAML in braces or not.

    Raises ConfigError that lists every problem.
    """
    flag, expected = _FLAGS[type(base)]
    braced = text if text.lstrip().startswith("{") else f"{{{text}}}"
    document = parse(Path(flag), braced, expected)
    if not document.values:
        raise ConfigError(f"{flag} is empty; it takes {expected}")
    problems: list[Problem] = []
    found: T = structure(type(base), document.values, problems)
    if not problems:
        found = replace(base, **{name: getattr(found, name) for name in document.values})
        problems += contradictions(found) if isinstance(found, Triggers) else ()
    document.check(problems)
    return found


def parse_span(name: str, text: str) -> timedelta:
    """The length of time that the text of this flag says, a second or more. Raises ConfigError."""
    try:
        span = _duration(text)
    except ValueError as error:
        raise ConfigError(f"{name} {text!r} {error}") from error
    if span < timedelta(seconds=1):
        raise ConfigError(f"{name} {text!r} is shorter than 1s")
    return span


@cache
def _fields(kind: Any) -> tuple[FieldInfo, ...]:
    """The fields of this record; to find their types takes a quarter of the time that a configuration takes."""
    return fields(kind)


class UnfitError(ValueError):
    """The value is not what is `wanted`."""

    def __init__(self, wanted: str, remedy: str = "") -> None:
        super().__init__(f"is not {wanted}")
        self.remedy = remedy


def structure(kind: Any, value: Any, problems: list[Problem], keys: Keys = ()) -> Any:
    """The value as this type; whatever does not fit is added to the problems, with its path below `keys`."""
    reader = _READERS.get(kind)
    options = get_args(kind)
    if reader is None and NoneType in options:
        (wanted,) = set(options) - {NoneType}
        return None if value is None else structure(wanted, value, problems, keys)
    try:
        if kind == Mapping[str, str]:
            return _texts(value, problems, keys)
        if isinstance(kind, type) and issubclass(kind, Struct):
            return _section(kind, value, problems, keys)
        return reader(value) if reader is not None else _converted(kind, value)
    except UnfitError as error:
        problems.append(Problem(keys, str(error), error.remedy, quotes=True))
    except ValueError as error:
        problems.append(Problem(keys, str(error)))
    return None


def _section(kind: Any, values: Any, problems: list[Problem], keys: Keys) -> Any:
    """The mapping as this record; None where it lacks or misspells a key, or where a value does not fit."""
    known = {field.name: field for field in _fields(kind)}
    before = len(problems)
    if kind in ONE_FOR_BOTH and not isinstance(values, dict):
        (part,) = {field.type for field in known.values()}
        return kind(*[structure(part, values, problems, keys)] * 2)
    if kind is Heartbeat and isinstance(values, str):
        return Heartbeat(structure(Url, values, problems, keys))
    if values is None:  # all its keys are commented out
        values = {}
    if not isinstance(values, dict):
        raise UnfitError("a section (a mapping of keys)")
    found = {}
    for name, field in known.items():
        if name in values:
            found[name] = structure(field.type, values[name], problems, (*keys, name))
        elif field.required:
            problems.append(Problem((*keys, name), "is required"))
    unknown = sorted(str(key) for key in values if key not in known)
    problems += [Problem((*keys, key), _unknown(key, known)) for key in unknown]
    return kind(**found) if len(problems) == before else None


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    import difflib

    near = difflib.get_close_matches(key, known, 1, 0.6)
    return f"unknown key; {f'did you mean {near[0]}?' if near else 'known here: ' + ', '.join(known)}"


def _texts(value: Any, problems: list[Problem], keys: Keys) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnfitError("a mapping of names to texts")
    if None in value.values():
        # The name is not shown: it may be name and secret, with the blank between them forgotten.
        raise ValueError('has a name without a text (write name: "text")')
    for name, text in value.items():
        structure(str, name, problems, (*keys, str(name)))
        structure(Text, text, problems, (*keys, str(name)))
    return dict(value)


def _anchored(section: Any, base: Path) -> Any:
    """The section with every relative path below `base`, the directory of the file."""
    changes = {}
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Path):
            changes[name] = base / value
        elif isinstance(value, Struct):
            changes[name] = _anchored(value, base)
    return replace(section, **changes) if changes else section


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UnfitError("a text", "put it in quotes")
    if re.search(_IMPOSSIBLE, value):
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


def _table(value: object) -> Path:
    path = _path(value)
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError("must end in .csv or .parquet")
    return path


def _rows(value: object) -> Path | Remote | HoldoutKind:
    """A kind of holdout, an address in a store, or a file, directory or pattern."""
    if value in list(HoldoutKind):
        return HoldoutKind(str(value))
    text = _string(value)
    if "://" in text:
        return _remote(text)
    if WILD.search(text):
        if text.endswith(".csv"):
            raise ValueError("is a pattern of CSV files; it must be one of Parquet files, or a single CSV file")
        return _path(text)
    suffix, is_directory = Path(text).suffix, text.endswith("/") or ("/" in text and not Path(text).suffix)
    if suffix not in (".csv", ".parquet") and not is_directory:
        raise ValueError("must end in .csv or .parquet, or in / where it is a directory of Parquet files")
    return _path(text)


def _remote(text: str) -> Remote:
    if not text.startswith(STORES):
        raise ValueError("must be a path, or begin with s3:// or gs://")
    if "@" in text.partition("?")[0].split("/")[2] and not text.startswith("gs://anonymous@"):
        raise ValueError("has a user or a password: leave them to the environment (AWS_ACCESS_KEY_ID and others)")
    if text.partition("?")[0].endswith(".csv"):
        raise ValueError("is a CSV; of a store only Parquet files are read")
    return Remote(text)


def _duration(value: object) -> timedelta:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([smhd])", value) if isinstance(value, str) else None
    if found is None:
        raise UnfitError("a duration such as 90s, 15m, 6h or 7d")
    duration = timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
    if duration > timedelta(days=3653):
        raise ValueError("is longer than ten years")
    return duration


def _span(value: object) -> timedelta:
    if not (span := _duration(value)):
        raise ValueError("is 0; it must be longer, such as 1h")
    return span


def _size(value: object) -> int:
    found = re.fullmatch(r"([0-9]{1,9}) ?([A-Za-z]+)", value) if isinstance(value, str) else None
    if found is None or found[2] not in _BYTES or int(found[1]) == 0:
        raise UnfitError("a size such as 512KiB or 5MiB")
    return int(found[1]) * _BYTES[found[2]]


def _url(value: object) -> str:
    url = _string(value)
    if any(character <= " " or character == "\x7f" for character in url):
        raise UnfitError("a URL: it has a blank or a control character")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise UnfitError("a URL") from error
    if parts.scheme not in ("http", "https", "file"):
        raise UnfitError("an http, https or file URL")
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise ValueError("a file URL has three slashes: file:///path")
    if parts.scheme != "file" and not parts.hostname:
        raise ValueError("has no host")
    return url


def _command(value: object) -> tuple[str, ...]:
    import shlex

    text = _string(value)
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {str(error).lower()}") from error
    if not words:
        raise ValueError("is empty")
    return words


def _converted(kind: Any, value: object) -> Any:
    """The value as this enumeration, or as what an annotation describes."""
    try:
        return convert(value, kind)
    except ValidationError as error:
        wanted = f"one of {', '.join(kind)}" if isinstance(kind, EnumType) else kind.__metadata__[0].description
        raise UnfitError(wanted) from error


def _label(value: object) -> Label:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float) and abs(value) < 2**63:
        return int(value) if isinstance(value, bool) else value
    raise UnfitError("a class label (a number or a text)")


_READERS: dict[Any, Callable[[object], Any]] = {
    str: _string,
    Text: _text,
    Path: _path,
    Table: _table,
    Rows | Remote | HoldoutKind: _rows,
    timedelta: _duration,
    Span: _span,
    Size: _size,
    Url: _url,
    Command: _command,
    Label: _label,
}
"""What reads a plain value of each type, and raises ValueError with what is wrong with it."""
