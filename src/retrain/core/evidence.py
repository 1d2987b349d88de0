"""The evidence rule: a score on counts (CUSUM) that trains when the windows together show a drop of F1.

With U = TP + FP + FN and J = F1 / (2 − F1), TP given U is exactly Binomial(U, J). Every window adds the log of how
much likelier its counts are at the lower F1 than at the threshold; the sum never falls below 0 (Page 1954). The bar
is solved from the tolerated number of false trainings a year (Siegmund 1985; its overshoot: Siegmund & Yakir 2007).
"""

from datetime import datetime
from math import erf, exp, log, log1p, pi, sqrt

from msgspec.structs import replace

from retrain.core.counts import WINDOWS, dispersion, hits_of, jaccard
from retrain.core.past import Evidence
from retrain.core.records import Counts, Weight
from retrain.core.rules import Auto, Triggers

ESTIMATED = 8
"""From so many windows on, their size and frequency are known well enough to be used."""
FASTEST = 525_600.0
"""Windows a year while their frequency is not known: one a minute, as often as cron can look."""
DAILY = 365.25
"""As many at least before eight are known: a pause between the first two says nothing about the others."""
HIGHEST = 1.47
"""The information in a window at which the bar is highest: 1/I0 = 0.583·sqrt(2/I0), whatever A is."""
LOWEST_BAR = 0.5
YEAR = 365.25 * 86400


def weigh(
    f1: float, counts: Counts | None, positives: float | None, triggers: Triggers, dispersed: float = 1.0
) -> Weight | None:
    """What a window with this F1 adds to the evidence; None without an evidence rule or something to count."""
    counted = hits_of(f1, counts, positives)
    if triggers.evidence is None or triggers.performance_threshold is None or counted is None:
        return None
    hits, trials = counted
    healthy, dropped = _shares(triggers)
    score = hits * log(dropped / healthy) + (trials - hits) * (log1p(-dropped) - log1p(-healthy))
    return Weight(score / dispersed, trials, rule_name(triggers))


def dispersion_of(evidence: Evidence, triggers: Triggers) -> float:
    """How many times the variance of chance the windows have: as configured, else as they show it."""
    configured = triggers.evidence.dispersion if triggers.evidence is not None else Auto.AUTO
    return dispersion(evidence.spread) if configured == Auto.AUTO else float(configured)


def gather(evidence: Evidence, weight: Weight, at: datetime, *, counts: bool) -> Evidence:
    """The evidence after one more window, observed `at`; `counts` is False where it is about another champion.

    Under another rule than before the score starts anew.
    """
    score = evidence.score if evidence.rule == weight.rule else 0.0
    score = max(0.0, score + weight.score) if counts else score
    if evidence.latest is not None and at <= evidence.latest:  # the last window of the champion before
        return replace(evidence, rule=weight.rule, score=score)
    windows, gap = min(evidence.windows + 1, WINDOWS), evidence.gap
    if evidence.latest is not None:
        gap = _mean_gap(gap, (at - evidence.latest).total_seconds(), windows - 1)
    trials = evidence.trials + (weight.trials - evidence.trials) / windows
    return Evidence(weight.rule, score, windows, trials, gap, at, evidence.spread)


def _mean_gap(mean: float, gap: float, number: int) -> float:
    """The running mean with the gap that is its `number`-th; of the first few it is the smallest.

    A short gap keeps the bar high: an outage must not lower it, and counts as four gaps at most.
    """
    if number < ESTIMATED:
        return min(mean, gap) if number > 1 else gap
    return mean + (min(gap, 4 * mean) - mean) / number


def bar(evidence: Evidence, triggers: Triggers) -> float:
    """How high the score must be to train.

    Solves e^x − x − 1 = A·I0 with A windows a false training and I0 the information in a window, and takes off what
    the score overshoots, once at the bar and once at 0. Larger windows do not lower it: one of a whole backlog would,
    for all that come after. Until 8 windows are known it is ln A, which holds whatever the windows are.
    """
    if triggers.evidence is None:
        return float("inf")
    a_year = YEAR / evidence.gap if evidence.gap else FASTEST
    if evidence.windows < ESTIMATED:
        a_year = max(a_year, DAILY)
    apart = max(1.0, a_year / triggers.evidence.false_retrains_per_year)
    if evidence.windows < ESTIMATED:
        return max(LOWEST_BAR, log(apart))
    healthy, dropped = _shares(triggers)
    divergence = healthy * log(healthy / dropped) + (1 - healthy) * (log1p(-healthy) - log1p(-dropped))
    information = min(evidence.trials * divergence / dispersion_of(evidence, triggers), HIGHEST)
    return max(LOWEST_BAR, _solved(apart * information) - 2 * _overshoot(sqrt(2 * information)))


def reached(evidence: Evidence, triggers: Triggers) -> bool:
    """Whether the score, gathered under this very rule, has reached the bar."""
    return gathered(evidence, triggers) >= bar(evidence, triggers)


def gathered(evidence: Evidence, triggers: Triggers) -> float:
    """The score; 0 where it was gathered under another rule."""
    return evidence.score if evidence.rule == rule_name(triggers) else 0.0


def text(evidence: Evidence, triggers: Triggers) -> str:
    """The score and its bar: `evidence 2.1 of 5.3 for a drop of F1 from 0.85 to 0.82`."""
    score, wanted = gathered(evidence, triggers), bar(evidence, triggers)
    if score >= wanted:
        return f"evidence {score:.1f} for {drop_name(triggers)}, above the bar of {wanted:.1f}"
    shown = max(0.0, min(score, wanted - 0.1))  # 5.27 of 5.31 is not `5.3 of 5.3`
    return f"evidence {shown:.1f} of {wanted:.1f} for {drop_name(triggers)}"


def progress(evidence: Evidence, triggers: Triggers) -> str:
    """The score and its bar, and what moves it, for whoever meets it first."""
    low, high = _dropped(triggers), triggers.performance_threshold or 0.0
    moves = f"it grows with windows that fit F1 {low:.10g} better than {high:.10g}, and trains at the bar"
    return f"{text(evidence, triggers)}: {moves}"


def rule_name(triggers: Triggers) -> str:
    """What identifies the rule in the journal: `F1 0.85 → 0.82`."""
    if triggers.evidence is None or triggers.performance_threshold is None:
        return ""
    return f"F1 {triggers.performance_threshold:.10g} → {_dropped(triggers):.10g}"


def drop_name(triggers: Triggers) -> str:
    """Which drop the rule looks for: `a drop of F1 from 0.85 to 0.82`."""
    return f"a drop of F1 from {triggers.performance_threshold:.10g} to {_dropped(triggers):.10g}"


def _dropped(triggers: Triggers) -> float:
    drop = triggers.evidence.min_drop if triggers.evidence is not None else 0.0
    return (triggers.performance_threshold or 0.0) - drop


def _shares(triggers: Triggers) -> tuple[float, float]:
    """J at the threshold and after the drop."""
    return jaccard(triggers.performance_threshold or 0.0), jaccard(_dropped(triggers))


def _overshoot(step: float) -> float:
    """By how much a score with steps of this standard deviation leaps over a bar, −ln ν(step), about 0.583 step.

    The straight line is too much where a window holds much information: false trainings would be half as many again.
    """
    if step < 1e-6:
        return 0.0
    half = step / 2
    below, density = (1 + erf(half / sqrt(2))) / 2, exp(-(half**2) / 2) / sqrt(2 * pi)  # of the normal distribution
    return -log((below - 0.5) / half / (half * below + density))


def _solved(total: float) -> float:
    """The x above 0 with e^x − x − 1 = total: x = ln(1 + x + total), whose repetition closes in on it from below."""
    x = sqrt(2 * total) if total < 1 else log(total)
    for _ in range(100):
        x = log1p(x + total)
    return x
