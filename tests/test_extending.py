"""docs/extending.md is true: every recipe is done as the page says, in a copy of the project, and its files counted."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import tomllib
import wave
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mer_pipeline.config.components import ENCODERS
from tests.forks import python
from tests.project import ROOT, copy_project, repro
from tests.recipes import PAGE, recipes

pytestmark = pytest.mark.slow

RECIPES = recipes()
MOST = {"encoder": 3, "head": 3, "judge": 3, "adapter": 3}  # files
WRITTEN = {  # by docs/write.py
    "encoder": {"docs/params.md", "docs/encoders.md"},
    "head": {"docs/params.md"},
    "judge": {"docs/params.md", "docs/judges.md"},
    "adapter": {"docs/params.md"},
}
TESTS = {  # of the copy
    "encoder": ["tests/test_encoders.py", "tests/test_components.py", "-k", "marks"],
    "head": ["tests/heads/test_heads.py", "tests/test_components.py", "-k", "pooled"],
    "judge": ["tests/judges/test_keywords.py", "tests/test_components.py", "-k", "words or keywords or class_that"],
    "adapter": ["tests/datasets/test_by_class.py", "tests/test_components.py", "-k", "folder_is_the_label or by-class"],
}
PARAMS = """
numerics: avx2
quality: {}
dataset:
  adapter: folder
  media: false
  root: data/mine
  csv: data/mine/clips.csv
  classes: [happy, angry]
  columns: {group: speaker}
folds: {n: 3}
encoders:
  words: {family: char-ngram, input: transcript, language: en, dim: 16}
judges: {}
labels: {method: given}
train:
  seeds: [0]
  epochs: 2
  single_modality: false
shards: {count: 2}
audio: {}
transcript: {}
"""
SAID = {"happy": "What a great day!", "angry": "Damn, I hate it. Do you hear?"}
KEYS = """
import json
from mer_pipeline.config.steps import steps
from mer_pipeline.config.params import load_params
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.training.head_cache import head_fingerprint
from mer_pipeline.heads.make import head_of
params = load_params()
keys = {step.name: fingerprint_of(step.make(), "cpu").id for step in steps(params)}
print(json.dumps(keys | {name: head_fingerprint(head_of(name, params.train), "cpu").id for name in params.train.heads}))
"""


def run(project: Path, *words: str) -> str:
    """A Python process there, with that project's package; what it printed."""
    env = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python(), *words], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, committed."""
    project = copy_project(tmp_path_factory.mktemp("original"))
    shutil.copytree(ROOT / "metrics", project / "metrics")  # docs/write.py reads them
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["add", "-A"], [*author, "commit", "-qm", "as it was"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    return project


@pytest.fixture(scope="module")
def keys(original: Path) -> dict[str, str]:
    """Of all steps and heads of the demo, before anything is added."""
    found: dict[str, str] = json.loads(run(original, "-c", KEYS))
    assert {"embed-voice", "faces", "ecmf"} <= found.keys()
    return found


@pytest.fixture
def project(original: Path, tmp_path: Path) -> Path:
    """Another copy, for one recipe."""
    return shutil.copytree(original, tmp_path / "project")


@pytest.mark.parametrize("name", MOST)
def test_a_component_of_this_package(project: Path, name: str, keys: dict[str, str]) -> None:
    """It takes as many files as the page says, it is tested, it is in the docs, and no key of another changes."""
    way = RECIPES[name].inside
    way.apply(project)
    assert len(way.files) == way.said <= MOST[name]
    run(project, "docs/write.py")
    status = subprocess.run(["git", "status", "--porcelain", "-uall"], cwd=project, capture_output=True, text=True)
    assert {line[3:] for line in status.stdout.splitlines()} == way.files | WRITTEN[name]
    run(project, "-m", "ruff", "check", "--no-cache", "mer_pipeline", "tests")
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS[name])
    assert json.loads(run(project, "-c", KEYS)) == keys


@pytest.fixture
def lab(project: Path) -> Path:
    """A project with 24 sentences of 4 speakers, and a clip without words."""
    place = project / "data/mine/clips.csv"
    place.parent.mkdir(parents=True)
    labels = [sorted(SAID)[at % 2] for at in range(24)]
    with place.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["name", "label", "speaker", "transcript"])
        table.writerows([f"c{at:02}", label, f"s{at % 4}", SAID[label]] for at, label in enumerate(labels))
        table.writerow(["silent", "", "s0", ""])
    (project / "params.yaml").write_text(PARAMS)
    return project


def outside(lab: Path, name: str) -> None:
    """Do the recipe of a component of one's own."""
    way = RECIPES[name].outside
    assert way is not None
    way.apply(lab)
    assert len(way.files - {"params.yaml"}) == way.said == 1


def rows(folder: Path) -> dict[str, dict[str, object]]:
    """A table of the project, by clip."""
    found = [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]
    return {str(row["clip_id"]): row for row in found}


def test_an_encoder_of_ones_own(lab: Path) -> None:
    """Its rows are kept like others, an edit of its file computes them again, and a bug is shown with its line."""
    outside(lab, "encoder")
    assert repro(lab, "embed@marks") == ["ingest", "audio", "transcribe", "embed@marks"]
    found = rows(lab / "data/features/marks")
    assert found["c00"]["vector"] == pytest.approx([1 / 7, 0, 1 / 7, 1 / 7])
    assert (found["silent"]["valid"], found["silent"]["reason"]) == (False, "no subtitle")
    assert repro(lab, "embed@marks") == []
    assert "25 re-used" in run(lab, "stages/embed.py", "marks")
    path = lab / "components/marks.py"
    path.write_text(path.read_text().replace('",，"', '",，;"'))
    assert "embed@marks" in repro(lab, "embed@marks")  # DVC sees the edit, and none of the rows is re-used
    assert json.loads((lab / ".mer/runs/embed-marks.json").read_text())["reused"] == 0
    path.write_text(path.read_text().replace("len(text.split())", "{}['length']"))
    line = next(at for at, text in enumerate(path.read_text().splitlines(), 1) if "{}['length']" in text)
    with pytest.raises(AssertionError, match=rf"KeyError at components/marks\.py:{line}\b"):
        run(lab, "stages/embed.py", "marks")


def test_a_judge_of_ones_own(lab: Path) -> None:
    """It votes, and abstains where there is nothing to go by."""
    outside(lab, "judge")
    for words in (["ingest"], ["transcribe"], ["vote", "mine"]):
        run(lab, f"stages/{words[0]}.py", *words[1:])
    found = rows(lab / "data/votes/mine")
    assert (found["c00"]["label"], found["c01"]["label"]) == ("angry", "happy")
    assert found["silent"]["valid"] is False


def test_a_head_of_ones_own(lab: Path) -> None:
    """It is trained and scored beside the others."""
    outside(lab, "head")
    for words in (["ingest"], ["transcribe"], ["embed", "words"], ["labels"], ["pseudo"], ["train"]):
        run(lab, f"stages/{words[0]}.py", *words[1:])
    assert set(json.loads((lab / "metrics/train.json").read_text())["heads"]) == {"logreg", "mine"}


def test_an_adapter_of_ones_own(lab: Path) -> None:
    """It lists the clips, and ingest does the rest."""
    for at, label in enumerate(SAID):
        path = lab / f"data/folders/{label}/c{at}.wav"
        path.parent.mkdir(parents=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes(32_000))
    text = (lab / "params.yaml").read_text()
    text = re.sub(r"  media: false\n|  columns: .*\n", "", text)
    (lab / "params.yaml").write_text(re.sub(r"(root|csv): data/mine.*", r"\1: data/folders", text))
    outside(lab, "adapter")
    run(lab, "stages/ingest.py")
    found = {row["clip_id"]: row["label"] for row in pq.read_table(lab / "data/manifest.parquet").to_pylist()}
    assert found == {"happy/c0": "happy", "angry/c1": "angry"}


def test_a_stage(project: Path) -> None:
    """It takes as many files as the page says; DVC's entry is what the script reads; it runs, and its step is known."""
    way = RECIPES["stage"].inside
    way.apply(project)
    assert len(way.files) == way.said <= 6
    run(project, "docs/write.py")
    status = subprocess.run(["git", "status", "--porcelain", "-uall"], cwd=project, capture_output=True, text=True)
    assert {line[3:] for line in status.stdout.splitlines()} == way.files | {"docs/params.md"}
    run(project, "-m", "ruff", "check", "--no-cache", "mer_pipeline", "stages")
    run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_dvc_yaml.py")
    shutil.copytree(ROOT / "data/demo", project / "data/demo")
    for stage in ("ingest", "audio", "silences"):
        run(project, f"stages/{stage}.py")
    shares = [row["share"] for row in rows(project / "data/silences").values() if row["valid"]]
    assert len(shares) > 200
    assert all(0 <= share < 1 for share in shares)
    said = run(project, "-m", "mer_pipeline.cli.main", "verify", "silences", "--sample", "1")
    assert said == "silences: as computed again\n"


def test_entry_points_of_the_page() -> None:
    """Their group is the one that is looked into."""
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    groups = tomllib.loads(text)["project"]["entry-points"]
    assert list(groups) == [ENCODERS.group]
