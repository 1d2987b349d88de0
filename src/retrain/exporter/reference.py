"""The rows that drift is measured against."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from retrain.config.schema import Config
from retrain.errors import RetrainError
from retrain.exporter.values import MISSING


def locate(config: Config) -> Path:
    """The configured reference, or the one that was kept with the champion that is served now.

    Raises RetrainError where there is none.
    """
    if config.monitor.reference is not None:
        if not config.monitor.reference.exists():
            raise RetrainError(f"the reference {config.monitor.reference} is missing (monitor.reference)")
        return config.monitor.reference
    champion = config.models.champion
    if not champion.exists():
        raise RetrainError(f"no reference: there is no champion at {champion} yet (or set monitor.reference)")
    version = champion.resolve()
    reference = version.with_suffix(".reference.parquet")
    if not reference.exists():
        raise RetrainError(
            f"no reference: training left no sample at RETRAIN_REFERENCE for champion {version.stem[:12]}"
            " (or set monitor.reference)"
        )
    return reference


def read(path: Path, features: Sequence[str]) -> pd.DataFrame:
    """The reference's rows, with those of the features that it has. Raises RetrainError."""
    try:
        if path.suffix == ".parquet":
            names = [field.name for field in pa.parquet.read_schema(path) if not pa.types.is_nested(field.type)]
            table = pa.parquet.read_table(path, columns=[name for name in features if name in names])
            frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
            return frame
        missing = list(MISSING)
        wanted = set(features)
        return pd.read_csv(
            path, usecols=wanted.__contains__, na_values=missing, keep_default_na=False, low_memory=False
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RetrainError(f"the reference {path} cannot be read: {str(error).partition(chr(10))[0]}") from error
