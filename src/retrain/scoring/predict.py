"""One model and some rows → its prediction of each row, in a file."""

import json
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from retrain.core.records import Label
from retrain.scoring import models
from retrain.scoring.plan import Predictions, Send, blamed
from retrain.tables.read import Table


def written(plan: Predictions, send: Send) -> dict[str, Any]:
    """The answer to "predict". UnusableError where the rows or the model cannot be used."""
    send({"at": "holdout"})
    with blamed("holdout", plan.holdout):
        table = Table(plan.holdout, plan.dtypes)
        chunks = table.chunks(plan.chunk)
    found: list[Label] = []
    send({"at": "challenger"})
    for chunk in chunks:
        features = chunk.drop(columns=plan.target)
        with blamed("challenger", plan.challenger):
            found += models.predict(plan.challenger, plan.trusted, features, plan.fractional, plan.aside)
        send({"progress": len(found) / table.rows})
    codes, labels = pd.factorize(pd.Series(found, dtype=object))
    metadata = {"labels": json.dumps(labels.tolist())}
    pa.parquet.write_table(pa.table({"code": codes.astype("int32")}).replace_schema_metadata(metadata), plan.into)
    return {"rows": len(found)}
