"""One module knows the layout of a project."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mer_pipeline.config.project import Project

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("data", "metrics", "plots", "report")
MODULES = [
    path
    for folder in ("mer_pipeline", "stages")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.name != "project.py"
]


def docstrings(tree: ast.Module) -> set[int]:
    """The strings that are documentation."""
    places = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, places) and node.body]
    return {id(node.value) for node in first if isinstance(node, ast.Expr)}


def spelled(source: str) -> Iterator[str]:
    """Paths below the folders of a project that code spells; sentences for people may name them."""
    tree = ast.parse(source)
    skip = docstrings(tree)
    parts: set[int] = set()  # where a bare name is a path
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts |= {id(node.left), id(node.right)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Path":
            parts |= {id(argument) for argument in node.args}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            text = node.value
            below = text.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and not set(text) & set(" \n")
            if below or (text in FOLDERS and id(node) in parts):
                yield text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_module_spells_a_folder_of_the_project(path: Path) -> None:
    """Who moves a table moves it in project.py."""
    assert list(spelled(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source", ['Path("data")', 'root / "metrics"', 'f"data/{name}"', 'open("plots/heads.csv")', 'Path("report", name)']
)
def test_spelling_one_is_seen(source: str) -> None:
    """The check above knows a path when it sees one."""
    assert list(spelled(source))


def test_a_table_is_a_file_or_a_folder_of_shards() -> None:
    """As in docs/features.md; what a person brings keeps its own name."""
    at = Project(Path("p"))
    assert at.manifest == Path("p/data/manifest.parquet")
    assert at.table("votes/given") == at.given == at.votes / "given.parquet"
    assert at.table("votes/face") == Path("p/data/votes/face")
    assert at.table("quarantine/frames") == at.quarantine("frames") == at.quarantine_folder / "frames.parquet"
    assert at.table("external/made.csv") == Path("p/data/external/made.csv")
    assert Project().metrics("train").as_posix() == "metrics/train.json"
