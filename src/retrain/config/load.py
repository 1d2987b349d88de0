"""Read config.yaml, put the environment in, and report every problem with its path and line."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from retrain.config.conflicts import conflicts, contradictions
from retrain.config.document import Keys, Problem, parsed, read
from retrain.config.schema import Config
from retrain.config.secrets import Secrets, secret_values
from retrain.config.values import converter
from retrain.core.rules import Triggers
from retrain.errors import ConfigError

_VARIABLE = re.compile(r"(\\)?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?")
"""Also a bare `${`, which would otherwise be taken as it stands where a typing error was made."""


def load(path: Path, environ: Mapping[str, str]) -> tuple[Config, Secrets]:
    """The configuration and its secrets.

    Raises ConfigError that lists every problem, one a line: `config.yaml:12: triggers.cooldown: ...`.
    """
    document = read(path)
    plain, withheld, passed, unfilled = _with_environment(document.values, environ)
    config: Config | None = None
    try:
        config = _anchored(converter().structure(_sections(plain), Config), path.absolute().parent)
        problems = list(conflicts(config))
    except (ClassValidationError, IterableValidationError) as error:
        problems = list(_explain(error, ()))
    # What is wrong with a value that could not be filled in says nothing.
    told = {keys for keys, _ in unfilled}
    problems = [*document.problems, *unfilled, *(problem for problem in problems if problem[0] not in told)]
    if config is None or problems:
        raise ConfigError(document.tell(problems))
    return config, Secrets(secret_values(config, withheld, passed), frozenset(withheld))


def parse_rule(text: str, base: Triggers) -> Triggers:
    """These triggers, with those changed that the text names: `consecutive: 3, cooldown: 1h`, as YAML in braces or not.

    Raises ConfigError that lists every problem.
    """
    braced = text if text.lstrip().startswith("{") else f"{{{text}}}"
    document = parsed(Path("--rule"), braced, "triggers, such as 'consecutive: 3, cooldown: 1h'")
    if not document.values:
        raise ConfigError("--rule is empty; it takes triggers, such as 'consecutive: 3, cooldown: 1h'")
    rule, problems = base, list(document.problems)
    try:
        named = converter().structure(document.values, Triggers)
        rule = replace(base, **{name: getattr(named, name) for name in document.values})
        problems += contradictions(rule)
    except (ClassValidationError, IterableValidationError) as error:
        problems += _explain(error, ())
    if problems:
        raise ConfigError(document.tell(problems))
    return rule


def parse_span(name: str, text: str) -> timedelta:
    """The length of time that the text of this flag says, a second or more. Raises ConfigError."""
    try:
        span: timedelta = converter().structure(text, timedelta)
    except ValueError as error:
        raise ConfigError(f"{name} {text!r} {error}") from error
    if span < timedelta(seconds=1):
        raise ConfigError(f"{name} {text!r} is shorter than 1s")
    return span


def _with_environment(
    values: Any, environ: Mapping[str, str]
) -> tuple[Any, dict[str, str], dict[str, str], list[Problem]]:
    """The values with `${VAR}` replaced, and what could not be replaced.

    Between them the variables that a secret was read from, and those that a command is given on purpose.
    """
    withheld: dict[str, str] = {}
    passed: dict[str, str] = {}
    problems: list[Problem] = []

    def fill(text: str, keys: Keys) -> str:
        def one(match: re.Match[str]) -> str:
            escaped, name, default = match.groups()
            if escaped:
                return match[0][1:]
            if name is None:
                problems.append((keys, r"has a ${ that begins no ${VAR} or ${VAR:-default} (\${ is a literal one)"))
                return ""
            value = environ.get(name, "")
            if not _is_text(value):
                problems.append((keys, f"the environment variable {name} is not UTF-8 text"))
                return ""
            if _may_hold_a_secret(text, keys):
                withheld[name] = value
            elif keys[0] == "training" or keys[:2] == ("promotion", "after"):
                passed[name] = value
            if name not in environ and default is None:
                problems.append((keys, f"the environment variable {name} is not set (or write ${{{name}:-default}})"))
            return value if name in environ else default or ""

        return _VARIABLE.sub(one, text)

    def walk(value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            return {key: walk(below, (*keys, str(key))) for key, below in value.items()}
        if isinstance(value, list):
            return [walk(below, (*keys, str(number))) for number, below in enumerate(value)]
        return fill(value, keys) if isinstance(value, str) else value

    return walk(values, ()), withheld, passed, problems


def _is_text(value: str) -> bool:
    """Whether a variable holds text; Python smuggles other bytes through as halves of surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _may_hold_a_secret(text: str, keys: Keys) -> bool:
    """Whether what the environment puts in here is nobody's business; a path or a query is no secret."""
    if keys[0] == "monitoring":
        return keys[1:2] == ("headers",) or (keys[1:2] == ("url",) and not text.startswith("file:"))
    return keys[0] == "notifications"


def _sections(plain: dict[Any, Any]) -> dict[Any, Any]:
    """The sections, less those whose keys are all commented out; `triggers` must be there to be complained about."""
    optional = {each.name for each in fields(Config)} - {"state"}
    return {"triggers": {}} | {key: value for key, value in plain.items() if value is not None or key not in optional}


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
