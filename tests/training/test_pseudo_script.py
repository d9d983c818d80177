"""The stage as its script: a judge's CSV through the real vote stage, two rounds, then training; and switched off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.clips import MANIFEST_SCHEMA
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.tables.shards import write_table
from tests.forks import python
from tests.planted import CLASSES, NAMES, Planted, write
from tests.training.test_pseudo import given_votes, judge_says, large

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = f"""
dataset: {{root: data, csv: data, classes: [{", ".join(CLASSES)}]}}
encoders: {{{", ".join(f"{name}: {{family: appearance, input: frames}}" for name in NAMES)}}}
judges:
  expression: {{kind: csv, input: judges/expression.csv, family: face}}
  own: {{kind: fusion-head, input: features}}
pseudo: {{rounds: ROUNDS, min_precision: 0.4, min_support: 4}}
train:
  {{heads: {{logreg: {{c: [0.1]}}, mertools: }}, seeds: [0], epochs: 2, patience: 2, single_modality: false, d: 16}}
shards: {{count: 2}}
"""


def script(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a stage's script in the project."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MER_STORE": str(project / "store")}
    command = [python(), str(ROOT / "stages" / words[0]), *words[1:]]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)


def run(project: Path, *words: str) -> str:
    """Its line."""
    done = script(project, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def planted() -> Planted:
    """60 labelled clips in 4 folds, a pool of 80."""
    return large()


@pytest.fixture
def project(planted: Planted, tmp_path: Path) -> Path:
    """What ingest, embed and labels leave behind, and a CSV of predictions that were made elsewhere."""
    at = write(tmp_path, planted)
    write_table(at.given, given_votes(planted))
    rows = pq.read_table(at.manifest).to_pylist()
    nothing = dict.fromkeys(MANIFEST_SCHEMA.names)
    whole = [{**nothing, "has_sound": False, **row} for row in rows]
    write_table(at.manifest, pa.Table.from_pylist(whole, MANIFEST_SCHEMA))
    said = zip(planted.clip_ids, judge_says(planted).tolist(), strict=True)
    lines = [f"{clip_id},{'' if c == MISSING else CLASSES[c]}" for clip_id, c in said]
    (tmp_path / "data/judges").mkdir()
    (tmp_path / "data/judges/expression.csv").write_text("\n".join(["name,label", *lines]) + "\n", encoding="utf-8")
    return tmp_path


def switch(project: Path, rounds: int) -> None:
    """Write params.yaml."""
    (project / "params.yaml").write_text(PARAMS.replace("ROUNDS", str(rounds)), encoding="utf-8")


def test_two_rounds_through_the_scripts(project: Path) -> None:
    """vote, pseudo and train, one after the other; the truth is not there when labels are made."""
    switch(project, 2)
    run(project, "vote.py", "expression")
    truth = project / "data/truth.parquet"
    truth.rename(project / "kept")
    assert "clips without a label are taken after 2 rounds" in run(project, "pseudo.py")
    (project / "kept").rename(truth)
    found = json.loads((project / "metrics/pseudo.json").read_text())
    assert found["held_out"]["-1"]["families"] == ["face"]
    run(project, "train.py")
    rows = pq.read_table(project / "data/pseudo.parquet").to_pylist()
    taken = {row["clip_id"] for row in rows if row["label"] is not None and row["held_out_fold"] >= 0}
    assert json.loads((project / "metrics/train.json").read_text())["pseudo"] == len(taken) > 0


def test_off_costs_nothing_and_needs_nothing(project: Path) -> None:
    """An empty table, at once: neither torch nor the votes are looked at."""
    switch(project, 0)
    stage = str(ROOT / "stages/pseudo.py")
    code = f"import runpy, sys; runpy.run_path({stage!r})['main'](); print('torch' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["pseudo: off", "False"], done.stderr
    table = pq.read_table(project / "data/pseudo.parquet")
    assert (table.num_rows, table.schema.names[:3]) == (0, ["clip_id", "held_out_fold", "label"])
    assert json.loads((project / "metrics/pseudo.json").read_text())["empty"] == "pseudo.rounds is 0"
