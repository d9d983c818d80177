"""The sets of the panel: features, labels, folds and the units of the bootstrap, each from what is read or generated.

    ravdess          action units and sound of 24 actors, one vector a modality
    ravdess-sound    its sound alone
    emodb            log-mel statistics and Whisper of 10 speakers
    cremad-votes     what a crowd said who only saw, and one who only heard, of what a third said who did both
    goemotions       character n-grams and MiniLM of English comments
    crema-like       clips of generated.py as CREMA-D's are: few, noisy labels, modalities missing and in conflict
    flat, overlap    clips of generated.py of which one modality tells the class: modalities compete

Of a generated set there are several draws; what is predicted of all of them is scored together, by the true classes.
Draws with seeds from CHOSEN_ON on are those that the head was shaped on; a page never has them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.modalities import Features, Matrix, load_features
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.training.cross_validation import Labels
from mer_pipeline.training.member import fixed_threads

import numpy as np
from numpy.typing import NDArray

from benchmarks.enrichment import Bench, Sentences, read_goemotions
from benchmarks.generated import CLASSES, World
from benchmarks.heads import read
from benchmarks.labels import read_cremad
from benchmarks.pretrained import MINILM, SHIPPED, all_layers, kept, logmel_vectors, pooled, sounds, whisper

Ints = NDArray[np.int64]
FOLDS, CHOSEN_ON = 5, 1000
COMMENTS, RATED = 1200, 1500  # of GoEmotions and of CREMA-D, so that the panel takes minutes


@dataclass(frozen=True)
class Draw:
    """Labelled clips with their folds.

    Attributes:
        features: of all clips.
        labels: the labels and folds.
        true: int64 (n,), what is scored against; for what is not generated the labels.
        unit: int64 (n,), what the bootstrap draws: speakers, or clips.
    """

    features: Features
    labels: Labels
    true: Ints
    unit: Ints
    classes: int


def draw(features: Features, label: Sequence[str] | Ints, group: Sequence[str], folds: int = FOLDS) -> Draw:
    """Return the clips with folds of whole groups, by the pipeline's own `make_folds`."""
    names = [f"{at:06d}" for at in range(len(group))]
    classes, given = np.unique(label, return_inverse=True)
    _, unit = np.unique(group, return_inverse=True)
    told = [(name, str(classes[c]), str(g)) for name, c, g in zip(names, given, group, strict=True)]
    of = make_folds(told, FoldParams(n=folds)).of
    fold = np.array([of[name] for name in names])
    held_out = np.where(fold == np.arange(folds)[:, None], MISSING, given)
    return Draw(features, Labels(tuple(names), fold, given, given, held_out, given), given, unit, len(classes))


def whole(**modalities: Matrix) -> Features:
    """Return the features of clips that have all modalities."""
    n = len(next(iter(modalities.values())))
    return Features(tuple(modalities), tuple(modalities.values()), np.ones((n, len(modalities)), dtype=bool))


def ravdess(data: Path, *names: str) -> list[Draw]:
    """Return RAVDESS, all modalities or some; the folds are those of `heads.py`."""
    features, labels, speaker, classes = read(data / "ravdess/features/au_audio.parquet")
    chosen = features.select(names) if names else features
    return [Draw(chosen, labels, labels.given, speaker, classes)]


def emodb(data: Path, place: Path) -> list[Draw]:
    """Return EmoDB; Whisper as profiles/starter-pretrained.yaml has it."""
    listing = sorted(read_csv(data / "emodb/labels.csv", ("name", "label", "speaker")), key=lambda row: row["name"])
    rows = sounds(data / "emodb/audio", [row["name"] for row in listing])

    def layers() -> Matrix:
        made = whisper(SHIPPED[0])
        with fixed_threads():
            return np.stack([all_layers(made, row) for row in rows])

    heard = pooled(kept(place / f"emodb-{SHIPPED[0]}.npy", layers), *SHIPPED[1:])
    features = whole(logmel=kept(place / "emodb-logmel.npy", lambda: logmel_vectors(rows)), whisper=heard)
    return [draw(features, [row["label"] for row in listing], [row["speaker"] for row in listing])]


def cremad_votes(data: Path) -> list[Draw]:
    """Return clips whose crowd of sight and sound had one winner, with the votes of the other crowds as features."""
    crowd = read_cremad(data / "cremad_votes")
    known = np.flatnonzero(crowd.truth != MISSING)
    rows = np.sort(np.random.default_rng(0).permutation(known)[:RATED])
    voice, face = (np.log((counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)).astype(np.float32)
                   for counts in (crowd.counts[rows, 0], crowd.counts[rows, 1]))  # fmt: skip
    return [draw(whole(voice=voice, face=face), crowd.truth[rows], [str(actor) for actor in crowd.actor[rows]])]


def goemotions(data: Path, place: Path) -> list[Draw]:
    """Return comments; each is its own group."""
    every = read_goemotions(data / "goemotions")
    names = sorted(every.labels)[:COMMENTS]
    few = Sentences({n: every.texts[n] for n in names}, {n: every.labels[n] for n in names}, every.classes, "")
    saved = [place / f"goemotions-{COMMENTS}-{name}.npy" for name in ("words", "minilm")]
    if not all(path.is_file() for path in saved):
        with tempfile.TemporaryDirectory() as temporary:
            bench = Bench(Path(temporary), few)
            bench.encode("words", "transcript")
            section = {"family": "hf-text", "input": "transcript", "checkpoint": MINILM, "language": "en"}
            bench.make(make_encoder("minilm", ENCODER.parse(section)), "features/minilm")
            for path, x in zip(saved, load_features(Path(temporary) / "features", ["words", "minilm"], names).x,
                               strict=True):  # fmt: skip
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, x)
    words, minilm = (np.load(path) for path in saved)
    return [draw(whole(words=words, minilm=minilm), [few.labels[n] for n in names], names)]


def generated(spotlight: str | None, n: int, missing: float, noise: float, seeds: Sequence[int]) -> list[Draw]:
    """Return one draw per seed, with noisy labels to learn from."""
    found = []
    for seed in seeds:
        clips = World(seed, spotlight).draw(n, "train", missing, noise)  # type: ignore[arg-type]
        one = draw(clips.features, np.array([CLASSES[c] for c in clips.label]), [str(at) for at in range(n)])
        order = np.argsort(CLASSES)
        place = np.empty(len(CLASSES), dtype=np.int64)
        place[order] = np.arange(len(CLASSES))
        found.append(Draw(one.features, one.labels, place[clips.true], one.unit, one.classes))
    return found


def sets(data: Path, place: Path, first: int = 0) -> Mapping[str, Callable[[], list[Draw]]]:
    """Return what makes each set, by name; generated draws have the seeds from `first` on."""
    few, one = range(first, first + 3), [first]
    return {
        "ravdess": lambda: ravdess(data),
        "ravdess-sound": lambda: ravdess(data, "audio"),
        "emodb": lambda: emodb(data, place),
        "cremad-votes": lambda: cremad_votes(data),
        "goemotions": lambda: goemotions(data, place),
        "crema-like 300": lambda: generated(None, 300, 0.3, 0.2, few),
        "crema-like 1200": lambda: generated(None, 1200, 0.3, 0.2, one),
        "flat 1000": lambda: generated("flat", 1000, 0.0, 0.0, one),
        "overlap 4000": lambda: generated("overlap", 4000, 0.0, 0.0, one),
    }
