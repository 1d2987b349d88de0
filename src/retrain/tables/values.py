"""What a value means, whatever file or type holds it: missing, a class label, a moment, equal to another.

Two files hold the same value differently. A CSV knows no types: a number is a text as soon as one word stands in
its column, a date always is, and a missing value is one of the texts `MISSING`. Parquet has types and nulls; its
numbers of 32 bits have another 0.1 than those of 64 bits.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from numbers import Real
from typing import Any
from unicodedata import category, normalize

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain.core.records import Label
from retrain.core.score import Confusion

Codes = npt.NDArray[np.intp]
Floats = npt.NDArray[np.floating[Any]]

MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A"}
    | {"NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""The texts that are a missing value in a CSV: those of pandas.read_csv, so that training sees the same rows.

In Parquet a null and a NaN are missing, and a text is itself. Only where values of two files are compared (see
`key`) these texts are missing in both.
"""

_CODINGS = ({0, 1}, {-1, 1}, {1, 2})
"""How two classes are numbered. Two of these have a number in common, which is not the same class in both."""
_QUOTED = 5
"""Labels that a message quotes."""
_LEAST, _MOST = 2.0**-126, 2.0**23
"""Fractions of this size or more, and below this, are compared as 32-bit floats; of others these lose digits."""
_TRUTHS = dict.fromkeys(("True", "TRUE", "true"), 1.0) | dict.fromkeys(("False", "FALSE", "false"), 0.0)


def label(value: object) -> Label:
    """The class label that a typed value is: True and 1.0 are 1, a text is itself. ValueError where it is none."""
    if isinstance(value, np.float32):
        value = float(str(value))  # the 0.1 that 64 bits have, too
    value = value.item() if isinstance(value, np.bool_ | np.integer | np.floating) else value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Decimal):
        value = int(value) if value.is_finite() and value == int(value) else float(value)
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else float(value)
    raise ValueError(f"{value!r} ({type(value).__name__}) is not a class label, which is a text or a finite number")


def labels(values: Any) -> list[Label]:
    """The class label of each value. ValueError or TypeError where a value is none."""
    codes, known = label_codes(values)
    return [known[code] for code in codes]


def label_codes(values: Any) -> tuple[Codes, list[Label]]:
    """A code for each value, and the class labels that the codes stand for. Raises as `labels` does."""
    codes, uniques = pd.factorize(values)
    known = np.asarray(uniques) if uniques.dtype.kind == "f" else uniques.tolist()
    return codes, [label(value) for value in known]


def unlabelled(column: "pd.Series[Any]") -> npt.NDArray[np.bool_]:
    """Which of these labels are missing: a text of nothing but blanks is no class."""
    codes, known = distinct(column)
    is_blank = np.array([*(isinstance(each, str) and not each.strip() for each in known), True])
    return is_blank[codes]  # a missing value has the code -1


def label_of_text(value: object) -> Label:
    """The class label that a value is where texts have no types: "1", "1.0", "true" and True are 1, too.

    What is neither text nor number is named by its text.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return float(value)  # a result that went wrong, which the text "inf" need not be
    if not isinstance(value, str):
        return name(value)
    text = value.strip()
    if "_" not in text:
        with suppress(ValueError):  # a 64-bit float would make one of two long identifiers
            return int(text)
    number = _number(text)
    return name(number) if number is not None and math.isfinite(number) else text


def spelt(value: object) -> Label:
    """The class label that a value is, but its text where no program writes the number so, such as 007 and 1.10."""
    found, text = label_of_text(value), str(value).strip()
    return found if not isinstance(value, str) or text in (str(found), f"{found}.0", *_TRUTHS) else text


def merged(confusion: Confusion, positive: Label) -> tuple[Confusion, Label]:
    """The counts of labels and predictions, which are as `spelt`, by class; and what the positive class is called.

    A number is one class in all spellings, unless one column has two of these: 1.1 and 1.10 are two classes then, and
    texts where a class is a word, as pandas would have it.
    """
    columns = [Counter(map(label_of_text, {*side})) for side in zip(*confusion, strict=True)]
    twice = {known for column in columns for known, spellings in column.items() if spellings > 1}
    kept = str if any(isinstance(known, str) for column in columns for known in column) else spelt
    names = {each: kept(each) if (known := label_of_text(each)) in twice else known for each in {*chain(*confusion)}}
    found: Confusion = Counter()
    for (truth, guess), rows in confusion.items():
        found[names[truth], names[guess]] += rows
    return found, names.get(spelt(positive), label_of_text(positive))


def _number(text: str) -> float | None:
    """The number or truth value that a text spells; Python alone also reads 1_0."""
    with suppress(ValueError):
        return float(_TRUTHS.get(text, text)) if "_" not in text else None
    return None


def name(value: object) -> Label:
    """What a value is called: a class label where it can be one, else its text."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    try:
        return label(value)
    except ValueError:
        return str(value).removesuffix(" 00:00:00")  # a CSV file says so of days


def vocabularies_differ(
    predicted: Iterable[Label], known: Iterable[Label], *, disjoint: bool = False
) -> tuple[str, str] | None:
    """Both vocabularies, quoted, where the predictions do not speak that of the labels; else None.

    They do not where they have no label in common (unless they may be `disjoint`); where a label of one side alone is
    one of the other side in another spelling ('1' is not 1, 'Yes' is not 'yes'); and where one side has numbers and
    texts, such as 1, 0, 'yes' and 'no', and the other only numbers or only texts; and where one side numbers two
    classes otherwise than the other (-1 and 1 are not 0 and 1). Otherwise a class that only one side has is no fault:
    it is predicted wrongly, or never. 'a' and 'A' are two classes where both sides have both, '1.1' and '1.10' where
    one side has both.
    """
    guesses, truths = set(predicted), set(known)
    common = guesses & truths
    respelt = _respelt(guesses, truths)
    if len({_bare(label) for label in common}) == len(common):
        respelt |= _respelt(truths, guesses)
    is_mixed = _mixes(guesses, truths) or _mixes(truths, guesses)
    is_recoded = guesses != truths and guesses in _CODINGS and truths in _CODINGS
    if not guesses or not (respelt or is_mixed or is_recoded or not (common or disjoint)):
        return None
    sides = ([label for label in side if _bare(label) in respelt or len(side) <= _QUOTED] for side in (guesses, truths))
    composed = {normalize("NFC", label) if isinstance(label, str) else label for label in guesses | truths}
    show = repr if len(composed) == len(guesses | truths) else ascii
    one, other = (quoted(some or side, show) for some, side in zip(sides, (guesses, truths), strict=True))
    return one, other


def quoted(values: Iterable[Label], show: Callable[[Label], str] = repr) -> str:
    """The first labels as Python writes them, so that the text '1' and the number 1 look different."""
    shown = sorted(values, key=lambda label: (isinstance(label, str), label))
    more = f" and {len(shown) - _QUOTED} more" if len(shown) > _QUOTED else ""
    return ", ".join(map(show, shown[:_QUOTED])) + more


def _mixes(labels: set[Label], others: set[Label]) -> bool:
    """Whether labels are numbers and texts, and several of one of these kinds are none of the others."""
    texts = {label for label in labels if isinstance(label, str)}
    kinds = texts, labels - texts
    return all(kinds) and any(len(kind) > 1 and not kind & others for kind in kinds)


def _respelt(labels: set[Label], others: set[Label]) -> set[Label]:
    """What those of the labels look like that the others have in another spelling only.

    Where the labels have that text, too, these are two classes, such as Maße and Masse, or 1.1 and 1.10. But it is one
    class where sources differ in what says nothing: in case, blanks, brackets and quotes, and in 1.0 for 1.
    """
    texts = {label for label in labels & others if isinstance(label, str)}
    looks, plain = {_bare(label) for label in others - texts}, {spelt(_visible(label).lower()) for label in texts}
    return {_bare(each) for each in labels - others if _bare(each) in looks or spelt(_visible(each).lower()) in plain}


def _bare(label: Label) -> Label:
    """What labels are that look alike: neither case nor how a number is written counts."""
    return label_of_text(_visible(label).casefold())


def _visible(label: Label) -> str:
    """The text of a label without brackets and quotes, whatever signs Unicode composes it of."""
    visible = "".join(each for each in normalize("NFKC", str(label)) if category(each) != "Cf")
    return visible.strip(" \t\r\n[](){}'\"")


def names(column: "pd.Series[Any]") -> list[Label | None]:
    """What each value is called; None where it is missing."""
    codes, uniques = distinct(column)
    called = [*map(name, uniques), None]  # a missing value has the code -1
    return [called[code] for code in codes]


def distinct(column: "pd.Series[Any]") -> tuple[Codes, list[Any]]:
    """The code of each value, -1 where it is missing, and the values that the codes stand for."""
    try:
        codes, uniques = pd.factorize(column)
    except TypeError:  # arrays, lists and the like: the first of those with equal content
        codes, keys = pd.factorize(column.map(key))
        places = np.unique(codes, return_index=True)[1]
        return codes, [column.iloc[place] for place in places[len(places) - len(keys) :]]
    return codes, uniques.tolist()


def is_reordered(index: "pd.Index[Any]", rows: "pd.Index[Any]") -> bool:
    """Whether one column names the rows of another, in another order."""
    is_alike = index.names == rows.names and len(index) == len(rows) and index.is_unique
    return is_alike and not index.equals(rows) and bool(index.isin(rows).all())


def key(value: object) -> float | str | None:
    """What a value is compared by across files: equal values have equal keys, a missing one has None.

    It is coarse where it must be: "007" is 7, "true" is 1, a moment without a time zone is in UTC, fractions that 32
    bits hold well count as 32-bit floats and other numbers as 64-bit floats; how Unicode composes a letter is no
    difference. Arrays, lists and mappings, also as JSON texts, are compared by all that they hold.
    """
    if isinstance(value, Real | Decimal | np.bool_):
        return _rounded(float(value))
    if is_nested(value):
        return content(value)
    text = value.isoformat(timespec="microseconds") if isinstance(value, datetime) else str(value)
    text = normalize("NFC", value.decode(errors="replace") if isinstance(value, bytes) else text)
    if text in MISSING:
        return None
    number = _number(text)
    if number is not None:
        return _rounded(number)
    if text.startswith(("[", "{")):
        try:
            return content(json.loads(text))
        except (ValueError, RecursionError):
            return text
    return _moment(text) or text


def is_nested(value: object) -> bool:
    """Whether a value holds others: an array, a list, a mapping."""
    return isinstance(value, np.ndarray | list | tuple | set | frozenset | Mapping)


def content(value: Any, element: Callable[[Any], Any] = key, rounded: bool = True) -> str:
    """A digest of all that a nested value holds, each value by its `element`, numbers `rounded` as keys are or not."""
    if isinstance(value, Mapping):
        held = sorted((str(name), element(each)) for name, each in value.items())
        return _digest(repr(held).encode())
    if isinstance(value, set | frozenset):
        return _digest(repr(sorted(repr(element(each)) for each in value)).encode())
    if not (isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf"):
        held = [element(each) for each in value]
        if not all(each is None or isinstance(each, float) for each in held):
            return _digest(repr(held).encode())
        value = np.array(held, np.float64)
    numbers = value.astype(np.float64)
    numbers = round_all(numbers) if rounded else numbers
    return _digest(np.where(np.isnan(numbers), np.nan, numbers + 0.0).tobytes())


def _digest(held: bytes) -> str:
    return f"content {hashlib.blake2b(held, digest_size=16).hexdigest()}"


def round_all(numbers: Floats) -> Floats:
    """The key of each number."""
    with np.errstate(over="ignore", invalid="ignore"):
        is_kept = (numbers == np.floor(numbers)) | (np.abs(numbers) < _LEAST) | (np.abs(numbers) >= _MOST)
        return np.where(is_kept, numbers, numbers.astype(np.float32))


def _rounded(number: float) -> float | None:
    if math.isnan(number):
        return None
    return float(np.float32(number)) if _LEAST <= abs(number) < _MOST and not number.is_integer() else number


def _moment(text: str) -> str | None:
    """A day or a moment, in UTC; None where the text is none."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))  # which BigQuery writes
        return (moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)).isoformat()
    return None


_DAYS = (19_000_101, 21_001_231)
"""Days without hyphens; as seconds they would all be in August and September 1970."""


def seconds(values: "pd.Series[Any]") -> Floats:
    """Seconds since the Unix epoch, NaN where a value is neither a number of them, ISO 8601 nor a timestamp.

    Times without a zone are UTC. A day without hyphens, such as 20261129, is none.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return _since_epoch(values)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    texts = np.isnan(numbers)
    numbers = np.where((numbers >= _DAYS[0]) & (numbers <= _DAYS[1]), np.nan, numbers)
    if texts.any():
        numbers[texts] = _since_epoch(values[texts])
    return numbers


def _since_epoch(values: "pd.Series[Any]") -> Floats:
    moments = pd.to_datetime(values, utc=True, format="ISO8601", errors="coerce")
    elapsed = moments - pd.Timestamp(0, tz="UTC").as_unit("s")
    return elapsed.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
