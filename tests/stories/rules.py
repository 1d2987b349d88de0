"""The project's own module of models: small, fitted on rows, and loaded without a large library.

A copy of this file lies in each project's directory as `rules.py`, and that copy is what an artifact refers to.
"""

from typing import Any

import numpy as np


class Rule:
    """A linear model of a and of the product of b and c, which it takes for no larger than `reach`."""

    __module__ = "rules"

    def __init__(self, reach: float, note: str = "") -> None:
        self.reach, self.note = reach, note
        self.feature_names_in_ = np.array(["a", "b", "c"])

    def fit(self, features: Any, labels: Any) -> "Rule":
        """Find the weights by least squares."""
        self.weights, *_ = np.linalg.lstsq(self._terms(features), np.asarray(labels), rcond=None)
        return self

    def predict(self, features: Any) -> Any:
        """The label, 0 or 1, of each row."""
        return (self._terms(features) @ self.weights > 0.5).astype(int)

    def _terms(self, features: Any) -> Any:
        a, b, c = (np.asarray(features[name], float) for name in self.feature_names_in_)
        return np.column_stack([np.ones(len(a)), a, np.clip(b * c, -self.reach, self.reach)])
