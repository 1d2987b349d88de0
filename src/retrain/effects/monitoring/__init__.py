"""The latest metrics → Snapshot. Whatever the endpoint does is a value: a number, or Unknown and why."""

from retrain.effects.monitoring.snapshot import fetch

__all__ = ["fetch"]
