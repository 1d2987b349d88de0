"""What one query brought, and what it is worth: a number, a moment, an identifier, or Unknown and why."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from retrain.core.records import Unknown

_MILLISECONDS = 1e11
"""Seconds beyond this are the year 5138, milliseconds beyond it the year 1973."""


class Trouble(StrEnum):
    """Every `kind` of Unknown that monitoring gives."""

    UNREACHABLE = "unreachable"
    """No name, no connection, no TLS, no file, or no HTTP."""
    DEADLINE = "deadline"
    """No complete answer within monitoring.timeout."""
    STATUS = "status"
    """An HTTP status other than 2xx, or a redirect that is not followed."""
    TOO_LARGE = "too_large"
    """A body above monitoring.max_body."""
    UNPARSEABLE = "unparseable"
    """A body that is not what monitoring.type says."""
    MISSING = "missing"
    """No series, null or nothing under the query."""
    AMBIGUOUS = "ambiguous"
    """Several series or values where one is needed."""
    NOT_FINITE = "not_finite"
    """NaN or an infinity."""
    NOT_A_NUMBER = "not_a_number"
    """A text, a truth value, an object, or a number that is no time."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One value as the endpoint gave it, a plain JSON value, and the labels of its series."""

    value: object
    labels: Mapping[str, str] = field(default_factory=dict)


Answer = Reading | Unknown


def number(answer: Answer, what: str) -> float | Unknown:
    """The one finite number of an answer; `what` names query and place in the sentence of an Unknown."""
    if isinstance(answer, Unknown):
        return answer
    match answer.value:
        case None:
            return Unknown(Trouble.MISSING, f"{what} is null: the answer has nothing under this path")
        case bool(value):
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is {str(value).lower()}, not a number")
        case str(text):
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is a text; to_number(...) makes a number of it: {text}")
        case []:
            return Unknown(Trouble.MISSING, f"{what} is an empty list")
        case list(values):
            hint = "take one of them, for instance with [-1], or the largest with max(...)"
            return Unknown(Trouble.AMBIGUOUS, f"{what} is a list of {len(values)}; {hint}")
        case int() | float() as value:
            return _finite(value, what)
        case dict(keys):
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is an object; name one of its keys: {', '.join(keys)}")
        case other:
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is of type {type(other).__name__}")


def _finite(value: float, what: str) -> float | Unknown:
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        return Unknown(Trouble.NOT_FINITE, f"{what} is {result}")
    return result


def moment(answer: Answer, what: str) -> datetime | Unknown:
    """The moment of an answer in UTC: epoch seconds, or ISO 8601 (UTC where it names no zone)."""
    value = _iso(answer.value, what) if isinstance(answer, Reading) and isinstance(answer.value, str) else None
    if value is not None:
        return value
    seconds = number(answer, what)
    if isinstance(seconds, Unknown):
        return seconds
    wanted = "epoch seconds or ISO 8601 are needed"
    if abs(seconds) > _MILLISECONDS:
        return Unknown(
            Trouble.NOT_A_NUMBER, f"{what} is {seconds:.15g}, no time in seconds (milliseconds, perhaps); {wanted}"
        )
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return Unknown(Trouble.NOT_A_NUMBER, f"{what} is {seconds:.15g}, before the calendar begins; {wanted}")


def _iso(text: str, what: str) -> datetime | Unknown:
    try:
        read = datetime.fromisoformat(text.strip())
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        hint = "to_number(...) makes a number of epoch seconds"
        return Unknown(Trouble.NOT_A_NUMBER, f"{what} is a text that is not a time in ISO 8601 ({hint}): {text}")


def identifier(answer: Answer, what: str) -> str | Unknown:
    """The name of a window: a text as it is, a number in its shortest form."""
    if isinstance(answer, Reading):
        if isinstance(answer.value, str) and answer.value.strip():
            return answer.value.strip()
        if isinstance(answer.value, str):
            return Unknown(Trouble.MISSING, f"{what} is an empty text")
        if isinstance(answer.value, int) and not isinstance(answer.value, bool):
            return str(answer.value)
    value = number(answer, what)
    if isinstance(value, Unknown):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


_HTML = re.compile(r"\s*(<\?xml[^>]*>\s*)?<(!doctype html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title>([^<]*)</title>", re.IGNORECASE)
"""No title holds a tag; one that may would cost the square of the text, and no other thread runs meanwhile."""
_DIGITS = 300
"""Above these a whole number is beyond every float."""


def text_of(body: bytes, where: str) -> str | Unknown:
    """The body as text; it must be UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Unknown(Trouble.UNPARSEABLE, f"{where} is not UTF-8 (byte {error.start})")


def json_of(body: bytes, where: str) -> Any:
    """The JSON value of the body, or Unknown. NaN, infinities and numbers beyond every float are floats."""
    text = text_of(body, where)
    if isinstance(text, Unknown):
        return text
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        return Unknown(Trouble.UNPARSEABLE, f"{where} is JSON nested too deeply to be read")
    except ValueError as error:
        return not_what_was_asked(text, where, f"is not JSON ({error})")


def not_what_was_asked(text: str, where: str, complaint: str) -> Unknown:
    """Why a text could not be parsed; an HTML page, most often a login page, is called that."""
    if _HTML.match(text):
        complaint = (
            "is an HTML page (a login page, or not the address of the metrics: check monitoring.url and headers)"
        )
    return Unknown(Trouble.UNPARSEABLE, f"{where} {complaint}: {text.strip() or 'nothing'}")


def complaint_of(body: bytes) -> str:
    """What the body of an error says: the error of a JSON answer, the title of a page, or the text."""
    text = body.decode("utf-8", "replace")
    try:
        match json.loads(text):
            case {"error": str(said)} | {"message": str(said)} | {"detail": str(said)}:
                return said
    except (ValueError, RecursionError):
        pass
    if _HTML.match(text):
        title = _TITLE.search(text)
        return f"an HTML page{', ' + title[1] if title else ''}"
    return text


def _whole(digits: str) -> int | float:
    if len(digits) > _DIGITS:
        return -math.inf if digits.startswith("-") else math.inf
    return int(digits)
