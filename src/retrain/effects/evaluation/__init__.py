"""Models and rows → tallies, and a log → rows, made in a child process."""

from retrain.effects.evaluation.child import Unscorable, carry_out
from retrain.effects.evaluation.jobs import (
    Arrived,
    arrived,
    compare,
    controls,
    cut,
    predict,
    remember_rows,
    tally_of,
    try_out,
)
from retrain.effects.evaluation.sandbox import private

__all__ = [
    "Arrived",
    "Unscorable",
    "arrived",
    "carry_out",
    "compare",
    "controls",
    "cut",
    "predict",
    "private",
    "remember_rows",
    "tally_of",
    "try_out",
]
