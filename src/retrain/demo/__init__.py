"""`make demo`: a scanner that wears out, the training of its model, and a tour of the whole loop."""

from pathlib import Path

DATA = Path("data")
MODELS = Path("models")
STATE = Path("state")

HISTORY = DATA / "history.csv"
PREDICTIONS = DATA / "predictions.csv"
MARKER = DATA / ".demo"
"""Marks data/, models/ and state/ as made by the demo, and holds its state."""
