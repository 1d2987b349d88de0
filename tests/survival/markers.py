"""Secrets that can be found again, in whatever form and in however small a piece."""

import sqlite3
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from random import Random

_CORE = 32
_PIECE = 12
"""So many characters in a row of a secret are a leak."""
ORNAMENTS = {"plain": "", "ornate": "/\"'<&+%"}
"""What a secret ends with: nothing, or what every notation writes in its own way."""


class Markers:
    """Secrets by the place they are configured in; each is random, so that one that is found names its place."""

    def __init__(self, seed: int, ornament: str) -> None:
        self._dice, self._ornament = Random(seed), ornament
        self._cores: dict[str, str] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._cores)

    def new(self, place: str, *, plain: bool = False) -> str:
        """A secret for this place; a plain one where a shell reads it."""
        core = "".join(self._dice.choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=_CORE))
        self._cores[place] = core
        return core if plain else core + self._ornament

    def found_in(self, content: bytes, allowed: Iterable[str] = ()) -> set[str]:
        """The places whose secret the content holds a piece of, as it is or in base64, but for those allowed."""
        spare = set(allowed)
        return {
            place
            for place, core in self._cores.items()
            if place not in spare and any(piece in content for piece in _pieces(core))
        }

    def leaks(self, contents: Mapping[str, bytes], allowed: Mapping[str, Iterable[str]]) -> list[str]:
        """Each place whose secret is told, and where; `allowed` says which may stand in which content."""
        return [
            f"the secret of {place} is in {name}"
            for name, content in contents.items()
            for place in sorted(self.found_in(content, allowed.get(name, ())))
        ]


def _pieces(core: str) -> Iterator[bytes]:
    for start in range(0, len(core) - _PIECE + 1, 4):
        yield core[start : start + _PIECE].encode()
    for before in range(3):
        yield b64encode(b"?" * before + core.encode())[4:-4]


def state_of(root: Path) -> dict[str, bytes]:
    """Every file below state/ and tmp/ by its path, and what the journal says."""
    contents = {
        str(path.relative_to(root)): path.read_bytes()
        for name in ("state", "tmp")
        for path in sorted((root / name).rglob("*"))
        if path.is_file()
    }
    if (root / "state" / "journal.db").exists():
        with closing(sqlite3.connect(root / "state" / "journal.db")) as journal:
            rows = journal.execute("SELECT body FROM events UNION ALL SELECT body FROM past").fetchall()
        contents["the journal's rows"] = "\n".join(body for (body,) in rows).encode()
    return contents
