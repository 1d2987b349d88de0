"""What the counts of windows say: their F1, how they differ, and the evidence for a drop of F1.

With U = TP + FP + FN and J = F1 / (2 − F1), TP given U is exactly Binomial(U, J). The evidence rule is a score (CUSUM)
that trains when the windows together show a drop: every window adds the log of how much likelier its counts are at the
lower F1 than at the threshold; the sum never falls below 0 (Page 1954). The bar is solved from the tolerated number of
false trainings a year (Siegmund 1985; its overshoot: Siegmund & Yakir 2007).
"""

from collections.abc import Sequence
from datetime import datetime
from math import erf, erfc, exp, log, log1p, pi, sqrt
from statistics import median

from msgspec.structs import replace

from retrain.core.past import Evidence, Past, Spread
from retrain.core.records import Counts, Weight
from retrain.core.rules import Auto, Triggers

WINDOWS = 128
"""The running means forget: a window counts as one in so many at least."""
LAG = 14
"""So many windows later a dispersion is used: a drop must not hide itself."""
DISPERSED = 34
"""From so many windows on the dispersion is used."""
FAR = 9.0
"""A window adds so many times the dispersion at most, three standard deviations: a drop that lasts must not hide."""
USUAL = 8
"""From so many windows on their usual share of positives is known."""


def jaccard(f1: float) -> float:
    """J, the share of U that are true positives at this F1."""
    return f1 / (2 - f1)


def f1_of(counts: Counts) -> float:
    """F1 of these counts; 0 where there are none."""
    below = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / below if below else 0.0


def latest(past: Past) -> Counts | None:
    """The counts of the champion's last window; where only its positives are known, they stand in for the larger U."""
    f1, (kind, labelled) = past.f1, past.f1.labelled or ("", 0.0)
    if f1.counts is not None or f1.value is None or kind != "positives":
        return f1.counts
    hits = labelled * jaccard(f1.value)
    return Counts(hits, labelled - hits, 0.0)


LEAST_CONTRADICTION, CERTAIN = 0.05, 3.29
"""F1 on a holdout and live F1 contradict each other where both they and the z of their counts differ by more."""


def contradict(one: Counts, other: Counts) -> bool:
    """Whether F1 differs by more than 0.05, as windows of one world may, and beyond chance.

    Chance is excluded at the two-sided level 0.001, by the test of two proportions with one more success and failure
    each (Agresti & Caffo 2000), which serves few rows, too.
    """
    shares, variance = [], 0.0
    for each in (one, other):
        trials = each.tp + each.fp + each.fn + 2
        shares.append((each.tp + 1) / trials)
        variance += shares[-1] * (1 - shares[-1]) / trials
    is_large = abs(f1_of(one) - f1_of(other)) > LEAST_CONTRADICTION
    return is_large and abs(shares[0] - shares[1]) > CERTAIN * sqrt(variance)


def hits_of(f1: float, counts: Counts | None, positives: float | None) -> tuple[float, float] | None:
    """TP and U of a window; None where neither its counts nor its positives are known.

    Without counts, the positives stand in for U. They are fewer, so the window says less than it could.
    """
    if counts is not None:
        return counts.tp, counts.tp + counts.fp + counts.fn
    return None if positives is None else (positives * jaccard(f1), positives)


def chance_of_drop(old: Counts, new: Counts, dispersion: float = 1.0) -> float:
    """How likely chance alone makes F1 fall so far from the old counts to the new: the one-sided p-value.

    The test of two proportions in its normal approximation, its variance times the dispersion.
    """
    of_old, of_new = old.tp + old.fp + old.fn, new.tp + new.fp + new.fn
    share = (old.tp + new.tp) / (of_old + of_new)
    error = sqrt(dispersion * share * (1 - share) * (1 / of_old + 1 / of_new))
    return erfc((old.tp / of_old - new.tp / of_new) / error / sqrt(2)) / 2 if error else 1.0


# ---------------------------------------------------------------- windows that differ more than chance explains


def dispersion(spread: Spread) -> float:
    """How many times the binomial variance windows have, at least 1; 1 until enough windows are known."""
    return max(1.0, spread.means[0]) if spread.known >= DISPERSED else 1.0


def widened(spread: Spread, hits: float, trials: float) -> Spread:
    """The spread after one more window of the champion.

    A window adds (TP − U·J)² over its variance, U·J·(1 − J), and that of J, which its earlier windows give.
    """
    windows = min(spread.windows + 1, WINDOWS)
    after = replace(
        spread,
        windows=windows,
        hits=spread.hits + (hits - spread.hits) / windows,
        trials=spread.trials + (trials - spread.trials) / windows,
    )
    share = spread.hits / spread.trials if spread.trials else 0.0
    if not (0 < share < 1 and trials):
        return after
    variance = trials * share * (1 - share) * (1 + trials / (spread.windows * spread.trials))
    known, mean = min(spread.known + 1, WINDOWS), spread.means[-1] if spread.means else 0.0
    mean += (min((hits - trials * share) ** 2 / variance, FAR * max(1.0, mean)) - mean) / known
    return replace(after, known=known, means=(*spread.means, mean)[-LAG - 1 :])


# ---------------------------------------------------------------- the mix of positives and negatives


def share_of(counts: Counts | None, samples: float | None) -> float | None:
    """The share of positives among the labelled samples of a window; None without both classes, or where unknown."""
    if counts is None or not samples:
        return None
    share = (counts.tp + counts.fn) / samples
    return share if 0 < share < 1 else None


def usual(shares: Sequence[float]) -> float | None:
    """The usual share of positives, the median of the known windows; None while these are few."""
    return median(shares) if len(shares) >= USUAL else None


def at_share(counts: Counts, share: float, wanted: float) -> Counts:
    """The counts as they would be if `wanted` of the samples were positive instead of `share`.

    The rates of true and of false positives stay. No class weighs more than it does: that adds no evidence.
    """
    positive, negative = wanted / share, (1 - wanted) / (1 - share)
    most = max(positive, negative)
    return Counts(counts.tp * positive / most, counts.fp * negative / most, counts.fn * positive / most)


# ---------------------------------------------------------------- the evidence rule


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
