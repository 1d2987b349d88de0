"""`docker`, as Podman has it, on a machine without a daemon and without a registry of images."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import IN_CI, real
from tests.integration.conftest import CACHE, made

# Namespaces of its own, with the second version of cgroups mounted: crun refuses a machine that has both. A step of a
# build runs in a chroot, and with the machine's own limits.
SHIM = """#!/bin/sh
export CONTAINERS_CONF={settings}/containers.conf CONTAINERS_STORAGE_CONF={settings}/storage.conf
export BUILDAH_ISOLATION=chroot
exec unshare --mount sh -c '
umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec "$@"' sh {podman} "$@"
"""
# A container shares the network, so that it reaches a server of the test, and gets none of the limits that a sandbox
# may not raise.
CONTAINERS = """
[containers]
cgroups = "disabled"
default_ulimits = []
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{place}/tmp"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{place}/graph"
runroot = "{place}/run"
"""
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


def docker(directory: Path) -> Path:
    """The program, with settings in this directory; its images are kept in the user's cache."""
    podman, place = real("podman"), CACHE / "containers"
    real("crun")
    (directory / "containers.conf").write_text(CONTAINERS.format(place=place))
    (directory / "storage.conf").write_text(STORAGE.format(place=place))
    program = directory / "docker"
    program.write_text(SHIM.format(settings=shlex.quote(str(directory)), podman=podman))
    program.chmod(0o755)
    tried = subprocess.run([program, "info"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        (pytest.fail if IN_CI else pytest.skip)(f"containers need root and namespaces: {tried.stderr.strip()}")
    return program


def base(program: Path, name: str) -> None:
    """Make the image of this name, of Debian and its Python, as the official ones are; it trusts whom we do."""
    real("debootstrap")

    def make(place: Path) -> None:
        root = place / "root"
        root.mkdir(parents=True)
        words = ["--variant=minbase", "--include=python3-venv,ca-certificates", "bookworm", str(root)]
        subprocess.run([real("debootstrap"), *words], check=True, capture_output=True)
        (root / "usr/bin/python").symlink_to("python3")
        if AUTHORITIES.exists():
            (root / str(AUTHORITIES)[1:]).write_bytes(AUTHORITIES.read_bytes())
        with subprocess.Popen([real("tar"), "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            words = ["import", "--change", f"ENV PIP_CERT={AUTHORITIES}", "-", name]
            subprocess.run([program, *words], stdin=tar.stdout, check=True, capture_output=True)
        shutil.rmtree(root)

    made(f"the image {name}", make)
