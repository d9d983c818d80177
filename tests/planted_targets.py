"""The planted dataset with sets of classes or numbers as the target: two hidden values decide features and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mer_pipeline.base.kind import Kind
from mer_pipeline.base.modalities import Features
from mer_pipeline.base.target import ClassSets, Numbers, Target
from mer_pipeline.config.project import Project
from mer_pipeline.labels.as_given import write_given_labels
from mer_pipeline.labels.pseudo_table import write_pseudo
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.tables.rows import to_table
from mer_pipeline.tables.shards import write_table
from mer_pipeline.training.labels import Coded, Labels
from tests.planted import CLASSES, DIMS, NAMES, STRENGTH, Planted, plant, write_features

NUMBERS = Numbers(("valence", "arousal"), ((-1, 1), (0, 4)))
SETS = ClassSets(CLASSES)
TARGETS: dict[Kind, Target] = {"regression": NUMBERS, "multilabel": SETS}


def plant_target(kind: Kind, seed: int = 0) -> tuple[Planted, tuple[str, ...]]:
    """100 clips, 60 of them labelled in 5 folds, and the label of each as text; the face says nothing."""
    rng, planted = np.random.default_rng(seed), plant(seed)
    hidden = rng.normal(size=(len(planted.clip_ids), 3))
    noise = 0.3 * rng.normal(size=hidden.shape)
    x = [
        (strength * hidden @ rng.normal(size=(3, dim)) + rng.normal(size=(len(hidden), dim))).astype(np.float32)
        for dim, strength in zip(DIMS, STRENGTH, strict=True)
    ]
    mask = planted.features.mask
    features = Features(NAMES, tuple(np.where(mask[:, [m]], one, 0) for m, one in enumerate(x)), mask)
    if kind == "regression":
        values = np.tanh(0.6 * hidden[:, :2] + noise[:, :2]) * [1, 2] + [0, 2]
    else:
        values = (hidden + noise > 0.5).astype(float)
    labels = tuple(TARGETS[kind].label(row.astype(np.float32)) for row in values)
    return replace(planted, features=features), labels


def labels_of(kind: Kind, planted: Planted, labels: tuple[str, ...]) -> Labels:
    """The labelled clips' labels, as the stage `train` reads them."""
    rows = np.flatnonzero(planted.fold >= 0)
    names = sorted(set(labels))
    given = np.array([names.index(labels[i]) for i in rows])
    fold = planted.fold[rows]
    held_out = np.where(fold == np.arange(5)[:, None], MISSING, given)
    coded = Coded(TARGETS[kind], np.stack([TARGETS[kind].vector(name) for name in names]))
    ids = tuple(planted.clip_ids[i] for i in rows)
    return Labels(ids, fold, given, given, held_out, np.full_like(given, MISSING), coded=coded)


def write_target(root: Path, kind: Kind) -> Project:
    """Write the dataset into the project in `root`, with the tables that `ingest` and `labels` make."""
    (planted, labels), project, target = plant_target(kind), Project(root), TARGETS[kind]
    for m, name in enumerate(NAMES):
        write_features(project.features / name, planted, m)
    columns = [(name, pa.string()) for name in ("clip_id", "group", "split", "label")]
    manifest = [
        {"clip_id": c, "group": f"g{i % 10}", "split": s, "label": label if s == "train" else None, "seconds": 2.0}
        for i, (c, s, label) in enumerate(zip(planted.clip_ids, planted.split, labels, strict=True))
    ]
    write_table(project.manifest, to_table(manifest, pa.schema([*columns, ("seconds", pa.float64())])))
    train = [row for row in manifest if row["split"] == "train"]
    votes = {"clip_id": [row["clip_id"] for row in train], "source": ["given"] * len(train)}
    votes |= {"family": ["human"] * len(train), "label": [row["label"] for row in train]}
    write_table(project.given, pa.table(votes))
    fold = [int(f) for f in planted.fold if f >= 0]
    folds = pa.table({"clip_id": votes["clip_id"], "fold": pa.array(fold, pa.int32())})
    write_table(project.folds, folds, {"note": "", **target.footer()})
    write_table(project.truth, pa.table({"clip_id": planted.clip_ids, "label": labels}))
    write_given_labels(target, project)
    write_pseudo(project.pseudo, (), (), CLASSES)
    return project
