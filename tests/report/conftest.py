"""A small synthetic project, written with the store's own writers, in the variants that the page must survive."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from mer_pipeline.base.clips import MANIFEST_SCHEMA, PROBLEM_SCHEMA, Row
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.metrics.labels import FamilyPair, LabelMetrics, SourceTrust
from mer_pipeline.metrics.predict import CandidateScores, PredictMetrics, SelectedScore
from mer_pipeline.metrics.scores import (
    Baselines,
    Bin,
    Blind,
    Calibration,
    ClassScore,
    Counts,
    GroupedScore,
    Interval,
    Score,
)
from mer_pipeline.metrics.train import (
    FusedScores,
    HeadScores,
    LabelAgreement,
    LabelCounts,
    OutOfFold,
    TrainBaselines,
    TrainMetrics,
)
from mer_pipeline.tables.rows import complete_row, stage_schema, to_table
from mer_pipeline.tables.shards import shard_of, write_shard, write_table

SHARDS = 2
MODALITIES = ("scene", "face", "voice", "words")
HOSTILE = "<script>alert(1)</script> \"'&{{ 7*7 }}"
PROBABILITIES = pa.list_(pa.float32(), len(MER_CLASSES))

FRAMES = pa.schema([("jpegs", pa.list_(pa.binary())), ("times", pa.list_(pa.float64()))])
FACES = pa.schema(
    [("crops", pa.list_(pa.binary())), ("times", pa.list_(pa.float64())), ("scores", pa.list_(pa.float32()))]
)
AUDIO = pa.schema([("pcm", pa.binary()), ("seconds", pa.float32()), ("rms_dbfs", pa.float32())])
WORDS = pa.schema([("zh", pa.string()), ("en", pa.string())])
ENRICHED = pa.schema([(name, pa.string()) for name in ("text", "status", "why")])
VECTOR = pa.schema([("vector", pa.list_(pa.float32(), 2))])
LABELS = pa.schema(
    [
        ("clip_id", pa.string()), ("held_out_fold", pa.int32()), ("given", pa.string()), ("label", pa.string()),
        ("posterior", PROBABILITIES), ("changed", pa.bool_()), ("reason", pa.string()), ("votes", pa.string()),
        ("suspect", pa.string()),
    ]
)  # fmt: skip
GUESSES = [
    ("clip_id", pa.string()), ("head", pa.string()), ("label", pa.string()), ("probabilities", PROBABILITIES),
    ("weights", pa.list_(pa.float32())),
]  # fmt: skip
PREDICTIONS = pa.schema(
    [*GUESSES, ("split", pa.string()), ("importance", pa.list_(pa.float32())), ("flag", pa.string())]
)
OUT_OF_FOLD = pa.schema([*GUESSES, ("fold", pa.int32())])


AGREEMENT = LabelMetrics(
    method="human-anchored",
    labelled=36,
    changed=3,
    changed_by_class={},
    given_by_class={},
    families={},
    judges={},
    sources={
        "crowd": SourceTrust(family="crowd", votes=30, accuracy=0.7811, low=0.7032, high=0.8662),
        "given": SourceTrust(family="human", votes=36, accuracy=0.8284, low=0.7482, high=0.8893),
        "listener": SourceTrust(family="crowd", votes=0, accuracy=None, low=None, high=None),
    },
    pairs=(FamilyPair(a="human", b="crowd", n=30, agreement=0.657407, kappa=0.586678),),
    dependent=(),
    within_families=(),
    warnings=(f"the sources of one family 'crowd' and '{HOSTILE}' agree on 99% of 30 clips",),
    suspect=0,
)


@dataclass(frozen=True)
class Variant:
    """What the project has."""

    truth: bool = True  # the true labels are known
    labels: bool = True  # training clips have labels, so that there are heads
    video: bool = True
    quarantine: bool = True  # some clips failed
    train_clips: int = 36
    test_clips: int = 24


def picture(clip: int, at: int, size: tuple[int, int] = (320, 240)) -> bytes:
    """A drawn head on a plain wall, a little different in every frame, as a JPEG."""
    width, height = size
    image = Image.new("RGB", size, (170 + clip * 7 % 60, 180, 190 - clip * 5 % 60))
    draw = ImageDraw.Draw(image)
    x, y, r = width / 2 + at, height * 0.48, height * 0.28
    draw.ellipse((x - 2 * r, y + r, x + 2 * r, y + 4 * r), fill=(70, 80, 100 + clip % 9 * 10))
    draw.ellipse((x - r * 0.8, y - r, x + r * 0.8, y + r), fill=(224, 190 - clip % 5 * 12, 160 - clip % 5 * 14))
    for side in (-1, 1):
        draw.ellipse((x + side * r * 0.35 - 4, y - 12, x + side * r * 0.35 + 4, y - 4), fill=(30, 30, 30))
    draw.arc((x - r * 0.4, y, x + r * 0.4, y + r * 0.7), 20, 160, fill=(130, 40, 40), width=3)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def speech(clip: int) -> bytes:
    """Two seconds of a tone with syllables."""
    time = np.arange(32000) / 16000
    wave = np.sin(2 * np.pi * (120 + clip) * time) * np.abs(np.sin(2 * np.pi * (1.3 + clip % 4 / 3) * time)) ** 3
    pcm: bytes = (wave * 9000).astype("<i2").tobytes()
    return pcm


def score(value: float, n: int, sd: float = 0.02) -> Score:
    """A score without an interval."""
    return Score(
        n=n, weighted_f1=value, macro_f1=value - 0.03, uar=value - 0.02, weighted_f1_sd=sd,
        log_loss=2 - value, ece=0.1, brier=1.2 - value,
    )  # fmt: skip


def blind() -> Baselines:
    """Six classes, of which the first is the most frequent."""
    named = Blind(weighted_f1=0.073, macro_f1=0.05, uar=0.167, log_loss=None, brier=None)
    return Baselines(label="neutral", majority=named, prior=named.model_copy(update={"log_loss": 1.79, "brier": 0.83}))


def ranged(value: float, n: int, sd: float = 0.02, groups: int = 12) -> GroupedScore:
    """A score with an interval."""
    interval = Interval(low=value - 0.07, high=value + 0.06, over="groups", n=groups)
    return GroupedScore(**dict(score(value, n, sd)), interval=interval)


def calibrated(n: int) -> Calibration:
    """A head that is too sure, and less so when tempered."""

    def bins(off: float) -> tuple[Bin, ...]:
        """Clips in two bins, more or fewer of them right than it says."""
        filled = {at: {"n": n // 2, "confidence": at / 10 + 0.05, "accuracy": at / 10 + off} for at in (4, 8)}
        none = {"n": 0, "confidence": 0.0, "accuracy": 0.0}
        return tuple(Bin(low=at / 10, high=(at + 1) / 10, **filled.get(at, none)) for at in range(10))

    return Calibration(
        n=n, ece=0.15, ece_tempered=0.023, ece_if_calibrated=0.061, log_loss=1.3, log_loss_tempered=0.9,
        brier=0.7, brier_tempered=0.5, bins=bins(-0.1), bins_tempered=bins(0.03),
    )  # fmt: skip


def by_class(support: int) -> dict[str, ClassScore]:
    """A line for each class."""
    return {
        name: ClassScore(precision=0.75, recall=0.75, f1=0.5 + at / 20, support=support)
        for at, name in enumerate(MER_CLASSES)
    }


def confusion(right: int) -> Counts:
    """As many right in each class, and one wrong."""
    return tuple(tuple(right if i == j else int((i + 1) % 6 == j) for j in range(6)) for i in range(6))


class Maker:
    """Writes a whole project folder."""

    def __init__(self, root: Path, variant: Variant) -> None:
        """Decide every clip's true and given label."""
        self.paths = Project(root)
        self.variant = variant
        self.random = random.Random(7)
        self.train = [f"train_{at:04d}" for at in range(variant.train_clips)]
        self.test = [f"test_{at:04d}" for at in range(variant.test_clips)]
        self.pool = [f"pool_{at:04d}" for at in range(6)]
        self.all = [*self.train, *self.test, *self.pool]
        self.true = {clip: MER_CLASSES[at % 6] for at, clip in enumerate(self.all)}
        self.given = {clip: MER_CLASSES[(at + (at % 7 == 0)) % 6] for at, clip in enumerate(self.train)}

    def make(self) -> Project:
        """Write everything."""
        data = self.paths.data
        splits = {**dict.fromkeys(self.train, "train" if self.variant.labels else "pool")}
        splits |= {**dict.fromkeys(self.test, "test"), **dict.fromkeys(self.pool, "pool")}
        manifest = [
            {
                **dict.fromkeys(MANIFEST_SCHEMA.names),
                "clip_id": clip,
                "group": f"speaker{at % 5}",
                "split": splits[clip],
            }
            | {"label": self.given.get(clip) if self.variant.labels else None, "seconds": 2.0, "has_sound": True}
            for at, clip in enumerate(self.all)
        ]
        write_table(data / "manifest.parquet", to_table(manifest, MANIFEST_SCHEMA))
        truth = [{"clip_id": clip, "label": self.true[clip]} for clip in (self.all if self.variant.truth else [])]
        write_table(
            data / "truth.parquet", to_table(truth, pa.schema([("clip_id", pa.string()), ("label", pa.string())]))
        )
        self._media()
        if self.variant.labels:
            self._decisions()
        self._problems()
        self.paths.metrics_folder.mkdir(parents=True)
        self._train_metrics().write(self.paths.metrics("train"))
        self._predict_metrics().write(self.paths.metrics("predict"))
        AGREEMENT.write(self.paths.metrics("labels"))
        self.paths.params.write_text("dataset:\n  root: data/demo  # <b>not bold</b>\nfolds:\n  n: 5\n")
        return self.paths

    def _enriched(self, at: int) -> dict[str, object]:
        """One clip whose model wrote nonsense, and two whose server was busy."""
        why = {0: f"no JSON {HOSTILE}", 1: "HTTP 503", 2: "HTTP 503"}.get(at)
        text = f"The speaker raises her voice. {HOSTILE}"
        return {"text": text, "status": "fallback" if why else "ok", "why": why}

    def _media(self) -> None:
        if self.variant.video:
            self._stage(
                "frames",
                FRAMES,
                lambda at: {"jpegs": [picture(at, k) for k in range(5)], "times": [0.2, 0.6, 1.0, 1.4, 1.8]},
            )
            self._stage(
                "faces",
                FACES,
                lambda at: (
                    "no face found"
                    if at % 11 == 3
                    else {
                        "crops": [picture(at, k, (160, 160)) for k in range(2)],
                        "times": [0.2, 1.0],
                        "scores": [0.97, 0.99],
                    }
                ),
            )
        else:
            self._stage("frames", FRAMES, lambda at: "no picture")
        self._stage(
            "audio",
            AUDIO,
            lambda at: "silent" if at % 13 == 5 else {"pcm": speech(at), "seconds": 2.0, "rms_dbfs": -22.5},
        )
        said = "你怎么现在才来, 我等了整整一个下午。"
        self._stage("transcript", WORDS, lambda at: "no subtitle" if at % 17 == 6 else {"zh": said, "en": HOSTILE})
        self._stage("enriched", ENRICHED, self._enriched)
        for name in MODALITIES:
            self._stage(f"features/{name}", VECTOR, lambda at: {"vector": [0.0, 1.0]})

    def _stage(self, name: str, schema: pa.Schema, make: Callable[[int], Row | str]) -> None:
        """A stage's folder; a text instead of values is the reason of a skip."""
        rows: list[list[Row]] = [[] for _ in range(SHARDS)]
        for at, clip in enumerate(self.all):
            made = make(at)
            values, reason = (None, made) if isinstance(made, str) else (made, None)
            rows[shard_of(clip, SHARDS)].append(complete_row(clip, "0", values, reason, schema))
        for shard, members in enumerate(rows):
            provenance = {"transform": name, "params": "{}", "shard": str(shard)}
            write_shard(self.paths.data / name, shard, members, stage_schema(schema), provenance)

    def _decisions(self) -> None:
        """Labels, out-of-fold and submitted predictions."""
        data = self.paths.data
        labels = [
            {
                "clip_id": clip,
                "held_out_fold": fold,
                "given": self.given[clip],
                "label": self.true[clip] if at % 14 else self.given[clip],
            }
            | {"posterior": [1.0, 0, 0, 0, 0, 0], "changed": at % 7 == 0 and at % 14 != 0}
            | {
                "reason": "crowd and listener agree on another label (posterior 0.93)"
                if at % 7 == 0 and at % 14
                else None
            }
            | {"votes": f"given={self.given[clip]} crowd={self.true[clip]} listener={self.true[clip]}"}
            | {"suspect": self.true[clip] if at % 7 == 0 and self.given[clip] != self.true[clip] else None}
            for fold in (-1, 0)
            for at, clip in enumerate(self.train)
        ]
        write_table(data / "labels.parquet", to_table(labels, LABELS))
        guesses = [
            self._guess(clip, "ecmf")
            | {"split": "test" if clip in self.test else "pool", "importance": [0.25, None, -0.5, 1.5]}
            for clip in (*self.test, *self.pool)
        ]
        guesses[2] |= {"flag": "no modality: training prior"}
        write_table(data / "predictions.parquet", to_table(guesses, PREDICTIONS))
        folded = [
            self._guess(clip, head) | {"fold": at % 5}
            for head in ("ecmf", "logreg", "mertools")
            for at, clip in enumerate(self.train)
        ]
        write_table(data / "fusion" / "out_of_fold.parquet", to_table(folded, OUT_OF_FOLD))

    def _guess(self, clip: str, head: str) -> dict[str, object]:
        right = MER_CLASSES.index(self.true[clip])
        label = right if self.random.random() < 0.75 else self.random.randrange(6)
        raw = [self.random.random() + 4 * (at == label) for at in range(6)]
        look = [self.random.random() + at for at in range(4)]
        weights: Sequence[float] | None = None if head == "logreg" else [value / sum(look) for value in look]
        probabilities = [value / sum(raw) for value in raw]
        guess: dict[str, object] = {"clip_id": clip, "head": head, "label": MER_CLASSES[label], "flag": None}
        return {**guess, "probabilities": probabilities, "weights": weights}

    def _problems(self) -> None:
        rows = [
            {
                "clip_id": "test_0003",
                "error": "BadInput",
                "message": f"the container is truncated {HOSTILE}",
                "input_digest": "0",
            },
            {"clip_id": "pool_0001", "error": "BadInput", "message": "no video stream", "input_digest": "0"},
        ]
        rows = [{**row, "traceback": None} for row in rows]
        table = to_table(rows if self.variant.quarantine else [], PROBLEM_SCHEMA)
        write_table(self.paths.data / "quarantine" / "frames.parquet", table)

    def _train_metrics(self) -> TrainMetrics:
        n, truth, trained = len(self.train), self.variant.truth, self.variant.labels

        def alone(value: float, sd: float = 0.02) -> HeadScores:
            return HeadScores(given=score(value, n, sd), true=score(value + 0.06, n, sd) if truth else None)

        def fused(value: float, sd: float = 0.02) -> FusedScores:
            return FusedScores(
                given=ranged(value, n, sd),
                true=ranged(value + 0.06, n, sd) if truth else None,
                out_of_fold=OutOfFold(
                    per_class=by_class(6), confusion=confusion(5), temperature=1.62, calibration=calibrated(n)
                ),
                search=None,
            )

        single = {
            name: {"ecmf": alone(0.40 + at / 20), "mertools": alone(0.38 + at / 20), "logreg": alone(0.41 + at / 18, 0)}
            for at, name in enumerate(MODALITIES)
        }
        heads = {"ecmf": fused(0.684), "mertools": fused(0.651), "logreg": fused(0.702, 0.0)}
        agreement = LabelAgreement(given=0.852, refined=0.931) if truth and trained else None
        return TrainMetrics(
            classes=MER_CLASSES,
            modalities=MODALITIES,
            merged=(),
            mixed=(),
            folds=4 if trained else 0,
            folds_asked=5,
            folds_note="",
            labelled=n if trained else 0,
            seeds=(0, 1, 2),
            search_note="",
            heads=heads if trained else {},
            single=single if trained else {},
            labels=LabelCounts(changed=3 if trained else 0, agreement_with_true=agreement),
            pseudo=0,
            baselines=TrainBaselines(given=blind(), true=blind() if truth else None) if trained else None,
            warnings=("the class 'worried' has 4 labelled clips: its scores are chance",) if trained else (),
            selected="ecmf" if trained else None,
            empty=None if trained else "no clip has a label",
        )

    def _predict_metrics(self) -> PredictMetrics:
        n, test = len(self.test), None
        if self.variant.truth and self.variant.labels:
            test = CandidateScores(
                heads={
                    "ecmf": ranged(0.731, n, groups=3),
                    "mertools": ranged(0.69, n, groups=3),
                    "logreg": ranged(0.702, n, 0.0, 3),
                },
                single={
                    name: {"ecmf": score(0.44 + at / 20, n), "logreg": score(0.42 + at / 20, n, 0.0)}
                    for at, name in enumerate(MODALITIES)
                },
                selected=SelectedScore(
                    **dict(ranged(0.754, n, groups=3)),
                    per_class=by_class(4),
                    confusion=confusion(3),
                    calibration=calibrated(n),
                ),
                baselines=blind(),
                unshifted=None,
            )
        selected = "ecmf" if self.variant.labels else None
        return PredictMetrics(selected=selected, test=test, candidates=n, pool=6, flagged=1, priors={}, warnings=())


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    """Makes a project under a fresh folder; keywords are the fields of Variant."""
    return lambda **changes: Maker(tmp_path / "project", Variant(**changes)).make()


@pytest.fixture
def hostile() -> str:
    """Markup that stands in subtitles, enriched texts and messages."""
    return HOSTILE
