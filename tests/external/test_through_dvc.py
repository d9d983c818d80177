"""Features from elsewhere and no media at all, through the real stages under DVC."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.modalities import load_features
from tests.project import ROOT, copy_project, dvc, repro

pytestmark = pytest.mark.slow

CLASSES = ("calm", "tense")
PARAMS = """
numerics: avx2
dataset:
  {adapter: folder, media: false, root: data/mine, csv: data/mine/clips.csv, classes: [calm, tense],
   columns: {group: speaker}}
folds: {n: 3}
encoders:
  face: {family: file, input: external/table.parquet, column: face}
  voice: {family: file, input: external/voice-FRA}
judges: {}
labels: {method: given}
train: {heads: [logreg], seeds: [0], single_modality: false}
shards: {count: 2}
quality: {}
pseudo: {}
predict: {}
ablation: {}
frames: {}
faces: {}
audio: {}
transcript: {}
enrich: {}
"""


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """24 clips of 4 speakers; the face of one is absent."""
    rng = np.random.default_rng(0)
    said = np.arange(24) % 2
    face = [list(map(float, v)) for v in np.float32(rng.normal(size=(24, 5)) + said[:, None])]
    return pa.table(
        {
            "name": [f"s{at % 4}/c{at:02}" for at in range(24)],
            "label": [CLASSES[at] for at in said],
            "speaker": [f"s{at % 4}" for at in range(24)],
            "face": pa.array([None, *face[1:]], pa.list_(pa.float32(), 5)),
        }
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, table: pa.Table) -> Path:
    """A project with nothing but a CSV, a table and a folder of arrays."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    home = folder / "data/external"
    (home / "voice-FRA").mkdir(parents=True)
    rows = table.select(["name", "label", "speaker"]).to_pylist()
    lines = [",".join(row.values()) for row in rows]
    (folder / "data/mine").mkdir()
    (folder / "data/mine/clips.csv").write_text("\n".join(["name,label,speaker", *lines]), encoding="utf-8")
    pq.write_table(table, home / "table.parquet")
    for at, row in enumerate(rows):
        path = home / "voice-FRA" / f"{row['name']}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, np.full((3, 2), at, np.float32))
    return folder


def test_features_and_labels_are_enough(project: Path, table: pa.Table) -> None:
    """The head trains on exactly the table's values; no stage that reads media is asked for."""
    ran = repro(project, "train")
    assert set(ran) == {"ingest", "embed@face", "embed@voice", "labels", "pseudo", "train"}
    assert not pq.read_table(project / "data/quarantine/ingest.parquet").num_rows
    names = table["name"].to_pylist()
    found = load_features(project / "data/features", ["face", "voice"], names)
    assert found.mask.sum(axis=0).tolist() == [23, 24]
    assert found.x[0][1:].tolist() == table["face"].to_pylist()[1:]
    assert found.x[1].tolist() == [[at, at] for at in range(24)]
    metrics = json.loads((project / "metrics/train.json").read_text())
    assert (metrics["labelled"], metrics["folds"], metrics["modalities"]) == (24, 3, ["face", "voice"])


def test_dvc_sees_a_changed_array_and_nothing_else(project: Path) -> None:
    """One array is altered: that encoder runs and computes one row; the other one does not run."""
    np.save(project / "data/external/voice-FRA/s0/c00.npy", np.full((3, 2), 99, np.float32))
    assert dvc(project, "status", "-q").returncode == 1
    assert repro(project, "train") == ["embed@voice", "pseudo", "train"]
    assert json.loads((project / ".mer/runs/embed-voice.json").read_text())["computed"] == 1
    assert load_features(project / "data/features", ["voice"], ["s0/c00"]).x[0].tolist() == [[99, 99]]


def test_a_label_moves_no_feature(project: Path) -> None:
    """The stages that read what was brought know which clips there are, and not what they are called."""
    path = project / "data/mine/clips.csv"
    path.write_text(path.read_text().replace("s1/c01,tense", "s1/c01,calm"))
    assert repro(project, "train") == ["ingest", "labels", "pseudo", "train"]


def test_the_whole_pipeline_runs_without_media(project: Path) -> None:
    """Stages that read media skip every clip and say so; the report is made."""
    repro(project)
    assert json.loads((project / ".mer/runs/frames.json").read_text())["skipped"] == {
        "no picture: the dataset has no video of this clip": 24
    }
    assert (project / "report/index.html").stat().st_size > 10_000
    assert dvc(project, "status", "-q").returncode == 0


def test_the_example_of_the_docs_runs(tmp_path: Path) -> None:
    """docs/features.md: the block that makes a project, as it stands, and the command after it."""
    folder = copy_project(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/features.md").read_text(), re.DOTALL)
    subprocess.run([sys.executable, "-c", next(b for b in blocks if "media: false" in b)], cwd=folder, check=True)
    assert set(repro(folder, "train")) == {"ingest", "embed@voice", "labels", "pseudo", "train"}
    assert json.loads((folder / "metrics/train.json").read_text())["labelled"] == 60
