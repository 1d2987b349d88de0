"""A log that grows, is replaced, rotates and breaks."""

import gzip
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from retrain.exporter.log import Log
from retrain.exporter.measure import Gauge
from tests.exporter.world import HOUR, NOW, config, csv, rows

TP, FP, FN, TN = (1, 1), (0, 1), (1, 0), (0, 0)


def samples(gauge: Gauge, now: float = NOW) -> int | None:
    """Labelled rows of the window that is served."""
    quality = gauge.measure(now).quality
    return None if quality is None else quality.samples


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_appended_rows_are_counted_once_and_half_a_line_waits(tmp_path: Path) -> None:
    """Requirement: growth is taken in as it comes; a line whose end is not written yet is not a row yet."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    line = csv(rows(1, [TP]), header=False)
    append(log, line + line[:-2])
    assert samples(gauge) == 3
    assert samples(gauge) == 3
    append(log, line[-2:])
    assert samples(gauge) == 4


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("more", [0, 3, -1])
def test_a_rewritten_log_is_read_anew(tmp_path: Path, in_place: bool, more: int) -> None:
    """Requirement: longer, shorter or as long, under the same inode or a new one: what was read before is forgotten."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2 + [TN] * 3)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 5
    fresh = log if in_place else tmp_path / "fresh.csv"
    fresh.write_text(csv(rows(1, [FN] * (5 + more))))
    os.utime(fresh, ns=(1, log.stat().st_mtime_ns + 10**9))
    fresh.replace(log)
    measured = gauge.measure(NOW).quality
    assert measured is not None
    assert (measured.samples, measured.f1) == (5 + more, 0)


def test_late_labels_come_with_a_rewrite(tmp_path: Path) -> None:
    """Requirement: labels filled in later move F1 on to the window that they complete."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(2, [TP] * 3) + rows(1, [(None, 1)] * 4)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 3
    log.write_text(csv(rows(2, [TP] * 3) + rows(1, [(1, 1)] * 4)))
    assert samples(gauge) == 4


def rotate(log: Path, how: str) -> None:
    """Rotate as logrotate does: rename and create, or copy and truncate."""
    rotated = log.with_name("log.csv.1")
    if how == "create":
        log.rename(rotated)
        log.touch()
    else:
        shutil.copyfile(log, rotated)
        os.truncate(log, 0)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("how", ["create", "copytruncate"])
def test_a_rotated_log_goes_on(tmp_path: Path, how: str, header: bool) -> None:
    """Requirement: a window that lies in two files is whole, whether the new one has a header or only lines."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    append(log, csv(rows(1, [TP] * 3), header=False))
    rotate(log, how)
    assert samples(gauge) == 5
    append(log, csv(rows(1, [FP] * 4), header=header))
    assert samples(gauge) == 9
    append(log, csv(rows(1, [FN]), header=False))
    assert samples(gauge) == 10
    later = gauge.measure(NOW)
    assert later.quality == Gauge(config(tmp_path)).measure(NOW).quality
    assert not [problem for problem in later.problems if "drift" not in problem]


def test_two_rotations_between_two_scrapes_lose_no_row(tmp_path: Path) -> None:
    """Requirement: what was written to a file that came and went meanwhile counts, too."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    append(log, csv(rows(1, [TP] * 3), header=False))
    log.rename(tmp_path / "log.csv.2")
    (tmp_path / "log.csv.1").write_text(csv(rows(1, [FP] * 4)))
    log.write_text(csv(rows(1, [FN])))
    for number, name in enumerate(("log.csv.2", "log.csv.1")):
        os.utime(tmp_path / name, ns=(number, number))
    assert samples(gauge) == 10


@pytest.mark.parametrize(("end", "rows_of_it"), [("\n", 3), ("", 3), ("\n1700", None), ('\n1,1,"1', None)])
def test_the_end_of_a_rotated_file_is_the_end_of_a_row(tmp_path: Path, end: str, rows_of_it: int | None) -> None:
    """Requirement: a last line without a line feed is a row; one that was cut in the middle is a lost one."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    append(log, csv(rows(1, [TP]), header=False).removesuffix("\n") + end)
    rotate(log, "create")
    append(log, csv(rows(1, [TP] * 4)))
    expected = rows_of_it and rows_of_it + 4
    assert (samples(gauge), samples(Gauge(config(tmp_path)))) == (expected, expected)
    assert gauge.measure(NOW).skipped == ({} if rows_of_it else {"malformed": 1})


def test_while_the_new_log_is_not_there_the_last_numbers_stay(tmp_path: Path) -> None:
    """Requirement: between the rotation and the first line nothing is lost; a missing log is reported."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    log.rename(tmp_path / "log.csv.1")
    assert samples(gauge) == 2
    assert any("is missing" in problem for problem in gauge.measure(NOW).problems)
    log.touch()
    append(tmp_path / "log.csv.1", csv(rows(1, [TP]), header=False))  # a process that has it open still
    assert samples(gauge) == 3
    append(log, csv(rows(1, [TP]), header=False))
    assert samples(gauge) == 4


@pytest.mark.parametrize(
    "name",
    [
        *("log.csv.1", "log.csv-20231117", "log.csv.2023-11-17_03", "log.csv.1.gz", "log.csv-1700190000"),
        *("log.1.csv", "log-20231117.csv", "log-20231117.csv.gz"),
    ],
)
def test_a_monitor_that_starts_reads_the_rotated_files_too(tmp_path: Path, name: str) -> None:
    """Requirement: numbered, dated and compressed files belong to the log; the newest window is not half."""
    before = csv(rows(2, [TP]) + rows(1, [TP] * 2)).encode()
    (tmp_path / name).write_bytes(gzip.compress(before) if name.endswith("gz") else before)
    os.utime(tmp_path / name, ns=(1, 1))
    for other in ("log-2.csv", "log.csv-2", "log.csv.bak", "log2.csv", "log-old.csv", "log.1.csv.bak"):
        (tmp_path / other).write_text("of somebody else")
    (tmp_path / "log.csv").write_text(csv(rows(1, [FN]), header=False))
    assert samples(Gauge(config(tmp_path))) == 3


@pytest.mark.parametrize("end", ["xz", "bz2", "zst"])
def test_a_rotated_file_that_is_not_read_is_named(tmp_path: Path, end: str) -> None:
    """Requirement: a file that is compressed in another way than gzip's is a problem, not silence."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP])))
    (tmp_path / f"log.csv.1.{end}").write_bytes(b"\0")
    (tmp_path / f"other.csv.1.{end}").write_bytes(b"\0")
    problems = Gauge(config(tmp_path)).measure(NOW).problems
    assert f"rotated files of the log are not read: log.csv.1.{end}; leave them plain, or use gzip" in problems


def test_a_rotated_file_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    """Requirement: two rotated files of equal content are one; of equal length alone they are two."""
    for name, pair in (("log.csv.1", TP), ("log.csv-20231117", TP), ("log.csv.2", FP)):
        (tmp_path / name).write_text(csv(rows(1, [pair] * 3)))
    (tmp_path / "log.csv").write_text(csv(rows(1, [FN])))
    assert samples(Gauge(config(tmp_path))) == 7


def test_a_rotated_file_that_is_being_compressed_counts_once(tmp_path: Path) -> None:
    """Requirement: the half of a .gz beside its source is no file of the log; one that is broken is named."""
    before = csv(rows(1, [TP] * 2))
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP]), header=False))
    (tmp_path / "log.csv.1").write_text(before)
    (tmp_path / "log.csv.1.gz").write_bytes(gzip.compress(before.encode())[:-9])
    (tmp_path / "log.csv.2").mkdir()
    assert samples(Gauge(config(tmp_path))) == 3
    (tmp_path / "log.csv.1").unlink()
    assert any("log.csv.1.gz: " in problem for problem in Gauge(config(tmp_path)).measure(NOW).problems)


def test_a_copy_that_is_being_made_counts_once(tmp_path: Path) -> None:
    """Requirement: between the copy and the cut of copytruncate no row counts twice."""
    text = csv(rows(1, [TP] * 4))
    (tmp_path / "log.csv").write_text(text + csv(rows(1, [TP]), header=False))
    (tmp_path / "log.csv.1").write_text(text[: len(text) * 2 // 3])
    assert samples(Gauge(config(tmp_path))) == 5


def test_an_unforeseen_failure_does_not_count_rows_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirement: a reading that broke off is a problem; the next one reads all anew."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(1, [TP] * 2)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    append(log, csv(rows(1, [TP]), header=False))
    with monkeypatch.context() as broken:
        broken.setattr("retrain.exporter.windows.Windows._keep_features", lambda *_: 1 / 0)
        assert any("division by zero" in problem for problem in gauge.measure(NOW).problems)
    assert samples(gauge) == 3


def test_the_clock_moves_windows_on_although_the_log_stands_still(tmp_path: Path) -> None:
    """Requirement: an unchanged log is measured again when a window becomes complete."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 2) + rows(0, [TP] * 3)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    assert samples(gauge, NOW + HOUR) == 3


@pytest.mark.parametrize("ahead", [1, 5])
def test_rows_of_the_future_count_when_their_window_is_complete(tmp_path: Path, ahead: int) -> None:
    """Requirement: rows ahead of the clock are ignored until their time has come, not lost."""
    (tmp_path / "log.csv").write_text(csv(rows(1, [TP] * 2) + rows(-ahead, [TP] * 3)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 2
    assert samples(gauge, NOW + ahead * HOUR) == 2
    assert samples(gauge, NOW + (ahead + 1) * HOUR) == 3
    assert gauge.measure(NOW + (ahead + 1) * HOUR).skipped == {}


def test_old_windows_are_let_go_in_whatever_order_they_come(tmp_path: Path) -> None:
    """Requirement: what is kept does not grow with the log: features of one complete window, counts of a few."""
    history = [row for hours in range(200, 0, -1) for row in rows(hours, [TP] * 2, x=1)]
    for number, log in enumerate((history, history[::-1])):
        path = tmp_path / f"{number}.csv"
        path.write_text(csv(log))
        follower = Log(config(tmp_path, log=path).monitor)
        follower.refresh(NOW)
        kept = follower.windows.kept.values()
        assert len(kept) == 32
        assert sum(len(window.features["x"]) for window in kept if window.features) == 2


def test_a_row_that_comes_late_to_the_served_window_changes_which_one_is_served(tmp_path: Path) -> None:
    """Requirement: the newest labelled window, once it has a row without a label, gives way to the one before."""
    log = tmp_path / "log.csv"
    log.write_text(csv(rows(3, [TP]) + rows(2, [TP] * 2) + rows(1, [TP] * 3)))
    gauge = Gauge(config(tmp_path))
    assert samples(gauge) == 3
    append(log, csv(rows(1, [(None, 1)]), header=False))
    assert samples(gauge) == 2


def test_a_parquet_log_is_read_anew_and_a_broken_one_keeps_what_was(tmp_path: Path) -> None:
    """Requirement: a half-written Parquet file raises the problem while the last good numbers stay."""
    log = tmp_path / "log.parquet"
    first, second = rows(1, [TP] * 2, x=1.5), rows(1, [TP] * 4, x=1.5)
    pd.DataFrame(first).to_parquet(log)
    gauge = Gauge(config(tmp_path, log=log))
    assert samples(gauge) == 2
    whole = pd.DataFrame(second).to_parquet()
    log.write_bytes(whole[: len(whole) // 2])
    measured = gauge.measure(NOW)
    assert measured.quality is not None
    assert measured.quality.samples == 2
    assert any("log.parquet cannot be read" in problem for problem in measured.problems)
    log.write_bytes(whole)
    assert samples(gauge) == 4


@pytest.mark.parametrize("form", ["seconds", "datetime", "zone", "text"])
def test_a_parquet_log_of_many_row_groups_is_the_same_log(tmp_path: Path, form: str) -> None:
    """Requirement: skipping old row groups changes nothing, whatever type the times have."""
    frame = pd.DataFrame([row for hours in range(30, -1, -1) for row in rows(hours, [TP] * hours, x=hours)])
    moments = pd.to_datetime(frame["timestamp"], unit="s", utc=True)
    times = {
        "seconds": frame["timestamp"],
        "datetime": moments.dt.tz_localize(None),
        "zone": moments.dt.tz_convert("Asia/Kolkata"),
        "text": moments.map(lambda moment: moment.isoformat()),
    }
    frame["timestamp"] = times[form]
    frame.to_parquet(tmp_path / "log.parquet", row_group_size=7)
    measured = Gauge(config(tmp_path, log=tmp_path / "log.parquet")).measure(NOW)
    assert measured.quality is not None
    assert measured.quality.samples == 1
    assert measured.drift is not None
    assert measured.drift.rows == 1
