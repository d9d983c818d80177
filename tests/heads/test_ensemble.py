"""An ensemble keeps what helps on rows that its members did not learn from, and nothing else decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.base import Examples, TrainingJob
from mer_pipeline.heads.ensemble import Ensemble
from mer_pipeline.heads.inner import held_out, inner_folds, without
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.heads.selection import keep
from mer_pipeline.training.cross_validation import cross_validate
from mer_pipeline.training.head_cache import key_of
from mer_pipeline.training.member import HERE, fixed_threads
from tests.planted import CLASSES, Planted, heads_of
from tests.training.test_cross_validation import bytes_of, features_of, labels_of


def opinion(label: np.ndarray, right: np.ndarray, sure: float) -> np.ndarray:
    """Probabilities of `sure` for the label where it is right, else for the next class."""
    said = np.where(right, label, (label + 1) % 3)
    return np.where(np.eye(3)[said] > 0, sure, (1 - sure) / 2).astype(np.float32)


def test_a_head_that_harms_the_mean_is_dropped_and_one_that_helps_is_kept() -> None:
    """Two that err in different places help each other; one that is loudly wrong does not."""
    label, at = np.arange(30) % 3, np.arange(30)
    fold = at // 15
    half, other = opinion(label, at % 4 != 0, 0.5), opinion(label, at % 5 != 1, 0.6)
    loud = opinion(label, at < 0, 0.95)
    assert keep({"ecmf": half, "mertools": loud, "logreg": other}, label, fold, 3) == ["ecmf", "logreg"]
    assert keep({"ecmf": half, "logreg": half}, label, fold, 3) == ["ecmf", "logreg"]  # no evidence against either
    assert keep({"mertools": loud}, label, fold, 3) == ["mertools"]


def test_a_rise_on_some_folds_is_no_evidence() -> None:
    """A head that harms one inner fold much and the other not at all stays."""
    label, at = np.arange(30) % 3, np.arange(30)
    fold = at // 15
    good, half_wrong = opinion(label, at >= 0, 0.5), opinion(label, fold == 1, 0.95)
    assert keep({"ecmf": good, "logreg": half_wrong}, label, fold, 3) == ["ecmf", "logreg"]


def test_it_is_made_of_the_heads_that_are_trained_or_of_all() -> None:
    """It stands among others in `train.heads`, or alone."""

    def parts(*heads: HeadName) -> list[HeadName]:
        return [part.name for part in head_of("ensemble", TrainParams(heads=heads)).parts]

    assert parts("ensemble", "logreg", "ecmf") == ["ecmf", "logreg"]
    assert parts("ensemble", "ecmf+late", "ecmf", "mertools") == ["ecmf", "mertools", "logreg"]  # a combination's two
    assert parts("ensemble") == [name for name in heads_of() if name != "ensemble"]


@pytest.mark.parametrize("name", ["ecmf", "concat"])
def test_an_ensemble_of_one_is_that_head(name: HeadName, planted: Planted, params: TrainParams) -> None:
    """Its answer is the head's own, to rounding."""
    labels, features = labels_of(planted), features_of(planted)
    params = params.with_heads(name, "ensemble").model_copy(update={"seeds": (0,)})
    with fixed_threads():
        one, alone = (cross_validate(n, features, labels, len(CLASSES), params) for n in ("ensemble", name))
    np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-6)
    assert all(list(t.member.head.parts) == [name] for t in one.members if isinstance(t.member.head, Ensemble))


def test_what_is_kept_never_depends_on_the_scored_fold(planted: Planted, params: TrainParams) -> None:
    """With fold 2's labels and features turned into nonsense the member that is scored on it has the same bytes."""
    labels, features = labels_of(planted), features_of(planted)
    params = params.with_heads("ecmf", "concat", "logreg", "ensemble")
    params = params.model_copy(update={"seeds": (0,), "epochs": 4, "patience": 3})
    there = labels.fold == 2
    lies = replace(
        labels,
        given=np.where(there, 0, labels.given),
        final=np.where(there, 0, labels.final),
        true=np.where(there, 0, labels.true),
    )
    noise = np.random.default_rng(1)
    x = tuple(np.where(there[:, None], noise.normal(size=v.shape), v).astype(np.float32) for v in features.x)
    with fixed_threads():
        honest = cross_validate("ensemble", features, labels, len(CLASSES), params)
        other = cross_validate("ensemble", replace(features, x=x), lies, len(CLASSES), params)
    assert bytes_of(honest.members[2].member) == bytes_of(other.members[2].member)
    assert bytes_of(honest.members[1].member) != bytes_of(other.members[1].member)


def test_inner_opinions_are_of_heads_that_did_not_see_the_row(planted: Planted, params: TrainParams) -> None:
    """Another label of one row changes what is said of its fold's rows in no digit, and what is said of others."""
    features, n = features_of(planted), int((planted.fold >= 0).sum())
    every = Examples.of(np.arange(n), planted.given[:n], planted.fold[:n], len(CLASSES))
    train = every.at(np.flatnonzero(every.fold < 3))
    job = TrainingJob(train, None, Scaler.fit(features.take(train.rows)), 0, params)
    label = train.label.copy()
    label[0] = (label[0] + 1) % 3
    lie = replace(job, train=Examples.of(train.rows, label, train.fold, len(CLASSES)))
    assert inner_folds(job) == [0, 1, 2]
    assert (without(job, 1, features).train.fold != 1).all()
    with fixed_threads():
        (one, known), (two, _) = held_out(head_of("logreg", params), features, [job, lie], len(CLASSES), HERE)
    same = train.fold == train.fold[0]
    assert (one[same] == two[same]).all()
    assert (one[~same & known] != two[~same & known]).any()


def test_a_remembered_ensemble_is_of_the_heads_that_are_asked_for(planted: Planted, params: TrainParams) -> None:
    """Other heads beside it make it another, and not what stands in the store; those heads themselves stay."""
    labels, features = labels_of(planted), features_of(planted)
    asked: list[tuple[HeadName, ...]] = [("ecmf", "ensemble"), ("ecmf", "logreg", "ensemble")]

    def keys(name: HeadName) -> set[str]:
        return {key_of(name, features, labels, 3, params.with_heads(*heads)) for heads in asked}

    assert len(keys("ensemble")) == 2
    assert len(keys("ecmf")) == 1
