"""A YAML file → plain values, with the line of every key and the environment filled in."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec import Struct, field
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from retrain.errors import ConfigError

Keys = tuple[str, ...]


class Problem(NamedTuple):
    """What is wrong with the value of a key: a predicate of the key or, if `quotes`, of the value as it is written."""

    keys: Keys
    why: str
    remedy: str = ""
    quotes: bool = False


_MOST_FILLED = 16 * 1024**2
_LONGEST = 1024**2
_DEEPEST = 20
_NESTING, _FEW = "[{-:?", 1000
"""Each level of a YAML text needs one of these signs. The annotated sample has 350; the stack holds some 20,000."""
_URLS = (("monitoring", "url"), ("registry", "url"))
_HEADERS = (("monitoring", "headers"), ("registry", "headers"))
_SECRET = (*_URLS, *_HEADERS, ("monitoring", "environment"), ("training", "environment"), ("notifications",))
"""Values at, above and below these paths are never shown."""
_VARIABLE = r"(\\)?\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?"
"""Also a bare `${`, which would otherwise be taken as it stands where a typing error was made."""
_SHOWN = 100
"""Characters of a value that are kept for a problem with it."""
_PARTS = ("start", "userinfo", "host", "path", "query")
"""Of a URL. A variable at its start holds a scheme, the beginning, or the whole of it."""
_URL = r"(?s)(?P<start>[^:/?#]*://)(?:(?P<userinfo>[^/?#]*)@)?(?P<host>[^/?#]*)(?P<path>[^?#]*)(?P<query>.*)"
_NO_TEXT = r"[\ud800-\udfff]"
"""Python represents bytes that are not UTF-8 as lone surrogates."""
_OF_A_SHELL = frozenset({"HOME", "HOSTNAME", "LOGNAME", "PATH", "PWD", "USER"})
"""Variables that every process has, and that are no secrets."""
_AMBIGUOUS = r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_.]+)+)"
"""What YAML 1.1 takes for a number in base 8 or 60, and nobody else: it is read as a text."""
_QUOTED = r"""(?s)(['"])(?!<).{3,}\1"""
"""What YAML's errors quote from the file, unless it is a single character or a token such as '<block end>'."""


class Document(Struct):
    """The content of a file: `lines` and `texts` (of plain values) by path.

    `problems` are those found so far; `unfilled` are the paths of values that lack a part of the environment.
    `withheld` are the variables that a secret was read from, `passed` those that a command is given on purpose, `used`
    the names of all, `unset` those that a lenient reading did without, `public` values that are no secrets anywhere.
    """

    path: Path
    values: Any = None
    lines: dict[Keys, int] = field(default_factory=lambda: {(): 1})
    texts: dict[Keys, str] = {}
    problems: list[Problem] = []
    unfilled: set[Keys] = set()
    withheld: dict[str, str] = {}
    passed: dict[str, str] = {}
    public: set[str] = set()
    used: set[str] = set()
    is_lenient: bool = False
    unset: set[str] = set()

    def check(self, problems: Iterable[Problem]) -> None:
        """Raise ConfigError where there are problems: in the order of the file, one a line, `file:line: path: ...`."""
        # Whatever else is wrong with a value that could not be filled in is a consequence of that.
        found = [*self.problems, *(problem for problem in problems if problem.keys not in self.unfilled)]
        if found:
            found.sort(key=lambda problem: self._line(problem.keys))
            raise ConfigError("\n".join(f"{self.path}:{self._line(each.keys)}: {self._text(each)}" for each in found))

    def _line(self, keys: Keys) -> int:
        while keys not in self.lines:
            keys = keys[:-1]
        return self.lines[keys]

    def _text(self, problem: Problem) -> str:
        # What does not look like a name may be a secret with a blank too few: {url:http://user:password@host}.
        keys = problem.keys
        path = ".".join(key if re.fullmatch(r"[\w-]{1,40}", key) else "***" for key in keys)
        secret = any(keys[: len(each)] == each[: len(keys)] for each in _SECRET)
        text = self.texts.get(keys, "") if problem.quotes and not secret else ""
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        remedy = f" ({problem.remedy})" if problem.remedy else ""
        return f"{path and f'{path}: '}{shown and f'{shown} '}{problem.why}{remedy}"


def parse(path: Path, text: str, expected: str) -> Document:
    """The content of this text; `path` names it in problems. Raises ConfigError where it is not YAML, or no mapping."""
    document = Document(path)
    try:
        root = _composed(text)
        if root is not None:
            _note(document, root, (), set())
            document.values = _Loader("").construct_document(root)
    except RecursionError as error:
        raise ConfigError(f"{path}: is nested too deeply") from error
    except ReaderError as error:
        line, sign = text[: error.position].count("\n") + 1, error.character
        what = f"text: it holds the character #x{sign:04x}"
        if 0xDC80 <= sign <= 0xDCFF:  # so `content` reads a byte
            what = f"UTF-8 text: it holds the byte 0x{sign & 0xFF:02x}"
        raise ConfigError(f"{path}:{line}: is not {what}") from error
    except yaml.MarkedYAMLError as error:
        where = f":{error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        what = re.sub(_QUOTED, "...", ", ".join(filter(None, (error.context, error.problem))))
        raise ConfigError(f"{path}{where}: is not valid YAML: {what}") from error
    document.values = {} if document.values is None else document.values
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path}:1: is not a mapping of {expected}")
    return document


def fill(document: Document, environ: Mapping[str, str], *, lenient: bool = False) -> None:
    """Replace each `${VAR}` in the values; what cannot be replaced is a problem.

    Where it is `lenient`, a variable that is not set is none: it stands for a text that is right there.
    """
    document.is_lenient = lenient
    length = 0

    def walk(value: Any, keys: Keys) -> Any:
        if isinstance(value, dict):
            return {key: walk(below, (*keys, str(key))) for key, below in value.items()}
        if isinstance(value, list):
            return [walk(below, (*keys, str(number))) for number, below in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        nonlocal length
        filled = _filled(document, value, keys, environ)
        length += len(filled)  # an alias repeats a text for nothing, but not with its variables
        if length > _MOST_FILLED:
            raise ConfigError(f"{document.path}: is longer than 16 MiB with its variables, so it is no configuration")
        return filled

    document.values = walk(document.values, ())


def _filled(document: Document, text: str, keys: Keys, environ: Mapping[str, str]) -> str:
    is_url = keys in _URLS or keys[:2] == ("notifications", "heartbeat")
    is_sent = is_url or keys[:2] in (*_HEADERS, ("notifications", "urls"))

    def problem(why: str, remedy: str = "") -> str:
        document.problems.append(Problem(keys, why, remedy))
        document.unfilled.add(keys)
        return ""

    def value_of(match: re.Match[str]) -> str:
        escaped, name, default = match.groups()
        if escaped:
            return match[0][1:]
        if name is None:
            return problem('has a "${" that is neither ${VAR} nor ${VAR:-default}', r"write \${ for a literal one")
        document.used.add(name)
        value = environ.get(name, "")
        if re.search(_NO_TEXT, value):
            return problem(f"the environment variable {name} is not UTF-8 text")
        if is_sent:
            value = value.strip()  # what was read from a file ends in a line feed, which no header and no URL can hold
        if name in _OF_A_SHELL:
            document.public.add(value)
        elif _is_secret(text, value, match.start(), keys):
            document.withheld[name] = value
        elif keys[0] == "training" or keys[:2] in (("promotion", "after"), ("monitoring", "command")):
            document.passed[name] = value
        if name not in environ and default is None:
            if document.is_lenient:
                document.unset.add(name)
                document.unfilled.add(keys)
                return name
            return problem(f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}")
        value = value if name in environ else default or ""
        if is_sent and re.search(r"[\x00-\x1f\x7f]", value):
            return problem(f"the environment variable {name} has a control character, such as a line feed, in it")
        if _part_of_url(text, match.start()) == "userinfo" and re.search(r"[/?#@\s]", value) and is_url:
            return problem(f"the environment variable {name} holds / ? # @ or a blank", "percent-encode it in a URL")
        return value

    filled = re.sub(_VARIABLE, value_of, text)
    return "http://unset.invalid/" if is_url and document.unset and keys in document.unfilled else filled


def _is_secret(text: str, value: str, at: int, keys: Keys) -> bool:
    """Whether what the environment adds to this text here may be a secret: a host, a port and a path are none."""
    if keys in _URLS:
        part = _part_of_url(text, at)
        holds = re.search(r"[@?#]", value) is not None  # it goes on into another part
        return holds or (part in ("userinfo", "query") and not text.startswith("file:"))
    if keys[:2] == ("notifications", "heartbeat"):
        return _part_of_url(text, at) != "host"  # a ping is addressed by its path
    if keys[:2] == ("monitoring", "environment"):
        return not value.startswith("/")  # a path, which messages need, and which the training may need, too
    return keys[:2] in _HEADERS or keys[0] == "notifications"


def _part_of_url(text: str, at: int) -> str:
    """The part of a URL, its variables not filled in yet, at this place: the first of `_PARTS` that ends behind it."""
    bare = re.sub(_VARIABLE, lambda match: "x" * len(match[0]), text)  # a default may hold any sign
    found = re.match(_URL, bare) or re.match(_URL, f"://{bare[3:]}")
    return next(part for part in _PARTS if found is not None and at < found.end(part))


class _Loader(yaml.SafeLoader):
    """SafeLoader, with a line also for a value that does not fit its type (a 13th month, `!!bool 5`)."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConstructorError(None, None, "found a value that does not fit its type", node.start_mark) from error


def _composed(text: str) -> yaml.Node | None:
    """The tree of a text. Raises YAMLError.

    libyaml composes in a twelfth of the time, but a deeply nested file ends it with a segmentation fault, and it takes
    tabs and marks that PyYAML's own composer refuses. What it refuses, that explains.
    """
    is_plain = "\t" not in text and "\ufeff" not in text and sum(map(text.count, _NESTING)) < _FEW
    if is_plain and hasattr(yaml, "CSafeLoader"):
        with suppress(yaml.YAMLError, ValueError):
            return yaml.CSafeLoader(text).get_single_node()
    return _Loader(text).get_single_node()


def content(path: Path) -> str:
    """The text of this file; bytes that are not UTF-8 are lone surrogates. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            read = file.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", "name another file with -c") from error
    if len(read) > _LONGEST:
        raise ConfigError(f"{path}: is longer than 1 MiB, so it is no configuration", "name another file with -c")
    return read.decode("utf-8-sig", "surrogateescape")


def named(text: str) -> frozenset[str]:
    """The variables of which any may hold a secret where the text is wrong: under a misspelt key, or in `${VAR`."""
    return frozenset(re.findall(r"\$\{\s*([A-Za-z_][A-Za-z0-9_]*)", text)) - _OF_A_SHELL


def _note(document: Document, node: yaml.Node, keys: Keys, seen: set[int]) -> None:
    """Note the line of every key, and refuse what could make a small file a big one."""
    if isinstance(node, yaml.ScalarNode):
        # A plain text may go on in the next line, a problem may not. Aliases may repeat a long one many times.
        text = node.value[:_SHOWN]
        document.texts[keys] = json.dumps(text) if node.style else " ".join(text.split()) or "null"
        if not node.style and re.fullmatch(_AMBIGUOUS, node.value):
            node.tag = "tag:yaml.org,2002:str"
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
            _note(document, item, (*keys, str(number)), seen)
        return
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{document.path}:{key.start_mark.line + 1}: a key must be a plain text")
        below = (*keys, key.value)
        if below in document.lines:
            document.problems.append(Problem(below, f"is given twice (first on line {document.lines[below]})"))
        document.lines[below] = key.start_mark.line + 1
        _note(document, value, below, seen)
