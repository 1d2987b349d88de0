"""The metrics, the latest or recorded ones → Snapshots. Whatever was said is a value: a number, or Unknown and why."""

from retrain.effects.monitoring.prometheus_range import record
from retrain.effects.monitoring.server_clock import ahead
from retrain.effects.monitoring.snapshot import fetch
from retrain.effects.monitoring.words import shown

__all__ = ["ahead", "fetch", "record", "shown"]
