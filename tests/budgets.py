"""The size of the source by room, beside what each may have; `make budgets` prints the table."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/retrain"
STORIES = ("check", "promote", "train", "swap", "status", "history", "pause", "context")

ROOMS = (
    ("heart: stories, acts, core", 3200, (*STORIES, "core")),
    ("effects", 2800, ("effects",)),
    ("config", 1000, ("config",)),
    ("scoring and tables", 1300, ("scoring", "tables")),
    ("wing: doctor", 900, ("doctor",)),
    ("wing: backtest", 900, ("backtest",)),
    ("wing: exporter", 900, ("exporter",)),
    ("wing: demo", 900, ("demo",)),
    ("wing: rehearse", 900, ("rehearse",)),
    ("wing: page", 900, ("page", "pages")),
    ("wing: setup", 900, ("setup",)),
    ("wing: recipes", 900, ("recipes",)),
    (
        "entry, several, notify, mirror, output, errors, library",
        None,
        ("__main__", "cli", "several", "notify", "mirror", "output", "errors", "library"),
    ),
)
"""What is counted together, the lines it may have (None: those that the others leave), and the rooms in it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `most` is None where there is no budget."""

    name: str
    found: int
    most: int | None

    @property
    def is_kept(self) -> bool:
        return self.most is None or self.found <= self.most

    def __str__(self) -> str:
        most = "-" if self.most is None else f"{self.most:,}"
        return f"{self.name:<36}{self.found:>8,}{most:>8}{'' if self.is_kept else '  OVER'}"


def table() -> list[Row]:
    """All that is counted: lines by room, and lines, files, rooms, floors and arrows of the whole."""
    files = {path.relative_to(SOURCE): path.read_text().count("\n") for path in SOURCE.rglob("*.py")}
    by_room: dict[str, int] = {}
    for path, lines in files.items():
        room = path.parts[0].removesuffix(".py")
        by_room[room] = by_room.get(room, 0) + lines
    nameless = by_room.pop("__init__")
    counted = {room for _, _, rooms in ROOMS for room in rooms}
    return [
        *(Row(f"lines: {name}", sum(by_room.get(room, 0) for room in rooms), most) for name, most, rooms in ROOMS),
        *(Row(f"lines: {room}, which has no budget", by_room[room], 0) for room in sorted(by_room.keys() - counted)),
        Row("lines in all", sum(by_room.values()) + nameless, 11_300),
        Row("Python files", len(files), 95),
        Row("rooms (files and folders at the top)", len(by_room), 20),
        Row("floors (layers of the imports)", len(floors()), 7),
        Row("arrows (imports between rooms)", len(set(arrows())), None),
    ]


def floors() -> list[str]:
    """The rows of the contract that lets imports go down only."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["retrain"])
    return list(layers)


def arrows() -> Iterable[tuple[str, str]]:
    """Which room imports from which."""
    graph = grimp.build_graph("retrain", cache_dir=None)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            ends = [name.split(".")[1] if "." in name else "" for name in (module, imported)]
            if all(ends) and ends[0] != ends[1]:
                yield ends[0], ends[1]


if __name__ == "__main__":
    print(f"{'':<36}{'found':>8}{'most':>8}", *table(), sep="\n")
