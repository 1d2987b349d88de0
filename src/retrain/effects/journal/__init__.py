"""The history: SQLite, one append-only table, and the only state."""

from retrain.effects.journal.entries import Journal
from retrain.effects.journal.file import open_journal

__all__ = ["Journal", "open_journal"]
