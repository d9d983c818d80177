"""The code part of a transform's fingerprint, by definition and not by file.

A digest of the AST (no comments, docstrings, positions) of every definition in the project that some root objects
reach: a class, its bases, the functions and constants that they name, across modules. So a reformat or a new class
beside the old ones changes nothing, and a formula, constant, default or decorator three calls away changes it.
The text comes from the source file; *what a name stands for* comes from the running program (modules' `__dict__`,
closures, held objects), so a rebound name is seen, and swapped aliases are too. In doubt more counts, at most the
whole module: to recompute is cheap, a stale row is not.

Project code is what lies in this package or in a `.py` file outside of the standard library and site-packages
(plug-ins, scripts). Other packages are only named; the caller knows their versions. Module-level statements that do
more than bind names (`TABLE["x"] = 1`) count for every module that a reached one imports.

Not seen: what is found by a computed name (`import_module(f"plug_{x}")`, `getattr(thing, name)` on what nothing here
names), plain data put into a module's mutable objects by code that nothing reached imports or by the right side of an
assignment, docstrings that another module reads, the state of third-party objects, monkeypatched third-party code, and
a file that was edited after the program loaded it.
"""

from __future__ import annotations

import builtins
import copyreg
import enum
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Literal, cast

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from mer_pipeline.store.rows import digest
from mer_pipeline.store.scopes import Content, Tree, Use, parse

PROJECT = __name__.partition(".")[0]
STDLIB = str(Path(os.__file__).parent)
EFFECTS, WHOLE = "<effects>", ""  # instead of a definition's name
# Who uses one of these reads files beside its module; `__file__` is the other way to find them.
READERS = (
    "importlib.resources", "importlib_resources", "pkg_resources", "pkgutil.get_data",
    "jinja2.PackageLoader", "jinja2.loaders.PackageLoader",
)  # fmt: skip
# Who uses one of these may name anything.
DYNAMIC = frozenset({"globals", "eval", "exec", "__import__", "importlib.import_module", "sys.modules"})
PLACES = frozenset({"__file__", "__path__", "__spec__", "__name__", "__package__", "__loader__", "__cached__"})
SCALARS = frozenset({type(None), bool, int, float, str, bytes})
DESCRIPTORS = (
    property, staticmethod, classmethod,
    functools.cached_property, functools.partialmethod, functools.singledispatchmethod,
)  # fmt: skip
ABSENT = object()

Kind = Literal["project", "library", "stdlib"]
# How much of a value counts: "all" (a root holds it); "fixed": what cannot change (a module's constants, whose
# mutable contents may be a cache); "code": only the functions and classes in it (inside of such a mutable one).
Depth = Literal["all", "fixed", "code"]


@dataclass(frozen=True)
class Code:
    """What some roots reach.

    Attributes:
        definitions: digests by "package.module.name"; "package.module" where the whole module counts,
            "package.module:<effects>" for what importing it does, "value:path" for the roots and what they hold.
        libraries: import names of the third-party packages that are used.
        files: package data that may be read, sorted.
    """

    definitions: Mapping[str, str]
    libraries: frozenset[str]
    files: tuple[Path, ...]


def code_of(*roots: object) -> Code:
    """The code that objects reach: transforms with what they hold, functions, classes.

    Project modules that a reached function imports are imported; what fails to import counts by its name only.
    """
    walk = _Walk()
    for root in roots:
        walk.root(root)
    walk.finish()
    return Code(dict(sorted(walk.definitions.items())), frozenset(walk.libraries), tuple(sorted(walk.files)))


@dataclass(frozen=True, eq=False)
class Space:
    """A module as it runs, and its source where there is any."""

    names: Mapping[str, object]
    label: str
    file: Path | None
    tree: Tree | None

    @property
    def package(self) -> str:
        """What relative imports are relative to."""
        return str(self.names.get("__package__") or "")

    def key(self, name: str) -> str:
        """Of a definition in it."""
        return f"{self.label}:{name}" if name == EFFECTS else f"{self.label}.{name}" if name else self.label


@functools.cache
def _kind(top: str, place: str | None) -> Kind:
    if top == PROJECT:
        return "project"
    if place is None or place in ("built-in", "frozen"):
        return "stdlib" if top in sys.stdlib_module_names else "project" if top == "__main__" else "library"
    if {"site-packages", "dist-packages"} & set(Path(place).parts):
        return "library"
    if place.startswith(STDLIB + os.sep):
        return "stdlib"
    return "project" if place.endswith(".py") or Path(place).is_dir() else "library"


def _place(names: Mapping[str, object]) -> str | None:
    """The file of a running module, or the folder of a package without `__init__.py`."""
    file, path = names.get("__file__"), names.get("__path__")
    return str(file) if file else next((str(folder) for folder in cast("Sequence[str]", path or ())), None)


def _kind_of(names: Mapping[str, object]) -> Kind:
    name = str(names.get("__name__", ""))
    if _place(names) is None and name not in sys.modules:
        return "project"  # made by exec: whoever wrote it, it has no version
    return _kind(name.partition(".")[0], _place(names))


def _kind_named(module: str) -> Kind:
    """Of a module that may not be loaded; nothing is imported."""
    top = module.partition(".")[0]
    for known in (module, top):
        if known in sys.modules:
            return _kind_of(vars(sys.modules[known]))
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "library"
    return _kind(top, spec.origin or next(iter(spec.submodule_search_locations or ()), None))


class _Walk:
    """One call of `code_of`: the definitions that are reached and not done yet, and what has been found."""

    def __init__(self) -> None:
        self.definitions: dict[str, str] = {}
        self.libraries: set[str] = set()
        self.files: set[Path] = set()
        self._queue: list[tuple[Space, str]] = []
        self._queued: set[tuple[Space, str]] = set()
        self._spaces: dict[int, Space] = {}
        self._names: dict[tuple[Space, str, tuple[str, ...], bool], str] = {}
        # With the object itself: an id stands for it only while it lives.
        self._states: dict[tuple[int, Depth], tuple[object, str | None]] = {}
        self._held: dict[int, str] = {}

    def root(self, value: object) -> None:
        """Add what a root reaches."""
        path = name = self._label(value if isinstance(value, type | FunctionType) else type(value))
        count = 1
        while f"value:{path}" in self.definitions:  # another root of the class
            path = f"{name}#{(count := count + 1)}"
        self._hold(path, value)

    def finish(self) -> None:
        """Digest every definition that is reached."""
        while self._queue:
            space, name = self._queue.pop()
            key, found = space.key(name), self._define(space, name)
            # Two modules may have one name: a script and a module, or one that was loaded again.
            self.definitions[key] = digest([self.definitions[key], found]) if key in self.definitions else found

    def _hold(self, path: str, value: object) -> None:
        """A value that a root holds, under a key of its own for each attribute."""
        if isinstance(value, PurePath | pa.Schema):
            return  # a path says where, not what; a schema is digested by whoever asks
        splits = _is_ours(value) and not _content(value)
        if known := self._held.get(id(value)):
            self.definitions[f"value:{path}"] = digest([known])
        elif splits or isinstance(value, FunctionType):
            self._held[id(value)] = path
            self.definitions[f"value:{path}"] = digest(self._state(type(value) if splits else value, "all"))
            for name, part in sorted((_attributes(value) if splits else _cells(cast("FunctionType", value))).items()):
                self._hold(f"{path}.{name}", part)
        else:
            self.definitions[f"value:{path}"] = digest(self._state(value, "all"))

    # --- definitions

    def _space(self, names: Mapping[str, object]) -> Space:
        if id(names) not in self._spaces:
            place = _place(names)
            file = Path(place) if place and place.endswith(".py") else None
            label = str(names.get("__name__", ""))
            if label == "__main__" and file is not None:
                label = file.stem
            self._spaces[id(names)] = Space(names, label, file, parse(file) if file else None)
            self._enter(self._spaces[id(names)])
        return self._spaces[id(names)]

    def _enter(self, space: Space) -> None:
        """What a module does when it is imported counts, and what those do that it imports."""
        if space.tree is None:
            return
        if space.tree.effects:
            self._reach(space, EFFECTS)
        parts = str(space.names.get("__name__")).split(".")
        around = [".".join(parts[:end]) for end in range(1, len(parts))]
        for module in (*around, *(_absolute(name, space) for name in space.tree.loads)):
            if module in sys.modules and _kind_named(module) == "project":
                self._space(vars(sys.modules[module]))

    def _reach(self, space: Space, name: str) -> str:
        if (space, name) not in self._queued:
            self._queued.add((space, name))
            self._queue.append((space, name))
            if name != EFFECTS and space.tree and "__getattr__" in space.tree.bindings:
                self._reach(space, "__getattr__")
        return space.key(name)

    def _define(self, space: Space, name: str) -> str:
        if space.tree is None:  # without a source, the functions and values themselves
            return digest({key: self._own(space, key) for key in space.names if not key.startswith("__")})
        bindings = space.tree.bindings
        statements, owned = bindings.get(name, []), [name]
        if name in (EFFECTS, WHOLE):
            statements, owned = (space.tree.effects, []) if name == EFFECTS else (space.tree.body, list(bindings))
        content = space.tree.content(statements)
        uses = {repr(use): self._follow(space, use) for use in content.uses}
        words = {word for used in uses.values() for word in used.split()}
        if "__file__" in words or any(word.startswith(READERS) for word in words):
            self._add_data(space, content)
        if any(".".join(word.split(".")[:2]) in DYNAMIC for word in words):
            self._reach(space, WHOLE)
            for text in sorted(content.strings):
                if all(map(str.isidentifier, text.lstrip(".").split("."))) and ("." in text or text in sys.modules):
                    module = _absolute(text, space)
                    if _kind_named(module) == "project" and (named := _load(module)):
                        self._attribute(named, ())
        if "'__subclasses__'" in content.text:
            for used in (*owned, *(use.name for use in content.uses)):
                if isinstance(kind := space.names.get(used), type):
                    uses[f"subclasses of {used}"] = " ".join(sorted(map(self._class, _subclasses(kind))))
        return digest([content.text, uses, {key: self._own(space, key) for key in owned}])

    def _own(self, space: Space, name: str) -> str | None:
        """The value that a module's own name has now."""
        value = space.names.get(name)
        if isinstance(value, ModuleType) or (isinstance(value, str) and os.path.isabs(value)):  # noqa: PTH117
            return None  # a module is followed where it is used; a path says where, not what
        state = self._state(value, "fixed")
        return self._beyond(value) if state == space.key(name) else state

    def _add_data(self, space: Space, content: Content) -> None:
        """Files beside the module, and those of the packages that are named in a text."""
        texts = {str(space.names.get(use.name)) for use in content.uses if use.kind == "global"} | content.strings
        folders = {folder for text in texts if (folder := _folder(text))}
        if space.file and (space.file.parent / "__init__.py").exists():  # beside a script may lie anything
            folders.add(space.file.parent)
        for folder in folders:
            self.files.update(_data(folder))

    # --- names

    def _follow(self, space: Space, use: Use) -> str:
        """What a use stands for: keys of definitions, dotted paths of what is not the project's, digests of values."""
        if use.kind == "global":
            return self._name(space, use.name, use.chain, use.soft)
        module = _absolute(use.name, space)
        if use.kind == "import" or _kind_named(module) != "project":
            return self._path(module, use.chain)
        found = _load(module)
        if found and use.chain and not isinstance(vars(found).get(use.chain[0], found), ModuleType):
            return self._path(module, use.chain)
        if inner := _load(".".join((module, *use.chain))) or found:
            self._space(vars(inner))
        return module

    def _external(self, module: str, chain: tuple[str, ...] = ()) -> str:
        if _kind_named(module) == "library":
            self.libraries.add(module.partition(".")[0])
        return ".".join((module, *chain))

    def _path(self, module: str, chain: tuple[str, ...]) -> str:
        if _kind_named(module) != "project":
            return self._external(module, chain)
        found = _load(module)
        return f"missing {module}" if found is None else self._attribute(found, chain)

    def _attribute(self, module: ModuleType, chain: tuple[str, ...]) -> str:
        """What the attributes that follow a project module stand for."""
        space = self._space(vars(module))
        if not chain:
            return self._reach(space, WHOLE)
        if chain[0] in vars(module):
            return self._name(space, chain[0], chain[1:], False)
        inner = _load(f"{module.__name__}.{chain[0]}") if hasattr(module, "__path__") else None
        return self._reach(space, WHOLE) if inner is None else self._attribute(inner, chain[1:])

    def _name(self, space: Space, name: str, chain: tuple[str, ...], soft: bool) -> str:
        key = (space, name, chain, soft)
        if key not in self._names:
            self._names[key] = ""  # for modules that import one name from each other
            self._names[key] = self._resolve(space, name, chain, soft)
        return self._names[key]

    def _resolve(self, space: Space, name: str, chain: tuple[str, ...], soft: bool) -> str:
        if name in PLACES:
            return name
        tree, value = space.tree, space.names.get(name, ABSENT)
        found = [self._reach(space, name)] if tree and name in tree.bindings else []
        if value is ABSENT:
            if not (found or soft or hasattr(builtins, name)):
                self._reach(space, WHOLE)
            return " ".join([name, *found])
        if isinstance(value, ModuleType):
            ours = _kind_of(vars(value)) == "project"
            return " ".join([*found, self._attribute(value, chain) if ours else self._external(value.__name__, chain)])
        named = []
        imports = tree.imports.get(name, []) if tree else []
        for module, attribute in imports or [(star, name) for star in (tree.stars if tree else ())]:
            source = sys.modules.get(dotted := _absolute(module, space))
            if _kind_named(dotted) != "project":
                named.append(self._external(dotted, (attribute or "", *chain)))
            elif source and attribute and vars(source).get(attribute, ABSENT) is value:
                found.append(self._name(self._space(vars(source)), attribute, chain, soft))
            elif imports and source and attribute and attribute not in vars(source):  # by its __getattr__
                named.append(self._attribute(source, (attribute, *chain)))
        # What was put there from elsewhere, or comes from elsewhere, is looked at itself.
        return " ".join([*named, *(found or [self._state(value, "fixed") or ""])])

    # --- values

    def _state(self, value: object, depth: Depth) -> str | None:
        """A digest of a value, or the path of what is not the project's; None for what does not count."""
        if type(value) in SCALARS:
            return None if depth == "code" else digest(value)
        key = (id(value), depth)
        if key not in self._states:
            self._states[key] = (value, "cycle")
            self._states[key] = (value, self._compute(value, depth))
        return self._states[key][1]

    def _compute(self, value: object, depth: Depth) -> str | None:
        inner: Depth = "all" if depth == "all" else "code"  # what is inside of something mutable
        match value:
            case type():
                return self._class(value)
            case FunctionType():
                return self._function(value, "all" if depth == "all" else "fixed")
            case CodeType():
                return digest([value.co_code, value.co_names, self._state(value.co_consts, "all")])
            case MethodType():
                return self._all("method", [value.__func__, value.__self__], inner)
            case functools.partial():
                return self._all("partial", [value.func, *value.args, value.keywords], depth)
            case BuiltinFunctionType() if value.__self__ is not None and not isinstance(value.__self__, ModuleType):
                return self._all(value.__name__, [value.__self__], inner)
            case ModuleType() if _kind_of(vars(value)) == "project":
                return self._attribute(value, ())
            case ModuleType():
                return self._external(value.__name__)
            case PurePath():
                return None
            case property():
                return self._all("property", [value.fget, value.fset, value.fdel], depth)
            case staticmethod() | classmethod():
                return self._all(type(value).__name__, [value.__func__], depth)
            case functools.cached_property() | functools.partialmethod() | functools.singledispatchmethod():
                return self._all(type(value).__name__, [*vars(value).values()], depth)
            case enum.Enum():
                return f"{self._class(type(value))}.{value.name}"
            case BaseModel():
                return self._class(type(value))
            case np.generic() if depth != "code":
                return digest([value.dtype.str, np.asarray(value)])
            case np.ndarray() if depth == "all":
                return self._all(value.dtype.str, value.tolist(), depth) if value.dtype.hasobject else digest(value)
        if _is_ours(value):
            frozen = getattr(getattr(type(value), "__dataclass_params__", None), "frozen", False)
            kind, parts = self._class(type(value)), [*_attributes(value).items(), *_content(value)]
            return self._all(kind, parts, "all" if frozen and depth == "fixed" else inner) or kind
        if isinstance(value, tuple):
            return self._all("tuple", value, depth)
        if isinstance(value, Set):
            states = [self._state(item, depth if isinstance(value, frozenset) else inner) for item in value]
            return _some("set", sorted(states, key=str), depth)
        if isinstance(value, Mapping):
            pairs = [(self._state(key, "fixed"), self._state(item, inner)) for key, item in value.items()]
            kept = sorted((pair for pair in pairs if depth == "all" or pair[1] is not None), key=str)
            return _some("mapping", [text for pair in kept for text in pair], inner)
        if isinstance(value, Sequence) and not isinstance(value, bytearray | memoryview | range):
            return self._all("list", value, inner)
        return self._other(value, depth)

    def _all(self, kind: str, values: Iterable[object], depth: Depth) -> str | None:
        return _some(kind, [self._state(item, depth) for item in values], depth)

    def _other(self, value: object, depth: Depth) -> str | None:
        """What is of the standard library or a third party."""
        kind = type(value)
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")  # as in what functools.cache makes
        if wrapped is not None:
            return self._all(f"{kind.__module__}.{kind.__qualname__}", [wrapped], depth)
        # What is compared by value and has a hash cannot change: a pattern, a range, a fraction, a generic alias.
        is_value = kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
        counts = depth == "all" or (is_value and depth == "fixed")
        if counts and not isinstance(value, BuiltinFunctionType) and _kind_named(kind.__module__) == "stdlib":
            try:
                reducer = copyreg.dispatch_table.get(kind)
                reduced = value.__reduce_ex__(2) if reducer is None else reducer(value)
            except Exception:  # a lock, a generator: what it is must do
                reduced = ()
            parts = [list(part) if isinstance(part, Iterator) else part for part in reduced]
            return self._all(f"{kind.__module__}.{kind.__qualname__}", parts, depth)
        name = getattr(value, "__name__", None) if callable(value) else None
        if isinstance(name, str):
            return self._external(str(getattr(value, "__module__", None) or kind.__module__), (name,))
        return None if depth == "code" else self._class(kind)

    def _class(self, kind: type) -> str:
        names = _globals(kind)
        if _kind_of(names) != "project":
            return self._external(kind.__module__, (kind.__qualname__,))
        space = self._space(names)
        top = kind.__qualname__.partition(".")[0]
        self._reach(space, top if space.tree and top in space.tree.bindings else WHOLE)
        key = space.key(kind.__qualname__)
        return key if names.get(kind.__qualname__) is kind else f"{key} {self._beyond(kind)}"

    def _function(self, function: FunctionType, depth: Depth) -> str:
        names, code = function.__globals__, function.__code__
        if _kind_of(names) != "project":
            path = self._external(str(names["__name__"]), tuple(code.co_qualname.split(".")))
            # A wrapper that a library made: what it wraps, or dispatches to, hangs on it.
            hung = self._all(path, [part for _, part in sorted(vars(function).items())], "code")
            return path if hung is None else f"{path} {hung}"
        space = self._space(names)
        # Not __qualname__, which functools.wraps copies from another function; but exec's names are all the same.
        name = function.__qualname__ if _is_made(code) else code.co_qualname
        tops = [name.partition(".")[0]]
        if space.tree and tops == ["<lambda>"]:
            tops = space.tree.names_at(code.co_firstlineno)
        known = [top for top in tops if space.tree and top in space.tree.bindings]
        for top in known or ([WHOLE] if space.tree and not _is_made(code) else []):
            self._reach(space, top)
        key = space.key(name)
        if known and names.get(name) is function:
            return key
        parts = [key, self._beyond(function, depth)]
        if not known or _is_made(code) or "<" in name:  # which of those that share the name
            consts = tuple(None if const == function.__doc__ else const for const in code.co_consts)
            parts.append(digest([code.co_code, code.co_names, self._state(consts, "all")]))
        if not known:
            parts += [self._name(space, used, (), True) for used in sorted(_all_names(code)) if used in names]
        return digest(parts)

    def _beyond(self, value: object, depth: Depth = "fixed") -> str:
        """What a function or class has beyond its source: defaults, closures, what was put in an attribute's place."""
        if isinstance(value, FunctionType):
            parts = {
                "(defaults)": value.__defaults__,
                "(keywords)": value.__kwdefaults__,
                **_cells(value),
                **vars(value),
            }
            return digest({name: self._state(part, depth) for name, part in parts.items()})
        assert isinstance(value, type)
        around = [base for base in (*value.__mro__[1:], type(value)) if base not in (object, type)]
        own = {
            name: self._state(part, "fixed")
            for name, part in vars(value).items()
            if not name.startswith("__") or isinstance(part, (FunctionType, *DESCRIPTORS))
        }
        return digest([[self._state(base, "fixed") for base in around], own])

    def _label(self, value: type | FunctionType) -> str:
        names = value.__globals__ if isinstance(value, FunctionType) else _globals(value)
        module = self._space(names).label if _kind_of(names) == "project" else value.__module__
        return f"{module}.{value.__qualname__}"


def _some(kind: str, states: Sequence[str | None], depth: Depth) -> str | None:
    if depth == "code":
        states = [state for state in states if state is not None]
        if not states:
            return None
    return digest([kind, states])


def _is_ours(value: object) -> bool:
    """Whether it is an object of a project class whose attributes count."""
    return not isinstance(value, type | enum.Enum | BaseModel) and _kind_of(_globals(type(value))) == "project"


def _globals(kind: type) -> Mapping[str, object]:
    """Of the module in which a class was made, which need not be the one that has its name now."""
    for part in vars(kind).values():
        if isinstance(part, FunctionType) and part.__globals__.get("__name__") == kind.__module__:
            return part.__globals__
    module = sys.modules.get(kind.__module__)
    return {"__name__": kind.__module__} if module is None else vars(module)


def _attributes(value: object) -> dict[str, object]:
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType) and hasattr(value, slot.__name__):
                found[name] = getattr(value, slot.__name__)
    return found


def _content(value: object) -> list[object]:
    """What an object holds as a number, text or container that its class extends, such as a named tuple."""
    for base in (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset):
        if isinstance(value, base):
            return [base(value)]  # type: ignore[arg-type]  # it is one
    return []


def _subclasses(kind: type) -> set[type]:
    direct: list[type] = type.__subclasses__(kind)
    return set(direct).union(*map(_subclasses, direct))


def _cells(function: FunctionType) -> dict[str, object]:
    """What a function closes over."""
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return cells


def _is_made(code: CodeType) -> bool:
    return code.co_filename.startswith("<")  # by exec, as dataclasses do


def _all_names(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_all_names(const) for const in code.co_consts if isinstance(const, CodeType)))


def _absolute(module: str, space: Space) -> str:
    try:
        return importlib.util.resolve_name(module, space.package)
    except ImportError:
        return module


def _load(module: str) -> ModuleType | None:
    try:
        return sys.modules.get(module) or importlib.import_module(module)
    except Exception:  # whatever goes wrong in a module would go wrong for the function that imports it, too
        return None


def _folder(package: str) -> Path | None:
    """Where a project's package lies, without importing it."""
    top, *rest = package.split(".")
    if not all(part.isidentifier() for part in (top, *rest)) or _kind_named(top) != "project":
        return None
    spec = None if top in sys.modules else importlib.util.find_spec(top)
    paths = getattr(sys.modules.get(top), "__path__", None) or (spec and spec.submodule_search_locations)
    return next((at for base in paths or () if (at := Path(base, *rest)).is_dir()), None)


def _data(folder: Path) -> Iterator[Path]:
    """Files of a package that are no Python, also those in folders that are no packages themselves."""
    for path in folder.iterdir():
        if path.is_dir():
            if path.name != "__pycache__" and not path.name.startswith(".") and not (path / "__init__.py").exists():
                yield from _data(path)
        elif path.suffix not in (".py", ".pyc"):
            yield path
