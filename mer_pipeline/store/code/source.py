"""Parse a module's source: the statements that bind each name, the imports, and the statements with other effects.

For chosen statements, `Tree.content` gives their syntax tree (AST) as text, without comments, docstrings and positions,
and the names that they use. As in `scopes.py`, nothing is imported or run; `walk.py` finds what the names stand for.
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
    """The content of some statements.

    Attributes:
        text: their AST as text.
        uses: the names that they use.
        strings: the string constants in them.
    """

    text: str
    uses: tuple[Use, ...]
    strings: frozenset[str]


class Tree:
    """A parsed module.

    Attributes:
        source: the module's source.
        bindings: the statements that bind a name, by name, without plain imports.
        imports: what is imported under a name, by name.
        loads: all modules that top-level statements import; the values are None.
        stars: the modules of `from module import *`.
        effects: the statements that do more than bind names.
        body: all statements that count.

    Raises:
        SyntaxError: the source is not valid Python.
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
        # A function with the decorator `@f.register` is a part of f, under whatever name it is bound.
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
        """Return the content of some statements of this module.

        Args:
            statements: the statements.
            told: names of fields and methods that are left out of a class, because the caller counts them otherwise.
        """
        key = (tuple(map(id, statements)), told)
        if key not in self._contents:
            # If a module reads docstrings, they may decide a value (a prompt may be one), so they are kept.
            keep_docstrings = b"__doc__" in self.source or b"getdoc" in self.source
            for statement in statements:
                _take_out_what_never_runs(statement, keep_docstrings)
            kept = [_without(statement, told) for statement in statements] if told else statements
            uses, strings = used(kept)
            text = "\n".join(map(ast.dump, kept))
            self._contents[key] = Content(text, tuple(sorted(uses)), frozenset(strings))
        return self._contents[key]

    def names_at(self, line: int) -> list[str]:
        """Return the names that the top-level statements on a line bind."""
        return [
            name
            for name, statements in self.bindings.items()
            if any(s.lineno <= line <= (s.end_lineno or s.lineno) for s in statements)
        ]


_parsed: dict[Path, Tree] = {}


def parse(path: Path) -> Tree | None:
    """Return the parsed module in a file, as the file is now; None if it cannot be read or is not valid Python."""
    try:
        source = path.read_bytes()
        if path not in _parsed or _parsed[path].source != source:
            _parsed[path] = Tree(source)
    except (OSError, SyntaxError, ValueError):
        return None
    return _parsed[path]


def _that_count(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.stmt, bool]]:
    """Return the statements of a module that count, each with whether it runs when the module is imported."""
    for statement in body:
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _that_count(statement.orelse)
        elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'":
            yield from ((inner, False) for inner, _ in _that_count(statement.body))
            yield from _that_count(statement.orelse)
        elif not _is_text(statement):
            yield statement, True


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"  # with or without "typing." before it


def _is_text(statement: ast.stmt) -> bool:
    """Return whether a statement is a bare constant, such as a docstring or the ellipsis of an empty body."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _with_blocks(node: ast.AST) -> Iterator[ast.AST]:
    """Return a top-level statement and those in its blocks, without the bodies of functions and classes."""
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
    """Return whether an assignment binds names only.

    An assignment to `_` does not count as one, because its value is not used, so it is there for its effect.
    """
    parts = list(ast.walk(target))
    return not any(isinstance(part, ast.Attribute | ast.Subscript) or getattr(part, "id", "") == "_" for part in parts)


def _decorated_by_attribute_of(statement: ast.stmt) -> Iterator[str]:
    """Return the names of which an attribute decorates a definition, such as `f` in `@f.register`."""
    for decorator in statement.decorator_list if isinstance(statement, Definition) else ():
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        base = called
        while isinstance(base, ast.Attribute):
            base = base.value
        if isinstance(base, ast.Name) and base is not called:
            yield base.id


def _without(statement: ast.stmt, told: frozenset[str]) -> ast.stmt:
    """Return a class without some of its fields and methods. Any other statement is returned as it is."""
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
    """Remove docstrings, and code that only type checkers see, in place."""
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
