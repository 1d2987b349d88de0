"""README and guide, and what stands in them: blocks, tables, commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = {page.stem: page.read_text() for page in sorted((ROOT / "src/retrain/guide").glob("*.md"))}
DOCUMENTS = {"README": README, **GUIDE}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of this language, also those in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.M | re.S)
    return [dedent(block) for _, block in found]


def section(text: str, heading: str) -> str:
    """What stands below this heading, up to the next one."""
    (found,) = re.findall(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", text, re.M | re.S)
    return str(found)


def rows(text: str) -> dict[str, list[str]]:
    """The rows of all tables by their first cell, without headings."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines if not re.fullmatch("[-: ]+", cells[-1])}


def quoted(text: str) -> Iterator[str]:
    """Every text in backquotes, outside fenced blocks."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    yield from re.findall(r"`([^`\n]+)`", prose)


def commands(text: str) -> Iterator[list[str]]:
    """The words of every command that a reader may type, in backquotes or in a block."""
    lines = [*quoted(text), *"\n".join(blocks(text, "sh")).splitlines()]
    lines += [line.removeprefix("$ ") for line in "\n".join(blocks(text, "console")).splitlines() if line[:2] == "$ "]
    yield from (shlex.split(line, comments=True) for line in lines if re.match(r"(retrain|make) \S", line))
