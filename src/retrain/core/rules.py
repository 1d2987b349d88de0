"""The configured rules of both decisions, as the pure core needs them; bounds are checked where a file is read."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from retrain.core.records import Label, Signal

Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Level = Annotated[float, Meta(gt=0, lt=0.5, description="a number above 0 and below 0.5")]
"""An error bound."""
Times = Annotated[float, Meta(ge=1, le=1e6, description="a number from 1 to 1,000,000")]
Amount = Annotated[float, Meta(ge=0, le=1e300, description="a number, 0 or more")]
Rate = Annotated[float, Meta(ge=0.001, le=1e6, description="a number from 0.001 to 1,000,000")]
"""So many a year."""
Natural = Annotated[int, Meta(ge=0, le=10**9, description="a whole number from 0 to 1,000,000,000")]
Positive = Annotated[int, Meta(ge=1, le=10**9, description="a whole number from 1 to 1,000,000,000")]
Difference = Annotated[float, Meta(ge=-1, le=1, description="a number from -1 to 1")]
"""A difference of two scores."""


class Side(StrEnum):
    """On which side of its threshold drift is in breach."""

    ABOVE = "above"
    BELOW = "below"


class MinAge(Struct, frozen=True):
    """How old a window must be to be judged; per signal, since labels come later than features."""

    f1: timedelta = timedelta()
    drift: timedelta = timedelta()

    def of(self, signal: Signal) -> timedelta:
        """That of this signal."""
        return self.f1 if signal is Signal.F1 else self.drift


class MaxAge(MinAge, frozen=True):
    """How old a reading may be; per signal, since labels come later than features."""

    f1: timedelta = timedelta(hours=24)
    drift: timedelta = timedelta(hours=24)


class Auto(StrEnum):
    """A number that is estimated from the windows themselves."""

    AUTO = "auto"


Factor = Annotated[float, Meta(ge=1, le=1000)]
Part = Annotated[float, Meta(gt=0, lt=1)]
Dispersion = Annotated[Factor | Auto, Meta(description="auto, or a number from 1 to 1,000")]
Prevalence = Annotated[Part | Auto | None, Meta(description="null, auto, or a number above 0 and below 1")]


class EvidenceRule(Struct, frozen=True):
    """Train when the windows together show that F1 has dropped by `min_drop`, and seldom by chance.

    `dispersion` is how many times the variance of chance windows have, `prevalence` the share of positives at which F1
    is judged (None: as it is).
    """

    min_drop: Share
    false_retrains_per_year: Rate
    dispersion: Dispersion = Auto.AUTO
    prevalence: Prevalence = None


class Triggers(Struct, frozen=True):
    """When `check` may train."""

    performance_threshold: Share | None = None
    drift_threshold: Amount | None = None
    drift_breach: Side = Side.ABOVE
    consecutive: Positive = 1
    min_samples: Natural = 0
    max_drop: Share | None = None
    min_age: MinAge = field(default_factory=MinAge)
    max_age: MaxAge = field(default_factory=MaxAge)
    cooldown: timedelta = timedelta(hours=6)
    failure_backoff: timedelta = timedelta(hours=1)
    settle: timedelta = timedelta(hours=24)
    challenger_ttl: timedelta = timedelta(days=7)
    max_unpromoted: Positive = 3
    max_model_age: timedelta | None = None
    evidence: EvidenceRule | None = None

    def threshold(self, signal: Signal) -> float | None:
        """The threshold of a signal, if it has one."""
        return self.performance_threshold if signal is Signal.F1 else self.drift_threshold

    def watches(self, signal: Signal) -> bool:
        """Whether anything that this signal says can train."""
        return self.threshold(signal) is not None or (signal is Signal.F1 and self.max_drop is not None)

    @property
    def watched(self) -> tuple[Signal, ...]:
        """The signals that can train, F1 first."""
        return tuple(filter(self.watches, Signal))


class Metric(StrEnum):
    """A score of a confusion matrix; every one is better when it is higher."""

    F1 = "f1"
    PRECISION = "precision"
    RECALL = "recall"
    ACCURACY = "accuracy"
    BALANCED_ACCURACY = "balanced_accuracy"
    MCC = "mcc"


class Average(StrEnum):
    """How f1, precision and recall of several classes become one number."""

    BINARY = "binary"
    MACRO = "macro"
    WEIGHTED = "weighted"
    MICRO = "micro"


class Guarantee(StrEnum):
    """What is bounded: by `alpha`, all comparisons on a holdout together or each alone; or by `harm_weight`, regret."""

    LIFETIME = "lifetime"
    PER_TEST = "per_test"
    REGRET = "regret"


class FloorAs(StrEnum):
    """What must reach the floor where there is no champion: the lower bound of the score, or the score itself."""

    BOUND = "bound"
    POINT = "point"


class Disclose(StrEnum):
    """What is shown of a comparison that promotes no challenger: its scores, or the verdict without them."""

    SCORES = "scores"
    VERDICT = "verdict"


class Sandbox(StrEnum):
    """What keeps the process of a model from everything but its features."""

    BWRAP = "bwrap"


class Criteria(Struct, frozen=True):
    """What a challenger must show."""

    metric: Metric = Metric.F1
    average: Average = Average.BINARY
    positive: Label = 1
    min_improvement: Difference = 0.0
    floor: Share | None = None
    floor_as: FloorAs = FloorAs.BOUND
    alpha: Level = 0.05
    harm_weight: Times = 8.0
    holdout_uses: Positive = 10
    disclose: Disclose = Disclose.SCORES


class Gate(Criteria, frozen=True):
    """The criteria, and what follows from other settings.

    `unopposed_floor` is for a challenger without a champion, `rows_by` the section that says how many rows of the log
    judge a challenger: empty where a file does.
    """

    guarantee: Guarantee = Guarantee.LIFETIME
    unopposed_floor: Share | None = None
    rows_by: str = ""

    @property
    def question(self) -> str:
        """What is asked of a pair and a holdout; the same question of the same three has one answer."""
        scope = f"{self.average}:{self.positive!r}" if self.average is Average.BINARY else self.average
        floors = f"floor {self.floor}, {self.unopposed_floor} unopposed as {self.floor_as}"
        level = f"{self.alpha} {self.guarantee}"
        level += f" {self.harm_weight:g}" if self.guarantee is Guarantee.REGRET else ""
        return f"{self.metric} {scope} > {self.min_improvement:+}, {floors}, at {level}, guarded"
