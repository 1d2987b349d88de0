"""What one query brought, and what it is worth: a number, a moment, an identifier, or Unknown and why.

The cause in an Unknown is what is said of the query (`is null`), or of the endpoint where no query is to blame
(`is not JSON`); `named` puts the name before it.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from retrain.core.records import Trouble, Unknown
from retrain.core.text import one_line
from retrain.effects.http import html_page

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Below the first number of each pair an epoch is in seconds, milli-, micro- or nanoseconds.

Seconds beyond 1e11 are the year 5138, milliseconds beyond it the year 1973.
"""
_DIGITS = 300
"""Above these a whole number is beyond every float."""
STORES = "see which store did not answer"
_A_TIME = "an epoch (s, ms, µs or ns) or ISO 8601 is needed"
PROBLEM = "model_monitor_problem"
"""The metric with which `retrain monitor` says, in its label `problem`, what keeps another one away."""


class Reading(Struct, frozen=True):
    """One value as the endpoint gave it, a plain JSON value, the labels of its series, and when it was written."""

    value: object
    labels: Mapping[str, str] = field(default_factory=dict)
    written_at: datetime | None = None
    warnings: tuple[str, ...] = ()


Answer = Reading | Unknown


def said_of(query: str, problems: Iterable[str]) -> str:
    """What `retrain monitor` says of why it does not serve this metric; "" where it says nothing.

    `problems` are the labels of its model_monitor_problem; those about the other signal come last.
    """
    is_drift = any(word in query for word in ("drift", "model_predictions", "model_window_end"))

    def rank(problem: str) -> int:
        about_drift = "drift" in problem or "reference" in problem
        other = problem.startswith("no F1") if is_drift else about_drift
        own = about_drift if is_drift else problem.startswith("no F1")
        return 0 if own else 2 if other else 1

    return min(problems, key=rank, default="") if "model_" in query else ""


def number(answer: Answer) -> float | Unknown:
    """The one finite number of an answer."""
    if isinstance(answer, Unknown):
        return answer
    match answer.value:
        case None:
            return Unknown(Trouble.MISSING, "is null", "nothing is under this path: check the query")
        case bool(value):
            return Unknown(Trouble.NOT_A_NUMBER, f"is {str(value).lower()}, not a number")
        case str(text):
            return Unknown(Trouble.NOT_A_NUMBER, f"is a text: {text}", "to_number(...) makes a number of it")
        case []:
            return Unknown(Trouble.MISSING, "is an empty list", "check the query")
        case list(values):
            remedy = "take one of them, as [-1] does, or the largest with max(...)"
            return Unknown(Trouble.AMBIGUOUS, f"is a list of {len(values)}", remedy)
        case int() | float() as value:
            return _finite(value)
        case dict(keys):
            return Unknown(Trouble.NOT_A_NUMBER, f"is an object with {', '.join(keys)}", "name one of its keys")
        case other:
            return Unknown(Trouble.NOT_A_NUMBER, f"is of type {type(other).__name__}")


def _finite(value: float) -> float | Unknown:
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    return result if math.isfinite(result) else Unknown(Trouble.NOT_FINITE, f"is {result}, not a finite number")


def moment(answer: Answer) -> datetime | Unknown:
    """The moment of an answer in UTC: an epoch in s, ms, µs or ns, or ISO 8601 (UTC where it names no zone)."""
    if isinstance(answer, Reading) and isinstance(answer.value, str):
        return _iso(answer.value)
    epoch = number(answer)
    return epoch if isinstance(epoch, Unknown) else moment_of_epoch(epoch)


def moment_of_epoch(epoch: float) -> datetime | Unknown:
    """The moment of an epoch in seconds, milli-, micro- or nanoseconds."""
    unit = next((unit for most, unit in _UNITS if abs(epoch) <= most), None)
    try:
        if unit is not None:
            return datetime.fromtimestamp(epoch / unit, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return Unknown(Trouble.NOT_A_NUMBER, f"is {epoch:.15g}, which is no time of this calendar", _A_TIME)


def _iso(text: str) -> datetime | Unknown:
    try:
        read = datetime.fromisoformat(text.strip())
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        remedy = f"{_A_TIME}; to_number(...) makes a number of a text"
        return Unknown(Trouble.NOT_A_NUMBER, f"is a text that is no time: {text}", remedy)


def identifier(answer: Answer) -> str | Unknown:
    """The name of a window: a text as it is, a number in its shortest form."""
    if isinstance(answer, Reading):
        if isinstance(answer.value, str):
            return answer.value.strip() or Unknown(Trouble.MISSING, "is an empty text")
        if isinstance(answer.value, int) and not isinstance(answer.value, bool):
            return str(answer.value)
    value = number(answer)
    if isinstance(value, Unknown):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


def text_of(body: bytes) -> str | Unknown:
    """The body as text; it must be UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Unknown(Trouble.UNPARSEABLE, f"is not UTF-8 (byte {error.start})")


def json_of(body: bytes) -> Any:
    """The JSON value of the body, or Unknown. NaN, infinities and numbers beyond every float are floats."""
    text = text_of(body)
    if isinstance(text, Unknown):
        return text
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        return Unknown(Trouble.UNPARSEABLE, "is JSON nested too deeply to be read")
    except ValueError as error:
        return unparseable(text, f"is not JSON: {error}")


def refusal(document: object) -> Unknown | None:
    """Why a JSON answer with HTTP status 200 is none: an error of the server, or a part of the answer."""
    match document:
        case {"status": "error" | "fail", "error": str(said)} | {"status": "error" | "fail", "message": str(said)}:
            return Unknown(Trouble.STATUS, f"answered with an error: {said}")
        case {"isPartial": True}:
            return Unknown(Trouble.INCOMPLETE, "sent a part of its answer (isPartial)", STORES)
    return None


def unparseable(text: str, why: str) -> Unknown:
    """Why a text could not be parsed; an HTML page, most often a login page, is called that."""
    if page := html_page(text):
        remedy = "a login page? check monitoring.url and monitoring.headers"
        return Unknown(Trouble.UNPARSEABLE, f"is {page}", remedy)
    return Unknown(Trouble.UNPARSEABLE, f"{why}; it begins: {text.strip() or 'nothing'}", "is monitoring.type right?")


def _whole(digits: str) -> int | float:
    if len(digits) > _DIGITS:
        return -math.inf if digits.startswith("-") else math.inf
    return int(digits)


def parse(expression: str) -> "ParsedResult":
    """The compiled expression. Raises ValueError with a clause where it is no JMESPath."""
    import jmespath
    from jmespath.functions import Functions

    try:
        compiled = jmespath.compile(expression)
        unknown = sorted(_functions(compiled.parsed) - set(Functions.FUNCTION_TABLE))
    except (jmespath.exceptions.JMESPathError, RecursionError) as error:
        raise ValueError(f"is not a JMESPath expression: {one_line(str(error))}") from error
    if unknown:
        raise ValueError(f"calls {unknown[0]}(), which JMESPath does not have")
    return compiled


def _functions(node: Any) -> set[str]:
    """The functions that a parsed expression calls; the library would notice an unknown one too late."""
    below: Iterator[set[str]] = (_functions(child) for child in node.get("children", ()) if isinstance(child, dict))
    own = {str(node["value"])} if node.get("type") == "function_expression" else set()
    return own.union(*below)


def read(body: bytes, expressions: Mapping[str, "ParsedResult"]) -> Mapping[str, Answer]:
    """An answer for each query: the plain JSON value that its expression selects."""
    document = json_of(body)
    if isinstance(refused := document if isinstance(document, Unknown) else refusal(document), Unknown):
        return dict.fromkeys(expressions, refused)
    return {query: _search(expression, document) for query, expression in expressions.items()}


def _search(expression: "ParsedResult", document: object) -> Answer:
    from jmespath.exceptions import JMESPathTypeError

    try:
        return Reading(expression.search(document))
    except JMESPathTypeError as error:
        kind = Trouble.MISSING if error.actual_type == "null" else Trouble.NOT_A_NUMBER
        needed = " or ".join(error.expected_types)
        why = f"{error.function_name}() needs {needed} and was given {error.actual_type}"
    except Exception as error:  # the expression meets whatever the endpoint sent
        kind, why = Trouble.NOT_A_NUMBER, str(error) or type(error).__name__
    return Unknown(kind, f"does not fit the answer: {why}", "check the query")
