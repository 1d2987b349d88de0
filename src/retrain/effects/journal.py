"""Append and read the history: SQLite, one append-only table, and the only state.

Beside it one row holds what the events add up to (`recall.Past`), renewed in the same transaction, so that a
check costs the same after a million events. It can be dropped: it is folded anew from the events.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from cattrs.preconf.json import make_converter

from retrain.core import records
from retrain.core.recall import Past, advance, fold
from retrain.core.records import Checked, Entry, Event, Judged
from retrain.errors import RetrainError

SCHEMA = 1
_TABLES = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX events_by_subject ON events (kind, subject);
CREATE INDEX turning_points ON events (id) WHERE kind NOT IN ('Checked', 'SwapStarted');
CREATE TABLE past (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL, body TEXT NOT NULL);
"""
_converter = make_converter()


class Journal:
    """An open journal. Its methods raise RetrainError when the file cannot be used."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def past(self) -> Past:
        """What the history means for the decisions."""
        upto, body = self._db.execute("SELECT upto, body FROM past").fetchone() or (0, None)
        try:
            past = _converter.loads(body, Past) if body else Past()
        except Exception:  # a row of an older release: the events are the truth
            upto, past = 0, Past()
        return fold(past, self._entries("WHERE id > ? ORDER BY id", upto))

    def append(self, event: Event, at: datetime) -> Past:
        """What the history means once this event is part of it; it is on disk when this returns."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            past = advance(self.past(), event, at)
            row = (at.isoformat(), type(event).__name__, _subject(event), _converter.dumps(event))
            last = self._db.execute("INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)", row).lastrowid
            self._db.execute("REPLACE INTO past VALUES (1, ?, ?)", (last, _converter.dumps(past)))
        return past

    def looks(self, holdout: str) -> int:
        """How often this holdout has been looked at."""
        return sum(1 for judged in self._judged(holdout) if not judged.repeated)

    def recorded(self, holdout: str, champion: str | None, challenger: str, question: str) -> Judged | None:
        """The look that already answered this question about these three."""
        for judged in self._judged(holdout):
            if (judged.champion, judged.challenger, judged.question) == (champion, challenger, question):
                return judged
        return None

    def recorded_for_file(self, file: str, champion: str | None, challenger: str, question: str) -> Judged | None:
        """The look that already answered this question, on a holdout file that was not touched since."""
        for entry in self._entries("WHERE kind = 'Judged' ORDER BY id DESC LIMIT 1000"):
            judged = entry.event
            if isinstance(judged, Judged) and judged.file == file:
                same = (judged.champion, judged.challenger, judged.question) == (champion, challenger, question)
                if same:
                    return judged
        return None

    def last_check(self) -> Entry | None:
        """The latest check."""
        return next(self._entries("WHERE kind = 'Checked' ORDER BY id DESC LIMIT 1"), None)

    def turning_points(self, limit: int) -> list[Entry]:
        """The latest events other than checks and intents to swap, newest first."""
        return list(self._entries("WHERE kind NOT IN ('Checked', 'SwapStarted') ORDER BY id DESC LIMIT ?", limit))

    def _judged(self, holdout: str) -> Iterator[Judged]:
        for entry in self._entries("WHERE kind = 'Judged' AND subject = ? ORDER BY id", holdout):
            if isinstance(entry.event, Judged):
                yield entry.event

    def _entries(self, where: str, *parameters: object) -> Iterator[Entry]:
        rows = self._db.execute(f"SELECT id, at, kind, body FROM events {where}", parameters)  # noqa: S608
        for number, at, kind, body in rows:
            yield Entry(number, datetime.fromisoformat(at), _converter.loads(body, getattr(records, kind)))


@contextmanager
def open_journal(state: Path, *, writable: bool = True) -> Iterator[Journal]:
    """The journal in this state directory; made if it is missing. Not writable: an absent one is empty."""
    path = state / "journal.db"
    try:
        with closing(_connect(path, writable)) as connection:
            yield Journal(connection)
    except sqlite3.Error as error:
        raise RetrainError(
            f"{path}: the journal cannot be used: {error}. Nothing was trained or promoted because of it"
        ) from error


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    if not writable and not path.exists():
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(_TABLES)
        return connection
    if writable:
        _make_directory(path.parent)
    mode = "rwc" if writable else "ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=10, isolation_level=None)
    try:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema > SCHEMA:
            raise RetrainError(
                f"{path}: written by a newer retrain (schema {schema}, this one knows {SCHEMA}); upgrade it"
            )
        if writable:
            connection.execute("PRAGMA synchronous = FULL")
        if schema == 0:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _make_directory(state: Path) -> None:
    try:
        (state / "runs").mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RetrainError(f"{state}: the state directory cannot be made: {error.strerror}") from error


def _subject(event: Event) -> str:
    """What an event is looked up by."""
    if isinstance(event, Checked):
        return event.reason
    if isinstance(event, Judged):
        return event.holdout
    return str(getattr(event, "run", None) or getattr(event, "version", ""))
