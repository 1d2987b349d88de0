"""Values as numpy and pandas hold them → class labels as JSON knows them."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from retrain.core.records import Label

Triple = tuple[Label, Label | None, Label]
"""Truth, the champion's prediction (None without a champion), the challenger's."""


def canonical(values: Any) -> list[Label]:
    """The class label of each value: True is 1, 1.0 is 1. ValueError where a value is no label."""
    codes, uniques = pd.factorize(values)
    labels = [label(value) for value in uniques.tolist()]
    return [labels[code] for code in codes]


def label(value: object) -> Label:
    """The class label that a value is. ValueError where it is none."""
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


def listed(cells: Counter[Triple]) -> list[list[Any]]:
    """The cells as JSON knows them, [truth, champion, challenger, rows] each, in an order that depends on nothing."""
    return sorted(([*labels, rows] for labels, rows in cells.items()), key=json.dumps)
