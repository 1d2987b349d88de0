"""A crontab as crontab(5) has it: which variables a line of it gets, and what it runs."""

import pytest

from retrain.effects.crontab import settings

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
    assert settings(f"{line}\n{CHECK}", "/srv/churn/config.yaml")[0] == variables


def test_only_what_stands_above_a_line_holds_for_it() -> None:
    """cron goes from top to bottom; of several lines it is the one with this configuration."""
    text = "\n".join(["A=1", CHECK.replace("churn", "other"), "A=2", "B=1", CHECK, "A=3"])
    assert settings(text, "/srv/churn/config.yaml") == ({"A": "2", "B": "1"}, CHECK.split(" ", 5)[5])
    assert settings(text, "/srv/other/config.yaml")[0] == {"A": "1"}
    assert settings(text, "/srv/neither/config.yaml")[0] == {"A": "1"}


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("@hourly . /srv/env; retrain check", ". /srv/env; retrain check"),
        ("  0 4 * * 1-5\tretrain check -q", "retrain check -q"),
        ("* * * * * retrain check --reason 50\\% %fed to it", "retrain check --reason 50% "),
        ("40 4 * * * find /srv/retrain/state -delete", None),
        ("40 4 * * * retrain promote --if-pending", None),
        ("# * * * * * retrain check", None),
    ],
)
def test_the_line_that_checks_is_found(line: str, command: str | None) -> None:
    """Whatever its schedule; a bare % ends a command, and promoting is no checking."""
    assert settings(line, "/srv/churn/config.yaml") == ({}, command)
