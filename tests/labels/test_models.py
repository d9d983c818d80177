"""The EM models against crowd-kit, against sums written out, and against what made the votes."""

from __future__ import annotations

from math import lgamma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mer_pipeline.labels.dawid_skene import dawid_skene
from mer_pipeline.labels.dirichlet_multinomial import dirichlet_multinomial
from mer_pipeline.labels.one_coin import one_coin
from mer_pipeline.labels.votes import MISSING
from tests.labels.make import crowd, one_hot, planted

VOTES = arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 3)), elements=st.integers(-1, 2))


@pytest.mark.filterwarnings("ignore")  # of pandas, about how crowd-kit calls it
@pytest.mark.parametrize(("n", "iterations"), [(40, 3), (400, 25)])
def test_dawid_skene_is_crowd_kits(n: int, iterations: int) -> None:
    """Without a prior, from the same start, after as many iterations: the same posterior and confusions."""
    pd = pytest.importorskip("pandas")
    aggregation = pytest.importorskip("crowdkit.aggregation")
    _, matrix = planted(n, (0.8, 0.7, 0.6, 0.4), classes=4)
    clip, worker = np.nonzero(matrix != MISSING)
    table = pd.DataFrame({"task": clip, "worker": worker, "label": matrix[clip, worker]})
    theirs = aggregation.DawidSkene(n_iter=iterations, tol=-np.inf).fit(table)
    ours = dawid_skene(matrix, 4, right=0.0, wrong=0.0, iterations=iterations, tolerance=0.0)
    np.testing.assert_allclose(ours.posterior, theirs.probas_.sort_index()[[0, 1, 2, 3]].to_numpy(), atol=1e-8)


def textbook(matrix: np.ndarray, classes: int, iterations: int) -> np.ndarray:
    """Dawid & Skene's two formulas, by loops and in plain probabilities."""
    n, families = matrix.shape
    said = one_hot(matrix, classes)
    q = said.sum(axis=1) / np.maximum(said.sum(axis=(1, 2)), 1)[:, None]
    for _ in range(iterations):
        p = [sum(q[i, c] for i in range(n)) / n for c in range(classes)]
        pi = np.zeros((families, classes, classes))
        for w in range(families):
            for c in range(classes):
                row = [sum(q[i, c] for i in range(n) if matrix[i, w] == k) for k in range(classes)]
                pi[w, c] = np.array(row) / sum(row)
        for i in range(n):
            joint = [
                p[c] * np.prod([pi[w, c, matrix[i, w]] for w in range(families) if matrix[i, w] != MISSING])
                for c in range(classes)
            ]
            q[i] = np.array(joint) / sum(joint)
    return q


def test_dawid_skene_is_the_textbook() -> None:
    """The same without the library."""
    _, matrix = planted(60, (0.7, 0.6, 0.5), classes=3)
    ours = dawid_skene(matrix, 3, right=0.0, wrong=0.0, iterations=6, tolerance=0.0)
    np.testing.assert_allclose(ours.posterior, textbook(matrix, 3, 6), atol=1e-10)


@given(VOTES)
def test_one_coins_posterior_is_bayes_rule(matrix: np.ndarray) -> None:
    """On the prior and the accuracies that were found."""
    found = one_coin(matrix, 3)
    for i, row in enumerate(matrix):
        joint = np.array(
            [
                found.prior[c] * np.prod([found.confusion[w, c, k] for w, k in enumerate(row) if k != MISSING])
                for c in range(3)
            ]
        )
        np.testing.assert_allclose(found.posterior[i], joint / joint.sum(), atol=1e-6)


@given(VOTES)
def test_counts_of_one_are_one_coin(matrix: np.ndarray) -> None:
    """Where no family has more than one vote for a clip the Dirichlet-multinomial has nothing of its own to say."""
    counts = dirichlet_multinomial(one_hot(matrix, 3), 3)
    np.testing.assert_allclose(counts.posterior, one_coin(matrix, 3).posterior, atol=1e-4)


def test_rates_and_correlation_are_recovered() -> None:
    """From two crowds' counts, without the truth: the accuracy of a single rater of each."""
    true, first = crowd(3000, 0, (3.0, 0.4))
    again = np.random.default_rng(9)
    alpha = np.where(np.eye(6)[true] == 1, 1.0, 0.4)
    second = np.array([again.multinomial(8, again.dirichlet(a)) for a in alpha], dtype=np.float64)
    found = dirichlet_multinomial(np.stack([first, second], axis=1), 6)
    assert found.confusion[0, 0, 0] == pytest.approx(3 / 5, abs=0.02)
    assert found.confusion[1, 0, 0] == pytest.approx(1 / 3, abs=0.02)
    assert found.posterior.max(axis=1).mean() == pytest.approx(
        (found.posterior.argmax(axis=1) == true).mean(), abs=0.02
    )


def test_the_posterior_of_counts_is_bayes_rule() -> None:
    """With the Dirichlet-multinomial written out by lgamma, for the accuracy that was found and some concentration."""
    _, counts = crowd(400, 3, (2.0, 0.5), classes=3)
    found = dirichlet_multinomial(counts[:, None], 3)
    right = found.confusion[0, 0, 0]

    def log(x: np.ndarray, c: int, s: float) -> float:
        alpha = [s * (right if k == c else (1 - right) / 2) for k in range(3)]
        return sum(lgamma(a + n) - lgamma(a) for a, n in zip(alpha, x, strict=True))

    def worst(s: float) -> float:
        joint = np.log(found.prior) + np.array([[log(x, c, s) for c in range(3)] for x in counts])
        expected = np.exp(joint - joint.max(axis=1, keepdims=True))
        return float(np.abs(expected / expected.sum(axis=1, keepdims=True) - found.posterior).max())

    assert min(worst(s) for s in np.geomspace(0.5, 20, 400)) < 0.01


def test_raters_who_agree_too_much_count_less() -> None:
    """Nine of ten raters of a correlated crowd are weaker evidence than nine of ten independent ones."""
    sure = []
    for scale in (0.3, 100.0):
        _, counts = crowd(1000, 5, (3.0 * scale, 0.4 * scale))
        counts = np.concatenate([counts, [[6, 4, 0, 0, 0, 0]]])
        sure.append(dirichlet_multinomial(counts[:, None], 6).posterior[-1, 0])
    assert sure[0] < sure[1] - 0.05


@pytest.mark.parametrize("model", [dawid_skene, one_coin])
def test_gold_is_clamped_and_teaches(model: object) -> None:
    """A known row keeps its class, and an adversary is found out once enough rows are known."""
    true, matrix = planted(300, (0.6, 0.6), missing=0.0, classes=2)
    liar = 1 - true
    matrix = np.column_stack([matrix, liar, liar])
    gold = np.where(np.arange(300) < 150, true, MISSING)
    found = model(matrix, 2, gold)  # type: ignore[operator]
    assert (found.posterior[:150] == np.eye(2)[true[:150]]).all()
    assert (found.posterior[150:].argmax(axis=1) == true[150:]).mean() > 0.95
    assert (model(matrix, 2).posterior.argmax(axis=1) == true).mean() < 0.5  # type: ignore[operator]


@settings(max_examples=25)
@given(VOTES, st.integers(0, 2**32 - 1))
def test_gold_rows_stay(matrix: np.ndarray, seed: int) -> None:
    """In every model, whatever the votes."""
    gold = np.random.default_rng(seed).integers(-1, 3, size=len(matrix))
    known = gold != MISSING
    for found in (
        dawid_skene(matrix, 3, gold),
        one_coin(matrix, 3, gold),
        dirichlet_multinomial(one_hot(matrix, 3), 3, gold),
    ):
        assert (found.posterior[known] == np.eye(3)[gold[known]]).all()
        np.testing.assert_allclose(found.posterior.sum(axis=1), 1)


def test_scores_and_votes_mix() -> None:
    """A judge's distribution is a soft vote beside a crowd's counts; a flat one says nothing."""
    _, counts = crowd(200, 1, (3.0, 0.4), classes=3)
    flat = np.full((200, 3), 1 / 3)
    alone = dirichlet_multinomial(counts[:, None], 3).posterior
    beside = dirichlet_multinomial(np.stack([counts, flat], axis=1), 3).posterior
    np.testing.assert_allclose(beside, alone, atol=1e-3)
    sharp = dirichlet_multinomial(np.stack([counts, np.eye(3)[counts.argmax(axis=1)]], axis=1), 3).posterior
    assert sharp.max(axis=1).mean() > alone.max(axis=1).mean()
