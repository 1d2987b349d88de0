"""What this process may take, set before anything heavy is loaded; its workers inherit it."""

import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def limit(memory: int | None) -> None:
    """Let this process and each of its workers have this many bytes of memory, and be what the kernel ends first.

    It is data (RLIMIT_DATA) that is limited, for address space (RLIMIT_AS) says little: glibc reserves 64 MiB of it
    for every thread and uses a fraction. Data is heap, stacks of threads and private maps, touched or not; not
    memory that processes share.
    """
    with suppress(OSError):  # there is no such file but on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    if memory is not None:
        inherited = [each for each in resource.getrlimit(resource.RLIMIT_DATA) if each != resource.RLIM_INFINITY]
        most = min([memory, *inherited])
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def or_end(act: Callable[[], Answer]) -> Answer:
    """What the act gives. Where memory runs out, end at once, as the kernel would end this process.

    Nothing may be left to say so with, and without any CPython never gets out of a `with` or a `finally`.
    """
    try:
        return act()
    except MemoryError:
        signal.raise_signal(signal.SIGKILL)
        raise
