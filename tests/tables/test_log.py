"""The log of predictions as a table, from which trainings are fed."""

from pathlib import Path

import pandas as pd

from retrain.tables.log import Log


def test_a_class_of_the_log_may_be_called_none(tmp_path: Path) -> None:
    """Requirement: in the label column of a CSV only the empty field is missing; a feature of that text is missing."""
    path = tmp_path / "log.csv"
    path.write_text("x,label\nNone,None\n1,NA\n2,\n")
    frame = pd.concat([piece.to_pandas() for piece in Log(str(path), {}, "label").pieces()])
    assert frame["label"].fillna("").tolist() == ["None", "NA", ""]
    assert frame["x"].isna().tolist() == [True, False, False]
