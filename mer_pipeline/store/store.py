"""The store: all computed rows, by the fingerprint of their transform and by their input digest.

<store>/packs/<transform>/<fingerprint>/<sha256 of the content>.parquet            rows, by input digest
                                        <sha256>.problems.parquet                  inputs that are known to be broken
                                        <sha256>.index                             which pack has which row
                                        fingerprint.json                           the fingerprint's parts
<store>/aside/<transform>/<fingerprint>/...                                        damaged packs, which are not used
"""

from __future__ import annotations

import json

import pyarrow as pa

from mer_pipeline.store.fingerprint import Fingerprint
from mer_pipeline.store.packs import PACKS, PARTS, PackSet
from mer_pipeline.store.root import Info, StorageRoot


class Store:
    """A store.

    Args:
        url: the storage root, a path or an fsspec URL.

    Raises:
        UsageError: the URL's protocol is unknown, or the library for it is not installed.
    """

    def __init__(self, url: str) -> None:
        self.root = StorageRoot(url)

    def pack_set(self, transform: str, fingerprint: Fingerprint, schema: pa.Schema) -> PackSet:
        """Open the pack set of one transform with one fingerprint.

        Args:
            transform: the transform's name.
            fingerprint: the transform's fingerprint.
            schema: the schema of its rows, as `stage_schema` gives it.

        Raises:
            StoreError: the store cannot be reached.
        """
        return PackSet(self.root, transform, fingerprint, schema)

    def transforms(self) -> list[str]:
        """Return the names of the transforms that have rows in this store."""
        return self.root.folders(PACKS)

    def fingerprints(self, transform: str) -> list[str]:
        """Return the ids of a transform's fingerprints; the one that was used last is the first."""
        used = {name: self.last_used(transform, name) for name in self.root.folders(f"{PACKS}/{transform}")}
        return sorted(used, key=lambda name: (-used[name], name))

    def last_used(self, transform: str, fingerprint: str) -> float:
        """Return when a pack set was last opened for writing, in seconds since 1970, exact to about a day."""
        files = self.files(transform, fingerprint)
        return max((info.written for name, info in files.items()), default=0.0)

    def files(self, transform: str, fingerprint: str) -> dict[str, Info]:
        """Return all files of a pack set, by name."""
        return self.root.files(f"{PACKS}/{transform}/{fingerprint}")

    def parts(self, transform: str, fingerprint: str) -> dict[str, str] | None:
        """Return the parts of a stored fingerprint; None if their file is missing or damaged."""
        try:
            parts = json.loads(self.root.read(f"{PACKS}/{transform}/{fingerprint}/{PARTS}"))
        except (FileNotFoundError, ValueError):
            return None
        return {key: str(value) for key, value in parts.items()} if isinstance(parts, dict) else None
