"""A crontab as crontab(5) has it: which variables a line of it gets, and what it runs."""

import pytest

from retrain.doctor.crontab import Job, jobs

CRON = {"HOME": "/home/me", "PROJECT": "/srv/churn"}
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
    assert jobs(f"{line}\n{CHECK}")[1][0].variables == variables


def test_only_what_stands_above_a_line_holds_for_it() -> None:
    """cron goes from top to bottom."""
    every, found = jobs("\n".join(["A=1", CHECK.replace("churn", "other"), "A=2", "B=1", CHECK, "A=3"]))
    assert [job.variables for job in found] == [{"A": "1"}, {"A": "2", "B": "1"}]
    assert every == {"A": "3", "B": "1"}


@pytest.mark.parametrize(
    ("line", "before", "program", "words"),
    [
        ("@hourly . /srv/env; retrain check", ". /srv/env; ", "retrain", ("check",)),
        ("  0 4 * * 1-5\t/a/retrain check -q; true", "", "/a/retrain", ("check", "-q")),
        ("* * * * * retrain check --reason 50\\% %fed to it", "", "retrain", ("check", "--reason", "50%")),
        ("* * * * * retrain -v check -c 'a b.yaml' && x", "", "retrain", ("-v", "check", "-c", "a b.yaml")),
    ],
)
def test_the_line_that_checks_is_found(line: str, before: str, program: str, words: tuple[str, ...]) -> None:
    """Whatever its schedule; a bare % ends a command, and so does what the shell reads as the end of one."""
    assert jobs(line)[1] == [Job({}, before, program, words)]


@pytest.mark.parametrize(
    "line",
    [
        "40 4 * * * find /srv/retrain/state -delete",
        "40 4 * * * retrain promote --if-pending",
        "# * * * * * retrain check",
        "* * * * * retrain check --dry-run",
        "* * * * * retrain status; check",
    ],
)
def test_what_does_not_check_is_no_such_line(line: str) -> None:
    """Another command, a comment, or a rehearsal, which never trains."""
    assert jobs(line)[1] == []


@pytest.mark.parametrize(
    ("line", "config"),
    [
        ("retrain check -c /srv/churn/a.yaml", "/srv/churn/a.yaml"),
        ("retrain check --config=b.yaml", "/home/me/b.yaml"),
        ("retrain check", "/home/me/config.yaml"),
        ("cd /srv/churn && retrain check", "/srv/churn/config.yaml"),
        ("cd /srv; cd churn; retrain check -c x.yaml", "/srv/churn/x.yaml"),
        ("RETRAIN_CONFIG=/srv/c.yaml retrain check", "/srv/c.yaml"),
        ("retrain check -q", "/home/me/config.yaml"),
        ("cd $HOME/churn && retrain check -c x.yaml", "/home/me/churn/x.yaml"),
        ('retrain check -c "${PROJECT}/x.yaml"', "/srv/churn/x.yaml"),
        ("~/bin/retrain check -c ~/x.yaml", "/home/me/x.yaml"),
    ],
)
def test_the_configuration_is_the_one_that_the_line_would_find(line: str, config: str) -> None:
    """By its flag, the variable, or the default, from where the line goes; cron begins at home."""
    (job,) = jobs(f"* * * * * {line}")[1]
    assert str(job.config(CRON)) == config
    (job,) = jobs(f"RETRAIN_CONFIG=/srv/above.yaml\n* * * * * {line}")[1]
    assert str(job.config(CRON)) == (config if "config.yaml" not in config else "/srv/above.yaml")
