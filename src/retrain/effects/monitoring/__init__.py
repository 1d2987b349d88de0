"""The latest metrics as a Snapshot. Whatever the endpoint answers is a value: a number, or Unknown and why."""

from retrain.effects.monitoring.snapshot import fetch

__all__ = ["fetch"]
