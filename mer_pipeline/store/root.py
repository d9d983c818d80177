"""A store's folder at any fsspec URL: a local path, a network file system, `s3://bucket/prefix`.

What is written appears whole under its name or not at all: renamed on file systems, put in one request on
object stores. Nothing is ever changed in place, so no locks are needed however many processes write.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mer_pipeline.base.atomic import TEMPORARY, replacing
from mer_pipeline.base.errors import ReadOnlyStore, StageError, StoreError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_FICLONE = 0x40049409  # Linux: share the blocks of another file


@dataclass(frozen=True)
class Info:
    """A file in a listing: its size in bytes, and when it was written, in seconds since 1970."""

    size: int
    written: float


class TornFile(Exception):
    """A reader says that a file is not what it should be; pyarrow has OSError for that, without a number."""


class StorageRoot:
    """A folder; names within it are relative and use "/".

    Raises:
        UsageError: the URL's protocol is unknown or its library is not installed.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.url = url
        try:
            # Another process may write at any time, so no listing may be remembered.
            self._fs, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError as error:
            raise UsageError(f"store '{url}': {error}; for s3:// install mer-pipeline[s3]") from None
        except ValueError as error:
            raise UsageError(f"store '{url}': {error}") from None
        self.root = root.rstrip("/")
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def __str__(self) -> str:
        return self.url

    @property
    def fs(self) -> AbstractFileSystem:
        """The file system, for readers that take one."""
        return self._fs

    def path(self, name: str) -> str:
        """A name's path on the file system."""
        return f"{self.root}/{name}" if name else self.root

    def local(self, name: str) -> Path | None:
        """The path of a name, where it is one of this machine's."""
        return Path(self.path(name)) if self.is_local else None

    def files(self, folder: str = "") -> dict[str, Info]:
        """Files directly in a folder; nothing where there is none."""
        return {name: info for name, info in self._entries(folder) if info is not None}

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly in a folder, sorted."""
        return sorted(name for name, info in self._entries(folder) if info is None)

    def read(self, name: str) -> bytes:
        """A file's bytes.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read.
        """
        with self._errors():
            data = self._fs.cat_file(self.path(name))
            assert isinstance(data, bytes)
            return data

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file for readers that seek, such as Parquet's; what such a reader finds wrong in it stays as it is.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read.
        """
        with self._errors(), self._fs.open(self.path(name), "rb") as file:
            try:
                yield file
            except OSError as error:
                if error.errno is None and not isinstance(error, PermissionError):
                    raise TornFile(str(error)) from None
                raise

    def write(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all; one that is there already is replaced.

        Raises:
            ReadOnlyStore: this process may not write here.
            StoreError: the disk is full, or the store cannot be reached.
        """
        with self._errors():
            path = self.local(name)
            if path is None:
                try:
                    self._fs.pipe_file(self.path(name), data)
                except FileNotFoundError as error:
                    raise StoreError(f"store {self}: {error}; make the bucket first") from None
                return
            _make_folders(path.parent)
            with replacing(path, shared=True) as temporary:
                temporary.write_bytes(data)
                _share(temporary)

    def remove(self, name: str) -> None:
        """Remove a file or a folder; nothing happens where there is none.

        Raises:
            ReadOnlyStore, StoreError: as `write`.
        """
        with self._errors(), suppress(FileNotFoundError):
            self._fs.rm(self.path(name), recursive=True)

    def move(self, name: str, to: str) -> None:
        """Rename a file.

        Raises:
            ReadOnlyStore, StoreError: as `write`.
        """
        with self._errors(), suppress(FileNotFoundError):
            path, target = self.local(name), self.local(to)
            if path is not None and target is not None:
                _make_folders(target.parent)
                path.replace(target)
            else:
                self._fs.mv(self.path(name), self.path(to))

    def _entries(self, folder: str) -> Iterator[tuple[str, Info | None]]:
        with self._errors():
            try:
                found = self._fs.ls(self.path(folder), detail=True)
            except FileNotFoundError:
                return
            except NotADirectoryError:
                raise StoreError(f"store {self}: {self.path(folder)} is a file and no folder") from None
        for entry in found:
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if str(entry["name"]).rstrip("/") == self.path(folder):
                continue  # object stores list the prefix itself
            is_folder = entry["type"] == "directory"
            yield name, None if is_folder else Info(int(entry["size"] or 0), _time(entry))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What goes wrong, as one sentence each."""
        try:
            yield
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise ReadOnlyStore(f"store {self}: no permission ({error.filename or error})") from None
        except OSError as error:
            if error.errno == errno.EROFS:
                raise ReadOnlyStore(f"store {self} is read-only") from None
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreError(
                    f"no space is left in the store {self}; what was finished before is kept: make space "
                    "(`mer store gc`), or set MER_STORE to another place, and run the same command to go on"
                ) from None
            raise StoreError(f"store {self}: {error}") from None
        except _client_errors() as error:
            raise StoreError(f"store {self}: {' '.join(str(error).split())}") from None


def clone(data: bytes, source: Path | None, target: Path) -> None:
    """Write `data`, which is the content of `source` where that is given, sharing its blocks where the disk can."""
    with target.open("wb") as out:
        if source is not None:
            with suppress(OSError), source.open("rb") as file:
                fcntl.ioctl(out.fileno(), _FICLONE, file.fileno())
                if os.fstat(out.fileno()).st_size == len(data):
                    return
        out.truncate(0)
        out.write(data)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """A full or write-protected disk below a folder as one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StageError(
                f"no space is left on the disk of {folder}; what was computed is in the store: make space, and run "
                "the same command to go on"
            ) from None
        if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise StageError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
        raise


def free_bytes(folder: Path) -> int:
    """Space that is left on the disk of a folder, which need not exist yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents, each with its parent's permissions.

    Then a team needs to prepare only the topmost one (`chmod g+ws`), whatever the umasks of its members.
    """
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    # One name for each user: what a kill leaves behind becomes the folder of the next who needs it.
    temporary = folder.with_name(f".{folder.name}.{os.getuid()}{TEMPORARY}")
    try:
        temporary.mkdir(exist_ok=True)
        _share(temporary)  # before anybody can see it under its name
        if folder.is_dir():  # a rename would take its place while it is empty, and who makes a file there would fail
            raise FileExistsError(folder)
        temporary.rename(folder)
    except OSError:
        with suppress(OSError):
            temporary.rmdir()
        if not folder.is_dir():  # else another process was first
            raise


def _share(path: Path) -> None:
    """Give what was made in a team's folder the folder's permissions; the umask may have taken the group's away."""
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    if mode & stat.S_ISGID:
        path.chmod(mode if path.is_dir() else mode & 0o666)


def _time(entry: dict[str, object]) -> float:
    for key in ("mtime", "LastModified", "last_modified", "created"):
        value = entry.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0


def _client_errors() -> tuple[type[Exception], ...]:
    """What an object store's client raises beside OSError; none where it is not installed."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return ()
    return (BotoCoreError, ClientError)
