"""Digest what a program holds in memory: constants, objects with their attributes, functions and classes.

A function or class of the project counts by its definition, which `walk.py` digests, and by what the source does not
show: values of defaults, closures and replaced attributes. An object counts by its class and its attributes. A function
or class of a library counts by its import path. A value that no rule here covers is an error and is never ignored. No
digest depends on an id, on the order of a set or on the path of a file.
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
from mer_pipeline.store.code.origins import WHOLE, Space, library_name, names_around, origin_named, origin_of
from mer_pipeline.tables.rows import digest

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
DESCRIPTORS = (
    property, staticmethod, classmethod,
    functools.cached_property, functools.partialmethod, functools.singledispatchmethod,
)  # fmt: skip
# Objects of these modules run tasks, log, print, describe types, or find files beside a module (files count by
# themselves). None of them holds a value that a row could be made from.
NO_VALUE = re.compile(
    r"(_contextvars|_thread|_weakref|asyncio|concurrent|contextvars|logging|threading|weakref"
    r"|annotated_types|click|jinja2\.loaders|pydantic|pydantic_core|rich|tqdm|typer)\b"
)


class NoRule(Exception):
    """There is no rule by which an object could be digested. The message names its class."""


class Definitions(Protocol):
    """The definitions that values lead to (`walk.py`). A method records one, and returns its part of a digest."""

    def space(self, names: Mapping[str, object]) -> Space:
        """Return the module that has these names."""

    def reach(self, space: Space, name: str) -> str:
        """Record a definition in a module."""

    def resolve(self, space: Space, name: str, chain: tuple[str, ...], soft: bool) -> str:
        """Record what a name in a module, with the attributes that follow it, stands for."""

    def module(self, module: ModuleType, chain: tuple[str, ...] = ()) -> str:
        """Record an attribute of a module, or the whole module."""

    def external(self, module: str, chain: tuple[str, ...] = ()) -> str:
        """Record an import path outside the project."""


class Values:
    """The digests of the values that one call of `code_of` has met."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        # By id, together with the object itself, because an id is unique only while its object exists.
        self._states: dict[int, tuple[object, str]] = {}

    def state(self, value: object) -> str:
        """Return a digest of a value, or its import path if it is a definition outside the project.

        Raises:
            NoRule: the value, or a part of it, cannot be digested.
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
                return "choice"  # a component that is used is held by its user, and counts there
            case os._Environ():
                raise NoRule("the environment of the process")
            case PurePath():
                return "path"  # a path says where data lie, and does not count
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
        if (name := library_name(value)) is not None:
            return self._definitions.external(name[0], (name[1],))
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
        """Return the digest of an object of the standard library or of another package; NoRule where no rule fits."""
        kind = type(value)
        path = f"{kind.__module__}.{kind.__qualname__}"
        wrapped = getattr(value, "__dict__", {}).get("__wrapped__")  # functools.cache makes such an object
        if wrapped is not None:
            return self._parts(path, [wrapped])
        if NO_VALUE.match(kind.__module__):
            return path
        if kind.__module__.startswith("torch") and hasattr(value, "detach"):
            tensor = value.detach().cpu()
            return self._parts(f"{path} {tensor.dtype} {tuple(tensor.shape)}", [tensor.reshape(-1).tolist()])
        # A type with equality by value and a hash is immutable: a pattern, a range, a fraction, a type of numbers.
        is_value = kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
        if not isinstance(value, BuiltinFunctionType) and (is_value or origin_named(kind.__module__) == "stdlib"):
            reducer = copyreg.dispatch_table.get(kind)
            with suppress(TypeError):  # raised for a generator or an open file, which have no digest
                reduced = value.__reduce_ex__(2) if reducer is None else reducer(value)
                return self._parts(path, [list(part) if isinstance(part, Iterator) else part for part in reduced])
        if callable(value) and isinstance(name := getattr(value, "__name__", None), str):
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
            # A library may have made this wrapper: what it wraps, or dispatches to, is in its attributes.
            hung = [part for _, part in sorted(vars(function).items())]
            return self._parts(path, hung) if hung else path
        space, by_exec = self._definitions.space(names), code.co_filename.startswith("<")  # as dataclasses do
        # Not __qualname__, which functools.wraps copies; but functions made by exec all have the same co_qualname.
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
        if not known or by_exec or "<" in name:  # several functions may share this name; the byte code tells which
            parts.append(self._byte_code(code, function.__doc__))
        if not known:
            used = sorted(name for name in _names_in(code) if name in names)
            parts += [self._definitions.resolve(space, name, (), True) for name in used]
        return digest(parts)

    def _byte_code(self, code: CodeType, docstring: str | None = None) -> str:
        consts = tuple(None if const == docstring else const for const in code.co_consts)
        return digest([code.co_code, code.co_names, self.state(consts)])

    def current(self, space: Space, name: str) -> str | None:
        """Return a digest of the value that a module's own name has now; None if the value does not count."""
        value = space.names.get(name)
        # A module counts where it is used, and a path says where data lie.
        if isinstance(value, ModuleType) or (isinstance(value, str) and PurePath(value).is_absolute()):
            return None
        state = self.state(value)
        return self._beyond_source(value) if state == space.key(name) else state

    def _beyond_source(self, value: object) -> str:
        """Return a digest of what a function or class has and its definition does not show."""
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
            and name != "_abc_impl"  # a cache of the standard library
            and (not name.startswith("__") or isinstance(part, (FunctionType, *DESCRIPTORS)))
        }
        return digest([[self.state(base) for base in around], own])


def is_ours(value: object) -> bool:
    """Return whether a value is an object of a class of the project, so that its attributes count."""
    return not isinstance(value, type | enum.Enum | BaseModel) and origin_of(names_around(type(value))) == "project"


def attributes(value: object) -> dict[str, object]:
    """Return an object's attributes by name, with those in slots and without those of `functools.cached_property`."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        for name, slot in vars(kind).items():
            if isinstance(slot, MemberDescriptorType) and hasattr(value, slot.__name__):
                found[name] = getattr(value, slot.__name__)
            elif isinstance(slot, functools.cached_property):
                found.pop(name, None)
    return found


def extended(value: object) -> list[object]:
    """Return the value of an object whose class extends a built-in type, as a named tuple does; [] for any other."""
    for base in (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset):
        if isinstance(value, base):
            return [base(value)]  # type: ignore[arg-type]  # its value is of this type
    return []


def splits(value: object) -> bool:
    """Return whether an object has nothing but its attributes, so that each can count by itself."""
    return is_ours(value) and not extended(value)


def parts_of(value: object) -> dict[str, object]:
    """Return the closure of a function, or the attributes of an object, by name."""
    return closure(value) if isinstance(value, FunctionType) else attributes(value)


def closure(function: FunctionType) -> dict[str, object]:
    """Return the values of a function's closure, by the names of its variables."""
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
    """Return the classes in a type expression, such as `dict[str, Row]`."""
    if isinstance(value, type):
        return [value]
    parts = value if isinstance(value, list) else (*filter(None, [get_origin(value)]), *get_args(value))
    return [kind for part in parts for kind in classes_in(part)]


def subclasses(kind: type) -> set[type]:
    """Return all subclasses, direct or not, that a class has at this moment."""
    direct: list[type] = type.__subclasses__(kind)
    return set(direct).union(*map(subclasses, direct))
