"""Digests of what a program holds in memory: constants, objects with their attributes, functions, classes.

A project's function or class stands for its definition (`walk.py` digests that from the source), with what it has
beyond the source: defaults, closures, what was put in an attribute's place. An object counts by its class and its
attributes, also one that a module holds; what is of a library counts by its path. What no rule here covers is an error
and never passed over. No digest has an id, an order of a set or a place of a file in it.
"""

from __future__ import annotations

import copyreg
import enum
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Protocol, get_args, get_origin

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from mer_pipeline.config.components import Registry
from mer_pipeline.store.code.options import options_of, sections_in, told_by
from mer_pipeline.store.code.origins import WHOLE, Space, names_around, origin_named, origin_of
from mer_pipeline.tables.rows import digest

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
DESCRIPTORS = (
    property, staticmethod, classmethod,
    functools.cached_property, functools.partialmethod, functools.singledispatchmethod,
)  # fmt: skip
# Objects from these modules start and wait, log and print, say what types are, or find files beside a module (which
# count themselves): none holds a value that a row could be made from.
NO_VALUE = re.compile(
    r"(_contextvars|_thread|_weakref|asyncio|concurrent|contextvars|logging|threading|weakref"
    r"|annotated_types|click|jinja2\.loaders|pydantic|pydantic_core|rich|tqdm|typer)\b"
)


class NoRule(Exception):
    """Nothing is known of what an object decides; the message is its class."""


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
        self._states: dict[int, tuple[object, str]] = {}

    def state(self, value: object) -> str:
        """A digest of a value, or the path of what is not the project's.

        Raises:
            NoRule: it, or something in it, cannot be digested.
        """
        if type(value) in SCALARS:
            return digest(value)
        if id(value) not in self._states:
            self._states[id(value)] = (value, "cycle")
            self._states[id(value)] = (value, self._compute(value))
        return self._states[id(value)][1]

    def _compute(self, value: object) -> str:
        match value:
            case type():
                return self._class(value)
            case FunctionType():
                return self._function(value)
            case CodeType():
                return self._byte_code(value)
            case MethodType():
                return self._parts("method", [value.__func__, value.__self__])
            case functools.partial():
                return self._parts("partial", [value.func, *value.args, value.keywords])
            case BuiltinFunctionType() if value.__self__ is not None and not isinstance(value.__self__, ModuleType):
                return self._parts(value.__name__, [value.__self__])
            case ModuleType():
                return self._definitions.module(value)
            case Registry():
                return "choice"  # what is taken out of it is held by whoever took it
            case os._Environ():
                raise NoRule("the environment of the process")
            case PurePath():
                return "path"  # it says where, not what
            case property():
                return self._parts("property", [value.fget, value.fset, value.fdel])
            case staticmethod() | classmethod():
                return self._parts(type(value).__name__, [value.__func__])
            case functools.cached_property() | functools.partialmethod() | functools.singledispatchmethod():
                return self._parts(type(value).__name__, vars(value).values())
            case enum.Enum():
                return f"{self._class(type(value))}.{value.name}"
            case BaseModel():
                nested = [part for name in type(value).model_fields for part in sections_in(getattr(value, name))]
                return self._parts(self._class(type(value)), [options_of(value), *nested])
            case np.generic():
                return digest([value.dtype.str, np.asarray(value)])
            case np.ndarray():
                return self._parts(value.dtype.str, value.tolist()) if value.dtype.hasobject else digest(value)
            case pa.Schema() | pa.Field() | pa.DataType():
                return digest(str(value))
            case pa.Table() | pa.RecordBatch() | pa.Array() | pa.ChunkedArray() | pa.Scalar():
                kind = value.schema if isinstance(value, pa.Table | pa.RecordBatch) else value.type
                return self._parts(str(kind), [value.as_py() if isinstance(value, pa.Scalar) else value.to_pylist()])
        if is_ours(value):
            return self._parts(self._class(type(value)), [*sorted(attributes(value).items()), *extended(value)])
        if isinstance(value, Set):
            return digest(["set", sorted(map(self.state, value))])
        if isinstance(value, Mapping):
            return self._parts("mapping", [part for pair in value.items() for part in pair])
        if isinstance(value, Sequence) and not isinstance(value, bytearray | memoryview | range):
            return self._parts("tuple" if isinstance(value, tuple) else "list", value)
        return self._foreign(value)

    def _parts(self, kind: str, values: Iterable[object]) -> str:
        return digest([kind, [self.state(item) for item in values]])

    def _foreign(self, value: object) -> str:
        """An object of the standard library or a third party.

        Raises:
            NoRule: it has no rule.
        """
        kind = type(value)
        path = f"{kind.__module__}.{kind.__qualname__}"
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")  # as in what functools.cache makes
        if wrapped is not None:
            return self._parts(path, [wrapped])
        if NO_VALUE.match(kind.__module__):
            return path
        if kind.__module__.startswith("torch") and hasattr(value, "detach"):
            tensor = value.detach().cpu()
            return self._parts(f"{path} {tensor.dtype} {tuple(tensor.shape)}", [tensor.reshape(-1).tolist()])
        # What is compared by value and has a hash cannot change: a pattern, a range, a fraction, a type of numbers.
        is_value = kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
        if not isinstance(value, BuiltinFunctionType) and (is_value or origin_named(kind.__module__) == "stdlib"):
            reducer = copyreg.dispatch_table.get(kind)
            with suppress(TypeError):  # a generator, an open file
                reduced = value.__reduce_ex__(2) if reducer is None else reducer(value)
                return self._parts(path, [list(part) if isinstance(part, Iterator) else part for part in reduced])
        name = getattr(value, "__name__", None) if callable(value) else None
        if isinstance(name, str):
            return self._definitions.external(str(getattr(value, "__module__", None) or kind.__module__), (name,))
        raise NoRule(f"a {path}")

    def _class(self, kind: type) -> str:
        names = names_around(kind)
        if origin_of(names) != "project":
            return self._definitions.external(kind.__module__, (kind.__qualname__,))
        space = self._definitions.space(names)
        top = kind.__qualname__.partition(".")[0]
        self._definitions.reach(space, top if space.tree and top in space.tree.bindings else WHOLE)
        key = space.key(kind.__qualname__)
        return key if names.get(kind.__qualname__) is kind else f"{key} {self._beyond_source(kind)}"

    def _function(self, function: FunctionType) -> str:
        names, code = function.__globals__, function.__code__
        if origin_of(names) != "project":
            path = self._definitions.external(str(names["__name__"]), tuple(code.co_qualname.split(".")))
            # A wrapper that a library made: what it wraps, or dispatches to, hangs on it.
            hung = [part for _, part in sorted(vars(function).items())]
            return self._parts(path, hung) if hung else path
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
        parts = [key, self._beyond_source(function)]
        if not known or by_exec or "<" in name:  # which of those that share the name
            parts.append(self._byte_code(code, function.__doc__))
        if not known:
            used = sorted(name for name in _names_in(code) if name in names)
            parts += [self._definitions.resolve(space, name, (), True) for name in used]
        return digest(parts)

    def _byte_code(self, code: CodeType, docstring: str | None = None) -> str:
        consts = tuple(None if const == docstring else const for const in code.co_consts)
        return digest([code.co_code, code.co_names, self.state(consts)])

    def current(self, space: Space, name: str) -> str | None:
        """The value that a module's own name has now."""
        value = space.names.get(name)
        # A module is followed where it is used; a path says where, not what.
        if isinstance(value, ModuleType) or (isinstance(value, str) and PurePath(value).is_absolute()):
            return None
        state = self.state(value)
        return self._beyond_source(value) if state == space.key(name) else state

    def _beyond_source(self, value: object) -> str:
        """What a function or class has that its definition does not say."""
        if isinstance(value, FunctionType):
            defaults = {"(defaults)": value.__defaults__, "(keywords)": value.__kwdefaults__}
            parts = {**defaults, **closure(value), **vars(value)}
            return digest({name: self.state(part) for name, part in parts.items()})
        assert isinstance(value, type)
        around = [base for base in (*value.__mro__[1:], type(value)) if base not in (object, type)]
        own = {
            name: self.state(part)
            for name, part in vars(value).items()
            if name not in told_by(value)
            and name != "_abc_impl"  # a cache of the standard library's
            and (not name.startswith("__") or isinstance(part, (FunctionType, *DESCRIPTORS)))
        }
        return digest([[self.state(base) for base in around], own])


def is_ours(value: object) -> bool:
    """Whether it is an object of a project class whose attributes count."""
    return not isinstance(value, type | enum.Enum | BaseModel) and origin_of(names_around(type(value))) == "project"


def attributes(value: object) -> dict[str, object]:
    """What an object holds by name, also in slots; not what it works out of that once (`functools.cached_property`)."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType) and hasattr(value, slot.__name__):
                found[name] = getattr(value, slot.__name__)
            elif isinstance(slot, functools.cached_property):
                found.pop(name, None)
    return found


def extended(value: object) -> list[object]:
    """What an object holds as a number, text or container that its class extends, such as a named tuple."""
    for base in (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset):
        if isinstance(value, base):
            return [base(value)]  # type: ignore[arg-type]  # it is one
    return []


def splits(value: object) -> bool:
    """Whether each attribute of an object counts for itself, there being nothing else to it."""
    return is_ours(value) and not extended(value)


def parts_of(value: object) -> dict[str, object]:
    """What a function closes over, or what an object holds."""
    return closure(value) if isinstance(value, FunctionType) else attributes(value)


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


def classes_in(value: object) -> list[type]:
    """The classes that an alias of types is made of."""
    if isinstance(value, type):
        return [value]
    parts = value if isinstance(value, list) else (*filter(None, [get_origin(value)]), *get_args(value))
    return [kind for part in parts for kind in classes_in(part)]


def subclasses(kind: type) -> set[type]:
    """All that there are of a class now."""
    direct: list[type] = type.__subclasses__(kind)
    return set(direct).union(*map(subclasses, direct))
