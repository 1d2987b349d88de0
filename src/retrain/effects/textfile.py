"""The file that node_exporter's textfile collector serves: metric families in Prometheus' text format.

prometheus-client would write the same; to import it takes a tenth of what a check takes.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from retrain.core.families import Family
from retrain.effects import files

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def write(file: Path, families: Iterable[Family]) -> None:
    """Replace the file, which every user may read: the collector is another one. Raises OSError."""
    files.replace(file, text(families).encode(errors="replace"))  # node_exporter reads only names that end in .prom


def text(families: Iterable[Family]) -> str:
    """The families in the text format, version 0.0.4."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += [f"{family.name}{{{_pairs(labels)}}} {value!r}" for labels, value in family.samples]
    return "\n".join([*lines, ""])


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items())
