"""Write what of the docs is generated, so that it cannot drift: docs/params.md from the sections' classes, the table
of label maps at the end of docs/judges.md, and the measured tables of docs/method.md from metrics/ and benchmarks/.
`python docs/write.py`; tests compare all but the table from metrics/, which a run may change.
"""

from __future__ import annotations

import ast
import csv
import inspect
import re
from collections import defaultdict
from pathlib import Path

from mer_pipeline.components import HEADS
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.encoder import EncoderParams
from mer_pipeline.heads.spec import Parts
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.judges.label_map import known_maps
from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.scores import Score
from mer_pipeline.metrics.train import HeadScores, TrainMetrics
from mer_pipeline.params import Params
from mer_pipeline.section import Section
from mer_pipeline.train_params import HeadEntry, TrainParams

ROOT = Path(__file__).resolve().parent.parent
PARAMS_PAGE = ROOT / "docs/params.md"
METHOD_PAGE = ROOT / "docs/method.md"
JUDGES_PAGE = ROOT / "docs/judges.md"
BENCHMARKS = ROOT / "benchmarks"
MAPS = "| map |"  # the beginning of the label maps' table
ENTRIES: dict[str, type[Section]] = {"encoders": EncoderParams, "judges": JudgeParams}  # sections of named entries
TOLD = "columns"  # each key means what it says
TABLE = "| key | default | meaning |\n|---|---|---|"
# Settings that heads read and `train` has, and what is none of a person's options.
ELSEWHERE = {*TrainParams.model_fields, *Parts.model_fields}
HEAD = """# params.yaml

Every key with its default and meaning. An unknown key is an error that names the nearest known one. What belongs to
the machine (workers, batch, device) is in `.mer.toml` instead and changes no value.

Written by `python docs/write.py`; a test compares.
"""


def params_page() -> str:
    """One table per section, the meanings taken from the comments in the source."""
    sections = _sections(Params)
    alone = [_row(*item) for item in _items_of(Params) if _name_of(item[0]) not in {*sections, *ENTRIES}]
    parts = [HEAD, TABLE, *alone, ""]
    for name, kind in sections.items():
        title = f"{name}.NAME" if name in ENTRIES else name
        parts.append(f"## {title}\n\n{inspect.getdoc(kind)}\n")
        parts.append(TABLE)
        parts += [_row(*item) for item in _items_of(kind)]
        parts.append("")
        if kind is TrainParams:
            parts += _heads_parts()
    return "\n".join(parts)


def _heads_parts() -> list[str]:
    """The options of each head that has any of its own."""
    parts = [f"## train.heads.NAME\n\n{inspect.getdoc(HeadEntry)}\n", TABLE]
    parts += [*(_row(*item) for item in _items_of(HeadEntry)), ""]
    for name in HEADS.built_in:
        items = [item for item in _items_of(HEADS.load(name).Params) if _name_of(item[0]) not in ELSEWHERE]
        if items:
            parts += [f"### Options of `{name}`\n", TABLE, *(_row(*item) for item in items), ""]
    return parts


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
    """The keys of a section, each with the source that it stands in: those of its class, then those of its bases."""
    items = []
    for one in kind.__mro__[: kind.__mro__.index(Section)]:
        source = inspect.getsource(one)
        lines = source.splitlines()
        (node,) = ast.parse(source).body
        assert isinstance(node, ast.ClassDef)
        found = [(item, lines) for item in node.body if isinstance(item, ast.AnnAssign)]
        items += [item for item in found if _name_of(item[0]) in kind.model_fields]
    return items


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


def method_page() -> str:
    """The page with its measured tables replaced; a table is known by how it begins."""
    text = METHOD_PAGE.read_text(encoding="utf-8")
    for lines in (table() for table in (*BENCHMARK_TABLES, demo_table)):
        begin = text.index("\n|" + lines[0].split("|")[1] + "|") + 1
        end = text.find("\n\n", begin)
        text = text[:begin] + "\n".join(lines) + (text[end:] if end > 0 else "\n")
    return text


def heads_table() -> list[str]:
    """Heads on all modalities of real features, at both settings, and `ecmf` minus each: of benchmarks/heads.md."""
    page = (BENCHMARKS / "heads.md").read_text(encoding="utf-8")
    columns = {"default": "d 64, lr 1e-3 (default)", "quick": "d 256, lr 1e-4"}
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: {title: ["", ""] for title in columns})
    for title in columns:
        for name, *cells in _rows(page, f"## Setting `{title}`", "| head |"):
            found[name][title][0] = cells[-1]
        for name, less, _ in _rows(page, f"## Setting `{title}`", "| against |"):
            found[name][title][1] = less
        alone = _rows(page, f"## Setting `{title}, late fusion off`", "| head |")[0]
        found[f"{alone[0]}, its network alone"][title][0] = alone[-1]
    header = " | ".join(f"{column} | `ecmf` minus it" for column in columns.values())
    rows = [" | ".join((name, *(cell for pair in each.values() for cell in pair))) for name, each in found.items()]
    return [f"| fused | {header} |", "|---|---|---|---|---|", *(f"| {_short(row)} |" for row in rows)]


def competition_table() -> list[str]:
    """`ecmf` minus `mertools` on generated clips, the mean over draws: of benchmarks/competition.csv."""
    f1: dict[tuple[str, ...], float] = {}
    with (BENCHMARKS / "competition.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["world"], row["setting"], row["measure"]) == ("main", "default", "f1"):
                f1[row["missing"], row["noise"], row["n"], row["seed"], row["head"]] = float(row["value"])
    gains: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for (*of, seed, head), value in f1.items():
        theirs = f1.get((*of, seed, "mertools"))
        if head == "ecmf" and of[2] in ("96", "300", "3000") and theirs is not None:
            gains[tuple(of)].append(value - theirs)
    columns = [n for n in ("96", "300", "3000") if any(of[2] == n for of in gains)]
    lines = ["| missing | wrong labels | " + " | ".join(f"{int(n):,} labels" for n in columns) + " |"]
    lines.append("|---" * (2 + len(columns)) + "|")
    for missing, noise in sorted({of[:2] for of in gains}, key=lambda of: tuple(map(float, of))):
        each = [gains.get((missing, noise, n)) for n in columns]
        cells = [_short(f"{sum(of) / len(of):+.3f}") if of else "" for of in each]
        lines.append(f"| {float(missing):.0%} | {float(noise):.0%} | " + " | ".join(cells) + " |")
    return lines


def ablation_table() -> list[str]:
    """One part off at a time, on real features and on the demo split: of benchmarks/ablation.md."""
    page = (BENCHMARKS / "ablation.md").read_text(encoding="utf-8")
    found: dict[str, list[str]] = defaultdict(lambda: [""] * 4)
    for at, title in enumerate(("## Real features", "## The demo split")):
        for name, score, less, _ in _rows(page, title, "| variant |"):
            found[name][2 * at : 2 * at + 2] = score, less
    lines = ["| variant | real features | minus all of it | demo split, true labels | minus all of it |"]
    lines.append("|---|---|---|---|---|")
    return [*lines, *(_short(f"| {name} | " + " | ".join(cells) + " |") for name, cells in found.items())]


def demo_table() -> list[str]:
    """Heads on all modalities, and the best head on each alone: of metrics/."""
    train, test = (
        TrainMetrics.read(ROOT / "metrics/train.json"),
        PredictMetrics.read(ROOT / "metrics/predict.json").test,
    )
    if test is None:
        raise SystemExit("error: metrics/predict.json has no scores of the test; run `make repro` on the demo split")
    lines = ["| weighted F1 | out of fold, given labels | out of fold, true | test, true (mean ± sd over seeds) |"]
    lines.append("|---|---|---|---|")
    for name, of in train.heads.items():
        title = f"{name} (selected)" if name == train.selected else name
        lines.append(_scores(title, of, test.heads[name]))
    for modality in train.modalities:
        each = train.single[modality]
        name = max(each, key=lambda head: each[head].given.weighted_f1)  # as `train` selects: never by the test
        mixed = ", mixed" if modality in train.mixed else ""
        lines.append(_scores(f"{modality} alone ({name}{mixed})", each[name], test.single[modality][name]))
    return lines


def _rows(page: str, section: str, begin: str) -> list[list[str]]:
    """The cells of a table's rows; it is the first in its section that begins so."""
    table = page.partition(f"{section}\n")[2].partition("\n## ")[0].partition(f"\n{begin}")[2].partition("\n\n")[0]
    if not table:
        raise SystemExit(f"error: no table in benchmarks/ begins {begin!r} below {section!r}; write that page anew")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def _short(cells: str) -> str:
    """Figures as this page has them: .630 and −.001."""
    return re.sub(r"-(?=\.)", "−", re.sub(r"\b0\.", ".", cells))


def _scores(title: str, fold: HeadScores, test: Score) -> str:
    true = "" if fold.true is None else f"{fold.true.weighted_f1:.3f}"
    return f"| {title} | {fold.given.weighted_f1:.3f} | {true} | {test.weighted_f1:.3f} ± {test.weighted_f1_sd:.3f} |"


BENCHMARK_TABLES = (heads_table, competition_table, ablation_table)

if __name__ == "__main__":
    PARAMS_PAGE.write_text(params_page(), encoding="utf-8")
    JUDGES_PAGE.write_text(judges_page(), encoding="utf-8")
    METHOD_PAGE.write_text(method_page(), encoding="utf-8")
