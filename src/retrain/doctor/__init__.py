"""`retrain doctor`: what it tests, a file a subject; a finding, in parts, for a person who has to repair it."""

from enum import StrEnum
from functools import partial

from msgspec import Struct


class Severity(StrEnum):
    """Whether something works, works but deserves attention, or keeps retrain from its work or lets somebody in."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """One thing that was tested: what was `seen` as a clause, what a person can do, and the `numbers` behind it."""

    severity: Severity
    what: str
    seen: str
    remedy: str = ""
    numbers: str = ""

    @property
    def failed(self) -> bool:
        """Whether this keeps retrain from its work, or lets somebody in."""
        return self.severity is Severity.FAIL

    @property
    def message(self) -> str:
        """The parts in one sentence."""
        numbers = f": {self.numbers}" if self.numbers else ""
        return f"{self.seen}{numbers}" + (f" ({self.remedy})" if self.remedy else "")


ok, warn, fail = (partial(Finding, severity) for severity in Severity)
