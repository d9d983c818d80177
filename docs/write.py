"""Write what of the docs is generated, so that it cannot drift: docs/params.md from the classes in params.py, the table
of label maps at the end of docs/judges.md, and the measured table at the end of docs/method.md from metrics/.
`python docs/write.py`; tests compare the first two.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

from mer_pipeline import params
from mer_pipeline.judges.label_map import known_maps
from mer_pipeline.params import MER_CLASSES

ROOT = Path(__file__).resolve().parent.parent
PARAMS_PAGE = ROOT / "docs/params.md"
METHOD_PAGE = ROOT / "docs/method.md"
JUDGES_PAGE = ROOT / "docs/judges.md"
TABLE = "| weighted F1 |"  # the measured table's beginning
MAPS = "| map |"  # likewise the label maps'
ENTRIES = {"encoders": "EncoderParams", "judges": "JudgeParams"}  # sections of named entries
TOLD = "columns"  # each key means what it says
HEAD = """# params.yaml

Every key with its default and meaning. An unknown key is an error that names the nearest known one. What belongs to
the machine (workers, batch, device) is in `.mer.toml` instead and changes no value.

Written by `python docs/write.py`; a test compares.
"""


def params_page() -> str:
    """One table per section, the meanings taken from the comments in the source."""
    source = inspect.getsource(params)
    lines = source.splitlines()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    sections = _sections(params.Params)
    parts = [HEAD]
    for name, kind in sections.items():
        title, node = (f"{name}.NAME", ENTRIES[name]) if name in ENTRIES else (name, kind.__name__)
        parts.append(f"## {title}\n\n{ast.get_docstring(classes[node])}\n")
        parts.append("| key | default | meaning |\n|---|---|---|")
        parts += [_row(item, lines) for item in classes[node].body if isinstance(item, ast.AnnAssign)]
        parts.append("")
    return "\n".join(parts)


def _sections(kind: type[params.Section], below: str = "") -> dict[str, type[params.Section]]:
    """Sections and those inside them, by path."""
    found: dict[str, type[params.Section]] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, params.Section) and name != TOLD:
            found |= {below + name: inner, **_sections(inner, f"{below}{name}.")}
        elif name in ENTRIES and not below:
            found[name] = getattr(params, ENTRIES[name])
    return found


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


def method_page() -> str:
    """The page with its measured table replaced: heads on all modalities, and the best head on each alone."""
    train = json.loads((ROOT / "metrics/train.json").read_text(encoding="utf-8"))
    test = json.loads((ROOT / "metrics/predict.json").read_text(encoding="utf-8"))["test"]
    lines = [f"{TABLE} out of fold, given labels | out of fold, true | test, true (mean ± sd over seeds) |"]
    lines.append("|---|---|---|---|")
    for name, of in train["heads"].items():
        title = f"{name} (selected)" if name == train["selected"] else name
        lines.append(_scores(title, of, test["heads"][name]))
    for modality in train["modalities"]:
        each = train["single"][modality]
        name = max(each, key=lambda head: each[head]["given"]["weighted_f1"])  # as `train` selects: never by the test
        mixed = ", mixed" if modality in train["mixed"] else ""
        lines.append(_scores(f"{modality} alone ({name}{mixed})", each[name], test["single"][modality][name]))
    text = METHOD_PAGE.read_text(encoding="utf-8").partition(TABLE)[0].rstrip()
    return f"{text}\n\n" + "\n".join(lines) + "\n"


def _scores(title: str, fold: dict[str, dict[str, float]], test: dict[str, float]) -> str:
    out_of_fold = f"{fold['given']['weighted_f1']:.3f} | {fold['true']['weighted_f1']:.3f}"
    return f"| {title} | {out_of_fold} | {test['weighted_f1']:.3f} ± {test['weighted_f1_sd']:.3f} |"


if __name__ == "__main__":
    PARAMS_PAGE.write_text(params_page(), encoding="utf-8")
    JUDGES_PAGE.write_text(judges_page(), encoding="utf-8")
    METHOD_PAGE.write_text(method_page(), encoding="utf-8")
