"""Keeps a deployed model good: trains when live metrics say so, promotes only what a holdout proves better."""
