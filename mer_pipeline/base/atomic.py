"""Write files atomically: a file is written under a temporary name and then renamed.

A file therefore appears under its own name complete or not at all.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path, *, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path, which is renamed to `path` when the block succeeds and removed when it raises.

    Args:
        path: the file, which may exist already; its folder must exist.
        shared: whether other processes may write the file at the same time; each then has a temporary name of its
            own. Otherwise the temporary name is always the same, so that the next writer of the file overwrites what
            a killed process left behind.
        durable: whether the content must be on disk when the block ends, so that a crash of the machine cannot lose it.

    Yields:
        The temporary path, in the folder of `path`.

    Raises:
        OSError: the file cannot be written.
    """
    name = f".{uuid.uuid4().hex}{TEMPORARY}" if shared else f".{path.name}{TEMPORARY}"
    temporary = path.with_name(name)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


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
