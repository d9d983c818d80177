"""What is learnt of a clip was made without the scored fold, and classes may count the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.base import NO_FOLD
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.training.cross_validation import Labels, cross_validate, read_labels, split, without
from mer_pipeline.training.head_cache import key_of
from mer_pipeline.training.member import fixed_threads
from tests.planted import CLASSES, Planted, heads_of
from tests.training.test_cross_validation import bytes_of, features_of, labels_of

SOFT = ("posterior", "smoothed")


@pytest.fixture
def labels(planted: Planted) -> Labels:
    """The label model is surer of some clips than of others, and differs by the fold that it does not see."""
    plain = labels_of(planted)
    q = np.random.default_rng(3).dirichlet(np.ones(3), size=(6, 60)).astype(np.float32)
    q[:5][plain.held_out == MISSING] = 0
    return replace(plain, posterior=q)


def asked(params: TrainParams, **changes: object) -> TrainParams:
    """Quick, and with these changes."""
    return params.model_copy(update={"seeds": (0,), "epochs": 3, **changes})


def test_the_table_is_read_by_fold_and_clip(planted: Planted, project: Callable[..., Project]) -> None:
    """Every posterior is its row's of data/labels.parquet; on fold f's own clips none was made without f."""
    at = project(planted)
    labels = read_labels(at, CLASSES, truth=False)
    assert labels.posterior is not None
    assert labels.posterior.shape == (6, 60, 3)
    for row in pq.read_table(at.labels).to_pylist():
        found = labels.posterior[row["held_out_fold"], labels.clip_ids.index(row["clip_id"])]
        assert found.tolist() == row["posterior"]
    for f in range(5):
        assert not labels.posterior[f, labels.fold == f].any()


@pytest.mark.parametrize("uses_validation", [True, False])
def test_targets_are_made_without_the_scored_fold(labels: Labels, params: TrainParams, uses_validation: bool) -> None:
    """Each row's own posterior at [f], or the mean of those of its label's rows, validation ones among them."""
    assert labels.posterior is not None
    for f in range(5):
        others, q, label = labels.fold != f, labels.posterior[f], labels.held_out[f]
        for how in SOFT:
            train, validation = split(labels, f, uses_validation, 3, asked(params, targets=how))
            for rows in (train, validation) if validation is not None else (train,):
                means = np.stack([q[others & (label == c)].mean(axis=0) for c in range(3)])
                expected = q[rows.rows] if how == "posterior" else means[rows.label]
                np.testing.assert_allclose(rows.target, expected, atol=1e-6)
                np.testing.assert_allclose(rows.target.sum(axis=1), 1, atol=1e-6)
                assert (rows.label == label[rows.rows]).all(), "what F1 is measured by stays the label"


@pytest.mark.parametrize("how", SOFT)
@pytest.mark.parametrize("name", heads_of())
def test_only_its_own_posteriors_reach_a_head(
    name: HeadName, how: str, planted: Planted, labels: Labels, params: TrainParams
) -> None:
    """Those made without fold 2 changed: fold 2's member alone changes; the final ones reach nobody."""
    params = asked(params, targets=how)
    assert labels.posterior is not None
    other = labels.posterior.copy()
    other[2] = np.where(labels.fold[:, None] == 2, 7, other[2][:, [1, 2, 0]])  # nonsense on the scored clips
    other[FINAL] = other[FINAL][:, ::-1]
    blind = other.copy()
    blind[2, labels.fold == 2] = 0
    with fixed_threads():
        hard, one, two, three = (
            cross_validate(name, features_of(planted), replace(labels, posterior=q), 3, params).members
            for q in (None, labels.posterior, other, blind)
        )
    for f in range(5):
        assert bytes_of(hard[f].member) != bytes_of(one[f].member), "soft targets teach something else"
        assert (bytes_of(one[f].member) == bytes_of(two[f].member)) == (f != 2)
        assert bytes_of(two[f].member) == bytes_of(three[f].member)


def test_a_class_that_nobody_is_labelled_is_not_smoothed(labels: Labels, params: TrainParams) -> None:
    """Nothing was measured of it: a pseudo-label of that class is learnt as it is."""
    two = replace(labels, held_out=np.minimum(labels.held_out, 1), pseudo_ids=("p", "q"), pseudo=np.full((5, 2), 2))
    train, _ = split(two, 0, False, 3, asked(params, targets="smoothed"))
    assert train.target[-2:].tolist() == [[0, 0, 1]] * 2


def test_a_pseudo_label_is_as_unsure_as_its_class(labels: Labels, params: TrainParams) -> None:
    """It has no posterior of its own, and does not count in the measured confusion."""
    ids = ("p", "q", "r")
    more = replace(labels, pseudo_ids=ids, pseudo=np.tile([0, MISSING, 2], (5, 1)))
    for how in SOFT:
        here = asked(params, targets=how)
        train, _ = split(more, 1, False, 3, here)
        smoothed, _ = split(labels, 1, False, 3, asked(params, targets="smoothed"))
        assert train.fold[-2:].tolist() == [NO_FOLD] * 2
        for at, c in ((-2, 0), (-1, 2)):
            assert train.target[at].tolist() == smoothed.target[smoothed.label == c][0].tolist()


def test_heads_blind_to_a_fold_learn_its_posteriors(labels: Labels, params: TrainParams) -> None:
    """Nested cross-validation without fold f takes what was made without f, and where all was seen the final ones."""
    assert labels.posterior is not None
    for held_out in (FINAL, 3):
        rows, blind = without(labels, held_out)
        for g in range(blind.folds):
            train, _ = split(blind, g, False, 3, asked(params, targets="posterior"))
            assert train.target.tolist() == labels.posterior[held_out, rows[train.rows]].tolist()


@pytest.mark.parametrize("uses_validation", [True, False])
def test_balanced_classes_weigh_the_same(planted: Planted, params: TrainParams, uses_validation: bool) -> None:
    """Over all that is learnt from, with the validation rows and the pseudo-labels, and 1 on average."""
    plain = labels_of(planted)
    given = np.where(np.arange(60) % 7 == 0, 1, plain.given % 2 * 2)  # rare, and two others
    held_out = np.where(plain.held_out == MISSING, MISSING, given)
    labels = replace(plain, held_out=held_out, pseudo_ids=("p",), pseudo=np.full((5, 1), 2))
    for f in range(5):
        train, validation = split(labels, f, uses_validation, 3, asked(params, class_weights="balanced"))
        whole = train if validation is None else train.and_(validation)
        sums = np.bincount(whole.label, weights=whole.weight, minlength=3)
        np.testing.assert_allclose(sums, len(whole.label) / 3, rtol=1e-5)
        assert whole.weight.mean() == pytest.approx(1, abs=1e-6)
        flat, _ = split(labels, f, uses_validation, 3, params)
        assert (flat.weight == 1).all()


@pytest.mark.parametrize("name", heads_of())
def test_weights_change_what_is_learnt(name: HeadName, planted: Planted, params: TrainParams) -> None:
    """A rare class is said more often where it counts as much as the others."""
    labels, features = labels_of(planted), features_of(planted)
    rare = (labels.given == 2) & (np.arange(60) % 3 > 0)
    keep = np.flatnonzero(~rare)
    few = Labels(
        tuple(labels.clip_ids[i] for i in keep), labels.fold[keep], labels.given[keep], labels.final[keep],
        labels.held_out[:, keep], labels.true[keep],
    )  # fmt: skip
    said = []
    for how in ("none", "balanced"):
        with fixed_threads():
            here = asked(params, class_weights=how, epochs=12)
            said.append(cross_validate(name, features.take(keep), few, 3, here).probabilities[..., 2].mean())
    assert said[1] > said[0]


def test_the_key_covers_what_is_learnt(planted: Planted, labels: Labels, params: TrainParams) -> None:
    """Targets and weights always; posteriors only where they are learnt."""
    features, other = features_of(planted), replace(labels, posterior=None)

    def key(labels: Labels, **changes: object) -> str:
        return key_of("ecmf", features, labels, 3, params.model_copy(update=changes))

    changes = ({}, {"targets": "posterior"}, {"targets": "smoothed"}, {"class_weights": "balanced"})
    assert len({key(labels, **change) for change in changes}) == len(changes)
    assert key(labels) == key(other)
    assert key(labels, targets="posterior") != key(other, targets="posterior")
