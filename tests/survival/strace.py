"""System calls of a real command, seen and tampered with from outside by Debian's strace: no hook in the product."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import real
from tests.stories.project import RETRAIN, Project

CHANGES = (
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "copy_file_range", "sendfile", "ftruncate", "fallocate"),
    *("fsync", "fdatasync", "msync", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "utimensat", "flock"),
)
"""The calls that change the world, or promise that it will stay changed."""
_OPENS = "openat"
_READS = "pread64"
_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
_MISSING = ("= -1 ENOENT", "= -1 EEXIST")


@dataclass(frozen=True)
class Call:
    """The `nth` call of this name that a process makes; `shown` is how strace prints it."""

    name: str
    nth: int
    shown: str

    @property
    def file(self) -> str:
        """The file it is about, without what differs from run to run."""
        paths = re.findall(r'["<](/[^">]*)[">]', self.shown)
        path = Path(paths[-1]) if paths else Path(self.shown.partition(",")[0])
        name = re.sub(r"[0-9a-f]{64}", "SHA256", path.name)
        return re.sub(r"\d{8}T\d{6}Z-\w+|(?<=incoming-)[0-9a-f]{16}|(?<=retrain-)\w+", "…", name)

    def __str__(self) -> str:
        return f"{self.name} {self.nth} ({self.file})"


def seen(project: Project, *words: str) -> tuple[list[Call], list[Call]]:
    """The calls that change the world of `retrain` with these words, which it runs: its own, and its children's.

    An `openat` is one of them where it makes a file.
    """
    log = project.root / "strace.log"
    # -y shows the path of a descriptor; the filter in the kernel lets all other calls pass at full speed.
    _run(project, ["--seccomp-bpf", "-f", "-y", "-o", str(log)], ",".join([*CHANGES, _OPENS]), words)
    lines = log.read_text(errors="replace").splitlines()
    log.unlink()
    own: list[Call] = []
    others: list[Call] = []
    controller = lines[0].split()[0]
    for process, call in _calls(lines):
        (own if process == controller else others).append(call)
    return own, others


def read(project: Project, file: str, *words: str) -> list[Call]:
    """The reads of the file with this name that `retrain` with these words makes itself."""
    log = project.root / "strace.log"
    _run(project, ["-y", "-o", str(log)], _READS, words)
    lines = log.read_text(errors="replace").splitlines()
    log.unlink()
    shown = [line for line in lines if line.startswith(f"{_READS}(")]
    return [Call(_READS, nth, line) for nth, line in enumerate(shown, 1) if f"/{file}>" in line]


def killed(project: Project, call: Call, *words: str) -> subprocess.CompletedProcess[str]:
    """What came of `retrain`, which is ended by SIGKILL as it enters its nth call of this name."""
    return _tampered(project, [], f"{call.name}:signal=SIGKILL:when={call.nth}", call.name, words)


def failed(
    project: Project, call: Call, error: str, *words: str, children: bool = False
) -> subprocess.CompletedProcess[str]:
    """What came of `retrain` when its nth call of this name fails so; with `children`, each of theirs, too."""
    follow = ["--seccomp-bpf", "-f"] if children else []
    return _tampered(project, follow, f"{call.name}:error={error}:when={call.nth}", call.name, words)


def _tampered(
    project: Project, flags: list[str], inject: str, trace: str, words: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    return _run(project, [*flags, "-o", "/dev/null", "-e", f"inject={inject}"], trace, words)


def _run(project: Project, flags: list[str], trace: str, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [real("strace"), "-qq", *flags, "-e", f"trace={trace}", "--", RETRAIN, *words],
        cwd=project.root,
        env={**project.environment, "PYTHONDONTWRITEBYTECODE": "1"},  # a cache is no change that we mean
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def _calls(lines: list[str]) -> Iterator[tuple[str, Call]]:
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if (found := _CALL.match(line)) is None:
            continue
        process, name, shown = found.groups()
        counts[process, name] += 1
        if name == _OPENS and ("O_CREAT" not in shown or "/dev/" in shown or shown.endswith(_MISSING)):
            continue
        yield process, Call(name, counts[process, name], shown)
