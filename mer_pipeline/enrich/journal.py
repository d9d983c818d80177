"""The journal: it writes each reply to disk as soon as it comes, so that even `kill -9` loses none that was paid for.

The store writes rows in packs, every few seconds. Until then, the journal has a line for each reply. Every process
writes a file of its own, and reads the files of all. A line that was cut short is left out. A file is removed when a
store has all of its replies.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.config.project import Project

JOURNAL = Project().state / "journal"

Entry = Mapping[str, object]


@dataclass(frozen=True)
class _Line:
    """The place of an entry: its file and its bytes there. Entries are not held in memory: there may be 100,000."""

    path: Path
    start: int
    length: int


class Journal:
    """Entries on disk, by the hash of what was asked. Any thread may use it.

    Args:
        folder: the folder of the journal; made with the first entry.
        fits: says whether the caller can use an entry that was read; others are left out.
    """

    def __init__(self, folder: Path = JOURNAL, fits: Callable[[Entry], bool] = lambda entry: True) -> None:
        self._folder, self._fits = folder, fits
        self._lock = threading.Lock()
        self._file: int | None = None
        self._lines: dict[str, _Line] = {}
        self._lost: dict[str, Entry] = {}  # entries that could not be written
        self._paths: list[Path] = []
        for path in sorted(folder.glob("*.jsonl")):
            self._read(path)

    def __contains__(self, asked: str) -> bool:
        """Say whether there is an entry for the hash `asked`."""
        return asked in self._lines or asked in self._lost

    def get(self, asked: str) -> Entry | None:
        """Return the entry of this run, or of an earlier run that was not finished; None if there is none."""
        line = self._lines.get(asked)
        if line is None:
            return self._lost.get(asked)
        with line.path.open("rb") as file:
            file.seek(line.start)
            entry: Entry = json.loads(file.read(line.length))["row"]
        return entry

    def add(self, asked: str, entry: Entry) -> None:
        """Write an entry. After the call it is safe from the end of the process, unless the disk could not take it."""
        data = b"\n" + json.dumps({"asked": asked, "row": entry}).encode() + b"\n"  # the last line may be cut short
        with self._lock:
            try:
                file, path = self._open()
                start = os.lseek(file, 0, os.SEEK_END)
                written = 0
                while written < len(data):
                    written += os.write(file, data[written:])
            except OSError:
                self._lost[asked] = entry  # the store may still be able to write it
            else:
                self._lines[asked] = _Line(path, start + 1, len(data) - 2)

    def clear(self, done: Collection[str]) -> None:
        """Remove the files all of whose entries are in `done`, except those that another process still writes."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            left = {line.path for asked, line in self._lines.items() if asked not in done}
            for path in self._paths:
                if path not in left:
                    with suppress(OSError), path.open("rb") as file:  # gone, or locked
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()
            self._paths = [path for path in self._paths if path in left]
            self._lines = {asked: line for asked, line in self._lines.items() if line.path in left}

    def _open(self) -> tuple[int, Path]:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{uuid.uuid4().hex}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            fcntl.flock(self._file, fcntl.LOCK_EX)  # tells others that this file is in use, until the process ends
            self._paths.append(path)
        return self._file, self._paths[-1]

    def _read(self, path: Path) -> None:
        self._paths.append(path)
        start = 0
        for line in path.read_bytes().split(b"\n"):
            try:
                entry = json.loads(line)
                if isinstance(entry["row"], dict) and self._fits(entry["row"]):
                    self._lines[str(entry["asked"])] = _Line(path, start, len(line))
            except (ValueError, KeyError, TypeError):  # the process was killed while it wrote
                pass
            start += len(line) + 1
