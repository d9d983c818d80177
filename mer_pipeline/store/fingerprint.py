"""The fingerprint of a transform: everything but the clip that decides what a row will be.

params, files (weights, tokenisers, prompts), code by definition (`code/`), the libraries that the code uses,
device kind, precision, thread count and batch rows. The parts are kept beside the packs, so that `mer explain` can
say which of them changed. Not in it: workers, batch size, paths, the engines, and libraries that
only carry values about.
"""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

from mer_pipeline.runtime import INTRA_OP_THREADS
from mer_pipeline.store.code import code_of
from mer_pipeline.tables.rows import digest
from mer_pipeline.transform import Item, Transform

FORMAT = 2  # of the packs and of how rows become Arrow: raised when either changes what is read

EXTERNAL_RESPONSE = "external_response"  # the part that says that rows are responses of an outside service

# They check, print, store or log and compute no value: a new version of them re-uses everything.
CARRIERS = frozenset({"fsspec", "jinja2", "pyarrow", "pydantic", "rich", "ruamel", "typer", "typing_extensions"})

# What computes in a library's name.
BEHIND = {
    "facenet_pytorch": ("torch", "torchvision", "numpy", "PIL"),
    "open_clip": ("torch", "torchvision", "PIL"),
    "sklearn": ("numpy", "scipy"),
    "torchaudio": ("torch",),
    "torchvision": ("torch", "PIL"),
    "transformers": ("torch", "tokenizers", "numpy", "PIL"),
}

DISTRIBUTIONS = {"facenet_pytorch": "facenet-pytorch", "open_clip": "open_clip_torch", "sklearn": "scikit-learn"}

HASHES = Path(".mer/hashes.json")
WORTH_REMEMBERING = 1 << 20  # bytes; smaller files are hashed again each time


@dataclass(frozen=True)
class Fingerprint:
    """Named parts, such as "params.dim", "library.numpy" or "code.mer_pipeline.vision.frames.sample_indices"."""

    parts: Mapping[str, str]

    @cached_property
    def id(self) -> str:
        """32 hex digits."""
        return digest(self.parts)

    def with_rows(self, rows: int) -> Fingerprint:
        """The same transform with batches of another number of rows."""
        return Fingerprint({**self.parts, "rows": str(rows)})

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
    """
    # A checkpoint's files are there by content; where they lie does not matter.
    params = transform.params.model_dump(mode="json", exclude={"checkpoint"})
    parts = {
        **(
            {"format": str(FORMAT), EXTERNAL_RESPONSE: "true"} if transform.external_response else code_parts(transform)
        ),
        "schema": str(transform.schema),
        "sources": str([(source.table, source.columns) for source in transform.sources]),
        **{f"params.{name}": json.dumps(value) for name, value in params.items()},
        **{f"file.{path.name}": sha256_of(path) for path in transform.files()},
    }
    if transform.uses_torch:
        parts |= {"device": device, "precision": "float32", "threads": str(INTRA_OP_THREADS)}
        parts["rows"] = str(transform.batch_rows)
    return Fingerprint(dict(sorted(parts.items())))


def code_parts(*roots: object) -> dict[str, str]:
    """The parts of a fingerprint that come from code: its definitions, package data, and libraries."""
    code = code_of(*roots)
    libraries = set(code.libraries) - CARRIERS
    libraries |= {name for library in libraries for name in BEHIND.get(library, ())}
    return {
        "format": str(FORMAT),
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{f"data.{path.parent.name}/{path.name}": sha256_of(path) for path in code.files},
        **{f"library.{name}": version_of(name) for name in sorted(libraries)},
        **{f"code.{name}": value for name, value in code.definitions.items()},
    }


def changed_parts(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """The parts in which two fingerprints differ: name to (before, after), None where one lacks it."""
    names = sorted(before.keys() | after.keys())
    return {name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def version_of(library: str) -> str:
    """The installed version of an import name, and of the decoder that its wheel carries."""
    if library == "av":
        import av

        return f"{av.__version__} FFmpeg {av.ffmpeg_version_info}"
    if library == "PIL":
        from PIL import __version__, features

        return f"{__version__} libjpeg-turbo {features.version('libjpeg_turbo')}"
    try:
        return metadata.version(DISTRIBUTIONS.get(library, library))
    except metadata.PackageNotFoundError:  # the slow way, over everything that is installed
        return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(set(_distributions().get(library, ()))))


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
        HASHES.parent.mkdir(parents=True, exist_ok=True)
        temporary = HASHES.with_name(f".{uuid.uuid4().hex}.tmp")
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(HASHES)
    return value


def _known_hashes() -> dict[str, list[object]]:
    try:
        known = json.loads(HASHES.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
