"""What the child is asked to do, and who may be at fault when it cannot."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["champion", "challenger", "holdout"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Two models and a holdout. Paths are absolute, `chunk` is in rows."""

    champion: str | None
    challenger: str
    holdout: str
    target: str
    dtypes: dict[str, str]
    jobs: int
    chunk: int = 50_000


class UnusableError(Exception):
    """One side cannot be used, in a sentence for a person."""

    def __init__(self, side: Side, path: str, problem: str) -> None:
        super().__init__(side, path, problem)  # all of them, or the exception would not survive a worker's pickle
        self.side = side
        self.message = f"the {side} {path} {problem}"


def brief(error: BaseException) -> str:
    """Class and message of an exception, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")[:500]
