"""The fingerprint of a transform: a digest of everything besides the clip that decides the values of a row.

Its parts are the params, the files (weights, tokenisers, prompts), the definitions in the code (`code/`), the libraries
that the code uses, the kind of device, the precision, the number of threads, the batch rows and the instruction set.
The parts are kept beside the packs, so that `mer explain` can say which of them changed. Workers, batch size, paths,
engines, and libraries that only pass values on are not parts, because they do not change a row.
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

FORMAT = 2  # version of the packs' format and of the conversion of rows to Arrow; raised when stored rows change

TOLD = ("params", "schema")  # attributes of a transform that are parts of their own, so the code part leaves them out

EXTERNAL_RESPONSE = "bought"  # name of the part that marks external responses

HASHES = Project().state / "hashes.json"
WORTH_REMEMBERING = 1 << 20  # bytes; smaller files are hashed again each time


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of a transform on one kind of device.

    Attributes:
        parts: values by name, such as "params.dim", "library.numpy" or "code.mer_pipeline.vision.frames.choose".
    """

    parts: Mapping[str, str]

    @cached_property
    def id(self) -> str:
        """The digest of all parts, 32 hexadecimal digits."""
        return digest(self.parts)

    def provenance(self) -> dict[str, str]:
        """Return the entries of a shard's footer: the id, and all parts with the code as one digest."""
        code = {name: value for name, value in self.parts.items() if name.startswith("code.")}
        others = {name: value for name, value in self.parts.items() if name not in code}
        return {
            "fingerprint": self.id,
            "parts": json.dumps({**others, "code": digest(code)}, sort_keys=True, ensure_ascii=False),
        }


def fingerprint_of(transform: Transform[Item], device: str) -> Fingerprint:
    """Return the fingerprint of a transform.

    Args:
        transform: the transform.
        device: the kind of device, "cpu" or "cuda"; it does not count if the transform does not use torch.

    Raises:
        OSError: one of the transform's files cannot be read.
        Undigestible: an attribute of the transform, or a value that its code has or reads, cannot be digested.
    """
    own, files = transform.key(), transform.files()
    # The files of a checkpoint enter by their content, so the param that says where they lie is left out.
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
        parts["rows"] = str(transform.rows_on(device))
    return Fingerprint(dict(sorted(parts.items())))


def _said(transform: Transform[Item], name: str, value: object) -> str:
    try:
        return digest(value)
    except TypeError as error:
        raise Undigestible(f"{type(transform).__name__}.key()['{name}']: {error}") from None


def code_parts(*roots: object, told: Collection[str] = (), on_gpu: bool = False) -> dict[str, str]:
    """Return the parts of a fingerprint that come from code: its definitions, package data and libraries.

    Args:
        roots: the objects, functions and classes that make the rows.
        told: attributes of the roots that the caller digests itself.
        on_gpu: whether the code computes on a GPU.

    Raises:
        Undigestible: an attribute of a root, or a value that its code has or reads, cannot be digested.
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
    """Return files by names that do not depend on where they lie.

    The name of a file is its path relative to the common folder of all files. If no file lies directly in that folder,
    the files come from several places, such as two checkpoints side by side. A name then begins with the number of the
    place, in the order of `files`, and goes on with the path relative to the common folder of that place.

    Example:
        >>> list(names_of([Path("/m/clip/config.json"), Path("/m/clip/weights/a.bin")]))
        ['config.json', 'weights/a.bin']
        >>> list(names_of([Path("/m/clip/config.json"), Path("/m/bert/config.json")]))
        ['1/config.json', '2/config.json']
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
    """Return files of package data by their paths from the folder above their top-level package.

    These names are the same wherever the package is installed.
    """
    names: dict[str, Path] = {}
    for path in files:
        packages = [folder for folder in path.parents if (folder / "__init__.py").exists()]
        name = str(path.relative_to((packages[-1] if packages else path.parent).parent))
        while name in names:  # two folders of one name
            name += "'"
        names[name] = path
    return names


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Return the parts in which two fingerprints differ, as (before, after) by name; None where a part is missing.

    Example:
        >>> changed_parts({"python": "3.11", "rows": "8"}, {"python": "3.12", "rows": "8"})
        {'python': ('3.11', '3.12')}
    """
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def sha256_of(path: Path) -> str:
    """Return the SHA-256 hash of a file, as hexadecimal text.

    The hash of a large file is remembered for as long as the file's size, times and inode do not change.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    if state.st_size < WORTH_REMEMBERING:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    # The system sets the change time at every write, so a changed file is always noticed.
    mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    known = _known_hashes()
    entry = known.get(str(path.absolute()))
    if isinstance(entry, list) and entry[:-1] == mark:
        return str(entry[-1])
    with path.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    known[str(path.absolute())] = [*mark, value]
    with suppress(OSError):  # the remembered hashes only save time
        atomic_write(HASHES, json.dumps(known), shared=True)
    return value


def _known_hashes() -> dict[str, list[object]]:
    try:
        known = json.loads(HASHES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
