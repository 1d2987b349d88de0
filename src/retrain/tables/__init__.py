"""One reading of CSV and Parquet, one meaning of a value, one hash of a row: for all that read rows."""

from retrain.errors import RetrainError

CHUNK = 100_000
"""Rows of a table that are in memory at a time, unless asked otherwise."""


class FileError(RetrainError):
    """A file cannot be used; the text is the predicate of a sentence about it: "has no rows"."""
