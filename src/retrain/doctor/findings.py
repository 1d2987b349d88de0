"""What a test found, in parts, for a person who has to repair it."""

from enum import StrEnum
from functools import partial

from msgspec import Struct


class Severity(StrEnum):
    """Whether something works, works but deserves attention, or keeps retrain from its work or lets somebody in."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """One thing that was tested: what was `seen` as a clause, the `numbers` behind it, and what a person can do."""

    severity: Severity
    what: str
    seen: str
    numbers: str = ""
    remedy: str = ""

    @property
    def message(self) -> str:
        """The parts in one sentence."""
        numbers = f": {self.numbers}" if self.numbers else ""
        return f"{self.seen}{numbers}" + (f" ({self.remedy})" if self.remedy else "")


ok, warn, fail = (partial(Finding, severity) for severity in Severity)
