"""The store: rows that were computed once, by what they were made from and by what made them.

<store>/packs/<transform>/<fingerprint>/<sha256 of the content>.parquet            rows, by input digest
                                        <sha256>.problems.parquet                  clips found broken
                                        <sha256>.index                             which pack has which row
                                        fingerprint.json                           the fingerprint's parts
<store>/aside/<transform>/<fingerprint>/...                                        packs that could not be trusted
"""

from __future__ import annotations

import json

import pyarrow as pa

from mer_pipeline.store.fingerprint import Fingerprint
from mer_pipeline.store.packs import PACKS, PARTS, PackSet
from mer_pipeline.store.root import Info, StorageRoot


class Store:
    """A folder of packs, at an fsspec URL.

    Raises:
        UsageError: the URL is of no known kind.
    """

    def __init__(self, url: str) -> None:
        self.root = StorageRoot(url)

    def pack_set(self, transform: str, fingerprint: Fingerprint, schema: pa.Schema) -> PackSet:
        """The rows of one transform at one fingerprint.

        Args:
            transform: its name.
            fingerprint: of the transform.
            schema: of its rows, as `stage_schema` gives it.

        Raises:
            StoreError: the store cannot be reached.
        """
        return PackSet(self.root, transform, fingerprint, schema)

    def transforms(self) -> list[str]:
        """Names of the transforms that have rows here."""
        return self.root.folders(PACKS)

    def fingerprints(self, transform: str) -> list[str]:
        """Ids of a transform's fingerprints, the one last used first."""
        used = {name: self.last_used(transform, name) for name in self.root.folders(f"{PACKS}/{transform}")}
        return sorted(used, key=lambda name: (-used[name], name))

    def last_used(self, transform: str, fingerprint: str) -> float:
        """When a pack set was last opened to be written, to the day; seconds since 1970."""
        files = self.files(transform, fingerprint)
        return max((info.written for name, info in files.items()), default=0.0)

    def files(self, transform: str, fingerprint: str) -> dict[str, Info]:
        """All files of a pack set."""
        return self.root.files(f"{PACKS}/{transform}/{fingerprint}")

    def parts(self, transform: str, fingerprint: str) -> dict[str, str] | None:
        """The parts of a stored fingerprint, or None where they are lost."""
        try:
            parts = json.loads(self.root.read(f"{PACKS}/{transform}/{fingerprint}/{PARTS}"))
        except (FileNotFoundError, ValueError):
            return None
        return {key: str(value) for key, value in parts.items()} if isinstance(parts, dict) else None
