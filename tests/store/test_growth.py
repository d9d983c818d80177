"""What is put beside a thing changes no key of it: in a copy of this package, something new is added next to the old.

The copy is edited as an author would: a new module, and a line wherever the old one is listed by its name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.written import Package

ROOT = Path(__file__).resolve().parent.parent.parent
HEADS = ("ecmf", "mertools", "concat", "gated", "mean-logits", "logreg")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """A copy of this package under another name."""
    folder = tmp_path_factory.mktemp("copied")
    copy = Package(folder)
    shutil.copytree(ROOT / "mer_pipeline", copy.folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.folder.rglob("*.py"):
        path.write_text(path.read_text().replace("mer_pipeline", copy.name))
    shutil.copytree(copy.folder, folder / "untouched")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr("sys.dont_write_bytecode", True)
        yield copy
        copy.forget()


@pytest.fixture
def copy(copied: Package) -> Iterator[Package]:
    """The copy, as it was before any test."""
    yield copied
    copied.forget()
    shutil.rmtree(copied.folder)
    shutil.copytree(copied.folder.parent / "untouched", copied.folder)


def list_beside(copy: Package, old: str, new: str, instead: dict[str, str]) -> None:
    """Add `new` wherever `old` is listed by its name: in tables and in `Literal`s; `instead` are words of its line."""
    edited = 0
    for path in copy.folder.rglob("*.py"):
        text = path.read_text()
        lines = []
        for line in text.splitlines():
            lines.append(line)
            if re.match(rf'\s*"{old}"(: .*)?,$', line):  # an entry on a line of its own
                for word, other in {old: new, **instead}.items():
                    line = re.sub(rf"\b{word}\b", other, line)
                lines.append(line)
            elif "Literal[" in line:
                lines[-1] = line.replace(f'"{old}"', f'"{old}", "{new}"')
        if (edited_text := "\n".join(lines) + "\n") != text:
            path.write_text(edited_text)
            edited += 1
    assert edited, f"{old} is listed nowhere"


def module(copy: Package, name: str) -> Any:
    """A module of the copy, beside those that are loaded."""
    return importlib.import_module(f"{copy.name}.{name}")


def step_keys(copy: Package) -> dict[str, str]:
    """Of every step of the demo."""
    copy.forget()
    params = module(copy, "config.params").load_params(ROOT / "params.yaml")
    prints, steps = module(copy, "store.fingerprint"), module(copy, "config.steps").steps(params)
    return {step.name: prints.fingerprint_of(step.make(), "cpu").id for step in steps}


def head_keys(copy: Package) -> dict[str, str]:
    """Of every head but the newest, and of an ensemble of two."""
    copy.forget()
    cache, make = module(copy, "training.head_cache"), module(copy, "heads.make")
    params = module(copy, "config.train_params").TrainParams(heads=["ecmf", "logreg", "ensemble"])
    return {name: cache.head_fingerprint(make.head_of(name, params), "cpu").id for name in (*HEADS, "ensemble")}


def test_a_new_family(copy: Package) -> None:
    """An encoder's module and its lines change no key of any step of the demo."""
    before = step_keys(copy)
    assert {"faces", "embed-voice", "embed-face", "enriched"} <= before.keys()
    base = module(copy, "speech.logmel").LogMel
    (copy.folder / "speech/brandnew.py").write_text(
        f"from {base.__module__} import LogMel\nclass BrandNew(LogMel): pass\n"
    )
    list_beside(copy, "logmel", "brandnew", {"LogMel": "BrandNew"})
    after = step_keys(copy)
    assert module(copy, "config.components").ENCODERS.load("brandnew").__name__ == "BrandNew"
    assert after == before


def test_a_new_head(copy: Package) -> None:
    """A head's module and its lines change no key of another head, nor of an ensemble of others."""
    before = head_keys(copy)
    (copy.folder / "heads/brandnew.py").write_text(
        f"from {copy.name}.heads.logreg import LogReg\nclass BrandNew(LogReg): pass\n"
    )
    list_beside(copy, "logreg", "brandnew", {"LogReg": "BrandNew"})
    for path in copy.folder.rglob("*.py"):  # where a table holds the classes themselves
        text = path.read_text()
        if re.search(r'"brandnew": BrandNew', text):
            imported = f"from {copy.name}.heads.brandnew import BrandNew\n"
            path.write_text(re.sub(r"(?m)^from \S+\.logreg import LogReg\n", rf"\g<0>{imported}", text))
    after = head_keys(copy)
    assert module(copy, "config.components").HEADS.load("brandnew").__name__ == "BrandNew"
    assert after == before


def test_a_changed_head(copy: Package) -> None:
    """It alone has a new key, with the ensembles that it is a part of."""
    before = head_keys(copy)
    path = copy.folder / "heads/logreg.py"
    path.write_text(path.read_text() + "    changed = True\n")
    after = head_keys(copy)
    assert {name for name in before if before[name] != after[name]} >= {"logreg", "ensemble"}
    assert after["mertools"] == before["mertools"]


def options(copy: Package) -> Iterator[type]:
    """The classes of the params of the demo's steps."""
    params = module(copy, "config.params").load_params(ROOT / "params.yaml")
    for step in module(copy, "config.steps").steps(params):
        yield type(step.make().params)


def test_an_option_that_is_off(copy: Package) -> None:
    """One more in every class of params, the base of all among them, changes no key."""
    before = step_keys(copy), head_keys(copy)
    heads = module(copy, "config.components").HEADS
    shared = module(copy, "config.train_params").TrainParams
    every = [*options(copy), shared, *(heads.load(name).Params for name in HEADS)]
    kinds = {base for kind in every for base in kind.__mro__ if base.__module__.startswith(copy.name)}
    assert {"EcmfParams", "NetworkParams", "CrossValidationParams", "LogRegParams"} <= {kind.__name__ for kind in kinds}
    assert len(kinds) > 5
    for kind in kinds:
        path = Path(inspect.getfile(kind))
        lines = path.read_text().splitlines()
        (found,) = [
            node for node in ast.walk(ast.parse(path.read_text())) if getattr(node, "name", "") == kind.__name__
        ]
        assert isinstance(found, ast.ClassDef)
        lines.insert(found.body[-1].end_lineno or 0, f"    brand_new_{kind.__name__.lower()}: bool = False")
        path.write_text("\n".join(lines) + "\n")
    after = step_keys(copy), head_keys(copy)
    assert all(f"brand_new_{kind.__name__.lower()}" in kind.model_fields for kind in options(copy))
    assert after == before
