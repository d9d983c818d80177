"""Find the corroborating families: those whose votes may support a pseudo-label of a head.

A family is excluded for one of two reasons:

    not independent of the head            the fusion-head judge's family, and each family that agrees with the head
                                           more often than their accuracies explain
    not independent of the given labels    the family of the given label, and each family that agrees with it more
                                           often than their accuracies explain. The thresholds of the pseudo-labels
                                           are measured with the given label, so its family can't support them as well

The head takes part in the test of dependence (dependence.py) as one more source of the family `own`, with its votes on
the labelled clips that it has not learnt from. Only the labelled clips that are passed in, those of the folds that may
be seen, enter the test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mer_pipeline.base.clips import GIVEN, VOTES_SCHEMA
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.dependence import join_dependent, most_named
from mer_pipeline.labels.votes import COUNT, GOLD, MISSING, OPTIONAL, most_raters, read_votes

OWN = "own"
HEAD = "the head"  # the head's name as a source; a judge's name can't have a space
OF_HEAD = "not independent of the head"
OF_GIVEN = "not independent of the given labels"

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CorroboratingFamilies:
    """The corroborating families, and why the others are excluded.

    Attributes:
        names: the names of the W corroborating families.
        sources: the names of each family's sources, in the order of `names`.
        excluded: the reason, OF_HEAD or OF_GIVEN, by the name of each other family.
        answer: int64 (n,), the gold label of each labelled clip where there is one, else its given label.
    """

    names: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    excluded: Mapping[str, str]
    answer: Ints

    def vote(self, said: Mapping[str, Ints], classes: int) -> Ints:
        """Return the families' votes, int64 (n, W), MISSING where a family has none.

        Args:
            said: int64 (n,) by source, as `said_by` returns them.
            classes: the number of classes.
        """
        votes = [most_named(np.stack([said[s] for s in members], axis=1), classes) for members in self.sources]
        n = len(next(iter(said.values()), ()))
        return np.stack(votes, axis=1) if votes else np.zeros((n, 0), dtype=np.int64)


def may_bear_out(votes: pa.Table, clip_ids: Collection[str]) -> set[str]:
    """Return the families that vote on any of these clips, except those of the head and of the given label.

    Whether they are independent of the head is not tested here.
    """
    table = votes.select(["source", "family"]).group_by(["source", "family"]).aggregate([]).to_pylist()
    given = {row["family"] for row in table if row["source"] == GIVEN}
    here = votes.filter(pc.is_in(votes["clip_id"], value_set=pa.array(sorted(clip_ids), pa.string())))
    found = {
        family
        for source, family in zip(here["source"].to_pylist(), here["family"].to_pylist(), strict=True)
        if source not in (GIVEN, GOLD)
    }
    return found - given - {OWN}


def as_own(votes: pa.Table, judges: Mapping[str, JudgeParams]) -> pa.Table:
    """Return the votes with each family of a fusion-head judge renamed `own`.

    No source of such a family is independent of the head.
    """
    kin = {judge.home for judge in judges.values() if judge.is_head}
    families = [OWN if family in kin else family for family in votes["family"].to_pylist()]
    at = votes.schema.get_field_index("family")
    return votes.set_column(at, votes.schema.field("family"), pa.array(families, pa.string()))


def find_corroborating(
    votes: pa.Table, clip_ids: Sequence[str], head: Ints, classes: tuple[str, ...], *, join: bool
) -> CorroboratingFamilies:
    """Return the families that may support the head's pseudo-labels.

    Args:
        votes: a table with the columns of VOTES_SCHEMA and, optionally, those of OPTIONAL.
        clip_ids: the labelled clips that may be seen, sorted.
        head: int64 (n,), the class that the head predicts for each of them, MISSING where it predicts none.
        classes: the classes, in order.
        join: whether dependent families count as one.

    Raises:
        DatasetError: `read_votes` does not accept a vote.
    """
    rows = [(i, HEAD, OWN, classes[c]) for i, c in zip(clip_ids, head.tolist(), strict=True) if c != MISSING]
    own = pa.table(
        [pa.array([row[k] for row in rows], pa.string()) for k in range(len(VOTES_SCHEMA))], schema=VOTES_SCHEMA
    )
    columns = [*VOTES_SCHEMA.names, *(name for name in votes.column_names if name in OPTIONAL)]
    read = read_votes(pa.concat_tables([votes.select(columns), own], promote_options="default"), clip_ids, classes)
    families = join_dependent(read, len(classes))[0] if join else read
    names, sources, excluded = [], [], {}
    for name, members in zip(families.families, families.sources, strict=True):
        if HEAD in members or OWN in name.split("+"):
            excluded[name] = OF_HEAD
        elif GIVEN in members:
            excluded[name] = OF_GIVEN
        else:
            names.append(name)
            sources.append(members)
    answer = np.where(read.gold == MISSING, read.given, read.gold)
    return CorroboratingFamilies(tuple(names), tuple(sources), excluded, answer)


def said_by(votes: pa.Table, clip_ids: Sequence[str], classes: Sequence[str]) -> dict[str, Ints]:
    """Return each source's votes, int64 (n,) by its name: the index of the class, MISSING where it has no vote."""
    at = {clip_id: i for i, clip_id in enumerate(clip_ids)}
    index = {label: c for c, label in enumerate(classes)}
    tallies: dict[str, dict[int, Counter[int]]] = {}
    columns = [votes[name].to_pylist() for name in ("clip_id", "source", "label")]
    columns.append(votes[COUNT].to_pylist() if COUNT in votes.column_names else [None] * votes.num_rows)
    for clip_id, source, label, count in zip(*columns, strict=True):
        of_source = tallies.setdefault(source, {})
        if clip_id in at and label in index:
            of_source.setdefault(at[clip_id], Counter())[index[label]] += count or 1
    said: dict[str, Ints] = {}
    for source, of_clip in tallies.items():
        said[source] = np.full(len(at), MISSING, dtype=np.int64)
        for i, tally in of_clip.items():
            said[source][i] = most_raters(tally)
    return said
