"""The textfile of node_exporter: what a strict reader finds in it, and that it is whole, whoever reads it when."""

import os
import stat
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from retrain.core.families import Family
from retrain.effects import textfile

FAMILY = Family("retrain_metric_value", "What was read", (({"project": "churn", "signal": "f1"}, 0.85),))


@pytest.mark.parametrize("name", ["churn", 'a "b"', "back\\slash", "two\nlines", "übel €", "", "\\n"])
def test_a_label_is_read_as_it_was(name: str) -> None:
    """A project may be called anything."""
    (found,) = text_string_to_metric_families(textfile.text([Family("a", "b", (({"project": name}, 1.0),))]))
    assert [sample.labels for sample in found.samples] == [{"project": name}]


def test_a_name_of_bytes_that_are_no_text_does_no_harm(tmp_path: Path) -> None:
    """A directory may have any bytes in its name."""
    textfile.write(tmp_path / "x.prom", [Family("a", "b", (({"project": os.fsdecode(b"\xff")}, 1.0),))])
    assert (tmp_path / "x.prom").read_text() == '# HELP a b\n# TYPE a gauge\na{project="?"} 1.0\n'


@pytest.mark.parametrize("value", [0.1, 1e300, 5e-324, 1764360000.123456, 3.0])
def test_a_number_keeps_every_digit(value: float) -> None:
    """Times have microseconds."""
    (found,) = text_string_to_metric_families(textfile.text([Family("a", "b", (({}, value),))]))
    assert found.samples[0].value == value


def test_the_collector_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    """It is another user; and nothing else is left in the directory."""
    file = tmp_path / "churn.prom"
    before = os.umask(0o077)
    try:
        for _ in range(2):
            textfile.write(file, [FAMILY])
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    """The error is the operating system's; what a killed writer left is replaced."""
    with pytest.raises(FileNotFoundError):
        textfile.write(tmp_path / "nosuch/churn.prom", [FAMILY])
    (tmp_path / "churn.prom").mkdir()
    with pytest.raises(IsADirectoryError):
        textfile.write(tmp_path / "churn.prom", [FAMILY])
    (tmp_path / f".other.prom.{os.getpid()}").write_text("half")
    textfile.write(tmp_path / "other.prom", [FAMILY])
    assert {each.name for each in tmp_path.iterdir()} == {"churn.prom", "other.prom"}


def test_a_link_planted_for_the_new_file_is_not_followed(tmp_path: Path) -> None:
    """Where others may write to the directory."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".churn.prom.{os.getpid()}").symlink_to(victim)
    textfile.write(tmp_path / "churn.prom", [FAMILY])
    assert victim.read_text() == "mine"
