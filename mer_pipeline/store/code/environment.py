"""Refuse functions that read an environment variable, because its value would not be a part of the fingerprint.

A constant that is made from such a variable is allowed, because it counts by its value. Setting a variable is allowed
too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence

from mer_pipeline.base.errors import Undigestible
from mer_pipeline.store.code.origins import Space
from mer_pipeline.store.code.scopes import SET, Use

ENVIRONMENT = ("os.environ", "os.getenv")
SETTERS = (f".{SET}", ".setdefault", ".update")


def refuse_environment(space: Space, statements: Sequence[ast.stmt], follow: Callable[[Use], Iterable[str]]) -> None:
    """Raise an error if a statement reads the environment whenever it runs.

    Args:
        space: the module.
        statements: statements of the module.
        follow: gives the import paths that a use of a name stands for.

    Raises:
        Undigestible: a statement reads the environment. The message has its file and line.
    """
    assert space.tree is not None
    for statement in statements:
        uses = space.tree.content([statement]).uses
        constant = isinstance(statement, ast.Assign | ast.AnnAssign)
        runs_later = any(isinstance(node, ast.Lambda) for node in ast.walk(statement))
        if (runs_later or not constant) and any(reads_environment(word) for use in uses for word in follow(use)):
            raise Undigestible(
                f"{space.file}:{statement.lineno}: {space.label} reads a variable of the environment, which no key of "
                "a row has: make it a param, or a constant of the module, which counts by its value"
            )


def reads_environment(word: str) -> bool:
    """Return whether an import path such as "os.environ.get" reads environment variables.

    Example:
        >>> reads_environment("os.environ.get"), reads_environment("os.environ.setdefault")
        (True, False)
    """
    return word.startswith(ENVIRONMENT) and not word.endswith(SETTERS)
