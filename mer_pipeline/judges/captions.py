"""Read the captions of the classes for zero-shot judges.

The file is `prompts/captions-NAME.tsv`. Each line has a class, a tab and a caption; a class may have several lines.
The captions are in the language that the checkpoint reads. The classes of a dataset may be called otherwise than in the
file, in English or in Chinese: a class without a line of its own has the captions of its synonym, or else its own name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.config.project import PROMPTS

# Names that datasets give to one class. The first of each line stands in our own files of captions.
_GROUPS = (
    ("neutral", "neutrality", "中性", "中立"),
    ("angry", "anger", "mad", "生气", "愤怒"),
    ("happy", "happiness", "joy", "joyful", "高兴", "快乐", "开心"),
    ("sad", "sadness", "悲伤", "伤心", "难过"),
    ("worried", "worry", "anxious", "anxiety", "担心", "担忧", "焦虑"),
    ("surprise", "surprised", "surprising", "惊讶", "惊奇"),
    ("fear", "fearful", "afraid", "scared", "恐惧", "害怕"),
    ("disgust", "disgusted", "厌恶"),
    ("contempt", "contemptuous", "轻蔑", "蔑视"),
    ("calm", "calmness", "平静", "冷静"),
)
SYNONYMS = {name: tuple(other for other in group if other != name) for group in _GROUPS for name in group}


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
        ParamsError: a line is not a class, a tab and a caption, or the file is not UTF-8.
    """
    by_class = _read(path)
    return [by_class.get(called, [name]) for name, called in zip(classes, _names_in(by_class, classes), strict=True)]


def without_captions(path: Path, classes: Sequence[str]) -> list[str]:
    """Return the classes that have no caption but their own name.

    Raises:
        ParamsError: as in `read_captions`.
    """
    by_class = _read(path)
    return [name for name, called in zip(classes, _names_in(by_class, classes), strict=True) if called not in by_class]


def _names_in(by_class: Mapping[str, list[str]], classes: Sequence[str]) -> list[str]:
    """Return what the file calls each class: the same, a synonym, or nothing, which is the name itself.

    Of two classes that would have the same captions, so that nothing could tell them apart, only one that is called as
    in the file has them.

    Example:
        >>> _names_in({"angry": ["an angry face"], "happy": ["a smile"]}, ["Anger", "joy", "happy"])
        ['angry', 'joy', 'happy']
    """
    found = [_synonym_in(by_class, name) for name in classes]
    return [
        name if name in by_class or found.count(called) > 1 else called
        for name, called in zip(classes, found, strict=True)
    ]


def _synonym_in(by_class: Mapping[str, list[str]], name: str) -> str:
    lower = name.lower()
    return next((same for same in (name, lower, *SYNONYMS.get(lower, ())) if same in by_class), name)


def _read(path: Path) -> dict[str, list[str]]:
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
    return by_class
