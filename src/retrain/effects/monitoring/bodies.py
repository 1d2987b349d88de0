"""Bytes of an answer → text or JSON, or Unknown where they are neither."""

import json
import math
import re
from typing import Any

from retrain.core.records import Unknown
from retrain.effects.monitoring.readings import Trouble

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
