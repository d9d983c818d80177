"""What a store knows of one transform: which rows are there, which inputs are broken; nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.store.forget import forget
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import stage_schema


class KnownRows:
    """Rows by what they are made from.

    Args:
        store: where packs are; None: nowhere, and nothing is known.
        transform: whose rows.
        device: kind of device that it runs on ("any" where that does not matter).

    Attributes:
        fingerprint: of the transform.
        name: of the transform.
        schema: of its table.

    Raises:
        StoreError: the store cannot be reached.
    """

    def __init__(self, store: Store | None, transform: Transform[Item], device: str) -> None:
        self.fingerprint = fingerprint_of(transform, device)
        self.name, self.schema = transform.name, stage_schema(transform.schema)
        self._store = store
        self._packs = None if store is None else store.pack_set(self.name, self.fingerprint, self.schema)

    @property
    def has_store(self) -> bool:
        """Whether anything is remembered at all."""
        return self._packs is not None

    @property
    def written(self) -> int:
        """Bytes of packs written."""
        return 0 if self._packs is None else self._packs.written

    @property
    def set_aside(self) -> Mapping[str, str]:
        """Packs that could not be trusted, and why."""
        return {} if self._packs is None else self._packs.set_aside

    def knows(self, input_digests: Sequence[str]) -> list[bool]:
        """Whether each input's row is in the store, or the input is known to be broken."""
        if self._packs is None:
            return [False] * len(input_digests)
        found = (self._packs.find(input_digests) >= 0).tolist()
        return [known or key in self._packs.problems for known, key in zip(found, input_digests, strict=True)]

    def problem(self, input_digest: str) -> tuple[str, str] | None:
        """Error class and message of an input that is broken for good."""
        return None if self._packs is None else self._packs.problems.get(input_digest)

    def digests(self, input_digests: Sequence[str]) -> list[str | None]:
        """Digests of the rows that the store has, None for the others; nothing is read."""
        found: list[str | None] = [None] * len(input_digests)
        if self._packs is not None:
            places = self._packs.find(input_digests)
            at = np.flatnonzero(places >= 0)
            for index, value in zip(at, self._packs.digests(places[at]), strict=True):
                found[index] = value
        return found

    def stored_parts(self) -> Mapping[str, str] | None:
        """The parts of the fingerprint that this transform's rows were last kept under; None where there are none."""
        if self._store is None or self._packs is None:
            return None
        if len(self._packs):
            return self.fingerprint.parts
        for other in self._store.fingerprints(self.name):
            parts = self._store.parts(self.name, other)
            if parts is not None and other != self.fingerprint.id:
                return parts
        return None

    def forget_problems(self, input_digests: Iterable[str]) -> int:
        """No longer remember that these inputs are broken; how many were."""
        return 0 if self._packs is None else self._packs.forget_problems(input_digests)

    def forget(self, input_digests: Sequence[str] | None = None) -> int:
        """No longer have the rows of these inputs, or any row, and nothing of what is broken; how many rows there were.

        Raises:
            ReadOnlyStore, StoreError: they cannot be taken out.
        """
        return 0 if self._packs is None else forget(self._packs, input_digests)
