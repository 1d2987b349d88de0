"""Models and rows → tallies, made in a child process."""

from retrain.effects.evaluation.child import Unscorable, carry_out
from retrain.effects.evaluation.jobs import compare, controls, remember_rows

__all__ = ["Unscorable", "carry_out", "compare", "controls", "remember_rows"]
