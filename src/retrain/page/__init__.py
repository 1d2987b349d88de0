"""The pages: how a project stands, what a comparison showed, and the card of a model."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Standing(Struct, frozen=True):
    """How a project stands: the state in a word, why, what is said besides by its titles, and what --json has."""

    word: str
    why: str
    lines: Mapping[str, str]
    data: Mapping[str, Any]
