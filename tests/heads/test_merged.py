"""Encoders merged into one modality: their columns side by side, and of what a clip lacks the mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mer_pipeline.base.errors import ParamsError, UsageError
from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.config.params import parse_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import VISUAL, AblationParams, EncoderNames, HeadName, PredictParams, TrainParams
from mer_pipeline.heads.base import ComputeConfig, Examples, TrainingJob
from mer_pipeline.heads.device_features import DeviceFeatures
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.labels.pseudo import PseudoParams
from mer_pipeline.metrics.train import TrainMetrics
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.ablation import ablate
from mer_pipeline.training.artifacts import FUSED, load_config, load_member, member_path
from mer_pipeline.training.cross_validation import cross_validate
from mer_pipeline.training.fusion_head_judge import read_dataset
from mer_pipeline.training.head_cache import HeadCache, key_of
from mer_pipeline.training.member import fit_members, fixed_threads
from mer_pipeline.training.predict import predict
from mer_pipeline.training.pseudo_inputs import read_pseudo_inputs
from mer_pipeline.training.train import train
from tests.planted import CLASSES, DIMS, NAMES, Planted, heads_of, task_of
from tests.training.test_cross_validation import bytes_of, features_of, labels_of

PARTS = ("face", "scene")  # in whatever order: columns are in token order
ENCODERS = EncoderNames(NAMES, merged=("scene", "face"))


@pytest.fixture
def merged(planted: Planted) -> Features:
    """Scene and face as one."""
    return planted.features.merged(PARTS, VISUAL)


def test_columns_stand_side_by_side(planted: Planted, merged: Features) -> None:
    """In the first one's place and in token order; a clip has the whole where it has a part, and lacks the others."""
    scene, face, voice = planted.features.x
    has = planted.features.mask
    assert (merged.names, merged.dims) == ((VISUAL, "voice"), (22, 8))
    assert merged.mask.tolist() == np.stack([has[:, 0] | has[:, 1], has[:, 2]], axis=1).tolist()
    assert merged.x[1] is voice
    assert merged.x[0].dtype == np.float32
    x = merged.x[0]
    one, other, none = has[:, 0] & ~has[:, 1], has[:, 1] & ~has[:, 0], ~has[:, 0] & ~has[:, 1]
    assert min(one.sum(), other.sum(), none.sum()) > 0
    for at, part, lacks in ((slice(12), scene, other), (slice(12, 22), face, one)):
        assert (np.isnan(x[:, at]) == lacks[:, None]).all()
        assert np.array_equal(x[~lacks, at], part[~lacks])
    later = planted.features.merged(("voice", "face"), "both")
    assert (later.names, later.dims) == (("scene", "both"), (12, 18))
    assert planted.features.merged((), VISUAL) is planted.features


def test_each_part_is_standardised_as_if_alone(planted: Planted, merged: Features) -> None:
    """To the bit, on the rows that have it; an absent part is the mean, that is 0, and where both are it is masked."""
    rows = np.arange(60)
    two, one = Scaler.fit(planted.features.take(rows)), Scaler.fit(merged.take(rows))
    assert one.mean[0].tobytes() == np.concatenate(two.mean[:2]).tobytes()
    assert one.inverse[0].tobytes() == np.concatenate(two.inverse[:2]).tobytes()
    apart, whole = two.apply(planted.features), one.apply(merged)
    assert np.array_equal(whole.x[0], np.concatenate(apart.x[:2], axis=1))
    assert np.array_equal(whole.x[1], apart.x[2])
    has = planted.features.mask
    assert (whole.x[0][~has[:, 0], :12] == 0).all()
    assert (whole.x[0][~has[:, 1], 12:] == 0).all()
    assert np.array_equal(whole.mask[:, 0], has[:, :2].any(axis=1))
    assert not whole.mask[-1].any()


def test_a_whole_column_is_measured_as_ever() -> None:
    """Mean and deviation are numpy's own, to the bit."""
    x = np.random.default_rng(0).normal(3, 5, size=(57, 9)).astype(np.float32)
    scaler = Scaler.fit(Features(("m",), (x,), np.ones((57, 1), dtype=bool)))
    wide = x.astype(np.float64)
    assert scaler.mean[0].tobytes() == wide.mean(axis=0).astype(np.float32).tobytes()
    assert scaler.inverse[0].tobytes() == (1 / wide.std(axis=0)).astype(np.float32).tobytes()


def test_a_part_that_nobody_had_in_training_says_nothing(merged: Features) -> None:
    """Its columns are 0 ever after."""
    lacking = np.flatnonzero(np.isnan(merged.x[0][:, 0]))
    scaler = Scaler.fit(merged.take(lacking))
    assert not scaler.inverse[0][:12].any()
    assert scaler.inverse[0][12:].all()
    assert (scaler.apply(merged).x[0][:, :12] == 0).all()


def test_minibatches_are_what_the_scaler_makes(merged: Features, params: TrainParams) -> None:
    """Each member by its own scaler, absent parts and absent modalities among them."""
    nothing = Examples.of(*[np.zeros(0, np.int64)] * 3, 3)
    scalers = [Scaler.fit(merged.take(rows)) for rows in (np.arange(40), np.arange(20, 60))]
    jobs = [TrainingJob(nothing, None, scaler, 0, params) for scaler in scalers]
    rows = torch.arange(100).expand(2, 100)
    x, mask = DeviceFeatures(merged, jobs, torch.device("cpu")).batch(rows)
    for k, scaler in enumerate(scalers):
        expected = scaler.apply(merged)
        assert np.array_equal(mask[k].numpy(), expected.mask)
        for ours, theirs in zip(x, expected.x, strict=True):
            assert np.array_equal(ours[k].numpy(), theirs)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", heads_of())
def test_a_member_of_a_stack_is_the_member_trained_alone(name: HeadName, workers: int, params: TrainParams) -> None:
    """To the bit, at sizes that are no round numbers."""
    rng = np.random.default_rng(0)
    n, classes, dims = 60, 7, (37, 1, 582)
    mask = rng.random((n, 3)) > 0.2
    x = tuple((rng.normal(size=(n, dim)) * mask[:, [m]]).astype(np.float32) for m, dim in enumerate(dims))
    features = Features(("a", "b", "c"), x, mask).merged(("a", "c"), VISUAL)
    every = Examples.of(np.arange(n), np.arange(n) % classes, np.arange(n) % 5, classes)
    splits = [(every.at(np.arange(n - 9 - f)), every.at(np.arange(n - 9, n))) for f in range(2)]
    changed = {"epochs": 4, "patience": 2, "batch_size": 11, "d": 20}
    params = params.with_options("ecmf", attention_heads=2).model_copy(update=changed)
    with fixed_threads():
        together = fit_members(name, features, splits, (0, 1), classes, params, ComputeConfig(workers=workers))
        alone = [fit_members(name, features, [one], [s], classes, params)[0] for s in range(2) for one in splits]
    assert [bytes_of(one) for one, _ in together] == [bytes_of(one) for one, _ in alone]
    assert all(np.isfinite(tensor).all() for one, _ in together for tensor in one.head.tensors().values())  # type: ignore[union-attr]


@pytest.mark.parametrize("name", heads_of())
def test_a_clip_alone_and_in_any_batch_has_the_same_bytes(
    name: HeadName, planted: Planted, merged: Features, params: TrainParams
) -> None:
    """Also one that lacks a part; and whatever is told of a part that is not there, the answer is finite."""
    learnt = features_of(replace(planted, features=merged))
    with fixed_threads():
        quick = params.model_copy(update={"epochs": 3, "seeds": (0,)})
        member = cross_validate(name, learnt, labels_of(planted), 3, quick).members[0].member
        together = member.predict(merged)
        assert np.isfinite(together.probabilities).all()
        lacking = np.flatnonzero(np.isnan(merged.x[0]).any(axis=1))
        for i in (*lacking[:4], 0, 99):
            for rows in ([i], [3, i, 5], [*range(70), i]):
                said = member.predict(merged.take(np.array(rows)))
                at = rows.index(i)
                assert said.probabilities[at].tobytes() == together.probabilities[i].tobytes()
                assert said.weights[at].tobytes() == together.weights[i].tobytes()
    assert together.by_prior.tolist() == (~merged.mask.any(axis=1)).tolist()


def both(project: Project, params: TrainParams) -> None:
    """Train, then predict."""
    train(task_of(params, ENCODERS), 5, project, HeadCache(None))
    predict(PredictParams(), project)


def test_predict_loads_what_was_trained_on(
    planted: Planted, project: Callable[..., Project], params: TrainParams, merged: Features
) -> None:
    """config.json says which encoders, in which order; weights, scores and plots are of `visual`."""
    at = project(planted)
    quick = params.with_heads("ecmf").model_copy(update={"epochs": 2})
    both(at, quick)
    config = load_config(at.fusion)
    assert (config.modalities, config.dims) == ((VISUAL, "voice"), (22, 8))
    assert list(config.encoders.items()) == list(zip(NAMES, DIMS, strict=True))
    told = json.loads(at.metrics("train").read_text())
    assert (told["modalities"], set(told["single"])) == ([VISUAL, "voice"], {VISUAL, "voice"})
    assert "ecmf,visual," in at.plots("heads").read_text()
    assert TrainMetrics.model_validate(told).encoders == NAMES
    rows = pq.read_table(at.predictions).to_pylist()
    assert {len(row["weights"]) for row in rows if row["weights"]} == {2}
    path = member_path(at.fusion, FUSED, "ecmf", 0, 3)
    with fixed_threads():
        validated = cross_validate("ecmf", features_of(replace(planted, features=merged)), labels_of(planted), 3, quick)
    kept = next(one.member for one in validated.members if (one.seed, one.fold) == (0, 3))
    assert bytes_of(load_member(path, config, FUSED, "ecmf")) == bytes_of(kept)
    mean = np.mean([one.member.predict(merged.take(np.arange(60, 99))).probabilities for one in validated.members], 0)
    assert [row["label"] for row in rows[:-1]] == [CLASSES[c] for c in mean.argmax(axis=1)]


def test_a_part_of_another_length_is_an_error(
    planted: Planted, project: Callable[..., Project], params: TrainParams
) -> None:
    """Though the whole has as many columns as before: the encoder is named."""
    at = project(planted)
    train(task_of(params.model_copy(update={"epochs": 2}), ENCODERS), 5, at, HeadCache(None))
    for name, dim in (("scene", 10), ("face", 12)):
        for shard in (at.features / name).iterdir():
            shard.unlink()
        vector = pa.array([np.ones(dim, np.float32)] * 100, pa.list_(pa.float32(), dim))
        table = pa.table({"clip_id": planted.clip_ids, "vector": vector, "valid": [True] * 100})
        write_table(at.features / name / "part-00000.parquet", table)
    with pytest.raises(UsageError, match="scene has 10 values a clip and the heads were trained on 12"):
        predict(PredictParams(), at)


def test_other_stages_see_the_same(planted: Planted, project: Callable[..., Project], merged: Features) -> None:
    """The fusion-head judge's dataset, and the labelled clips and the pool of the pseudo stage."""
    at = project(planted)
    task = task_of(TrainParams(), ENCODERS)
    found = [read_dataset(task, at).features]
    votes = {name: pa.array([], pa.string()) for name in ("clip_id", "source", "family", "label")}
    write_table(at.given, pa.table(votes))
    inputs = read_pseudo_inputs(PseudoParams(), task, {}, at)
    found += [inputs.features, inputs.pool]
    for one, rows in zip(found, (np.arange(100), np.arange(60), np.arange(60, 70)), strict=True):
        expected = merged.take(rows)
        assert one.names == expected.names
        assert np.array_equal(one.x[0], expected.x[0], equal_nan=True)
        assert np.array_equal(one.mask, expected.mask)


@pytest.mark.parametrize("visual", ["tokens", "merged"])
def test_the_ablation_has_the_other_one(
    visual: str, planted: Planted, project: Callable[..., Project], params: TrainParams
) -> None:
    """A row with the branches as the reference does not have them; its other rows are of the reference's tokens."""
    at = project(planted)
    quick = params.with_heads("ecmf").model_copy(update={"epochs": 2, "seeds": (0,), "visual": visual})
    seen = ENCODERS.merged
    encoders = EncoderNames(NAMES, ("voice",), seen, seen if visual == "merged" else (), plain=("voice",))
    ablate(AblationParams(enabled=True), PredictParams(), task_of(quick, encoders), at, HeadCache(None))
    told = json.loads(at.metrics("ablation").read_text())
    tokens, one = list(NAMES), [VISUAL, "voice"]
    assert told["modalities"] == (one if visual == "merged" else tokens)
    row = told["variants"]["visual tokens" if visual == "merged" else "visual merged"]
    assert (row["kind"], row["modalities"]) == ("part", tokens if visual == "merged" else one)
    assert sum(name.startswith("visual ") and "alone" not in name for name in told["variants"]) == 1
    alone = [name for name in told["variants"] if name.endswith("alone")]
    assert len(alone) == (2 if visual == "merged" else 3)


def test_a_known_head_is_known_by_its_features(planted: Planted, merged: Features, params: TrainParams) -> None:
    """Merged or not is a matter of features: what else says so changes no head, and a lacking part is no zero."""
    labels, other = labels_of(planted), params.model_copy(update={"visual": "merged"})
    learnt = features_of(replace(planted, features=merged))
    assert key_of("ecmf", learnt, labels, 3, params) == key_of("ecmf", learnt, labels, 3, other)
    assert key_of("ecmf", learnt, labels, 3, params) != key_of("ecmf", features_of(planted), labels, 3, params)
    filled = replace(learnt, x=tuple(np.nan_to_num(x) for x in learnt.x))
    assert key_of("ecmf", learnt, labels, 3, params) != key_of("ecmf", filled, labels, 3, params)


def test_what_sees_pictures_is_merged() -> None:
    """Of the encoders that the head reads; external features stay a token, and nobody may take the name."""
    encoders = {
        "scene": {"family": "appearance", "input": "frames"},
        "voice": {"family": "logmel", "input": "audio"},
        "shapes": {"family": "face-geometry", "input": "faces"},
        "mine": {"family": "file", "input": "external/frames.parquet"},
    }
    good = {"dataset": {"root": "d", "csv": "d"}, "encoders": encoders}
    names = parse_params(good).encoder_names
    assert (names.visual, names.merged) == (("scene", "shapes"), ())
    assert parse_params({**good, "train": {"visual": "merged"}}).encoder_names.merged == ("scene", "shapes")
    chosen = {"visual": "merged", "features": ["shapes", "mine", "voice"]}
    assert parse_params({**good, "train": chosen}).encoder_names.merged == ("shapes",)
    with pytest.raises(ParamsError, match="'visual' is what train\\.visual merges encoders into"):
        parse_params({**good, "encoders": {**encoders, "visual": encoders["scene"]}})


def test_the_files_say_nothing_of_where_they_are(
    planted: Planted, project: Callable[..., Project], params: TrainParams, tmp_path: Path
) -> None:
    """Twice the same bytes; and read back from disk the features are those that were planted."""
    quick = params.with_heads("gated").model_copy(update={"epochs": 2, "seeds": (0,)})
    found = []
    for name in ("one", "two"):
        at = project(planted, name)
        both(at, quick)
        found.append([(f.name, f.read_bytes()) for f in sorted(at.fusion.rglob("*")) if f.is_file()])
    assert found[0] == found[1]
    loaded = load_features(Project(tmp_path / "one").features, NAMES, planted.clip_ids).merged(PARTS, VISUAL)
    assert np.array_equal(loaded.x[0], planted.features.merged(PARTS, VISUAL).x[0], equal_nan=True)
