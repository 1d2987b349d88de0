"""`promotion.probation` with a log: the champion before is scored on the rows that came since the promotion."""

import time
from pathlib import Path

import pytest

from tests.stories.project import CHAMPION, Project, until
from tests.stories.test_guards import trained
from tests.stories.test_live import LOG, arrive


def on_probation(project: Project, new: Path, old: Path) -> None:
    """Promote `new` in the place of `old`, which showed F1 0.8 last, and log 1,000 labelled rows after that."""
    project.configure(promotion={"probation": "7d"}, monitor={"log": LOG, "label": "y", "window": "1s"})
    project.serve(old)
    trained(project, new)
    assert project.run("promote", "--force", "--reason", "test").returncode == 0
    arrive(project, 1000)


def test_one_that_is_worse_on_the_same_rows_is_rolled_back_though_the_world_became_easier(project: Project) -> None:
    """Its F1 is above what the old one showed last; on the same rows the old one is better, and the message says it."""
    on_probation(project, project.models.weak, project.models.strong)
    project.metrics(f1=0.9)
    dry = project.json("check", "--dry-run")
    assert (dry["action"], dry["reason"]) == ("rollback", "probation")
    done = project.run("check")
    assert done.returncode == 0, done.stderr
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()
    assert "on the same 1,000 rows since the promotion" in done.stdout
    assert "the champion before, 0." in done.stdout
    assert "gain -0." in done.stdout
    assert "confidence bounds -0." in done.stdout
    assert "on the same 1,000 rows" in project.run("status").stdout, "and its history keeps it"


def test_one_that_is_better_on_the_same_rows_stays_though_the_world_became_harder(project: Project) -> None:
    """Its F1 is below what the old one showed last. A window is scored once, and what was found is not forgotten."""
    on_probation(project, project.models.strong, project.models.weak)
    project.configure(triggers={"performance_threshold": 0.7})
    project.metrics(f1=0.75)
    window = time.time() // 1
    seen = project.run("check", "-v")
    assert seen.returncode == 0, seen.stderr
    assert "probation: on the same 1,000 rows since the promotion" in seen.stderr + seen.stdout
    assert "gain +0." in project.run("status").stdout
    (project.root / LOG).write_text("no table\n")
    again = project.run("check", "-v")
    assert "not on later rows" not in again.stderr + again.stdout, "the same window is not scored again"
    until(lambda: time.time() // 1 > window)
    project.metrics(f1=0.75)
    later = project.run("check", "-v")
    assert later.returncode == 0, later.stderr
    assert "gain +0." in later.stderr + later.stdout
    assert "not on later rows: the log" in later.stderr + later.stdout
    assert (project.root / CHAMPION).read_bytes() == project.models.strong.read_bytes()


@pytest.mark.parametrize("forced", [True, False])
def test_only_one_that_won_was_better_on_the_holdout(project: Project, forced: bool) -> None:
    """Of one that was promoted by force, the rollback says that, and asks nothing of the holdout's rows."""
    project.configure(promotion={"probation": "7d"})
    project.serve(project.models.weak)
    trained(project, project.models.twin if forced else project.models.strong)
    flags = ("--force", "--reason", "test") if forced else ()
    assert project.run("promote", *flags).returncode == 0
    project.metrics(f1=0.75)
    said = project.run("check").stdout
    assert said.startswith("rolled back: ")
    assert ("(on the holdout it was better" in said) is not forced
    assert ("(it was promoted by force)" in said) is forced


def test_without_rows_the_windows_are_compared(project: Project) -> None:
    """A log that is missing, or a version that cannot be loaded, fails no check; what is not known is said."""
    on_probation(project, project.models.strong, project.models.weak)
    (project.root / LOG).rename(project.root / "elsewhere.csv")
    project.metrics(f1=0.82)
    project.configure(triggers={"performance_threshold": 0.7})
    seen = project.run("check", "-v")
    assert seen.returncode == 0, seen.stderr
    assert "on the same rows: the log" in seen.stderr + seen.stdout
    assert "on the same rows: the log" in project.run("status").stdout
    project.metrics(f1=0.75)
    done = project.run("check")
    assert "rolled back" in done.stdout
    assert "live F1 0.750 is below the 0.800" in done.stdout
