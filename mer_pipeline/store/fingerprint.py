"""The fingerprint of a transform: everything but the clip that decides what a row will be.

params, files (weights, tokenisers, prompts), code by definition (`code/`), the libraries that the code uses,
device kind, precision, thread count, batch rows and the instruction set. The parts are kept beside the packs, so
that `mer explain` can say which of them changed. Not in it: workers, batch size, paths, the engines, and libraries
that only carry values about.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mer_pipeline.base import numerics
from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.base.errors import Undigestible
from mer_pipeline.base.runtime import INTRA_OP_THREADS
from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.config.project import Project
from mer_pipeline.store.code import code_of
from mer_pipeline.store.code.libraries import versions_of
from mer_pipeline.store.code.options import options_of
from mer_pipeline.tables.rows import digest

FORMAT = 2  # of the packs and of how rows become Arrow: raised when either changes what is read

TOLD = ("params", "schema")  # attributes of a transform that have parts of their own

EXTERNAL_RESPONSE = "bought"  # the part that says that rows are responses of an outside service

HASHES = Project().state / "hashes.json"
WORTH_REMEMBERING = 1 << 20  # bytes; smaller files are hashed again each time


@dataclass(frozen=True)
class Fingerprint:
    """Named parts, such as "params.dim", "library.numpy" or "code.mer_pipeline.vision.frames.choose"."""

    parts: Mapping[str, str]

    @cached_property
    def id(self) -> str:
        """32 hex digits."""
        return digest(self.parts)

    def provenance(self) -> dict[str, str]:
        """What a shard's footer says of it: all parts in short, the code as one digest."""
        code = {name: value for name, value in self.parts.items() if name.startswith("code.")}
        others = {name: value for name, value in self.parts.items() if name not in code}
        return {
            "fingerprint": self.id,
            "parts": json.dumps({**others, "code": digest(code)}, sort_keys=True, ensure_ascii=False),
        }


def fingerprint_of(transform: Transform[Item], device: str) -> Fingerprint:
    """The fingerprint of a transform on a device kind ("cpu" or "cuda"; any, where it does not use torch).

    Raises:
        OSError: one of its files cannot be read.
        Undigestible: something that it holds, or that its code has or reads, cannot be digested.
    """
    own, files = transform.key(), transform.files()
    # A checkpoint's files are there by content; where they lie does not matter.
    params = options_of(transform.params, {"checkpoint"} if files else frozenset())
    told = {*TOLD, *own}
    parts = {
        **(
            {"format": str(FORMAT), EXTERNAL_RESPONSE: "true"}
            if transform.external_response
            else code_parts(transform, told=told, on_gpu=device == "cuda")
        ),
        **({} if transform.version == 1 else {"version": str(transform.version)}),
        "schema": str(transform.schema),
        "sources": str([(source.table, source.columns) for source in transform.sources]),
        **{f"params.{name}": json.dumps(value) for name, value in params.items()},
        **{f"file.{name}": sha256_of(path) for name, path in names_of(files).items()},
        **{f"key.{name}": _said(transform, name, value) for name, value in own.items()},
    }
    if transform.uses_torch:
        parts |= {"device": device, "precision": "float32", "threads": str(INTRA_OP_THREADS)}
        parts["rows"] = str(transform.batch_rows)
    return Fingerprint(dict(sorted(parts.items())))


def _said(transform: Transform[Item], name: str, value: object) -> str:
    try:
        return digest(value)
    except TypeError as error:
        raise Undigestible(f"{type(transform).__name__}.key()['{name}']: {error}") from None


def code_parts(*roots: object, told: Collection[str] = (), on_gpu: bool = False) -> dict[str, str]:
    """The parts of a fingerprint that come from code: its definitions, package data, and libraries.

    Args:
        roots: objects, functions and classes that make the rows.
        told: attributes of the roots that the caller digests itself.
        on_gpu: whether they compute on a GPU.

    Raises:
        Undigestible: what a root holds, or its code has or reads, cannot be digested.
    """
    code = code_of(*roots, told=told)
    return {
        "format": str(FORMAT),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{f"data.{name}": sha256_of(path) for name, path in data_names(code.files).items()},
        **{f"library.{name}": version for name, version in versions_of(code.libraries, on_gpu=on_gpu).items()},
        "numerics": numerics.key(),
        **{f"code.{name}": value for name, value in code.definitions.items()},
    }


def names_of(files: Sequence[Path]) -> dict[str, Path]:
    """Files by their paths relative to the folder that they have in common, so that its own name does not matter.

    Where no file lies directly in that folder they come from several places, such as two checkpoints side by side.
    Each place is then called by its number, in the order of `files`, and its files by their paths in what they share.
    """
    common = _common_folder(files)
    places: dict[str, list[Path]] = {}
    for path in files:
        places.setdefault(path.absolute().relative_to(common).parts[0], []).append(path)
    if any(path.absolute().parent == common for path in files) or len(places) < 2:
        return {str(path.absolute().relative_to(common)): path for path in files}
    return {
        f"{number}/{path.absolute().relative_to(_common_folder(place))}": path
        for number, place in enumerate(places.values(), 1)
        for path in place
    }


def _common_folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([path.absolute().parent for path in files])) if files else Path("/")


def data_names(files: Iterable[Path]) -> dict[str, Path]:
    """Package data by its path from the folder above its package, so that it is the same wherever the package lies."""
    names: dict[str, Path] = {}
    for path in files:
        packages = [folder for folder in path.parents if (folder / "__init__.py").exists()]
        name = str(path.relative_to((packages[-1] if packages else path.parent).parent))
        while name in names:  # two folders of one name
            name += "'"
        names[name] = path
    return names


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """The parts in which two fingerprints differ: name to (before, after), None where one lacks it."""
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def sha256_of(path: Path) -> str:
    """Hash of a file; of a large one it is remembered as long as size, times and inode stay what they were."""
    state = path.stat()
    if state.st_size < WORTH_REMEMBERING:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    # The change time is set by the system at every write, so that an altered file cannot pass for the old one.
    mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    known = _known_hashes()
    entry = known.get(str(path.absolute()))
    if isinstance(entry, list) and entry[:-1] == mark:
        return str(entry[-1])
    with path.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    known[str(path.absolute())] = [*mark, value]
    with suppress(OSError):  # only a shortcut
        atomic_write(HASHES, json.dumps(known), shared=True)
    return value


def _known_hashes() -> dict[str, list[object]]:
    try:
        known = json.loads(HASHES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
