"""The recipes of docs/extending.md, as the page says them.

## NAME
### In this package: N files
`FILE`:                             a new file, the block that follows
`FILE`, below `LINE`:               the block goes below that line
`FILE`, instead of `LINE`:          the block takes that line's place
`FILE` is the module above.         a new file, the recipe's first block
### In your project: N file
...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/extending.md"
EDIT = re.compile(r"^`([^`\n]+)`(?:, (below|instead of) `([^`\n]+)`)?:\n\n```\w*\n(.*?)^```$", re.M | re.S)
AGAIN = re.compile(r"^`([^`\n]+)` is the module above\.$", re.M)


@dataclass(frozen=True)
class Edit:
    """What is done to one file.

    Attributes:
        file: relative to the project's root.
        text: a whole new file, or lines.
        anchor: a part of the one line that the text goes below or takes the place of; None: the file is new.
        replaces: whether it takes that line's place.
    """

    file: str
    text: str
    anchor: str | None = None
    replaces: bool = False

    def apply(self, project: Path) -> None:
        """Do it."""
        path = project / self.file
        if self.anchor is None:
            assert not path.exists(), f"{self.file} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text, encoding="utf-8")
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (at,) = (i for i, line in enumerate(lines) if self.anchor in line)
        lines[at + (not self.replaces) : at + 1] = [self.text]
        path.write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class Way:
    """One way to add a component.

    Attributes:
        said: how many files it takes, as the page says.
        edits: in order.
    """

    said: int
    edits: tuple[Edit, ...]

    @property
    def files(self) -> set[str]:
        """Those that it touches."""
        return {edit.file for edit in self.edits}

    def apply(self, project: Path) -> None:
        """Do all that the page says."""
        for edit in self.edits:
            edit.apply(project)


@dataclass(frozen=True)
class Recipe:
    """How a kind of component is added, in this package and outside of it."""

    inside: Way
    outside: Way | None

    @property
    def module(self) -> str:
        """The text of the component's module."""
        return self.inside.edits[0].text


def recipes() -> dict[str, Recipe]:
    """By the name of the kind, in small letters."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        title, inside, outside = section.partition("\n")[0], _way(section, "In this package"), None
        assert inside is not None, title
        if (text := _part(section, "In your project")) is not None:
            module = [Edit(match[1], inside.edits[0].text) for match in AGAIN.finditer(text[1])]
            outside = Way(text[0], (*module, *_edits(text[1])))
        found[title.lower()] = Recipe(inside, outside)
    return found


def _way(section: str, title: str) -> Way | None:
    part = _part(section, title)
    return None if part is None else Way(part[0], _edits(part[1]))


def _part(section: str, title: str) -> tuple[int, str] | None:
    """The number of files that a heading promises, and the text below it."""
    match = re.search(rf"^### {title}: (\d+) files?\n(.*?)(?=^### |\Z)", section, re.M | re.S)
    return None if match is None else (int(match[1]), match[2])


def _edits(text: str) -> tuple[Edit, ...]:
    return tuple(Edit(m[1], m[4], m[3], m[2] == "instead of") for m in EDIT.finditer(text))
