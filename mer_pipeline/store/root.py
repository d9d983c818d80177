"""The folder or URL of a store: a local path, a network file system, or any fsspec URL such as `s3://bucket/prefix`.

A file appears under its name complete or not at all. On a file system it is renamed, and on an object store it is put
in one request. Files are never changed in place, so any number of processes can write without locks.
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
    """A file in a listing.

    Attributes:
        size: the size in bytes.
        written: when the file was written, in seconds since 1970.
    """

    size: int
    written: float


class TornFile(Exception):
    """A reader found that the content of a file is damaged. (pyarrow raises an OSError without a number for that.)"""


class StorageRoot:
    """The folder of a store. The names of files in it are relative paths with "/".

    Args:
        url: a path or an fsspec URL.

    Raises:
        UsageError: the URL's protocol is unknown, or the library for it is not installed.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.url = url
        try:
            # Another process may write at any time, so listings must not be cached.
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
        """The fsspec file system, for readers that need one."""
        return self._fs

    def path(self, name: str) -> str:
        """Return the path of a name on the file system."""
        return f"{self.root}/{name}" if name else self.root

    def local(self, name: str) -> Path | None:
        """Return the path of a name if the store is on this machine's file system, else None."""
        return Path(self.path(name)) if self.is_local else None

    def files(self, folder: str = "") -> dict[str, Info]:
        """Return the files directly in a folder, by name; nothing if there is no such folder."""
        return {name: info for name, info in self._entries(folder) if info is not None}

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        return sorted(name for name, info in self._entries(folder) if info is None)

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the file cannot be read.
        """
        with self._errors():
            data = self._fs.cat_file(self.path(name))
            assert isinstance(data, bytes)
            return data

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for a reader that seeks, such as that of Parquet.

        Raises:
            FileNotFoundError: there is no such file.
            StoreError: the file cannot be read.
            TornFile: the reader in the block raised an OSError without a number, because the content is damaged.
        """
        with self._errors(), self._fs.open(self.path(name), "rb") as file:
            try:
                yield file
            except OSError as error:
                if error.errno is None and not isinstance(error, PermissionError):
                    raise TornFile(str(error)) from None
                raise

    def write(self, name: str, data: bytes) -> None:
        """Write a file, complete or not at all. A file of that name is replaced.

        Raises:
            ReadOnlyStore: this process may not write to the store.
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
        """Remove a file or a folder. If there is none, nothing happens.

        Raises:
            ReadOnlyStore, StoreError: as in `write`.
        """
        with self._errors(), suppress(FileNotFoundError):
            self._fs.rm(self.path(name), recursive=True)

    def move(self, name: str, to: str) -> None:
        """Rename a file. If there is none, nothing happens.

        Raises:
            ReadOnlyStore, StoreError: as in `write`.
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
                continue  # the listing of an object store contains the folder itself
            is_folder = entry["type"] == "directory"
            yield name, None if is_folder else Info(int(entry["size"] or 0), _time(entry))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the file system or the store's client into StoreError, with a one-sentence message."""
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
                    f"no space is left in the store {self}; what was finished before is kept: make space (`mer store "
                    "gc`), or set MER_STORE to another place, and run the same command to go on"
                ) from None
            if error.errno == errno.ENOTDIR:
                raise StoreError(
                    f"store {self} is, or lies below, a file; name a folder (MER_STORE, .mer.toml)"
                ) from None
            raise StoreError(f"store {self}: {error}") from None
        except _client_errors() as error:
            raise StoreError(f"store {self}: {' '.join(str(error).split())}") from None


def clone(data: bytes, source: Path | None, target: Path) -> None:
    """Write a file whose content may be in another file already, and share disk blocks with that file if possible.

    Args:
        data: the content.
        source: a file with the same content; None if there is none.
        target: the file to write.
    """
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
    """Turn the errors of a full or write-protected disk into a StageError that names the folder."""
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
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents. In a team's folder, each gets the permissions of its parent.

    A team then sets those of the topmost folder only (`chmod g+ws`), whatever the umasks of its members are.
    """
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    # One name for each user: what a kill left behind is used the next time.
    temporary = folder.with_name(f".{folder.name}.{os.getuid()}{TEMPORARY}")
    try:
        temporary.mkdir(exist_ok=True)
        _share(temporary)  # before other processes can see the folder under its name
        # A rename would replace another process's folder while that is empty, and its next file could not be made.
        if folder.is_dir():
            raise FileExistsError(folder)
        temporary.rename(folder)
    except OSError:
        with suppress(OSError):
            temporary.rmdir()
        if not folder.is_dir():  # if it is there, another process made it first
            raise


def _share(path: Path) -> None:
    """Give a new file or folder the permissions of its folder if that is a team's (setgid), whatever the umask is."""
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
    """Return the exceptions that an object store's client raises besides OSError; none if it is not installed."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return ()
    return (BotoCoreError, ClientError)
