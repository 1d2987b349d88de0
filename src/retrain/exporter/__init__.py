"""The embedded endpoint, `retrain monitor`: a log of predictions → F1, counts and drift as Prometheus metrics."""
