"""What a module's source binds, and which names each of its definitions looks up outside of itself.

Text only: nothing here imports or runs anything. `code.py` says what the names stand for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

# A module as it is written in an import (relative ones with their dots), and the attribute that is taken from it.
Imported: TypeAlias = tuple[str, str | None]
Functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehensions = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
# Every method may use it, and no module defines it; the others are there in a class's body.
IMPLICIT = frozenset({"__class__", "__qualname__", "__module__"})


@dataclass(frozen=True, order=True)
class Use:
    """A name that a definition looks up, with the attributes that follow it: `np.linalg.norm` is one use.

    Attributes:
        kind: "global": a name of the module; "import": a use of a module that is imported inside a function; "load":
            that import itself, which runs the module.
        name: that name or module.
        chain: the attributes.
        soft: it need not be there at run time (an annotation).
    """

    kind: Literal["global", "import", "load"]
    name: str
    chain: tuple[str, ...] = ()
    soft: bool = False


@dataclass(frozen=True)
class Content:
    """Some statements: their AST as text, what they use, and the texts in them."""

    text: str
    uses: tuple[Use, ...]
    strings: frozenset[str]


class Tree:
    """A parsed module.

    Attributes:
        bindings: by name, the statements that bind it; plain imports are not among them.
        imports: by name, what is imported under it.
        loads: all modules that are imported at the top.
        stars: those of which everything is imported.
        effects: statements that do something else than to bind names.
        body: all statements that count.

    Raises:
        SyntaxError: it is no Python.
    """

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.bindings: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[Imported]] = {}
        self.loads: dict[str, None] = {}
        self.stars: list[str] = []
        self.effects: list[ast.stmt] = []
        self.body: list[ast.stmt] = []
        self._contents: dict[tuple[int, ...], Content] = {}
        for statement, runs in _flat(ast.parse(source).body):
            self._add(statement, runs)
        # `@f.register` adds to f, wherever the function that it decorates is bound.
        for statement in self.body:
            for name in _decorated_by(statement):
                if name in self.bindings and statement not in self.bindings[name]:
                    self.bindings[name].append(statement)

    def _add(self, statement: ast.stmt, runs: bool) -> None:
        self.body.append(statement)
        for name, imported in bound([statement]).items():
            if imported:
                self.imports.setdefault(name, []).extend(imported)
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                self.bindings.setdefault(name, []).append(statement)
        for node in _nested(statement):
            match node:
                case ast.Import():
                    self.loads.update(dict.fromkeys(alias.name for alias in node.names))
                case ast.ImportFrom():
                    base = _module(node)
                    self.loads[base] = None
                    self.loads.update(dict.fromkeys(_join(base, alias.name) for alias in node.names))
                    self.stars += [base for alias in node.names if alias.name == "*"]
                case _:
                    pass
        if runs and not _only_binds(statement):
            self.effects.append(statement)

    @cached_property
    def keeps_docstrings(self) -> bool:
        """Whether the module reads docstrings (a prompt may be one), so that they may decide a value."""
        return b"__doc__" in self.source or b"getdoc" in self.source

    def content(self, statements: Sequence[ast.stmt]) -> Content:
        """What some of the module's statements say."""
        key = tuple(map(id, statements))
        if key not in self._contents:
            names = _Names()
            for statement in statements:
                _clean(statement, self.keeps_docstrings)
                names.visit(statement)
            text = "\n".join(map(ast.dump, statements))
            self._contents[key] = Content(text, tuple(sorted(names.uses)), frozenset(names.strings))
        return self._contents[key]

    def names_at(self, line: int) -> list[str]:
        """Names that the top-level statements on a line bind."""
        return [
            name
            for name, statements in self.bindings.items()
            if any(s.lineno <= line <= (s.end_lineno or s.lineno) for s in statements)
        ]


_parsed: dict[Path, Tree] = {}


def parse(path: Path) -> Tree | None:
    """The module in a file, as it is now; None where there is no readable Python."""
    try:
        source = path.read_bytes()
        if path not in _parsed or _parsed[path].source != source:
            _parsed[path] = Tree(source)
    except (OSError, SyntaxError, ValueError):
        return None
    return _parsed[path]


def bound(body: Iterable[ast.AST]) -> dict[str, list[Imported]]:
    """The names that statements bind in their own scope, each with what imports bind to it."""
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
                # Its own names stay inside; only `:=` binds around it.
                todo += [inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
                continue
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.setdefault(name, [])
            case ast.Import():
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    names.setdefault(alias.asname or top, []).append((alias.name if alias.asname else top, None))
            case ast.ImportFrom():
                for alias in node.names:
                    if alias.name != "*":
                        names.setdefault(alias.asname or alias.name, []).append((_module(node), alias.name))
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.setdefault(name, [])
            case ast.MatchMapping(rest=str(name)):
                names.setdefault(name, [])
            case ast.Global() | ast.Nonlocal():
                elsewhere.update(node.names)
            case _:
                pass
        todo += list(ast.iter_child_nodes(node))[::-1]
    return {name: imported for name, imported in names.items() if name not in elsewhere}


class _Names(ast.NodeVisitor):
    """Collects the uses of statements that stand at the top of a module."""

    def __init__(self) -> None:
        self.uses: set[Use] = set()
        self.strings: set[str] = set()
        # Innermost last: whether it is a class's (whose names its functions do not see), and what it binds.
        self._scopes: list[tuple[bool, dict[str, list[Imported]]]] = []

    def _use(self, name: str, chain: tuple[str, ...] = (), soft: bool = False) -> None:
        if name in IMPLICIT:
            return
        for is_class, names in self._scopes[:-1][::-1] if self._in_class else self._scopes[::-1]:
            if not is_class and name in names:
                for module, attribute in names[name]:
                    self.uses.add(Use("import", module, (attribute, *chain) if attribute else chain))
                return
        # What a class's body binds may still be the module's name when it is looked up, as in `scale = scale`.
        soft = soft or (self._in_class and name in self._scopes[-1][1])
        self.uses.add(Use("global", name, chain, soft))

    @property
    def _in_class(self) -> bool:
        return bool(self._scopes) and self._scopes[-1][0]

    def visit_Name(self, node: ast.Name) -> None:  # the name that ast calls
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

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._use(node.target.id)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings.add(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        if self._scopes:
            self.uses.update(Use("load", alias.name) for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if self._scopes:
            self.uses.update(Use("load", _module(node), (alias.name,)) for alias in node.names)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._in_class:  # a field of a dataclass or a model
            for name in _Names.within(node.annotation):
                self._use(name.name, name.chain, soft=True)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    @staticmethod
    def within(node: ast.AST) -> list[Use]:
        """The uses of one expression by itself."""
        inner = _Names()
        inner.visit(node)
        return sorted(inner.uses)

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    def _visit_function(self, node: Functions) -> None:
        args = node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        self._visit_all([*args.defaults, *args.kw_defaults])
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        names: dict[str, list[Imported]] = {arg.arg: [] for arg in every if arg is not None}
        self._scopes.append((False, _type_parameters(node) | names | bound(body)))
        self._visit_all(body)
        self._scopes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self._visit_function(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815
    visit_Lambda = _visit_function  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.decorator_list)
        self._scopes.append((False, _type_parameters(node)))
        self._visit_all([*node.bases, *node.keywords])
        self._scopes.append((True, bound(node.body)))
        self._visit_all(node.body)
        del self._scopes[-2:]

    def _visit_comprehension(self, node: Comprehensions) -> None:
        first, *others = node.generators
        self.visit(first.iter)  # it is evaluated outside
        self._scopes.append((False, bound(generator.target for generator in node.generators)))
        self._visit_all([first.target, *first.ifs, *others])
        self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # noqa: N815


def _type_parameters(node: ast.AST) -> dict[str, list[Imported]]:
    return {parameter.name: [] for parameter in getattr(node, "type_params", ())}  # from Python 3.12


def _module(node: ast.ImportFrom) -> str:
    return "." * node.level + (node.module or "")


def _join(base: str, name: str) -> str:
    return f"{base}{name}" if base.endswith(".") else f"{base}.{name}"


def _flat(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements of a module, each with whether importing it runs them."""
    for statement in body:
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _flat(statement.orelse)
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            yield from ((inner, False) for inner, _ in _flat(statement.body))
            yield from _flat(statement.orelse)
        elif not _is_text(statement):
            yield statement, True


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a docstring, or an ellipsis in the place of a body."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _nested(statement: ast.stmt) -> Iterator[ast.AST]:
    """The statements in a top-level statement's blocks, itself among them, without those of functions and classes."""
    yield statement
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.stmt):
                yield from _nested(child)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                for inner in child.body:
                    yield from _nested(inner)


def _only_binds(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=targets):
            return all(_is_name(target) for target in targets)
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return _is_name(target)
        case ast.If(body=body, orelse=orelse):
            return all(map(_only_binds, [*body, *orelse]))
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
            inner = [s for handler in handlers for s in handler.body]
            return all(map(_only_binds, [*body, *inner, *orelse, *final]))
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Pass():
            return True
        case _:
            return _is_text(statement) or type(statement).__name__ == "TypeAlias"  # from Python 3.12


def _is_name(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_is_name, target.elts))
    if isinstance(target, ast.Starred):
        return _is_name(target.value)
    return isinstance(target, ast.Name) and target.id != "_"  # what is thrown away was called for its effect


def _decorated_by(statement: ast.stmt) -> Iterator[str]:
    """Names of which an attribute decorates a definition."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for decorator in statement.decorator_list:
            base = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(base, ast.Attribute):
                while isinstance(base, ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name):
                    yield base.id


def _clean(statement: ast.stmt, keep_docstrings: bool) -> None:
    """Take out, in place, what never runs: docstrings and what only type checkers see."""
    for node in ast.walk(statement):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                running = [inner for child in block for inner in _running(child)]
                block[:] = [inner for inner in running if keep_docstrings or not _is_text(inner)]


def _running(node: ast.stmt) -> list[ast.stmt]:
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        return [inner for child in node.orelse for inner in _running(child)]
    return [node]
