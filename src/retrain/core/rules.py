"""The configured rules of both decisions, as the pure core needs them. Shares lie in 0–1."""

from datetime import timedelta
from enum import StrEnum
from typing import NewType

from msgspec import Struct, field

from retrain.core.records import Label, Signal

Share = NewType("Share", float)
"""A number in 0–1."""
Level = NewType("Level", float)
"""An error bound: above 0, below 0.5."""
Part = NewType("Part", float)
"""A number above 0 and below 1."""
Factor = NewType("Factor", float)
"""A number, 1 or more."""
Times = NewType("Times", float)
"""So many times: from 1 to a million."""
Amount = NewType("Amount", float)
"""A finite number, not negative."""
Rate = NewType("Rate", float)
"""So many a year: from a thousandth to a million."""
Natural = NewType("Natural", int)
"""A whole number, 0 or more."""
Positive = NewType("Positive", int)
"""A whole number, 1 or more."""
Difference = NewType("Difference", float)
"""A difference of two scores: above -1, below 1."""


class Side(StrEnum):
    """On which side of its threshold drift is in breach."""

    ABOVE = "above"
    BELOW = "below"


class MaxAge(Struct, frozen=True):
    """How old a reading may be; per signal, since labels come later than features."""

    f1: timedelta = timedelta(hours=24)
    drift: timedelta = timedelta(hours=24)


class MinAge(Struct, frozen=True):
    """How old a window must be to be judged; per signal, since labels come later than features."""

    f1: timedelta = timedelta()
    drift: timedelta = timedelta()


class Auto(StrEnum):
    """A number that is estimated from the windows themselves."""

    AUTO = "auto"


Dispersion = Factor | Auto
Prevalence = Part | Auto | None


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
    consecutive: Positive = Positive(1)
    min_samples: Natural = Natural(0)
    max_drop: Share | None = None
    min_age: MinAge = field(default_factory=MinAge)
    max_age: MaxAge = field(default_factory=MaxAge)
    cooldown: timedelta = timedelta(hours=6)
    failure_backoff: timedelta = timedelta(hours=1)
    settle: timedelta = timedelta(hours=24)
    challenger_ttl: timedelta = timedelta(days=7)
    max_unpromoted: Positive = Positive(3)
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

    def max_age_of(self, signal: Signal) -> timedelta:
        """How old a reading of this signal may be."""
        return self.max_age.f1 if signal is Signal.F1 else self.max_age.drift

    def min_age_of(self, signal: Signal) -> timedelta:
        """How old a window of this signal must be."""
        return self.min_age.f1 if signal is Signal.F1 else self.min_age.drift


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


class Gate(Struct, frozen=True):
    """What a challenger must show. `unopposed_floor` is the floor where there is no champion to beat."""

    metric: Metric = Metric.F1
    average: Average = Average.BINARY
    positive: Label = 1
    min_improvement: Difference = Difference(0.0)
    floor: Share | None = None
    unopposed_floor: Share | None = None
    alpha: Level = Level(0.05)
    guarantee: Guarantee = Guarantee.LIFETIME
    harm_weight: Times = Times(8.0)
    holdout_uses: Positive = Positive(10)
    floor_as: FloorAs = FloorAs.BOUND
    disclose: Disclose = Disclose.SCORES

    @property
    def question(self) -> str:
        """What is asked of a pair and a holdout; the same question of the same three has one answer."""
        scope = f"{self.average}:{self.positive!r}" if self.average is Average.BINARY else self.average
        floors = f"floor {self.floor}, {self.unopposed_floor} unopposed as {self.floor_as}"
        level = f"{self.alpha} {self.guarantee}"
        level += f" {self.harm_weight:g}" if self.guarantee is Guarantee.REGRET else ""
        return f"{self.metric} {scope} > {self.min_improvement:+}, {floors}, at {level}, guarded"
