"""Heads on sets of classes and on numbers: losses, linear heads, and what holds for every head that learns them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference
from torch import nn

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import HeadName, SearchParams, SearchSpace, TrainParams
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.binary import Binary
from mer_pipeline.heads.logreg import LogReg, LogRegParams
from mer_pipeline.heads.losses import batch_losses, row_losses
from mer_pipeline.heads.make import check_heads
from mer_pipeline.heads.ridge import Ridge, RidgeParams, choose_penalty, fit_ridge
from mer_pipeline.scores.numbers import ccc, moments
from mer_pipeline.training.artifacts import FusionConfig, load_member, save_member
from mer_pipeline.training.cross_validation import Validated, cross_validate, split
from mer_pipeline.training.head_cache import key_of
from mer_pipeline.training.member import Member, fit_members, fixed_threads
from tests.planted import DIMS, NAMES, Planted, heads_of
from tests.planted_targets import TARGETS, labels_of, plant_target

KINDS: tuple[Kind, ...] = ("multilabel", "regression")
EACH = [(kind, name) for kind in KINDS for name in heads_of(kind)]
RNG = np.random.default_rng(0)


def params_of(kind: Kind) -> TrainParams:
    """Small enough for tests."""
    params = TrainParams(d=16, epochs=12, patience=6, seeds=(0,), lr=5e-3, heads=heads_of(kind))
    return (
        params.with_options("ridge", alpha=[10.0]) if kind == "regression" else params.with_options("binary", c=[0.1])
    )


def validated(kind: Kind, name: HeadName, planted: Planted, labels: tuple[str, ...]) -> Validated:
    features = planted.features.take(np.flatnonzero(planted.fold >= 0))
    with fixed_threads():
        return cross_validate(
            name, features, labels_of(kind, planted, labels), len(TARGETS[kind].names), params_of(kind)
        )


@cache
def known(kind: Kind, name: HeadName) -> Validated:
    """Trained once for all tests that only look at it."""
    return validated(kind, name, *plant_target(kind))


def bytes_of(member: Member) -> list[bytes]:
    assert member.head is not None
    standard = [] if member.standard is None else [member.standard.mean.tobytes(), member.standard.scale.tobytes()]
    return [member.prior.tobytes(), *standard, *(array.tobytes() for array in member.head.tensors().values())]


def test_losses_are_torchs() -> None:
    """Cross-entropy with distributions, and binary cross-entropy of each class."""
    values, target = torch.randn(2, 5, 3), torch.rand(2, 5, 3)
    shares = target / target.sum(dim=2, keepdim=True)
    for k, i in product(range(2), range(5)):
        expected = nn.functional.cross_entropy(values[k, i], shares[k, i])
        torch.testing.assert_close(row_losses("class", values, shares)[k, i], expected)
        expected = nn.functional.binary_cross_entropy(values[k, i].sigmoid(), target[k, i])
        torch.testing.assert_close(row_losses("multilabel", values, target)[k, i], expected)


@pytest.mark.parametrize("kind", ["class", *KINDS])
def test_rows_that_fill_a_batch_count_nothing(kind: Kind) -> None:
    """The loss of numbers is the squared error and 1 - CCC of the rows that have a weight."""
    values, target = torch.randn(2, 8, 3), torch.rand(2, 8, 3)
    weight = torch.tensor([[0.2] * 5 + [0.0] * 3, [1 / 8] * 8])
    whole = batch_losses(kind, values, target, weight)
    alone = batch_losses(kind, values[:1, :5], target[:1, :5], weight[:1, :5])
    torch.testing.assert_close(whole[:1], alone)
    if kind == "regression":
        x, y = target[0, :5].double().numpy(), values[0, :5].double().numpy()
        expected = ((x - y) ** 2).mean() + 1 - ccc(moments(x, y).sum(axis=0)).mean()
        assert float(whole[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("rows", [6, 40])
def test_ridge_is_scikit_learns(rows: int) -> None:
    """With fewer rows than columns too; the intercept is not penalised."""
    x, y = RNG.normal(size=(rows, 12)).astype(np.float32), RNG.normal(size=(rows, 2)).astype(np.float32) + 1
    for alpha, own in zip((0.1, 10.0), fit_ridge(x, y, (0.1, 10.0)), strict=True):
        reference = Reference(alpha=alpha, solver="svd").fit(x.astype(float), y.astype(float))
        np.testing.assert_allclose(own[:, :-1], reference.coef_, atol=1e-5)
        np.testing.assert_allclose(own[:, -1], reference.intercept_, atol=1e-5)


def test_the_penalty_is_chosen_on_held_out_rows() -> None:
    """A weak one where the features tell the numbers, the strongest where they tell nothing."""
    x, fold = RNG.normal(size=(60, 12)).astype(np.float32), np.arange(60) % 5
    y = (x @ RNG.normal(size=(12, 1))).astype(np.float32)
    noise = RNG.normal(size=y.shape).astype(np.float32)
    assert choose_penalty(x, y, fold, (0.1, 1e4))[0] == 0.1
    assert choose_penalty(x, noise, fold, (0.1, 1e4))[0] == 1e4
    chosen, told = choose_penalty(x, y, fold, (0.1,))
    inside = fold != 2
    own = fit_ridge(x[inside], y[inside], (chosen,))[0]
    np.testing.assert_allclose(told[~inside], x[~inside] @ own[:, :-1].T + own[:, -1], atol=1e-5)


def test_binary_is_logreg_of_each_class() -> None:
    """With the classes "has it" and "has not", as if there were no other class."""
    planted, labels = plant_target("multilabel")
    train, _ = split(labels_of("multilabel", planted, labels), 0, False, 3)
    with fixed_threads():
        (member, _), *_ = fit_members("binary", planted.features, [(train, None)], (0,), 3, params_of("multilabel"))
        assert isinstance(member.head, Binary)
        label = (train.target[:, 1] > 0).astype(np.int64)
        alone = LogReg(DIMS, 2, LogRegParams(c=(0.1,)))
        scaled = member.scaler.apply(planted.features)
        alone.fit(scaled.take(train.rows), Examples.of(train.rows, label, train.fold, 2))
        group = scaled.take(np.arange(64))
        told = alone.score(group).values
        np.testing.assert_allclose(member.head.score(group).values[:, 1], told[:, 1] - told[:, 0], rtol=1e-5)


def test_a_useless_modality_has_hardly_a_weight() -> None:
    """`ridge` gives the face, which says nothing, the least of the three."""
    for one in known("regression", "ridge").members:
        assert isinstance(one.member.head, Ridge)
        assert one.member.head.weights.argmin() == NAMES.index("face")


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_a_head_knows_more_than_the_mean(kind: Kind, name: HeadName) -> None:
    """Out of fold, its figure is far above that of a constant: a CCC of 0, a mAP of the classes' shares."""
    planted, labels = plant_target(kind)
    known_labels = labels_of(kind, planted, labels)
    rows = np.arange(len(known_labels.given))
    constant = 0.0 if kind == "regression" else np.stack([TARGETS[kind].vector(one) for one in labels]).mean()
    assert known_labels.figure(rows, known(kind, name).probabilities[0]) > constant + 0.2


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_the_scored_fold_has_no_say(kind: Kind, name: HeadName) -> None:
    """Other labels on fold 2: its member is the same to the bit, with the standardisation of numbers."""
    planted, labels = plant_target(kind)
    given = np.flatnonzero(planted.fold == 2).tolist()
    moved = list(labels)
    for i, j in zip(given, given[1:] + given[:1], strict=True):
        moved[i] = labels[j]
    moved[given[0]] = "1.0;4.0" if kind == "regression" else "-"
    one, two = known(kind, name), validated(kind, name, planted, tuple(moved))
    same = [bytes_of(a.member) == bytes_of(b.member) for a, b in zip(one.members, two.members, strict=True)]
    assert same == [False, False, True, False, False]


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_a_clip_alone_and_what_is_masked(kind: Kind, name: HeadName) -> None:
    """Alone and in any batch the same bytes; absent inputs say nothing; a clip with nothing gets the training mean."""
    planted, _ = plant_target(kind)
    member, mask = known(kind, name).members[0].member, planted.features.mask
    whole = member.predict(planted.features)
    lies = tuple(np.where(mask[:, [m]], x, x + 9) for m, x in enumerate(planted.features.x))
    assert member.predict(Features(NAMES, lies, mask)).probabilities.tobytes() == whole.probabilities.tobytes()
    for i in (0, 37, 99):
        alone = member.predict(planted.features.take(np.array([i])))
        assert alone.probabilities.tobytes() == whole.probabilities[i : i + 1].tobytes()
    assert whole.probabilities[-1].tolist() == member.prior.tolist()


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_a_loaded_member_is_the_saved_one(kind: Kind, name: HeadName, tmp_path: Path) -> None:
    """From its file and config.json alone, to the bit."""
    planted, _ = plant_target(kind)
    target = TARGETS[kind]
    config = FusionConfig(
        classes=target.names, modalities=NAMES, dims=DIMS, folds=5, params=params_of(kind), selected=name, empty=None,
        target=target.footer(),
    )  # fmt: skip
    member = known(kind, name).members[0].member
    save_member(tmp_path / "m.safetensors", member, NAMES)
    loaded = load_member(tmp_path / "m.safetensors", FusionConfig.model_validate_json(config.text()), None, name)
    assert (
        loaded.predict(planted.features).probabilities.tobytes()
        == member.predict(planted.features).probabilities.tobytes()
    )


def test_numbers_are_standardised_on_the_training_rows() -> None:
    """On these alone: neither the validation fold nor the scored one has a part in mean and scale."""
    planted, labels = plant_target("regression")
    own = labels_of("regression", planted, labels)
    for one in known("regression", "mertools").members:
        train, validation = split(own, one.fold, True, 2)
        assert validation is not None
        standard = one.member.standard
        assert standard is not None
        np.testing.assert_allclose(standard.mean, train.target.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(standard.scale, train.target.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_labels_mean_is_in_the_key(kind: Kind) -> None:
    """Other numbers behind the same indices are another training; for classes the key has no such part."""
    planted, labels = plant_target(kind)
    own, features = labels_of(kind, planted, labels), planted.features.take(np.flatnonzero(planted.fold >= 0))
    assert own.coded is not None
    other = replace(own, coded=replace(own.coded, rows=own.coded.rows[::-1].copy()))
    keys = {key_of("mertools", features, one, 3, params_of(kind)) for one in (own, other, replace(own, coded=None))}
    assert len(keys) == 3


def test_a_search_is_judged_by_the_figure_of_the_kind() -> None:
    """The first trial has the settings of params: its value is the CCC of the plain cross-validation."""
    planted, labels = plant_target("regression")
    own, features = labels_of("regression", planted, labels), planted.features.take(np.arange(60))
    plain = params_of("regression").model_copy(update={"epochs": 2})
    space = SearchSpace(lr=(1e-4, 1e-2))
    asked = plain.model_copy(update={"search": SearchParams(trials=2, batch=2, space=space)})
    with fixed_threads():
        expected = cross_validate("mertools", features, own, 2, plain)
        found = cross_validate("mertools", features, own, 2, asked)
    assert found.searches is not None
    assert found.searches[-1].values[0] == pytest.approx(own.figure(np.arange(60), expected.probabilities[0]), abs=1e-6)


def test_noise_is_told_from_nothing() -> None:
    """Features that say nothing of the numbers give `ridge` a CCC about 0 out of fold."""
    planted, labels = plant_target("regression")
    shuffled = tuple(RNG.permutation(np.array(labels)).tolist())
    found = validated("regression", "ridge", planted, shuffled)
    own = labels_of("regression", planted, shuffled)
    assert abs(own.figure(np.arange(60), found.probabilities[0])) < 0.25


@pytest.mark.outcome("a head that cannot learn the target", "the heads that can")
@pytest.mark.parametrize(("kind", "name"), [("regression", "logreg"), ("multilabel", "ridge"), ("class", "binary")])
def test_a_head_that_cannot_says_so(kind: Kind, name: HeadName) -> None:
    """Before any work, with the names of those that can."""
    with pytest.raises(ParamsError, match=f"train.heads.{name}: head '{name}' cannot learn dataset.target '{kind}'"):
        check_heads(TrainParams(heads=(name,)), {}, kind)


def test_params_of_ridge_are_checked() -> None:
    """No penalty stands there twice."""
    with pytest.raises(ValueError, match="twice"):
        RidgeParams(alpha=(1.0, 1.0))
