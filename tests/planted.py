"""A small planted dataset: modalities of different worth, groups, noisy given labels, missing rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Features
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import EncoderNames, HeadName, TrainParams
from mer_pipeline.heads.make import head_of
from mer_pipeline.labels.audit import label_table
from mer_pipeline.labels.pseudo_table import write_pseudo
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.tables.rows import stage_schema, to_table
from mer_pipeline.tables.shards import write_shard, write_table
from mer_pipeline.training.task import Task

CLASSES = ("neutral", "angry", "happy")
NAMES = ("scene", "face", "voice")
DIMS = (12, 10, 8)
STRENGTH = (2.0, 0.0, 1.0)  # the face says nothing


@dataclass(frozen=True)
class Planted:
    """n clips; the first `labelled` are training clips of 5 folds, 10 of the rest are pool, the others test."""

    features: Features
    clip_ids: tuple[str, ...]
    fold: np.ndarray  # -1 where not labelled
    true: np.ndarray
    given: np.ndarray
    split: tuple[str, ...]


def plant(seed: int = 0, labelled: int = 60, others: int = 40, folds: int = 5) -> Planted:
    """Make one; about one row in ten of each modality is absent, and the last clip has none at all."""
    rng = np.random.default_rng(seed)
    n = labelled + others
    true = rng.integers(len(CLASSES), size=n)
    given = np.where(rng.random(n) < 0.15, rng.integers(len(CLASSES), size=n), true)
    mask = rng.random((n, len(NAMES))) > 0.1
    mask[-1] = False
    x = []
    for m, (dim, strength) in enumerate(zip(DIMS, STRENGTH, strict=True)):
        values = strength * rng.normal(size=(len(CLASSES), dim))[true] + rng.normal(size=(n, dim))
        x.append(np.where(mask[:, m : m + 1], values, 0).astype(np.float32))
    fold = np.where(np.arange(n) < labelled, np.arange(n) % folds, -1)
    split = tuple("train" if i < labelled else "pool" if i < labelled + 10 else "test" for i in range(n))
    return Planted(Features(NAMES, tuple(x), mask), tuple(f"c{i:03d}" for i in range(n)), fold, true, given, split)


def heads_of(kind: Kind = "class") -> list[HeadName]:
    """The built-in heads that learn a kind of target."""
    return [name for name in HEADS.built_in if kind in head_of(name, TrainParams()).head.kinds]


def sure(label: np.ndarray, classes: int) -> np.ndarray:
    """Probabilities of one for these classes, as a head says them that is sure."""
    return np.eye(classes, dtype=np.float32)[label]


def task_of(params: TrainParams, encoders: EncoderNames | None = None) -> Task:
    """What is learnt of a planted dataset: each modality is one encoder, unless others are named."""
    return Task(CLASSES, encoders or EncoderNames(NAMES), params)


def with_strengths(params: TrainParams, *strengths: float) -> TrainParams:
    """The same params where linear heads choose from these strengths."""
    return params.with_options("logreg", c=list(strengths))


def write(root: Path, planted: Planted, labelled: bool = True, truth: bool = True) -> Project:
    """Write a planted dataset into the project in `root`; without labels, or without truth, where asked for."""
    project = Project(root)
    for m, encoder in enumerate(planted.features.names):
        write_features(project.features / encoder, planted, m)
    schema = pa.schema([(name, pa.string()) for name in ("clip_id", "group", "split", "label")])
    given = [CLASSES[c] for c in planted.given]
    split = [s if labelled or s != "train" else "pool" for s in planted.split]
    train = [i for i, s in enumerate(split) if s == "train"]
    manifest = [
        {"clip_id": c, "group": f"g{i % 10}", "split": s, "label": label if s == "train" else None}
        for i, (c, s, label) in enumerate(zip(planted.clip_ids, split, given, strict=True))
    ]
    write_table(project.manifest, to_table(manifest, schema))
    votes = pa.table(
        {
            "clip_id": pa.array([planted.clip_ids[i] for i in train], pa.string()),
            "source": pa.array(["given"] * len(train), pa.string()),
            "family": pa.array(["human"] * len(train), pa.string()),
            "label": pa.array([given[i] for i in train], pa.string()),
        }
    )
    ids = pa.array([planted.clip_ids[i] for i in train], pa.string())
    folds = pa.table({"clip_id": ids, "fold": pa.array([planted.fold[i] for i in train], pa.int32())})
    write_table(project.folds, folds)
    write_table(project.labels, label_table(votes, folds, CLASSES, LabelParams()))
    known = planted.clip_ids if truth else ()
    truths = {
        "clip_id": pa.array(known, pa.string()),
        "label": pa.array([CLASSES[c] for c in planted.true[: len(known)]], pa.string()),
    }
    write_table(project.truth, pa.table(truths))
    write_pseudo(project.pseudo, (), (), CLASSES)
    return project


def write_features(folder: Path, planted: Planted, m: int) -> None:
    """Two shards, in an order of their own; of the absent rows every other one is there but not valid."""
    x, mask = planted.features.x[m], planted.features.mask[:, m]
    schema = stage_schema(pa.schema([pa.field("vector", pa.list_(pa.float32(), x.shape[1]))]))
    rows = [
        {
            "clip_id": clip_id,
            "vector": x[i] if mask[i] else None,
            "valid": bool(mask[i]),
            "reason": None if mask[i] else "nothing there",
            "digest": "",
            "input_digest": "",
        }
        for i, clip_id in enumerate(planted.clip_ids)
        if mask[i] or i % 2
    ]
    for bucket in range(2):
        write_shard(folder, bucket, rows[bucket::2] if bucket else rows[::2], schema, {})
