"""cron's user and an engineer who work in one project, as `retrain guide operations` sets it up."""

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrain
from tests.conftest import IN_CI, real
from tests.stories import predicting
from tests.stories.project import CHALLENGER, CHAMPION, RETRAIN, Models, Project, end, until

pytestmark = pytest.mark.own_process

REACHABLE = """
mount --bind "$1" interpreter
mount -t tmpfs -o mode=755 tmpfs "$2"
mkdir -p "$1"
mount --bind interpreter "$1"
shift 2
exec "$@"
"""
"""In a mount namespace: let all users reach Python's directory, below another that only root may enter."""
CRON, ENGINEER, STRANGER = "churn", "alice", "bob"
Done = subprocess.CompletedProcess[str]


def missing(why: str) -> None:
    """Skip the test; in CI it fails."""
    (pytest.fail if IN_CI else pytest.skip)(why)


@pytest.fixture(scope="module")
def users() -> Iterator[dict[str, str]]:
    """The real names of the users; two of them are in the group, the third is not."""
    if os.geteuid() != 0:
        missing("only root can make users")
    tools = {name: real(name) for name in ("useradd", "groupadd", "userdel", "groupdel", "setpriv")}
    mark = f"{os.getpid()}"
    names = {each: f"{each}{mark}" for each in (CRON, ENGINEER, STRANGER, "ml")}
    subprocess.run([tools["groupadd"], names["ml"]], capture_output=True, check=False)
    try:
        for each in (CRON, ENGINEER, STRANGER):
            group = [] if each == STRANGER else ["-G", names["ml"]]
            made = subprocess.run(
                [tools["useradd"], "-M", *group, names[each]], capture_output=True, text=True, check=False
            )
            if made.returncode:
                missing(f"no user can be made: {made.stderr}")
        yield names
    finally:
        for each in (CRON, ENGINEER, STRANGER):
            subprocess.run([tools["userdel"], "-f", names[each]], capture_output=True, check=False)
        subprocess.run([tools["groupdel"], names["ml"]], capture_output=True, check=False)


class Shared(Project):
    """A project of root's in which other users work; each command is run by one of them under a umask."""

    def __init__(self, root: Path, models: Models, users: dict[str, str]) -> None:
        super().__init__(root, models)
        self.users = users

    def words(self, user: str, umask: str, words: tuple[str, ...]) -> list[str | Path]:
        """The command that a user types."""
        name, place = self.users[user], Path(sys.base_prefix)
        closed = [each for each in place.parents if not each.stat().st_mode & 0o001]
        become: list[str | Path] = [real("setpriv"), "--reuid", name, "--regid", name, "--init-groups"]
        if closed:
            become = [real("unshare"), "--mount", "sh", "-e", "-c", REACHABLE, "reach", place, closed[-1], *become]
        return [*become, "sh", "-c", 'umask "$0"; exec "$@"', umask, *words]

    def by(self, user: str, umask: str, *words: str, program: str | Path = RETRAIN) -> Done:
        """What comes of `retrain`, or another program, with these words."""
        return subprocess.run(
            self.words(user, umask, (str(program), *words)),
            cwd=self.root,
            env={**self.environment, "HOME": str(self.root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def set_up(self) -> None:
        """What the guide says, with the names and the place of this project."""
        page = (Path(retrain.__file__).parent / "guide/operations.md").read_text()
        (commands,) = re.findall(r"```sh\n(install -d .*?)```", page, re.DOTALL)
        for name in (CRON, ENGINEER, "ml"):
            commands = re.sub(rf"\b{name}\b(?!/)", self.users[name], commands)
        subprocess.run(["sh", "-e", "-c", commands], cwd=self.root, check=True, stdout=subprocess.DEVNULL)  # noqa: S607


@pytest.fixture
def shared(models: Models, users: dict[str, str]) -> Iterator[Shared]:
    """The project, where all users can reach it."""
    root = Path(tempfile.mkdtemp(prefix="shared-"))
    try:
        root.chmod(0o755)
        (root / "interpreter").mkdir()
        (root / "marks").mkdir()
        (root / "marks").chmod(0o777)
        project = Shared(root, models, users)
        for each in models.directory.iterdir():
            shutil.copy(each, root / "data" / each.name)
        project.train("cp data/strong.joblib $(RETRAIN_CHALLENGER)")
        if (seen := project.by(CRON, "022", "--version")).returncode:
            missing(f"another user cannot run {RETRAIN}: {seen.stderr}")
        yield project
    finally:
        shutil.rmtree(root)


def usable(project: Shared) -> None:
    """Assert that everything in state/ and models/ belongs to the group, which has what its owner has."""
    for place in ("state", "models"):
        for path in (project.root / place, *(project.root / place).rglob("*")):
            found = path.lstat()
            if not path.is_symlink():
                assert path.group() == project.users["ml"], path
                assert (found.st_mode & 0o700) >> 3 == found.st_mode & 0o070, (path, oct(found.st_mode))
                assert not found.st_mode & 0o002, path


@pytest.mark.parametrize("umask", ["022", "077"])
def test_both_users_go_on_where_the_other_was(shared: Shared, umask: str) -> None:
    """check as cron's user; promote, rollback and status as the engineer; check again; whatever the umask.

    It is that of both: the mode of a file follows from the umask of the user who makes it.
    """
    shared.serve(shared.models.weak)
    shared.configure(triggers={"cooldown": "0s"})
    shared.set_up()
    shared.metrics(f1=0.7)
    trained = shared.by(CRON, umask, "check")
    assert (trained.returncode, "trained in" in trained.stdout) == (0, True), trained
    promoted = shared.by(ENGINEER, umask, "promote")
    assert (promoted.returncode, promoted.stdout[:8]) == (0, "promoted"), promoted
    usable(shared)
    assert "trained in" in shared.by(ENGINEER, umask, "status").stdout
    rolled_back = shared.by(ENGINEER, umask, "rollback")
    assert rolled_back.returncode == 0, rolled_back
    (log,) = (shared.root / "state/runs").glob("*.log")
    read = shared.by(ENGINEER, umask, str(log), program="cat")
    assert (read.returncode, "cp data/strong" in read.stdout) == (0, True)
    shared.train("cp data/fair.joblib $(RETRAIN_CHALLENGER)")
    shared.metrics(f1=0.7)
    forced = shared.by(ENGINEER, umask, "check", "--force", "--reason", "by hand")
    assert forced.returncode == 0, forced
    shared.train("cp data/twin.joblib $(RETRAIN_CHALLENGER)")
    shared.metrics(f1=0.65)
    assert shared.by(CRON, umask, "check", "--force", "--reason", "again").returncode == 0
    assert shared.by(CRON, umask, "prune").returncode == 0
    assert shared.run("check", "--force", "--reason", "by root").returncode == 0
    usable(shared)
    assert shared.by(STRANGER, "022", "status").returncode == 1


def test_a_directory_that_one_kept_is_removed_by_the_other(shared: Shared) -> None:
    """A version that is a directory belongs to the group, too, which may remove it when it is outlived."""
    shutil.copy(predicting.__file__, shared.root / "predict.py")
    names = {name: f"models/{name}" for name in ("champion", "challenger")}
    command = f"{sys.executable} predict.py"
    shared.configure(models={**names, "keep": 1}, promotion={"predict": command})
    shared.train("rm -rf $(RETRAIN_CHALLENGER)", "cp -r strong $(RETRAIN_CHALLENGER)")
    for name, reach in (("models/champion", 0.0), ("strong", 0.5), ("third", 0.4)):
        (shared.root / name / "parts").mkdir(parents=True)
        (shared.root / name / "weights.json").write_text(json.dumps({"reach": reach}))
        (shared.root / name / "parts/one").touch()
    shared.set_up()
    shared.metrics(f1=0.7)
    trained = shared.by(CRON, "077", "check")
    assert (trained.returncode, "trained in" in trained.stdout) == (0, True), trained
    promoted = shared.by(CRON, "077", "promote")
    assert (promoted.returncode, promoted.stdout[:8]) == (0, "promoted"), promoted
    usable(shared)
    for path in shared.root.glob("models/versions/*"):
        os.utime(path, (0, 0))  # not in use
    done = shared.by(ENGINEER, "022", "promote", "third", "--force", "--reason", "by hand")
    assert done.returncode == 0, done
    assert len([path for path in shared.root.glob("models/versions/*") if path.is_dir()]) == 2
    assert not list(shared.root.glob("models/versions/.incoming*"))


@pytest.mark.parametrize(("first", "second"), [(CRON, ENGINEER), (ENGINEER, CRON)])
def test_what_a_killed_command_leaves_is_the_others_too(shared: Shared, first: str, second: str) -> None:
    """SQLite keeps two files beside the journal while it is open; a kill leaves them."""
    shared.train("touch marks/started; while [ -d marks ] && [ ! -e marks/go ]; do sleep 0.05; done")
    shared.set_up()
    shared.metrics(f1=0.7)
    process = subprocess.Popen(
        shared.words(first, "077", (str(RETRAIN), "check")), cwd=shared.root, env=shared.environment, text=True
    )
    until((shared.root / "marks/started").exists)
    end(process, 9)
    left = {path.name for path in (shared.root / "state").iterdir()}
    assert left == {"journal.db", "journal.db-wal", "journal.db-shm", "lock", "runs"}
    usable(shared)
    said = shared.by(second, "077", "status")
    assert "under way" in said.stdout, said
    assert "holds the lock" in shared.by(second, "077", "promote", "data/strong.joblib").stderr
    (shared.root / "marks/go").touch()


def test_who_may_not_write_is_told_the_line_of_the_owner(shared: Shared) -> None:
    """Before anything is created, be it in a project of which nothing exists yet, or where all is made."""
    owner = shared.users[CRON]
    for path in (shared.root, *shared.root.rglob("*")):
        os.chown(path, pwd.getpwnam(owner).pw_uid, -1)
    commands = (["check"], ["promote", "data/strong.joblib"], ["rollback"], ["prune"])
    for words in commands:
        before = sorted(shared.root.rglob("*"))
        refused = shared.by(STRANGER, "022", *words)
        number = pwd.getpwnam(shared.users[STRANGER]).pw_uid
        line = rf"{shared.root}(/models)?: belongs to {owner}, and user {number} has no right to use it "
        assert refused.returncode == 1 and re.search(line, refused.stderr), refused
        assert f"(sudo -u {owner} retrain {' '.join(words)})" in refused.stderr
        assert sorted(shared.root.rglob("*")) == before
    assert shared.by(CRON, "022", "check").returncode == 0
    for words in (*commands, ["status"]):
        refused = shared.by(STRANGER, "022", *words)
        assert f"(sudo -u {owner} retrain {' '.join(words)})" in refused.stderr, refused
    (shared.root / "state").chmod(0o755)
    for path in (shared.root / "state").rglob("*"):
        path.chmod(path.stat().st_mode | 0o055 if path.is_dir() else path.stat().st_mode | 0o044)
    said = shared.by(STRANGER, "022", "doctor").stdout
    assert "chown" not in said and "see ls -ld" not in said
    for what in ("models", "state", "journal"):
        assert re.search(rf"FAIL +{what} .*belongs to {owner}.*\(sudo -u {owner} retrain doctor\)", said), said


def test_a_directory_that_may_not_be_looked_into_is_a_project_that_failed(shared: Shared) -> None:
    """Exit 2 and the cause, since cron would never hear of it; what every disk or home has is none."""
    for name in ("closed", "lost+found", ".ssh"):
        (shared.root / name).mkdir(mode=0o700)
    for given, why in {
        ".": f"{shared.root}/closed/config.yaml: cannot be read: Permission denied (name another file with -c)",
        "closed": "--config: closed cannot be listed: Permission denied",
        "closed/config.yaml": "closed/config.yaml: cannot be read: Permission denied (name another file with -c)",
    }.items():
        done = shared.by(STRANGER, "022", "check", "-c", given)
        assert (done.returncode, why in done.stderr) == (2, True), done
        assert "lost+found" not in done.stderr and ".ssh" not in done.stderr


def test_a_file_that_root_made_is_given_to_the_owner_of_its_directory(shared: Shared) -> None:
    """A restored copy, say: root's own command would only make more of them."""
    shared.set_up()
    assert shared.by(CRON, "022", "check").returncode == 0
    lock = shared.root / "state/lock"
    os.chown(lock, 0, 0)
    lock.chmod(0o600)
    refused = shared.by(CRON, "022", "check", "--force", "--reason", "x")
    remedy = f"sudo chown --reference={lock.parent} {lock}"
    assert (refused.returncode, remedy in refused.stderr) == (1, True), refused
    subprocess.run(remedy.split()[1:], check=True)
    assert shared.by(CRON, "022", "check", "--force", "--reason", "x").returncode == 0


def test_a_private_challenger_is_a_private_version(shared: Shared) -> None:
    """Its mode is kept where that is stricter; only where a group shares the directory, the group may read it, too."""
    shared.train("cp data/strong.joblib $(RETRAIN_CHALLENGER); chmod 600 $(RETRAIN_CHALLENGER)")
    for path in (shared.root, *shared.root.rglob("*")):
        os.chown(path, pwd.getpwnam(shared.users[CRON]).pw_uid, -1)
    assert shared.by(CRON, "022", "check", "--force", "--reason", "first").returncode == 0
    (version,) = (shared.root / "models/versions").glob("*.joblib")
    assert [oct(each.stat().st_mode & 0o777) for each in (version, shared.root / CHALLENGER)] == ["0o400", "0o600"]
    shared.set_up()
    assert shared.by(ENGINEER, "022", "promote").returncode == 0
    assert (shared.root / CHAMPION).stat().st_mode & 0o777 == 0o440
