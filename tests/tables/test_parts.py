"""Rows in several Parquet files: which files are read, and what is made of files that differ."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain.tables import FileError
from retrain.tables.hashing import Content, of_table
from retrain.tables.read import Table, columns

ROWS = pd.DataFrame({"a": np.arange(700) / 4, "kind": ["x", "y", "z", "x", "x", "y", "w"] * 100, "label": [0, 1] * 350})


def split(rows: pd.DataFrame, directory: Path, names: list[str]) -> Path:
    """The rows in as many files."""
    for name, numbers in zip(names, np.array_split(np.arange(len(rows)), len(names)), strict=True):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.iloc[numbers].to_parquet(path)
    return directory


def fingerprint(path: Path | str, chunk: int = 50) -> str:
    table = Table(str(path), {})
    total = Content()
    for rows in table.chunks(chunk):
        total += Content.of(of_table(rows))
    return total.fingerprint(table.columns, "label")


def test_the_content_does_not_depend_on_files_and_their_order(tmp_path: Path) -> None:
    """The same rows have one fingerprint: in one file, in seven, shuffled, in directories, with an index of pandas."""
    ROWS.to_parquet(tmp_path / "one.parquet")
    shuffled = ROWS.sample(frac=1, random_state=1)
    ways = [
        tmp_path / "one.parquet",
        split(ROWS, tmp_path / "seven", [f"{number}.parquet" for number in range(7)]),
        split(shuffled, tmp_path / "shuffled", ["b/2.parquet", "a.pq", "b/c/1"]),
        tmp_path / "seven/*.parquet",
    ]
    assert len({fingerprint(way) for way in ways}) == 1
    assert fingerprint(tmp_path / "seven/[0-5].parquet") != fingerprint(ways[0]), "other rows are others"


def test_small_files_are_read_together(tmp_path: Path) -> None:
    """A chunk has as many rows as asked for, whatever the files; only the last may have fewer."""
    path = split(ROWS, tmp_path / "rows", [f"{number:03}.parquet" for number in range(70)])
    table = Table(str(path), {})
    assert table.rows == 700
    assert [len(rows) for rows in table.chunks(150)] == [150, 150, 150, 150, 100]
    assert [len(sent) for _, sent in table.portions(["a", "kind"], 300)] == [300, 300, 100]
    assert all(sent["a"].num_chunks == 1 for _, sent in table.portions(["a"], 300)), "one message a chunk"


def test_hidden_files_hold_no_rows(tmp_path: Path) -> None:
    """What Spark, Hadoop and editors leave beside the rows is not read, nor are directories of theirs."""
    path = split(ROWS, tmp_path / "rows", ["1.parquet", "2.parquet"])
    for name in ("_SUCCESS", ".1.parquet.crc", "_metadata", ".hidden/x.parquet", "_delta_log/0.json"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("x")
    assert fingerprint(path) == fingerprint(f"{path}/*.parquet")


def test_directories_that_are_named_by_a_value_are_a_column(tmp_path: Path) -> None:
    """KEY=VALUE is a column, as with Hive and Spark: whole numbers as such, else texts; null has a name."""
    for day, region, rows in (("01", "a%20b", ROWS[:300]), ("12", "__HIVE_DEFAULT_PARTITION__", ROWS[300:])):
        directory = tmp_path / f"rows/day={day}/region={region}"
        directory.mkdir(parents=True)
        rows.to_parquet(directory / "part.parquet")
    found = pd.concat(Table(str(tmp_path / "rows"), {}).chunks(50))
    assert [*found.columns] == ["a", "kind", "label", "day", "region"] == columns(str(tmp_path / "rows"), {})
    assert found["day"].tolist() == [1] * 300 + [12] * 400
    assert found["region"].tolist()[299] == "a b"
    assert found["region"].isna().sum() == 400
    whole = ROWS.assign(day=[1] * 300 + [12] * 400, region=pd.Series(["a b"] * 300).reindex(range(700)))
    whole.to_parquet(tmp_path / "one.parquet")
    assert fingerprint(tmp_path / "rows") == fingerprint(tmp_path / "one.parquet")
    assert len(Table(f"{tmp_path}/rows/day=12/**/*.parquet", {}).columns) == 4, "below the directory that is named"


def test_types_that_differ_are_joined(tmp_path: Path) -> None:
    """Numbers of two types get the one that holds both, and categories are those of all files."""
    (tmp_path / "rows").mkdir()
    one = pd.DataFrame({"a": [1, 2], "c": pd.Categorical(["x", "y"]), "d": pd.Series([None, None], dtype=object)})
    two = pd.DataFrame({"d": ["t", None], "c": pd.Categorical(["z", None]), "a": [2.5, None]})
    one.to_parquet(tmp_path / "rows/1.parquet")
    two.to_parquet(tmp_path / "rows/2.parquet")
    table = Table(str(tmp_path / "rows"), {})
    for size in (1, 3, 10):
        found = pd.concat(table.chunks(size))
        assert found["a"].tolist()[:3] == [1, 2, 2.5]
        assert found["c"].dtype == pd.CategoricalDtype(["x", "y", "z"])
        assert found["c"].tolist()[:3] == ["x", "y", "z"]
        assert found["d"].tolist()[2] == "t"


def broken(directory: Path, how: str) -> None:
    """A directory that cannot be read."""
    other = directory / "b.parquet"
    match how:
        case "lacks":
            ROWS.drop(columns="kind").to_parquet(other)
        case "has":
            ROWS.assign(extra=1).to_parquet(other)
        case "types":
            ROWS.assign(a="text").to_parquet(other)
        case "csv":
            ROWS.to_csv(directory / "b.csv")
        case "empty":
            other.write_bytes(b"")
        case "cut off":
            other.write_bytes((directory / "a.parquet").read_bytes()[:-20])
        case "twice":
            (directory / "kind=x").mkdir()
            ROWS.to_parquet(directory / "kind=x/b.parquet")
        case "link":
            (directory / "more").symlink_to(directory.parent)
        case "dangling":
            other.symlink_to("nothing")
        case "pipe":
            os.mkfifo(other)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("lacks", "has files with different columns: b.parquet lacks 'kind', and a.parquet has it"),
        ("has", "has files with different columns: b.parquet has 'extra', and a.parquet lacks it"),
        ("types", "has files with different types: Unable to merge: Field a has incompatible types: double vs"),
        (
            "csv",
            "has DIR/b.csv, which is no Parquet file: of a directory all files are read but those whose name begins",
        ),
        ("empty", "has DIR/b.parquet, which is no Parquet file"),
        ("cut off", "has DIR/b.parquet, which is no Parquet file"),
        ("twice", "has the column 'kind' twice: in b.parquet and in the names of its directories"),
        ("link", "has a link to another directory, DIR/more: name that directory instead"),
        ("dangling", "cannot be read: DIR/b.parquet: No such file or directory"),
        ("pipe", "has DIR/b.parquet, which is no regular file"),
    ],
)
def test_what_cannot_be_read_is_not_left_out(tmp_path: Path, how: str, said: str) -> None:
    """A file that differs or cannot be read is named: no row is left out silently."""
    directory = split(ROWS, tmp_path / "rows", ["a.parquet"])
    broken(directory, how)
    with pytest.raises(FileError) as raised:
        Table(str(directory), {})
    assert str(raised.value).startswith(said.replace("DIR", str(directory)))


def test_a_directory_without_rows_is_no_table(tmp_path: Path) -> None:
    """An empty directory, one with hidden files alone, and a pattern that nothing matches."""
    (tmp_path / "_SUCCESS").touch()
    for path, said in (
        (tmp_path, "has no file in it (it needs Parquet files)"),
        (tmp_path / "*.parquet", "of that name"),
    ):
        with pytest.raises(FileError, match="has no file"):
            columns(str(path), {})
        with pytest.raises(FileError) as raised:
            Table(str(path), {})
        assert said in str(raised.value)


def test_a_file_that_disappears_is_named(tmp_path: Path) -> None:
    """The files are looked for once; one that is gone when its turn comes ends the reading."""
    directory = split(ROWS, tmp_path / "rows", ["a.parquet", "b.parquet"])
    chunks = Table(str(directory), {}).chunks(100)
    next(chunks)
    (directory / "b.parquet").unlink()
    with pytest.raises(FileError, match=r"cannot be read: .*/b\.parquet: .*No such file or directory"):
        list(chunks)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.parquet", "a1 a2 b1"),
        ("a?.parquet", "a1 a2"),
        ("[!a]*.parquet", "b1"),
        ("*/*.parquet", "a3"),
        ("**/*.parquet", "a1 a2 a3 a4 b1"),
        ("d/**/a4.parquet", "a4"),
    ],
)
def test_a_pattern_is_that_of_a_shell(tmp_path: Path, pattern: str, found: str) -> None:
    """*, ? and […] stand for what is within a name, **/ for directories; signs of a directory's own name stand for
    themselves."""
    here = tmp_path / "own[1]*"
    for name in ("a1", "a2", "b1", "d/a3", "d/e/f/a4"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"name": [name[-2:]]}).to_parquet(here / f"{name}.parquet")
    rows = pd.concat(Table(str(here / pattern), {}).chunks())
    assert sorted(rows["name"]) == found.split()
    assert len(Table(str(here / "a1.parquet"), {}).columns) == 1


def test_pieces_are_all_rows_once(tmp_path: Path) -> None:
    """Row groups of small files go together, those of a large one apart; another process reads them without looking."""
    path = split(ROWS, tmp_path / "rows", [f"{number}.parquet" for number in range(6)])
    ROWS.to_parquet(path / "large.parquet", row_group_size=100)
    for rows in (path, path / "large.parquet"):
        table = Table(str(rows), {})
        pieces = [pickle.loads(pickle.dumps(each)) for each in table.pieces(300)]  # noqa: S301 (our own)
        assert [piece.rows for piece in pieces][-3:] in ([300, 300, 100], [300, 300, 300])
        assert sum(piece.rows for piece in pieces) == table.rows
        found = pd.concat(chunk for piece in pieces for chunk in piece.chunks(70))
        assert Content.of(of_table(found)).fingerprint(table.columns, "label") == fingerprint(rows)
