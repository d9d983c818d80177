"""dvc.yaml says exactly what each stage reads: code, params and tables."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.closure import ROOT, closure, code_deps, imported_modules, stage_script

PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def body(name: str) -> dict[str, list[str]]:
    return PIPELINE[name].get("do", PIPELINE[name])


def params_read(script: Path) -> set[str]:
    """Attribute chains of the variable `params` in a stage's script, such as "dataset.root"."""
    tree = ast.parse(script.read_text())
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    chains = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        parts: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            parts.insert(0, at.attr)
            at = at.value
        if isinstance(at, ast.Name) and at.id == "params":
            chains.add(".".join(parts))
    return chains


@pytest.mark.parametrize("name", PIPELINE)
def test_code_deps_are_the_import_closure(name: str) -> None:
    """A stage re-runs when, and only when, code that it can reach changes (mend: python tests/closure.py)."""
    assert sorted(code_deps(PIPELINE[name])) == closure(stage_script(PIPELINE[name]))


@pytest.mark.parametrize("name", PIPELINE)
def test_params_are_those_that_the_script_reads(name: str) -> None:
    """A stage lists each section that it reads, and no other."""
    made_from = {
        "encoder_names": {"encoders", "train"},
        # Ingest only looks whether checkpoints are there; what it writes does not depend on encoders or judges.
        "encoders": {"embed": {"encoders.${key}"}, "ingest": set()}.get(name, {"encoders"}),
        "judges": {"vote": {"judges.${key}"}, "ingest": set()}.get(name, {"judges"}),
        "enrich": {"ingest": set()}.get(name, {"enrich"}),
        # It also looks whether the options of heads are known.
        "train": {"ingest": set()}.get(name, {"train"}),
        "heads_elsewhere": set(),
    }
    read = {key for chain in params_read(stage_script(PIPELINE[name])) for key in made_from.get(chain, {chain})}
    if name not in {"ingest", "report"}:  # decided when mer_pipeline is imported; those two compute nothing
        read.add("numerics")
    listed = {item for item in body(name).get("params", []) if isinstance(item, str)}
    covered = {key for key in read if key in listed or any(key.startswith(f"{item}.") for item in listed)}
    assert read == covered, f"not listed: {read - covered}"
    unused = {item for item in listed if not any(key == item or key.startswith(f"{item}.") for key in read)}
    assert not unused, f"listed and not read: {unused}"


def test_only_stages_and_cli_see_whole_params() -> None:
    """Below them every function is handed its section, so the check above is enough."""
    for path in (ROOT / "mer_pipeline").rglob("*.py"):
        if path.name == "params.py" or "cli" in path.parts:
            continue
        names = {node.name for tree in [ast.parse(path.read_text())] for imp in ast.walk(tree)
                 if isinstance(imp, ast.ImportFrom) for node in imp.names}  # fmt: skip
        assert not names & {"Params", "load_params"}, path


@pytest.mark.parametrize("name", PIPELINE)
def test_every_stage_says_what_it_does(name: str) -> None:
    """`dvc stage list` reads like a table of contents."""
    assert body(name)["desc"]


# A module imports from its own layer and from those before it.
LAYERS = [
    *(
        "errors",
        "atomic",
        "project",
        "numerics",
        "csv_files",
        "section",
        "components",
        "choice",
        "train_params",
        "runtime",
        "runs",
        "clips",
        "metrics",
        "outcome",
        "transform",
        "tables",
        "store",
        "features",
        "media",
        "engines",
        "run",
        "batching",
    ),
    *(
        "models",
        "encoder",
        "vision",
        "speech",
        "text",
        "external",
        "enrich",
        "judges",
        "datasets",
        "labels",
        "modalities",
        "scores",
        "heads",
        "training",
        "report",
        "params",
        "cli",
    ),
]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer: str) -> None:
    """Data flows down the layers; nothing reaches back up."""
    base = ROOT / "mer_pipeline" / layer
    files = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    for path in files:
        used = {name.split(".")[1] for name in imported_modules(path.read_text()) if "." in name}
        above = {name for name in used if name in LAYERS and LAYERS.index(name) > LAYERS.index(layer)}
        assert not above, f"{path} imports {above}"


def test_every_module_has_a_layer() -> None:
    """A new package takes its place in the order."""
    names = {
        path.stem
        for path in (ROOT / "mer_pipeline").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert names - {"__init__"} == set(LAYERS)


def test_labels_and_fusion_know_nothing_of_media_or_dvc() -> None:
    """They read tables."""
    for package in ("labels", "scores", "heads", "training"):
        for path in (ROOT / "mer_pipeline" / package).rglob("*.py"):
            found = imported_modules(path.read_text())
            for forbidden in (
                "media",
                "vision",
                "speech",
                "text",
                "enrich",
                "datasets",
                "engines",
                "run",
                "cli",
                "report",
            ):
                assert not any(name.split(".")[1:2] == [forbidden] for name in found), (path, forbidden)


def test_only_cli_and_stages_print() -> None:
    """Everything else returns what there is to say."""
    for path in (ROOT / "mer_pipeline").rglob("*.py"):
        if "cli" in path.relative_to(ROOT).parts:
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path


def test_encoders_and_judges_watch_the_weights() -> None:
    """DVC cannot see a checkpoint's folder; it sees models.lock, as a whole."""
    for name in ("embed", "vote", "enrich"):
        assert {"models.lock": None} in body(name)["params"]
