"""Replies on disk the moment they come, so that not even `kill -9` makes anybody pay for one twice.

The store keeps rows in packs, at most some seconds apart; until then a line here stands for each. Every process
writes a file of its own and all files are read; a line that was cut is no line. Once the rows are in the store,
the lines go.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from mer_pipeline.clips import Row

JOURNAL = Path(".mer/journal")


class Journal:
    """Rows by the hash of what was asked.

    Args:
        folder: of the journal; made with the first line.
    """

    def __init__(self, folder: Path = JOURNAL) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._read: list[Path] = []
        self._rows: dict[str, Row] = {}
        for path in sorted(folder.glob("*.jsonl")):
            self._read.append(path)
            for line in path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                    self._rows[entry["asked"]] = entry["row"]
                except (ValueError, KeyError, TypeError):  # the process was killed while it wrote
                    continue

    def get(self, asked: str) -> Row | None:
        """The row of an earlier run that was not finished."""
        return self._rows.get(asked)

    def add(self, asked: str, row: Row) -> None:
        """Write a row; it outlives this process when this returns."""
        line = json.dumps({"asked": asked, "row": row}).encode() + b"\n"
        with self._lock:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / f"{uuid.uuid4().hex}.jsonl"
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                fcntl.flock(self._file, fcntl.LOCK_EX)  # says that somebody is still writing; a kill ends it
                self._read.append(path)
            os.write(self._file, line)
            self._rows[asked] = row

    def clear(self) -> None:
        """Remove what was read and written; the store has it now. Files of those that still run stay."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            for path in self._read:
                with suppress(OSError), path.open("rb") as file:  # gone, or locked
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
            self._read.clear()
