"""What a look at one thing found, for a person who has to mend it."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How it stands with one thing: as it should, in a way that may become a nuisance, or broken."""

    OK = "ok"
    MIND = "mind"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. The sentence says what was seen and, unless it is ok, how to mend it."""

    what: str
    health: Health
    sentence: str

    @property
    def ok(self) -> bool:
        """Whether nothing is broken here."""
        return self.health is not Health.BROKEN


def ok(what: str, sentence: str) -> Finding:
    """It is as it should be."""
    return Finding(what, Health.OK, sentence)


def mind(what: str, sentence: str) -> Finding:
    """It works, and a person should know of it."""
    return Finding(what, Health.MIND, sentence)


def broken(what: str, sentence: str) -> Finding:
    """It keeps retrain from doing its work, or lets somebody in."""
    return Finding(what, Health.BROKEN, sentence)
