"""A crontab as crontab(5) has it: which variables it sets, and whether a line of it checks."""

import pytest

from retrain.doctor.settings import parse

CHECK = "*/5 * * * * /srv/churn/.venv/bin/retrain check -c /srv/churn/config.yaml"


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("PATH=/a:/b", {"PATH": "/a:/b"}),
        ("  PATH = /a b # no comment  ", {"PATH": "/a b # no comment"}),
        ('B = "in quotes"', {"B": "in quotes"}),
        ("'C'='x y'", {"C": "x y"}),
        ('MAILTO=""', {"MAILTO": ""}),
        ("E=$A/x", {"E": "$A/x"}),
        ("F=a=b", {"F": "a=b"}),
        ("# G=1", {}),
        ("#G=1", {}),
        ("5 4 * * * H=1 run", {}),
        ("@daily I=1 run", {}),
        ('J="half', {}),
        ("", {}),
    ],
)
def test_a_variable_is_read_as_cron_reads_it(line: str, variables: dict[str, str]) -> None:
    """Quotes may stand around either side, nothing is expanded, and a job or a comment sets nothing."""
    assert parse(f"{line}\n{CHECK}") == (variables, 1)


def test_all_variables_of_a_crontab_are_read() -> None:
    """The later of two with one name counts."""
    assert parse("\n".join(["A=1", CHECK, "A=2", "B=1", CHECK])) == ({"A": "2", "B": "1"}, 2)


@pytest.mark.parametrize(
    "line",
    [
        "@hourly . /srv/env; retrain check",
        "  0 4 * * 1-5\t/a/retrain check -q; true",
        "* * * * * retrain check --reason 50\\% %fed to it",
        "* * * * * retrain -v check -c 'a b.yaml' && x",
        "* * * * * cd /srv && '/a b/retrain' -c x.yaml check",
        "* * * * * TOKEN=x retrain check && retrain check --dry-run",
    ],
)
def test_a_line_that_checks_is_found(line: str) -> None:
    """Whatever its schedule, and what it does besides."""
    assert parse(line) == ({}, 1)


@pytest.mark.parametrize(
    "line",
    [
        "40 4 * * * find /srv/retrain/state -delete",
        "40 4 * * * retrain promote --if-pending",
        "# * * * * * retrain check",
        "* * * * * retrain check --dry-run",
        "* * * * * retrain status; check",
        "* * * * * my-retrain check",
        "* * * * * retrain checks",
    ],
)
def test_what_does_not_check_is_no_such_line(line: str) -> None:
    """Another command, a comment, or a rehearsal, which never trains."""
    assert parse(line) == ({}, 0)
