"""Turn votes in long form, one row per clip and source, into one vote per clip and family.

Sources that are likely to make the same errors form one family, such as the annotators of one crowd or judges that use
the same model. A family has one vote, because correlated sources that are counted one by one make Dawid-Skene both
wrong and overconfident.

A family also has evidence for each class: the sum of its sources' scores (a judge's distribution, a crowd's counts),
where a source without scores adds 1 for the class that it votes for.

A source may be a crowd. Its raters are then known one by one (column WORKER, a row per rater) or as counts (column
COUNT, a row per label). It votes for the label that most of its raters name, and not at all in a tie; its evidence is
the votes of all of them.

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


WORKER = "worker"  # an optional column with the name of the rater of a crowd who gave the vote, null for other sources
COUNT = "count"  # an optional column with how many raters of a crowd gave the vote, null for other sources
OPTIONAL = (SCORES, WORKER, COUNT)


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
        raters: for each family the votes of its R raters, int64 (n, R), if they are known one by one (column WORKER),
            else None. Empty if no family has such votes.
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
    raters: tuple[NDArray[np.int64] | None, ...] = ()

    def counts(self, family: int) -> NDArray[np.float64]:
        """Return how many raters or sources of a family name each class, float64 (n, C), whole numbers.

        If the family's evidence is no count, as the scores of a judge, this is one for the family's vote.
        """
        evidence: NDArray[np.float64] = self.evidence[:, family]
        if not (evidence == np.round(evidence)).all():
            evidence = (self.matrix[:, family, None] == np.arange(evidence.shape[1])).astype(np.float64)
        return evidence


def read_votes(table: pa.Table, clip_ids: Sequence[str], classes: Sequence[str]) -> Votes:
    """Return the votes on these clips, one per family.

    A family votes for the label that most of its sources name. In a tie, the label wins whose first source comes
    first, where sources are sorted by name with "given" before all others.

    Args:
        table: a table with the columns of VOTES_SCHEMA and, optionally, those of OPTIONAL. The rows may be in any
            order; votes on other clips are ignored.
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

    said: dict[tuple[str, str], Counter[int]] = {}  # by clip and source
    single = [np.full((len(at), len(names)), MISSING, dtype=np.int64) for names in sources]
    evidence = np.zeros((len(at), len(families), len(classes)))
    gold = np.full(len(at), MISSING, dtype=np.int64)
    one_by_one: dict[str, dict[tuple[str, str], NDArray[np.int64]]] = {name: {} for name in families}
    seen: set[tuple[str, str, str | None, str | None]] = set()
    for row in rows:
        if row.label not in index:
            raise DatasetError(
                f"votes: source '{row.source}' labels clip '{row.clip_id}' '{row.label}', which is not in "
                f"dataset.classes{did_you_mean(str(row.label), classes)}; correct the vote or add the class"
            )
        key = (row.clip_id, row.source, row.worker, None if row.number is None else row.label)
        plain = (row.clip_id, row.source, None, None)  # a source has one vote on a clip, or raters
        if key in seen or plain in seen or (key == plain and (row.clip_id, row.source) in said):
            raise DatasetError(
                f"votes: source '{row.source}' votes twice on clip '{row.clip_id}'; keep one of the rows, or say who "
                f"votes in the column '{WORKER}'"
            )
        seen.add(key)
        i, c = at[row.clip_id], index[row.label]
        said.setdefault((row.clip_id, row.source), Counter())[c] += row.number or 1
        if row.source == GOLD:
            gold[i] = c
            continue
        w = families.index(row.family)
        if row.scores is not None:
            evidence[i, w] += _checked(row, len(classes))
        else:
            evidence[i, w, c] += 1 if row.number is None else row.number
        if row.worker is not None:
            rater = one_by_one[row.family].setdefault((row.source, row.worker), np.full(len(at), MISSING, np.int64))
            rater[i] = c
    spoken: dict[str, list[str]] = {clip_id: [] for clip_id in at}
    for (clip_id, source), counts in said.items():
        many = counts.total() > 1
        spoken[clip_id] += [f"{source}={classes[c]}{f'×{n}' if many else ''}" for c, n in counts.most_common()]
        for w, names in enumerate(sources):
            if source in names and source != GOLD:
                single[w][at[clip_id], names.index(source)] = most_raters(counts)
    matrix = np.full((len(at), len(families)), MISSING, dtype=np.int64)
    for w, columns in enumerate(single):
        for i in np.flatnonzero((columns != MISSING).any(axis=1)).tolist():
            # `most_common` returns the first counted of equal counts, and the sources are in order.
            matrix[i, w] = Counter(c for c in columns[i].tolist() if c != MISSING).most_common(1)[0][0]
    if bare := [clip_id for clip_id in at if (clip_id, GIVEN) not in said]:
        raise DatasetError(f"votes: clip '{bare[0]}' is in a fold and has no vote of source 'given'; run ingest again")
    raters = [
        np.column_stack([found[key] for key in sorted(found)]) if found else None for found in one_by_one.values()
    ]
    return Votes(
        tuple(at),
        tuple(families),
        matrix,
        np.array([most_raters(said[clip_id, GIVEN]) for clip_id in at], dtype=np.int64),
        tuple(" ".join(words) for words in spoken.values()),
        tuple(tuple(names) for names in sources),
        tuple(single),
        evidence,
        gold,
        tuple(raters) if any(each is not None for each in raters) else (),
    )


def most_raters(counts: Counter[int]) -> int:
    """Return the class that most raters of a source name; MISSING in a tie."""
    first, *others = counts.most_common(2)
    return MISSING if others and others[0][1] == first[1] else first[0]


class _Row(NamedTuple):
    clip_id: str
    source: str
    family: str
    label: str
    scores: list[float] | None
    worker: str | None
    number: int | None


def _given_first(source: str) -> tuple[bool, str]:
    return source != GIVEN, source


def _rows(table: pa.Table, clips: Container[str]) -> list[_Row]:
    """Return the rows on these clips, sorted by clip and source."""
    columns = [table[name].to_pylist() for name in VOTES_SCHEMA.names]
    columns += [table[name].to_pylist() if name in table.column_names else [None] * table.num_rows for name in OPTIONAL]
    rows = [_Row(*row) for row in zip(*columns, strict=True) if row[0] in clips]
    return sorted(rows, key=lambda row: (row.clip_id, _given_first(row.source), row.worker or "", row.label or ""))


def _checked(row: _Row, classes: int) -> NDArray[np.float64]:
    scores = np.array(row.scores, dtype=np.float64)
    if scores.shape != (classes,) or not np.isfinite(scores).all() or scores.min() < 0 or not scores.sum():
        raise DatasetError(
            f"votes: the scores of source '{row.source}' on clip '{row.clip_id}' are not {classes} numbers from 0 up, "
            "one of them above it; correct them or leave them out"
        )
    return scores
