"""A CSV or Parquet file of rows, read in chunks: memory does not grow with its rows."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
import pyarrow.parquet
from pandas.api.types import pandas_dtype

from retrain.scoring.dtypes import Dtype
from retrain.scoring.plan import Side, UnusableError, brief


def columns(side: Side, path: str, named: Mapping[str, str]) -> list[str]:
    """The names of the columns; `named` are those that a key of the configuration asks for.

    UnusableError where the file cannot be read, lacks one of these, or has one twice.
    """
    try:
        found = _columns(path)
    except Exception as error:
        raise UnusableError(side, path, f"cannot be read: {brief(error)}") from error
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise UnusableError(side, path, f"has more than one column {', '.join(map(repr, twice))}")
    for name, key in named.items():
        if name not in found:
            raise UnusableError(side, path, f"has no column {name!r}, which {key} names; it has {shown(found)}")
    return found


def shown(names: Sequence[str]) -> str:
    """The first names, as a list in a sentence."""
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")


def configured(side: Side, path: str, dtypes: Mapping[str, str]) -> dict[str, Dtype]:
    """The dtypes that promotion.dtypes gives. UnusableError where pandas does not know one."""
    known = {}
    for name, text in dtypes.items():
        try:
            known[name] = pandas_dtype(text)
        except Exception as error:
            problem = f"cannot be read: promotion.dtypes gives {name!r} the dtype {text!r}, which pandas does not know"
            raise UnusableError(side, path, problem) from error
    return known


def read(
    side: Side, path: str, dtypes: Mapping[str, Dtype], size: int, only: list[str] | None = None
) -> Iterator[pd.DataFrame]:
    """The rows in file order, at most `size` at a time, with all columns or `only` some.

    UnusableError where the file cannot be read.
    """
    frames = _csv(path, dtypes, size) if path.endswith(".csv") else _parquet(path, dtypes, size, only)
    try:
        for frame in frames:
            yield frame if only is None else frame[only]
    except Exception as error:
        hint = f" (promotion.dtypes: {', '.join(dtypes)})" if dtypes else ""
        raise UnusableError(side, path, f"cannot be read: {brief(error)}{hint}") from error


def _columns(path: str) -> list[str]:
    if path.endswith(".csv"):
        return list(map(str, pd.read_csv(path, nrows=0).columns))
    return list(map(str, pyarrow.parquet.read_schema(path).empty_table().to_pandas().columns))


def _csv(path: str, dtypes: Mapping[str, Dtype], size: int) -> Iterator[pd.DataFrame]:
    # Without low_memory=False pandas would infer dtypes for pieces of a chunk; with usecols it would not see
    # that a line has too many cells.
    with pd.read_csv(path, dtype=dict(dtypes), chunksize=size, low_memory=False) as frames:
        yield from frames


def _parquet(path: str, dtypes: Mapping[str, Dtype], size: int, only: list[str] | None) -> Iterator[pd.DataFrame]:
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=size, columns=only):  # asked for "a" it gives "a.b", too
            yield batch.to_pandas().astype(dict(dtypes))
