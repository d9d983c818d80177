"""Cross-validation without leaks: the scored fold is invisible, and another one is validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.base import ComputeConfig, TrainingJob
from mer_pipeline.heads.ecmf import Ecmf
from mer_pipeline.heads.linear import fit_linear
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.cross_validation import Labels, cross_validate, split
from mer_pipeline.training.member import Member, fixed_threads
from tests.planted import CLASSES, Planted, heads_of, plant, with_strengths


def labels_of(planted: Planted) -> Labels:
    """The labelled clips, nothing refined."""
    rows = planted.fold >= 0
    fold, given = planted.fold[rows], planted.given[rows]
    k = int(fold.max()) + 1
    held_out = np.where(fold == np.arange(k)[:, None], MISSING, given)
    ids = tuple(c for c, keep in zip(planted.clip_ids, rows, strict=True) if keep)
    return Labels(ids, fold, given, given, held_out, planted.true[rows])


def features_of(planted: Planted) -> Features:
    """Theirs alone."""
    return planted.features.take(np.flatnonzero(planted.fold >= 0))


def bytes_of(member: Member) -> dict[str, bytes]:
    """All that was learnt."""
    assert member.head is not None
    scaler = {f"{m}": mean.tobytes() for m, mean in enumerate(member.scaler.mean)}
    return {"prior": member.prior.tobytes(), **scaler, **{k: v.tobytes() for k, v in member.head.tensors().items()}}


@pytest.mark.parametrize("name", heads_of())
def test_the_scored_fold_does_not_influence_its_head(name: HeadName, planted: Planted, params: TrainParams) -> None:
    """Other given labels and other features on fold 2: its member is the same to the bit, others are not.
    Its strength is chosen from two."""
    labels, features = labels_of(planted), features_of(planted)
    own = labels.fold == 2
    given = np.where(own, (labels.given + 1) % 3, labels.given)
    held_out = np.where(labels.held_out == MISSING, MISSING, given)
    held_out[2] = labels.held_out[2]
    other = replace(labels, given=given, final=given, held_out=held_out)
    moved = replace(features, x=tuple(np.where(own[:, None], x + 3, x) for x in features.x))
    params = with_strengths(params, 1e-2, 1e-1).model_copy(update={"seeds": (0,)})
    with fixed_threads():
        one = cross_validate(name, features, labels, 3, params)
        two = cross_validate(name, moved, other, 3, params)
    at = {t.fold: t for t in one.members}
    changed = {t.fold: t for t in two.members}
    assert bytes_of(at[2].member) == bytes_of(changed[2].member)
    assert at[2].history == changed[2].history
    for f in (0, 1, 3, 4):
        assert (bytes_of(at[f].member), at[f].history) != (bytes_of(changed[f].member), changed[f].history)


def test_the_watched_fold_is_the_next_one_and_is_not_trained_on(planted: Planted) -> None:
    """Scored f, validation f+1, the other three trained on: all by labels refined without f."""
    labels = labels_of(planted)
    refined = np.where(labels.held_out == MISSING, MISSING, (labels.held_out + 1) % 3)
    labels = replace(labels, held_out=refined)
    for f in range(5):
        train, validation = split(labels, f, True, len(CLASSES))
        assert validation is not None
        assert set(validation.fold) == {(f + 1) % 5}
        assert set(train.fold) == set(range(5)) - {f, (f + 1) % 5}
        assert (validation.label == refined[f, labels.fold == (f + 1) % 5]).all()
        assert (train.label == refined[f][np.isin(labels.fold, list(set(train.fold)))]).all()
        whole, nothing = split(labels, f, False, len(CLASSES))
        assert nothing is None
        assert set(whole.fold) == set(range(5)) - {f}


def test_early_stopping_keeps_the_best_watched_epoch(planted: Planted, params: TrainParams) -> None:
    """Training ends `patience` epochs after it; without refit the member scores that fold as its history says."""
    labels, features = labels_of(planted), features_of(planted)
    params = params.model_copy(update={"epochs": 60, "patience": 4, "seeds": (0,), "refit": False})
    with fixed_threads():
        for one in cross_validate("ecmf", features, labels, 3, params).members:
            validation = [epoch.validation_f1 for epoch in one.history if epoch.validation_f1 is not None]
            best = int(np.argmax(validation))
            last = max(i for i, f1 in enumerate(validation) if f1 == validation[best])
            assert best + 4 < len(validation) <= min(60, last + 4 + 1)
            rows = np.flatnonzero(labels.fold == (one.fold + 1) % 5)
            rows = rows[features.mask[rows].any(axis=1)]
            predicted = one.member.predict(features.take(rows)).probabilities.argmax(axis=1)
            assert Confusion.of(labels.given[rows], predicted, 3).weighted_f1 == pytest.approx(validation[best])


def test_the_scaler_sees_training_rows_only(planted: Planted, params: TrainParams) -> None:
    """Neither the scored nor the validation fold moves the means; the prior is the training rows' too."""
    labels, features = labels_of(planted), features_of(planted)
    member = cross_validate("mertools", features, labels, 3, params).members[0].member
    rows = np.flatnonzero(labels.fold >= 2)
    for m, x in enumerate(features.x):
        present = rows[features.mask[rows, m]]
        np.testing.assert_allclose(member.scaler.mean[m], x[present].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(member.prior, np.bincount(labels.given[rows], minlength=3) / len(rows), atol=1e-6)


@pytest.mark.parametrize("name", heads_of())
def test_two_folds_and_lone_classes_still_train(name: HeadName, params: TrainParams) -> None:
    """Nothing is validation then: training takes `patience` epochs on all that is not scored. Only a head that weighs
    its network by the validation fold does without the network."""
    two = plant(labelled=24, others=5, folds=2)
    with fixed_threads():
        done = cross_validate(name, features_of(two), labels_of(two), 3, params)
    assert np.isfinite(done.probabilities).all()
    without = ("logreg", "joint", "anchored", "ensemble")
    assert {len(t.history) for t in done.members} == ({0} if name in without else {params.patience})
    lone = plant(labelled=30, others=5)
    given = np.where(lone.fold == 1, 2, lone.given % 2)  # class 2 occurs in fold 1 alone
    labels = labels_of(replace(lone, given=given))
    train, validation = split(labels, 0, True, len(CLASSES))
    assert validation is None
    assert set(train.label) == {0, 1, 2}
    assert split(labels, 2, True, len(CLASSES))[1] is not None
    with fixed_threads():
        assert np.isfinite(cross_validate(name, features_of(lone), labels, 3, params).probabilities).all()


@pytest.mark.parametrize("name", heads_of())
def test_a_modality_that_nobody_has_gives_the_prior(name: HeadName, planted: Planted, params: TrainParams) -> None:
    """Alone it has no head; beside others it has no weight."""
    labels, features = labels_of(planted), features_of(planted)
    gone = replace(features, mask=features.mask & np.array([True, True, False]))
    with fixed_threads():
        alone = cross_validate(name, gone.only("voice"), labels, 3, params)
        beside = cross_validate(name, gone, labels, 3, params)
    assert all(t.member.head is None for t in alone.members)
    assert alone.by_prior.all()
    np.testing.assert_allclose(alone.probabilities.sum(axis=2), 1, rtol=1e-5)
    assert (beside.weights[:, :, 2] == 0).all()


def test_heads_learn(planted: Planted, params: TrainParams) -> None:
    """Out of fold, well above chance (one in three) on clips whose modalities are worth something."""
    labels, features = labels_of(planted), features_of(planted)
    params = params.model_copy(update={"epochs": 40, "patience": 20, "lr": 1e-2, "dropout": 0.1, "seeds": (0,)})
    with fixed_threads():
        for name in heads_of():
            predicted = cross_validate(name, features, labels, len(CLASSES), params).probabilities.argmax(axis=2)
            assert (predicted == labels.true).mean() > 0.7


def test_refit_learns_anew_from_the_validation_fold_too(planted: Planted, params: TrainParams) -> None:
    """Exactly the head that learns from both for as many epochs as were best, and has no validation fold."""
    labels, features = labels_of(planted), features_of(planted)
    train, validation = split(labels, 0, True, len(CLASSES))
    assert validation is not None
    own = head_of("ecmf", params).params
    job = TrainingJob(train, validation, Scaler.fit(features.take(train.rows)), 0, own)

    def learn(job: TrainingJob) -> tuple[bytes, list[float]]:
        with fixed_threads():
            ((head, history),) = Ecmf.fit_all(features, [job], 3, ComputeConfig(), lambda: None)
        return b"".join(array.tobytes() for array in head.tensors().values()), [e.validation_f1 or 0 for e in history]

    head, seen = learn(job)
    both = replace(job, train=train.and_(validation), validation=None)
    best = [i for i, f1 in enumerate(seen) if f1 == max(seen)]  # of equals, the one with the least cross-entropy
    assert [learn(replace(both, epochs=i + 1))[0] == head for i in best].count(True) == 1
    assert learn(replace(job, params=own.model_copy(update={"refit": False})))[0] != head


def test_a_soft_target_is_so_many_hard_ones_and_weights_count(planted: Planted) -> None:
    """`logreg`: a row of two halves is two rows of half the weight; of weight 0 it is as if it were not there."""
    labels, features = labels_of(planted), features_of(planted)
    train, _ = split(labels, 0, False, len(CLASSES))
    half = np.full(len(train.rows), 0.5, np.float32)
    other = np.eye(3, dtype=np.float32)[(train.label + 1) % 3]
    soft = replace(train, target=(train.target + other) / 2)
    spread = replace(train, weight=half).and_(replace(train, target=other, weight=half))
    dead = train.and_(replace(train, target=other, weight=0 * half))
    x = features.x[0]
    for one, two in ((soft, spread), (train, dead)):
        fits = [fit_linear(x[e.rows], e.target, e.weight, [0.1])[0] for e in (one, two)]
        np.testing.assert_allclose(fits[0][0], fits[1][0], atol=2e-3)
        np.testing.assert_allclose(fits[0][1], fits[1][1], atol=2e-3)
