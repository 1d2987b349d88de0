"""A configuration for what the effects are asked directly."""

from pathlib import Path
from typing import Any

from retrain.config.schema import Config, Promotion, Training

ROOT = Path(__file__).parents[2]


def configured(holdout: Path, directory: Path = ROOT, **promotion: Any) -> Config:
    """A configuration with this holdout, modules that are importable from the directory, and keys of promotion."""
    return Config(promotion=Promotion(holdout=holdout, **promotion), training=Training(directory=directory))
