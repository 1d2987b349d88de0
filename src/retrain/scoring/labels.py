"""Values as numpy and pandas hold them → class labels as JSON knows them."""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from retrain.core.records import Label


def canonical(values: Any) -> list[Label]:
    """The class label of each value: True is 1, 1.0 is 1. ValueError where a value is no label."""
    codes, uniques = pd.factorize(values)
    labels = [_label(value) for value in uniques.tolist()]
    return [labels[code] for code in codes]


def _label(value: object) -> Label:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else float(value)
    raise ValueError(f"{value!r} ({type(value).__name__}) is not a class label, which is a text or a finite number")


def quoted(labels: Iterable[Label]) -> str:
    """The first labels as Python writes them, so that the text '1' and the number 1 look different."""
    shown = sorted(labels, key=lambda label: (isinstance(label, str), label))
    return ", ".join(map(repr, shown[:5])) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
