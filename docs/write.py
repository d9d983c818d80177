"""Write what of the docs is generated, so that it cannot drift: docs/params.md from the sections' classes, the table
of label maps at the end of docs/judges.md, and the tables of docs/results.md (tables.py). `python docs/write.py`.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.encoder import EncoderParams
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.judges.label_map import known_maps
from mer_pipeline.params import Params
from mer_pipeline.section import Section

ROOT = Path(__file__).resolve().parent.parent
PARAMS_PAGE = ROOT / "docs/params.md"
JUDGES_PAGE = ROOT / "docs/judges.md"
MAPS = "| map |"  # the beginning of the label maps' table
ENTRIES: dict[str, type[Section]] = {"encoders": EncoderParams, "judges": JudgeParams}  # sections of named entries
TOLD = "columns"  # each key means what it says
HEAD = """# params.yaml

Every key with its default and meaning. An unknown key is an error that names the nearest known one. What belongs to
the machine (workers, batch, device) is in `.mer.toml` instead and changes no value.

Written by `python docs/write.py`; a test compares.
"""


def params_page() -> str:
    """One table per section, the meanings taken from the comments in the source."""
    sections = _sections(Params)
    alone = [_row(*item) for item in _items_of(Params) if _name_of(item[0]) not in {*sections, *ENTRIES}]
    parts = [HEAD, "| key | default | meaning |\n|---|---|---|", *alone, ""]
    for name, kind in sections.items():
        title = f"{name}.NAME" if name in ENTRIES else name
        parts.append(f"## {title}\n\n{inspect.getdoc(kind)}\n")
        parts.append("| key | default | meaning |\n|---|---|---|")
        parts += [_row(*item) for item in _items_of(kind)]
        parts.append("")
    return "\n".join(parts)


def _sections(kind: type[Section], below: str = "") -> dict[str, type[Section]]:
    """Sections and those inside them, by path."""
    found: dict[str, type[Section]] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section) and name != TOLD:
            found |= {below + name: inner, **_sections(inner, f"{below}{name}.")}
        elif name in ENTRIES and not below:
            found[name] = ENTRIES[name]
    return found


def _items_of(kind: type[Section]) -> list[tuple[ast.AnnAssign, list[str]]]:
    """The keys of a section in the order of its class, each with the source that it stands in."""
    source = inspect.getsource(kind)
    lines = source.splitlines()
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    items = (item for item in node.body if isinstance(item, ast.AnnAssign))
    return [(item, lines) for item in items if not _name_of(item).startswith("_")]


def _name_of(item: ast.AnnAssign) -> str:
    return ast.unparse(item.target)


def _row(item: ast.AnnAssign, lines: list[str]) -> str:
    assert isinstance(item.target, ast.Name)
    assert item.end_lineno is not None
    default = "required" if item.value is None else f"`{ast.unparse(item.value)}`"
    comment = lines[item.end_lineno - 1].partition("  # ")[2]
    above = item.lineno - 2
    before: list[str] = []
    while lines[above].strip().startswith("# "):
        before.insert(0, lines[above].strip()[2:])
        above -= 1
    meaning = " ".join([*before, comment]).strip().replace("|", "\\|")
    return f"| `{item.target.id}` | {default} | {meaning} |"


def judges_page() -> str:
    """The page with its table of label maps replaced: a row per map, class by class."""
    lines = ["| map | " + " | ".join(MER_CLASSES) + " | no class |", "|---" * (len(MER_CLASSES) + 2) + "|"]
    for name, of in known_maps().items():
        cells = (", ".join(label for label in of if of[label] == target) for target in (*MER_CLASSES, None))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    text = JUDGES_PAGE.read_text(encoding="utf-8").partition(MAPS)[0].rstrip()
    return f"{text}\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PARAMS_PAGE.write_text(params_page(), encoding="utf-8")
    JUDGES_PAGE.write_text(judges_page(), encoding="utf-8")
    from tables import RESULTS_PAGE, results_page

    RESULTS_PAGE.write_text(results_page(), encoding="utf-8")
