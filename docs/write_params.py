"""Write docs/params.md from the classes in mer_pipeline/params.py, so that it cannot drift."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from mer_pipeline import params

PLACE = Path(__file__).parent / "params.md"
HEAD = """# params.yaml

Every key with its default and meaning. An unknown key is an error that names the nearest known one. What belongs to the machine
(workers, batch, device) is in `.mer.toml` instead and changes no value.

Written by `python docs/write_params.py`; a test compares.
"""


def page() -> str:
    """The page's text: one table per section, comments taken from the source."""
    source = inspect.getsource(params)
    lines = source.splitlines()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    sections = {name: field.annotation for name, field in params.Params.model_fields.items()}
    parts = [HEAD]
    for name, kind in sections.items():
        title, node = (f"{name}.NAME", "EncoderParams") if name == "encoders" else (name, kind.__name__)
        parts.append(f"## {title}\n\n{ast.get_docstring(classes[node])}\n")
        parts.append("| key | default | meaning |\n|---|---|---|")
        parts += [_row(item, lines) for item in classes[node].body if isinstance(item, ast.AnnAssign)]
        parts.append("")
    return "\n".join(parts)


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


if __name__ == "__main__":
    PLACE.write_text(page(), encoding="utf-8")
