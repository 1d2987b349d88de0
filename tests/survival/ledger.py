"""What the journal of a project says, every event of it, past the product's own reader, and whether it is in order."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import get_args

import msgspec

from retrain.core.events import (
    Adopted,
    Entry,
    Event,
    Judged,
    Promoted,
    RolledBack,
    Swap,
    SwapStarted,
    TrainingFinished,
    TrainingStarted,
)
from retrain.core.past import Past
from retrain.effects.journal import open_journal
from tests.stories.project import Project

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def entries(project: Project) -> list[Entry]:
    """Every event, oldest first."""
    path = project.root / "state/journal.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT id, at, kind, body FROM events ORDER BY id").fetchall()
    return [
        Entry(number, datetime.fromisoformat(at), msgspec.json.decode(body, type=_KINDS[kind]))
        for number, at, kind, body in rows
    ]


def past_of(project: Project) -> Past:
    """What the history means for the decisions."""
    with open_journal(project.root / "state", writable=False) as journal:
        return journal.past()


def served_by(history: Sequence[Entry]) -> str | None:
    """The version that the swaps of the journal leave in service."""
    served = None
    for entry in history:
        if isinstance(entry.event, Promoted | RolledBack | Adopted):
            served = entry.event.version
    return served


def in_one_order(history: Sequence[Entry]) -> None:
    """AssertionError unless everything that was begun ends before anything else begins, on what served then.

    Only a rollback waits for no training and no comparison.
    """
    assert [entry.id for entry in history] == list(range(1, len(history) + 1)), "ids are missing or doubled"
    run, swap, served = None, None, None
    for entry in history:
        event = entry.event
        match event:
            case TrainingStarted():
                assert run is None and _is_rollback(swap), entry
                run = event.run
            case TrainingFinished():
                assert event.run == run, entry
                run = None
            case SwapStarted():
                assert (swap, event.previous) == (None, served), (entry, served)
                assert run is None or _is_rollback(event), entry
                swap = event
            case Promoted() | RolledBack():
                kind = Swap.PROMOTION if isinstance(event, Promoted) else Swap.ROLLBACK
                assert swap is not None, entry
                assert (swap.swap, swap.version, swap.previous) == (kind, event.version, event.previous), entry
                swap, served = None, event.version
            case Judged():
                assert run is None and _is_rollback(swap), entry
            case Adopted():
                assert (swap, served) == (None, None), entry
                served = event.version
            case _:
                pass
    assert (run, swap) == (None, None), "something was begun and not ended"


def _is_rollback(swap: SwapStarted | None) -> bool:
    """Whether this is a rollback, or no swap at all."""
    return swap is None or swap.swap is Swap.ROLLBACK


def trainings_apart(project: Project, history: Sequence[Entry]) -> None:
    """AssertionError unless the trainings' own times say that no two ran at once, and the journal has each once."""
    lines = [line.split() for line in (project.root / "trainings").read_text().splitlines()]
    begun, ended = lines[::2], lines[1::2]
    assert all(line[0] == "begin" for line in begun), lines
    assert all(line[0] == "end" for line in ended), lines
    assert [line[1] for line in begun] == [line[1] for line in ended], lines
    moments = [int(line[2]) for line in lines]
    assert moments == sorted(moments)
    started = [entry.event.run for entry in history if isinstance(entry.event, TrainingStarted)]
    assert started == [line[1] for line in begun]
