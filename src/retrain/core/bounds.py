"""Normal and binomial quantiles, and what a gain of uncertain size is worth."""

from math import erfc, exp, lgamma, log, log1p, pi, sqrt
from statistics import NormalDist

WORSE_LATER = ((2.81, (0.02, 0.05)), (1.64, (0.06, 0.24)), (0.8, (0.29, 0.42)), (0.0, (0.44, 0.52)))
"""z of a gain on fresh rows, and how often the challenger was worse in the next four windows (guide statistics)."""


def quantile(alpha: float) -> float:
    """The normal quantile that is exceeded with chance alpha."""
    return -NormalDist().inv_cdf(alpha)


def beyond(z: float) -> float:
    """The chance that a normal variable exceeds z."""
    return erfc(z / sqrt(2)) / 2


def expected(gain: float, error: float) -> tuple[float, float]:
    """The expected gain and the expected loss, where the real gain is normal around this one: N(gain, error²)."""
    z = gain / error
    density = exp(-z * z / 2) / sqrt(2 * pi)
    return max(0.0, error * (density + z * beyond(-z))), max(0.0, error * (density - z * beyond(z)))


def bar(weight: float) -> float:
    """The z at which the expected gain is `weight`, 1 or more, times the expected loss."""
    low, high = 0.0, 8.0
    for _ in range(60):
        z = (low + high) / 2
        gain, loss = expected(z, 1.0)
        low, high = (z, high) if gain < weight * loss else (low, z)
    return high


def worse_later(z: float) -> tuple[float, float] | None:
    """How often, from and to, a challenger that showed this z was worse in the windows that followed."""
    return next((share for low, share in WORSE_LATER if z > low), None)


def least_share(hits: float, trials: float, alpha: float) -> float:
    """The exact lower bound of a binomial share, at the one-sided level alpha (Clopper & Pearson 1934)."""
    if not hits:
        return 0.0
    low, high = 0.0, hits / trials
    for _ in range(50):
        share = (low + high) / 2
        low, high = (share, high) if _as_many(hits, trials, share) < alpha else (low, share)
    return low


def _as_many(hits: float, trials: float, share: float) -> float:
    """The chance of so many hits or more, for a share below hits/trials: then the terms soon vanish."""
    ways = lgamma(trials + 1) - lgamma(hits + 1) - lgamma(trials - hits + 1)
    term = exp(ways + hits * log(share) + (trials - hits) * log1p(-share))
    total = 0.0
    while term > total * 1e-12:
        total += term
        term *= (trials - hits) / (hits + 1) * share / (1 - share)
        hits += 1
    return total
