"""config.yaml → frozen records; the only package that reads it."""

from retrain.config.load import load
from retrain.config.schema import Config
from retrain.config.secrets import Secrets

__all__ = ["Config", "Secrets", "load"]
