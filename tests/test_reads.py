"""dvc.yaml says which tables each stage reads and writes: every stage runs once, and notes the paths that it takes."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mer_pipeline.config.project import Project
from mer_pipeline.models.lock import hashes_of
from mer_pipeline.models.tiny import make_tiny
from tests.closure import ROOT
from tests.forks import python

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PARAMS = """
dataset: {adapter: folder, root: clips, csv: clips.csv, media: false, classes: [calm, cross, glad]}
folds: {n: 3}
encoders:
  words: {family: char-ngram, input: transcript, dim: 32}
  context: {family: char-ngram, input: enriched, dim: 32}
  mine: {family: file, input: external/mine.csv}
judges:
  crowd: {kind: csv, input: external/crowd.csv, family: crowd}
  own: {kind: fusion-head, input: features}
pseudo: {rounds: 1, min_precision: 0.0, min_support: 1}
train: {heads: [logreg], seeds: [0], single_modality: false}
ablation: {enabled: true, head: logreg}
shards: {count: 2}
transcript: {backend: whisper, checkpoint: "dir:models/whisper"}
"""
RUNS = (
    *("ingest", "frames", "audio", "transcribe", "faces", "enrich", "embed:words", "embed:context", "embed:mine"),
    *("vote:crowd", "vote:own", "labels", "pseudo", "train", "ablation", "predict", "report"),
)
# Of these a stage takes away what removed encoders and judges left, and reads nothing.
CLEARED = {"data/quarantine"}


def write_csv(path: Path, *rows: tuple[object, ...]) -> None:
    """Rows, the header first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The paths that each stage was handed, by its name; the runs of one stage together."""
    root, deal = tmp_path_factory.mktemp("project"), random.Random(0)
    (root / "clips").mkdir()
    (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
    said = {"calm": "well well", "cross": "no, no!", "glad": "oh yes"}
    clips = [(f"c{i:02d}", deal.choice(list(said)), f"g{i % 6}") for i in range(48)]
    split = {name: "train" if i < 30 else "pool" if i < 40 else "test" for i, (name, _, _) in enumerate(clips)}
    rows = [(n, c if split[n] == "train" else "", g, split[n], f"{said[c]} {n}") for n, c, g in clips]
    write_csv(root / "clips.csv", ("name", "label", "group", "split", "transcript"), *rows)
    data = Project(root).data
    write_csv(data / "external/mine.csv", ("name", "a", "b"), *((n, len(c), deal.random()) for n, c, _ in clips))
    write_csv(data / "external/crowd.csv", ("name", "label"), *((n, c) for n, c, _ in clips))
    files = hashes_of(f"dir:{make_tiny('whisper-words', root / 'models/whisper')}")
    (root / "models.lock").write_text(json.dumps({"transcript/model": files}), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MER_STORE": str(root / "store")}
    command = [python(), "-m", "tests.recorded", *RUNS]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, set[str]] = {}
    for run, paths in json.loads(done.stdout.splitlines()[-1]).items():
        found.setdefault(run.partition(":")[0], set()).update(paths)
    return found


def said_of(name: str, *keys: str) -> set[str]:
    """The paths that stand under some keys of a stage, for all its runs in this test."""
    entries = YAML(typ="safe").load(PARAMS).get({"embed": "encoders", "vote": "judges"}.get(name, ""))
    runs = [(one, entry["input"]) for one, entry in entries.items()] if entries else [("", "")]
    body = STAGES[name].get("do", STAGES[name])
    listed = [next(iter(item)) if isinstance(item, dict) else item for key in keys for item in body.get(key, ())]
    return {item.replace("${key}", one).replace("${item.input}", read) for item in listed for one, read in runs}


def covers(one: str, other: str) -> bool:
    """Whether a path is another or holds it."""
    return other == one or other.startswith(f"{one}/")


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_takes_is_what_it_reads_and_writes(name: str, handed: dict[str, set[str]]) -> None:
    """Each path that it takes is a dep or an output of its, and it takes each of these that lies in the project."""
    said, taken = said_of(name, "deps", "outs", "metrics", "plots"), handed[name]
    if name != "report":
        taken = taken - CLEARED
    strange = {path for path in taken if not any(covers(one, path) or covers(path, one) for one in said)}
    assert not strange, f"taken, and neither a dep nor an output: {strange}"
    told = {path for path in said if path.startswith(("data/", "metrics/", "plots/", "report"))}
    idle = {path for path in told if not any(covers(path, one) or covers(one, path) for one in taken)}
    assert not idle, f"a dep or an output, and never taken: {idle}"
