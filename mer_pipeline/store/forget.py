"""Take rows out of a pack set. Packs do not change: one that has such rows is replaced by one that has its others."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from mer_pipeline.store.packs import INDEX, PACK, PackSet
from mer_pipeline.tables.shards import read_parquet


def forget(packs: PackSet, input_digests: Iterable[str] | None = None) -> int:
    """No longer have the rows made from some inputs, or any, and nothing of what is broken; how many rows there were.

    A process that reads at the same time finds the new pack. One that has the rows in hand already may put them again.

    Args:
        packs: where they are.
        input_digests: of the inputs; None: all rows.

    Raises:
        ReadOnlyStore, StoreError: they cannot be taken out.
    """
    if input_digests is None:
        count = len(packs)
        for name in packs.root.files(packs.folder):
            if name.endswith((PACK, INDEX)):
                packs.root.remove(f"{packs.folder}/{name}")
        packs.refresh()
        return count
    wanted = list(input_digests)
    count = len(set(packs.find(wanted)) - {-1})
    held = packs.packs_with(wanted)
    for name in held:
        data = packs.read_pack(name)
        if data is None:
            continue
        table = read_parquet(data)
        others = packs.in_form(table).filter(pc.invert(pc.is_in(table["input_digest"], pa.array(wanted, pa.string()))))
        if len(others):
            metadata = table.schema.metadata or {}
            packs.put(others, {key.decode().removeprefix("mer."): metadata[key].decode() for key in metadata})
    packs.supersede("", held)
    packs.forget_problems(wanted)
    return count
