"""The world of `make demo`: a scanner that wears out, the training that mends its model, and a tour of both."""

from pathlib import Path

DATA = Path("data")
MODELS = Path("models")
STATE = Path("state")

TRAINING = DATA / "training.csv"
PREDICTIONS = DATA / "predictions.csv"
HOLDOUT = DATA / "holdout.csv"
MARKER = DATA / ".demo"
"""Says that data/, models/ and state/ are the demo's own, and which day it is there."""
