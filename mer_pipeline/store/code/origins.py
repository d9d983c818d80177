"""Whose a module is: the project's, a library's or the standard library's; what it is called and where its data lies.

Project code is what lies in this package or in a `.py` file outside of the standard library and of folders into which
an installer put it (plug-ins, scripts), and the installed package of a component that is run (`looking_into`). Other
packages are only named; `libraries.py` knows their versions.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Literal, cast

from mer_pipeline.store.code.source import Tree, parse

PROJECT = __name__.partition(".")[0]
STDLIB = str(Path(os.__file__).parent)
# A part of every fingerprint says what these do, so their code does not count.
TOLD = frozenset({f"{PROJECT}.base.numerics", f"{PROJECT}.base.mkl"})
EFFECTS, WHOLE = "<effects>", ""  # instead of a definition's name

Origin = Literal["project", "library", "stdlib"]

# Installed packages that are looked into all the same, by their top-level names.
_LOOKED_INTO: ContextVar[frozenset[str]] = ContextVar("looked_into", default=frozenset())


@dataclass(frozen=True, eq=False)
class Space:
    """A module as it runs, and its source where there is any."""

    names: Mapping[str, object]
    label: str
    file: Path | None
    tree: Tree | None

    def key(self, name: str) -> str:
        """Of a definition in it."""
        return f"{self.label}:{name}" if name == EFFECTS else f"{self.label}.{name}" if name else self.label

    def absolute(self, module: str) -> str:
        """The module that an import in it means."""
        try:
            return importlib.util.resolve_name(module, str(self.names.get("__package__") or ""))
        except ImportError:
            return module


def space_of(names: Mapping[str, object]) -> Space:
    """The module whose names these are; a script is called as its file is."""
    place = _place(names)
    file = Path(place) if place and place.endswith(".py") else None
    name = str(names.get("__name__", ""))
    label = file.stem if name == "__main__" and file is not None else name
    return Space(names, label, file, parse(file) if file else None)


def origin_of(names: Mapping[str, object]) -> Origin:
    """Of a running module, by its names."""
    name, place = str(names.get("__name__", "")), _place(names)
    if name in TOLD:
        return "stdlib"
    if place is None and name not in sys.modules:
        return "project"  # made by exec: whoever wrote it, it has no version
    return _whose(name.partition(".")[0], place)


def origin_named(module: str) -> Origin:
    """Of a module that may not be loaded; nothing is imported."""
    top = module.partition(".")[0]
    for known in (module, top):
        if known in sys.modules:
            return origin_of(vars(sys.modules[known]))
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "library"
    return _whose(top, spec.origin or next(iter(spec.submodule_search_locations or ()), None))


@contextmanager
def looking_into(packages: frozenset[str]) -> Iterator[None]:
    """For a while, these installed packages are project code too: their components are what is run, and whoever works
    on one does not raise its version at each edit."""
    token = _LOOKED_INTO.set(packages)
    try:
        yield
    finally:
        _LOOKED_INTO.reset(token)


def _whose(top: str, place: str | None) -> Origin:
    return "project" if top in _LOOKED_INTO.get() else _origin(top, place)


@functools.cache
def _origin(top: str, place: str | None) -> Origin:
    if top == PROJECT:
        return "project"
    if place is None or place in ("built-in", "frozen"):
        return "stdlib" if top in sys.stdlib_module_names else "project" if top == "__main__" else "library"
    if {"site-packages", "dist-packages"} & set(Path(place).parts):
        return "library"
    if place.startswith(STDLIB + os.sep):
        return "stdlib"
    if not (place.endswith(".py") or Path(place).is_dir()) or _is_installed(top, place):
        return "library"
    return "project"


def _is_installed(top: str, place: str) -> bool:
    """Whether an installer put a module there, as `pip install --target` does: a record beside it names the module."""
    names = {top, f"{top}.py"}
    return any(
        file.parts[0] in names
        for at in (Path(place), *Path(place).parents)
        if at.name in names
        for record in at.parent.glob("*.dist-info")
        for file in metadata.Distribution.at(record).files or ()
    )


def _place(names: Mapping[str, object]) -> str | None:
    """The file of a running module, or the folder of a package without `__init__.py`."""
    file, path = names.get("__file__"), names.get("__path__")
    return str(file) if file else next((str(folder) for folder in cast("Sequence[str]", path or ())), None)


def names_around(kind: type) -> Mapping[str, object]:
    """The names of the module in which a class was made, which need not be the one that has its name now."""
    for part in vars(kind).values():
        if isinstance(part, FunctionType) and part.__globals__.get("__name__") == kind.__module__:
            return part.__globals__
    module = sys.modules.get(kind.__module__)
    return {"__name__": kind.__module__} if module is None else vars(module)


def load(module: str) -> ModuleType | None:
    """A module, imported where it is not yet; None where that fails."""
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except Exception:  # whatever goes wrong in a module would go wrong for the function that imports it, too
        return None
