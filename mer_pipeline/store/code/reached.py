"""What a digest of code consists of, and the call that makes it; `walk.py` goes from definition to definition."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.store.code.origins import looking_into, origin_of
from mer_pipeline.store.code.walk import Walk, names_of


@dataclass(frozen=True)
class Code:
    """What some roots reach.

    Attributes:
        definitions: digests by "package.module.name"; "package.module" where the whole module counts,
            "package.module:<effects>" for what importing it does, "value:path" for the roots and what they hold.
        libraries: import names of the third-party packages that are used.
        files: package data that may be read, sorted.
    """

    definitions: Mapping[str, str]
    libraries: frozenset[str]
    files: tuple[Path, ...]


def code_of(*roots: object, told: Collection[str] = ()) -> Code:
    """The code that objects reach: transforms with what they hold, functions, classes.

    Project modules that a reached function imports are imported; what fails to import counts by its name only.

    Args:
        roots: what is started from.
        told: attributes of the roots, such as "params" or "detector.net", of which only the class counts, since the
            caller says what else does.

    Raises:
        Undigestible: a root holds, or code that it reaches has or reads, what cannot be digested.
    """
    walk = Walk(frozenset(told))
    with looking_into(frozenset(map(_installed_package, roots)) - {""}):
        for root in roots:
            walk.root(root)
        walk.finish()
    return Code(dict(sorted(walk.digests.items())), frozenset(walk.libraries), tuple(sorted(walk.files)))


def _installed_package(root: object) -> str:
    """The package of a root that an installer put there; empty where its module is the project's anyway."""
    names = names_of(root)
    return str(names["__name__"]).partition(".")[0] if origin_of(names) == "library" else ""
