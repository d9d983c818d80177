"""Files beside the code that it may read: the data of a package, and what lies below a folder that a constant names.

Which of them a definition reads is not known, so all of a package count for one that reads any.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

from mer_pipeline.store.code.origins import Space, origin_named
from mer_pipeline.store.code.source import Content

# Who uses one of these reads files beside its module; `__file__` is the other way to find them.
READERS = (
    "importlib.resources", "importlib_resources", "pkg_resources", "pkgutil.get_data",
    "jinja2.PackageLoader", "jinja2.loaders.PackageLoader",
)  # fmt: skip


def data_of(space: Space, content: Content, words: Collection[str]) -> set[Path]:
    """The files that a definition may read.

    Args:
        space: its module.
        content: what it says.
        words: what its names stand for.
    """
    found: set[Path] = set()
    values = [space.names.get(use.name) for use in content.uses if use.kind == "global"]
    if "__file__" in words or any(word.startswith(READERS) for word in words):
        folders = {folder for text in {*map(str, values), *content.strings} if (folder := folder_of(text))}
        if space.file and (space.file.parent / "__init__.py").exists():  # beside a script may lie anything
            folders.add(space.file.parent)
        for folder in folders:
            found.update(package_data(folder, inner=space.file == folder / "__init__.py"))
    for value in values:
        if isinstance(value, PurePath) and value.is_absolute():
            for path in (Path(value, text) for text in content.strings if text):
                found.update([path] if path.is_file() else package_data(path) if path.is_dir() else ())
    return found


def folder_of(package: str) -> Path | None:
    """Where a project's package lies, without importing it."""
    top, *rest = package.split(".")
    if not all(map(str.isidentifier, (top, *rest))) or origin_named(top) != "project":
        return None
    spec = None if top in sys.modules else importlib.util.find_spec(top)
    paths = getattr(sys.modules.get(top), "__path__", None) or (spec and spec.submodule_search_locations)
    return next((at for base in paths or () if (at := Path(base, *rest)).is_dir()), None)


def package_data(folder: Path, *, inner: bool = False) -> Iterator[Path]:
    """Files of a package that are no Python, also those in folders that are no packages themselves.

    Args:
        folder: the package's.
        inner: also those of the packages in it.
    """
    for path in folder.iterdir():
        if path.is_dir():
            hidden = path.name == "__pycache__" or path.name.startswith(".")
            if not hidden and (inner or not (path / "__init__.py").exists()):
                yield from package_data(path, inner=inner)
        elif path.suffix not in (".py", ".pyc"):
            yield path
