"""Files that appear whole under their name, or not at all: written under another name, then renamed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path, *, shared: bool = False, durable: bool = False) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and goes when it does not.

    Args:
        path: what is replaced, or new; its folder must be there.
        shared: other processes may write it at the same time. Without that the temporary name is always the same, so
            that what a kill leaves behind is written over by the next who writes the file.
        durable: it is on disk when this returns, whatever happens to the machine then.

    Raises:
        OSError: it cannot be written.
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
    """Write a file, and the folders above it where there are none. Text is written as UTF-8, as it stands.

    Args:
        path: where.
        data: its content.
        shared, durable: as `replacing`.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, shared=shared, durable=durable) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
