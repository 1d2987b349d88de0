"""Models and rows → tallies, made in a child process."""

from retrain.effects.evaluation.child import Unscorable, carry_out
from retrain.effects.evaluation.jobs import Controls, compare, controls, known_rows

__all__ = ["Controls", "Unscorable", "carry_out", "compare", "controls", "known_rows"]
