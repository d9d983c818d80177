"""Sound through the whole pipeline: EmoDB's ten speakers, every head, folds of whole speakers.

    python benchmarks/emodb.py --emodb DIR

A copy of the project in a folder of its own gets the recordings as a dataset and runs its stages under DVC. The
sentences are the same for all emotions, so that the words are a control: they must be near chance.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from mer_pipeline.base.csv_files import read_csv  # noqa: E402
from mer_pipeline.config.components import HEADS  # noqa: E402
from mer_pipeline.metrics.ingest import IngestMetrics  # noqa: E402

import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.heads import RESAMPLES, interval, resampled  # noqa: E402
from tests.project import copy_project, repro  # noqa: E402

FOLDS, SEEDS = 5, (0, 1)
SINGLE = [head for head in HEADS.built_in if head != "ensemble"]
SETS = (("voice",), ("words",), ("context",), ("voice", "words"), ("voice", "context"))
PARAMS = """
dataset:
  adapter: folder
  root: data/emodb
  csv: data/emodb/labels.csv
  classes: [{classes}]
  columns: {{name: name, label: label, group: speaker, transcript: transcript}}
folds: {{n: {folds}, seed: 0}}
encoders:
  voice: {{family: logmel, input: audio}}
  words: {{family: char-ngram, input: transcript, dim: 1024}}
  context: {{family: char-ngram, input: enriched, dim: 1024}}
enrich: {{backend: template, language: en}}
judges: {{}}
labels: {{method: given, join_dependent: true}}
pseudo: {{rounds: 0}}
train: {{features: [{features}], heads: [{heads}], seeds: [{seeds}], single_modality: false}}
frames: {{}}
faces: {{}}
audio: {{}}
transcript: {{}}
shards: {{count: 4}}
quality: {{}}
"""
Ints = NDArray[np.int64]
Score = tuple[float, NDArray[np.float64]]


def settle(project: Path, classes: Sequence[str], features: Sequence[str]) -> None:
    """Write params.yaml for one set of features."""
    text = PARAMS.format(
        classes=", ".join(classes),
        folds=FOLDS,
        features=", ".join(features),
        heads=", ".join(SINGLE),
        seeds=", ".join(map(str, SEEDS)),
    )
    (project / "params.yaml").write_text(text, encoding="utf-8")


def scores_of(
    project: Path, given: Ints, speaker: Ints, names: Sequence[str], classes: Sequence[str]
) -> dict[str, Score]:
    """Each head's weighted F1 out of fold, from the table that the stage `train` wrote."""
    said: dict[str, dict[str, int]] = {}
    for row in pq.read_table(project / "data/fusion/out_of_fold.parquet").to_pylist():
        said.setdefault(row["head"], {})[row["clip_id"]] = classes.index(row["label"])
    return {
        head: resampled(np.array([of[name] for name in names]), given, speaker, len(classes))
        for head, of in said.items()
    }


def seconds(project: Path, stages: Sequence[str]) -> list[tuple[str, int, float]]:
    """What each took in its last run, without starting Python: name, clips with a value, seconds."""
    found = []
    for stage in stages:
        place = project / ".mer/runs" / f"{stage}.json"
        if place.exists():
            run = json.loads(place.read_text(encoding="utf-8"))
            found.append((stage, int(run["done"]), float(run["seconds"])))
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emodb", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "emodb.md")
    args = parser.parse_args()
    rows = sorted(
        read_csv(args.emodb / "labels.csv", ("name", "label", "speaker", "transcript")), key=lambda row: row["name"]
    )
    names = [row["name"] for row in rows]
    labels, given = np.unique([row["label"] for row in rows], return_inverse=True)
    _, speaker = np.unique([row["speaker"] for row in rows], return_inverse=True)
    classes = [str(label) for label in labels]
    started, load = time.perf_counter(), os.getloadavg()[0]
    found: dict[tuple[str, ...], dict[str, Score]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        project = copy_project(Path(temporary))
        shutil.copytree(args.emodb, project / "data/emodb")
        timed: list[tuple[str, int, float]] = []
        for features in SETS:
            settle(project, classes, features)
            print(" + ".join(features), repro(project, "train"), flush=True)
            timed = timed or seconds(
                project,
                (
                    "stage-ingest",
                    "frames",
                    "faces",
                    "audio",
                    "cues",
                    "enriched",
                    "embed-voice",
                    "embed-words",
                    "embed-context",
                ),
            )
            timed += [(f"train on {' + '.join(features)}", len(rows), seconds(project, ("stage-train",))[0][2])]
            found[features] = scores_of(project, given, speaker, names, classes)
        ingested = IngestMetrics.read(project / "metrics/ingest.json")
    spoken: dict[str, Counter[str]] = {}
    for row in rows:
        spoken.setdefault(row["transcript"], Counter())[row["label"]] += 1
    hindsight = sum(of.most_common(1)[0][1] for of in spoken.values()) / len(rows)
    most = Counter(given.tolist()).most_common(1)[0][0]
    chance = resampled(np.full(len(given), most), given, speaker, len(classes))
    page = "\n".join([
        "# Sound through the whole pipeline", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/emodb.py --emodb DIR`: EmoDB (Burkhardt et al. 2005), "
        f"{len(rows)} recordings of {int(speaker.max()) + 1} speakers, classes {', '.join(classes)}. {ingested.folds} "
        f"folds of whole speakers, {len(SEEDS)} seeds, the shipped training settings. {os.cpu_count()} cores, load "
        f"average {load:.1f} at the start, Python "
        f"{platform.python_version()}, torch {torch.__version__}; "
        f"{(time.perf_counter() - started) / 60:.0f} minutes with DVC.", "",
        "`voice` is `logmel` on the sound, `words` is `char-ngram` on the sentence, `context` is `char-ngram` on the "
        "sentence and the measured cues of the voice put into words. Everybody says the same sentences in every "
        "emotion, so `words` is the control: it can know no more than which sentence was taken more often for which "
        f"emotion (in hindsight accuracy {hindsight:.3f}; guessing in the classes' proportions has "
        f"{sum((n / len(rows)) ** 2 for n in Counter(given.tolist()).values()):.3f}).", "",
        f"Weighted F1 out of fold of the mean over seeds, with the middle 95 % of {RESAMPLES:,} resamples of "
        "speakers. Always the most frequent class: "
        f"{chance[0]:.3f} {interval(chance[1])}.", "",
        *table(found), "",
        *differences(found), "",
        "## Seconds", "",
        "In each stage, without starting Python and DVC. Without pictures `frames` and `faces` skip every clip.", "",
        "| stage | clips with a value | seconds |", "|---|---:|---:|",
        *(f"| {name.removeprefix('stage-')} | {clips} | {took:.1f} |" for name, clips, took in timed), "",
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


def table(found: Mapping[tuple[str, ...], Mapping[str, Score]]) -> list[str]:
    """A row per head, a column per set of features."""
    rows = [
        f"| `{head}` | " + " | ".join(f"{of[head][0]:.3f} {interval(of[head][1])}" for of in found.values()) + " |"
        for head in SINGLE
    ]
    return [f"| head | {' | '.join(' + '.join(s) for s in found)} |", f"|---|{'---|' * len(found)}", *rows]


def differences(found: Mapping[tuple[str, ...], Mapping[str, Score]]) -> list[str]:
    """What the cues in words add to the voice, head by head, paired over the same resamples."""
    with_, without = found["voice", "context"], found["voice",]
    rows = [
        f"| `{head}` | {with_[head][0] - without[head][0]:+.3f} | {interval(with_[head][1] - without[head][1], '+')} |"
        for head in SINGLE
    ]
    intro = "`voice + context` minus `voice`, paired over the same resamples of speakers:"
    return [intro, "", "| head | difference | 95 % |", "|---|---|---|", *rows]


if __name__ == "__main__":
    main()
