"""The nouns, frozen. Times are aware datetimes in UTC; a version is the SHA-256 of an artifact's bytes in hex."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

Label = str | int | float
"""A class label as JSON knows it; True is 1."""


class Signal(StrEnum):
    """What can put a model in breach."""

    F1 = "f1"
    DRIFT = "drift"


# ---------------------------------------------------------------- what the monitor said


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why there is no number: the cause as a clause, and what a person can do; `kind` names the cause in one word."""

    kind: str
    why: str
    remedy: str = ""

    @property
    def message(self) -> str:
        """The cause, and the remedy in brackets where there is one."""
        return f"{self.why} ({self.remedy})" if self.remedy else self.why


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives of one window, as the monitor gave them."""

    tp: float
    fp: float
    fn: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the monitoring endpoint. A field is None where the configuration does not ask for it."""

    fetched_at: datetime
    f1: float | Unknown | None = None
    drift: float | Unknown | None = None
    f1_observed_at: datetime | Unknown | None = None
    drift_observed_at: datetime | Unknown | None = None
    window: str | Unknown | None = None
    samples: float | Unknown | None = None
    positives: float | Unknown | None = None
    counts: Counts | Unknown | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the monitor says of a signal besides its number, e.g. {"drift": "feature=age"}."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One look at the metrics that was written down, and the version that served then (None: it is not known)."""

    snapshot: Snapshot
    served: str | None = None


class State(StrEnum):
    """What one reading says of its signal."""

    HEALTHY = "healthy"
    BREACH = "breach"
    UNKNOWN = "unknown"
    TOO_FEW = "too_few"


@dataclass(frozen=True, slots=True)
class Weight:
    """What one window adds to the evidence for a drop of F1.

    `score` is the log of how much likelier its counts are after the drop, `trials` the TP + FP + FN it was computed
    from, `rule` names the drop that was looked for.
    """

    score: float
    trials: float
    rule: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """One signal of one snapshot, judged against its threshold.

    `window` identifies the window the value was measured on, `observed_at` is its end (the time of the
    fetch where the monitor does not say; `dated` tells which), `settling` says that the window is still
    (partly) about the champion before this one, `kind` names the cause of an unknown. `sentence` says it all
    to a person. `samples`, `positives`, `counts` and `weight` are those of F1, where the monitor gives them.
    """

    signal: Signal
    state: State
    sentence: str
    value: float | None = None
    threshold: float | None = None
    window: str = ""
    observed_at: datetime | None = None
    dated: bool = False
    settling: bool = False
    kind: str = ""
    samples: float | None = None
    positives: float | None = None
    counts: Counts | None = None
    weight: Weight | None = None

    @property
    def labelled(self) -> tuple[str, float] | None:
        """How many labels of which kind the window has, as far as the monitor says."""
        if self.samples is not None:
            return "samples", self.samples
        if self.positives is not None:
            return "positives", self.positives
        return ("positives", self.counts.tp + self.counts.fn) if self.counts is not None else None


@dataclass(frozen=True, slots=True)
class Breach:
    """A signal on the wrong side of its threshold."""

    metric: Signal
    value: float
    threshold: float


# ---------------------------------------------------------------- may and must we train?


class Action(StrEnum):
    """What a check does."""

    TRAIN = "train"
    HOLD = "hold"
    ROLLBACK = "rollback"


class Reason(StrEnum):
    """Why a check trains, holds or rolls back; a closed list."""

    BREACH = "breach"
    FORCED = "forced"
    MODEL_AGE = "model_age"
    PROBATION = "probation"
    HEALTHY = "healthy"
    CONFIRMING = "confirming"
    GATHERING_EVIDENCE = "gathering_evidence"
    SAME_WINDOW = "same_window"
    TOO_FEW_SAMPLES = "too_few_samples"
    CHALLENGER_WAITING = "challenger_waiting"
    COOLING_DOWN = "cooling_down"
    BACKING_OFF = "backing_off"
    SETTLING = "settling"
    NOT_REARMED = "not_rearmed"
    NEEDS_A_PERSON = "needs_a_person"
    BUSY = "busy"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and the sentence that says so with its numbers."""

    action: Action
    reason: Reason
    message: str
    breaches: tuple[Breach, ...] = ()


class Outcome(StrEnum):
    """How a training ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NO_CHALLENGER = "no_challenger"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Run:
    """One training: how it ended, in seconds, and the challenger's version if there is one."""

    id: str
    outcome: Outcome
    exit_code: int | None
    seconds: float
    challenger: str | None
    log: str
    message: str
