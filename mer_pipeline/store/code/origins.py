"""Find out whether a module belongs to the project, to an installed library or to the standard library.

The project's code is this package, every `.py` file that is neither in the standard library nor installed (plug-ins and
scripts), and the installed package of a component that is run (`looking_into`). Other packages are only named;
`libraries.py` finds their versions.
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
# The part "numerics" of every fingerprint says what these modules do, so their code does not count.
TOLD = frozenset({f"{PROJECT}.base.numerics", f"{PROJECT}.base.mkl"})
EFFECTS, WHOLE = "<effects>", ""  # used in place of a definition's name: a module's other effects, the whole module

Origin = Literal["project", "library", "stdlib"]

# Installed packages that count as project code, by their top-level names.
_LOOKED_INTO: ContextVar[frozenset[str]] = ContextVar("looked_into", default=frozenset())


@dataclass(frozen=True, eq=False)
class Space:
    """A module in the running program, with its source if there is any.

    Attributes:
        names: the module's names and their present values.
        label: the name of the module in fingerprints.
        file: the path of the source; None if there is none.
        tree: the parsed source; None if there is none.
    """

    names: Mapping[str, object]
    label: str
    file: Path | None
    tree: Tree | None

    def key(self, name: str) -> str:
        """Return the name of one of the module's definitions in fingerprints."""
        return f"{self.label}:{name}" if name == EFFECTS else f"{self.label}.{name}" if name else self.label

    def absolute(self, module: str) -> str:
        """Return the absolute name of a module that an import in this module names."""
        try:
            return importlib.util.resolve_name(module, str(self.names.get("__package__") or ""))
        except ImportError:
            return module


def space_of(names: Mapping[str, object]) -> Space:
    """Return the module that has these names. The label of a script is the name of its file."""
    place = _place(names)
    file = Path(place) if place and place.endswith(".py") else None
    name = str(names.get("__name__", ""))
    label = file.stem if name == "__main__" and file is not None else name
    return Space(names, label, file, parse(file) if file else None)


def origin_of(names: Mapping[str, object]) -> Origin:
    """Return the origin of a module in the running program, given by its names."""
    name, place = str(names.get("__name__", "")), _place(names)
    if name in TOLD:
        return "stdlib"
    if place is None and name not in sys.modules:
        return "project"  # the module was made by exec, so no version stands for its code
    return _whose(name.partition(".")[0], place)


def origin_named(module: str) -> Origin:
    """Return the origin of a module given by its name, which need not be loaded. Nothing is imported."""
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
    """Treat some installed packages as project code inside the block.

    They have the components that are run. Their code is read because a developer does not raise a package's version
    at each edit.

    Args:
        packages: the top-level names of the packages.
    """
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
    """Return whether an installer put a module there, as `pip install --target` does.

    In that case, a record (`*.dist-info`) beside the module names its files.
    """
    names = {top, f"{top}.py"}
    return any(
        file.parts[0] in names
        for at in (Path(place), *Path(place).parents)
        if at.name in names
        for record in at.parent.glob("*.dist-info")
        for file in metadata.Distribution.at(record).files or ()
    )


def _place(names: Mapping[str, object]) -> str | None:
    """Return the file of a module in the running program, or the folder of a package without `__init__.py`."""
    file, path = names.get("__file__"), names.get("__path__")
    return str(file) if file else next((str(folder) for folder in cast("Sequence[str]", path or ())), None)


def names_around(kind: type) -> Mapping[str, object]:
    """Return the names of the module in which a class was made.

    This may not be the module that has the same name now, if that was loaded again.
    """
    for part in vars(kind).values():
        if isinstance(part, FunctionType) and part.__globals__.get("__name__") == kind.__module__:
            return part.__globals__
    module = sys.modules.get(kind.__module__)
    return {"__name__": kind.__module__} if module is None else vars(module)


def load(module: str) -> ModuleType | None:
    """Return a module, which is imported if it is not yet loaded; None if the import fails."""
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except Exception:  # the import would fail in the same way in the function that contains it
        return None


def library_name(value: object) -> tuple[str, str] | None:
    """Return module and name of a callable of a library that is found there under this name; None for all else.

    Example:
        >>> import scipy.fft
        >>> library_name(scipy.fft.dctn)  # an object that passes its calls on, and no function
        ('scipy.fft._realtransforms', 'dctn')
        >>> library_name(scipy.fft)
    """
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not (callable(value) and isinstance(module, str) and isinstance(name, str) and module in sys.modules):
        return None
    own = getattr(sys.modules[module], name, None) is value and origin_named(module) == "library"
    return (module, name) if own else None
