"""The embedded endpoint, `retrain monitor`: a log of predictions → F1, counts and drift as Prometheus metrics."""

from retrain.exporter.serve import address, serve

__all__ = ["address", "serve"]
