"""What a stage's script can reach: the project's modules that it imports, wherever it does, and their package data.

Three modules of `config` list things of which a stage uses some, and only those count:

    steps.py        the functions that others name
    components.py   the tables whose loader, such as `make_encoder`, is imported
    params.py       the sections that the stage reads

What a script calls to be checked, such as `check_heads(params.train)`, does not count: it stops the stage, or changes
nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import get_args

from mer_pipeline.config import components
from mer_pipeline.config.params import Params

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mer_pipeline"
STEPS, TABLES, PARAMS = (f"{PACKAGE}.config.{name}" for name in ("steps", "components", "params"))

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


def imported_modules(path: Path) -> set[str]:
    """Dotted names of the project's modules that a module imports, wherever in it."""
    return {module for module, _ in imports(tree_of(path))}


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
    found: dict[Import, list[str]] = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        own = functions(tree_of(path))
        names = {name: {n.id for n in ast.walk(f) if isinstance(n, ast.Name)} for name, f in own.items()}
        for name, function in own.items():
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and node.attr == "load" and isinstance(node.value, ast.Name):
                    table = getattr(components, node.value.id, None)
                    if isinstance(table, components.Registry):
                        found[module, name] = [place.partition(":")[0] for place in table.built_in.values()]
        while callers := [
            (name, inner) for name in own for inner in names[name]
            if (module, name) not in found and (module, inner) in found
        ]:  # fmt: skip
            found |= {(module, name): found[module, inner] for name, inner in callers}
    return found


def without_checks(tree: ast.Module) -> ast.Module:
    """A script without the calls of functions `check_...`, and without the imports that nothing else needs."""

    class Drop(ast.NodeTransformer):
        """Take statements out."""

        def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
            """Keep it, unless it is a check."""
            call = node.value.func if isinstance(node.value, ast.Call) else None
            return None if isinstance(call, ast.Name) and call.id.startswith("check_") else node

    left = Drop().visit(ast.parse(ast.unparse(tree)))
    used = {node.id for node in ast.walk(left) if isinstance(node, ast.Name)}
    for node in ast.walk(left):
        if isinstance(node, ast.ImportFrom):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in used]
    return left


def section_modules(section: str) -> set[str]:
    """The modules that have the classes of a section of params.yaml."""
    todo, found = [Params.model_fields[section].annotation], set()
    while todo:
        kind = todo.pop()
        todo += get_args(kind)
        if str(getattr(kind, "__module__", "")).startswith(f"{PACKAGE}."):
            found.add(str(kind.__module__))
    return found


def section_imports(section: str) -> set[str]:
    """What params.py imports for a section: the modules of its classes, and others of their packages."""
    own = section_modules(section)
    packages = {module.rpartition(".")[0] for module in own} - {PACKAGE}
    imported = {module for module, _ in imports(tree_of(ROOT / PACKAGE / "config/params.py"))}
    return own | {module for module in imported if module.rpartition(".")[0] in packages}


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
    main = without_checks(tree_of(script))
    found, done = Reach(), set[int]()
    todo: list[tuple[Path, ast.AST]] = [(script, main)]
    steps = functions(tree_of(ROOT / PACKAGE / "config/steps.py"))
    code: list[ast.AST] = [main]
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
                todo.append((ROOT / PACKAGE / "config/steps.py", steps[name]))
        if path == script or tree in code:
            for node in ast.walk(tree):  # `steps.frames(params)`
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "steps":
                    code.append(steps[node.attr])
                    todo.append((ROOT / PACKAGE / "config/steps.py", steps[node.attr]))
            found.params |= chains(tree)
            for chain in chains(tree):
                section = chain.partition(".")[0]
                for module in section_imports(section) if section in Params.model_fields else ():
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
        of_sections = {part for section in Params.model_fields for part in section_imports(section)}
        body = [n for n in tree.body if not (isinstance(n, ast.ImportFrom) and n.module in of_sections)]
        return ast.Module(body, [])
    return tree
