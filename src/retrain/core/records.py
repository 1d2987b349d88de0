"""The nouns, frozen. Times are aware datetimes in UTC; a version is the SHA-256 of an artifact's bytes in hex."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct, field

from retrain.core.text import apart, duration

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

    UNREACHABLE = "unreachable"  # no name, no connection, no TLS, no file, or no HTTP
    DEADLINE = "deadline"  # no complete answer within monitoring.timeout
    STATUS = "status"  # an HTTP status other than 2xx, a redirect that is not followed, a command that failed
    TOO_LARGE = "too_large"  # a body above monitoring.max_body
    UNPARSEABLE = "unparseable"  # a body that is not what monitoring.type says
    INCOMPLETE = "incomplete"  # an answer that says itself that it is not whole
    OF_ANOTHER = "of_another"  # the answer of another project's `retrain monitor`
    MISSING = "missing"  # no query, no series, null or nothing under the query
    AMBIGUOUS = "ambiguous"  # several series or values where one is needed
    NOT_FINITE = "not_finite"  # NaN or an infinity
    NOT_A_NUMBER = "not_a_number"  # a text, a truth value, an object, or a number that is no time
    OUT_OF_RANGE = "out_of_range"  # a number that the signal cannot have
    STALE = "stale"  # a window that ended too long ago
    FUTURE = "future"  # a window that has not ended
    NO_POSITIVES = "no_positives"  # a window without a positive has no F1
    CONTRADICTION = "contradiction"  # numbers that cannot all be true


OF_THE_ANSWER = frozenset(
    {Trouble.UNREACHABLE, Trouble.DEADLINE, Trouble.STATUS, Trouble.TOO_LARGE, Trouble.UNPARSEABLE}
    | {Trouble.INCOMPLETE, Trouble.OF_ANOTHER}
)
"""Troubles of an answer as a whole; the others are those of one query."""


class Cause(Struct, frozen=True):
    """Why something is so, or cannot be: in a clause, and what a person can do; `kind` says it in a word."""

    kind: str
    why: str
    remedy: str = ""

    @property
    def message(self) -> str:
        """Cause and remedy."""
        return f"{self.why} ({self.remedy})" if self.remedy else self.why


class Unknown(Cause, frozen=True):
    """Why there is no number; `kind` is a Trouble."""


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
    window_length: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the monitor says of a signal besides its number, e.g. {"drift": "feature=age"}."""
    written_at: Mapping[str, datetime] = field(default_factory=dict)
    """When the number of a signal was written, where no query says when its window ended: its age, no window."""
    warnings: tuple[str, ...] = ()
    """What the monitor warns of, though it gives numbers."""


class State(StrEnum):
    """What one reading says of its signal."""

    HEALTHY = "healthy"
    BREACH = "breach"
    UNKNOWN = "unknown"
    TOO_FEW = "too_few"
    TOO_EARLY = "too_early"


JUDGED = (State.HEALTHY, State.BREACH)
"""What a window can be that counts."""


class Weight(Struct, frozen=True):
    """What one window adds to the evidence for a drop of F1.

    `score` is the log of how much likelier its counts are after the drop, over the dispersion; `trials` the TP + FP +
    FN it was computed from, `rule` names the drop that was looked for.
    """

    score: float
    trials: float
    rule: str


class Drop(Struct, frozen=True):
    """How F1 compares with `first`, what the champion showed in its first window.

    `most` is how far it may fall below that, `shown` says that it fell further, and not by chance.
    """

    first: float
    most: float
    shown: bool


class Mix(Struct, frozen=True):
    """F1 and counts of a window as they would be at the usual `share` of positives; `used`: these are judged."""

    share: float
    f1: float
    counts: Counts
    used: bool

    @property
    def clause(self) -> str:
        """`0.860 at the usual 20 % positives`."""
        return f"{self.f1:.3f} at the usual {100 * self.share:.2g} % positives"


class Assessment(Struct, frozen=True):
    """One signal of one snapshot, judged against its threshold.

    `above` says on which side of the threshold a breach lies, `series` describes the series, such as `feature=age`.
    `window` identifies the window the value was measured on, `observed_at` is its end (the time of the
    fetch where the monitor does not say; `dated` says which), `began_at` its beginning where the length of windows is
    configured, `repeats` says that it counts no more, `settling` that it is still (partly) about the previous champion,
    `needed` is `min_samples` where there were fewer, `early` its age and `min_age` where it was younger. `samples`,
    `positives`, `counts`, `weight`, `drop` and `mix` are those of F1, where they are known; `mix` only where it says
    something else.
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
    repeats: bool = False
    settling: bool = False
    samples: float | None = None
    positives: float | None = None
    counts: Counts | None = None
    weight: Weight | None = None
    drop: Drop | None = None
    began_at: datetime | None = None
    early: tuple[timedelta, timedelta] | None = None
    mix: Mix | None = None

    @property
    def judged(self) -> float | None:
        """The value that is compared: F1 at the usual share of positives where `evidence.prevalence` asks for it."""
        return self.mix.f1 if self.mix is not None and self.mix.used else self.value

    @property
    def crossed(self) -> bool:
        """Whether the value is on the wrong side of its threshold."""
        value, threshold = self.judged, self.threshold
        if value is None or threshold is None:
            return False
        return value > threshold if self.above else value < threshold

    @property
    def dropped(self) -> bool:
        """Whether F1 is so far below the champion's first window that it is in breach."""
        return self.drop is not None and self.drop.shown

    @property
    def limit(self) -> float | None:
        """What the value is compared with: the threshold, or what it may fall to from the first window."""
        by_drop = self.drop is not None and not self.crossed and (self.threshold is None or self.drop.shown)
        return self.drop.first - self.drop.most if by_drop and self.drop is not None else self.threshold

    @property
    def sentence(self) -> str:
        """What was read, and how it compares: `F1 0.709 is below 0.850`."""
        name = NAMES[self.signal]
        value = self.judged
        if self.state is State.UNKNOWN or value is None:
            return f"{name} is unknown: {self.unknown.message}" if self.unknown is not None else f"{name} is unknown"
        by_drop = self.drop if self.limit != self.threshold else None
        other = by_drop.first if by_drop is not None else self.limit
        shown, limit = apart(value, value if other is None else other)
        subject = f"{name} {shown}" + (f" ({self.series})" if self.series else "")
        would = ""
        if self.mix is not None and self.mix.used:
            subject += f" at the usual {100 * self.mix.share:.2g} % positives (measured {self.value:.3f})"
        elif self.mix is not None:
            would = f" (it would be {self.mix.clause})"
        if self.early is not None:
            age, least = map(duration, self.early)
            return f"{subject} is not judged: its window ended {age} ago, min_age is {least}"
        if self.state is State.TOO_FEW:
            return f"{subject} is not judged: {self.samples:g} labelled samples, min_samples is {self.needed}"
        if self.limit is None:
            return f"{subject} is not judged: the champion has no first window yet"
        if by_drop is not None:
            return f"{subject} is {_below(value, by_drop)}{would}"
        side = "above" if self.above else "below"
        return f"{subject} is {'' if self.state is State.BREACH else 'not '}{side} {limit}{would}"

    @property
    def numbers(self) -> str:
        """The value beside what it is compared with: `0.709, threshold 0.850`."""
        if self.value is None:
            return "unknown"
        shown, threshold = apart(self.value, self.value if self.threshold is None else self.threshold)
        parts = [shown] if self.threshold is None else [shown, f"threshold {threshold}"]
        if self.drop is not None:
            parts.append(f"first window {self.drop.first:.3f} (max_drop {self.drop.most:.3f})")
        if self.mix is not None:
            parts.append(self.mix.clause)
        return ", ".join(parts)

    @property
    def labelled(self) -> tuple[str, float] | None:
        """How many labels of which kind the window has, as far as the monitor says."""
        if self.samples is not None:
            return "samples", self.samples
        if self.positives is not None:
            return "positives", self.positives
        return ("positives", self.counts.tp + self.counts.fn) if self.counts is not None else None


def _below(f1: float, drop: Drop) -> str:
    """How far F1 is below the first window: `0.071 below 0.852, its first window (max_drop 0.050)`."""
    _, first = apart(f1, drop.first)
    if f1 >= drop.first:
        return f"not below {first}, its first window"
    far = f1 < drop.first - drop.most
    by, most = apart(drop.first - f1, drop.most) if far else (f"{drop.first - f1:.3f}", f"{drop.most:.3f}")
    fell = f"{by} below {first}, its first window (max_drop {most})"
    return f"{fell}, which chance may explain" if far and not drop.shown else fell


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
    TOO_EARLY = "too_early"
    PAUSED = "paused"
    CHALLENGER_WAITING = "challenger_waiting"
    COOLING_DOWN = "cooling_down"
    BACKING_OFF = "backing_off"
    SETTLING = "settling"
    NOT_REARMED = "not_rearmed"
    NEEDS_A_PERSON = "needs_a_person"
    BUSY = "busy"
    UNKNOWN = "unknown"


_HEADS = {Reason.HEALTHY: "healthy", Reason.UNKNOWN: "no decision", Reason.NOT_REARMED: "needs a person"}


class Decision(Struct, frozen=True):
    """What to do and why, in parts.

    `causes` are clauses, one for each thing that was found, or readings that say it themselves; `hold` is what keeps a
    check from acting on them; `remedy` is what a person can do about that, `breaches` are the readings in breach.
    """

    action: Action
    reason: Reason
    causes: tuple[str | Assessment, ...]
    hold: str = ""
    remedy: str = ""
    breaches: tuple[Assessment, ...] = ()

    @property
    def why(self) -> str:
        """The causes in one clause."""
        return "; ".join(each.sentence if isinstance(each, Assessment) else each for each in self.causes)

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
    NOTHING_NEW = "nothing_new"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NO_CHALLENGER = "no_challenger"
    INTERRUPTED = "interrupted"
