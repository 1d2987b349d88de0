"""A real cron daemon in namespaces of its own: the machine's crontabs are out of its reach, and it out of theirs."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.conftest import IN_CI, real

# cron mails through /usr/sbin/sendmail, which not every machine has, so /usr/sbin becomes a directory with just the
# daemon and ours. The daemon ends with its namespace: as soon as nobody holds the other end of standard input.
SCRIPT = """
set -e
mount -t tmpfs tmpfs /run
mkdir /run/sbin
cp "$1" sendmail /run/sbin
mount --bind /run/sbin /usr/sbin
mount -t tmpfs tmpfs /var/spool/cron
mkdir -m 1730 /var/spool/cron/crontabs
mount -t tmpfs tmpfs /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab
crontab "$2"
crontab "$3"
readlink /proc/self/ns/pid
/usr/sbin/cron -f &
read -r _ || :
"""
SENDMAIL = """#!/bin/sh
PATH=/usr/bin:/bin
cd {mails} && part=$(mktemp part.XXXXXX) && cat > "$part" && mv "$part" "mail.$part"
"""


@dataclass(frozen=True)
class Daemon:
    """A running cron: `namespace` is what its processes have in common, `mails` the directory of what it sent."""

    namespace: str
    mails: Path

    def received(self) -> list[EmailMessage]:
        """The mails it has sent."""
        files = self.mails.glob("mail.*")
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]

    def is_idle(self) -> bool:
        """Whether no job runs: only the daemon and the shell that started it are there."""
        return len(self.processes()) == 2

    def processes(self) -> list[str]:
        """The commands that run in the namespace."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str((process / "ns/pid").readlink()) == self.namespace:
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:  # it ended meanwhile
                continue
        return [command for command in found if command]  # a zombie has none


@contextmanager
def cron(directory: Path, example: Path, crontab: Path) -> Iterator[Daemon]:
    """A cron daemon that runs `crontab`, after it has accepted `example`; nothing of it is left afterwards.

    `directory` is for its own files.
    """
    real("crontab")
    words = [*namespaces(), "sh", "-c", SCRIPT, "cron", real("cron"), example, crontab]
    mails, sendmail = directory / "mails", directory / "sendmail"
    mails.mkdir(parents=True)
    sendmail.write_text(SENDMAIL.format(mails=shlex.quote(str(mails))))
    sendmail.chmod(0o755)
    with subprocess.Popen(
        words,
        cwd=directory,
        env={**os.environ, "VIRTUAL_ENV": "of the daemon"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        namespace = process.stdout.readline().strip()
        assert namespace, process.stderr.read()
        daemon = Daemon(namespace, mails)
        yield daemon
    assert daemon.processes() == []


def namespaces() -> tuple[str | Path, ...]:
    """The command that runs another in fresh mount and process namespaces.

    Where that is not allowed (it is to root) the test is skipped; in CI it fails.
    """
    words = (real("unshare"), "--mount", "--pid", "--fork", "--mount-proc")
    tried = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        message = f"a cron apart from the machine's own needs namespaces: {tried.stderr.strip()}"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    return words
