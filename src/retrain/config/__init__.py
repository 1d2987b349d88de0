"""config.yaml → frozen dataclasses; the only room that reads it."""

from retrain.config.load import load
from retrain.config.schema import Config

__all__ = ["Config", "load"]
