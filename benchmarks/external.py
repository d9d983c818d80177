"""A table of features through the public way of bringing one's own (docs/features.md), the real stages and DVC.

`heads.py --through-pipeline` calls it: its study hands the table's values to `cross_validate` itself, and this shows
that the stage `train` would have been handed the same ones.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mer_pipeline.base.modalities import Features, load_features
from mer_pipeline.scores.confusion import Confusion

import numpy as np
import pyarrow.parquet as pq

from tests.project import copy_project, repro

STAGES = ("ingest", "embed", "labels", "pseudo", "train")
PARAMS = """
dataset:
  adapter: folder
  media: false
  root: data/mine
  csv: data/mine/clips.csv
  classes: [{classes}]
  columns: {{name: name, label: label, group: speaker}}
folds: {{n: {folds}, seed: 0}}
encoders:
{encoders}
judges: {{}}
labels: {{method: given, join_dependent: true}}
pseudo: {{rounds: 0}}
train: {{heads: [logreg], seeds: [0], single_modality: false}}
"""
EMPTY = ("frames", "faces", "audio", "enrich", "shards", "quality")  # DVC wants every section, if only an empty one


def make_project(folder: Path, table: Path, folds: int) -> Path:
    """A project whose dataset is the table: its labels and speakers in a CSV, an encoder for each other column."""
    project = copy_project(folder)
    (project / "data/mine").mkdir(parents=True)
    (project / "data/external").mkdir()
    shutil.copy(table, project / "data/external/table.parquet")
    columns = pq.read_schema(table).names
    rows = pq.read_table(table, columns=["name", "label", "speaker"]).to_pylist()
    lines = [f"{row['name']},{row['label']},{row['speaker']}" for row in rows]
    (project / "data/mine/clips.csv").write_text("\n".join(["name,label,speaker", *lines, ""]), encoding="utf-8")
    encoders = [
        f"  {name}: {{family: file, input: external/table.parquet, column: {name}}}"
        for name in columns
        if name not in ("name", "label", "speaker")
    ]
    text = PARAMS.format(
        classes=", ".join(sorted({row["label"] for row in rows})), folds=folds, encoders="\n".join(encoders)
    )
    (project / "params.yaml").write_text(text + "".join(f"{name}: {{}}\n" for name in EMPTY), encoding="utf-8")
    return project


def through_pipeline(table: Path, features: Features, names: tuple[str, ...], folds: int) -> str:
    """Run the stages up to `train`; what was seen, in a sentence.

    Args:
        table: as `heads.py` takes it.
        features: what `heads.py` read from it, in the order of `names`.
        names: of the clips.
        folds: how many are asked for.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        project = make_project(Path(temporary), table, folds)
        ran = repro(project, "train")
        assert {name.split("@")[0] for name in ran} == set(STAGES), ran
        loaded = load_features(project / "data/features", features.names, names)
        equal = all(np.array_equal(a, b) for a, b in zip(loaded.x, features.x, strict=True))
        assert equal, "the stage `train` loads other values than the table has"
        assert np.array_equal(loaded.mask, features.mask)
        said = pq.read_table(project / "data/fusion/out_of_fold.parquet").to_pylist()
        label = {row["name"]: row["label"] for row in pq.read_table(table, columns=["name", "label"]).to_pylist()}
        classes = sorted(set(label.values()))
        true, predicted = (
            np.array([classes.index(of) for of in column])
            for column in ([label[row["clip_id"]] for row in said], [row["label"] for row in said])
        )
        score = Confusion.of(true, predicted, len(classes)).weighted_f1
    took, numbers = time.perf_counter() - started, sum(x.size for x in features.x)
    return (
        f"Through the pipeline ({', '.join(ran)}; {took:.0f} s with DVC): the stage `train` loads the table's "
        f"{numbers:,} numbers of {len(names):,} clips bit for bit, and its `logreg` "
        f"has weighted F1 {score:.3f} on the {folds} folds of whole speakers that the stage `ingest` deals."
    )
