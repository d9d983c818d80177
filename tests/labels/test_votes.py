"""Votes: one per family, by a stated rule, and nothing unknown gets in."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.base.clips import VOTES_SCHEMA
from mer_pipeline.base.errors import DatasetError
from mer_pipeline.labels.votes import GOLD, MISSING, SCORES, read_votes

CLASSES = ("neutral", "angry", "happy")
FAMILY_OF = {"given": "human", "second": "human", "third": "human", "a1": "a", "a2": "a", "b": "b"}


def votes_table(rows: list[tuple[str, str, str, str]]) -> pa.Table:
    """Rows of VOTES_SCHEMA."""
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(4)]
    return pa.Table.from_arrays(columns, schema=VOTES_SCHEMA)


@given(
    said=st.dictionaries(
        st.sampled_from(sorted(FAMILY_OF)), st.sampled_from(CLASSES), min_size=1, max_size=len(FAMILY_OF)
    ),
    given_label=st.sampled_from(CLASSES),
    shuffle=st.randoms(use_true_random=False),
)
def test_each_family_has_one_vote(said: dict[str, str], given_label: str, shuffle: object) -> None:
    """A family's vote is one of its most named labels, whatever the order of the rows; a silent one has none."""
    said = {**said, "given": given_label}
    rows = [("c", source, FAMILY_OF[source], label) for source, label in said.items()]
    shuffled = list(rows)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    votes = read_votes(votes_table(rows), ["c"], CLASSES)
    assert (read_votes(votes_table(shuffled), ["c"], CLASSES).matrix == votes.matrix).all()
    assert votes.matrix.shape == (1, len({FAMILY_OF[source] for source in said}))
    assert votes.families[0] == "human"
    for family, vote in zip(votes.families, votes.matrix[0], strict=True):
        counts = Counter(label for source, label in said.items() if FAMILY_OF[source] == family)
        assert counts[CLASSES[vote]] == max(counts.values())


def test_the_first_source_breaks_a_tie_and_given_is_first() -> None:
    """Between 'given' and a second annotator of its family, the given label is the family's vote."""
    rows = [("c", "a-second", "human", "angry"), ("c", "given", "human", "happy")]
    assert read_votes(votes_table(rows), ["c"], CLASSES).matrix.tolist() == [[2]]
    rows += [("c", "z2", "llm", "neutral"), ("c", "z1", "llm", "angry")]
    assert read_votes(votes_table(rows), ["c"], CLASSES).matrix.tolist() == [[2, 1]]


def test_a_silent_family_is_missing_and_the_sources_are_told() -> None:
    """-1 stands for no vote; votes on clips that were not asked for are passed over."""
    rows = [("c", "given", "human", "happy"), ("d", "given", "human", "angry"), ("d", "b", "b", "happy")]
    votes = read_votes(votes_table([*rows, ("other", "b", "b", "nonsense")]), ["d", "c"], CLASSES)
    assert votes.matrix.tolist() == [[2, MISSING], [1, 2]]
    assert votes.spoken == ("given=happy", "given=angry b=happy")
    assert votes.given.tolist() == [2, 1]
    assert votes.sources == (("given",), ("b",))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("c", "given", "human", "hapy")], "did you mean 'happy'"),
        ([("c", "given", "human", "happy")] * 2, "votes twice on clip 'c'"),
        ([("c", "b", "b", "happy")], "no vote of source 'given'"),
    ],
)
def test_wrong_votes_are_one_clear_error(rows: list[tuple[str, str, str, str]], message: str) -> None:
    """What is wrong, where, and how to mend it."""
    with pytest.raises(DatasetError, match=message):
        read_votes(votes_table(rows), ["c"], CLASSES)


def test_gold_is_no_family() -> None:
    """It settles its clip, whatever family stands beside it, and is told with the votes."""
    rows = [("c", "given", "human", "happy"), ("d", "given", "human", "angry"), ("d", GOLD, "human", "neutral")]
    votes = read_votes(votes_table(rows), ["c", "d"], CLASSES)
    assert votes.gold.tolist() == [MISSING, 0]
    assert votes.families == ("human",)
    assert votes.sources == (("given",),)
    assert votes.matrix.tolist() == [[2], [1]]
    assert votes.spoken[1] == "given=angry gold=neutral"


def test_evidence_is_the_sum_of_scores_and_bare_votes() -> None:
    """Per family; a source with counts has the weight of its raters, one without scores that of one vote."""
    rows = [("c", "given", "human", "happy"), ("c", "a1", "a", "angry"), ("c", "a2", "a", "neutral")]
    table = votes_table(rows)
    scores = pa.array([None, [1.0, 7.0, 2.0], None], pa.list_(pa.float64()))
    votes = read_votes(table.append_column(SCORES, scores), ["c"], CLASSES)
    np.testing.assert_array_equal(votes.evidence, [[[0, 0, 1], [2, 7, 2]]])
    np.testing.assert_array_equal(read_votes(table, ["c"], CLASSES).evidence, [[[0, 0, 1], [1, 1, 0]]])
    assert [columns.tolist() for columns in votes.single] == [[[2]], [[1, 0]]]


@pytest.mark.parametrize("scores", [[1.0, 2.0], [1.0, -1.0, 2.0], [0.0, 0.0, 0.0], [float("nan"), 1.0, 0.0]])
def test_scores_that_are_no_evidence_are_one_clear_error(scores: list[float]) -> None:
    """Too few, below zero, nothing, or not a number."""
    table = votes_table([("c", "given", "human", "happy")])
    with pytest.raises(DatasetError, match="scores of source 'given' on clip 'c' are not 3 numbers"):
        read_votes(table.append_column(SCORES, pa.array([scores])), ["c"], CLASSES)
