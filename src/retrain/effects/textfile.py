"""The file that node_exporter's textfile collector serves: metric families in Prometheus' text format.

prometheus-client would write the same; to import it takes a tenth of what a check takes.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from retrain.core.families import Family

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def write(file: Path, families: Iterable[Family]) -> None:
    """Replace the file, which every user may read: the collector is another one. Raises OSError.

    What a crash loses the next command writes again, so nothing waits for the disk.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")  # node_exporter reads only names that end in .prom
    with suppress(FileNotFoundError):
        new.unlink()
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, 0o644)  # whatever the umask
            opened.write(text(families).encode(errors="replace"))
        new.replace(file)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise


def text(families: Iterable[Family]) -> str:
    """The families in the text format, version 0.0.4."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += [f"{family.name}{{{_pairs(labels)}}} {value!r}" for labels, value in family.samples]
    return "\n".join([*lines, ""])


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items())
