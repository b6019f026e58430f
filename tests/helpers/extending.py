"""The examples of docs/extending.md, applied to a copy of the project."""

import re
from pathlib import Path

from tests.helpers.paths import ROOT

TEXT = (ROOT / "docs/extending.md").read_text()
BLOCK = re.compile(
    r"`([^`\n]+)`, (above|below) the line `([^\n]+)`\n\n```\w+\n(.*?)```\n", re.DOTALL
)


def apply_example(heading: str, root: Path) -> None:
    """Make the changes of an example in the copy of the project at `root`."""
    for name, side, line, block in blocks_of(heading):
        insert(root / name, block, side=side, line=line)


def blocks_of(heading: str) -> list[tuple[str, str, str, str]]:
    """Return (file, above or below, line, text) of each block below `heading`."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks: list[tuple[str, str, str, str]] = BLOCK.findall(section)
    assert len(blocks) == section.count("```") // 2, f"{heading}: a block has no place"
    return blocks


def insert(path: Path, block: str, *, side: str, line: str) -> None:
    """Insert `block` above or below the one line of `path` that begins with `line`."""
    lines = path.read_text().splitlines(keepends=True)
    place = find_line(lines, line) + (side == "below")
    path.write_text("".join([*lines[:place], block, *lines[place:]]))


def find_line(lines: list[str], begin: str) -> int:
    found = [number for number, line in enumerate(lines) if line.strip().startswith(begin)]
    assert len(found) == 1, f"{len(found)} lines begin with {begin}"
    return found[0]
