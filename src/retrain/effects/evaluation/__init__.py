"""Models and rows → tallies, and a log → rows, made in a child process."""

from retrain.effects.evaluation.child import Unscorable, carry_out
from retrain.effects.evaluation.jobs import arrived, compare, controls, cut, predict, remember_rows, tally_of

__all__ = [
    "Unscorable",
    "arrived",
    "carry_out",
    "compare",
    "controls",
    "cut",
    "predict",
    "remember_rows",
    "tally_of",
]
