"""What the journal of a project says, every event of it, past the product's own reader."""

import sqlite3
from contextlib import closing
from datetime import datetime
from typing import get_args

from cattrs.preconf.json import make_converter

from retrain.core.events import Entry, Event
from retrain.core.past import Past
from retrain.effects.journal import open_journal
from tests.stories.project import Project

_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_converter = make_converter()


def entries(project: Project) -> list[Entry]:
    """Every event, oldest first."""
    path = project.root / "state/journal.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT id, at, kind, body FROM events ORDER BY id").fetchall()
    return [
        Entry(number, datetime.fromisoformat(at), _converter.loads(body, _KINDS[kind]))
        for number, at, kind, body in rows
    ]


def past_of(project: Project) -> Past:
    """What the history means for the decisions."""
    with open_journal(project.root / "state", writable=False) as journal:
        return journal.past()
