"""Reading a CSV or Parquet file: each column has one dtype, whatever a chunk looks like alone."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.tables import FileError
from retrain.tables.read import Table, columns


def whole(path: Path, chunk: int, dtypes: dict[str, str] | None = None, only: list[str] | None = None) -> pd.DataFrame:
    """The chunks put together, after a comparison of the dtypes of each."""
    table = Table(str(path), dtypes or {}, only)
    frames = list(table.chunks(chunk))
    assert all((frame.dtypes == frames[0].dtypes).all() for frame in frames)
    assert all(len(frame) <= chunk for frame in frames)
    frame = pd.concat(frames, ignore_index=True)
    assert (table.rows, table.columns) == (len(frame), list(frame.columns))
    return frame


def csv(path: Path, cells: list[str]) -> Path:
    path.write_text("label,a\n" + "".join(f"1,{cell}\n" for cell in cells))
    return path


NUMBERS = st.sampled_from(["1", "-7", "2.5", "1e3", "007", "", "NA", "inf"])
TRUTHS = st.sampled_from(["True", "FALSE", "", "true"])
HUGE = st.sampled_from(["1", "-1", str(2**64), ""])
ANY = st.one_of(NUMBERS, TRUTHS, st.sampled_from(["x", " 1", "é"]))


@given(
    cells=st.one_of(*(st.lists(kind, min_size=1, max_size=9) for kind in (NUMBERS, TRUTHS, HUGE, ANY))),
    chunk=st.integers(1, 4),
)
@settings(deadline=None, max_examples=30)
def test_a_csv_is_typed_as_a_whole(tmp_path_factory: pytest.TempPathFactory, cells: list[str], chunk: int) -> None:
    """Values and dtypes are those of pandas, which is what a training reads the file with."""
    path = csv(tmp_path_factory.mktemp("csv") / "rows.csv", cells)
    pd.testing.assert_frame_equal(whole(path, chunk), pd.read_csv(path, low_memory=False))


@pytest.mark.parametrize("cells", [[str(2**63 + 5), "1"], [str(2**63 + 5), "-1"], [str(2**63 + 5), "1.5", ""]])
def test_identifiers_above_the_signed_range(tmp_path: Path, cells: list[str]) -> None:
    """64-bit hashes as identifiers are typed as a whole, too."""
    path = csv(tmp_path / "rows.csv", cells)
    pd.testing.assert_frame_equal(whole(path, 1), pd.read_csv(path))


def test_configured_dtypes_are_taken_as_they_are(tmp_path: Path) -> None:
    """Codes keep their zeros, categories are those of the whole column, in both formats."""
    path = tmp_path / "rows.csv"
    path.write_text("label,zip,grade\n1,02138,b\n0,10001,a\n1,,c\n")
    dtypes = {"zip": "str", "grade": "category"}
    read = pd.read_csv(path, dtype=dtypes)
    pd.testing.assert_frame_equal(whole(path, 1, dtypes), read)
    read.astype({"grade": "str"}).to_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(whole(tmp_path / "rows.parquet", 1, dtypes), read)


@pytest.mark.parametrize("statistics", [True, False])
def test_a_parquet_is_typed_as_a_whole(tmp_path: Path, statistics: bool) -> None:
    """An integer column with a null somewhere is one of floats everywhere; dictionaries are united."""
    grades = pa.chunked_array([pa.array(part).dictionary_encode() for part in (["b", "a"], ["c", None])])
    table = pa.table(
        {"label": [1, 0, 1, 0], "n": [1, 2, None, 4], "t": [True, None, False, True], "s": ["", None, "x", "y"]}
    ).append_column("grade", grades)
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(table, path, row_group_size=2, write_statistics=statistics)
    pd.testing.assert_frame_equal(whole(path, 1), pd.read_parquet(path))


def test_types_that_only_parquet_has(tmp_path: Path) -> None:
    """Nullable numbers, days, moments with a zone, lists and columns of nulls are what pandas.read_parquet gives."""
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3], "Int64"),
            "on": pd.array([True, None, False], "boolean"),
            "at": pd.to_datetime(pd.Series(["2024-01-01", None, "2024-01-03"]), utc=True),
            "vector": [[1.5], None, [2.5]],
            "nothing": [None] * 3,
        }
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(whole(tmp_path / "rows.parquet", 2), pd.read_parquet(tmp_path / "rows.parquet"))


def test_only_some_columns_of_only_some(tmp_path: Path) -> None:
    """Columns come in the order asked for; a is not a.b; an index that pandas wrote is no column."""
    frame = pd.DataFrame({"a": [1, 2], "a.b": [3, 4], "c": [5, 6]}, index=[7, 9])
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for path in (tmp_path / "rows.parquet", tmp_path / "rows.csv"):
        assert columns(str(path), {}) == ["a", "a.b", "c"]
        assert list(whole(path, 1, only=["c", "a"]).columns) == ["c", "a"]
        assert [list(chunk.columns) for chunk in Table(str(path), {}).chunks(2, ["c"])] == [["c"]]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_without_rows(tmp_path: Path, suffix: str) -> None:
    """It has columns and no chunks."""
    path = tmp_path / f"rows.{suffix}"
    frame = pd.DataFrame({"a": [], "b": []})
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    table = Table(str(path), {})
    assert (table.rows, table.columns, list(table.chunks())) == (0, ["a", "b"], [])


@pytest.mark.parametrize(
    ("text", "encoding", "line"),
    [
        ("a,label\nx,1\n\nsch\u00f6n,0\n", "latin-1", 4),
        ("gr\u00f6\u00dfe,label\n1,0\n", "latin-1", 1),
        ("\n\ngr\u00f6\u00dfe,label\n1,0\n", "latin-1", 3),
        ("a,label\n1,0\n", "utf-16", 1),
        ("a,label\n1,0\n", "utf-16-be", 1),
        ("a,label\n1,0\n", "utf-32", 1),
    ],
)
def test_a_csv_in_another_encoding(tmp_path: Path, text: str, encoding: str, line: int) -> None:
    """Requirement: a file that a spreadsheet has saved is named with its first such line, and what mends it."""
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding=encoding)
    with pytest.raises(FileError) as caught:
        Table(str(path), {})
    assert str(caught.value) == f"is not UTF-8 (line {line}): save it as UTF-8"
    path.write_text(text, encoding="utf-8-sig")
    assert Table(str(path), {}).rows == text.count(",") - 1


@pytest.mark.parametrize(
    ("content", "dtypes", "problem"),
    [
        (None, {}, "cannot be read: FileNotFoundError: "),
        ("", {}, "is empty: it has no header line"),
        ("\n \n", {}, "is empty: it has no header line"),
        ('a,label\n1,"0\n', {}, "cannot be read: ParserError: "),
        ("a\nx\n", {"a": "int64"}, r"cannot be read: ValueError: .* \(promotion\.dtypes: a\)$"),
        ("a\nx\n", {"a": "strng"}, "promotion.dtypes gives 'a' the dtype 'strng', which pandas does not know"),
    ],
)
def test_a_csv_that_cannot_be_read(tmp_path: Path, content: str | None, dtypes: Any, problem: str) -> None:
    """The sentence says what is wrong with the file, on one line."""
    path = tmp_path / "rows.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(FileError, match=problem) as caught:
        Table(str(path), dtypes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["a,label", "1,0", "2,3,4"], "has 3 values in line 3, but its header names 2 columns"),
        (["a,label", "7,1,0", "8,2,0"], "has 3 values in line 2, but its header names 2 columns"),
        (["a,label", "1,0,", "2,1,"], "has 3 values in line 2, but its header names 2 columns"),
        (["a,label", "8,2,0", "1,0"], "has 3 values in line 2, but its header names 2 columns"),
        (["a,b,label", "1,2,0", "1,0"], "has 2 values in line 3, but its header names 3 columns"),
        (["a,b,label", "", '"two\nlines",2,0', "  ", "1,0"], "has 2 values in line 6, but its header names 3 columns"),
        (['"x","y"', '"1",0.5,0', '"2",0.7,1'], r"has 3 values in line 2, .* \(row names of R too: write.csv"),
        (["a,label", "1,0", "2"], "has 1 values in line 3, but its header names 2 columns"),
    ],
)
def test_a_csv_whose_lines_have_not_one_value_a_column(tmp_path: Path, lines: list[str], sentence: str) -> None:
    """Requirement: pandas would read every column as its neighbour, or fill up; the first such line is named."""
    path = tmp_path / "rows.csv"
    path.write_text("\ufeff" + "\n".join(lines) + "\n")
    with pytest.raises(FileError, match=sentence):
        Table(str(path), {})


_ROWS = [f"no {number},{number / 8},{number % 2}" for number in range(600)]
_CLASSES = [f"no {number},{'yes' if number % 2 else 'no'}" for number in range(600)]


@pytest.mark.parametrize(
    ("rows", "last", "until"),
    [
        *((_ROWS, '"{},{}', until) for until in (101, 102, 400)),
        *((_ROWS, '{},{}"', until) for until in (102, 400)),
        *((_CLASSES, '"{},{}', until) for until in (101, 102, 400)),
        *((_CLASSES, '{}",{}', until) for until in (102, 400)),
    ],
)
def test_a_stray_quote_hides_no_rows(tmp_path: Path, rows: list[str], last: str, until: int) -> None:
    """Requirement: two stray quotes are refused with the line of the first one; all between would be one value."""
    lines = ["text,a,label" if rows is _ROWS else "text,label", *rows]
    lines[100] = f'"{lines[100]}'
    lines[until] = last.format(*lines[until].rsplit(",", 1))
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FileError, match=r"^has (a stray quote in line 101: all up to line|1 values in line 101)"):
        Table(str(path), {})


@pytest.mark.parametrize("dtypes", [{}, {"text": "category", "label": "str"}])
@pytest.mark.parametrize(
    ("header", "again"),
    [
        ("text,a,label", "text,a,label"),
        ("text,a,label", "label,text,a"),
        ("text,a,label", '"text","a","label"'),
        (",text,label", ",text,label"),
    ],
)
def test_a_header_in_the_middle(tmp_path: Path, header: str, again: str, dtypes: dict[str, str]) -> None:
    """Requirement: files that were joined with their headers are refused; the second header is named by its line."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, "", '"two\nlines",2,0', "text,1,1", again, "x,3,0"]) + "\n")
    with pytest.raises(FileError, match=r"^has the names of its columns again, in line 6: "):
        Table(str(path), dtypes)


@pytest.mark.parametrize("lines", [["x", "1", "x"], ["a,b", "a,a", "b,b"], ["a,b", "a,", "b,x"]])
def test_a_value_that_is_the_name_of_a_column(tmp_path: Path, lines: list[str]) -> None:
    """Requirement: a row is a header only where it has the names of all columns, and there are two or more."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    assert Table(str(path), {}).rows == 2


@pytest.mark.parametrize(
    ("header", "records"),
    [
        ("text,label", ['"Dear Sir, thanks,\nfor all, and more\nto come, soon\nyours, Bo",1', '"a ""b""\n\nc",0']),
        ("text,label", ['"Dear Sir, thanks,\nfor all, and more\nto come, soon\nyours, Bo",yes', "x,no"]),
        ("text", ['"one\ntwo\nthree\nfour"', "two"]),
        ("a,text,label", ['1,"x,y\r\nz",0', '2,"5"" disk\n",1', '3,a 5" disk,1']),
        ("label,text", ['1,"1 of 2,\n3 of 4"', "0,x"]),
    ],
)
def test_a_text_of_several_lines_is_one_value(tmp_path: Path, header: str, records: list[str]) -> None:
    """Requirement: quoted line breaks, commas and quotes belong to the text; no line of it is taken for a row."""
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, *records]) + "\n", newline="")
    assert len(whole(path, 1)) == len(records)


def test_values_that_are_missing_at_the_end_of_a_line(tmp_path: Path) -> None:
    """Requirement: an empty last field is a missing value, and row names that have a name are a column."""
    path = tmp_path / "rows.csv"
    path.write_text('"","a","label"\n"1",2,0\n"2",3,\n')
    frame = whole(path, 1)
    assert list(frame.columns) == ["Unnamed: 0", "a", "label"]
    assert frame["label"].isna().tolist() == [False, True]


@pytest.mark.parametrize("header", ["a,label,a", "label,label,a", "a,a,label"])
def test_a_csv_with_a_column_twice(tmp_path: Path, header: str) -> None:
    """Requirement: refused as in Parquet. pandas renames the second one, and so it would be a feature."""
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n1,0,1\n")
    twice = "label" if header.count("label") == 2 else "a"
    for read in (lambda: columns(str(path), {}), lambda: Table(str(path), {})):
        with pytest.raises(FileError, match=f"has more than one column '{twice}'$"):
            read()
    path.write_text("a,a.1,label\n1,0,1\n")
    assert Table(str(path), {}).columns == ["a", "a.1", "label"]


def test_in_a_column_of_labels_only_the_empty_field_is_missing(tmp_path: Path) -> None:
    """Requirement: a class may be called None, NA, null, nan or n/a; a feature of that text is missing."""
    words = ["None", "NA", "null", "n/a", "nan", "", "x"]
    path = tmp_path / "rows.csv"
    path.write_text("label,a\n" + "".join(f"{word},{word}\n" for word in words))
    (frame,) = Table(str(path), {}, labels=["label"]).chunks()
    assert frame["label"].fillna("").tolist() == words
    assert frame["label"].isna().sum() == 1
    assert frame["a"].isna().tolist() == [True] * 6 + [False]
    path.write_text("label,a\n1,NA\n,2\n0,\n")
    (frame,) = Table(str(path), {}, labels=["label"]).chunks()
    assert frame["label"].dtype == "float64"


def test_a_parquet_that_cannot_be_read(tmp_path: Path) -> None:
    """Broken files, and columns that occur twice."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(FileError, match="cannot be read: ArrowInvalid"):
        Table(str(path), {})
    pyarrow.parquet.write_table(pa.table([[1], [0], [1]], names=["a", "label", "a"]), path)
    with pytest.raises(FileError, match="has more than one column 'a'"):
        Table(str(path), {})


def test_a_column_that_the_configuration_names(tmp_path: Path) -> None:
    """The column, the key that names it, and what there is."""
    path = csv(tmp_path / "rows.csv", ["1"])
    assert columns(str(path), {"a": "promotion.slices"}) == ["label", "a"]
    with pytest.raises(FileError, match=r"has no column 'b', which promotion\.slices names; it has label, a"):
        columns(str(path), {"b": "promotion.slices"})
