"""A YAML file → plain values, with the line of every key."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from retrain.errors import ConfigError

Keys = tuple[str, ...]
Problem = tuple[Keys, str]

_LONGEST = 1024**2
_DEEPEST = 20
_SECRET = (("monitoring", "url"), ("monitoring", "headers"), ("training", "environment"), ("notifications",))
"""Values at, above and below these paths are never shown."""
_NAME = re.compile(r"[\w-]{1,40}")
_QUOTED = re.compile(r"""(['"])(?!<).{3,}\1""", re.DOTALL)
"""What YAML's errors quote from the file, unless it is a single character or a token such as '<block end>'."""


@dataclass(slots=True)
class Document:
    """What a file says: `lines` and `texts` (of plain values) by path; `problems` are keys given twice."""

    path: Path
    values: Any = None
    lines: dict[Keys, int] = field(default_factory=lambda: {(): 1})
    texts: dict[Keys, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def tell(self, problems: Iterable[Problem]) -> str:
        """The problems in the order of the file, one a line: `file:line: path: value sentence`."""
        told = ((self._line_of(keys), self._tell(keys, sentence)) for keys, sentence in problems)
        lines = (f"{self.path}:{line}: {text}" for line, text in sorted(told, key=lambda each: each[0]))
        return "\n".join(lines)

    def _line_of(self, keys: Keys) -> int:
        while keys not in self.lines:
            keys = keys[:-1]
        return self.lines[keys]

    def _tell(self, keys: Keys, sentence: str) -> str:
        # What does not look like a name may be a secret with a blank too few: {url:http://user:password@host}.
        path = ".".join(key if _NAME.fullmatch(key) else "***" for key in keys)
        if not path:
            return sentence
        text = self.texts.get(keys, "")
        secret = any(keys[: len(each)] == each[: len(keys)] for each in _SECRET)
        if not text or secret or not sentence.startswith("is not"):
            return f"{path}: {sentence}"
        return f"{path}: {text if len(text) <= 60 else text[:60] + '...'} {sentence}"


def read(path: Path) -> Document:
    """What this file says. Raises ConfigError when it is not YAML, or no mapping of sections."""
    return parsed(path, _text(path), "sections (triggers:, monitoring:, ...)")


def parsed(path: Path, text: str, what: str) -> Document:
    """What this text says; `path` names it in a problem. Raises ConfigError when it is no YAML, or no mapping."""
    document = Document(path)
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None:
            _walk(document, root, (), set())
            document.values = loader.construct_document(root)
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{path}:{line}: is not text: it holds the character #x{error.character:04x}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}" if mark is not None else ""
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(f"{path}{where}: is not valid YAML: {_QUOTED.sub('...', what)}") from error
    if document.values is None:
        document.values = {}
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path}:1: is not a mapping of {what}")
    return document


class _Loader(yaml.SafeLoader):
    """SafeLoader, with a line also for a value that does not fit its type (a 13th month, `!!bool 5`)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConstructorError(None, None, "found a value that does not fit its type", node.start_mark) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror} (name another file with -c)") from error
    if len(content) > _LONGEST:
        raise ConfigError(f"{path}: is longer than 1 MiB, so it is no configuration (name another file with -c)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}:{line}: is not UTF-8 text: it holds the byte 0x{content[error.start]:02x}"
        ) from error


def _walk(document: Document, node: yaml.Node, keys: Keys, seen: set[int]) -> None:
    """Note the line of every key, and refuse what could make a small file a big one."""
    if isinstance(node, yaml.ScalarNode):
        # A plain text may go on in the next line, a problem may not.
        document.texts[keys] = json.dumps(node.value) if node.style else " ".join(node.value.split()) or "null"
        return
    where = f"{document.path}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise ConfigError(f"{where}: aliases of sections and lists are not supported")
    if len(keys) == _DEEPEST:
        raise ConfigError(f"{where}: is nested too deeply")
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            document.lines[*keys, str(number)] = item.start_mark.line + 1
            _walk(document, item, (*keys, str(number)), seen)
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{document.path}:{key.start_mark.line + 1}: a key must be a plain text")
        below = (*keys, key.value)
        if below in document.lines:
            document.problems.append((below, f"is given twice (first on line {document.lines[below]})"))
        document.lines[below] = key.start_mark.line + 1
        _walk(document, value, below, seen)
