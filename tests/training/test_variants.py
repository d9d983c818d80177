"""A variant changes what its name says, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.ecmf import Ecmf
from mer_pipeline.heads.make import head_of
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.training.cross_validation import cross_validate
from mer_pipeline.training.member import Member, fixed_threads
from mer_pipeline.training.variants import Setting, Variant, variants
from tests.planted import DIMS, NAMES, plant
from tests.training.test_cross_validation import features_of, labels_of

HEADS = ("ecmf", "mertools", "logreg")


@pytest.fixture
def system(params: TrainParams) -> Setting:
    """ecmf on three modalities, with one label of each fold refined."""
    planted = plant()
    labels = labels_of(planted)
    held_out = labels.held_out.copy()
    held_out[:, ::7] = np.where(held_out[:, ::7] == MISSING, MISSING, (held_out[:, ::7] + 1) % 3)
    return Setting("ecmf", features_of(planted), replace(labels, held_out=held_out), params)


def by_name(system: Setting, everything: Features | None = None, **kinds: tuple[str, ...]) -> dict[str, Variant]:
    """The variants; of no enriched text unless told."""
    mixed, plain = kinds.get("mixed", ()), kinds.get("plain", ())
    return {one.name: one for one in variants(system, everything or system.features, mixed, plain, HEADS)}


def test_the_rows_are_these(system: Setting) -> None:
    """Each modality dropped and alone, the other heads, the parts that the system has."""
    assert {name: one.kind for name, one in by_name(system).items()} == {
        "attention off": "part",
        "residual off": "part",
        "refinement off": "part",
        "prior shift on": "part",
        **{f"without {name}": "without" for name in NAMES},
        **{f"{name} alone": "alone" for name in NAMES},
        "mertools": "head",
        "logreg": "head",
    }


def test_all_else_is_equal(system: Setting) -> None:
    """One thing differs from the reference in every row, and the scored labels in none."""
    for one in by_name(system).values():
        other = one.setting
        assert [
            other.head != system.head,
            other.features.names != system.features.names,
            other.params != system.params,
            not np.array_equal(other.labels.held_out, system.labels.held_out),
            other.prior != system.prior,
        ].count(True) == 1, one.name
        assert np.array_equal(other.labels.given, system.labels.given)
        assert np.array_equal(other.labels.fold, system.labels.fold)


def test_modalities_are_dropped_and_alone(system: Setting) -> None:
    """With their own values."""
    rows = by_name(system)
    without, alone = rows["without face"].setting.features, rows["face alone"].setting.features
    assert (without.names, alone.names) == (("scene", "voice"), ("face",))
    assert np.array_equal(without.x[1], system.features.x[2])
    assert np.array_equal(without.mask, system.features.mask[:, [0, 2]])
    assert np.array_equal(alone.x[0], system.features.x[1])


def trained(setting: Setting) -> Ecmf:
    """One member's head."""
    with fixed_threads():
        quick = setting.params.model_copy(update={"seeds": (0,), "epochs": 2})
        member = cross_validate("ecmf", setting.features, setting.labels, 3, quick).members[0].member
    assert isinstance(member, Member)
    assert isinstance(member.head, Ecmf)
    return member.head


def test_without_attention_no_token_sees_another(system: Setting) -> None:
    """What is gone is the whole of the blocks, and nothing else."""
    whole, off = trained(system).tensors(), trained(by_name(system)["attention off"].setting).tensors()
    assert {name for name in whole if name.startswith("blocks.")} == whole.keys() - off.keys()
    assert whole.keys() - off.keys()


def test_parts_of_a_combination_are_those_of_its_head_and_late_fusion(system: Setting) -> None:
    """Options are switched off in its head; without late fusion the head is left, which is also a row of its own."""
    rows = by_name(replace(system, head="ecmf+late"))
    off = rows["attention off"].setting
    assert off.head == "ecmf+late"
    assert off.params.entry("ecmf").options == {"attention_layers": 0}
    assert rows["late fusion off, ecmf"].setting.equals(system)
    assert "late fusion off" not in by_name(system)
    only = {one.name: one for one in variants(replace(system, head="ecmf+late"), system.features, (), (), ("logreg",))}
    assert only["late fusion off"].setting.equals(system)


def test_without_the_residual_beta_is_not_there(system: Setting) -> None:
    """The head has no β; and what is left is the head with β of nothing."""
    off = by_name(system)["residual off"].setting
    head = trained(off)
    assert "beta" not in head.tensors()
    whole = Ecmf(DIMS, 3, head_of("ecmf", system.params).params)
    whole.restore({**head.tensors(), "beta": np.zeros(3, np.float32)})
    x = [torch.randn(1, 5, dim, generator=torch.Generator().manual_seed(1)) for dim in DIMS]
    mask = torch.ones(1, 5, 3, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(head.network(x, mask)[0], whole.network(x, mask)[0])


def test_without_refinement_given_labels_are_trained_on(system: Setting) -> None:
    """In every fold; the fold's own labels stay out of sight."""
    off, labels = by_name(system)["refinement off"].setting.labels, system.labels
    for f in range(labels.folds):
        assert (off.held_out[f, labels.fold == f] == MISSING).all()
        assert np.array_equal(off.held_out[f, labels.fold != f], labels.given[labels.fold != f])
    unrefined = replace(system, labels=off)
    assert "refinement off" not in by_name(unrefined), "there is nothing to switch off"


def test_without_enrichment_the_plain_words_stay(system: Setting) -> None:
    """The enriched encoders give way to those of the plain words; where there are none, no row says so."""
    assert not [name for name in by_name(system, mixed=("voice",)) if "enrichment" in name]
    both = by_name(system, mixed=("voice",), plain=("scene",))
    assert both["enrichment off, without voice"].setting.features.names == ("scene", "face")
    # A plain encoder that the system does not read takes the place.
    smaller = system.on(("face", "voice"))
    off = by_name(smaller, system.features, mixed=("voice",), plain=("scene",))["enrichment off"].setting
    assert off.features.names == ("face", "scene")
    assert np.array_equal(off.features.x[1], system.features.x[0])


def test_the_same_experiment_is_one_row(system: Setting) -> None:
    """With two modalities, dropping one leaves the other alone; with one, neither is an experiment."""
    two = by_name(system.on(("scene", "voice")))
    assert {"without scene, voice alone", "without voice, scene alone"} <= two.keys()
    one = by_name(system.on(("scene",)))
    assert {name for name, row in one.items() if row.kind in ("without", "alone")} == set()


def test_parts_are_those_of_the_head(system: Setting) -> None:
    """A head without attention has none to lose, nor has ecmf where params.yaml has switched it off."""
    parts = {"attention off", "residual off"}
    assert not parts & by_name(replace(system, head="logreg")).keys()
    assert by_name(replace(system, head="logreg")).keys() >= {"ecmf", "mertools"}
    assert parts & by_name(system.with_options({"attention_layers": 0})).keys() == {"residual off"}
    assert parts & by_name(system.with_options({"residual": False})).keys() == {"attention off"}


def test_what_is_learnt_is_a_part(system: Setting) -> None:
    """Soft targets and class weights are switched off where they are on; the given labels have no posterior."""
    parts = {"soft targets off", "class weights off"}
    assert not parts & by_name(system).keys()
    q = np.full((6, 60, 3), 1 / 3, np.float32)
    soft = replace(system.with_params(targets="posterior"), labels=replace(labels_of(plant()), posterior=q))
    rows = by_name(soft)
    assert parts & rows.keys() == {"soft targets off"}
    assert rows["soft targets off"].setting.params == system.params
    assert rows["refinement off"].setting.labels.posterior is None, "though no label was changed"
    assert parts & by_name(system.with_params(class_weights="balanced")).keys() == {"class weights off"}
