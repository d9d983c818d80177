"""A package that a test writes, loads, edits and loads again, to see what becomes of keys."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from types import ModuleType

from mer_pipeline.store.code import Code

NUMBERS = itertools.count()


class Package:
    """A package that a test writes, loads, edits and loads again."""

    def __init__(self, folder: Path) -> None:
        self.name = f"written{next(NUMBERS)}"
        self.folder = folder / self.name

    def write(self, **modules: str) -> Package:
        """Modules by name; `PKG` in them stands for the package."""
        for name, text in {"__init__": "", **modules}.items():
            path = self.folder / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PKG", self.name))
        return self

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.folder / f"{module}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new.replace("PKG", self.name)))

    def load(self, module: str) -> ModuleType:
        """As a new process would: nothing of the package is loaded before."""
        self.forget()
        importlib.invalidate_caches()
        return importlib.import_module(f"{self.name}.{module}")

    def forget(self) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == self.name]:
            del sys.modules[name]

    def short(self, code: Code) -> dict[str, str]:
        """Digests by names without the package's."""
        return {key.replace(f"{self.name}.", ""): value for key, value in code.definitions.items()}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
