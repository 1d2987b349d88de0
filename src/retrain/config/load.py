"""Read config.yaml, put the environment in, and report every problem with its path and line."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from retrain.config.schema import Config, conflicts
from retrain.config.values import converter
from retrain.errors import ConfigError

_VARIABLE = re.compile(r"(\\)?\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = {("monitoring", "url"), ("monitoring", "headers"), ("training", "environment"), ("notifications",)}
"""Values below these paths are never printed."""

Keys = tuple[str, ...]
Problem = tuple[Keys, str]


@dataclass(frozen=True, slots=True)
class Secrets:
    """What must not be shown (`values`) and what the training must not inherit (`variables`)."""

    values: tuple[str, ...]
    variables: frozenset[str]

    def scrub(self, text: str) -> str:
        """The text with every secret value replaced by ***."""
        for value in self.values:
            text = text.replace(value, "***")
        return text


def load(path: Path, environ: Mapping[str, str]) -> tuple[Config, Secrets]:
    """The configuration and its secrets.

    Raises ConfigError that lists every problem, one a line: `config.yaml:12: triggers.cooldown: ...`.
    """
    document = _Document(path)
    plain, variables = _with_environment(document, environ)
    config: Config | None = None
    try:
        config = _anchored(converter().structure(_sections(plain), Config), path.absolute().parent)
        problems = list(conflicts(config))
    except (ClassValidationError, IterableValidationError) as error:
        problems = list(_explain(error, ()))
    told = {keys for keys, _ in document.problems}
    problems = document.problems + [problem for problem in problems if problem[0] not in told]
    if config is None or problems:
        raise ConfigError("\n".join(document.line(problem) for problem in problems))
    return config, Secrets(_secret_values(config, variables, environ), frozenset(variables))


class _Document:
    """A YAML file as plain values, with the line of every key and what is wrong with its form."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.lines: dict[Keys, int] = {(): 1}
        self.values: Any = {}
        try:
            loader = yaml.SafeLoader(path.read_bytes())
            node = loader.get_single_node()
            if node is not None:
                self._walk(node, (), set())
                self.values = loader.construct_document(node)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror} (name another file with -c)") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(_yaml_problem(path, error)) from error
        if not isinstance(self.values, dict):
            raise ConfigError(f"{path}:1: is not a mapping of sections (triggers:, monitoring:, ...)")

    def _walk(self, node: yaml.Node, keys: Keys, seen: set[int]) -> None:
        if id(node) in seen and not isinstance(node, yaml.ScalarNode):
            raise ConfigError(
                f"{self.path}:{node.start_mark.line + 1}: {'.'.join(keys)}: aliases of sections are not supported"
            )
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                self._walk(item, (*keys, str(number)), seen)
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            below = (*keys, str(key.value))
            if below in self.lines:
                self.problems.append((below, f"is given twice (first on line {self.lines[below]})"))
            self.lines[below] = key.start_mark.line + 1
            self._walk(value, below, seen)

    def line(self, problem: Problem) -> str:
        """One problem as `file:line: path: sentence`, with the value where it is no secret."""
        keys, sentence = problem
        known = keys
        while known not in self.lines:
            known = known[:-1]
        shown = ""
        if (
            known == keys
            and sentence.startswith("is not")
            and not any(keys[: len(secret)] == secret for secret in _SECRET)
        ):
            shown = f"{_at(self.values, keys)!r} "
        return f"{self.path}:{self.lines[known]}: {'.'.join(keys)}: {shown}{sentence}"


def _yaml_problem(path: Path, error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f":{mark.line + 1}" if mark is not None else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{path}{where}: is not valid YAML: {what}"


def _at(values: Any, keys: Keys) -> Any:
    for key in keys:
        values = values[int(key)] if isinstance(values, list) else values[key]
    return values


def _with_environment(document: _Document, environ: Mapping[str, str]) -> tuple[Any, dict[str, Keys]]:
    """The values with `${VAR}` replaced, and the variables that a secret was read from, each with its path."""
    secret: dict[str, Keys] = {}

    def fill(text: str, keys: Keys) -> str:
        def one(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return match[0][1:]
            if keys[0] in ("monitoring", "notifications"):
                secret[name] = keys
            if name in environ:
                return environ[name]
            if default is None:
                document.problems.append(
                    (keys, f"the environment variable {name} is not set (or write ${{{name}:-default}})")
                )
            return default or ""

        return _VARIABLE.sub(one, text)

    def walk(value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            return {key: walk(below, (*keys, str(key))) for key, below in value.items()}
        if isinstance(value, list):
            return [walk(below, (*keys, str(number))) for number, below in enumerate(value)]
        return fill(value, keys) if isinstance(value, str) else value

    return walk(document.values, ()), secret


def _sections(plain: dict[Any, Any]) -> dict[Any, Any]:
    """A section whose keys are all commented out is an empty one; `triggers` must be there to be complained about."""
    return {"triggers": {}} | {key: {} if value is None and key != "state" else value for key, value in plain.items()}


def _anchored(section: Any, base: Path) -> Any:
    """The section with every relative path below `base`, the directory of the file."""
    changes = {}
    for name in (each.name for each in fields(section)):
        value = getattr(section, name)
        if isinstance(value, Path):
            changes[name] = base / value
        elif is_dataclass(value):
            changes[name] = _anchored(value, base)
    return replace(section, **changes)


def _explain(error: BaseException, keys: Keys) -> Iterator[Problem]:
    """Each problem of a cattrs error tree, with its path."""
    if isinstance(error, ClassValidationError | IterableValidationError):
        for below in error.exceptions:
            yield from _explain(below, (*keys, *_step(below)))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in fields(error.cl)]
        for key in sorted(map(str, error.extra_fields)):
            near = difflib.get_close_matches(key, known, 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
            yield (*keys, key), f"unknown key; {hint}"
    elif isinstance(error, KeyError):
        yield keys, "is required"
    elif isinstance(error, ValueError):
        yield keys, str(error)
    else:
        yield keys, "is not a section (a mapping of keys)"


def _step(error: BaseException) -> Keys:
    for note in getattr(error, "__notes__", ()):
        name = getattr(note, "name", getattr(note, "index", None))
        if name is not None:
            return (str(name),)
    return ()


def _secret_values(config: Config, variables: Mapping[str, Keys], environ: Mapping[str, str]) -> tuple[str, ...]:
    """Every text that must not be shown, longest first."""
    found = {environ[name] for name in variables if name in environ}
    urls = [config.notifications.heartbeat]
    if config.monitoring is not None:
        urls.append(config.monitoring.url)
        for value in config.monitoring.headers.values():
            found |= {value, value.rpartition(" ")[2]}
    for url in filter(None, urls):
        parts = urlsplit(url)
        found |= {parts.password or "", parts.query}
    if config.notifications.heartbeat:
        found.add(config.notifications.heartbeat)
    return tuple(sorted((value for value in found if len(value) >= 4), key=len, reverse=True))
