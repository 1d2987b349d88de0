"""What the counts of windows say: TP of U = TP + FP + FN is binomial with share J = F1/(2 − F1)."""

from math import erfc, sqrt

from retrain.core.records import Counts


def jaccard(f1: float) -> float:
    """J, the share of U that are true positives at this F1."""
    return f1 / (2 - f1)


def chance_of_drop(old: Counts, new: Counts) -> float:
    """How likely chance alone makes F1 fall so far from the old counts to the new: the one-sided p-value.

    The test of two proportions in its normal approximation.
    """
    of_old, of_new = old.tp + old.fp + old.fn, new.tp + new.fp + new.fn
    share = (old.tp + new.tp) / (of_old + of_new)
    error = sqrt(share * (1 - share) * (1 / of_old + 1 / of_new))
    return erfc((old.tp / of_old - new.tp / of_new) / error / sqrt(2)) / 2 if error else 1.0
