"""The memory that the scoring processes may take, and what is said where it was not enough."""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from retrain.core.words import size

_REFUSED = re.compile(r"MemoryError|bad_alloc|[Aa]llocat|start new thread|pthread_create|Thread creation|failed to map")
"""What Python and the native libraries say where memory is refused."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Bytes that each scoring process may take (None: no limit), and the way to more of them, for a person."""

    size: int | None
    way_out: str

    def told(self, sentence: str) -> str:
        """The sentence, with the way out where it speaks of memory that was refused."""
        return f"{sentence}: {self.way_out}" if _REFUSED.search(sentence) else sentence


def allowance(configured: int | None) -> Allowance:
    """What promotion.max_memory allows; where that is null, what the machine has free now, if that is known."""
    most = _free() if configured is None else configured
    if configured is not None:
        key = f"raise promotion.max_memory (now {size(configured)})"
    elif most is not None:
        key = f"free some memory (promotion.max_memory is null, so {size(most)} could be taken, all that was free)"
    else:
        key = "free some memory (promotion.max_memory is null, and what is free is not known)"
    return Allowance(most, f"{key}, or repair a model that takes too much")


def _free() -> int | None:
    """The bytes that could be had without swapping; None where Linux does not tell."""
    with suppress(OSError):
        if found := re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE):
            return 1024 * int(found[1])
    return None
