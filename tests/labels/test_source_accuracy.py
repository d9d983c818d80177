"""A source's accuracy, as the votes alone tell it."""

from __future__ import annotations

import numpy as np
import pytest

from mer_pipeline.labels.source_accuracy import source_accuracies
from mer_pipeline.labels.votes import MISSING
from tests.labels.make import as_votes, planted

ACCURACY = (0.8, 0.7, 0.75, 0.5)


def test_accuracy_and_interval_hold_the_truth() -> None:
    """In nine of ten draws at least, over four sources: nominal is 95%."""
    held = []
    for seed in range(12):
        true, matrix = planted(600, ACCURACY, seed=seed)
        for w, of in enumerate(source_accuracies(as_votes(matrix), 4)):
            voted = matrix[:, w] != MISSING
            assert of.votes == voted.sum()
            assert of.low is not None
            assert of.high is not None
            assert of.accuracy == pytest.approx((matrix[voted, w] == true[voted]).mean(), abs=0.1)
            held.append(of.low <= ACCURACY[w] <= of.high)
    assert np.mean(held) >= 0.9


def test_the_same_votes_give_the_same_figures() -> None:
    """Bit for bit, and in any order of the clips."""
    _, matrix = planted(120, ACCURACY)
    first = source_accuracies(as_votes(matrix), 4)
    assert first == source_accuracies(as_votes(matrix), 4)
    assert first == source_accuracies(as_votes(matrix[::-1]), 4)


def test_members_are_judged_singly() -> None:
    """A family has one vote, and each of its sources a source_accuracies of its own; one that is silent has none."""
    _, matrix = planted(900, (0.8, 0.75, 0.4, 0.75), missing=0.0)
    matrix = np.column_stack([matrix, np.full(900, MISSING)])
    votes = as_votes(matrix, 4, [[0], [1, 2, 4], [3]])
    found = {of.source: of for of in source_accuracies(votes, 4, independent=True)}
    assert [found[f"s{w}"].family for w in (1, 2, 3)] == ["f1", "f1", "f3"]
    assert found["s1"].accuracy is not None
    assert found["s2"].accuracy is not None
    assert found["s2"].accuracy == pytest.approx(0.4, abs=0.06)
    assert found["s1"].accuracy > found["s2"].accuracy + 0.25
    assert (found["s4"].votes, found["s4"].accuracy, found["s4"].low) == (0, None, None)


def test_one_family_judges_nobody() -> None:
    """There is nobody to judge it by."""
    _, matrix = planted(30, (0.8, 0.7))
    assert [of.accuracy for of in source_accuracies(as_votes(matrix, 4, [[0, 1]]), 4)] == [None, None]
