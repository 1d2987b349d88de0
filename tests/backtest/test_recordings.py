"""Files of recorded metrics: every format, every name, and every way to be no history."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrain.backtest import recordings as history
from retrain.backtest.replay import Recorded
from retrain.core.records import Counts, Snapshot, Unknown
from retrain.errors import RetrainError
from tests.effects.test_monitoring import why, worth

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
EPOCH = int(NOON.timestamp())


def written(directory: Path, text: str | bytes, name: str = "history.csv") -> Path:
    """The path of a file with this content."""
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def looks(directory: Path, text: str | bytes, name: str = "history.csv") -> list[Recorded]:
    """The looks of a file with this content."""
    return history.read(written(directory, text, name))[0]


def lines(*records: object) -> str:
    """JSON, a record a line."""
    return "".join(json.dumps(record) + "\n" for record in records)


def refused(directory: Path, text: str | bytes, name: str = "history.csv") -> str:
    """The error of a file with this content, without its directory."""
    path = written(directory, text, name)
    with pytest.raises(RetrainError) as caught:
        history.read(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(f"{directory}/")


WHOLE = Recorded(
    Snapshot(
        LATER,
        f1=0.75,
        drift=0.1,
        f1_observed_at=NOON,
        drift_observed_at=LATER,
        window="w7",
        samples=450.0,
        positives=100.0,
        counts=Counts(75.0, 25.0, 25.0),
    ),
    "bbbe6f1d601e",
)
VALUES = {"f1": 0.75, "drift": 0.1, "window": "w7", "samples": 450, "positives": 100, "served": "bbbe6f1d601e"}
FLAT = VALUES | {"f1_observed_at": EPOCH, "drift_observed_at": "2026-11-22T13:00:00Z", "tp": 75, "fp": 25, "fn": 25}
NESTED = VALUES | {
    "observed_at": {"f1": "2026-11-22 12:00", "drift": EPOCH + 3600},
    "counts": {"tp": 75, "fp": 25, "fn": 25},
}


@pytest.mark.parametrize("name", ["h.jsonl", "h.ndjson", "h.json", "H.JSON"])
@pytest.mark.parametrize("record", [FLAT, NESTED])
def test_json_lines(tmp_path: Path, name: str, record: dict[str, object]) -> None:
    """Every name of the configuration is read, nested as there or flat."""
    assert looks(tmp_path, lines({"at": "2026-11-22T14:00:00+01:00"} | record), name) == [WHOLE]


def test_csv(tmp_path: Path) -> None:
    """Every name of the configuration is a column; others, order and spaces mean nothing; a BOM is none of the name."""
    record = {"team": '"a, b"', **FLAT, "at": EPOCH + 3600}
    text = ", ".join(record) + "\r\n\r\n" + ",".join(map(str, record.values())) + "\r\n"
    assert looks(tmp_path, "\ufeff" + text) == [WHOLE]


def test_what_check_prints(tmp_path: Path) -> None:
    """The collected output of `check --json` is a history; checks that failed or tell no time are counted."""
    data = {"action": "hold", "reason": "healthy", "message": "...", "dry_run": False, "breaches": [], "run": None}
    metrics = {"f1": 0.75, "drift": None, "samples": None, "observed_at": "2026-11-22T12:00:00Z"}
    printed = lines(
        data | {"metrics": metrics},
        {"error": "stuck", "exit_code": 75},
        data | {"metrics": metrics | {"f1": None, "observed_at": None}},
        data | {"metrics": metrics | {"f1": None}, "at": LATER.isoformat(), "served": "bbbe6f1d601e"},
    )
    (first, second), skipped = history.read(written(tmp_path, printed, "checks.jsonl"))
    assert skipped == 2
    assert first == Recorded(Snapshot(NOON, f1=0.75, f1_observed_at=NOON, drift_observed_at=NOON))
    assert (second.served, second.snapshot.fetched_at) == ("bbbe6f1d601e", LATER)
    assert worth(second.snapshot.f1) == "missing"
    assert second.snapshot.samples is None


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("at,observed_at", f"{EPOCH},{EPOCH - 60}", NOON),
        ("observed_at", "2026-11-22T12:00:00", NOON),
        ("observed_at,drift_observed_at", f"{EPOCH},{EPOCH + 60}", NOON),
        ("drift_observed_at", f"{EPOCH}", NOON),
        ("f1_observed_at,drift_observed_at", f",{EPOCH}.0", NOON),
        ("at,observed_at", f",{EPOCH}", NOON),
        ("at,observed_at", f"nan,{EPOCH}", NOON),
        ("at", "2026-11-22T12:00:00.250Z", NOON + timedelta(milliseconds=250)),
    ],
)
def test_the_time_of_a_look(tmp_path: Path, header: str, row: str, expected: datetime) -> None:
    """`at` is the time of the look; without it the end of its window is, F1's first."""
    assert looks(tmp_path, f"f1,{header}\n0.75,{row}\n")[0].snapshot.fetched_at == expected


def test_a_column_of_its_own_goes_before_the_one_of_both(tmp_path: Path) -> None:
    """Where a signal's own end is missing the end of both stands in; where both are, it is Unknown."""
    text = f"at,drift,observed_at,drift_observed_at\n{EPOCH},0,{EPOCH},1\n{EPOCH},0,{EPOCH},\n{EPOCH},0,,\n"
    ends = [worth(look.snapshot.drift_observed_at) for look in looks(tmp_path, text)]
    assert ends == [datetime.fromtimestamp(1, UTC), NOON, "missing"]


def test_order(tmp_path: Path) -> None:
    """Looks are in order of time; those of one time are in the order of the file."""
    text = f"at,f1\n{EPOCH + 60},0.1\n{EPOCH},0.2\n{EPOCH + 60},0.3\n{EPOCH},0.4\n"
    assert [look.snapshot.f1 for look in looks(tmp_path, text)] == [0.2, 0.4, 0.1, 0.3]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("0.75", 0.75),
        (" 7.5e-1 ", 0.75),
        ('"0.75"', 0.75),
        ("1", 1.0),
        ("", "missing"),
        ("null", "missing"),
        ("NA", "missing"),
        ("NaN", "not_finite"),
        ("-inf", "not_finite"),
        ("9" * 400, "not_finite"),
    ],
)
def test_values_of_csv(tmp_path: Path, cell: str, expected: object) -> None:
    """A cell is a finite number, or Unknown and why."""
    assert worth(looks(tmp_path, f"at,f1\n{EPOCH},{cell}\n")[0].snapshot.f1) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.75", 0.75),
        ("1", 1.0),
        ('"0.75"', 0.75),
        ("null", "missing"),
        ('""', "missing"),
        ("[]", "missing"),
        ("NaN", "not_finite"),
        ('"NaN"', "not_finite"),
        ("-Infinity", "not_finite"),
        ("1e999", "not_finite"),
        ("9" * 400, "not_finite"),
    ],
)
def test_values_of_json(tmp_path: Path, value: str, expected: object) -> None:
    """A value is a finite number, as a number or a text, or Unknown and why."""
    text = f'{{"at": {EPOCH}, "f1": {value}}}\n'
    assert worth(looks(tmp_path, text, "h.jsonl")[0].snapshot.f1) == expected


def test_what_no_look_has(tmp_path: Path) -> None:
    """A name that is nowhere was not asked for; one that another look has is missing where it is not."""
    first, second = looks(tmp_path, lines({"at": EPOCH, "f1": 0.75}, {"at": EPOCH, "samples": 7}), "h.jsonl")
    assert (worth(first.snapshot.samples), second.snapshot.samples) == ("missing", 7.0)
    assert worth(second.snapshot.f1) == "missing"
    assert (first.snapshot.drift, first.snapshot.counts, first.snapshot.window, first.served) == (None,) * 4
    assert why(second.snapshot.f1) == f"{tmp_path}/h.jsonl:2: f1 is missing"


@pytest.mark.parametrize(
    ("value", "window", "served"), [("7", "7", "7"), (" 2026-W47", "2026-W47", "2026-W47"), ("", "missing", None)]
)
def test_names_of_windows_and_versions(tmp_path: Path, value: str, window: str, served: str | None) -> None:
    """A window and a version are texts, also where they look like numbers; an unknown version is None."""
    look = looks(tmp_path, f"at,f1,window,served\n{EPOCH},0.75,{value},{value}\n")[0]
    assert (worth(look.snapshot.window), look.served) == (window, served)


def test_counts_of_which_one_is_not_finite(tmp_path: Path) -> None:
    """Counts are Unknown where none is given, and where one is no finite number."""
    text = f"at,f1,tp,fp,fn\n{EPOCH},0,1,2,3\n{EPOCH},0,,,\n{EPOCH},0,1,NaN,3\n"
    told = [worth(look.snapshot.counts) for look in looks(tmp_path, text)]
    assert told == [Counts(1.0, 2.0, 3.0), "missing", "not_finite"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "history.csv holds no reading"),
        ("at,f1\n", "history.csv holds no reading"),
        ("at,f1\n0,0\n0,high\n", "history.csv:3: f1 is 'high', not a number"),
        ("at,f1\n0,1_0\n", "history.csv:2: f1 is '1_0', not a number"),
        ("at,f1\nnoon,0\n", "history.csv:2: at is 'noon', neither epoch seconds nor ISO 8601"),
        ("at,f1\n1e21,0\n", "history.csv:2: at is '1e21', neither epoch seconds nor ISO 8601"),
        (
            "at,f1\n,0\n",
            "history.csv:2: has no time (at, observed_at, f1_observed_at, drift_observed_at)",
        ),
        ("at,f1\n0,0\n\n0,0,0\n", "history.csv:4: this record has 3 cells, the header 2"),
        ("at,f1\n0\n", "history.csv:2: this record has 1 cell, the header 2"),
        ("at,f1,f1\n0,0,0\n", "history.csv:1: the header has more than one f1"),
        ('at,f1\n0,"a"b\n', "history.csv:2: is not CSV: ',' expected after '\"'"),
        ('at,f1\n0,"a\n', "history.csv:2: is not CSV: unexpected end of data"),
        (f'at,f1\n0,"{"a" * 200_000}"\n', "history.csv:2: is not CSV: field larger than field limit (131072)"),
        ("at;f1\n0;0\n", "history.csv has no f1 or drift: it has at;f1"),
        ("time,F1\n0,0\n", "history.csv has no f1 or drift: it has time, F1 (is it F1?)"),
        (
            "at,driftt\n0,0\n",
            "history.csv has no f1 or drift: it has at, driftt (is it driftt?)",
        ),
        ("f1,tp\n0,0\n", "history.csv has no at or observed_at or f1_observed_at or drift_observed_at: it has f1, tp"),
        ("at,f1,tp,fn\n0,0,0,0\n", "history.csv:2: has no fp; give all of tp, fp, fn or none"),
        (b"at,f1\n0,\xff\n", "history.csv is not UTF-8"),
    ],
)
def test_csv_that_is_no_history(tmp_path: Path, text: str | bytes, expected: str) -> None:
    """The error names the file, its line and the name, what is there and what is wanted."""
    assert refused(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n \n", "h.jsonl holds no reading"),
        (
            lines({"error": "stuck", "exit_code": 75}) * 2,
            "h.jsonl holds no reading, only 2 checks without metrics or without a time (`at` gives one)",
        ),
        ('{"at": 0, "f1": 0}\n{"at": 0', "h.jsonl:2: is not JSON, one object a line: "),
        ("[" * 100_000, "h.jsonl:1: is not JSON, one object a line: "),
        ('{"at": 0, "f1": ' + "9" * 5000 + "}", "h.jsonl:1: is not JSON, one object a line: "),
        ('[{"at": 0}]', "h.jsonl:1: is not an object, one a line"),
        (lines({"at": 0, "f1": True}), "h.jsonl:1: f1 is True, not a number"),
        (lines({"at": 0, "f1": [0.5]}), "h.jsonl:1: f1 is [0.5], not a number"),
        (lines({"at": 0, "drift": {"age": 1}}), "h.jsonl:1: drift is {'age': 1}, not a number"),
        (lines({"at": 0, "f1": 0, "window": {}}), "h.jsonl:1: window is {}, neither a text nor a number"),
        (lines({"at": 0, "f1": 0, "counts": 7}), "h.jsonl:1: counts is 7, not an object of tp, fp, fn"),
        (lines({"at": 0, "f1": 0, "counts": {"tp": 1}}), "h.jsonl:1: has no fp, fn; give all of tp"),
        (lines({"at": 0, "f1": 0}, {"f1": 0}), "h.jsonl:2: has no time"),
        (
            lines({"at": 0, "f1": 0, "observed_at": "x"}),
            "h.jsonl:1: observed_at is 'x', neither epoch seconds nor ISO 8601",
        ),
    ],
)
def test_json_that_is_no_history(tmp_path: Path, text: str, expected: str) -> None:
    """The error names the file, its line and the name, what is there and what is wanted."""
    assert refused(tmp_path, text, "h.jsonl").startswith(expected)


def test_files_that_are_none(tmp_path: Path) -> None:
    """What cannot be opened or has another name is told with what is wanted."""
    assert refused(tmp_path, "", "h.parquet") == (
        "h.parquet: recorded metrics are a .csv (with a header), or a .jsonl, .ndjson or .json (an object a line)"
    )
    (tmp_path / "d.csv").mkdir()
    for name, expected in (
        ("d.csv", "cannot be read: Is a directory"),
        ("no.csv", "cannot be read: No such file or directory"),
    ):
        with pytest.raises(RetrainError, match=f"{name} {expected}"):
            history.read(tmp_path / name)


def test_what_a_file_says_is_short_and_printable(tmp_path: Path) -> None:
    """Control characters and the length of a cell do not reach a terminal."""
    told = refused(tmp_path, f"at,f1\n{EPOCH},\x1b[31m{'x' * 10_000}\n")
    assert told.isprintable()
    assert len(told) < 200


def year(header: Sequence[str]) -> str:
    """A year of readings, one every five minutes, the last column a missing value now and then."""
    rows = (f"{EPOCH + 300 * n},{n % 1000 / 1000},{'' if n % 7 == 1 else n}" for n in range(105_120))
    return "\n".join((",".join(header), *rows))


def test_a_year(tmp_path: Path) -> None:
    """A year of five-minute readings is read whole."""
    read = looks(tmp_path, year(("at", "f1", "samples")))
    assert len(read) == 105_120
    assert read[-1].snapshot == Snapshot(NOON + timedelta(minutes=5 * 105_119), f1=0.119, samples=105_119.0)
    assert sum(isinstance(look.snapshot.samples, Unknown) for look in read) == 15_017
