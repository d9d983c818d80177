"""The import closure of a stage's script: the project files whose change may change its outputs.

Imports inside functions count, and so do the packages' `__init__`s and data files that lie in an imported
package (prompts, templates, tables). Who imports a function that makes components (`make_encoder`) may run all that
its table names. `python tests/closure.py` writes the closures into dvc.yaml's deps;
test_dvc_yaml.py compares.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mer_pipeline"


def imported_modules(source: str) -> set[str]:
    """Dotted names that a module imports from the project, wherever in it; `from a import b` counts as a and a.b.

    What is under `if TYPE_CHECKING:` is never run and does not count.
    """
    found: set[str] = set()
    skip: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skip |= {id(inner) for statement in node.body for inner in ast.walk(statement)}
        if id(node) in skip:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == PACKAGE}


def module_files(name: str) -> set[Path]:
    """Files of a module and of the packages around it; nothing for a name that is no module."""
    parts = name.split(".")
    files: set[Path] = set()
    for depth in range(1, len(parts) + 1):
        base = ROOT.joinpath(*parts[:depth])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.exists():
                files.add(path)
    return files


def package_data(path: Path) -> set[Path]:
    """Files beside a module that it may read as package data."""
    text = path.read_text(encoding="utf-8")
    if "importlib.resources" not in text and "import resources" not in text and "PackageLoader" not in text:
        return set()
    return {p for p in path.parent.iterdir() if p.is_file() and p.suffix not in {".py", ".pyc"}}


def tables() -> dict[str, set[str]]:
    """The modules of each table of components, by the table's name."""
    tree = ast.parse((ROOT / PACKAGE / "components.py").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            texts = [leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)]
            found[node.target.id] = {
                text.partition(":")[0] for text in texts if isinstance(text, str) and text.startswith(f"{PACKAGE}.")
            }
    return found


@cache
def makers() -> dict[str, set[str]]:
    """The functions that make components, as "module.name", to the modules of the table that they use."""
    listed, found = tables(), {}
    for path in (ROOT / PACKAGE).rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                used = {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)} & listed.keys()
                if used:
                    found[f"{module}.{node.name}"] = set().union(*(listed[name] for name in used))
    return found


def closure(script: Path) -> list[str]:
    """Paths relative to the project's root, sorted; the script is one of them."""
    todo, done = {script}, set()
    data: set[Path] = set()
    while todo:
        path = todo.pop()
        done.add(path)
        data |= package_data(path)
        for name in imported_modules(path.read_text(encoding="utf-8")):
            for module in {name, *makers().get(name, ())}:
                todo |= module_files(module) - done
    return sorted(path.relative_to(ROOT).as_posix() for path in done | data)


def stage_script(stage: object) -> Path:
    """The script that a stage of dvc.yaml runs."""
    assert isinstance(stage, dict)
    command = str(stage.get("do", stage)["cmd"])
    return ROOT / next(word for word in command.split() if word.startswith("stages/"))


def code_deps(stage: object) -> list[str]:
    """The deps of a stage that are code or package data of this project."""
    assert isinstance(stage, dict)
    return [dep for dep in stage.get("do", stage)["deps"] if str(dep).startswith(("stages/", f"{PACKAGE}/"))]


def write() -> None:
    """Put the closures into dvc.yaml, keeping the rest as it is."""
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    place = ROOT / "dvc.yaml"
    pipeline = yaml.load(place)
    for stage in pipeline["stages"].values():
        body = stage.get("do", stage)
        code = code_deps(stage)
        body["deps"] = [dep for dep in body["deps"] if dep not in code] + closure(stage_script(stage))
    with place.open("w", encoding="utf-8") as file:
        yaml.dump(pipeline, file)


if __name__ == "__main__":
    write()
