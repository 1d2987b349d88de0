"""Models and rows → tallies, and a log → rows, made in a child process."""

from retrain.effects.evaluation.child import Unscorable, carry_out
from retrain.effects.evaluation.jobs import arrived, compare, controls, cut, remember_rows

__all__ = ["Unscorable", "arrived", "carry_out", "compare", "controls", "cut", "remember_rows"]
