"""Numbers, times and foreign texts as a person reads them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_ESCAPE_SEQUENCE = r"\x1b\].*?(?:\x07|\x1b\\)|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]"

STORES = ("s3://", "gs://")
"""How the address of rows in an object store begins."""
WILD = re.compile(r"[*?[]")
"""What makes a path a pattern."""


def duration(span: timedelta) -> str:
    """About how long, in at most two units: `45 s`, `2 h`, `3 d 4 h`."""
    seconds = max(0, round(span.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    told = [f"{count} {unit}" for count, unit in parts if count]
    if not told:
        return "0 s"
    first = next(index for index, (count, _) in enumerate(parts) if count)
    second = parts[first + 1] if first + 1 < len(parts) else (0, "")
    return told[0] + (f" {second[0]} {second[1]}" if second[0] else "")


def moment(at: datetime) -> str:
    """A time in UTC, to the minute: `2026-11-22 16:10 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def iso(at: datetime) -> str:
    """A time as ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def time_of(text: str) -> datetime:
    """The time that a text in ISO 8601 says, in UTC where it names no zone; a date is its first moment. ValueError."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def apart(value: float, threshold: float) -> tuple[str, str]:
    """Both numbers with three decimals, or with as many as it takes to tell them apart."""
    for digits in range(3, 17):
        shown = f"{value:.{digits}f}", f"{threshold:.{digits}f}"
        if value == threshold or shown[0] != shown[1]:
            return shown
    return repr(value), repr(threshold)


def short(version: str) -> str:
    """The prefix of a version that people are shown."""
    return version[:12]


def counted(count: int, noun: str) -> str:
    """`1 window`, `3 windows`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def size(count: int) -> str:
    """Bytes with the largest binary unit that they fill: `1.5 GiB`, `512 MiB`, `0 KiB`."""
    for unit, name in ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB")):
        if count >= unit:
            return f"{count / unit:.4g} {name}"
    return f"{count / 1024:.4g} KiB"


def one_line(text: str, most: int = 200) -> str:
    """A foreign text as one line of a terminal, of at most so many characters; what is cut off ends with `…`.

    Without escape sequences, control characters and those that turn the direction of writing; blanks are joined. Take
    secrets out first: half a secret would not be recognised.
    """
    text = text[: 10 * most]  # so that a body of some MiB costs no more than a line
    line = " ".join(printable(text).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def printable(text: str, kept: str = "") -> str:
    """The text without escape sequences, control characters and those that turn the direction of writing.

    The control characters in `kept`, such as line breaks, stay.
    """
    if text.isprintable():
        return text
    text = re.sub(_ESCAPE_SEQUENCE, "", text)
    return "".join(sign if sign.isprintable() or sign in kept else " " for sign in text)


def shell_text(text: str, scrub: Callable[[str], str] = str) -> str:
    """The text as words that neither a shell nor make takes for more: `a; b (c)` is `a, b c`, other signs are `_`.

    `scrub` takes secrets out, also those whose parts the signs that are left out had kept apart.
    """
    return _plain(scrub(_plain(text)))


def _plain(text: str) -> str:
    plain = re.sub(r"[()]", "", one_line(text, 1000)).replace(";", ",")
    return re.sub(r"[^\w .,:/@+=%-]", "_", plain)


def last_lines(output: str, count: int = 5, most: int = 300) -> tuple[str, ...]:
    """The last lines of a program's output that say something, each as a terminal shows it in the end.

    A progress bar overwrites itself after each carriage return.
    """
    lines = (one_line(line.rstrip("\r").rpartition("\r")[2], most) for line in output.split("\n"))
    return tuple(filter(None, lines))[-count:]
