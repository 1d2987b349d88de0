"""Numbers, times and foreign texts as a person reads them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from retrain.core import text
from retrain.core.records import Unknown


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (45.4, "45 s"),
        (60, "1 min"),
        (3601, "1 h"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (100 * 86400 + 5 * 3600 + 59, "100 d 5 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float, told: str) -> None:
    """Those that matter; a clock that was set back gives no negative one."""
    assert text.duration(timedelta(seconds=seconds)) == told


def test_times_are_told_in_utc() -> None:
    """Wherever the machine is."""
    at = datetime(2026, 11, 22, 18, 10, 30, tzinfo=timezone(timedelta(hours=2)))
    assert text.moment(at) == "2026-11-22 16:10 UTC"
    assert text.iso(at) == "2026-11-22T16:10:30Z"
    assert datetime.fromisoformat(text.iso(at)).astimezone(UTC) == at


@pytest.mark.parametrize(
    ("value", "threshold", "told"),
    [
        (0.78, 0.85, ("0.780", "0.850")),
        (0.85, 0.85, ("0.850", "0.850")),
        (0.84996, 0.85, ("0.84996", "0.85000")),
        (1e-20, 2e-20, ("1e-20", "2e-20")),
    ],
)
def test_two_numbers_that_differ_look_different(value: float, threshold: float, told: tuple[str, str]) -> None:
    """A breach that reads `0.850 is below 0.850` helps nobody."""
    assert text.apart(value, threshold) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 KiB"),
        (512, "0.5 KiB"),
        (512 * 1024**2, "512 MiB"),
        (3 * 1024**3 // 2, "1.5 GiB"),
        (53_213_400_000, "49.56 GiB"),
        (2 * 1024**4, "2 TiB"),
    ],
)
def test_a_size_has_the_largest_unit_that_it_fills(count: int, told: str) -> None:
    """In binary units, as `free` and `df -h` count."""
    assert text.size(count) == told


def test_a_number_has_its_noun() -> None:
    """With commas, and a plural where there is not just one."""
    assert [text.counted(count, "window") for count in (0, 1, 2500)] == ["0 windows", "1 window", "2,500 windows"]


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain", "plain"),
        (" out of  memory\n", "out of memory"),
        ("one\r\ntwo\tthree\x0bfour\u2028five", "one two three four five"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain", "red plain"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b(B\x1b7ok \x9b31mred", "link ok red"),
        ("bell\x07 null\x00 back\x08 del\x7f", "bell null back del"),
        ("\u202eright-to-left\u2066 \ufeffmark", "right-to-left mark"),
        ("\x1b", ""),
        ("\ud800 half", "half"),
        ("café \ufffd 模型", "café \ufffd 模型"),
        ("x" * 50, "x" * 50),
        ("x" * 51, "x" * 49 + "…"),
        ("x" * 48 + " yyy", "x" * 48 + "…"),
        ("\x1b]" * 1_000_000, ""),
    ],
)
def test_a_foreign_text_is_one_safe_line(foreign: str, shown: str) -> None:
    """Nothing of it moves the cursor, turns the direction of writing, begins a line or floods a terminal."""
    line = text.one_line(foreign, 50)
    assert line == shown
    assert line.isprintable()


def test_the_remedy_of_an_unknown_stands_in_brackets() -> None:
    """Cause first; where nobody can do anything there are no brackets."""
    assert (
        Unknown("missing", "no series matches f1", "check the name").message == "no series matches f1 (check the name)"
    )
    assert Unknown("missing", "no series matches f1").message == "no series matches f1"


def test_the_last_lines_of_an_output_are_those_that_say_something() -> None:
    """As a terminal shows them in the end: a progress bar overwrites itself."""
    output = "1\n2\n\n \n3\r\n\x1b[31m4\x1b[0m\n 10%\r 55%\rdone 100%\r\nno newline"
    assert text.last_lines(output, 4) == ("3", "4", "done 100%", "no newline")
    assert text.last_lines("\n \n") == ()
    assert text.last_lines("x" * 400) == ("x" * 299 + "…",)


@pytest.mark.parametrize(
    ("foreign", "plain"),
    [
        ("F1 0.7 is below 0.8; drift 5.2 (feature=p73)", "F1 0.7 is below 0.8, drift 5.2 feature=p73"),
        ("ticket 12 $(shell touch x)", "ticket 12 _shell touch x"),
        ("it's `new`\nlabels | tee > f & * ? ! # ~ \\ \"", "it_s _new_ labels _ tee _ f _ _ _ _ _ _ _ _"),
    ],
)
def test_a_reason_is_text_to_a_shell_and_to_make(foreign: str, plain: str) -> None:
    """A recipe may echo it as it is, whoever wrote it."""
    assert text.shell_text(foreign) == plain


def test_a_secret_that_the_shell_would_get_joined_is_taken_out() -> None:
    """Parentheses are left out, and may have kept its parts apart."""
    assert text.shell_text("a (se(cr)et)", lambda plain: plain.replace("secret", "***")) == "a ___"
