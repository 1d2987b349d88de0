"""What the child is asked to do, and who may be at fault when it cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Side = Literal["champion", "challenger", "holdout", "training data", "known rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The holdout, and how it is read. Paths are absolute, `chunk` is in rows."""

    holdout: str
    target: str
    dtypes: Mapping[str, str]
    chunk: int = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Plan):
    """Two models; the columns whose values slice the holdout; the files of rows that each side was trained on.

    `trusted` are the types that skops files may have besides skops' own; where it is None, the models are joblib files.
    """

    champion: str | None
    challenger: str
    trusted: Sequence[str] | None
    jobs: int
    slices: Sequence[str] = ()
    known_challenger: str | None = None
    known_champion: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRows(Plan):
    """Training data whose rows are to be remembered in a file."""

    data: str
    into: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls(Plan):
    """One model, against which challengers are made up whose worth is known; the columns that slice the holdout."""

    champion: str | None
    trusted: Sequence[str] | None
    slices: Sequence[str] = ()


class UnusableError(Exception):
    """One side cannot be used, in a sentence for a person."""

    def __init__(self, side: Side, path: str, problem: str) -> None:
        super().__init__(side, path, problem)  # all of them, or the exception would not survive a worker's pickle
        self.side = side
        self.message = f"the {side} {path} {problem}"


def brief(error: BaseException) -> str:
    """Class and message of an exception, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:500]
