"""One model: the artifact, loaded, and what it predicts for a chunk of rows."""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain.core.records import Label
from retrain.tables import FileError
from retrain.tables.read import brief
from retrain.tables.values import labels


def predict(
    path: str,
    trusted: Sequence[str] | None,
    features: pd.DataFrame,
    fractional: bool,
    aside: Sequence[str] = (),
) -> list[Label]:
    """The class label that the model gives to each row.

    `trusted` are types that a skops file may have besides skops' own; where that is None the model is a joblib file.
    `fractional` says that the holdout's own labels have decimals, `aside` are columns that only a model is given
    which was fitted on them by name. FileError where the model cannot be loaded, raises, or returns something that is
    not one label a row.
    """
    model = _loaded(path, None if trusted is None else tuple(trusted))
    if not callable(getattr(model, "predict", None)):
        kind = f"{type(model).__module__}.{type(model).__qualname__}".removeprefix("builtins.")
        raise FileError(f"holds a {kind}, which has no predict method: save the fitted model itself")
    inputs = _inputs(model, features, aside)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "fitted without feature names"
            predicted = np.asarray(_sparing(lambda: model.predict(inputs)))
    except BaseException as error:
        raise FileError(f"cannot predict {len(features)} holdout rows: {brief(error)}") from error
    return _labels(predicted, len(features), fractional)


@functools.cache
def _loaded(path: str, trusted: tuple[str, ...] | None) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # another version of scikit-learn is no error as long as it predicts
            return _sparing(lambda: joblib.load(path) if trusted is None else _from_skops(path, trusted))
    except FileError:
        raise
    except BaseException as error:
        hint = ""
        if isinstance(error, ImportError | AttributeError):
            hint = (
                " (what an artifact refers to must be importable in retrain's environment or from "
                "training.directory, in the version it was saved with)"
            )
        raise FileError(f"cannot be loaded: {brief(error)}{hint}") from error


def _from_skops(path: str, trusted: tuple[str, ...]) -> Any:
    """The model in a skops file. Nothing of it is built before each of its types was found to be trusted."""
    try:
        from skops.io import get_untrusted_types, load
    except ImportError as error:
        problem = "cannot be loaded: .skops files need skops: pip install 'retrain-controller[skops]'"
        raise FileError(problem) from error
    if unknown := sorted(set(get_untrusted_types(file=path)) - set(trusted)):
        raise FileError(
            f"has types that are not trusted: {', '.join(unknown)}. Read what they do, then add them to models.trusted,"
            " or do not use this file"
        )
    return load(path, trusted=trusted)


def _sparing(act: Callable[[], Any]) -> Any:
    """The result of the act. Where it runs out of memory, free what its frames hold: a report needs some."""
    try:
        return act()
    except MemoryError as error:
        error.__traceback__ = None
        raise


def _inputs(model: Any, features: pd.DataFrame, aside: Sequence[str]) -> pd.DataFrame:
    """The columns the model was fitted on, in that order; where it does not name them, every one but those `aside`."""
    try:
        fitted = getattr(model, "feature_names_in_", None)
    except Exception as error:
        raise FileError(f"cannot give its feature_names_in_: {brief(error)}") from error
    names = [str(name) for name in (features.columns.difference(list(aside), sort=False) if fitted is None else fitted)]
    missing = [name for name in names if name not in features.columns]
    if missing:
        shown = ", ".join(map(repr, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise FileError(f"was fitted on columns that the holdout lacks: {shown}; give it those that training uses")
    return features[names].copy()  # a model may change what it is given


def _labels(predicted: npt.NDArray[Any], rows: int, fractional: bool) -> list[Label]:
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted.ravel()
    if predicted.shape != (rows,):
        raise FileError(f"predicts an array of shape {predicted.shape} for {rows} rows; one label a row is needed")
    missing = int(pd.isna(predicted).sum())
    if missing:
        raise FileError(f"predicts no label (NaN) for {missing} of {rows} rows")
    try:
        found = labels(predicted)
    except (ValueError, TypeError) as error:
        raise FileError(f"predicts what is no class label: {brief(error)}") from error
    decimals = next((label for label in found if isinstance(label, float)), None)
    if decimals is not None and not fractional:
        raise FileError(
            f"returns {decimals:.4g}; retrain needs class labels: wrap the model so that predict gives them"
        )
    return found
