"""dvc.yaml says what each stage reads. It is coarse, by packages and not by files, and it is short."""

import ast

import pytest
from ruamel.yaml import YAML

from mer_pipeline.config.components import ADAPTERS, BACKENDS, ENCODERS, FOLDER, HEADS, JUDGES
from tests.closure import PACKAGE, ROOT, Reach, imported_modules, reach

TEXT = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
PIPELINE = YAML(typ="safe").load(TEXT)["stages"]


def body(name: str) -> dict[str, list[str]]:
    """What stands under a stage's name, for each of its runs."""
    return PIPELINE[name].get("do", PIPELINE[name])


def reached(name: str) -> Reach:
    """What the stage's script reaches."""
    return reach(ROOT / f"stages/{name}.py")


def code_deps(name: str) -> list[str]:
    """The deps of a stage that are code of this project: files and packages."""
    return [dep for dep in body(name)["deps"] if dep.startswith(("stages/", f"{PACKAGE}/"))]


def holds(dep: str, file: str) -> bool:
    """Whether a file is a dep, or below it."""
    return file == dep or file.startswith(f"{dep}/")


@pytest.mark.parametrize("name", PIPELINE)
def test_all_code_that_a_stage_reaches_lies_below_its_deps(name: str) -> None:
    """A stage runs again when code changes that it can reach, and each dep has some of it."""
    files, deps = reached(name).files, code_deps(name)
    assert not [file for file in files if not any(holds(dep, file) for dep in deps)]
    assert not [dep for dep in deps if not any(holds(dep, file) for file in files)]


@pytest.mark.parametrize("name", PIPELINE)
def test_deps_are_packages(name: str) -> None:
    """A module inside of a package is no dep of its own, and no dep lies in another."""
    deps = body(name)["deps"]
    assert not [dep for dep in code_deps(name) if dep.count("/") > 1]
    assert not [(one, other) for one in deps for other in deps if one != other and holds(other, one)]


@pytest.mark.parametrize("name", PIPELINE)
def test_a_stage_that_may_run_the_projects_own_components_watches_them(name: str) -> None:
    """Where a stage reaches all components of a table, one of the project's may stand in their place."""
    tables = (ENCODERS, JUDGES, HEADS, ADAPTERS, BACKENDS)
    modules = [{line.partition(":")[0].replace(".", "/") + ".py" for line in one.built_in.values()} for one in tables]
    runs = name == "faces" or any(files <= reached(name).files for files in modules)  # the one detector is anywhere
    assert (FOLDER in body(name)["deps"]) == runs


@pytest.mark.parametrize("name", PIPELINE)
def test_params_are_those_that_the_stage_reads(name: str) -> None:
    """A stage lists each section that it reads, and no other."""
    made_from = {"encoder_names": {"encoders", "train"}}
    if name in {"embed", "vote"}:
        made_from |= {"encoders": {"encoders.${key}"}} if name == "embed" else {"judges": {"judges.${key}"}}
    read = {key for chain in reached(name).params for key in made_from.get(chain, {chain})}
    if name not in {"ingest", "report"}:  # decided when mer_pipeline is imported; those two compute nothing
        read.add("numerics")
    listed = set(body(name)["params"])
    covered = {key for key in read if key in listed or any(key.startswith(f"{item}.") for item in listed)}
    assert read == covered, f"not listed: {read - covered}"
    unused = {item for item in listed if not any(key == item or key.startswith(f"{item}.") for key in read)}
    assert not unused, f"listed and not read: {unused}"


@pytest.mark.parametrize(
    ("package", "stages"),
    [
        ("cli", set()),
        ("report", {"report"}),
        ("labels", {"vote", "labels", "pseudo", "train", "ablation", "predict"}),
        ("heads", {"vote", "pseudo", "train", "ablation", "predict"}),
        ("text", {"transcribe", "embed"}),
        ("enrich", {"enrich"}),
    ],
)
def test_an_edit_starts_the_stages_that_may_need_it(package: str, stages: set[str]) -> None:
    """And no others; docs/store.md says what each costs."""
    assert {name for name in PIPELINE if f"{PACKAGE}/{package}" in code_deps(name)} == stages


def test_only_stages_inference_and_cli_see_whole_params() -> None:
    """Below them every function is handed its section, so the check above is enough."""
    for path in (ROOT / PACKAGE).rglob("*.py"):
        if path.relative_to(ROOT / PACKAGE).parts[0] in {"cli", "inference"} or path.name in {"params.py", "steps.py"}:
            continue
        names = {node.name for tree in [ast.parse(path.read_text())] for imp in ast.walk(tree)
                 if isinstance(imp, ast.ImportFrom) for node in imp.names}  # fmt: skip
        assert not names & {"Params", "load_params"}, path


@pytest.mark.parametrize("name", PIPELINE)
def test_every_stage_says_what_it_does(name: str) -> None:
    """`dvc stage list` reads like a table of contents."""
    assert body(name)["desc"]


def test_the_file_is_short() -> None:
    """It is read from top to bottom."""
    assert len(TEXT.splitlines()) <= 250
    assert max(map(len, TEXT.splitlines())) <= 120


# A module imports from its own layer and from those before it.
LAYERS = [
    "base.errors",
    "base.atomic",
    "base.network",
    "config.project",
    "base.mkl",
    "base.numerics",
    "base.csv_files",
    "base.kind",
    "base.target",
    "config.section",
    "config.components",
    "config.choice",
    "config.head_entry",
    "config.train_params",
    "base.runtime",
    "base.runs",
    "base.clips",
    "metrics",
    "base.outcome",
    "base.transform",
    "tables",
    "store",
    "features",
    "media",
    "engines",
    "base.run",
    "base.batching",
    "models",
    "base.encoder",
    "vision",
    "speech",
    "text",
    "external",
    "enrich",
    "judges",
    "datasets",
    "labels",
    "base.modalities",
    "scores",
    "heads",
    "training",
    "report",
    "config.params",
    "config.steps",
    "stage",
    "inference",
    "cli",
]


def layer_of(module: str) -> str:
    """A package; in `base` and `config`, which everything stands on, a module."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2] if parts[0] in {"base", "config"} else parts[:1])


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer: str) -> None:
    """Data flows down the layers; nothing reaches back up."""
    base = ROOT / "mer_pipeline" / layer.replace(".", "/")
    files = sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]
    for path in files:
        used = {layer_of(name) for name in imported_modules(path) if "." in name}
        above = {name for name in used if name in LAYERS and LAYERS.index(name) > LAYERS.index(layer)}
        assert not above, f"{path} imports {above}"


def test_every_module_has_a_layer() -> None:
    """A new package takes its place in the order, and so does a module of `base` and `config`."""
    paths = (path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / PACKAGE).rglob("*.py"))
    names = {
        layer_of(path.removesuffix("/__init__").replace("/", "."))
        for path in paths
        if "/" in path.removesuffix("/__init__")
    }
    assert names - {"base", "config"} == set(LAYERS)


def test_labels_and_fusion_know_nothing_of_media_or_dvc() -> None:
    """They read tables."""
    for package in ("labels", "scores", "heads", "training"):
        for path in (ROOT / "mer_pipeline" / package).rglob("*.py"):
            found = imported_modules(path)
            for forbidden in (
                "media",
                "vision",
                "speech",
                "text",
                "enrich",
                "datasets",
                "engines",
                "base.run",
                "cli",
                "report",
            ):
                assert not any(layer_of(name) == forbidden for name in found if "." in name), (path, forbidden)


def test_only_what_people_run_prints() -> None:
    """Everything else returns what there is to say."""
    for path in (ROOT / "mer_pipeline").rglob("*.py"):
        if {"cli", "stage"} & {*path.relative_to(ROOT).parts}:
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path


def test_encoders_and_judges_watch_the_weights() -> None:
    """DVC cannot see a checkpoint's folder; it sees models.lock, as a whole."""
    for name in ("embed", "vote", "enrich", "transcribe"):
        assert "models.lock" in body(name)["deps"]
