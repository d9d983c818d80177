"""Turn votes in long form, one row per clip and source, into one vote per clip and family.

Sources that are likely to make the same errors form one family, such as the annotators of one crowd or judges that use
the same model. A family has one vote, because correlated sources that are counted one by one make Dawid-Skene both
wrong and overconfident.

A family also has evidence for each class: the sum of its sources' scores (a judge's distribution, a crowd's counts),
where a source without scores adds 1 for the class that it votes for.

The source "gold" belongs to no family: its labels are taken as known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mer_pipeline.base.clips import GIVEN, VOTES_SCHEMA
from mer_pipeline.base.errors import DatasetError, did_you_mean

MISSING = -1
GOLD = "gold"  # the source of labels that experts have decided
SCORES = "scores"  # an optional column with a vote's evidence: list<float> of length C, null for a vote without scores


@dataclass(frozen=True)
class Votes:
    """The votes of F families on n clips.

    Attributes:
        clip_ids: the ids of the clips, sorted.
        families: the names of the families; that of the given label first, the others by name.
        matrix: int64 (n, F), the index of the class that a family votes for, MISSING where it has no vote.
        given: int64 (n,), the index of the given label.
        spoken: all votes on each clip as text for people, such as "given=sad crowd=sad listener=happy".
        sources: the names of the sources of each family.
        single: the votes of the S sources of each family, int64 (n, S).
        evidence: float64 (n, F, C), counts or distributions; all zero where a family has no vote.
        gold: int64 (n,), the class that is known beyond doubt, MISSING where none is.
    """

    clip_ids: tuple[str, ...]
    families: tuple[str, ...]
    matrix: NDArray[np.int64]
    given: NDArray[np.int64]
    spoken: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    single: tuple[NDArray[np.int64], ...]
    evidence: NDArray[np.float64]
    gold: NDArray[np.int64]


def read_votes(table: pa.Table, clip_ids: Sequence[str], classes: Sequence[str]) -> Votes:
    """Return the votes on these clips, one per family.

    A family votes for the label that most of its sources name. In a tie, the label wins whose first source comes
    first, where sources are sorted by name with "given" before all others.

    Args:
        table: a table with the columns of VOTES_SCHEMA and, optionally, SCORES. The rows may be in any order; votes on
            other clips are ignored.
        clip_ids: the ids of the labelled clips.
        classes: the classes, in order.

    Raises:
        DatasetError: a label is unknown, a source votes twice on a clip, a clip has no given label, or scores are not
            C finite numbers >= 0 with a positive sum.

    Example:
        >>> rows = [("b", "given", "human", "sad"), ("a", "given", "human", "joy"), ("a", "clip", "face", "sad")]
        >>> table = pa.Table.from_pylist([dict(zip(VOTES_SCHEMA.names, r)) for r in rows], schema=VOTES_SCHEMA)
        >>> votes = read_votes(table, ["a", "b"], ("joy", "sad"))
        >>> votes.families, votes.matrix.tolist()
        (('human', 'face'), [[0, 1], [1, -1]])
    """
    at = {clip_id: i for i, clip_id in enumerate(sorted(clip_ids))}
    index = {label: c for c, label in enumerate(classes)}
    rows = _rows(table, at)
    home = {row.family for row in rows if row.source == GIVEN}
    families = sorted({row.family for row in rows if row.source != GOLD}, key=lambda name: (name not in home, name))
    sources = [
        sorted({row.source for row in rows if row.family == name} - {GOLD}, key=_given_first) for name in families
    ]

    said: dict[tuple[str, str], Counter[int]] = {}
    spoken: dict[str, dict[str, str]] = {clip_id: {} for clip_id in at}
    single = [np.full((len(at), len(names)), MISSING, dtype=np.int64) for names in sources]
    evidence = np.zeros((len(at), len(families), len(classes)))
    gold = np.full(len(at), MISSING, dtype=np.int64)
    for row in rows:
        if row.label not in index:
            raise DatasetError(
                f"votes: source '{row.source}' labels clip '{row.clip_id}' '{row.label}', which is not in "
                f"dataset.classes{did_you_mean(str(row.label), classes)}; correct the vote or add the class"
            )
        if row.source in spoken[row.clip_id]:
            raise DatasetError(
                f"votes: source '{row.source}' votes twice on clip '{row.clip_id}'; keep one of the rows"
            )
        spoken[row.clip_id][row.source] = row.label
        i, c = at[row.clip_id], index[row.label]
        if row.source == GOLD:
            gold[i] = c
            continue
        w = families.index(row.family)
        said.setdefault((row.clip_id, row.family), Counter())[c] += 1
        single[w][i, sources[w].index(row.source)] = c
        evidence[i, w] += np.eye(len(classes))[c] if row.scores is None else _checked(row, len(classes))

    matrix = np.full((len(at), len(families)), MISSING, dtype=np.int64)
    for (clip_id, family), counts in said.items():
        # `most_common` returns the first counted of equal counts, and the rows are in the order of their sources.
        matrix[at[clip_id], families.index(family)] = counts.most_common(1)[0][0]
    if bare := [clip_id for clip_id in at if GIVEN not in spoken[clip_id]]:
        raise DatasetError(f"votes: clip '{bare[0]}' is in a fold and has no vote of source 'given'; run ingest again")
    return Votes(
        tuple(at),
        tuple(families),
        matrix,
        np.array([index[spoken[clip_id][GIVEN]] for clip_id in at], dtype=np.int64),
        tuple(" ".join(f"{source}={label}" for source, label in spoken[clip_id].items()) for clip_id in at),
        tuple(tuple(names) for names in sources),
        tuple(single),
        evidence,
        gold,
    )


class _Row(NamedTuple):
    clip_id: str
    source: str
    family: str
    label: str
    scores: list[float] | None


def _given_first(source: str) -> tuple[bool, str]:
    return source != GIVEN, source


def _rows(table: pa.Table, clips: Container[str]) -> list[_Row]:
    """Return the rows on these clips, sorted by clip and source."""
    columns = [table[name].to_pylist() for name in VOTES_SCHEMA.names]
    columns.append(table[SCORES].to_pylist() if SCORES in table.column_names else [None] * table.num_rows)
    rows = [_Row(*row) for row in zip(*columns, strict=True) if row[0] in clips]
    return sorted(rows, key=lambda row: (row.clip_id, _given_first(row.source)))


def _checked(row: _Row, classes: int) -> NDArray[np.float64]:
    scores = np.array(row.scores, dtype=np.float64)
    if scores.shape != (classes,) or not np.isfinite(scores).all() or scores.min() < 0 or not scores.sum():
        raise DatasetError(
            f"votes: the scores of source '{row.source}' on clip '{row.clip_id}' are not {classes} numbers from 0 up, "
            "one of them above it; correct them or leave them out"
        )
    return scores
