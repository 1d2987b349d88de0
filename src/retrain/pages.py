"""`retrain status --html`, the page that `retrain monitor` serves, and `retrain status` of several projects."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from msgspec import Struct

from retrain.context import Context, configurations, open_contexts
from retrain.core.text import counted, moment, one_line, short
from retrain.errors import ConfigError, Exit, Report, RetrainError, gravest
from retrain.output import aligned
from retrain.page import render
from retrain.page.view import SPAN, tone_of, view
from retrain.status import standing, status
from retrain.swap import journal_of

FRESH = 10
"""Seconds for which a page that was made is served again."""
_WORST_FIRST = (
    "CANNOT BE READ",
    "NEEDS A PERSON",
    "IN BREACH",
    "UNKNOWN",
    "WAITING FOR PROMOTE",
    "TRAINING",
    "HEALTHY",
)


def status_page(context: Context, refresh: int = 0) -> str:
    """The page of this project as it stands; a browser asks again after `refresh` seconds, unless that is 0."""
    now = context.clock()
    with journal_of(context, writable=False) as journal:
        found, checks = standing(context, journal), list(journal.history(("Checked",), now - SPAN, None))
        changes = list(journal.changes())
    it = view(context.config, found, now, checks, changes)
    bands = [(each.version, each.since, each.until, each.score, each.why) for each in reversed(it.bands)]
    return render.render("status.html", context.secrets.scrub, it=it, bands=bands, refresh=refresh)


def write_status(context: Context, limit: int, file: Path) -> Report:
    """The report of how things stand, which the file shows, too."""
    render.check("--html", file, render.HTML)
    report = status(context, limit)
    render.write(file, status_page(context))
    return report


class Live:
    """The page that is served: made anew when it is asked for, once in FRESH seconds at most."""

    def __init__(self, context: Context) -> None:
        self._context, self._lock = context, Lock()
        self._made: tuple[datetime, str] | None = None

    def __call__(self) -> str:
        """The page. Raises RetrainError."""
        with self._lock:
            now = self._context.clock()
            if self._made is None or abs((now - self._made[0]).total_seconds()) >= FRESH:
                self._made = now, status_page(self._context, refresh=60)
            return self._made[1]


# ---------------------------------------------------------------- several projects


class _Project(Struct, frozen=True):
    """A line of the table."""

    word: str
    tone: str
    cells: tuple[str, ...]
    data: dict[str, Any]
    exit_code: int = Exit.DONE


_HEADS = ("project", "F1", "drift", "champion", "since", "last check", "why")


def projects(files: Sequence[Path], html: Path | None, now: datetime) -> Report:
    """The report of all these projects in one table, the worst first; a directory stands for all projects in it."""
    if html is not None:
        render.check("--html", html, render.HTML)
    paths = configurations(files)
    found = [*map(_project, paths, open_contexts(paths))]
    found.sort(key=lambda it: (_WORST_FIRST.index(it.word), it.cells[0]))
    words = [each.word for each in found]
    counts = ", ".join(f"{words.count(word)} {word}" for word in _WORST_FIRST if word in words)
    if html is not None:
        page = render.render("projects.html", str, rows=found, heads=("state", *_HEADS), counts=counts, at=moment(now))
        render.write(html, page)
    table = aligned([("state", *_HEADS[:-1]), *((each.word, *each.cells[:-1]) for each in found)])
    text = [f"{line}  {why}" for line, why in zip(table, ("why", *(each.cells[-1] for each in found)), strict=True)]
    message = "\n".join([f"{counted(len(found), 'project')}: {counts}", *text])
    code = gravest(each.exit_code for each in found)
    return Report(message, {}, code, on_stdout=True, lines=[each.data for each in found])


def _project(file: Path, context: Context | ConfigError) -> _Project:
    """How this project stands; one that cannot be read is a line, too."""
    if isinstance(context, ConfigError):
        return _unreadable(file, str(context), context.exit_code)
    scrub = context.secrets.scrub
    try:
        with journal_of(context, writable=False) as journal:
            found, last = standing(context, journal), journal.last_check()
    except RetrainError as error:
        return _unreadable(file, scrub(str(error)), error.exit_code)
    known: Any = found.data
    values = ["-" if (each := known["metrics"].get(name)) is None else _number(each) for name in ("f1", "drift")]
    serves = known["champion"] or {}
    at = [short(serves.get("version") or "") or "-", (serves.get("since") or "-")[:10]]
    checked = moment(last.at) if last is not None else "-"
    cells = (context.config.name, *values, *at, checked, one_line(scrub(found.why)))
    data = {"name": context.config.name, "config": str(file), "why": scrub(found.why), **known}
    return _Project(found.word, tone_of(found.word), cells, data)


def _number(reading: dict[str, Any]) -> str:
    value = reading.get("value")
    return f"{value:.3f}" if isinstance(value, float | int) else "-"


def _unreadable(file: Path, why: str, code: int) -> _Project:
    name, word = file.parent.name, "CANNOT BE READ"
    data = {"name": name, "config": str(file), "state": word, "error": why, "exit_code": code}
    return _Project(word, tone_of(word), (name, *"-----", one_line(why)), data, code)
