"""A module's source, taken apart: the statements that bind each name, its imports, and what else it does when it runs.

Of chosen statements, `Tree.content` gives the AST as text (no comments, docstrings, positions) and the names that they
use. Text only, as `scopes.py`; `walk.py` says what the names stand for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.store.code.scopes import Imported, Use, bound, imported_from, used

NOTHING: frozenset[str] = frozenset()
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


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
        self._contents: dict[tuple[tuple[int, ...], frozenset[str]], Content] = {}
        for statement, runs in _that_count(ast.parse(source).body):
            self._add(statement, runs)
        # `@f.register` adds to f, wherever the function that it decorates is bound.
        for statement in self.body:
            for name in _decorated_by_attribute_of(statement):
                if name in self.bindings and statement not in self.bindings[name]:
                    self.bindings[name].append(statement)

    def _add(self, statement: ast.stmt, runs: bool) -> None:
        self.body.append(statement)
        for name, imported in bound([statement]).items():
            if imported:
                self.imports.setdefault(name, []).extend(imported)
            if not isinstance(statement, ast.Import | ast.ImportFrom):
                self.bindings.setdefault(name, []).append(statement)
        for node in _with_blocks(statement):
            match node:
                case ast.Import():
                    self.loads.update(dict.fromkeys(alias.name for alias in node.names))
                case ast.ImportFrom():
                    base = imported_from(node)
                    inner = base if base.endswith(".") else f"{base}."
                    self.loads.update(dict.fromkeys([base, *(f"{inner}{alias.name}" for alias in node.names)]))
                    self.stars += [base for alias in node.names if alias.name == "*"]
                case _:
                    pass
        if runs and not _only_binds(statement):
            self.effects.append(statement)

    def content(self, statements: Sequence[ast.stmt], told: frozenset[str] = NOTHING) -> Content:
        """What some of the module's statements say.

        Args:
            statements: of this module.
            told: of a class: names of fields and methods that are left out, since whoever asks counts them otherwise.
        """
        key = (tuple(map(id, statements)), told)
        if key not in self._contents:
            # A module that reads docstrings (a prompt may be one) keeps them, since they may decide a value.
            keep_docstrings = b"__doc__" in self.source or b"getdoc" in self.source
            for statement in statements:
                _take_out_what_never_runs(statement, keep_docstrings)
            kept = [_without(statement, told) for statement in statements] if told else statements
            uses, strings = used(kept)
            text = "\n".join(map(ast.dump, kept))
            self._contents[key] = Content(text, tuple(sorted(uses)), frozenset(strings))
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


def _that_count(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """The statements of a module, each with whether importing it runs them."""
    for statement in body:
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _that_count(statement.orelse)
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            yield from ((inner, False) for inner, _ in _that_count(statement.body))
            yield from _that_count(statement.orelse)
        elif not _is_text(statement):
            yield statement, True


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"  # bare, or of typing


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a docstring, or an ellipsis in the place of a body."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _with_blocks(node: ast.AST) -> Iterator[ast.AST]:
    """A top-level statement and those in its blocks, without those of functions and classes."""
    yield node
    if not isinstance(node, Definition):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                yield from _with_blocks(child)


def _only_binds(statement: ast.stmt) -> bool:
    match statement:
        case ast.Assign(targets=targets):
            return all(map(_is_name, targets))
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
            return _is_text(statement)


def _is_name(target: ast.expr) -> bool:
    """Whether a target is names alone; `_`, which is thrown away, was called for its effect."""
    parts = list(ast.walk(target))
    return not any(isinstance(part, ast.Attribute | ast.Subscript) or getattr(part, "id", "") == "_" for part in parts)


def _decorated_by_attribute_of(statement: ast.stmt) -> Iterator[str]:
    """Names of which an attribute decorates a definition."""
    for decorator in statement.decorator_list if isinstance(statement, Definition) else ():
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        base = called
        while isinstance(base, ast.Attribute):
            base = base.value
        if isinstance(base, ast.Name) and base is not called:
            yield base.id


def _without(statement: ast.stmt, told: frozenset[str]) -> ast.stmt:
    """A class without some of its fields and methods; anything else as it is."""
    if not isinstance(statement, ast.ClassDef):
        return statement
    body = [inner for inner in statement.body if not (_declared(inner) & told)]
    return ast.ClassDef(statement.name, statement.bases, statement.keywords, body, statement.decorator_list)


def _declared(statement: ast.stmt) -> frozenset[str]:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name):
            return frozenset({name})
        case _:
            return NOTHING


def _take_out_what_never_runs(statement: ast.stmt, keep_docstrings: bool) -> None:
    """Take out, in place, docstrings and what only type checkers see."""
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
