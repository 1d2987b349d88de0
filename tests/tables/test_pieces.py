"""A CSV that grows, read piece by piece."""

import io

import pytest

from retrain.tables import FileError
from retrain.tables.pieces import Position, appended


def test_only_what_was_appended_is_read() -> None:
    """Requirement: after a look, only the bytes behind the last complete line are parsed again."""
    file = io.BytesIO(b"a,b\n1,2\n3,4\n5")
    first = list(appended(file, Position()))
    assert [piece.rows.to_pylist() for piece in first] == [[{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]]
    file.write(b"5,6\n")
    assert first[-1].position.continues_in(file)
    [piece] = appended(file, first[-1].position)
    assert piece.rows.to_pylist() == [{"a": "55", "b": "6"}]


def test_a_quoted_line_end_does_not_end_a_record() -> None:
    """Requirement: a text with a line end in it is one value, however the file is cut."""
    text = b'a,b\n1,"x\ny"\n2,"say ""hi"""\n'
    for cut in range(5, len(text)):
        file = io.BytesIO(text[:cut])
        found = list(appended(file, Position()))
        file = io.BytesIO(text)
        found += appended(file, found[-1].position)
        rows = [row for piece in found for row in piece.rows.to_pylist()]
        assert rows == [{"a": "1", "b": "x\ny"}, {"a": "2", "b": 'say "hi"'}], cut


def test_many_quoted_line_ends_are_read_in_a_moment() -> None:
    """Requirement: the time grows with the records, not with their square (this took minutes)."""
    record = b'1,"x\ny ""z"""\n'
    [piece] = appended(io.BytesIO(b"a,b\n" + record * 60_000), Position())
    assert (piece.rows.num_rows, piece.lost) == (60_000, ())


def test_a_stray_quote_does_not_stop_the_log() -> None:
    """Requirement: a quote that nothing closes holds rows back for a while, never for good and never without bound."""
    lines = b'a,b\n1,5" pipe\n' + b"2,3\n" * 20_000
    found = appended(io.BytesIO(lines), Position())
    assert sum(piece.rows.num_rows + len(piece.lost) for piece in found) == 20_001


def test_a_log_of_stray_quotes_alone_is_read_in_a_moment() -> None:
    """Requirement: where each line leaves a quote open, none is tried with thousands of those that follow."""
    lines = b"a,b,c\n" + b"".join(b'%d,"tv %d,1\n' % (number, number) for number in range(20_000))
    found = list(appended(io.BytesIO(lines), Position()))
    assert sum(piece.rows.num_rows for piece in found) == 0
    assert sum(len(piece.lost) for piece in found) == 19_999, "the last may go on"


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_text_of_several_lines_may_stand_in_any_column(column: int) -> None:
    """Requirement: its last line, though it has as many values as a row, is no row."""
    rows = [["1", "2", "3"] for _ in range(3)]
    rows[1][column] = "first, second\nlast"
    texts = [[f'"{each}"' if "\n" in each else each for each in row] for row in rows]
    content = "a,b,c\n" + "".join(",".join(row) + "\n" for row in texts)
    [piece] = appended(io.BytesIO(content.encode()), Position())
    assert [list(row.values()) for row in piece.rows.to_pylist()] == rows
    assert not len(piece.lost)


@pytest.mark.parametrize(
    "inner", ["bring coffee, tea, milk", "12 cups, tea, milk", " ,a,b", '"b","c","d"', "20261129,b,c"]
)
def test_a_line_in_quotes_with_as_many_values_as_a_row_is_none(inner: str) -> None:
    """Requirement: only one with a time where the rows have theirs is; the text is one value, however it is cut."""
    note = f"Dear all,\n{inner}\nthank you"
    text = 'at,note,y\n1,"{}",0\n2,"stray,1\n2026-11-29T10:00,b,1\n'.format(note.replace('"', '""')).encode()
    for cut in range(10, len(text)):
        found = list(appended(io.BytesIO(text[:cut]), Position(), {"at"}))
        found += appended(io.BytesIO(text), found[-1].position, {"at"})
        rows = [list(row.values()) for piece in found for row in piece.rows.to_pylist()]
        assert rows == [["1", note, "0"], ["2026-11-29T10:00", "b", "1"]], cut
        assert sum(len(piece.lost) for piece in found) == 1, "the stray quote's own line"


def test_many_lines_in_quotes_with_as_many_values_as_a_row_are_read_in_a_moment() -> None:
    """Requirement: whether each has a time is seen without asking pandas."""
    record = b'1,"Dear all,\nmilk,tea\nsugar,rum\n"\n'
    [piece] = appended(io.BytesIO(b"at,b\n" + record * 60_000), Position(), {"at"})
    assert (piece.rows.num_rows, piece.lost) == (60_000, ())


@pytest.mark.parametrize("quote", [b"", b'"'])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_a_record_that_is_not_utf_8_is_no_row(quote: bytes, encoding: str) -> None:
    """Requirement: what cannot be read is lost, and said to be: replaced by one sign two texts would be equal."""
    words = [b"no", "n\u00e9".encode(encoding), "n\u00e8".encode(encoding), b"yes"]
    lines = [b"a,b", *(b"1," + quote + word + quote for word in words)]
    [piece] = appended(io.BytesIO(b"\n".join(lines) + b"\n"), Position())
    is_lost = encoding == "latin-1"
    assert [row["b"] for row in piece.rows.to_pylist()] == [
        "no",
        *(["n\u00e9", "n\u00e8"] if not is_lost else []),
        "yes",
    ]
    assert (piece.lost, piece.problem) == (((1, 1), "line 3 is not UTF-8") if is_lost else ((), ""))


def test_a_header_that_is_not_utf_8_still_names_the_columns() -> None:
    """Requirement: only the name of that column is unreadable, the rows are not."""
    [piece] = appended(io.BytesIO("gr\u00f6\u00dfe,b\n1,2\n".encode("latin-1")), Position())
    assert piece.rows.column("b").to_pylist() == ["2"]


def test_a_header_may_come_again() -> None:
    """Requirement: a line with all the names is a header, however it is quoted; the rows behind it are under it."""
    text = b'a,b,c\n1,2,3\n"c","a"\n4,5\n6,7,8\n'
    [first, second] = appended(io.BytesIO(text), Position(), {"a", "c"})
    assert first.rows.to_pylist() == [{"a": "1", "b": "2", "c": "3"}]
    assert (second.rows.to_pylist(), second.lost) == ([{"c": "4", "a": "5"}], (1,))
    assert second.position.columns == ("c", "a")


def test_only_an_unclosed_quotes_own_line_is_lost() -> None:
    """Requirement: a line that is a row by itself is no part of a quoted text; one that is none may be."""
    lines = [b"a,b", b'1,"stray', b"2,x", b'3,"two', b'lines"', b'4,"a" b', b'5,"last', b"6,y"]
    for cut in range(len(lines) + 1):
        file = io.BytesIO(b"".join(line + b"\n" for line in lines))
        first = b"".join(line + b"\n" for line in lines[:cut]) or b"a,b\n"
        found = list(appended(io.BytesIO(first), Position()))
        found += appended(file, found[-1].position if found else Position())
        assert [row["a"] for piece in found for row in piece.rows.to_pylist()] == ["2", "3", "6"], cut
        assert sum(len(piece.lost) for piece in found) == 3, cut


@pytest.mark.parametrize(
    ("text", "problem"),
    [(b"", "no header line yet"), (b"a,b", "no header line yet"), (b"\n1,2\n", "the first line is empty")],
)
def test_a_csv_without_a_header_cannot_be_read(text: bytes, problem: str) -> None:
    """Requirement: a header that is not there yet is another problem than one that never comes."""
    with pytest.raises(FileError, match=problem):
        list(appended(io.BytesIO(text), Position()))


def test_a_record_with_more_or_fewer_values_is_counted() -> None:
    """Requirement: the records around it are rows."""
    [piece] = appended(io.BytesIO(b"a,b\n1,2\n1,2,3\n4\n5,NA\n"), Position())
    assert (piece.rows.to_pylist(), len(piece.lost)) == ([{"a": "1", "b": "2"}, {"a": "5", "b": "NA"}], 2)
