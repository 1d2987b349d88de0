"""Models and rows → tallies, made in a child process."""

from retrain.effects.evaluation.child import carry_out
from retrain.effects.evaluation.faults import Unscorable
from retrain.effects.evaluation.jobs import compare, controls, remember_rows

__all__ = ["Unscorable", "carry_out", "compare", "controls", "remember_rows"]
