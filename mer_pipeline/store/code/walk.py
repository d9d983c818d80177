"""The walk from root objects to all definitions that they reach, each of which is digested once.

A queue of (module, name): a definition's text is digested together with what each of its uses stands for, and what
those lead to joins the queue. Values go to `values.py`, which reports the definitions that it comes by back to here.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import FunctionType, ModuleType

from mer_pipeline.base.errors import Undigestible
from mer_pipeline.config.components import Registry
from mer_pipeline.store.code.data import data_of
from mer_pipeline.store.code.environment import reads_environment, refuse_environment
from mer_pipeline.store.code.options import told_by
from mer_pipeline.store.code.origins import (
    EFFECTS,
    WHOLE,
    Space,
    load,
    names_around,
    origin_named,
    origin_of,
    space_of,
)
from mer_pipeline.store.code.scopes import Use
from mer_pipeline.store.code.source import NOTHING, Content, Tree
from mer_pipeline.store.code.values import NoRule, Values, classes_in, parts_of, splits, subclasses
from mer_pipeline.tables.rows import digest

# Who uses one of these may name anything.
DYNAMIC = frozenset({"globals", "eval", "exec", "__import__", "importlib.import_module", "sys.modules"})
# Every module or class has them, and their values say where, not what.
PLACES = frozenset({
    "__file__", "__path__", "__spec__", "__name__", "__package__", "__loader__", "__cached__",
    "__class__", "__qualname__", "__module__",
})  # fmt: skip
ABSENT = object()


def kind_of(root: object) -> type | FunctionType:
    """The class of a root, or the root itself where it is a class or a function."""
    return root if isinstance(root, type | FunctionType) else type(root)


def names_of(root: object) -> Mapping[str, object]:
    """The names of the module that a root's class or function is from."""
    kind = kind_of(root)
    return kind.__globals__ if isinstance(kind, FunctionType) else names_around(kind)


class Walk:
    """One walk: the definitions that are reached and not done yet, and what has been found."""

    def __init__(self, told: frozenset[str]) -> None:
        self._told = told
        self.digests: dict[str, str] = {}
        self.libraries: set[str] = set()
        self.files: set[Path] = set()
        self._queue: list[tuple[Space, str]] = []
        self._queued: set[tuple[Space, str]] = set()
        self._spaces: dict[int, Space] = {}
        self._resolved: dict[tuple[Space, str, tuple[str, ...], bool], str] = {}
        self._values = Values(self)
        self._held: dict[int, str] = {}

    # --- roots and definitions

    def root(self, value: object) -> None:
        """Add what a root reaches."""
        kind, names = kind_of(value), names_of(value)
        module = self.space(names).label if origin_of(names) == "project" else kind.__module__
        path = name = f"{module}.{kind.__qualname__}"
        count = 1
        while f"value:{path}" in self.digests:  # another root of the class
            path = f"{name}#{(count := count + 1)}"
        self._hold(path, value, "")

    def _hold(self, root: str, value: object, attribute: str) -> None:
        """A value that a root holds, under a key of its own for each attribute."""
        if isinstance(value, PurePath):
            return  # it says where, not what
        path = f"{root}.{attribute}" if attribute else root
        try:
            self.digests[f"value:{path}"] = digest(self._held_state(path, value, attribute))
        except NoRule as error:
            owner = root.rpartition(".")[2]
            raise Undigestible(
                f"{path} holds {error}, which cannot be digested, so nobody knows which rows it made: let "
                f"{owner}.key() say under '{attribute}' what of it counts, or make it in setup(), after the key is made"
            ) from None
        if self._held.get(id(value)) == path:
            for name, part in sorted(parts_of(value).items()):
                self._hold(root, part, f"{attribute}.{name}" if attribute else name)

    def _held_state(self, path: str, value: object, attribute: str) -> object:
        if attribute in self._told:
            return self._values.state(type(value))
        if known := self._held.get(id(value)):
            return [known]
        if splits(value) or isinstance(value, FunctionType):
            self._held[id(value)] = path
        return self._values.state(type(value) if splits(value) else value)

    def finish(self) -> None:
        """Digest every definition that is reached."""
        while self._queue:
            space, name = self._queue.pop()
            key = space.key(name)
            try:
                found = self._define(space, name)
            except NoRule as error:
                raise Undigestible(
                    f"{key} has {error}, which cannot be digested, so nobody knows which rows it made: make it in a "
                    "function, or in a transform, whose key() can say what of it counts"
                ) from None
            # Two modules may have one name: a script and a module, or one that was loaded again.
            self.digests[key] = digest([self.digests[key], found]) if key in self.digests else found

    def space(self, names: Mapping[str, object]) -> Space:
        """The module with these names. What it does when it is imported counts, and what those do that it imports."""
        if id(names) not in self._spaces:
            space = self._spaces[id(names)] = space_of(names)
            if space.tree:
                self._enter(space, space.tree)
        return self._spaces[id(names)]

    def _enter(self, space: Space, tree: Tree) -> None:
        if tree.effects:
            self.reach(space, EFFECTS)
        parts = str(space.names.get("__name__")).split(".")
        around = [".".join(parts[:end]) for end in range(1, len(parts))]
        for module in (*around, *map(space.absolute, tree.loads)):
            if module in sys.modules and origin_named(module) == "project":
                self.space(vars(sys.modules[module]))

    def reach(self, space: Space, name: str) -> str:
        """A definition counts; its key."""
        if (space, name) not in self._queued:
            self._queued.add((space, name))
            self._queue.append((space, name))
            if name != EFFECTS and space.tree and "__getattr__" in space.tree.bindings:
                self.reach(space, "__getattr__")
        return space.key(name)

    def _define(self, space: Space, name: str) -> str:
        if space.tree is None:  # without a source, the functions and values themselves
            return digest({key: self._values.current(space, key) for key in space.names if not key.startswith("__")})
        bindings = space.tree.bindings
        statements, owned = bindings.get(name, []), [name]
        if name in (EFFECTS, WHOLE):
            statements, owned = (space.tree.effects, []) if name == EFFECTS else (space.tree.body, list(bindings))
        kind = space.names.get(name)
        content = space.tree.content(statements, told_by(kind) if isinstance(kind, type) else NOTHING)
        uses = {repr(use): self._follow(space, use) for use in content.uses}
        words = {word for used in uses.values() for word in used.split()}
        self.files |= data_of(space, content, words)
        if any(map(reads_environment, words)):
            refuse_environment(space, statements, lambda use: self._follow(space, use).split())
        if any(".".join(word.split(".")[:2]) in DYNAMIC for word in words):
            self.reach(space, WHOLE)
            self._add_named(space, content)
        if "'__subclasses__'" in content.text:
            for used in (*owned, *(use.name for use in content.uses)):
                if isinstance(kind := space.names.get(used), type):
                    found = [self._values.state(subclass) for subclass in subclasses(kind)]
                    uses[f"subclasses of {used}"] = " ".join(sorted(found))
        return digest([content.text, uses, {key: self._values.current(space, key) for key in owned}])

    def _add_named(self, space: Space, content: Content) -> None:
        """Project modules that are named in a text."""
        for text in sorted(content.strings):
            if all(map(str.isidentifier, text.lstrip(".").split("."))) and ("." in text or text in sys.modules):
                module = space.absolute(text)
                if origin_named(module) == "project" and (named := load(module)):
                    self.module(named)

    # --- what names stand for: keys of definitions, dotted paths of what is not the project's, digests of values

    def _follow(self, space: Space, use: Use) -> str:
        if use.annotation:
            return self._annotated(space, use)
        if use.kind == "global":
            return self.resolve(space, use.name, use.chain, use.soft)
        module = space.absolute(use.name)
        if use.kind == "import" or origin_named(module) != "project":
            return self._path(module, use.chain)
        found = load(module)
        if found and use.chain and not isinstance(vars(found).get(use.chain[0], found), ModuleType):
            return self._path(module, use.chain)
        if inner := load(".".join((module, *use.chain))) or found:
            self.space(vars(inner))
        return module

    def _annotated(self, space: Space, use: Use) -> str:
        """What an annotation names: classes, whose methods are called, and not the texts of a Literal."""
        value, chain = space.names.get(use.name, ABSENT), list(use.chain)
        while chain and isinstance(value, ModuleType | type):
            value = getattr(value, chain.pop(0), ABSENT)
        if isinstance(value, type):
            return self.resolve(space, use.name, use.chain, True)
        return " ".join([use.name, *use.chain, *map(self._values.state, classes_in(value))])

    def _path(self, module: str, chain: tuple[str, ...]) -> str:
        if origin_named(module) != "project":
            return self.external(module, chain)
        found = load(module)
        return f"missing {module}" if found is None else self.module(found, chain)

    def external(self, module: str, chain: tuple[str, ...] = ()) -> str:
        """What is not the project's; its dotted path."""
        if origin_named(module) == "library":
            self.libraries.add(module.partition(".")[0])
        return ".".join((module, *chain))

    def module(self, module: ModuleType, chain: tuple[str, ...] = ()) -> str:
        """What the attributes that follow a module stand for; without any, the whole module."""
        if origin_of(vars(module)) != "project":
            return self.external(module.__name__, chain)
        space = self.space(vars(module))
        if not chain:
            return self.reach(space, WHOLE)
        if chain[0] in vars(module):
            return self.resolve(space, chain[0], chain[1:], False)
        inner = load(f"{module.__name__}.{chain[0]}") if hasattr(module, "__path__") else None
        return self.reach(space, WHOLE) if inner is None else self.module(inner, chain[1:])

    def resolve(self, space: Space, name: str, chain: tuple[str, ...], soft: bool) -> str:
        """What a name in a module stands for, with the attributes that follow it; a soft one need not be there."""
        key = (space, name, chain, soft)
        if key not in self._resolved:
            self._resolved[key] = ""  # for modules that import one name from each other
            self._resolved[key] = self._resolve(space, name, chain, soft)
        return self._resolved[key]

    def _resolve(self, space: Space, name: str, chain: tuple[str, ...], soft: bool) -> str:
        tree, value = space.tree, space.names.get(name, ABSENT)
        if name in PLACES or isinstance(value, Registry):
            return name
        found = [self.reach(space, name)] if tree and name in tree.bindings else []
        if value is ABSENT:
            if not (found or soft or hasattr(builtins, name)):
                self.reach(space, WHOLE)
            return " ".join([name, *found])
        if value is os.environ:
            return "os.environ"
        if isinstance(value, ModuleType):
            return " ".join([*found, self.module(value, chain)])
        named = []
        imports = tree.imports.get(name, []) if tree else []
        for module, attribute in imports or [(star, name) for star in (tree.stars if tree else ())]:
            source = sys.modules.get(dotted := space.absolute(module))
            if origin_named(dotted) != "project":
                named.append(self.external(dotted, (attribute or "", *chain)))
            elif source and attribute and vars(source).get(attribute, ABSENT) is value:
                found.append(self.resolve(self.space(vars(source)), attribute, chain, soft))
            elif imports and source and attribute and attribute not in vars(source):  # by its __getattr__
                named.append(self.module(source, (attribute, *chain)))
        # What was put there from elsewhere, or comes from elsewhere, is looked at itself.
        return " ".join([*named, *(found or [self._values.state(value)])])
