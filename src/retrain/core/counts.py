"""What the counts of windows say: TP of U = TP + FP + FN is binomial with share J = F1/(2 − F1)."""

from collections.abc import Sequence
from math import erfc, sqrt
from statistics import median

from msgspec.structs import replace

from retrain.core.past import Past, Spread
from retrain.core.records import Counts

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
