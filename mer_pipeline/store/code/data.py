"""Find the data files that code may read: those of a package, and those below a folder that a constant names.

It is not known which files a definition reads. If it reads any file of a package, all files of the package count.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection, Iterator
from pathlib import Path, PurePath

from mer_pipeline.store.code.origins import Space, origin_named
from mer_pipeline.store.code.source import Content

# Code that uses one of these reads files beside its module. The other way to find such files is `__file__`.
READERS = (
    "importlib.resources", "importlib_resources", "pkg_resources", "pkgutil.get_data",
    "jinja2.PackageLoader", "jinja2.loaders.PackageLoader",
)  # fmt: skip


def data_of(space: Space, content: Content, words: Collection[str]) -> set[Path]:
    """Return the files that a definition may read.

    Args:
        space: the definition's module.
        content: the definition's content.
        words: the import paths that the definition's names stand for.
    """
    found: set[Path] = set()
    values = [space.names.get(use.name) for use in content.uses if use.kind == "global"]
    if "__file__" in words or any(word.startswith(READERS) for word in words):
        folders = {folder for text in {*map(str, values), *content.strings} if (folder := folder_of(text))}
        if space.file and (space.file.parent / "__init__.py").exists():  # a script's folder may have any files
            folders.add(space.file.parent)
        for folder in folders:
            found.update(package_data(folder, inner=space.file == folder / "__init__.py"))
    for value in values:
        if isinstance(value, PurePath) and value.is_absolute():
            for path in (Path(value, text) for text in content.strings if text):
                found.update([path] if path.is_file() else package_data(path) if path.is_dir() else ())
    return found


def folder_of(package: str) -> Path | None:
    """Return the folder of a package of the project, without importing it; None for any other text."""
    top, *rest = package.split(".")
    if not all(map(str.isidentifier, (top, *rest))) or origin_named(top) != "project":
        return None
    spec = None if top in sys.modules else importlib.util.find_spec(top)
    paths = getattr(sys.modules.get(top), "__path__", None) or (spec and spec.submodule_search_locations)
    return next((at for base in paths or () if (at := Path(base, *rest)).is_dir()), None)


def package_data(folder: Path, *, inner: bool = False) -> Iterator[Path]:
    """Return the files of a package that are not Python code, also those in subfolders that are not packages.

    Args:
        folder: the package's folder.
        inner: whether to add the files of packages inside this one.
    """
    for path in folder.iterdir():
        if path.is_dir():
            hidden = path.name == "__pycache__" or path.name.startswith(".")
            if not hidden and (inner or not (path / "__init__.py").exists()):
                yield from package_data(path, inner=inner)
        elif path.suffix not in (".py", ".pyc"):
            yield path
