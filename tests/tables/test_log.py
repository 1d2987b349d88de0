"""The log of predictions as a table, from which trainings are fed."""

import gzip
import os
from math import inf
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


def parts(log: Path, *texts: str) -> None:
    """Write the rotated files, oldest first, and the log last; text N was last written on day N."""
    for number, text in enumerate(texts, 1):
        path = log if number == len(texts) else log.with_name(f"{log.name}.{len(texts) - number}")
        path.write_text(text)
        os.utime(path, (number * 86400, number * 86400))


@pytest.mark.parametrize(
    "texts",
    [
        (HEADER + "1,2.5,1\n", HEADER + "2,3.5,0\n", HEADER + "3,4.5,1\n"),
        (HEADER + "1,2.5,1\n", "2,3.5,0\n", "3,4.5,1\n"),
        (HEADER + "1,2.5,1\n", "label,timestamp,x\n0,2,3.5\n", "1,3,4.5\n"),
        (HEADER + "1,2.5,1\n", HEADER + "2,3.5,0", HEADER + "3,4.5,1\n"),
        ("label,x,timestamp\n1,2.5,1\n" + HEADER, "2,3.5,0\n", "3,4.5,1\n"),
        (HEADER + "1,2.5,1\n", "", "2,3.5,0\n", "3,4.5,1\n"),
    ],
)
def test_rotated_files_come_first_as_far_back_as_is_asked(tmp_path: Path, texts: tuple[str, ...]) -> None:
    """Requirement: renamed, or copied and cut, so that the files after the first have no header."""
    log = tmp_path / "log.csv"
    parts(log, *texts)

    def times(since: float) -> list[int]:
        found = [piece.to_pandas() for piece in Log(str(log), {}, "label", {"timestamp"}, since).pieces(["timestamp"])]
        return list(pd.concat(found)["timestamp"])

    assert times(inf) == [3]
    assert times((len(texts) - 1.5) * 86400) == [2, 3]
    assert times(0.5 * 86400) == [1, 2, 3]


def test_a_rotated_file_that_is_not_asked_for_may_be_broken(tmp_path: Path) -> None:
    """Requirement: one that is asked for is named, for rows would be missing without a word."""
    log, old = tmp_path / "log.csv", tmp_path / "log.csv.2.gz"
    parts(log, HEADER + "2,3.5,0\n", HEADER + "3,4.5,1\n")
    with gzip.open(tmp_path / "log.csv.3.gz", "wb"):
        pass  # as logrotate leaves it, where nothing was logged
    old.write_bytes(b"no gzip")
    os.utime(old, (86400, 86400))
    assert len(pd.concat([piece.to_pandas() for piece in Log(str(log), {}, "label", {"timestamp"}).pieces()])) == 1
    with pytest.raises(FileError, match=r"log\.csv\.2\.gz: Not a gzipped file"):
        Log(str(log), {}, "label", {"timestamp"}, since=0)


def test_the_lines_that_are_no_rows_are_known(tmp_path: Path) -> None:
    """Requirement: where each was among the rows of all files, and in which line of which file the first is."""
    log = tmp_path / "log.csv"
    parts(log, HEADER + "1,2.5,1\n2,1\n", HEADER + "3,4.5,1\n" + HEADER + '4,"5"6,1\n')
    found = Log(str(log), {}, "label", {"timestamp"}, 0)
    assert (found.lost, found.problem) == ([1, 2], "log.csv.1: line 3 has 2 values for 3 columns")
    alone = Log(str(log), {}, "label", {"timestamp"})
    assert (alone.lost, alone.problem.partition(" a quote")[0]) == ([1], "log.csv: line 4 has")


def test_a_log_that_was_just_rotated_is_not_yet_whole(tmp_path: Path) -> None:
    """Requirement: until the new file has a line, the service may still write the last one of the old."""
    log = tmp_path / "log.csv"
    parts(log, HEADER + "1,2.5,1\n2,3.5,0", "")
    assert len(pd.concat([piece.to_pandas() for piece in Log(str(log), {}, "label", {"timestamp"}, 0).pieces()])) == 1
    with pytest.raises(FileError, match="it has no row yet"):
        Log(str(log), {}, "label", {"timestamp"})
