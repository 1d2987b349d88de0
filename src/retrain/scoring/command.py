"""The process of one model that a command predicts for: it runs the command, and reads the labels that this writes.

Nothing heavy is imported: the memory and the time are the command's.
"""

import json
import math
import os
import resource
import select
import signal
import subprocess
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from retrain.core.records import Label
from retrain.scoring.plan import Model, answering
from retrain.tables import FileError

_PIECE = 1 << 20
_MORE = 1_000_000
"""Lines beyond the number of rows that are still counted, for the message."""
_LONGEST, _MOST = 64 * 1024, 4 * 1024**2
"""Bytes of one label, and of all different ones together."""
_MISSING = frozenset({"", "null", "NaN", "nan"})
_TRUTHS = {"True": 1, "False": 0}
_WAIT = 100
"""Milliseconds. What a command has started may hold its output open after its end."""


def serve(plan: Model) -> None:
    """Run the command once, and answer for all rows at once, as `RemoteModel` expects of a command.

    Where it fails this process ends as it did, so that the same is said of it as of a model.
    """
    with answering(plan, 0) as (features, send):
        send({"saved": "", "unnamed": False})
        if not (head := features.readline()):  # unbuffered: what follows is the command's
            return
        try:
            lines, codes = _written(plan, int(head), features)
            send({"labels": [*map(_label, lines)]}, codes.tobytes())
        except FileError as error:
            send({"error": str(error)})


def _written(plan: Model, rows: int, features: IO[bytes]) -> tuple[Sequence[bytes], "array[int]"]:
    """The different lines that the command writes, and a code for each row. FileError where these are not so many."""
    try:
        process = subprocess.Popen(
            plan.command, env=dict(plan.environment), stdin=features, stdout=subprocess.PIPE, bufsize=0
        )
    except (OSError, ValueError) as error:
        raise FileError(f"has no predictions: the command of promotion.predict cannot be started: {error}") from error
    features.close()  # now nobody else holds it: who writes there sees when the command reads no more
    assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
    try:
        known, codes = _read(process, process.stdout.fileno(), rows)
    except FileError:
        process.kill()
        raise
    if code := process.wait():
        _end_as(code)
    if len(codes) != rows:
        raise _other(len(codes), rows)
    return list(known), codes


def _read(process: "subprocess.Popen[bytes]", output: int, rows: int) -> tuple[Mapping[bytes, int], "array[int]"]:
    """The lines that come, each with its code, and the code of each row; to the end of the output, or of the command.

    FileError where more comes than labels of so many rows.
    """
    known: dict[bytes, int] = {}
    codes, rest, ready = array("I"), b"", select.poll()
    ready.register(output, select.POLLIN)
    while True:
        has_ended = process.poll() is not None
        if not ready.poll(_WAIT):
            if has_ended:
                break
            continue
        if not (piece := os.read(output, _PIECE)):
            break
        *lines, rest = (rest + piece).split(b"\n")
        codes.extend(known.setdefault(line, len(known)) for line in lines)
        if len(codes) > rows + _MORE:
            raise _other(len(codes), rows, " and more")
        if len(rest) > _LONGEST or sum(map(len, known)) > _MOST:
            why = "what is no label a line: a line is too long, or too many lines differ"
            raise FileError(f"cannot be scored: the command of promotion.predict wrote {why}")
    if rest:
        codes.append(known.setdefault(rest, len(known)))
    return known, codes


def _other(labels: int, rows: int, more: str = "") -> FileError:
    wrote = f"the command of promotion.predict wrote {labels:,}{more} labels for {rows:,} rows"
    return FileError(f"cannot be scored: {wrote}; one label a row is needed, each on a line of its own")


def _label(line: bytes) -> Label:
    """The label in this line: a JSON number, text or truth value; any other line is a text itself."""
    text, shown = line.decode(errors="replace").strip(), repr(line[:40].decode(errors="replace"))
    if text in _MISSING:
        raise FileError(f"cannot be scored: the command of promotion.predict wrote no label ({shown}) for some rows")
    try:
        value = _TRUTHS[text] if text in _TRUTHS else json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        value = text
    is_label = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    if not is_label or "\N{REPLACEMENT CHARACTER}" in text:
        raise FileError(f"cannot be scored: the command of promotion.predict wrote {shown}, which is no class label")
    return value


def _end_as(code: int) -> None:
    """End this process as the command has ended; -N: by signal N."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code > 0 else 1)
