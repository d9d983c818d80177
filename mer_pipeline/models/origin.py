"""The origin of a checkpoint: where its files are from, as `mer models fetch` writes it beside them.

The record is the file ORIGIN in the checkpoint's folder, and models.lock repeats it. It names the repository and the
commit, the licence, the SHA-256 of every file that was downloaded, and that of every file of the finished folder. With
it a later fetch, a bundle's reader and a person can tell whether the folder is still what was downloaded.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mer_pipeline.base.atomic import atomic_write
from mer_pipeline.models.checkpoint import VALUE_SUFFIXES
from mer_pipeline.store.fingerprint import sha256_of

NAME = "ORIGIN"  # has no suffix, so that it is none of the files that decide what a checkpoint computes


@dataclass(frozen=True)
class Origin:
    """Where the files of a checkpoint are from.

    Attributes:
        spec: the checkpoint's name in params.yaml.
        repository: its name on the hub, or of a release.
        commit: of the repository, or the tag of a release.
        licence: as the repository states it; None if it states none.
        downloaded: the SHA-256 of each downloaded file, by its name in the repository.
        files: the SHA-256 of each file of the folder, by name. Converted weights are here and not in `downloaded`.
    """

    spec: str
    repository: str
    commit: str
    licence: str | None
    downloaded: dict[str, str]
    files: dict[str, str]


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the record into the folder of a checkpoint."""
    atomic_write(folder / NAME, json.dumps(asdict(origin), indent=1, sort_keys=True) + "\n", durable=True)


def read_origin(folder: Path) -> Origin | None:
    """Return the record in the folder of a checkpoint; None if there is none, or it is not one that a fetch wrote.

    A record that names files elsewhere, or files that no checkpoint has, such as pickles, is none.
    """
    try:
        origin = Origin(**json.loads((folder / NAME).read_text(encoding="utf-8")))
        plain = all(Path(name).name == name and Path(name).suffix in VALUE_SUFFIXES for name in origin.files)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return origin if plain and origin.files else None


def differing(folder: Path, origin: Origin) -> list[str]:
    """Return the names of the files in a folder that are missing or are not those of the record."""
    return [
        name
        for name, sha256 in sorted(origin.files.items())
        if not (folder / name).is_file() or sha256_of(folder / name) != sha256
    ]
