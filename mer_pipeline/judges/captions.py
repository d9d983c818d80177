"""Read the captions of the classes for zero-shot judges.

The file is `prompts/captions-NAME.tsv`. Each line has a class, a tab and a caption; a class may have several lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.config.project import PROMPTS


def captions_file(name: str) -> Path:
    """Return the path of the captions of this name.

    Raises:
        ParamsError: there is no such file.
    """
    path = PROMPTS / f"captions-{name}.tsv"
    if not path.is_file():
        raise ParamsError(f"captions '{name}': there is no {path}; write it, or name one that is in {PROMPTS}/")
    return path


def read_captions(path: Path, classes: Sequence[str]) -> list[list[str]]:
    """Return the captions of each class, in the order of the classes. Captions of other classes are ignored.

    Raises:
        ParamsError: a class has no caption, a line is not a class, a tab and a caption, or the file is not UTF-8.
    """
    by_class: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ParamsError(f"{path} is not UTF-8; save it as UTF-8") from None
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells):
            continue
        if len(cells) != 2 or not all(cells):
            raise ParamsError(f"{path}, line {number}: write a class, one tab and a caption")
        by_class.setdefault(cells[0], []).append(cells[1])
    for name in classes:
        if name not in by_class:
            raise ParamsError(f"{path} has no caption for the class '{name}'; add lines '{name}<tab>a caption'")
    return [by_class[name] for name in classes]
