"""The journal: what happened, in SQLite. One append-only table of events, and the only state."""

from retrain.effects.journal.entries import Journal
from retrain.effects.journal.file import DamagedError, open_journal

__all__ = ["DamagedError", "Journal", "open_journal"]
