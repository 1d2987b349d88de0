"""The nouns, frozen. Times are aware datetimes in UTC; a version is the SHA-256 of an artifact's bytes in hex."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from msgspec import Struct, field

from retrain.core.text import apart

Label = str | int | float
"""A class label as JSON knows it; True is 1."""


class Signal(StrEnum):
    """What can put a model in breach."""

    F1 = "f1"
    DRIFT = "drift"


NAMES = {Signal.F1: "F1", Signal.DRIFT: "drift"}


# ---------------------------------------------------------------- what the monitor said


class Trouble(StrEnum):
    """Why there is no number, in a word."""

    UNREACHABLE = "unreachable"
    """No name, no connection, no TLS, no file, or no HTTP."""
    DEADLINE = "deadline"
    """No complete answer within monitoring.timeout."""
    STATUS = "status"
    """An HTTP status other than 2xx, or a redirect that is not followed."""
    TOO_LARGE = "too_large"
    """A body above monitoring.max_body."""
    UNPARSEABLE = "unparseable"
    """A body that is not what monitoring.type says."""
    MISSING = "missing"
    """No query, no series, null or nothing under the query."""
    AMBIGUOUS = "ambiguous"
    """Several series or values where one is needed."""
    NOT_FINITE = "not_finite"
    """NaN or an infinity."""
    NOT_A_NUMBER = "not_a_number"
    """A text, a truth value, an object, or a number that is no time."""
    OUT_OF_RANGE = "out_of_range"
    """A number that the signal cannot have."""
    STALE = "stale"
    """A window that ended too long ago."""
    FUTURE = "future"
    """A window that has not ended."""
    NO_POSITIVES = "no_positives"
    """A window without a positive has no F1."""
    CONTRADICTION = "contradiction"
    """Numbers that cannot all be true."""


OF_THE_ANSWER = frozenset(
    {Trouble.UNREACHABLE, Trouble.DEADLINE, Trouble.STATUS, Trouble.TOO_LARGE, Trouble.UNPARSEABLE}
)
"""Troubles of an answer as a whole; the others are those of one query."""


class Unknown(Struct, frozen=True):
    """Why there is no number: the cause as a clause, and what a person can do; `kind` is a Trouble."""

    kind: str
    why: str
    remedy: str = ""

    @property
    def message(self) -> str:
        """Cause and remedy."""
        return f"{self.why} ({self.remedy})" if self.remedy else self.why


class Counts(Struct, frozen=True):
    """True positives, false positives and false negatives of one window, as the monitor gave them."""

    tp: float
    fp: float
    fn: float


class Snapshot(Struct, frozen=True):
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


class Recorded(Struct, frozen=True):
    """One look at the metrics that was written down, and the version that served then (None: it is not known)."""

    snapshot: Snapshot
    served: str | None = None


class State(StrEnum):
    """What one reading says of its signal."""

    HEALTHY = "healthy"
    BREACH = "breach"
    UNKNOWN = "unknown"
    TOO_FEW = "too_few"


class Weight(Struct, frozen=True):
    """What one window adds to the evidence for a drop of F1.

    `score` is the log of how much likelier its counts are after the drop, `trials` the TP + FP + FN it was computed
    from, `rule` names the drop that was looked for.
    """

    score: float
    trials: float
    rule: str


class Assessment(Struct, frozen=True):
    """One signal of one snapshot, judged against its threshold.

    `above` says on which side of the threshold a breach lies, `series` describes the series, such as `feature=age`.
    `window` identifies the window the value was measured on, `observed_at` is its end (the time of the
    fetch where the monitor does not say; `dated` says which), `settling` says that the window is still
    (partly) about the previous champion, `needed` is `min_samples` where there were fewer. `samples`, `positives`,
    `counts` and `weight` are those of F1, where the monitor gives them.
    """

    signal: Signal
    state: State
    value: float | None = None
    threshold: float | None = None
    above: bool = False
    series: str = ""
    unknown: Unknown | None = None
    needed: int | None = None
    window: str = ""
    observed_at: datetime | None = None
    dated: bool = False
    settling: bool = False
    samples: float | None = None
    positives: float | None = None
    counts: Counts | None = None
    weight: Weight | None = None

    @property
    def sentence(self) -> str:
        """What was read, and how it compares: `F1 0.709 is below 0.850`."""
        name = NAMES[self.signal]
        if self.state is State.UNKNOWN or self.value is None or self.threshold is None:
            return f"{name} is unknown: {self.unknown.message}" if self.unknown is not None else f"{name} is unknown"
        shown, limit = apart(self.value, self.threshold)
        subject = f"{name} {shown}" + (f" ({self.series})" if self.series else "")
        if self.state is State.TOO_FEW:
            return f"{subject} is not judged: {self.samples:g} labelled samples, min_samples is {self.needed}"
        side = "above" if self.above else "below"
        return f"{subject} is {'' if self.state is State.BREACH else 'not '}{side} {limit}"

    @property
    def labelled(self) -> tuple[str, float] | None:
        """How many labels of which kind the window has, as far as the monitor says."""
        if self.samples is not None:
            return "samples", self.samples
        if self.positives is not None:
            return "positives", self.positives
        return ("positives", self.counts.tp + self.counts.fn) if self.counts is not None else None


class Breach(Struct, frozen=True):
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


_HEADS = {
    Reason.HEALTHY: "healthy",
    Reason.UNKNOWN: "no decision",
    Reason.NEEDS_A_PERSON: "needs a person",
    Reason.NOT_REARMED: "needs a person",
}


class Decision(Struct, frozen=True):
    """What to do and why, in parts.

    `causes` are clauses, one for each thing that was found; `hold` is what keeps a check from acting on them; `remedy`
    is what a person can do about that.
    """

    action: Action
    reason: Reason
    causes: tuple[str, ...]
    hold: str = ""
    remedy: str = ""
    breaches: tuple[Breach, ...] = ()

    @property
    def why(self) -> str:
        """The causes in one clause."""
        return "; ".join(self.causes)

    @property
    def sentence(self) -> str:
        """Causes, what holds, and the remedy."""
        hold = f", but {self.hold}" if self.hold else ""
        return f"{self.why}{hold}" + (f" ({self.remedy})" if self.remedy else "")

    @property
    def message(self) -> str:
        """What the check does, and why."""
        actions = {Action.TRAIN: "training", Action.ROLLBACK: "rolling back"}
        return f"{actions.get(self.action) or _HEADS.get(self.reason, 'waiting')}: {self.sentence}"


class Outcome(StrEnum):
    """How a training ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NO_CHALLENGER = "no_challenger"
    INTERRUPTED = "interrupted"


class Run(Struct, frozen=True):
    """One training: how it ended, in seconds, and the challenger's version if there is one."""

    id: str
    outcome: Outcome
    exit_code: int | None
    seconds: float
    challenger: str | None
    log: str
    message: str
