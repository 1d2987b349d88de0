"""Keeps a deployed model good: trains when live metrics say so, promotes only what a holdout proves better."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrain.core.verdicts import Verdict as Verdict
    from retrain.library import compare as compare
    from retrain.library import explain as explain

__all__ = ["Verdict", "compare", "explain"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are asked for: the command needs none of them to start."""
    if name not in __all__:
        raise AttributeError(f"module 'retrain' has no attribute {name!r}")
    from retrain import library

    return getattr(library, name)
