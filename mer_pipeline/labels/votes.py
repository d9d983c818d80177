"""Votes in long form (one row per clip and source) to one integer vote per clip and family.

Sources that copy each other are one family (annotators of one crowd, judges on one model), and a family has one
vote: correlated sources counted singly make Dawid-Skene both wrong and sure of itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mer_pipeline.clips import GIVEN, VOTES_SCHEMA
from mer_pipeline.errors import DatasetError, did_you_mean

MISSING = -1


@dataclass(frozen=True)
class Votes:
    """Votes on some clips.

    Attributes:
        clip_ids: sorted, n of them.
        families: F names; the family of the given label first, the others by name.
        matrix: int64 (n, F), index of the class that a family votes for, MISSING where it has no vote.
        given: int64 (n,), the given label.
        spoken: per clip, "given=sad crowd=sad listener=happy": every source's vote, for people.
        sources: per family, the names of its sources.
    """

    clip_ids: tuple[str, ...]
    families: tuple[str, ...]
    matrix: NDArray[np.int64]
    given: NDArray[np.int64]
    spoken: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]


def read_votes(table: pa.Table, clip_ids: Sequence[str], classes: Sequence[str]) -> Votes:
    """The votes on these clips, one per family.

    A family votes for the label that most of its sources name; in a tie, for the tied label whose first source
    comes first, sources being in the order of their names with "given" before all.

    Args:
        table: VOTES_SCHEMA, in any order; votes on other clips are passed over.
        clip_ids: labelled clips.
        classes: the known labels, in order.

    Raises:
        DatasetError: a label is unknown, a source votes twice on a clip, or a clip has no given label.
    """
    at = {clip_id: i for i, clip_id in enumerate(sorted(clip_ids))}
    index = {label: c for c, label in enumerate(classes)}
    columns = (table[name].to_pylist() for name in VOTES_SCHEMA.names)
    rows = [row for row in zip(*columns, strict=True) if row[0] in at]
    rows.sort(key=lambda row: (row[0], row[1] != GIVEN, row[1]))
    home = {family for _, source, family, _ in rows if source == GIVEN}
    families = sorted({row[2] for row in rows}, key=lambda family: (family not in home, family))

    said: dict[tuple[str, str], Counter[int]] = {}
    spoken: dict[str, dict[str, str]] = {clip_id: {} for clip_id in at}
    for clip_id, source, family, label in rows:
        if label not in index:
            raise DatasetError(
                f"votes: source '{source}' labels clip '{clip_id}' '{label}', which is not in dataset.classes"
                f"{did_you_mean(str(label), classes)}; correct the vote or add the class"
            )
        if source in spoken[clip_id]:
            raise DatasetError(f"votes: source '{source}' votes twice on clip '{clip_id}'; keep one of the rows")
        spoken[clip_id][source] = label
        said.setdefault((clip_id, family), Counter())[index[label]] += 1

    matrix = np.full((len(at), len(families)), MISSING, dtype=np.int64)
    for (clip_id, family), counts in said.items():
        # Of equal counts, the one that was counted first: the rows are in the order of their sources.
        matrix[at[clip_id], families.index(family)] = counts.most_common(1)[0][0]
    if bare := [clip_id for clip_id in at if GIVEN not in spoken[clip_id]]:
        raise DatasetError(f"votes: clip '{bare[0]}' is in a fold and has no vote of source 'given'; run ingest again")
    return Votes(
        tuple(at),
        tuple(families),
        matrix,
        np.array([index[spoken[clip_id][GIVEN]] for clip_id in at], dtype=np.int64),
        tuple(" ".join(f"{source}={label}" for source, label in spoken[clip_id].items()) for clip_id in at),
        tuple(tuple(sorted({row[1] for row in rows if row[2] == family})) for family in families),
    )
