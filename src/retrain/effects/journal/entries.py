"""The events in an open journal: append, read, prune.

Beside them one row holds what they add up to (`Past`), renewed in the same transaction, so that a check costs the
same after a million events. It is derived: where it is missing or of another release, the events since the last
pruning are folded again, from the summary that it wrote.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, cast, get_args

import msgspec
from msgspec.structs import replace

from retrain.core.events import Checked, Entry, Event, HistoryLost, Judged, Pruned, SwapStarted, TrainingStarted
from retrain.core.fold import advance, fold
from retrain.core.past import Past
from retrain.errors import RetrainError, file_errors

_TURNING_POINT = "kind NOT IN ('Checked', 'SwapStarted')"
_MOVED_BY_HAND = "+kind = 'Checked' AND json_extract(body, '$.served') <> json_extract(body, '$.known')"
"""A check that saw another version in service than the journal knew."""
TABLES = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,"
    " body TEXT NOT NULL)",
    "CREATE INDEX events_by_subject ON events (kind, subject)",
    f"CREATE INDEX turning_points ON events (id) WHERE {_TURNING_POINT}",
    "CREATE TABLE past (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL, body TEXT NOT NULL)",
)
_CHUNK = 5000
"""Events that are removed in one transaction, so that another writer does not wait long."""
_ROOM = 64 * 1024
"""Bytes that are kept free for an outcome, if there are as many. It takes some pages of 4 KiB."""
_decoder, _building = cache(msgspec.json.Decoder), Lock()
"""A process dies of two threads that build what msgspec (0.22) knows of the same type, so one does at a time."""
_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


class CorruptError(sqlite3.DatabaseError):
    """Damage that SQLite found when it verified the file."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


class Journal:
    """An open journal. Its methods raise sqlite3.Error, which `open_journal` turns into a RetrainError.

    `file` is where it is written to, and `inode` which file that was when it was opened. `scrub` takes secrets out of
    what is recorded.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        file: Path | None = None,
        inode: int = 0,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self._db, self._file, self._inode, self._scrub = connection, file, inode, scrub
        self._known: tuple[int | None, Past] | None = None

    def close(self) -> None:
        """Close the file; the journal cannot be used after that."""
        self._db.close()

    def owner(self) -> str | None:
        """The champion that this is the journal of, as `own` was given it; None where that is not recorded."""
        row = self._has("owner") and self._db.execute("SELECT champion FROM owner").fetchone()
        return str(row[0]) if row else None

    def own(self, champion: str) -> None:
        """Record whose journal this is."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY, champion TEXT NOT NULL)")
            self._db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (champion,))

    def past(self) -> Past:
        """What the history means for the decisions."""
        # One statement, for others may append meanwhile.
        both = "SELECT max(id), (SELECT body FROM past WHERE upto = (SELECT max(id) FROM events)) FROM events"
        last, body = self._db.execute(both).fetchone()
        if self._known is None or self._known[0] != last:
            past = _unpacked(body) if body is not None else None
            self._known = last, past if past is not None else self._folded(last)
        return self._known[1]

    def append(self, event: Event, at: datetime) -> Past:
        """What the history means with this event, which is on disk when this returns.

        Raises RetrainError, and records nothing, where the file was replaced since it was opened, so that nobody would
        read the event again, or where it would be read as another event, or as none.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._refuse_replaced()
            known = self._append(self.past(), _scrubbed(event, self._scrub), at)
        self._known = known  # and not before it is committed
        if isinstance(event, TrainingStarted | SwapStarted):
            self._reserve()
        return known[1]

    def prune(self, before: datetime, at: datetime) -> int:
        """Remove the checks from before this time but the last one, and return their number; all else stays for good.

        So does a check that found the link moved by hand, for nothing else says who served then. What the others add
        up to is written first, so that no decision changes.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            old = "id < (SELECT min(id) FROM events WHERE at >= ? OR id = (SELECT max(id) FROM events WHERE"
            old += f" +kind = 'Checked')) AND +kind = 'Checked' AND NOT coalesce({_MOVED_BY_HAND}, 0)"
            ids = self._db.execute(f"SELECT id FROM events WHERE {old}", (before.isoformat(),)).fetchall()  # noqa: S608
            if not ids:
                return 0
            past = self.past()
            self._append(past, Pruned(len(ids), before, _packed(past)), at)
        for first in range(0, len(ids), _CHUNK):
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")  # else each one is a transaction of its own, with its own sync
                self._db.executemany("DELETE FROM events WHERE id = ?", ids[first : first + _CHUNK])
            self._db.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page
        return len(ids)

    def verify(self, *, thorough: bool = False) -> None:
        """Raise an error where SQLite finds damage, in indexes too if `thorough`, or a turning point cannot be read."""
        check = "integrity_check" if thorough else "quick_check"
        (found,) = self._db.execute(f"PRAGMA {check}(1)").fetchone()
        if found != "ok":
            raise CorruptError(found)
        for _ in self._entries(f"WHERE {_TURNING_POINT} ORDER BY id"):
            pass

    def ledger(self) -> Iterator[Judged | HistoryLost]:
        """Every holdout comparison, every repetition of one, and every loss of the history, oldest first."""
        return self._events(f"{_TURNING_POINT} AND +kind IN ('Judged', 'HistoryLost') ORDER BY id")

    def comparisons_on(self, holdout: str) -> Iterator[Judged]:
        """Every comparison on these rows, and every repetition of one, oldest first."""
        return self._events("kind = 'Judged' AND subject = ? ORDER BY id", holdout)

    def recorded_for_file(self, file: str, champion: str | None, challenger: str, question: str) -> Judged | None:
        """The comparison that already answered this question, on a holdout file that was not touched since."""
        asked, latest = (file, champion, challenger, question), self.latest_judgements()
        return next((it for it in latest if (it.file, it.champion, it.challenger, it.question) == asked), None)

    def latest_judgements(self) -> Iterator[Judged]:
        """The latest comparisons and repetitions of one, newest first, a thousand at most."""
        return self._events(f"{_TURNING_POINT} AND +kind = 'Judged' ORDER BY id DESC LIMIT 1000")

    def last_check(self) -> Entry | None:
        """The latest check."""
        # The plus keeps SQLite from sorting every check there ever was: the latest is among the last few events.
        return next(self._entries("WHERE +kind = 'Checked' ORDER BY id DESC LIMIT 1"), None)

    def checks(self) -> Iterator[Entry]:
        """Every check, oldest first."""
        yield from self._entries("WHERE +kind = 'Checked' ORDER BY id")

    def history(self, kinds: Sequence[str], since: datetime | None, until: datetime | None) -> Iterator[Entry]:
        """The events from `since` on and before `until`, oldest first; without kinds, all turning points."""
        which = f"+kind IN ({', '.join('?' * len(kinds))})" if kinds else _TURNING_POINT
        within = since or datetime.min.replace(tzinfo=UTC), until or datetime.max.replace(tzinfo=UTC)
        times = (each.astimezone(UTC).isoformat() for each in within)
        yield from self._entries(f"WHERE {which} AND at >= ? AND at < ? ORDER BY id", *kinds, *times)

    def changes(self) -> Iterator[Entry]:
        """All turning points, and the checks that found the link moved by hand, oldest first."""
        yield from self._entries(f"WHERE {_TURNING_POINT} OR ({_MOVED_BY_HAND}) ORDER BY id")

    def since(self, last: int, limit: int) -> list[Entry]:
        """The first events after this one, oldest first."""
        return list(self._entries("WHERE id > ? ORDER BY id LIMIT ?", last, limit))

    def cursor(self, channel: str, begun: datetime, now: datetime) -> int:
        """The number of the last event that this channel needs no more; a new one gets those between these times.

        It is a row beside the events: an event for each that was sent would double the journal, and be sent itself.
        """
        if (known := self.arrived(channel)) is not None:
            return known
        # An event that is in the future was recorded before the clock went back.
        before = "SELECT id FROM events WHERE at < ? OR at > ? ORDER BY id DESC LIMIT 1"
        (upto,) = self._db.execute(before, (begun.isoformat(), now.isoformat())).fetchone() or (0,)
        self.sent(channel, upto)
        return int(upto)

    def keep_cursors(self, channels: Mapping[str, str]) -> None:
        """Forget the cursors of all channels but these: one that is switched on again begins anew.

        A new one goes on where those ended that it replaces: they begin with the words beside it, if there are any.
        """
        known = dict(self._db.execute("SELECT channel, upto FROM sent").fetchall()) if self._has("sent") else {}
        gone = known.keys() - channels.keys()
        for each in channels.keys() - known.keys():
            if ends := [known[one] for one in gone if channels[each] and one.startswith(f"{channels[each]} ")]:
                self.sent(each, min(ends))
        for each in gone:
            self._db.execute("DELETE FROM sent WHERE channel = ?", (each,))

    def sent(self, channel: str, upto: int) -> None:
        """Remember that this channel needs no event up to this number any more."""
        self._db.execute("CREATE TABLE IF NOT EXISTS sent (channel TEXT PRIMARY KEY, upto INTEGER NOT NULL)")
        self._db.execute("INSERT OR REPLACE INTO sent VALUES (?, ?)", (channel, upto))

    def arrived(self, channel: str) -> int | None:
        """The number of the last event that this channel needs no more; None where it never had one."""
        row = self._has("sent") and self._db.execute("SELECT upto FROM sent WHERE channel = ?", (channel,)).fetchone()
        return int(row[0]) if row else None

    def turning_points_after(self, last: int) -> Iterator[Entry]:
        """The turning points after this event, oldest first."""
        yield from self._entries(f"WHERE id > ? AND {_TURNING_POINT} ORDER BY id", last)

    def turning_points(self, limit: int) -> list[Entry]:
        """The latest events other than checks and intents to swap, newest first."""
        return list(self._entries(f"WHERE {_TURNING_POINT} ORDER BY id DESC LIMIT ?", limit))

    def _has(self, table: str) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone())

    def _refuse_replaced(self) -> None:
        if self._file is None:
            return
        with file_errors(self._file):
            now = self._file.stat().st_ino if self._file.exists() else 0
        if now != self._inode:
            raise RetrainError(f"{self._file}: was replaced while this command ran; run it again")

    def _reserve(self) -> None:
        """Keep room on the disk for the outcome of what has begun, which may fill it.

        SQLite writes over what is in the log of an open journal, and reads only what it has written there itself.
        """
        with suppress(OSError, AttributeError), open(f"{self._file}-wal", "rb+") as log:  # noqa: PTH123
            os.posix_fallocate(log.fileno(), os.fstat(log.fileno()).st_size, _ROOM)

    def _append(self, past: Past, event: Event, at: datetime) -> tuple[int | None, Past]:
        kind, past = type(event).__name__, advance(past, event, at)
        try:
            row = (at.isoformat(), kind, _subject(event), _packed(event))
            last = self._db.execute("INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)", row).lastrowid
            is_same = [*self._entries("WHERE id = ?", last)] == [Entry(last or 0, at, event)]
        except (ValueError, sqlite3.DataError):  # such as half a character, which is no text
            is_same = False
        if not is_same:
            why = f"{self._file}: a {kind} event cannot be recorded, for it would not be read as it was written"
            raise RetrainError(why, "this is a bug in retrain or a wrong answer of a model; nothing was recorded")
        self._db.execute("REPLACE INTO past VALUES (1, ?, ?)", (last, _packed(past)))
        return last, past

    def _folded(self, last: int | None) -> Past:
        """What all events up to this one mean: the summary of the last pruning, and those since."""
        for entry in self._entries("WHERE kind = 'Pruned' AND id <= ? ORDER BY id DESC LIMIT 1", last):
            since = self._entries("WHERE id BETWEEN ? AND ? ORDER BY id", entry.id, last)
            return fold(_summary(cast(Pruned, entry.event)), since)
        return fold(Past(), self._entries("WHERE id <= ? ORDER BY id", last))

    # A plus before a column has SQLite walk the events in order, and sort nothing.
    def _events(self, which: str, *parameters: object) -> Iterator[Any]:
        return (entry.event for entry in self._entries(f"WHERE {which}", *parameters))

    def _entries(self, where: str, *parameters: object) -> Iterator[Entry]:
        rows = self._db.execute(f"SELECT id, at, kind, body FROM events {where}", parameters)  # noqa: S608
        yield from map(_entry, rows)


def _scrubbed(event: Event, scrub: Callable[[str], str]) -> Event:
    """The event without secrets in what people wrote and programs said; names and versions stay as they are.

    A path may have bytes that are no text.
    """
    texts = {name: getattr(event, name, None) for name in ("message", "reason", "source")}
    cleaned = {name: scrub(text) for name, text in texts.items() if type(text) is str}
    return replace(event, **{name: text.encode(errors="backslashreplace").decode() for name, text in cleaned.items()})


def _packed(value: Event | Past) -> str:
    return msgspec.json.encode(value).decode()


def _decoded(body: str, kind: Any) -> Any:
    """The value of this type. Raises MsgspecError or ValueError where the text holds none."""
    with _building:
        decoder = _decoder(kind)
    return decoder.decode(body)


def _summary(pruned: Pruned) -> Past:
    try:
        return cast(Past, _decoded(pruned.past, Past))
    except (msgspec.MsgspecError, ValueError) as error:
        raise sqlite3.DataError("the summary that the last pruning wrote cannot be read") from error


def _unpacked(body: str) -> Past | None:
    """What the row of the past holds; None where another release wrote it."""
    try:
        past: Past = _decoded(body, Past)
    except (msgspec.MsgspecError, ValueError):
        return None
    return past if _packed(past) == body else None


def _entry(row: tuple[int, str, str, str]) -> Entry:
    number, at, kind, body = row
    if kind not in _KINDS:
        why = f"its event {number} is of the kind {kind!r}, which this release does not know"
        remedy = "upgrade retrain if a newer one wrote it; nothing is lost"
        raise RetrainError(f"the journal cannot be used: {why}", remedy)
    try:
        return Entry(number, datetime.fromisoformat(at).astimezone(UTC), _decoded(body, _KINDS[kind]))
    except (msgspec.MsgspecError, ValueError) as error:
        raise sqlite3.DataError(f"its event {number} ({kind}) cannot be read") from error


def _subject(event: Event) -> str:
    """What an event is found by."""
    if isinstance(event, Checked):
        return event.reason
    if isinstance(event, Judged):
        return event.holdout
    return str(getattr(event, "run", None) or getattr(event, "version", ""))
