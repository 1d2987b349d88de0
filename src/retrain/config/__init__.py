"""config.yaml → frozen dataclasses; the only room that reads it."""

from retrain.config.load import Secrets, load
from retrain.config.schema import Config

__all__ = ["Config", "Secrets", "load"]
