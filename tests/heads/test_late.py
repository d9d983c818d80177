"""Linear late fusion: its pool counts the prior once, and a combination is the mean of it and of another head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_pipeline.base.modalities import Features, Indices, Matrix
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.linear import UNSEEN, fit_linear, log_shares, log_softmax
from mer_pipeline.heads.opinion_pool import PRIOR_WEIGHTS, OpinionPool, likeliest
from mer_pipeline.heads.strength import choose_strength
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.calibration import log_loss
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.artifacts import FUSED, FusionConfig, load_member, save_member
from mer_pipeline.training.cross_validation import Labels, cross_validate, members_of
from mer_pipeline.training.head_cache import HeadCache, key_of
from mer_pipeline.training.member import Predicted, fixed_threads, mean_of
from tests.planted import CLASSES, Planted, with_strengths
from tests.training.test_cross_validation import features_of, labels_of

PRIOR = np.array([0.6, 0.3, 0.1], dtype=np.float32)


def examples(label: Indices) -> Examples:
    """In five folds."""
    return Examples.of(np.arange(len(label)), label, np.arange(len(label)) % 5, len(PRIOR))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_who_only_knows_the_prior_adds_nothing(modalities: int, seed: int) -> None:
    """However many there are, whatever their weights, whoever is absent."""
    rng = np.random.default_rng(seed)
    pool = OpinionPool(np.log(PRIOR), rng.uniform(0.01, 9, modalities).astype(np.float32))
    x, y = np.zeros((20, 1), np.float32), rng.permutation([0] * 5 + [1] * 5 + [2] * 10)  # shares of its own
    (knows_nothing,) = fit_linear(x, np.eye(3, dtype=np.float32)[y], np.ones(20, np.float32), [1.0])
    said, shares = pool.of([knows_nothing.evidence(x[:8])] * modalities, rng.random((8, modalities)) < 0.7)
    np.testing.assert_allclose(np.exp(log_softmax(said)), np.tile(PRIOR, (8, 1)), atol=5e-3)
    assert ((shares.sum(axis=1) < 1e-6) | (np.abs(shares.sum(axis=1) - 1) < 1e-5)).all()


def test_of_independent_modalities_it_is_bayes_rule() -> None:
    """With weights of one: the exact posterior of two observations that are independent given the class."""
    rng = np.random.default_rng(0)
    likelihoods = rng.dirichlet(np.ones(4), size=(2, 3))  # P(observation | class) of either
    seen = rng.integers(4, size=(6, 2))
    each = [PRIOR * likelihoods[m][:, seen[:, m]].T for m in range(2)]
    exact = PRIOR * likelihoods[0][:, seen[:, 0]].T * likelihoods[1][:, seen[:, 1]].T
    told = [np.log(joint / joint.sum(axis=1, keepdims=True)).astype(np.float32) - np.log(PRIOR) for joint in each]
    said, _ = OpinionPool(np.log(PRIOR), np.ones(2, np.float32)).of(told, np.ones((6, 2), bool))
    np.testing.assert_allclose(np.exp(log_softmax(said)), exact / exact.sum(axis=1, keepdims=True), rtol=1e-4)


def faint(rng: np.random.Generator, n: int, tells: float) -> tuple[Indices, Matrix]:
    """Labels of n clips, and calibrated evidence on each that adds little to the prior."""
    x = rng.normal(size=(n, 3))
    p = np.exp(log_softmax((np.log(PRIOR) + tells * x).astype(np.float32)))
    label = np.array([rng.choice(3, p=each / each.sum()) for each in p.astype(np.float64)])
    return label, np.log(p)[None] - np.log(PRIOR)


def test_it_is_as_sure_as_it_is_right_and_lets_faint_evidence_decide() -> None:
    """Faint opinions leave the most frequent class the most probable of nearly all clips, so the prior counts less. The
    evidence keeps the scale of the least log loss: far from as sure as the old rule made it, which scaled it by F1."""
    label, held_out = faint(np.random.default_rng(1), 400, 0.2)
    pool = OpinionPool.fit(held_out, np.ones((400, 1), bool), examples(label))
    shares = log_shares(np.eye(3, dtype=np.float32)[label], np.ones(400, np.float32))
    plain = likeliest(held_out, np.eye(3, dtype=np.float32)[label], np.ones(400, np.float32), shares)
    assert ((np.log(PRIOR) + held_out[0]).argmax(axis=1) == 0).mean() > 0.95
    assert np.array_equal(pool.weights, plain)
    assert (pool.prior / shares)[0] in PRIOR_WEIGHTS[1:]

    def said(prior: Matrix, a: Matrix) -> Matrix:
        return np.exp(log_softmax(OpinionPool(prior, a).of([held_out[0]], np.ones((400, 1), bool))[0]))

    f1 = {b: Confusion.of(label, said(b * shares, plain).argmax(axis=1), 3).weighted_f1 for b in PRIOR_WEIGHTS}
    chosen = said(pool.prior, pool.weights)
    assert Confusion.of(label, chosen.argmax(axis=1), 3).weighted_f1 == max(f1.values()) > f1[1.0] + 0.03
    sharp = said(shares, 64 * plain)
    assert log_loss(chosen, label) < log_loss(said(shares, plain), label) + 0.2 < log_loss(sharp, label) - 1


def test_a_class_without_rows_stays_out_of_a_flat_prior() -> None:
    """With b = 0 the classes that were seen are equally probable, and the other one is still impossible."""
    label = np.arange(100) % 2
    held_out = np.zeros((1, 100, 3), np.float32)
    held_out[0, np.arange(100), label] = 0.01
    pool = OpinionPool.fit(held_out, np.ones((100, 1), bool), examples(label))
    assert pool.prior[2] == pytest.approx(UNSEEN)


def test_a_class_without_rows_is_never_said() -> None:
    """Its share is nothing, and its logarithm is finite."""
    shares = log_shares(np.eye(3, dtype=np.float32)[[0, 0, 1]], np.ones(3, np.float32))
    np.testing.assert_allclose(np.exp(shares), [2 / 3, 1 / 3, 0], atol=1e-6)
    assert np.isfinite(shares).all()


def test_of_a_class_that_it_has_never_seen_a_modality_tells_nothing() -> None:
    """Neither for nor against it, whatever it sees; of the others it tells as before."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = (rng.normal(size=(40, 3)) + 3 * y[:, None]).astype(np.float32)
    (one,) = fit_linear(x, np.eye(3, dtype=np.float32)[y], np.ones(40, np.float32), [1.0])
    assert one.prior[2] == pytest.approx(UNSEEN)
    told = one.evidence(x)
    assert (told[:, 2] == 0).all()
    assert (told[:, :2].argmax(axis=1) == y).mean() > 0.95
    pooled, _ = OpinionPool(np.log(PRIOR), np.full(1, 64, np.float32)).of([told], np.ones((40, 1), bool))
    assert (pooled.argmax(axis=1) == y).mean() > 0.95


def test_a_modality_learnt_from_other_shares_brings_only_its_evidence() -> None:
    """Two that saw the same, one of them learnt from clips of which few are of class 0, say nearly the same."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 2000)
    x = (rng.normal(size=(4000, 1)) + y[:, None]).astype(np.float32)
    target, weight, few = np.eye(2, dtype=np.float32)[y], np.ones(4000, np.float32), np.arange(1800, 4000)
    (all_of_them,), (some,) = (fit_linear(x[at], target[at], weight[at], [1.0]) for at in (np.arange(4000), few))
    assert np.abs(all_of_them.prior - some.prior).max() > 1
    # The ratio of two classes' evidence is that of their likelihoods, which no share is in.
    gaps = [np.diff(one.evidence(x), axis=1) for one in (all_of_them, some)]
    assert np.abs(gaps[0] - gaps[1]).mean() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_strength_is_judged_at_the_best_scale(seed: int) -> None:
    """Some labels are wrong, and the weaker penalty overdoes what it learns from them; but it knows more."""
    rng = np.random.default_rng(seed)
    y = np.arange(120) % 3
    x = (rng.normal(size=(120, 20)) + np.eye(3)[y] @ rng.normal(size=(3, 20))).astype(np.float32)
    label = np.where(rng.random(120) < 0.3, rng.integers(3, size=120), y)
    target, weight = np.eye(3, dtype=np.float32)[label], np.ones(120, np.float32)
    strength, evidence = choose_strength(x, target, weight, np.arange(120) % 5, [1e-6, 10.0])
    assert strength == 10.0
    assert log_softmax(evidence)[np.arange(120), label].mean() < np.log(1 / 3)  # as it is, worse than saying nothing
    assert (evidence.argmax(axis=1) == y).mean() > 0.7


@pytest.fixture
def quick(params: TrainParams) -> TrainParams:
    """Two seeds, a few epochs."""
    return params.model_copy(update={"epochs": 4, "seeds": (0, 1)})


def test_a_combination_is_the_mean_of_its_two_heads(planted: Planted, quick: TrainParams) -> None:
    """Of the same members as theirs, for each seed and fold; the weights are the head's, and it has no history."""
    features, labels = features_of(planted), labels_of(planted)
    with fixed_threads():
        both, own, late = (
            cross_validate(name, features, labels, 3, quick) for name in ("mertools+late", "mertools", "logreg")
        )
        for one, alone in zip(both.members, own.members, strict=True):
            beside = next(other for other in late.members if other.fold == one.fold)
            scored = features.take(np.flatnonzero(labels.fold == one.fold))
            found, *each = (member.predict(scored) for member in (one.member, alone.member, beside.member))
            mean = np.mean([part.probabilities for part in each], axis=0)
            np.testing.assert_allclose(found.probabilities, mean, atol=1e-6)
            assert np.array_equal(found.weights, each[0].weights)
            assert (one.seed, one.fold, one.history) == (alone.seed, alone.fold, [])
    np.testing.assert_allclose(both.probabilities, (own.probabilities + late.probabilities) / 2, atol=1e-6)
    assert np.array_equal(both.weights, own.weights)


def test_where_only_one_of_both_knows_a_modality_it_decides_alone() -> None:
    """The other one has nothing but the training prior to say; where neither knows one, both priors are averaged."""
    said = np.array([[0.8, 0.2], [0.6, 0.4], [0.6, 0.4]], np.float32)
    own = Predicted(said, np.ones((3, 1), np.float32), np.array([False, True, True]))
    late = Predicted(1 - said, np.ones((3, 1), np.float32), np.array([False, False, True]))
    found = mean_of(own, late)
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.5], [0.4, 0.6], [0.5, 0.5]], atol=1e-6)
    assert found.by_prior.tolist() == [False, False, True]


def test_a_combination_is_kept_and_read_again(planted: Planted, quick: TrainParams, tmp_path: Path) -> None:
    """A saved member says the same to the bit, and a cache that knows both heads trains nothing for it."""
    features, labels = features_of(planted), labels_of(planted)
    cache, ticks = HeadCache(str(tmp_path / "store")), list[int]()
    with fixed_threads():
        for name in ("ecmf", "logreg"):
            cache.cross_validate(name, features, labels, 3, quick)
        first = cache.cross_validate("ecmf+late", features, labels, 3, quick, lambda: ticks.append(1))
        plain = cross_validate("ecmf+late", features, labels, 3, quick)
    assert len(ticks) == 5 * (2 + 1) == members_of("ecmf+late", labels, quick)
    assert first.probabilities.tobytes() == plain.probabilities.tobytes()
    member, path = first.members[3].member, tmp_path / "member.safetensors"
    save_member(path, member, features.names)
    config = FusionConfig(
        classes=CLASSES, modalities=features.names, dims=features.dims, folds=5, params=quick, selected=None, empty=None
    )
    again = load_member(path, config, FUSED, "ecmf+late").predict(features)
    assert again.probabilities.tobytes() == member.predict(features).probabilities.tobytes()


def test_a_combination_is_made_anew_where_one_of_its_heads_is_another(planted: Planted, quick: TrainParams) -> None:
    """Its key has the options of both heads, and no others."""
    features, labels = features_of(planted), labels_of(planted)

    def key(params: TrainParams) -> str:
        return key_of("ecmf+late", features, labels, 3, params)

    assert key(quick.with_options("ecmf", residual=False)) != key(quick)
    assert key(quick.with_options("logreg", c=[0.5])) != key(quick)
    assert key(quick.with_options("gated")) == key(quick)
    assert key_of("ecmf", features, labels, 3, quick.with_options("logreg", c=[0.5])) == key_of(
        "ecmf", features, labels, 3, quick
    )


def test_what_no_sum_of_opinions_can_say_late_fusion_leaves_to_the_network(params: TrainParams) -> None:
    """Whether two modalities agree: either alone tells nothing. Late fusion knows that it does not know, so their mean
    says what the network says."""
    rng = np.random.default_rng(0)
    sides = rng.choice([-1, 1], size=(400, 2))
    x = tuple((sides[:, [m]] * 2 + rng.normal(size=(400, 4)) * 0.5).astype(np.float32) for m in range(2))
    features, y = Features(("face", "voice"), x, np.ones((400, 2), bool)), (sides.prod(axis=1) > 0).astype(np.int64)
    fold = np.arange(400) % 4
    held_out = np.where(fold == np.arange(4)[:, None], MISSING, y)
    labels = Labels(tuple(f"{i:03}" for i in range(400)), fold, y, y, held_out, y)
    params = with_strengths(params, 1e-2, 1e-1).model_copy(update={"epochs": 40, "patience": 20, "seeds": (0,)})
    with fixed_threads():
        late, both = (cross_validate(name, features, labels, 2, params) for name in ("logreg", "ecmf+late"))
    assert np.abs(late.probabilities - 0.5).max() < 0.2
    assert (both.probabilities[0].argmax(axis=1) == y).mean() > 0.9
