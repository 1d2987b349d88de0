"""Versions and the champion link: immutable bytes, and one link that is always whole."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from retrain.config.schema import AnyModels, Models
from retrain.core.events import Adopted, Entry, Event, Promoted, RolledBack, TrainingFinished
from retrain.core.fold import fold
from retrain.core.past import Past
from retrain.core.records import Outcome
from retrain.effects import files, registry
from retrain.errors import RetrainError

T0 = datetime(2026, 11, 22, 16, 10, tzinfo=UTC)
GONE = "f" * 64
NOBODY = 999_999_998
"""No process has this number."""


@pytest.fixture
def models(tmp_path: Path) -> Models:
    directory = tmp_path / "models"
    directory.mkdir()
    return Models(
        champion=directory / "champion.joblib", challenger=directory / "challenger.joblib", keep=Models().keep
    )


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kept(models: Models, content: bytes) -> str:
    """The version of an artifact with these bytes, kept now."""
    models.challenger.write_bytes(content)
    return registry.admit(models, models.challenger)


def champion(models: Models, content: bytes) -> str:
    """The version of the champion with these bytes, which serves now."""
    version = kept(models, content)
    registry.point(models, version)
    return version


def adopted(models: Models) -> str | None:
    """The version of an ordinary champion file, adopted now; where nobody keeps a record."""
    return registry.adopt(models, lambda _version: None)


def versions(models: Models) -> Path:
    return models.champion.parent / "versions"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def error_of(act: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(RetrainError) as caught:
        act(*arguments)
    return str(caught.value)


# ---------------------------------------------------------------- versions


def test_a_version_is_its_bytes(models: Models) -> None:
    """Named by their SHA-256, copied, read-only, with the time of the artifact; admitted twice it is there once."""
    models.challenger.write_bytes(b"model" * 1_000_000)
    os.utime(models.challenger, ns=(1_700_000_000_123_456_789, 1_600_000_000_987_654_321))
    version = registry.admit(models, models.challenger)
    assert version == sha(b"model" * 1_000_000) == registry.identify(models.challenger)
    file = registry.verify(models, version)
    assert file == versions(models) / f"{version}.joblib"
    assert file.read_bytes() == b"model" * 1_000_000
    assert (file.stat().st_mode & 0o777, file.stat().st_mtime_ns) == (0o444, 1_600_000_000_987_654_321)
    assert file.stat().st_nlink == 1
    assert models.challenger.exists()
    os.utime(models.challenger)
    before = file.stat()
    assert registry.admit(models, models.challenger) == version
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(versions(models)) == [file.name]
    assert registry.kept(models) == [version]


def test_the_artifact_may_change_afterwards(models: Models) -> None:
    """Training writes the same path again; what was judged stays."""
    first, second = kept(models, b"one"), kept(models, b"two")
    assert registry.verify(models, first).read_bytes() == b"one"
    assert registry.verify(models, second).read_bytes() == b"two"
    assert registry.kept(models) == sorted([first, second])


def test_a_changed_byte_is_noticed_and_mended_by_admitting_anew(models: Models) -> None:
    """A version that is not what its name says is never served or judged."""
    version = kept(models, b"model")
    file = registry.verify(models, version)
    file.chmod(0o644)
    file.write_bytes(b"mode1")
    assert error_of(registry.verify, models, version) == (
        f"{file}: its bytes have changed, to those of {sha(b'mode1')[:12]}, so it cannot be trusted (restore it from a"
        " copy, or serve another version with retrain rollback --to)"
    )
    assert registry.admit(models, models.challenger) == version
    assert registry.verify(models, version).read_bytes() == b"model"


def test_a_missing_version_is_told(models: Models) -> None:
    """With the way out."""
    assert error_of(registry.verify, models, GONE) == (
        f"{versions(models)}/{GONE}.joblib: version ffffffffffff is missing"
        " (restore it from a copy, or serve another version with retrain rollback --to)"
    )


def test_the_reference_is_kept_with_its_version(models: Models) -> None:
    """What training left beside the artifact: the newest one, read-only; one of another artifact is not touched."""
    beside = registry.beside(models.challenger, registry.REFERENCE)
    assert beside == models.challenger.parent / "challenger.reference.parquet"
    beside.write_bytes(b"rows")
    first = kept(models, b"one")
    reference = versions(models) / f"{first}.reference.parquet"
    assert reference.read_bytes() == b"rows"
    assert reference.stat().st_mode & 0o777 == 0o444
    beside.write_bytes(b"newer rows")
    kept(models, b"one")
    assert reference.read_bytes() == b"newer rows"
    beside.unlink()
    second = kept(models, b"two")
    assert names(versions(models)) == sorted([f"{first}.joblib", reference.name, f"{second}.joblib"])
    assert registry.kept(models) == sorted([first, second])


def test_the_weights_are_kept_with_their_version(models: Models) -> None:
    """Like the reference: beside the version, and gone before the next training, which may leave none."""
    beside = registry.beside(models.challenger, registry.WEIGHTS)
    beside.write_text("feature,weight\nage,1\n")
    version = kept(models, b"one")
    assert (versions(models) / f"{version}.weights.csv").read_text() == beside.read_text()
    registry.prepare(models)
    assert not beside.exists()
    for path in versions(models).iterdir():
        os.utime(path, (0, 0))  # not in use
    registry.forget(models, {version})
    assert names(versions(models)) == []


def test_a_leftover_of_a_crash_is_no_obstacle(models: Models, tmp_path: Path) -> None:
    """It may be read-only, or another name of anything: that is not written to, and the leftover goes in time."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    precious.chmod(0o444)
    versions(models).mkdir()
    (versions(models) / f".incoming-{os.getpid()}.joblib").hardlink_to(precious)
    version = kept(models, b"model")
    registry.forget(models, set())
    assert names(versions(models)) == [f"{version}.joblib"]
    assert precious.read_bytes() == b"precious"


def test_a_failed_copy_leaves_nothing(models: Models) -> None:
    """Here the version's place is taken by a directory; with a full disk the half copy would keep it full."""
    target = versions(models) / f"{sha(b'model')}.joblib"
    target.mkdir(parents=True)
    assert error_of(kept, models, b"model").endswith(": Is a directory")
    assert names(versions(models)) == [target.name]


def test_a_version_is_found_by_its_prefix(models: Models) -> None:
    """The one that is unique, in either case; else all that could be meant are named."""
    found = sorted(kept(models, f"model {number}".encode()) for number in range(40))
    assert registry.find(models, found[0]) == found[0]
    assert registry.find(models, found[0][:12].upper()) == found[0]
    twins = next((one, two) for one, two in pairwise(found) if one[0] == two[0])
    told = error_of(registry.find, models, twins[0][0])
    assert told.startswith(f"several kept versions begin with {twins[0][0]}: ")
    assert all(twin[:12] in told for twin in twins)
    for unknown in (found[0][:12] + "x", "../champion", "*"):
        assert error_of(registry.find, models, unknown).startswith(f"no kept version begins with {unknown} (kept: ")


def test_nothing_is_found_where_nothing_is_kept(models: Models) -> None:
    """Also before the first version, and where something else stands in the place of the versions."""
    assert error_of(registry.find, models, "abc") == "no kept version begins with abc (kept: none)"
    versions(models).touch()
    assert registry.kept(models) == []


# ---------------------------------------------------------------- the champion


def test_nothing_serves_at_first(models: Models) -> None:
    """Neither without the file nor without its directory; there is nothing to adopt then."""
    for there in (models, replace(models, champion=models.champion.parent / "none" / "m.joblib")):
        assert registry.served(there) is None
        assert adopted(there) is None


def test_the_link_is_relative(models: Models, tmp_path: Path) -> None:
    """The whole directory can be moved, or mounted elsewhere in a container."""
    version = champion(models, b"model")
    assert str(models.champion.readlink()) == f"versions/{version}.joblib"
    models.champion.parent.rename(tmp_path / "elsewhere")
    moved = Models(champion=tmp_path / "elsewhere/champion.joblib", challenger=tmp_path / "elsewhere/challenger.joblib")
    found = registry.served(moved)
    assert found is not None
    assert (found.version, found.path) == (version, tmp_path / f"elsewhere/versions/{version}.joblib")
    assert moved.champion.read_bytes() == b"model"


def test_what_is_served_is_dated_by_its_artifact(models: Models) -> None:
    """The age of the model is that of its training, not of its promotion."""
    models.challenger.write_bytes(b"model")
    os.utime(models.challenger, (T0.timestamp(), T0.timestamp()))
    registry.point(models, registry.admit(models, models.challenger))
    found = registry.served(models)
    assert found is not None
    assert found.made_at == T0


def test_an_ordinary_file_is_adopted(models: Models) -> None:
    """As the first version, with its reference; adopting again changes nothing."""
    models.champion.write_bytes(b"old model")
    registry.beside(models.champion, registry.REFERENCE).write_bytes(b"rows")
    found = registry.served(models)
    assert found is not None
    assert (found.version, found.path) == (None, models.champion)
    recorded: list[tuple[str, bool]] = []
    version = registry.adopt(models, lambda version: recorded.append((version, models.champion.is_symlink())))
    assert version == sha(b"old model")
    assert recorded == [(version, False)], "before it is linked, so that a crash leaves no link without a record"
    assert models.champion.is_symlink()
    assert models.champion.read_bytes() == b"old model"
    assert (versions(models) / f"{version}.reference.parquet").read_bytes() == b"rows"
    assert adopted(models) is None


@pytest.mark.parametrize("change", [b"old modem", b"new"])
def test_a_file_that_changes_while_it_is_adopted_is_left_alone(models: Models, change: bytes) -> None:
    """Whoever wrote it wants it there: it is adopted when asked again, and nothing of it is lost."""
    models.champion.write_bytes(b"old model")

    def meanwhile(_version: str) -> None:
        models.champion.write_bytes(change)

    assert "was changed while it was being adopted" in error_of(registry.adopt, models, meanwhile)
    assert models.champion.read_bytes() == change
    assert adopted(models) == sha(change)


def test_a_file_that_is_not_whole_is_left_alone(models: Models) -> None:
    """A copy that goes on would end in a file that nobody serves. It is adopted when it is whole."""
    with models.champion.open("wb") as file:
        assert "is still being written" in error_of(registry.adopt, models, print)
        file.write(b"old ")
        file.flush()
        assert "is still being written" in error_of(registry.adopt, models, print)
        assert names(models.champion.parent) == [models.champion.name]
        file.write(b"model")
    assert adopted(models) == sha(b"old model")
    assert names(models.champion.parent) == [models.champion.name, "versions"], "and nothing that only tried"


def test_an_empty_file_is_left_alone(models: Models) -> None:
    """It is no model, but what a copy or a full disk has left."""
    models.champion.touch()
    assert "is empty, so it is not adopted" in error_of(registry.adopt, models, print)
    assert not models.champion.is_symlink()


@pytest.mark.parametrize("target", ["elsewhere.joblib", "../elsewhere.joblib", "elsewhere/{}.joblib", "{}.joblib"])
def test_a_link_to_elsewhere_is_an_ordinary_file(models: Models, target: str) -> None:
    """Also one whose file has the name of a version; what it points to is adopted and left alone."""
    elsewhere = models.champion.parent / target.format(sha(b"old model"))
    elsewhere.parent.mkdir(exist_ok=True)
    elsewhere.write_bytes(b"old model")
    models.champion.symlink_to(elsewhere)
    found = registry.served(models)
    assert found is not None
    assert found.version is None
    version = adopted(models)
    assert version == sha(b"old model")
    assert str(models.champion.readlink()) == f"versions/{version}.joblib"
    assert elsewhere.read_bytes() == b"old model"


def test_an_absolute_link_to_a_version_serves_that_version(models: Models) -> None:
    """Somebody linked it by hand."""
    version = kept(models, b"model")
    models.champion.symlink_to(versions(models).absolute() / f"{version}.joblib")
    found = registry.served(models)
    assert found is not None
    assert found.version == version


@pytest.mark.parametrize("target", [f"versions/{GONE}.joblib", "elsewhere.joblib", "champion.joblib"])
def test_a_dangling_link_is_no_champion_but_not_nothing(models: Models, target: str) -> None:
    """It is told apart from an absent one, is not adopted, and is mended by pointing it elsewhere."""
    models.champion.symlink_to(target)
    found = registry.served(models)
    assert found is not None
    assert found.version == (GONE if GONE in target else None)
    assert found.made_at is None
    assert adopted(models) is None
    version = champion(models, b"model")
    found = registry.served(models)
    assert found is not None
    assert (found.version, found.path.read_bytes()) == (version, b"model")


def test_pointing_at_none_takes_the_champion_away(models: Models) -> None:
    """A first promotion can be undone, twice as well as once."""
    version = champion(models, b"model")
    registry.point(models, None)
    registry.point(models, None)
    assert registry.served(models) is None
    assert registry.kept(models) == [version]


READING = """
import hashlib, os, sys
path, known, seen = sys.argv[1], set(sys.argv[2:]), set()
os.set_blocking(0, False)
print("ready", flush=True)
told = False
while not told or seen != known:
    with open(path, "rb") as file:
        seen.add(hashlib.sha256(file.read()).hexdigest())
    assert seen <= known, seen - known
    told = told or bool(sys.stdin.buffer.read(1))
"""


def test_a_reader_always_finds_a_whole_version(models: Models) -> None:
    """While the link moves a thousand times, the service that loads it never misses it and never sees a mixture."""
    found = [kept(models, bytes([number]) * 100_000) for number in range(3)]
    registry.point(models, found[0])
    command = [sys.executable, "-c", READING, str(models.champion), *found]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        for turn in range(1000):
            registry.point(models, found[turn % 3])
        assert reader.stdin is not None
        reader.stdin.write(b".")
        reader.stdin.close()
        while reader.poll() is None:  # until it has seen them all
            for version in found:
                registry.point(models, version)
        assert reader.stderr is not None
        assert (reader.returncode, reader.stderr.read()) == (0, b"")
    assert names(models.champion.parent) == ["challenger.joblib", "champion.joblib", "versions"]


# ---------------------------------------------------------------- what is forgotten


def test_forgetting_takes_what_it_is_told_but_nothing_that_is_linked(models: Models) -> None:
    """They go with their references, and so does what crashes left half copied; no other file is touched."""
    registry.beside(models.challenger, registry.REFERENCE).write_bytes(b"rows")
    one, two, three = (kept(models, content) for content in (b"one", b"two", b"three"))
    registry.point(models, three)
    (versions(models) / f".incoming-{NOBODY}").write_bytes(b"half")
    (versions(models) / f".incoming-{NOBODY + 1}").symlink_to("nowhere")
    for name in ("README", f"{one}.txt", f"{one[1:]}.joblib"):
        (versions(models) / name).write_bytes(b"somebody's")
    registry.forget(models, {one, three, GONE})
    assert registry.kept(models) == sorted([two, three])
    left = [f"{version}.{kind}" for version in (two, three) for kind in ("joblib", "reference.parquet")]
    assert names(versions(models)) == sorted([*left, "README", f"{one}.txt", f"{one[1:]}.joblib"])
    assert models.champion.read_bytes() == b"three"


def test_who_served_a_moment_ago_is_not_forgotten_yet(models: Models) -> None:
    """A service that has read the link may be about to open the file; its time of making stays what it was."""
    one, two = kept(models, b"one"), kept(models, b"two")
    registry.point(models, one)
    made_at = (versions(models) / f"{one}.joblib").stat().st_mtime_ns
    registry.point(models, two)
    registry.forget(models, {one})
    assert registry.kept(models) == sorted([one, two])
    assert (versions(models) / f"{one}.joblib").stat().st_mtime_ns == made_at
    os.utime(versions(models) / f"{one}.joblib", (0, 0))
    registry.forget(models, {one})
    assert registry.kept(models) == [two]


def test_there_may_be_nothing_to_forget(models: Models) -> None:
    """No champion, no versions."""
    registry.forget(models, set())
    assert names(models.champion.parent) == []


def test_a_copy_at_work_is_left_alone_whoever_makes_it(models: Models, tmp_path: Path) -> None:
    """Two containers that share the directory are both process 1; neither takes the other's copy, nor writes to it."""
    one, two = tmp_path / "one", tmp_path / "two"
    for each in (one, two):
        each.write_bytes(each.name.encode())
    with registry.copied(models, one) as (version, copy), registry.copied(models, two) as (_, other):
        registry.forget(models, set())
        assert (copy.read_bytes(), other.read_bytes()) == (b"one", b"two")
        assert registry.admit(models, one) == version
    assert names(versions(models)) == [f"{version}.joblib"]


def history(*events: Event) -> Past:
    return fold(Past(), (Entry(number, T0, event) for number, event in enumerate(events)))


@pytest.mark.parametrize(
    ("events", "keep", "wanted"),
    [
        ([], 2, ""),
        ([Adopted("A")], 1, "A"),
        ([Adopted("A"), Promoted("B", "A")], 1, "AB"),
        ([Adopted("A"), Promoted("B", "A"), Promoted("C", "B")], 1, "BC"),
        ([Adopted("A"), Promoted("B", "A"), Promoted("C", "B")], 2, "ABC"),
        ([Adopted("A"), Promoted("B", "A"), RolledBack("A", "B")], 1, "AB"),
        ([Adopted("A"), Promoted("B", "A"), Promoted("C", "B"), RolledBack("B", "C")], 1, "ABC"),
        ([Adopted("A"), TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="X")], 1, "AX"),
        ([Adopted("A"), TrainingFinished("r", Outcome.FAILED, "", challenger="X")], 1, "A"),
        ([Adopted("A"), TrainingFinished("r", Outcome.SUCCEEDED, "", challenger="B"), Promoted("B", "A")], 1, "AB"),
    ],
)
def test_what_is_worth_keeping(events: list[Event], keep: int, wanted: str) -> None:
    """The champion, `keep` before it, who served just before, and the challenger that training left."""
    past = history(*events)
    assert {*past.champions, *past.admitted} - past.outlived(keep) == set(wanted)


# ---------------------------------------------------------------- what cannot be used


def test_a_directory_is_no_champion(models: Models) -> None:
    """Told before anything is done about it."""
    version = kept(models, b"model")
    models.champion.mkdir()
    for act in (registry.served, adopted):
        assert error_of(act, models) == f"{models.champion}: is not a file (move it away)"
    assert error_of(registry.point, models, version).startswith(f"{models.champion.parent}")
    assert error_of(registry.point, models, None).startswith(f"{models.champion}: ")


# ---------------------------------------------------------------- directories


@pytest.fixture
def any_models(models: Models) -> Models:
    """Artifacts that a command reads, here without an extension."""
    above = models.champion.parent
    return AnyModels(champion=above / "champion", challenger=above / "challenger", keep=models.keep)


def directory(path: Path, content: str = "weights") -> Path:
    """A model of three files in this directory, two of them in directories of their own, and an empty directory."""
    for name in ("a/b/one", "a.b", "z/two"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(f"{content} {name}")
    (path / "empty").mkdir(exist_ok=True)
    return path


def test_the_version_of_a_directory_is_its_names_and_bytes(any_models: Models, tmp_path: Path) -> None:
    """The same whatever the order in which it was written, its modes and times; another for any other name or byte."""
    version = registry.identify(directory(tmp_path / "one"))
    other = tmp_path / "other"
    for name in ("z", "empty"):
        (other / name).mkdir(parents=True)
    directory(other)
    (other / "a.b").chmod(0o600)
    os.utime(other / "a.b", (0, 0))
    assert registry.identify(other) == version
    records = {"a": "directory", "a.b": sha(b"weights a.b"), "a/b": "directory", "a/b/one": sha(b"weights a/b/one")}
    records |= {"empty": "directory", "z": "directory", "z/two": sha(b"weights z/two")}
    assert sha(b"".join(f"{what} {name}".encode() + b"\0" for name, what in records.items())) == version
    (other / "empty").rmdir()
    assert registry.identify(other) != version
    (other / "empty").touch()
    assert registry.identify(other) != version


def test_a_directory_is_kept_whole(any_models: Models) -> None:
    """Read-only, no more open than it was, made when its newest file was; the challenger may change afterwards."""
    directory(any_models.challenger)
    (any_models.challenger / "z/two").chmod(0o640)
    (any_models.challenger / "z").chmod(0o700)
    for path in any_models.challenger.rglob("*"):
        os.utime(path, (0, 1_600_000_000))
    os.utime(any_models.challenger / "a/b/one", (0, 1_700_000_000))
    os.utime(any_models.challenger, (0, 1_600_000_000))
    version = registry.admit(any_models, any_models.challenger)
    kept = registry.verify(any_models, version)
    assert kept == versions(any_models) / version
    assert registry.made_at(any_models, version).timestamp() == 1_700_000_000
    assert {path.name: path.stat().st_mode & 0o777 for path in (kept, *kept.rglob("*"))} == {
        version: 0o555,
        "a": 0o555,
        "b": 0o555,
        "empty": 0o555,
        "z": 0o500,
        "one": 0o444,
        "a.b": 0o444,
        "two": 0o440,
    }
    before = kept.stat().st_ino
    assert registry.admit(any_models, any_models.challenger) == version
    assert kept.stat().st_ino == before
    directory(any_models.challenger, "other")
    assert registry.verify(any_models, version) == kept
    assert registry.kept(any_models) == [version]


def test_a_directory_that_was_changed_is_noticed_and_mended(any_models: Models) -> None:
    """Its stamp changes, it is no longer what its name says, and admitting it anew replaces it whole."""
    version = registry.admit(any_models, directory(any_models.challenger))
    file = registry.verify(any_models, version) / "a/b/one"
    registry.point(any_models, version)
    known = registry.verified(any_models, registry.served(any_models), Past())
    past = Past(verified=known)
    assert registry.verified(any_models, registry.served(any_models), past) == ""
    file.chmod(0o644)
    file.write_text("WEIGHTS a/b/one")
    os.utime(file, (0, 0))
    assert "its bytes have changed" in error_of(registry.verified, any_models, registry.served(any_models), past)
    assert registry.admit(any_models, any_models.challenger) == version
    assert registry.verify(any_models, version)
    assert names(versions(any_models)) == [version]


def test_an_ordinary_directory_is_adopted(any_models: Models) -> None:
    """Kept, and a link to it takes its place; then others do, and it is removed whole when it is forgotten."""
    directory(any_models.champion)
    version = adopted(any_models)
    assert version is not None
    assert str(any_models.champion.readlink()) == f"versions/{version}"
    assert names(any_models.champion.parent) == ["champion", "versions"]
    other = registry.admit(any_models, directory(any_models.challenger, "other"))
    registry.point(any_models, other)
    assert (any_models.champion / "a.b").read_text() == "other a.b"
    os.utime(versions(any_models) / version, (0, 0))  # not in use
    (versions(any_models) / f".incoming-{NOBODY}.x/half").mkdir(parents=True)  # as a crash leaves it
    registry.forget(any_models, {version, other})
    assert names(versions(any_models)) == [other]


def test_where_names_cannot_be_exchanged(any_models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems than Linux, and on some file systems: a directory is replaced all the same."""
    monkeypatch.setattr(files, "_exchanged", lambda *_paths: False)
    directory(any_models.champion)
    version = adopted(any_models)
    assert version is not None
    assert names(any_models.champion.parent) == ["champion", "versions"]
    (registry.verify(any_models, version) / "empty").chmod(0o755)
    (versions(any_models) / version / "empty/more").touch()
    directory(any_models.challenger)
    assert registry.admit(any_models, any_models.challenger) == version
    assert names(versions(any_models)) == [version]


def test_no_training_writes_into_a_version(any_models: Models) -> None:
    """A file of the challenger that is one with a file of a version goes, and so does a link that leads there."""
    version = registry.admit(any_models, directory(any_models.challenger))
    (any_models.challenger / "a.b").unlink()
    (any_models.challenger / "a.b").hardlink_to(versions(any_models) / version / "a.b")
    registry.prepare(any_models)
    assert not any_models.challenger.exists()
    assert registry.verify(any_models, version)
    any_models.challenger.symlink_to(versions(any_models) / version / "z")
    assert "is a link to" in error_of(registry.prepare, any_models)


def test_an_artifact_that_cannot_be_read(models: Models) -> None:
    """A missing one, and a directory where models are files."""
    for act in (registry.identify, partial(registry.admit, models)):
        assert error_of(act, models.challenger) == (f"{models.challenger}: No such file or directory")
    directory = models.champion.parent
    assert error_of(registry.admit, models, directory) == f"{directory}: Is a directory"


def test_places_that_cannot_be_written(models: Models) -> None:
    """A file where the versions belong, and a champion without its directory."""
    versions(models).touch()
    assert error_of(kept, models, b"model") == f"{versions(models)}: File exists"
    models.champion.write_bytes(b"old model")
    assert error_of(adopted, models) == f"{versions(models)}: File exists"
    assert models.champion.read_bytes() == b"old model"
    versions(models).unlink()
    lost = replace(models, champion=models.champion.parent / "none" / "m.joblib")
    assert error_of(registry.point, lost, GONE).endswith(": No such file or directory")


def test_a_version_is_not_more_readable_than_its_source(models: Models, tmp_path: Path) -> None:
    """What only its owner may read stays so; nobody may write to it."""
    source = tmp_path / "private.joblib"
    source.write_bytes(b"private")
    for mode, kept in ((0o600, 0o400), (0o644, 0o444), (0o640, 0o440)):
        source.chmod(mode)
        source.write_bytes(b"private %o" % mode)
        path = registry.verify(models, registry.admit(models, source))
        assert path.stat().st_mode & 0o777 == kept


def test_directories_are_never_open_to_all(tmp_path: Path) -> None:
    """Not with a umask of 0 either, for retrain would refuse them itself."""
    before = os.umask(0)
    try:
        models = Models(tmp_path / "a/b/champion.joblib", tmp_path / "a/b/challenger.joblib")
        registry.prepare(models)
        models.challenger.write_bytes(b"model")
        registry.admit(models, models.challenger)
    finally:
        os.umask(before)
    registry.refuse_unsafe(models)
    assert (tmp_path / "a").stat().st_mode & 0o002 == 0


def test_a_challenger_that_is_one_file_with_a_version_is_parted_from_it(tmp_path: Path) -> None:
    """Deduplication and `cp -al` make such files; a training that writes into one would change the champion."""
    models = Models(tmp_path / "champion.joblib", tmp_path / "challenger.joblib")
    models.challenger.write_bytes(b"model")
    version = registry.admit(models, models.challenger)
    kept = registry.verify(models, version)
    models.challenger.unlink()
    models.challenger.hardlink_to(kept)
    registry.prepare(models)
    assert not models.challenger.exists() and registry.verify(models, version) == kept
