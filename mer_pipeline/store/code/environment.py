"""A function that reads a variable of the environment makes rows whose keys do not have it, so it is refused.

A constant that is made of one counts by its value, and to set one is to read nothing.
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
    """Look at statements of a module of which one names the environment.

    Args:
        space: the module.
        statements: of it.
        follow: from a use to what it stands for.

    Raises:
        Undigestible: one reads the environment each time that it runs; the message has its place.
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
    """Whether what a name stands for asks for variables of the environment."""
    return word.startswith(ENVIRONMENT) and not word.endswith(SETTERS)
