"""A rollback waits for no comparison, and for no check: the other command finds another champion when it swaps."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from retrain.core.events import Checked, Judged
from retrain.core.records import Action
from retrain.effects import lock
from retrain.effects.journal import Journal, open_journal
from tests.stories.project import CHAMPION, Project, until
from tests.stories.test_guards import trained


def overtaken(project: Project, words: list[str], decided: Callable[[Journal], bool]) -> tuple[int, str, str]:
    """How this command ended, which had recorded what it decided when a person's rollback came first."""
    with lock.hold(project.root / "state", "promote", datetime.now(UTC), name=lock.SWAP):
        late = project.start(*words)
        until(lambda: asked(project, decided))
        late.send_signal(signal.SIGSTOP)
    done = project.run("rollback", "--reason", "test")
    late.send_signal(signal.SIGCONT)
    assert done.returncode == 0, done.stderr
    out, err = late.communicate(timeout=60)
    return late.returncode, out, err


def asked(project: Project, question: Callable[[Journal], bool]) -> bool:
    with open_journal(project.root / "state", writable=False) as journal:
        return question(journal)


def has_judged(journal: Journal) -> bool:
    return isinstance(journal.turning_points(1)[0].event, Judged)


def goes_back(journal: Journal) -> bool:
    last = journal.last_check()
    return last is not None and isinstance(last.event, Checked) and last.event.action is Action.ROLLBACK


@pytest.fixture
def after_two(project: Project) -> Project:
    """A project with a champion before the one that serves."""
    project.configure(promotion={"probation": "7d"})
    project.serve(project.models.weak)
    trained(project, project.models.fair)
    assert project.run("promote", "--force", "--reason", "test").returncode == 0
    return project


def test_cron_promotes_nothing_then_in_silence_and_judges_anew(after_two: Project) -> None:
    """What won was better than another champion: exit 75 with no word, and the next run compares it with this one."""
    trained(after_two, after_two.models.strong)
    ended = overtaken(after_two, ["promote", "--if-pending"], has_judged)
    assert ended == (75, "", "")
    assert (after_two.root / CHAMPION).read_bytes() == after_two.models.weak.read_bytes()
    assert after_two.run("promote", "--if-pending").returncode == 0
    assert (after_two.root / CHAMPION).read_bytes() == after_two.models.strong.read_bytes()


def test_a_person_is_told_what_serves_now(after_two: Project) -> None:
    """Exit 75, as where another run is in the way, and what was put in service."""
    trained(after_two, after_two.models.strong)
    code, out, err = overtaken(after_two, ["promote"], has_judged)
    assert (code, out) == (75, "")
    assert "was put in service meanwhile, so" in err
    assert "try again" in err


def test_a_file_that_was_judged_is_not_what_the_other_command_misses(after_two: Project) -> None:
    """A rollback removes a version that never served; the sentence is the same, and the file may be judged again."""
    versions, file = after_two.root / "models/versions", str(after_two.models.strong)

    def was_kept(journal: Journal) -> bool:
        judged = journal.turning_points(1)[0].event
        if not isinstance(judged, Judged) or not (kept := versions / f"{judged.challenger}.joblib").is_file():
            return False
        os.utime(kept, (time.time() - 3600, kept.stat().st_mtime))  # what was read a moment ago is not removed
        return True

    code, out, err = overtaken(after_two, ["promote", file], was_kept)
    assert (code, out) == (75, "")
    assert "was put in service meanwhile, so" in err
    assert after_two.run("promote", file).returncode == 0


def test_a_check_that_would_roll_back_leaves_it_at_that(after_two: Project) -> None:
    """The new champion fails its probation, and a person was faster: exit 75 in silence; the next check goes on."""
    after_two.metrics(f1=0.75)
    assert overtaken(after_two, ["check"], goes_back) == (75, "", "")
    assert (after_two.root / CHAMPION).read_bytes() == after_two.models.weak.read_bytes()
    after_two.metrics()
    assert after_two.run("check").returncode == 0
    assert after_two.run("status").stdout.startswith("HEALTHY")
