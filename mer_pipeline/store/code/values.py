"""Digests of what a program holds in memory: constants, objects with their attributes, functions, classes.

A project's function or class stands for its definition (`walk.py` digests that from the source), with what it has
beyond the source: defaults, closures, what was put in an attribute's place. An object counts by its class and its
attributes; what is of a library counts by its path. No digest has an id, an order of a set or a place of a file in it.
"""

from __future__ import annotations

import copyreg
import enum
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel

from mer_pipeline.store.code.origins import WHOLE, Space, names_around, origin_named, origin_of
from mer_pipeline.tables.rows import digest

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
DESCRIPTORS = (
    property, staticmethod, classmethod,
    functools.cached_property, functools.partialmethod, functools.singledispatchmethod,
)  # fmt: skip

# How much of a value counts: "all" (a root holds it); "fixed": what cannot change (a module's constants, whose
# mutable contents may be a cache); "code": only the functions and classes in it (inside of such a mutable one).
Depth = Literal["all", "fixed", "code"]


class Definitions(Protocol):
    """Where values lead to; each method gives back what the value's digest says of it."""

    def space(self, names: Mapping[str, object]) -> Space:
        """The module with these names."""

    def reach(self, space: Space, name: str) -> str:
        """A definition in a module counts."""

    def resolve(self, space: Space, name: str, chain: tuple[str, ...], soft: bool) -> str:
        """A name in a module, with the attributes that follow it, counts."""

    def module(self, module: ModuleType, chain: tuple[str, ...] = ()) -> str:
        """An attribute of a module counts, or the whole module."""

    def external(self, module: str, chain: tuple[str, ...] = ()) -> str:
        """A path that is not the project's counts."""


class Values:
    """The values that one call of `code_of` has seen."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        # With the object itself: an id stands for it only while it lives.
        self._states: dict[tuple[int, Depth], tuple[object, str | None]] = {}

    def state(self, value: object, depth: Depth) -> str | None:
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
                return self._byte_code(value)
            case MethodType():
                return self._parts("method", [value.__func__, value.__self__], inner)
            case functools.partial():
                return self._parts("partial", [value.func, *value.args, value.keywords], depth)
            case BuiltinFunctionType() if value.__self__ is not None and not isinstance(value.__self__, ModuleType):
                return self._parts(value.__name__, [value.__self__], inner)
            case ModuleType():
                return self._definitions.module(value)
            case PurePath():
                return None
            case property():
                return self._parts("property", [value.fget, value.fset, value.fdel], depth)
            case staticmethod() | classmethod():
                return self._parts(type(value).__name__, [value.__func__], depth)
            case functools.cached_property() | functools.partialmethod() | functools.singledispatchmethod():
                return self._parts(type(value).__name__, vars(value).values(), depth)
            case enum.Enum():
                return f"{self._class(type(value))}.{value.name}"
            case BaseModel():
                return self._class(type(value))
            case np.generic() if depth != "code":
                return digest([value.dtype.str, np.asarray(value)])
            case np.ndarray() if depth == "all":
                return self._parts(value.dtype.str, value.tolist(), depth) if value.dtype.hasobject else digest(value)
        if is_ours(value):
            frozen = getattr(getattr(type(value), "__dataclass_params__", None), "frozen", False)
            kind, parts = self._class(type(value)), [*attributes(value).items(), *extended(value)]
            return self._parts(kind, parts, "all" if frozen and depth == "fixed" else inner) or kind
        if isinstance(value, tuple):
            return self._parts("tuple", value, depth)
        if isinstance(value, Set):
            states = [self.state(item, depth if isinstance(value, frozenset) else inner) for item in value]
            return _joined("set", sorted(states, key=str), depth)
        if isinstance(value, Mapping):
            pairs = [(self.state(key, "fixed"), self.state(item, inner)) for key, item in value.items()]
            kept = sorted((pair for pair in pairs if depth == "all" or pair[1] is not None), key=str)
            return _joined("mapping", [text for pair in kept for text in pair], inner)
        if isinstance(value, Sequence) and not isinstance(value, bytearray | memoryview | range):
            return self._parts("list", value, inner)
        return self._foreign(value, depth)

    def _parts(self, kind: str, values: Iterable[object], depth: Depth) -> str | None:
        return _joined(kind, [self.state(item, depth) for item in values], depth)

    def _foreign(self, value: object, depth: Depth) -> str | None:
        """An object of the standard library or a third party."""
        kind = type(value)
        path = f"{kind.__module__}.{kind.__qualname__}"
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")  # as in what functools.cache makes
        if wrapped is not None:
            return self._parts(path, [wrapped], depth)
        # What is compared by value and has a hash cannot change: a pattern, a range, a fraction, a generic alias.
        is_value = kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
        counts = depth == "all" or (is_value and depth == "fixed")
        if counts and not isinstance(value, BuiltinFunctionType) and origin_named(kind.__module__) == "stdlib":
            try:
                reducer = copyreg.dispatch_table.get(kind)
                reduced = value.__reduce_ex__(2) if reducer is None else reducer(value)
            except Exception:  # a lock, a generator: what it is must do
                reduced = ()
            return self._parts(path, [list(part) if isinstance(part, Iterator) else part for part in reduced], depth)
        name = getattr(value, "__name__", None) if callable(value) else None
        if isinstance(name, str):
            return self._definitions.external(str(getattr(value, "__module__", None) or kind.__module__), (name,))
        return None if depth == "code" else self._class(kind)

    def _class(self, kind: type) -> str:
        names = names_around(kind)
        if origin_of(names) != "project":
            return self._definitions.external(kind.__module__, (kind.__qualname__,))
        space = self._definitions.space(names)
        top = kind.__qualname__.partition(".")[0]
        self._definitions.reach(space, top if space.tree and top in space.tree.bindings else WHOLE)
        key = space.key(kind.__qualname__)
        return key if names.get(kind.__qualname__) is kind else f"{key} {self._beyond_source(kind)}"

    def _function(self, function: FunctionType, depth: Depth) -> str:
        names, code = function.__globals__, function.__code__
        if origin_of(names) != "project":
            path = self._definitions.external(str(names["__name__"]), tuple(code.co_qualname.split(".")))
            # A wrapper that a library made: what it wraps, or dispatches to, hangs on it.
            hung = self._parts(path, [part for _, part in sorted(vars(function).items())], "code")
            return path if hung is None else f"{path} {hung}"
        space, by_exec = self._definitions.space(names), code.co_filename.startswith("<")  # as dataclasses do
        # Not __qualname__, which functools.wraps copies from another function; but exec's names are all the same.
        name = function.__qualname__ if by_exec else code.co_qualname
        tops = [name.partition(".")[0]]
        if space.tree and tops == ["<lambda>"]:
            tops = space.tree.names_at(code.co_firstlineno)
        known = [top for top in tops if space.tree and top in space.tree.bindings]
        for top in known or ([WHOLE] if space.tree and not by_exec else []):
            self._definitions.reach(space, top)
        key = space.key(name)
        if known and names.get(name) is function:
            return key
        parts = [key, self._beyond_source(function, depth)]
        if not known or by_exec or "<" in name:  # which of those that share the name
            parts.append(self._byte_code(code, function.__doc__))
        if not known:
            used = sorted(name for name in _names_in(code) if name in names)
            parts += [self._definitions.resolve(space, name, (), True) for name in used]
        return digest(parts)

    def _byte_code(self, code: CodeType, docstring: str | None = None) -> str:
        consts = tuple(None if const == docstring else const for const in code.co_consts)
        return digest([code.co_code, code.co_names, self.state(consts, "all")])

    def current(self, space: Space, name: str) -> str | None:
        """The value that a module's own name has now."""
        value = space.names.get(name)
        # A module is followed where it is used; a path says where, not what.
        if isinstance(value, ModuleType) or (isinstance(value, str) and PurePath(value).is_absolute()):
            return None
        state = self.state(value, "fixed")
        return self._beyond_source(value) if state == space.key(name) else state

    def _beyond_source(self, value: object, depth: Depth = "fixed") -> str:
        """What a function or class has that its definition does not say."""
        if isinstance(value, FunctionType):
            defaults = {"(defaults)": value.__defaults__, "(keywords)": value.__kwdefaults__}
            parts = {**defaults, **closure(value), **vars(value)}
            return digest({name: self.state(part, depth) for name, part in parts.items()})
        assert isinstance(value, type)
        around = [base for base in (*value.__mro__[1:], type(value)) if base not in (object, type)]
        own = {
            name: self.state(part, "fixed")
            for name, part in vars(value).items()
            if not name.startswith("__") or isinstance(part, (FunctionType, *DESCRIPTORS))
        }
        return digest([[self.state(base, "fixed") for base in around], own])


def _joined(kind: str, states: Sequence[str | None], depth: Depth) -> str | None:
    if depth == "code":
        states = [state for state in states if state is not None]
        if not states:
            return None
    return digest([kind, states])


def is_ours(value: object) -> bool:
    """Whether it is an object of a project class whose attributes count."""
    return not isinstance(value, type | enum.Enum | BaseModel) and origin_of(names_around(type(value))) == "project"


def attributes(value: object) -> dict[str, object]:
    """What an object holds by name, also in slots."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType) and hasattr(value, slot.__name__):
                found[name] = getattr(value, slot.__name__)
    return found


def extended(value: object) -> list[object]:
    """What an object holds as a number, text or container that its class extends, such as a named tuple."""
    for base in (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset):
        if isinstance(value, base):
            return [base(value)]  # type: ignore[arg-type]  # it is one
    return []


def closure(function: FunctionType) -> dict[str, object]:
    """What a function closes over."""
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return cells


def _names_in(code: CodeType) -> set[str]:
    return set(code.co_names).union(*(_names_in(const) for const in code.co_consts if isinstance(const, CodeType)))
