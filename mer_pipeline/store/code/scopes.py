"""Find the names that a piece of source binds in its own scope, and those that it looks up outside.

This applies Python's scope rules to the syntax tree (AST). Parameters, assignments, comprehensions and imports inside a
function hide names of the module. Names in the body of a class are not visible in its methods. Nothing is imported or
run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

# A module as an import statement writes it (with dots if it is relative), and the attribute that is imported from it.
Imported: TypeAlias = tuple[str, str | None]
Functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
SET = "[]="
Comprehensions = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(frozen=True, order=True)
class Use:
    """A name that a definition looks up, with the attributes that follow it. `np.linalg.norm` is one use.

    Attributes:
        kind: "global" for a name of the module; "import" for a use of a module that a function imports; "load" for
            that import itself, which runs the module.
        name: the name, or the module.
        chain: the attributes that follow; the last is `SET` if an item is set in them and nothing is read.
        soft: whether the name may be missing at run time.
        annotation: whether the use is in an annotation. Then only classes count, because their methods may be called.
    """

    kind: Literal["global", "import", "load"]
    name: str
    chain: tuple[str, ...] = ()
    soft: bool = False
    annotation: bool = False


def imported_from(node: ast.ImportFrom) -> str:
    """Return the module of a statement `from module import ...`, as it is written.

    Example:
        >>> imported_from(ast.parse("from ..base import errors").body[0])
        '..base'
    """
    return "." * node.level + (node.module or "")


def bound(body: Iterable[ast.AST]) -> dict[str, list[Imported]]:
    """Return the names that statements bind in their own scope, each with what imports bind to it.

    Example:
        >>> bound(ast.parse("import numpy as np; x = [y for y in z]").body)
        {'np': [('numpy', None)], 'x': []}
    """
    names: dict[str, list[Imported]] = {}
    elsewhere: set[str] = set()
    todo = list(body)[::-1]
    while todo:
        node = todo.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.setdefault(node.name, [])
                continue
            case ast.Lambda():
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                # A comprehension's own names stay inside it; only `:=` binds a name outside.
                todo += [inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
                continue
            case ast.Import():
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    names.setdefault(alias.asname or top, []).append((alias.name if alias.asname else top, None))
            case ast.ImportFrom():
                for alias in node.names:
                    if alias.name != "*":
                        names.setdefault(alias.asname or alias.name, []).append((imported_from(node), alias.name))
            case (
                ast.Name(id=name, ctx=ast.Store() | ast.Del())
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                names.setdefault(name, [])
            case ast.Global() | ast.Nonlocal():
                elsewhere.update(node.names)
            case _:
                pass
        todo += list(ast.iter_child_nodes(node))[::-1]
    return {name: imported for name, imported in names.items() if name not in elsewhere}


def used(statements: Iterable[ast.stmt]) -> tuple[set[Use], set[str]]:
    """Return the uses of names in top-level statements of a module, and the string constants in them."""
    names = _Names()
    for statement in statements:
        names.visit(statement)
    return names.uses, names.strings


class _Names(ast.NodeVisitor):
    """Collects the uses of names and the string constants, while it keeps track of the scopes around a node."""

    def __init__(self) -> None:
        self.uses: set[Use] = set()
        self.strings: set[str] = set()
        # The innermost scope is last. For each: whether it is the body of a class (its names are not visible in the
        # methods), and the names that it binds.
        self._scopes: list[tuple[bool, dict[str, list[Imported]]]] = []
        self._in_annotation = False

    @property
    def _in_class(self) -> bool:
        return bool(self._scopes) and self._scopes[-1][0]

    def _use(self, name: str, chain: tuple[str, ...] = ()) -> None:
        for is_class, names in reversed(self._scopes):
            if not is_class and name in names:
                for module, attribute in names[name]:
                    self.uses.add(Use("import", module, (attribute, *chain) if attribute else chain))
                return
        # A name that a class's body binds may still mean the module's name when it is used, as in `scale = scale`.
        soft = self._in_annotation or (self._in_class and name in self._scopes[-1][1])
        self.uses.add(Use("global", name, chain, soft, self._in_annotation))

    def visit_Name(self, node: ast.Name) -> None:  # ast calls a method of this name
        if isinstance(node.ctx, ast.Load):
            self._use(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            chain, base = [base.attr, *chain], base.value
        if isinstance(base, ast.Name):
            self._use(base.id, tuple(chain))
        else:
            self.visit(base)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load) or not isinstance(node.value, ast.Attribute):
            self.generic_visit(node)
        else:  # `os.environ["X"] = ...` reads nothing
            self.visit(ast.Attribute(node.value, SET, ast.Load()))
            self.visit(node.slice)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        match node.target:
            case ast.Name(id=name):
                self._use(name)
            case ast.Subscript(value=value, slice=index):
                self.visit(ast.Subscript(value, index, ast.Load()))
            case _:
                pass
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings.add(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        if self._scopes:
            self.uses.update(Use("load", alias.name) for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if self._scopes:
            self.uses.update(Use("load", imported_from(node), (alias.name,)) for alias in node.names)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._in_class:  # a field of a dataclass or a model
            self._visit_annotations([node.annotation])
        self._visit_all([node.target, node.value])

    def _visit_annotations(self, nodes: Iterable[ast.AST | None]) -> None:
        before, self._in_annotation = self._in_annotation, True
        self._visit_all(nodes)
        self._in_annotation = before

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _visit_in(self, is_class: bool, names: dict[str, list[Imported]], nodes: Iterable[ast.AST | None]) -> None:
        """Visit nodes that are in a scope of their own."""
        self._scopes.append((is_class, names))
        self._visit_all(nodes)
        self._scopes.pop()

    def _visit_function(self, node: Functions) -> None:
        args = node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        self._visit_all([*args.defaults, *args.kw_defaults])
        # The annotations count, because the function calls methods of its arguments' classes.
        returns = None if isinstance(node, ast.Lambda) else node.returns
        self._visit_annotations([*(arg.annotation for arg in every if arg is not None), returns])
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        parameters: dict[str, list[Imported]] = {arg.arg: [] for arg in every if arg is not None}
        self._visit_in(False, parameters | bound(body), body)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._visit_function(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815
    visit_Lambda = _visit_function  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._visit_in(True, bound(node.body), node.body)

    def _visit_comprehension(self, node: Comprehensions) -> None:
        first, *others = node.generators
        self.visit(first.iter)  # Python evaluates this outside the comprehension
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        targets = bound(generator.target for generator in node.generators)
        self._visit_in(False, targets, [first.target, *first.ifs, *others, *results])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # noqa: N815
