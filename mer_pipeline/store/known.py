"""Look up what a store has of one transform: its rows, and the inputs that are known to be broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mer_pipeline.base.transform import Item, Transform
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.store.forget import forget
from mer_pipeline.store.store import Store
from mer_pipeline.tables.rows import stage_schema


class KnownRows:
    """The rows of one transform in a store, by input digest.

    Args:
        store: the store; None: there is none, and no row is known.
        transform: the transform.
        device: the kind of device that it runs on; "any" if that does not matter.

    Attributes:
        fingerprint: the transform's fingerprint.
        name: the transform's name.
        schema: the schema of the transform's table (`stage_schema`).

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
        """Whether there is a store."""
        return self._packs is not None

    @property
    def written(self) -> int:
        """The number of bytes that were written in packs."""
        return 0 if self._packs is None else self._packs.written

    @property
    def set_aside(self) -> Mapping[str, str]:
        """The reason for each damaged pack that was set aside, by the pack's name."""
        return {} if self._packs is None else self._packs.set_aside

    def knows(self, input_digests: Sequence[str]) -> list[bool]:
        """Return for each input whether its row is in the store or the input is known to be broken."""
        if self._packs is None:
            return [False] * len(input_digests)
        found = (self._packs.find(input_digests) >= 0).tolist()
        return [known or key in self._packs.problems for known, key in zip(found, input_digests, strict=True)]

    def problem(self, input_digest: str) -> tuple[str, str] | None:
        """Return the error's class and message of an input that is known to be broken; None for any other."""
        return None if self._packs is None else self._packs.problems.get(input_digest)

    def digests(self, input_digests: Sequence[str]) -> list[str | None]:
        """Return the digest of each input's row; None if the store does not have the row. No row is read."""
        found: list[str | None] = [None] * len(input_digests)
        if self._packs is not None:
            places = self._packs.find(input_digests)
            at = np.flatnonzero(places >= 0)
            for index, value in zip(at, self._packs.digests(places[at]), strict=True):
                found[index] = value
        return found

    def stored_parts(self) -> Mapping[str, str] | None:
        """Return the parts of the fingerprint under which rows of this transform were last stored.

        None if the store has no rows of this transform.
        """
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
        """Forget that these inputs are broken, and return how many of them were.

        Raises:
            ReadOnlyStore, StoreError: the store cannot be changed.
        """
        return 0 if self._packs is None else self._packs.forget_problems(input_digests)

    def forget(self, input_digests: Sequence[str] | None = None) -> int:
        """Remove the rows of some inputs from the store, and return how many there were.

        It is also forgotten which of these inputs are broken.

        Args:
            input_digests: the inputs; None: all.

        Raises:
            ReadOnlyStore, StoreError: the store cannot be changed.
        """
        return 0 if self._packs is None else forget(self._packs, input_digests)
