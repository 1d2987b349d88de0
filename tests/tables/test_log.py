"""The log of predictions as a table, from which trainings are fed."""

from pathlib import Path

import pandas as pd
import pytest

from retrain.tables import FileError
from retrain.tables.log import Log

HEADER = "timestamp,x,label\n"


def frame(path: Path, text: str) -> "pd.DataFrame":
    """The rows of a CSV log with this text."""
    path.write_bytes(text.encode())
    frames: list[pd.DataFrame] = [piece.to_pandas() for piece in Log(str(path), {}, "label", {"timestamp"}).pieces()]
    return pd.concat(frames)


def test_a_class_of_the_log_may_be_called_none(tmp_path: Path) -> None:
    """Requirement: in the label column of a CSV only the empty field is missing; a feature of that text is missing."""
    path = tmp_path / "log.csv"
    path.write_text("x,label\nNone,None\n1,NA\n2,\n")
    frame = pd.concat([piece.to_pandas() for piece in Log(str(path), {}, "label").pieces()])
    assert frame["label"].fillna("").tolist() == ["None", "NA", ""]
    assert frame["x"].isna().tolist() == [True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "1,2.5,1\n2,,0\n",
        HEADER + "1,2.5,1\n" + HEADER + "2,,0\n",
        HEADER + "1,2.5,1\nlabel,timestamp,x\n0,2,\n",
        HEADER.replace("\n", "\r\n") + "1,2.5,1\r\n2,,0\r\n",
        "\ufeff" + HEADER + "1,2.5,1\n2,,0\n3,1",
        HEADER + '1,2.5,"1"\n"5 pipe,1,1\n2,,0\n',
        HEADER + "1,2.5\0,1\n1,2,3,4\n2,,0\n",
        "timestamp,label\n" + "x,label,timestamp\n2.5,1,1\n" + "timestamp,label\n2,0\n",
    ],
)
def test_a_log_is_read_as_the_monitor_reads_it(tmp_path: Path, text: str) -> None:
    """Requirement: headers in the middle, stray quotes and half lines change neither rows nor types."""
    found = frame(tmp_path / "log.csv", text)[["timestamp", "x", "label"]]
    expected = pd.DataFrame({"timestamp": [1, 2], "x": [2.5, None], "label": [1, 0]})
    pd.testing.assert_frame_equal(found, expected)


def test_a_log_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    """Requirement: which one is meant cannot be known; the column is named."""
    with pytest.raises(FileError, match="more than one column 'x'"):
        frame(tmp_path / "log.csv", "timestamp,x,x,label\n1,2,3,1\n")
