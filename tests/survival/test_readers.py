"""Services that read while the champion changes hands: the quick size of `readers`."""

import hashlib
import os

from tests.stories.project import CHAMPION, Project
from tests.survival import readers


def test_no_reader_fails_or_sees_a_mixed_file_during_300_swaps(project: Project) -> None:
    """Promotions and rollbacks in turn, with fewer versions kept than there are."""
    assert "failures 0" in readers.swapped_in_process(project, 300)


def test_no_reader_fails_while_the_commands_swap(project: Project) -> None:
    """`promote --force` and `rollback` as an operator gives them."""
    assert "failures 0" in readers.swapped_by_commands(project, 2)


def test_who_has_read_the_link_still_finds_the_file(project: Project) -> None:
    """A service that resolves the link first and opens the file next, with a swap between: also after a rollback."""
    project.configure(models={"keep": 1})
    made = readers.artifacts(project)
    project.link(made[0], CHAMPION)
    for path in made[1:3]:
        assert project.run("promote", str(path), "--force", "--reason", "survival").returncode == 0
    resolved = os.path.realpath(project.root / CHAMPION)
    assert project.run("rollback").returncode == 0
    assert os.path.realpath(project.root / CHAMPION) != resolved
    with open(resolved, "rb") as file:  # noqa: PTH123  (as a service does it)
        assert hashlib.file_digest(file, "sha256").hexdigest() == os.path.basename(resolved).partition(".")[0]  # noqa: PTH119
