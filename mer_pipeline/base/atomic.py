"""Write files and folders atomically: they are made under a temporary name and then renamed.

They therefore appear under their own name complete or not at all. Each process has temporary names of its own, so two
runs at once do not share one. The process holds a lock on the temporary name, and the lock ends with the process: what
no process holds was left behind by a kill, and `sweep` removes it.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path, *, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path, which is renamed to `path` when the block succeeds and removed when it raises.

    Args:
        path: the file, which may exist already; its folder must exist.
        shared: whether the folder has many files and many writers; what kills left behind is then not looked for.
        durable: whether the content must be on disk when the block ends, so that a crash of the machine cannot lose it.

    Yields:
        The temporary path, in the folder of `path`.

    Raises:
        OSError: the file cannot be written.
    """
    if not shared:
        sweep(path.parent, path.name)
    with claimed(path, lambda temporary: temporary.touch(exist_ok=False)) as temporary:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)


def atomic_write(path: Path, data: bytes | str, *, shared: bool = False, durable: bool = False) -> None:
    """Write a file atomically, and make the folders above it where they are missing.

    Args:
        path: the file.
        data: its content; text is encoded as UTF-8, and its line ends are not changed.
        shared, durable: as in `replacing`.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, shared=shared, durable=durable) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def left_behind(folder: Path, name: str | None = None) -> Iterator[Path]:
    """Find what killed runs left directly in a folder: temporary files and folders that no process holds.

    Args:
        folder: where; it need not be there.
        name: only what was to become this; None: whatever it was to become.

    Yields:
        One path after another. This process holds each until the next one is asked for.
    """
    pattern = f".*{TEMPORARY}" if name is None else f".{glob.escape(name)}.*{TEMPORARY}"
    for path in folder.glob(pattern):
        with suppress(OSError):
            found = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an error where a process holds it
                yield path
            finally:
                os.close(found)


def sweep(folder: Path, name: str | None = None) -> list[Path]:
    """Remove what killed runs left directly in a folder.

    Args:
        folder, name: as in `left_behind`.

    Returns:
        What was removed.
    """
    removed = []
    for path in left_behind(folder, name):
        _remove(path)
        removed += [] if path.exists() else [path]
    return removed


@contextmanager
def claimed(path: Path, make: Callable[[Path], object]) -> Iterator[Path]:
    """A temporary file or folder beside a path that is this process's own. Where it is still there in the end, it goes.

    Args:
        path: what it is to become; that is left to the block.
        make: makes it.

    Raises:
        OSError: it cannot be made.
    """
    temporary, held = _make(path, make)
    try:
        yield temporary
    finally:
        _remove(temporary)
        os.close(held)


def _make(path: Path, make: Callable[[Path], object]) -> tuple[Path, int]:
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY}")
        make(temporary)
        with suppress(FileNotFoundError):
            held = os.open(temporary, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: nothing there is ever taken for left behind
                fcntl.flock(held, fcntl.LOCK_EX)
            if temporary.exists():
                return temporary, held
            os.close(held)  # another process swept it away before it was held


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
