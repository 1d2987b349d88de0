"""The process of one model: the artifact, loaded, and what it predicts for each chunk of rows that comes."""

import os
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from retrain.core.records import Label
from retrain.scoring.artifact import Artifact, cause, loaded, sparing
from retrain.scoring.plan import Model, answering, or_end, settle
from retrain.tables import FileError
from retrain.tables.read import as_sent, brief, shown
from retrain.tables.values import Codes, is_nested, is_reordered, key, label_codes

_DEEPEST = 8
"""Models in models that are looked at."""
_LIBRARIES = ("sklearn", "imblearn", "lightgbm")
_HELD = ("best_estimator_", "estimator_", "calibrated_classifiers_", "estimators_", "estimator")
"""Where searches and wrappers hold what they have fitted; the last one may have what they were given."""


def serve(plan: Model) -> None:
    """Answer all requests that come, as `retrain.scoring.predict.RemoteModel` expects, until one cannot be answered."""
    with answering(plan) as (features, send):
        requests, reader = _received(features), ThreadPoolExecutor(1)

        def answer() -> None:
            coming = reader.submit(next, requests, None)
            saved, unnamed = notes(plan.path, plan.trusted)
            settle()
            send({"saved": saved, "unnamed": unnamed})
            while (rows := coming.result()) is not None:
                coming = reader.submit(next, requests, None)
                codes, labels = predict(plan.path, plan.trusted, rows, plan.aside)
                send({"labels": labels}, codes.astype("<u4").tobytes())

        try:
            or_end(answer)
        except FileError as error:
            send({"error": str(error)})
        except BrokenPipeError:
            raise
        except Exception:  # leaving the `with` waits for the thread that reads, and that for the counter
            traceback.print_exc()
            os._exit(1)


def _received(features: Any) -> Iterator[pd.DataFrame]:
    """The rows of each request; a thread reads the next ones while the model predicts."""
    while features.peek(1):
        yield from map(as_sent, pa.ipc.open_stream(features))


def predict(
    path: str, trusted: tuple[str, ...] | None, features: pd.DataFrame, aside: Sequence[str] = ()
) -> tuple[Codes, list[Label]]:
    """A code for each row, and the class labels that the model gives, which the codes stand for.

    `trusted` are types that a skops file may have besides skops' own; where that is None the model is a joblib file.
    `aside` are columns that only a model is given which was fitted on them by name. FileError where the model cannot be
    loaded, raises, or returns something that is not one label a row.
    """
    artifact = ready(path, trusted)
    model = artifact.model
    inputs = _inputs(model, features, aside)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "fitted without feature names"
            answer = sparing(lambda: model.predict(inputs))
            if isinstance(answer, pd.Series | pd.DataFrame) and is_reordered(answer.index, inputs.index):
                answer = answer.loc[inputs.index]
            predicted = np.asarray(answer, dtype=object if _mixes_texts(answer) else None)
            if isinstance(answer, np.ma.MaskedArray):
                predicted = predicted.astype(object)
                predicted[np.ma.getmaskarray(answer)] = None
    except BaseException as error:
        found = cause(error)
        hint = _dtypes_hint(found, inputs) + (f" (the model was {artifact.saved})" if artifact.saved else "")
        raise FileError(f"cannot predict {len(features)} holdout rows: {brief(found)}{hint}") from error
    return _labels(predicted, len(features))


def _mixes_texts(answer: Any) -> bool:
    """Whether a list has texts and others: numpy would make a text of a NaN."""
    return isinstance(answer, list | tuple) and len({isinstance(each, str) for each in answer}) == 2


def ready(path: str, trusted: tuple[str, ...] | None) -> Artifact:
    """The artifact, which can predict. FileError where it cannot."""
    artifact = loaded(path, trusted)
    if isinstance(artifact.model, type):
        raise FileError(f"holds the class {artifact.model.__qualname__}, and no model of it: save what was fitted")
    if not callable(getattr(artifact.model, "predict", None)):
        kind = f"{type(artifact.model).__module__}.{type(artifact.model).__qualname__}".removeprefix("builtins.")
        raise FileError(f"holds a {kind}, which has no predict method: save the fitted model itself")
    return artifact


def notes(path: str, trusted: tuple[str, ...] | None) -> tuple[str, bool]:
    """By which other versions the model was saved, in a clause, and whether it names no columns."""
    artifact = ready(path, trusted)
    names = _fitted_on(artifact.model)
    return artifact.saved, names is None or _are_positions(names)


def _inputs(model: Any, features: pd.DataFrame, aside: Sequence[str]) -> pd.DataFrame:
    """The columns the model was fitted on, in that order; where it does not name them, every one but those `aside`."""
    fitted = _fitted_on(model)
    if fitted is None or (_are_positions(fitted) and not set(fitted) <= set(features.columns)):
        return features.drop(columns=[name for name in aside if name in features.columns])
    # LightGBM writes a space in a name as an underscore.
    spaced = Counter(str(name).replace(" ", "_") for name in features.columns)
    meant = {under: name for name in features.columns if spaced[under := str(name).replace(" ", "_")] == 1}
    names = [name if name in features.columns else meant.get(name, name) for name in fitted]
    missing = [name for name in names if name not in features.columns]
    if missing:
        listed = ", ".join(map(repr, missing[:10])) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise FileError(f"was fitted on columns that the holdout lacks: {listed}; give it those that training uses")
    return _in_its_categories(model, features[names].copy())  # a model may change what it is given


def _in_its_categories(model: Any, inputs: pd.DataFrame) -> pd.DataFrame:
    """The rows with the values that LightGBM or an encoder was fitted on, where a file holds these as another type.

    A CSV has no types: with one word in a column its numbers are texts, and a model that knows none of these gives an
    answer without a word. Among the numbers of an encoder a word is a missing one.
    """
    for name, fitted in [*_categories(model, inputs), *_encoded(model)]:
        if name not in inputs.columns or is_nested(inputs[name].dropna().head(1).squeeze()):
            continue
        own, column = {*fitted}, inputs[name]
        is_category = isinstance(column.dtype, pd.CategoricalDtype)
        present = column.cat.categories if is_category else column.dropna().unique()
        meant = {} if own.issuperset(present) else {key(each): each for each in fitted}
        found = {each: each if each in own else meant.get(key(each), each) for each in present}
        if len(meant) != len(own) or all(each is other for each, other in found.items()):
            continue
        if not is_category:
            column = column.astype(object).map(found)
            is_number = np.asarray(fitted).dtype.kind in "biuf"
            inputs[name] = pd.to_numeric(column, errors="coerce") if is_number else column
        elif len({*found.values()}) == len(found):
            inputs[name] = column.cat.rename_categories(found)
    return inputs


def _categories(model: Any, inputs: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """The columns of categories, each with those that LightGBM was fitted on."""
    trained = (_held(_held(each, "booster_") or each, "pandas_categorical") for each in _chain(model))
    known = next((each for each in trained if isinstance(each, list)), [])
    columns = [name for name, dtype in inputs.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    yield from zip(columns, known if len(known) == len(columns) else (), strict=False)


def _encoded(model: Any) -> Iterator[tuple[str, Any]]:
    """The columns that encoders in a model are given by name, each with the values that it was fitted on."""
    for each in filter(_is_known, _chain(model)):
        names = _held(each, "feature_names_in_")
        for *_, step in _held(each, "steps") or [(each,)]:
            known = _held(step, "categories_")
            if isinstance(known, list) and isinstance(names, np.ndarray) and len(known) == len(names):
                yield from zip(names, known, strict=True)
        for _, part, *_ in _held(each, "transformers_") or ():
            yield from _encoded(part)


def _fitted_on(model: Any) -> list[str] | None:
    """The names of the columns that the model was fitted on; None where it has none. FileError where they are odd."""
    try:
        named = (getattr(each, "feature_names_in_", None) for each in _chain(model))
        fitted = next((each for each in named if each is not None), None)
        fitted = fitted() if callable(fitted) else fitted
        names = None if fitted is None else [str(name) for name in fitted]
    except Exception as error:
        raise FileError(f"cannot give its feature_names_in_: {brief(error)}") from error
    if isinstance(fitted, str):
        raise FileError(f"has one text, {fitted!r}, as its feature_names_in_, where a list of names is needed")
    return names or None


def _chain(model: Any) -> Iterator[Any]:
    """The model, and in it, one in the other, what is given its columns as they are.

    That is the first step of a pipeline that does not pass all through, and what a search or a wrapper of a known
    library has fitted: another one may make other columns of those that it is given.
    """
    for _ in range(_DEEPEST):
        yield model
        steps = _held(model, "steps")
        parts = [each[-1] for each in steps if isinstance(each, tuple)] if isinstance(steps, list) else []
        of_steps = next((each for each in parts if each is not None and not isinstance(each, str)), None)
        held = (_held(model, name) for name in (_HELD if _is_known(model) else ()))
        fitted = (each[0] if isinstance(each, list) and each else each for each in held)
        model = next((each for each in (of_steps, *fitted) if each is not None), None)
        if model is None:
            return


def _is_known(model: Any) -> bool:
    return type(model).__module__.partition(".")[0] in _LIBRARIES


def _held(model: Any, name: str) -> Any:
    """The attribute of a model, whose own code may be asked for it; None where there is none."""
    with suppress(Exception):
        return getattr(model, name, None)
    return None


def _are_positions(names: list[str]) -> bool:
    """Whether LightGBM calls the columns of an array so, and with it a search or a pipeline."""
    return names == [f"Column_{number}" for number in range(len(names))]


def _dtypes_hint(error: BaseException, inputs: pd.DataFrame) -> str:
    """How a column of another dtype than in training is corrected, where the error may be about one."""
    words = str(error)
    if not re.search(r"categor|dtype|object|[Ss]tring|\bstr\b|isnan", words):
        return ""
    texts = [str(name) for name in inputs.columns if inputs[name].dtype.kind == "O" or inputs[name].dtype == "str"]
    if not texts and "categor" not in words:
        return ""
    what = f"text in {shown(texts)}" if texts else "no categories"
    example = f"promotion.dtypes: {{{texts[0] if texts else 'NAME'}: category}}"
    return f" (the holdout has {what}: where training had another dtype, set that, such as {example})"


def _labels(predicted: npt.NDArray[Any], rows: int) -> tuple[Codes, list[Label]]:
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted.ravel()
    if predicted.shape != (rows,):
        raise FileError(f"predicts an array of shape {predicted.shape} for {rows} rows; one label a row is needed")
    if missing := int(pd.isna(predicted).sum()):
        raise FileError(f"predicts no label (NaN) for {missing} of {rows} rows")
    try:
        return label_codes(predicted)
    except (ValueError, TypeError) as error:
        raise FileError(f"predicts what is no class label: {brief(error)}") from error
