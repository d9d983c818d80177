"""Run stages in the current folder, and print as JSON which paths of the project each one was handed.

python -m tests.recorded ingest frames embed:words
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import mer_pipeline.config.project

Project = mer_pipeline.config.project.Project
ROOT = Path(__file__).resolve().parent.parent


class Recording(Project):
    """A project that notes each path that it gives away, and none that it asks itself for."""

    handed: ClassVar[set[str]] = set()
    depth = 0

    def __getattribute__(self, name: str) -> object:
        """Note a path, or what a method gives."""
        kind = type(self)
        kind.depth += 1
        try:
            value = super().__getattribute__(name)
        finally:
            kind.depth -= 1
        if kind.depth or name in {"root", "name_of"}:
            return value
        return kind.noting(value) if callable(value) else kind.note(value)

    @classmethod
    def noting(cls, method: Callable[..., object]) -> Callable[..., object]:
        """The method, whose result is noted."""

        def noted(*words: object) -> object:
            cls.depth += 1
            try:
                value = method(*words)
            finally:
                cls.depth -= 1
            return cls.note(value)

        return noted

    @classmethod
    def note(cls, value: object) -> object:
        """Remember a path."""
        if isinstance(value, Path):
            cls.handed.add(value.as_posix())
        return value


def main() -> None:
    """See the module."""
    mer_pipeline.config.project.Project = Recording  # type: ignore[misc]
    found = {}
    for words in sys.argv[1:]:
        stage, _, name = words.partition(":")
        script = str(ROOT / f"stages/{stage}.py")
        sys.argv = [script, *([name] if name else [])]
        run = runpy.run_path(script)["main"]
        Recording.handed.clear()
        run(*sys.argv[1:])
        found[words] = sorted(Recording.handed)
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
