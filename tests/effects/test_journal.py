"""The journal: what is appended is kept, means what its events mean, and reading it leaves no trace."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields, replace

from retrain.core.events import (
    Adopted,
    Checked,
    Entry,
    Event,
    HistoryLost,
    Judged,
    Promoted,
    Pruned,
    Rejected,
    Swap,
    SwapStarted,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.fold import fold
from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Outcome, Reason, Signal, State
from retrain.core.verdicts import Ruling, Verdict
from retrain.effects.journal import DamagedError, Journal, open_journal
from retrain.effects.journal.entries import _unpacked
from retrain.effects.journal.file import damage, name_aside, start_new
from retrain.errors import RetrainError

T0 = datetime(2026, 11, 22, 16, 10, tzinfo=UTC)
A, B, C = "a" * 64, "b" * 64, "c" * 64
LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.sampled_from([A, B, C, "r1", "unknown:stale"]) | st.text(max_size=8),
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    timedelta: st.timedeltas(timedelta(), timedelta(days=3650)),
    datetime: st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC)),
}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Every value of a type of the records."""
    if kind in LEAVES:
        return LEAVES[kind]
    if isinstance(kind, UnionType):
        return st.one_of(*map(anything, get_args(kind)))
    if get_origin(kind) is tuple:
        first, second = get_args(kind)
        if second is Ellipsis:
            return st.lists(anything(first), max_size=3).map(tuple)
        return st.tuples(anything(first), anything(second))
    if isinstance(kind, type) and issubclass(kind, Struct):
        hints = get_type_hints(kind)
        parts = {field.name: anything(hints[field.name]) for field in fields(kind)}
        return st.builds(kind, **parts)
    assert issubclass(kind, Enum)
    return st.sampled_from(list(kind))


def test_what_matters_after_a_promotion_is_read_back_to_the_letter(state: Path) -> None:
    """A row that is written otherwise than it is read would be folded anew from all events, at every command."""
    f1 = Assessment(Signal.F1, State.HEALTHY, value=0.9, threshold=0.85, window="w", observed_at=T0, dated=True)
    past = tell(state, Adopted(A), Checked(Action.HOLD, Reason.HEALTHY, "", A, (f1,)), Promoted(B, A))
    assert past.probation is not None
    for number in range(3):
        window = replace(f1, window=f"{number}", observed_at=T0 + timedelta(hours=1 + number))
        with open_journal(state) as journal:
            past = journal.append(Checked(Action.HOLD, Reason.HEALTHY, "", B, (window,)), T0 + timedelta(days=1))
        (row,) = sql(state, "SELECT body FROM past")
        assert _unpacked(str(row[0])) == past


KINDS: tuple[type[Event], ...] = get_args(Event)
APPENDED = [kind for kind in KINDS if kind is not Pruned]
histories = st.lists(st.tuples(st.one_of(*map(anything, APPENDED)), LEAVES[datetime]), max_size=12)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def tell(state: Path, *events: Event) -> Past:
    """What the history means after these events, a minute each."""
    past = Past()
    with open_journal(state) as journal:
        for minute, event in enumerate(events):
            past = journal.append(event, T0 + timedelta(minutes=minute))
    return past


def read(state: Path, *, writable: bool = True) -> Past:
    with open_journal(state, writable=writable) as journal:
        return journal.past()


def sql(state: Path, statement: str, *parameters: object) -> list[Any]:
    """The rows, from outside of retrain."""
    with closing(sqlite3.connect(state / "journal.db")) as connection, connection:
        return connection.execute(statement, parameters).fetchall()


def judged(challenger: str, holdout: str = "h1", question: str = "f1?", file: str = "1:2:3", **more: Any) -> Judged:
    verdict = Verdict(Ruling.REJECT, "f1", 10, 0.5, 0.6, 0.05, 1, interval=(-0.2, 0.1))
    return Judged(challenger, more.pop("champion", A), holdout, question, file, verdict, **more)


def traces(state: Path) -> dict[str, bytes | None]:
    """Everything below the state directory's parent, with its bytes."""
    return {
        str(path.relative_to(state.parent)): path.read_bytes() if path.is_file() else None
        for path in state.parent.rglob("*")
    }


# ---------------------------------------------------------------- what is appended is kept


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_event_comes_back_as_it_was(kind: type[Event], state: Path) -> None:
    """Each kind, with whatever its fields may hold, in a journal that was opened anew."""

    @settings(max_examples=15, deadline=None)
    @given(anything(kind), LEAVES[datetime])
    def holds(event: Event, at: datetime) -> None:
        with open_journal(state) as journal:
            journal.append(event, at)
        with open_journal(state, writable=False) as journal:
            *earlier, entry = journal._entries("ORDER BY id")
            assert entry == Entry(len(earlier) + 1, at, event)

    holds()


@settings(max_examples=25, deadline=None)
@given(histories, st.integers(0, 12))
def test_the_past_is_the_fold_of_all_events(history: list[tuple[Event, datetime]], reopened: int) -> None:
    """As appended, as read, as read by a dry run, and also when the row that saves the folding is gone."""
    expected = fold(Past(), (Entry(0, at, event) for event, at in history))
    with TemporaryDirectory() as directory:
        state, past = Path(directory), Past()
        for part in (history[:reopened], history[reopened:]):
            with open_journal(state) as journal:
                for event, at in part:
                    past = journal.append(event, at)
        assert past == expected
        assert read(state) == read(state, writable=False) == expected
        sql(state, "DELETE FROM past")
        assert read(state) == read(state, writable=False) == expected


@pytest.mark.parametrize(
    "garble",
    [
        "UPDATE past SET body = ''",
        "UPDATE past SET body = 'garbage'",
        "UPDATE past SET body = '[]'",
        "UPDATE past SET body = 'null'",
        "UPDATE past SET body = '{}'",
        "UPDATE past SET body = x'ff00'",
        "UPDATE past SET body = replace(body, 'armed', 'older_name')",
        "UPDATE past SET body = json_remove(body, '$.unpromoted')",
        "UPDATE past SET body = json_insert(body, '$.newer', 1)",
        "UPDATE past SET body = json_set(body, '$.failures', 'x')",
        "UPDATE past SET upto = 0",
        "UPDATE past SET upto = upto - 1",
        "UPDATE past SET upto = 1000000",
        "DELETE FROM past",
    ],
)
def test_a_row_of_the_past_that_fits_not_is_folded_anew(state: Path, garble: str) -> None:
    """The events are the truth, also after an upgrade that remembers more or less; the next append mends the row."""
    trained = TrainingFinished("r1", Outcome.SUCCEEDED, "trained", challenger=C)
    past = tell(state, Adopted(A), Promoted(B, A), TrainingStarted("r1", Reason.BREACH, "due"), trained)
    sql(state, garble)
    assert read(state, writable=False) == read(state) == past
    assert (past.lineage, past.unpromoted) == ((A,), 1)
    with open_journal(state) as journal:
        after = journal.append(Promoted(C, B), T0 + timedelta(hours=1))
    assert read(state) == after
    assert (after.lineage, after.unpromoted) == ((A, B), 0)
    assert sql(state, "SELECT upto FROM past") == [(5,)]


def test_an_event_that_cannot_be_written_is_not_half_written(state: Path) -> None:
    """Event and past are one transaction."""
    tell(state, Adopted(A))
    sql(state, "CREATE TRIGGER full BEFORE INSERT ON past BEGIN SELECT RAISE(ABORT, 'full'); END")
    with pytest.raises(RetrainError, match=r"journal\.db: the journal cannot be used: full"):
        tell(state, Promoted(B, A))
    assert sql(state, "SELECT count(*) FROM events") == [(1,)]
    assert read(state).served == A


@pytest.mark.parametrize(
    "event",
    [
        replace(judged(B), verdict=replace(judged(B).verdict, challenger_score=float("nan"))),
        Checked(Action.HOLD, Reason.HEALTHY, "", A, (Assessment(Signal.F1, State.HEALTHY, value=float("inf")),)),
        Adopted("\ud800"),
        Rejected(B, ["a", "list"]),  # type: ignore[arg-type]
    ],
    ids=["NaN", "infinite", "half a character", "another type"],
)
def test_what_would_be_read_otherwise_is_not_recorded(event: Event, state: Path) -> None:
    """An event is read back before it is committed; one that is not the same then would stop every later command."""
    past = tell(state, Adopted(A))
    with open_journal(state) as journal:
        with pytest.raises(RetrainError, match=r"a \w+ event cannot be recorded.*nothing was recorded"):
            journal.append(event, T0 + timedelta(hours=1))
        assert journal.past() == past
        assert journal.append(Promoted(B, A), T0 + timedelta(hours=2)).served == B
    assert [kind for (kind,) in sql(state, "SELECT kind FROM events ORDER BY id")] == ["Adopted", "Promoted"]


def test_a_name_that_is_no_text_is_recorded_escaped(state: Path) -> None:
    """A file system knows bytes; a message about a file with such a name loses no event."""
    with open_journal(state) as journal:
        journal.append(TrainingFinished("r1", Outcome.FAILED, "x\udcff.joblib is a directory"), T0)
        (entry,) = journal._entries("ORDER BY id")
    assert getattr(entry.event, "message", "") == r"x\udcff.joblib is a directory"


def test_secrets_are_taken_out_of_what_is_recorded(state: Path) -> None:
    """Of what people wrote and programs said; names, versions and the words of the journal stay as they are."""
    with open_journal(state, scrub=lambda text: text.replace("busy", "***").replace("aaaa", "***")) as journal:
        journal.append(Checked(Action.HOLD, Reason.BUSY, "a busy aaaa", A, ()), T0)
        past = journal.append(Promoted(A, None, forced=True, reason="aaaa"), T0)
        assert past.served == A
    found = json.loads(sql(state, "SELECT body FROM events WHERE kind = 'Checked'")[0][0])
    assert (found["reason"], found["message"], found["served"]) == ("busy", "a *** ***", A)
    found = json.loads(sql(state, "SELECT body FROM events WHERE kind = 'Promoted'")[0][0])
    assert (found["reason"], found["version"]) == ("***", A)


def test_what_is_remembered_is_what_the_file_says(state: Path) -> None:
    """An open journal sees what others append, and forgets what could not be written."""
    tell(state, Adopted(A))
    with open_journal(state) as one, open_journal(state) as other:
        assert one.past().served == A
        past = other.append(Promoted(B, A), T0 + timedelta(hours=1))
        assert one.past() == past
        sql(state, "CREATE TRIGGER full BEFORE INSERT ON past BEGIN SELECT RAISE(ABORT, 'full'); END")
        with pytest.raises(sqlite3.IntegrityError):
            one.append(Promoted(C, B), T0 + timedelta(hours=2))
        assert one.past() == past


APPENDING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from retrain.core.events import Adopted
from retrain.effects.journal import open_journal
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    with open_journal(Path(sys.argv[1])) as journal:
        journal.append(Adopted(f"{sys.argv[2]}{number}"), datetime.now(UTC))
"""


def appending(state: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    """A process that appends so many events once it is sent a line."""
    command = [sys.executable, "-c", APPENDING, str(state), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def test_processes_that_append_at_once_lose_nothing(state: Path) -> None:
    """Also when all of them find no journal and make it."""
    writers = [appending(state, name, 15) for name in "xyz"]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, b"")
    told = [json.loads(body)["version"] for (body,) in sql(state, "SELECT body FROM events ORDER BY id")]
    assert sorted(told) == sorted(f"{name}{number}" for name in "xyz" for number in range(15))
    for name in "xyz":
        assert [each for each in told if each[0] == name] == [f"{name}{number}" for number in range(15)]
    past = read(state)
    sql(state, "DELETE FROM past")
    assert read(state) == past
    assert past.served == told[-1]


def test_what_was_appended_outlives_a_kill(state: Path) -> None:
    """An event is on disk when `append` returns: no later word of the process is needed."""
    command = APPENDING.replace("datetime.now(UTC))", "datetime.now(UTC)); print(1, flush=True); sys.stdin.read()")
    arguments = [sys.executable, "-c", command, str(state), "x", "1"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (state / "journal.db-wal").exists()
        before = traces(state)
        assert read(state, writable=False).served == "x0"
        unchanged = {name: content for name, content in traces(state).items() if not name.endswith("-shm")}
        assert unchanged == {name: content for name, content in before.items() if not name.endswith("-shm")}
        assert read(state).served == "x0"


# ---------------------------------------------------------------- what is asked of it


def test_every_look_is_told_oldest_first(state: Path) -> None:
    """At any holdout, repetitions and dry runs included."""
    looks: list[Event] = [
        judged(B),
        judged(B, repeated=True),
        HistoryLost("", ""),
        judged(C, dry_run=True),
        judged(B, holdout="h2"),
    ]
    tell(state, *looks, Rejected(B, ""))
    with open_journal(state) as journal:
        assert list(journal.ledger()) == looks


def test_a_question_has_one_answer(state: Path) -> None:
    """The first look that answered it, found by the rows of the holdout or by an untouched file."""
    first, again = judged(B), judged(B, file="9:9:9", repeated=True)
    first_ever = judged(B, champion=None)
    tell(state, first, judged(C), judged(B, question="mcc?"), judged(B, holdout="h2", file="7:7:7"), again, first_ever)
    with open_journal(state) as journal:
        assert list(journal.comparisons_on("h1")) == [first, judged(C), judged(B, question="mcc?"), again, first_ever]
        assert list(journal.comparisons_on("h3")) == []
        assert journal.recorded_for_file("1:2:3", A, B, "f1?") == first
        assert journal.recorded_for_file("9:9:9", A, B, "f1?") == again
        assert journal.recorded_for_file("1:2:3", None, B, "f1?") == first_ever
        for unknown in [("1:2:4", A, B, "f1?"), ("7:7:7", A, C, "f1?"), ("9:9:9", A, B, "recall?")]:
            assert journal.recorded_for_file(*unknown) is None


def test_the_last_check_and_the_turning_points(state: Path) -> None:
    """The latest check; and the latest of what is neither a check nor an intent to swap, newest first."""
    with open_journal(state) as journal:
        assert journal.last_check() is None
        assert journal.turning_points(5) == []
    first, last = (Checked(Action.HOLD, Reason.HEALTHY, text, A, ()) for text in ("first", "last"))
    tell(state, first, Adopted(A), last, SwapStarted(Swap.PROMOTION, B, A), Promoted(B, A))
    with open_journal(state) as journal:
        assert journal.last_check() == Entry(3, T0 + timedelta(minutes=2), last)
        assert [entry.event for entry in journal.turning_points(5)] == [Promoted(B, A), Adopted(A)]
        assert [entry.event for entry in journal.turning_points(1)] == [Promoted(B, A)]
        assert journal.turning_points(0) == []


def test_a_new_channel_gets_what_happened_between_two_times(state: Path) -> None:
    """Neither what came before them, nor what a clock that was ahead has dated after them."""
    tell(state, Adopted(A))
    with open_journal(state) as journal:
        assert journal.cursor("first", T0, T0) == 0
        for days in (10, 10, 1, 1):
            journal.append(Adopted(B), T0 + timedelta(days=days))
        assert journal.cursor("second", T0 + timedelta(days=1), T0 + timedelta(days=2)) == 3
        assert journal.cursor("second", T0 + timedelta(days=5), T0 + timedelta(days=6)) == 3
        assert journal.cursor("third", T0 + timedelta(days=5), T0 + timedelta(days=6)) == 5


@pytest.mark.parametrize(
    "ask",
    [
        Journal.past,
        Journal.last_check,
        lambda journal: journal.turning_points(8),
        lambda journal: list(journal.ledger()),
        lambda journal: list(journal.latest_judgements()),
        lambda journal: list(journal.comparisons_on("h1")),
    ],
)
def test_nothing_that_is_read_is_sorted(state: Path, ask: Callable[[Journal], object]) -> None:
    """A check costs the same after a million events: every question is answered along an index."""
    tell(state, Adopted(A))
    asked: list[str] = []
    with open_journal(state) as journal:
        journal._db.set_trace_callback(asked.append)
        ask(journal)
        journal._db.set_trace_callback(None)
        plans = [str(journal._db.execute(f"EXPLAIN QUERY PLAN {each}").fetchall()) for each in asked]
    assert plans
    assert not any("TEMP B-TREE" in plan for plan in plans)


# ---------------------------------------------------------------- who may read and who writes


def test_a_dry_run_makes_no_journal(state: Path) -> None:
    """Where there is none it is empty, and nothing at all is written, no directory either."""
    assert read(state, writable=False) == Past()
    with open_journal(state, writable=False) as journal:
        assert (list(journal.ledger()), journal.last_check(), journal.turning_points(3)) == ([], None, [])
    assert not state.exists()
    state.mkdir()
    assert read(state, writable=False) == Past()
    assert list(state.iterdir()) == []


def test_a_dry_run_leaves_no_trace(state: Path) -> None:
    """Same names, same bytes after it, whether it reads alone or while another process has the journal open."""
    past = tell(state, Adopted(A), Promoted(B, A))
    before = traces(state)
    assert sorted(path.name for path in state.iterdir()) == ["journal.db", "runs"]
    assert read(state, writable=False) == past
    assert traces(state) == before
    with open_journal(state) as journal:
        journal.append(Adopted(C), T0)
        names = set(traces(state))
        assert read(state, writable=False).served == C
        assert set(traces(state)) == names
    assert set(traces(state)) == set(before)


def test_a_dry_run_cannot_write(state: Path) -> None:
    """Not even by mistake."""
    tell(state, Adopted(A))
    before = traces(state)
    with (
        pytest.raises(RetrainError, match=r"readonly|read-only"),
        open_journal(state, writable=False) as journal,
    ):
        journal.append(Adopted(B), T0)
    assert traces(state) == before


def test_state_is_its_owners_alone(tmp_path: Path) -> None:
    """The directory, made with its parents, and the logs in it: reasons and logs may say what others need not know."""
    state = tmp_path / "var" / "state"
    tell(state, Adopted(A))
    assert [path.stat().st_mode & 0o777 for path in (state, state / "runs")] == [0o700, 0o700]


def test_it_is_written_through_to_the_disk(state: Path) -> None:
    """WAL, every transaction synced: a power cut loses no event that was told."""
    with open_journal(state) as journal:
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)


# ---------------------------------------------------------------- journals that cannot be used


@pytest.mark.parametrize("writable", [True, False])
def test_a_newer_journal_is_refused(state: Path, writable: bool) -> None:
    """An old retrain must not write into what it does not understand."""
    tell(state, Adopted(A))
    sql(state, "PRAGMA user_version = 99")
    before = traces(state)
    with pytest.raises(RetrainError) as caught:
        read(state, writable=writable)
    assert str(caught.value) == (
        f"{state / 'journal.db'}: written by a newer retrain (schema 99, this one knows 1); upgrade it"
    )
    assert traces(state) == before


DAMAGES: dict[str, Callable[[Path], object]] = {
    "another file": lambda path: path.write_bytes(b"this is no database, but it is long enough for one" * 100),
    "garbage inside": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 32768),
    "cut off": lambda path: os.truncate(path, 5000),
}


@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_journal_stops_every_command(state: Path, damage: Callable[[Path], object], writable: bool) -> None:
    """Cause, what it means and the remedy in one sentence; nothing is moved or written, whoever opens it."""
    tell(state, Adopted(A), judged(B))
    damage(state / "journal.db")
    before = traces(state)
    with pytest.raises(DamagedError) as caught, open_journal(state, writable=writable) as journal:
        journal.past()
        journal.turning_points(5)
    assert str(caught.value) == (
        f"{state / 'journal.db'}: the journal is damaged: {caught.value.found}; the champion stays, and nothing is"
        " trained or promoted (move it away with its -wal and -shm and restore the latest copy, or run retrain doctor"
        " --repair)"
    )
    assert traces(state) == before


@pytest.mark.parametrize("writable", [True, False])
def test_the_log_of_a_damaged_journal_is_left_alone(state: Path, writable: bool) -> None:
    """A repair keeps the write-ahead log, too, whatever commands came before it."""
    tell(state, Adopted(A))
    for suffix in ("", "-wal"):
        (state / f"journal.db{suffix}").write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedError):
        read(state, writable=writable)
    assert (state / "journal.db-wal").read_bytes() == b"no database" * 1000


def test_a_journal_without_content_is_one_that_is_not_there(state: Path) -> None:
    """A crash leaves such a file that comes before its tables are made: the next command makes them."""
    state.mkdir(mode=0o700)
    (state / "journal.db").touch()
    assert read(state, writable=False) == Past()
    assert (state / "journal.db").stat().st_size == 0
    assert tell(state, Adopted(A)).served == A


def test_who_opened_a_journal_that_was_replaced_since_records_nothing_in_it(state: Path) -> None:
    """Nobody would read it there again: the command ends with a sentence, and does not train."""
    tell(state, Adopted(A))
    with open_journal(state) as journal:
        (state / "journal.db").rename(state / "copy.db")
        for _ in range(2):
            with pytest.raises(RetrainError, match="was replaced while this command ran; run it again"):
                journal.append(Adopted(B), T0)
            assert read(state) == Past()
    assert sql(state, "SELECT count(*) FROM events") == [(0,)]


def test_damage_that_is_found_later_ends_the_command(state: Path) -> None:
    """The events of a page that was not read at first: the same sentence, and nothing is moved."""
    tell(state, Adopted(A), *(judged(B, holdout=f"{number}" * 2000) for number in range(20)))
    with (state / "journal.db").open("r+b") as file:
        file.seek(7 * 4096)
        file.write(b"\xff" * 20 * 4096)
    with pytest.raises(DamagedError, match="nothing is trained or promoted"):  # noqa: SIM117
        with open_journal(state) as journal:
            list(journal.ledger())
    assert sorted(path.name for path in state.iterdir()) == ["journal.db", "runs"]


def test_the_whole_file_can_be_verified(state: Path) -> None:
    """`prune` and `doctor` read every page, which a check does not."""
    tell(state, Adopted(A), *(judged(B, holdout=f"{number}" * 2000) for number in range(9)))
    with open_journal(state) as journal:
        journal.verify()
    assert damage(state) is None
    with (state / "journal.db").open("r+b") as file:
        file.seek(-20000, os.SEEK_END)
        file.write(b"\xff" * 9000)
    with pytest.raises(DamagedError), open_journal(state) as journal:
        journal.verify()
    assert damage(state)


# ---------------------------------------------------------------- repair


def aside(state: Path) -> list[str]:
    return sorted(path.name for path in state.glob("journal.db.damaged-*"))


@pytest.mark.parametrize("break_it", DAMAGES.values(), ids=list(DAMAGES))
def test_a_repair_keeps_the_damaged_journal_and_begins_anew(state: Path, break_it: Callable[[Path], object]) -> None:
    """Its bytes are kept under another name; the new one knows the loss, its time, and the version that serves."""
    tell(state, Adopted(A), judged(B))
    break_it(state / "journal.db")
    broken = (state / "journal.db").read_bytes()
    assert damage(state)
    kept = name_aside(state, T0)
    start_new(state, kept, A, T0)
    assert kept.read_bytes() == broken
    with open_journal(state) as journal:
        past, (entry,) = journal.past(), journal.turning_points(5)
    assert (past.served, past.losses, past.lost_at) == (A, 1, T0)
    assert isinstance(entry.event, HistoryLost)
    assert entry.event.kept == kept.name == "journal.db.damaged-20261122T161000.000000Z"
    assert damage(state) is None
    assert sorted(path.name for path in state.iterdir()) == ["journal.db", kept.name, "runs"]


def test_a_second_loss_counts_twice(state: Path) -> None:
    """The journal that knew of the first loss is lost, too; the files that are kept say how often it happened."""
    for number in range(2):
        tell(state, Adopted(A))
        (state / "journal.db").write_bytes(b"no database" * 1000)
        at = T0 + timedelta(days=number)
        start_new(state, name_aside(state, at), A, at)
    assert read(state).losses == 2


@pytest.mark.parametrize("renamed", [1, 2, 3])
def test_an_interrupted_repair_is_finished_by_the_next(state: Path, renamed: int) -> None:
    """Until then every command says so: none goes on with a journal that lacks what was lost."""
    tell(state, Adopted(A))
    for suffix, content in (("", b"damaged" * 1000), ("-wal", b"log"), ("-shm", b"shared")):
        (state / f"journal.db{suffix}").write_bytes(content)
    kept = name_aside(state, T0)
    for suffix in ("", "-wal", "-shm")[:renamed]:
        (state / f"journal.db{suffix}").rename(state / f"{kept.name}{suffix}")
    (state / "journal.db.new").write_bytes(b"half of it")
    for writable in (True, False):
        with pytest.raises(DamagedError, match="it was set aside, and the new one is missing, since the repair was"):
            read(state, writable=writable)
    assert damage(state) is not None
    later = T0 + timedelta(hours=1)
    assert name_aside(state, later) == kept
    start_new(state, kept, A, later)
    assert aside(state) == [kept.name, f"{kept.name}-shm", f"{kept.name}-wal"]
    past = read(state)
    assert (past.served, past.losses, past.lost_at) == (A, 1, later)
    assert not list(state.glob("journal.db.new*"))


def test_a_repair_that_cannot_write_the_new_journal_changes_nothing(state: Path) -> None:
    """The new one is whole before the old one is touched."""
    tell(state, Adopted(A))
    (state / "journal.db").write_bytes(b"no database" * 1000)
    (state / "journal.db.new").mkdir()
    before = traces(state)
    with pytest.raises(RetrainError):
        start_new(state, name_aside(state, T0), A, T0)
    assert traces(state) == before


def test_a_directory_or_another_database_in_its_place_is_left_alone(state: Path) -> None:
    """Neither is a damaged journal, so neither is moved."""
    state.mkdir(mode=0o700)
    sql(state, "CREATE TABLE theirs (one)")
    with pytest.raises(RetrainError, match="is the database of another program"):
        read(state)
    (state / "journal.db").unlink()
    (state / "journal.db").mkdir()
    for writable in (True, False):
        with pytest.raises(RetrainError, match=r"journal\.db: the journal cannot be used: "):
            read(state, writable=writable)
    assert (state / "journal.db").is_dir()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = '{' WHERE id = 2",
        "UPDATE events SET body = '{}' WHERE id = 2",
        "UPDATE events SET at = 'yesterday' WHERE id = 2",
        "UPDATE events SET kind = 'Adopted', body = '{}' WHERE id = 2",
    ],
)
def test_an_event_that_cannot_be_read_is_named(state: Path, damage: str) -> None:
    """By its number: the journal is damaged."""
    tell(state, Adopted(A), Promoted(B, A))
    sql(state, damage)
    with (
        pytest.raises(RetrainError, match=r"damaged: its event 2 \(\w+\) cannot be read; the champion stays"),
        open_journal(state, writable=False) as journal,
    ):
        journal.turning_points(5)


@pytest.mark.parametrize("kind", ["Exploded", "Entry"])
def test_an_event_of_a_kind_of_tomorrow_is_no_damage(state: Path, kind: str) -> None:
    """After a downgrade the journal waits for the newer release: a repair would lose it."""
    tell(state, Adopted(A), Promoted(B, A))
    sql(state, f"UPDATE events SET kind = '{kind}' WHERE id = 2")  # noqa: S608
    with (
        pytest.raises(RetrainError, match=rf"event 2 is of the kind '{kind}', which this release does not know"),
        open_journal(state, writable=False) as journal,
    ):
        journal.turning_points(5)
    with pytest.raises(RetrainError, match="which this release does not know"):
        damage(state)


def test_a_world_writable_state_directory_is_refused(state: Path) -> None:
    """Whoever can write there can have anything promoted; the sentence says how to mend it."""
    tell(state, Adopted(A))
    state.chmod(0o777)
    with pytest.raises(RetrainError, match=rf"is world-writable \(drwxrwxrwx\).*chmod o-w {state}"):
        read(state)
    state.chmod(0o770)
    assert read(state).served == A


# ---------------------------------------------------------------- pruning


@settings(max_examples=25, deadline=None)
@given(histories, histories, st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_pruning_changes_nothing_that_matters(
    first: list[tuple[Event, datetime]], then: list[tuple[Event, datetime]], before: datetime
) -> None:
    """What the history means stays, also when it is folded anew, and so does every look at a holdout."""
    with TemporaryDirectory() as directory:
        state = Path(directory)
        with open_journal(state) as journal:
            for event, at in first:
                journal.append(event, at)
            past, looks = journal.past(), list(journal.ledger())
            journal.prune(before.replace(tzinfo=UTC), first[-1][1] if first else T0)
            assert journal.past() == past
            assert list(journal.ledger()) == looks
            for event, at in then:
                past = journal.append(event, at)
        sql(state, "DELETE FROM past")
        assert read(state) == read(state, writable=False) == past


def test_pruning_removes_old_checks_only(state: Path) -> None:
    """What was trained, compared and promoted stays, and the last check; the file gets smaller; it is recorded."""
    check = Checked(Action.HOLD, Reason.HEALTHY, "healthy" * 500, A, ())
    tell(state, Adopted(A), judged(B), *[check] * 300, Promoted(B, A), check)
    size = (state / "journal.db").stat().st_size
    with open_journal(state) as journal:
        past = journal.past()
        assert past.newest is not None
        assert journal.prune(T0 + timedelta(minutes=302), past.newest) == 300
        assert journal.past() == past
        assert [type(entry.event) for entry in journal.turning_points(9)] == [Pruned, Promoted, Judged, Adopted]
        assert len(list(journal.ledger())) == 1
        assert journal.prune(T0 + timedelta(days=9), past.newest) == 0
        last = journal.last_check()
        assert last is not None and last.event == check
    assert (state / "journal.db").stat().st_size < size / 4


def test_a_state_directory_that_cannot_be_had(tmp_path: Path) -> None:
    """A file in its place, or a name that no file system takes."""
    (tmp_path / "file").touch()
    with pytest.raises(RetrainError, match=r"the directory cannot be made \(`state`\): File exists"):
        read(tmp_path / "file")
    for writable in (True, False):
        with pytest.raises(RetrainError, match="File name too long"):
            read(tmp_path / ("x" * 300), writable=writable)
