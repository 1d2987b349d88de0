"""Runs the training command, and any other that is to end with its whole process group."""

from retrain.effects.training.command import Ended, environment, how_it_ended, run, tidy
from retrain.effects.training.obstacles import obstacle

__all__ = ["Ended", "environment", "how_it_ended", "obstacle", "run", "tidy"]
