"""Both composers of YAML read a file the same way."""

from pathlib import Path

import pytest

from retrain.config import document
from retrain.errors import ConfigError

ROOT = Path(__file__).parents[2]
TEXTS = {
    "the sample": (ROOT / "config.yaml").read_text(),
    "styles": "a: 'x'\nb: \"y\"\nc: |\n  z\n  z\nd: >-\n  z\n  z\ne: plain\n  goes on\n",
    "bases": "a: 1:30\nb: [010, 2:00.5, -0_7, 1_000, 0x10, 0.5, '010']\n",
    "flow": "f: [1, 2.5, ~, yes]\ng: {h: 2026-01-01, i: [{j: k}]}\n",
    "twice": "a: 1\nb: {c: 1, c: 2}\na: 2\n",
    "a tab before a comment": "a: 1\t# one\n",
    "a mark inside": "a: 1\n\ufeff # one\n",
    "nothing": "",
    "broken": "a: [1\nb: }\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_libyaml_and_pyyaml_read_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, lines, texts and problems, so that a file does not mean something else where libyaml is missing."""

    def read() -> object:
        try:
            found = document.parse(Path("c.yaml"), text, "sections")
        except ConfigError as error:
            return str(error)
        return found.values, found.lines, found.texts, found.problems

    fast = read()
    monkeypatch.setattr(document, "_FEW", 0)
    assert read() == fast
