"""Write what of the docs is generated, so that it cannot drift: docs/params.md from the sections' classes, the tables
of components and of label maps in other pages, and the tables of docs/results.md (tables.py). `python docs/write.py`.

In a page a table stands between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

from mer_pipeline.config.components import HEADS, Registry
from mer_pipeline.config.params import CHOICES, ENTRIES, Params
from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import HeadEntry, TrainParams
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.heads.spec import Parts
from mer_pipeline.judges.label_map import known_maps

ROOT = Path(__file__).resolve().parent.parent
PARAMS_PAGE = ROOT / "docs/params.md"
TOLD = "columns"  # each key means what it says
OWN = "its own"
HEAD = """# params.yaml

Every key with its default and meaning. An unknown key is an error that names the nearest known one. What belongs to
the machine (workers, batch, device) is in `.mer.toml` instead and changes no value.

A section that names a component (`family`, `kind`, `adapter`, `detector`, `backend`) has the keys of its own table and
those of that component; the key of another component is an error. Components of your own: [extending.md](extending.md).

Written by `python docs/write.py`; a test compares.
"""


class Key(NamedTuple):
    """A key of a section, as its class says it.

    Attributes:
        name: of the key.
        default: as params.yaml would say it, OWN of a section inside; None where it must be given.
        meaning: the comment beside and above it.
    """

    name: str
    default: str | None
    meaning: str

    def cells(self) -> list[str]:
        """For a table: key, default, meaning."""
        default = "required" if self.default is None else self.default if self.default == OWN else f"`{self.default}`"
        return [f"`{self.name}`", default, self.meaning]


class Component(NamedTuple):
    """A line of a table of components.

    Attributes:
        name: by which params.yaml names it.
        what: the first paragraph of its params' docstring; of a head's own.
        keys: those that it has beside its base's.
    """

    name: str
    what: str
    keys: list[Key]


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a table of Markdown."""
    titles = list(header)
    return [_line(titles), "|" + "---|" * len(titles), *map(_line, rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def params_page() -> str:
    """One table per section, the meanings taken from the comments in the source."""
    sections = dict(_sections(Params))
    parts = [HEAD, *_keys_table(key for key in keys_of(Params) if key.name not in {*sections, *ENTRIES}), ""]
    choices = {**CHOICES, **ENTRIES}
    for name, kind in sections.items():
        title = f"{name}.NAME" if name in ENTRIES else name
        parts += [f"## {title}\n\n{inspect.getdoc(kind)}\n", *_keys_table(_own_keys(kind)), ""]
        if choice := choices.get(name):
            parts += [*_options_table(choice.key, components_of(choice.table, choice.base)), ""]
        if name == "train":
            parts += [f"## train.heads.NAME\n\n{inspect.getdoc(HeadEntry)}\n", *_keys_table(keys_of(HeadEntry)), ""]
            parts += [*_options_table("kind", components_of(HEADS, TrainParams, Parts)), ""]
    return "\n".join(parts)


def components_of(listed: Registry[object], *bases: type[Section]) -> list[Component]:
    """The lines of a table, with the keys that each has and no base has."""
    found = []
    for name in listed.built_in:
        kind, params = listed.load(name), listed.params_of(name, Section)
        told = inspect.getdoc(kind if listed is HEADS else params) or ""
        what = told.partition("\n\n")[0].replace("\n", " ").removesuffix(".")
        found.append(Component(name, what, list(_own_keys(params, bases))))
    return found


def _sections(kind: type[Section], below: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Sections and those inside them, by path."""
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section) and name != TOLD:
            yield below + name, inner
            yield from _sections(inner, f"{below}{name}.")
        elif name in ENTRIES and not below:
            yield name, ENTRIES[name].base


def _keys_table(keys: Iterable[Key]) -> list[str]:
    return table(("key", "default", "meaning"), [key.cells() for key in keys])


def _options_table(key: str, found: Iterable[Component]) -> list[str]:
    """A line for each component, and one for each of its keys."""
    rows = []
    for one in found:
        rows += [[f"**{one.name}**", "", "", one.what], *(["", *own.cells()] for own in one.keys)]
    return table((f"{key}", "key", "default", "meaning"), rows)


def keys_of(kind: type[Section]) -> list[Key]:
    """The keys that a class itself has, in its order."""
    source = inspect.getsource(kind)
    lines = source.splitlines()
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    items = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return [_key(kind, item, lines) for item in items if ast.unparse(item.target) in kind.model_fields]


def _own_keys(kind: type[Section], bases: tuple[type[Section], ...] = ()) -> Iterator[Key]:
    """Those that a class has beside these bases, or narrows; its own before inherited ones."""
    theirs = {known for base in (Section, *bases) for known in base.__mro__}
    seen: set[str] = set()
    for one in kind.__mro__:
        for key in keys_of(one) if one not in theirs else ():
            if key.name not in seen:
                seen.add(key.name)
                yield key


def _key(kind: type[Section], item: ast.AnnAssign, lines: list[str]) -> Key:
    assert item.end_lineno is not None
    name = ast.unparse(item.target)
    comment = lines[item.end_lineno - 1].partition("  # ")[2]
    above = item.lineno - 2
    before: list[str] = []
    while lines[above].strip().startswith("# "):
        before.insert(0, lines[above].strip()[2:])
        above -= 1
    meaning = " ".join([*before, comment]).strip()
    annotation = kind.model_fields[name].annotation
    if item.value is None and get_origin(annotation) is Literal:
        meaning = f"{' or '.join(f'`{choice}`' for choice in get_args(annotation))}: {meaning}"
    return Key(name, _default(kind, name), meaning.replace("|", "\\|"))


def _default(kind: type[Section], name: str) -> str | None:
    """What a key has without, as params.yaml would say it; None where it must be given."""
    field = kind.model_fields[name]
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section) and name != TOLD:
        return OWN
    if isinstance(value, Section):
        return f"{{{', '.join(f'{key}: {_plain(each)}' for key, each in dict(value).items())}}}"
    return _plain(list(value) if isinstance(value, Mapping) else value)


def _plain(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def pages() -> dict[Path, str]:
    """The pages that have tables of components, with these made anew."""
    tables = {
        "encoders": _component_table("encoders"),
        "judges": _component_table("judges"),
        "enrich": _component_table("enrich"),
        "maps": maps_table(),
    }
    found = {}
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for name, lines in tables.items():
            begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
            before, there, after = text.partition(begin)
            if there:
                text = before + begin + "\n".join(lines) + "\n" + end + after.partition(end)[2]
                found[path] = text
    return found


def _component_table(section: str) -> list[str]:
    """What each component of a section reads, is, needs and may be told."""
    choice = {**CHOICES, **ENTRIES}[section]
    reads = "input" in choice.base.model_fields
    rows = []
    for one in components_of(choice.table, choice.base):
        own = {key.name: key for key in one.keys}
        source = [_reads(own.pop("input"))] if reads else []
        needs = [f"`{name}`" for name in own if own[name].default is None]
        options = [f"`{name}`" for name in own if own[name].default is not None]
        rows.append([f"`{one.name}`", *source, one.what, ", ".join(needs), ", ".join(options)])
    return table((choice.key, *(["reads"] if reads else []), "what", "needs", "options"), rows)


def _reads(key: Key) -> str:
    """The tables that a component reads, or what a person brings instead."""
    return key.meaning.partition(":")[0].replace("`", "").replace(" or ", ", ")


def maps_table() -> list[str]:
    """A row per label map, class by class."""
    rows = []
    for name, of in known_maps().items():
        cells = (", ".join(label for label in of if of[label] == target) for target in (*MER_CLASSES, None))
        rows.append([f"`{name}`", *cells])
    return table(("map", *MER_CLASSES, "no class"), rows)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "docs"))
    from tables import RESULTS_PAGE, results_page

    PARAMS_PAGE.write_text(params_page(), encoding="utf-8")
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
    RESULTS_PAGE.write_text(results_page(), encoding="utf-8")
