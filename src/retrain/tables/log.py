"""The log of predictions as a table: typed as pandas types the whole file, its complete lines only."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from pandas.api.types import pandas_dtype

from retrain.tables import CHUNK, FileError
from retrain.tables.pieces import complete
from retrain.tables.read import brief, check_columns
from retrain.tables.values import MISSING


class Log:
    """A CSV or Parquet log. A CSV is read whole; a line that is not yet whole, or has too many values, is left out."""

    def __init__(self, path: str, dtypes: Mapping[str, str], label: str) -> None:
        """Read it, those columns in `dtypes` as what their text says. FileError where that cannot be.

        In the column `label` of a CSV only the empty field is missing: a class may be called None.
        """
        self._path = path
        self._table: Any = None
        try:
            if path.endswith(".csv"):
                self._table = pa.Table.from_pandas(_frame(Path(path).read_bytes(), dtypes, label), preserve_index=False)
            self.schema = self._table.schema if self._table is not None else pa.parquet.read_schema(path)
        except Exception as error:
            raise FileError(f"cannot be read: {brief(error)}") from error

    def needs(self, named: Mapping[str, str]) -> None:
        """Raise FileError where it lacks a column that a key of the configuration names, or has one twice."""
        check_columns(self.schema.names, named)

    def pieces(self, only: Sequence[str] | None = None) -> Iterator[Any]:
        """Its rows in order as Arrow tables, with all columns or `only` some."""
        names = list(self.schema.names if only is None else only)
        if self._table is not None:
            for start in range(0, len(self._table), CHUNK):
                yield self._table.slice(start, CHUNK).select(names)
            return
        try:
            with pa.parquet.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=CHUNK, columns=names):
                    yield pa.Table.from_batches([batch]).select(names)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise FileError(f"cannot be read: {brief(error)}") from error


def _frame(content: bytes, dtypes: Mapping[str, str], label: str) -> pd.DataFrame:
    """The complete lines of a CSV. A program may be about to write the rest of the last one."""
    whole = content[: complete(content)]
    names = pd.read_csv(BytesIO(whole), nrows=0, index_col=False, encoding_errors="replace").columns
    return pd.read_csv(
        BytesIO(whole),
        dtype={name: pandas_dtype(text) for name, text in dtypes.items()},
        low_memory=False,
        na_values={name: [""] if name == label else list(MISSING) for name in names},
        keep_default_na=False,
        on_bad_lines="skip",
        index_col=False,
        encoding_errors="replace",
    )
