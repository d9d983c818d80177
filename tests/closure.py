"""What a stage's script can reach: the project's modules that it imports, wherever it does, and their package data.

Three modules list things of which a stage uses some, and only those count:

    steps.py        the functions that others name
    components.py   the tables whose loader, such as `make_encoder`, is imported
    params.py       the sections that the stage reads
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

from mer_pipeline import components
from mer_pipeline.params import Params

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mer_pipeline"
STEPS, TABLES, PARAMS = (f"{PACKAGE}.{name}" for name in ("steps", "components", "params"))

Import = tuple[str, str]  # a module, and the name that is imported from it; "" for the module itself


@dataclass
class Reach:
    """What a script reaches.

    Attributes:
        files: of modules and package data, relative to the project's root; the script is one of them.
        params: chains of attributes of the variable `params`, such as "dataset.root".
    """

    files: set[str] = field(default_factory=set)
    params: set[str] = field(default_factory=set)


@cache
def tree_of(path: Path) -> ast.Module:
    """A module's code, without what is under `if TYPE_CHECKING:`, which is never run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def imports(tree: ast.AST) -> Iterator[Import]:
    """What code imports from the project, at whatever depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield (module, "") if file_of(module) else (node.module, alias.name)


def imported_modules(source: str) -> set[str]:
    """Dotted names of the project's modules that a source imports, wherever in it."""
    return {module for module, _ in imports(ast.parse(source))}


def file_of(module: str) -> Path | None:
    """Where a module is, or None where there is none of that name."""
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """A module's functions by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@cache
def loaders() -> dict[Import, list[str]]:
    """The functions that load a class from a table of components: (module, function) to the modules in that table."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name, function in functions(tree_of(path)).items():
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
                    table = getattr(components, node.value.id, None)
                    if isinstance(table, components.Registry):
                        found[module, name] = [place.partition(":")[0] for place in table.built_in.values()]
    return found


def section_modules(section: str) -> set[str]:
    """The modules that have the classes of a section of params.yaml."""
    todo, found = [Params.model_fields[section].annotation], set()
    while todo:
        kind = todo.pop()
        todo += get_args(kind)
        if str(getattr(kind, "__module__", "")).startswith(f"{PACKAGE}."):
            found.add(str(kind.__module__))
    return found


def chains(tree: ast.AST) -> set[str]:
    """Attributes of the variable `params` that code reads, such as "dataset.root"."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            parts: list[str] = []
            at: ast.expr = node
            while isinstance(at, ast.Attribute):
                parts.insert(0, at.attr)
                at = at.value
            if isinstance(at, ast.Name) and at.id == "params":
                found.add(".".join(parts))
    return found


def package_data(path: Path) -> set[Path]:
    """Files beside a module that it may read as package data."""
    text = path.read_text(encoding="utf-8")
    if "importlib.resources" not in text and "import resources" not in text and "PackageLoader" not in text:
        return set()
    return {p for p in path.parent.iterdir() if p.is_file() and p.suffix not in {".py", ".pyc"}}


def reach(script: Path) -> Reach:
    """What the script of a stage reaches."""
    found, todo, done = Reach(), [(script, tree_of(script))], set[int]()
    catalogue = tree_of(ROOT / PACKAGE / "steps.py")
    steps = functions(catalogue)
    code: list[ast.AST] = [tree_of(script)]
    while todo:
        path, tree = todo.pop()
        if id(tree) in done:
            continue
        done.add(id(tree))
        found.files |= {one.relative_to(ROOT).as_posix() for one in {path, *package_data(path)}}
        for module, name in imports(tree):
            todo += _followed(module)
            for loaded in loaders().get((module, name), ()):
                todo += _followed(loaded)
            if module == STEPS and name in steps:
                code.append(steps[name])
                todo.append((ROOT / PACKAGE / "steps.py", steps[name]))
        if path == script or tree in code:
            for node in ast.walk(tree):  # `steps.frames(params)`
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "steps":
                    code.append(steps[node.attr])
                    todo.append((ROOT / PACKAGE / "steps.py", steps[node.attr]))
            found.params |= chains(tree)
            for chain in chains(tree):
                section = chain.partition(".")[0]
                for module in section_modules(section) if section in Params.model_fields else ():
                    todo += _followed(module)
    return found


def _followed(module: str) -> Iterator[tuple[Path, ast.AST]]:
    """The module's file and those of the packages around it, each with the part of its code that counts."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        path = file_of(".".join(parts[:depth]))
        if path is not None:
            yield path, _counted(".".join(parts[:depth]), tree_of(path))


@cache
def _counted(module: str, tree: ast.Module) -> ast.AST:
    if module == STEPS:
        return ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
    if module == PARAMS:
        classes = {part for section in Params.model_fields for part in section_modules(section)}
        body = [n for n in tree.body if not (isinstance(n, ast.ImportFrom) and n.module in classes)]
        return ast.Module(body, [])
    return tree
