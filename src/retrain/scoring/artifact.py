"""A model's file: loaded, or the sentence on what it is instead, and who wrote it."""

import functools
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
from msgspec import Struct

from retrain.tables import FileError
from retrain.tables.read import brief

_HEAD = 512
_POINTERS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the model itself: run git lfs pull"),
    (rb"(?s)(outs|deps|md5|wdir):.*\bmd5: [0-9a-f]{32}", "a DVC pointer, not the model itself: run dvc pull"),
    (rb"\S*/annex/objects/", "a git-annex pointer, not the model itself: run git annex get"),
)
_OTHERS = (
    (rb"(?i)\s*(<!doctype html|<html)", "an HTML page (the error page of a download?)"),
    (rb"\s*<\?xml", "an XML text (the error of a download?)"),
    (rb"\{L\0", "a model in XGBoost's own binary format"),
    (rb"\s*[{[]", "a JSON text"),
    (rb"tree\nversion=", "a model in LightGBM's own text format"),
    (rb"CBM1", "a model in CatBoost's own format"),
    (rb"\x89HDF", "an HDF5 file, such as Keras writes"),
    (rb"PK\x03\x04", "a zip archive, such as PyTorch, Keras and skops write"),
    (rb"PAR1", "a Parquet file"),
    (rb"\x93NUMPY", "a numpy array"),
    (rb"(?s).{257}ustar", "a tar archive"),
    (rb"\x08[\x03-\x14][\x12:B]", "a model in the ONNX format"),
    (rb"\0+\Z", "a file of zero bytes (a copy that broke?)"),
)
_ZLIB = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
_PICKLES = (b"\x80", *_ZLIB, b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\0", b"\x04\x22\x4d\x18")
"""How a pickle begins, or one that joblib has compressed (zlib, gzip, bz2, xz, lzma, lz4)."""
_SKLEARN = re.compile(rb"_sklearn_version(?:\x94|q.|r.{4})?(?:\x8c.|X.{4})(\d[\w.]*)", re.DOTALL)
_SAVED_IN_SCRIPT = re.compile(r"attribute '([^']+)' on <module '(?:[\w.]+\.)?__(?:mp_)?main__'")
_CUT_OFF = re.compile("truncated|exhausted|ran out|EOF|incomplete|ended before")
_REFUSED = re.compile(r"start new thread|[Cc]annot allocate|bad_alloc|pthread_create|out of memory")


class Artifact(Struct, frozen=True):
    """The model in a file; `saved`, in a clause, where other versions wrote it than load it."""

    model: Any
    saved: str


@functools.cache
def loaded(path: str, trusted: tuple[str, ...] | None) -> Artifact:
    """The artifact; `trusted` are types of a skops file, None where it is a joblib file. FileError where it is none."""
    file = Path(path)
    if file.is_dir():
        raise FileError("is a directory, and a model is one file: save the fitted model itself with joblib.dump")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            model = sparing(lambda: joblib.load(path) if trusted is None else _from_skops(path, trusted))
        except FileError:
            raise
        except BaseException as error:
            raise FileError(_why_not(file, error, skops=trusted is not None)) from error
    found = {str(getattr(each.message, "original_sklearn_version", "")) for each in warned} - {""}
    return Artifact(model, _saved(sorted(found)))


def sparing(act: Callable[[], Any]) -> Any:
    """The result of the act. Where it runs out of memory, free what its frames hold: a report needs some."""
    try:
        return act()
    except MemoryError as error:
        error.__traceback__ = None
        raise


def cause(error: BaseException) -> BaseException:
    """The refusal of memory or of a thread that an error came from, else the error: a thread pool hides the first."""
    return next((each for each in _chain(error) if isinstance(each, MemoryError) or _REFUSED.search(str(each))), error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _saved(versions: list[str]) -> str:
    """The clause on the versions that wrote an artifact and the one that loads it; empty where they are not known."""
    return f"saved with scikit-learn {', '.join(versions)}, loaded with {version('scikit-learn')}" if versions else ""


def _from_skops(path: str, trusted: tuple[str, ...]) -> Any:
    """The model in a skops file. Nothing of it is built before each of its types was found to be trusted."""
    try:
        from skops.io import get_untrusted_types, load
    except ImportError as error:
        raise FileError("cannot be loaded: .skops files need skops: pip install 'retrain-controller[skops]'") from error
    if unknown := sorted(set(get_untrusted_types(file=path)) - set(trusted)):
        remedy = "Read what they do, then add them to models.trusted, or do not use this file"
        raise FileError(f"has types that are not trusted: {', '.join(unknown)}. {remedy}")
    return load(path, trusted=trusted)


def _why_not(file: Path, error: BaseException, *, skops: bool) -> str:
    """The sentence on an artifact that cannot be loaded."""
    error = cause(error)
    if script := _SAVED_IN_SCRIPT.search(str(error)):
        why = f"{script[1]} was defined in the script that saved the model (__main__), where nothing can import it"
        return f"cannot be loaded: {why}: move it to a module of its own in training.directory and train again"
    missing = isinstance(error, ImportError | AttributeError)
    try:
        content = file.read_bytes()
    except (OSError, MemoryError):
        return f"cannot be loaded: {brief(error)}"
    if not missing and (other := _nature(content, error, skops=skops)):
        return other
    saved = _saved(sorted({each.decode() for each in _SKLEARN.findall(content)}))
    needs = " (what an artifact refers to must be importable here or from training.directory, in the same version)"
    here = f"; this is Python {platform.python_version()}" if not isinstance(error, MemoryError) else ""
    return f"cannot be loaded: {brief(error)}{needs if missing else ''}{here}{', ' + saved if saved else ''}"


def _nature(content: bytes, error: BaseException, *, skops: bool) -> str:
    """The sentence on a file that is no artifact at all, or half of one; empty where it may be one."""
    head, instead = content[:_HEAD], f"save the fitted model itself with {'skops.io' if skops else 'joblib'}.dump"
    if not content.strip():
        return f"is empty: {instead}"
    for pattern, what in _POINTERS:
        if re.match(pattern, head):
            return f"is {what}"
    whole = not (head.startswith(b"PK\x03\x04") if skops else head.startswith(_PICKLES))
    text = head[:40].decode(errors="replace").split("\n")[0].strip()
    begins = f", which begins with {text!r}" if text.isprintable() else ""
    for pattern, what in _OTHERS:
        if whole and re.match(pattern, head):
            return f"is {what}{begins if 'text' in what or 'page' in what else ''}: {instead}"
    if whole and text.isprintable() and b"\0" not in head:
        return f"is a text{begins}: {instead}"
    short = isinstance(error, EOFError) or _CUT_OFF.search(str(error))
    if short or (head.startswith(b"\x80") and not content.endswith(b".")):
        return "is cut off, it ends too early: was it written and copied to its end?"
    return ""
