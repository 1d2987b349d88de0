"""The latest metrics as a Snapshot. Whatever the endpoint said is a value: a number, or Unknown and why."""

from retrain.effects.monitoring.snapshot import fetch
from retrain.effects.monitoring.transport import shown

__all__ = ["fetch", "shown"]
