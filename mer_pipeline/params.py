"""`params.yaml` as frozen, typed values: one class per section, one section per idea.

Nothing in a section depends on the machine: workers, device, batch size and the place of the store live
in `.mer.toml` (`runtime.py`), so the same params give the same values everywhere. An unknown key is an
error that names the nearest known one. Only `stages/` and `cli/` see a whole `Params`; everything below
is handed the section that it reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mer_pipeline.csv_files import clean, present
from mer_pipeline.errors import ParamsError, did_you_mean
from mer_pipeline.numerics import Numerics, agree

PARAMS_FILE = Path("params.yaml")
VISUAL = "visual"  # the modality that train.visual merges encoders into
MER_CLASSES = ("neutral", "angry", "happy", "sad", "worried", "surprise")

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Strength = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0.0, lt=1.0)]
HeadName = Literal["ecmf", "mertools", "concat", "gated", "mean-logits", "logreg", "ensemble"]


class Section(BaseModel):
    """Base of every section: immutable, strict types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnParams(Section):
    """Names of the columns of the `folder` adapter's CSV; all but `name` may be absent from it."""

    name: str = "name"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    order: str = "order"
    transcript: str = "transcript"
    fps: str = "fps"
    duration: str = "duration"


class DatasetParams(Section):
    """Where the clips are and how they are described."""

    adapter: Literal["mer2025", "mer2026", "folder"] = "mer2025"  # how the folder is laid out
    root: str  # folder of the dataset
    # folder adapter: false: there are no media files, and the CSV alone says which clips there are
    media: bool = True
    # folder adapter: the CSV that describes the clips, in or outside of root. Without one it is root again, because
    # DVC watches both and cannot watch nothing; then every clip is unlabelled.
    csv: str
    columns: ColumnParams = ColumnParams()  # folder adapter: what the CSV calls its columns
    classes: tuple[str, ...] = MER_CLASSES  # in the order of every table and matrix; neutral first by custom
    group_pattern: str | None = None  # a regex on the clip's name whose first group is the speaker or scene
    order_pattern: str | None = None  # likewise, its first group the utterance's number within speaker or scene
    votes: str | None = None  # CSV name,source,family,label of further annotators, relative to root
    truth: tuple[str, ...] = ()  # CSVs name,discrete, relative to root; for evaluation only

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(classes) < 2 or len(set(classes)) != len(classes):
            raise ValueError("needs at least two different class names")
        for name in classes:
            if name != clean(name) or not name.isprintable():
                raise ValueError(
                    f"{name!r} has blanks around it, control characters, or accents apart from their letters"
                )
            if present(name) is None:
                raise ValueError(f"'{name}' means no label in a CSV; take another name for the class")
        return classes

    @field_validator("votes", "truth")
    @classmethod
    def _inside(cls, names: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for name in (names,) if isinstance(names, str) else names or ():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"'{name}' must lie below dataset.root, where DVC sees that it changes")
        return names

    @field_validator("group_pattern", "order_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
            if groups < 1:
                raise ValueError("needs a (group) in parentheses")
        return pattern


class FoldParams(Section):
    """Cross-validation folds over the labelled training clips: stratified, whole groups together."""

    n: Annotated[int, Field(ge=2)] = 5  # how many; fewer where there are fewer groups
    seed: Seed = 0  # of the deal


class FrameParams(Section):
    """Which pictures of a clip are kept, and how large."""

    mode: Literal["uniform", "fps", "all"] = "uniform"  # see n, fps and max_frames
    n: Count = 8  # uniform: this many, at the centres of n equal spans of time
    fps: Annotated[float, Field(gt=0, le=1000)] = 2.0  # fps: this many a second
    max_frames: Count = 64  # fps, all: never more than this
    max_side: Annotated[int, Field(ge=16)] = 640  # pixels of the longer side; smaller pictures stay as they are
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90  # 4:2:0


class FaceParams(Section):
    """Face detection, and the choice of one primary face per clip."""

    detector: Literal["mtcnn"] = "mtcnn"  # its weights ship with facenet-pytorch
    detect_side: Annotated[int, Field(ge=32)] = 320  # pixels of the longer side of the copy that is searched
    min_face: Annotated[int, Field(ge=12)] = 24  # pixels, in that copy
    min_score: Fraction = 0.9  # of the detector; lower ones are kept as candidates only
    margin: Annotated[float, Field(ge=0.0, le=2.0)] = 0.1  # of the face's size, on each side
    size: Annotated[int, Field(ge=32)] = 160  # pixels, the aligned crop
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95  # of the crops


class AudioParams(Section):
    """16 kHz mono sound; loudness is information and stays untouched."""

    silence_dbfs: Annotated[float, Field(le=0.0)] = -60.0  # a clip whose loudest 50 ms is below this is silent
    max_seconds: Annotated[float, Field(gt=0)] = 120.0  # a clip with more sound is broken input


# Folders below data/ that stages write; what a person brings lies elsewhere there.
STAGE_FOLDERS = frozenset(
    {
        *("frames", "faces", "audio", "transcript", "enriched", "cues", "prompts", "replies"),
        *("features", "votes", "fusion", "quarantine"),
    }
)


def below_data(name: str) -> Path:
    """A person's file or folder, by its path below data/, where DVC sees that it changes.

    Raises:
        ValueError: it lies elsewhere.
    """
    path = Path(name)
    if name.startswith("data/"):
        raise ValueError(f"'{name}' is looked for below data/: write '{name.removeprefix('data/')}'")
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"'{name}' must lie below data/, where DVC sees that it changes")
    return path


class EncoderParams(Section):
    """One encoder: `family` says which code, `input` what it reads."""

    # which code: docs/encoders.md
    family: Literal[
        "appearance",
        "face-geometry",
        "logmel",
        "char-ngram",
        "open-clip",
        "facenet",
        "hf-vision",
        "hf-speech",
        "hf-text",
        "file",
    ]
    # the table that is read; a family reads one or two of them; file: a path below data/ (a folder of .npy, a .parquet
    # or a .csv)
    input: str
    dtype: Literal["float16", "float32"] = "float32"  # of the stored vectors
    frame_level: bool = False  # keep the vectors before pooling over time as well
    checkpoint: str | None = None  # dir:PATH, hf:org/name@rev, openclip:ARCH/TAG, facenet:NAME
    # sum of the last n hidden layers, or of these (0 = embeddings)
    layers: Count | Annotated[tuple[int, ...], Field(min_length=1)] = 1
    std: bool = False  # append the standard deviation over time to the mean
    language: Literal["zh", "en"] = "zh"  # char-ngram and hf-text on `transcript`; the other when it is empty
    dim: Count = 512  # char-ngram: length of the hashed vector
    max_tokens: Count = 512  # hf-text: longer texts are cut
    chunk_seconds: Annotated[float, Field(gt=0.1)] = 20.0  # hf-speech: longer clips are cut into equal chunks
    # file: the list column of a .parquet (its only one where not given); what the columns of a .csv begin with (all)
    column: str | None = None
    zeros_absent: bool = False  # file: a vector of zeros alone stands for nothing, as MERTools writes what is absent

    @model_validator(mode="after")
    def _fits(self) -> EncoderParams:
        reads = FAMILY_INPUTS[self.family]
        if self.family == "file":
            _check_brought(self.input)
        elif self.input not in reads:
            raise ValueError(f"family '{self.family}' reads {' or '.join(reads)}, not '{self.input}'")
        if (self.family in CHECKPOINT_FAMILIES) != (self.checkpoint is not None):
            need = "needs a checkpoint (e.g. dir:models/name)" if self.checkpoint is None else "takes no checkpoint"
            raise ValueError(f"family '{self.family}' {need}")
        if self.std and self.family in WHOLE_CLIP_FAMILIES:
            raise ValueError(f"family '{self.family}' describes a clip as a whole: there is no `std` over time")
        return self


FAMILY_INPUTS: dict[str, tuple[str, ...]] = {
    "appearance": ("frames", "faces"),
    "face-geometry": ("faces",),
    "logmel": ("audio",),
    "char-ngram": ("transcript", "enriched"),
    "open-clip": ("frames", "faces"),
    "facenet": ("faces",),
    "hf-vision": ("frames", "faces"),
    "hf-speech": ("audio",),
    "hf-text": ("transcript", "enriched"),
    "file": (),
}
WHOLE_CLIP_FAMILIES = frozenset({"logmel", "char-ngram"})
CHECKPOINT_FAMILIES = frozenset({"open-clip", "facenet", "hf-vision", "hf-speech", "hf-text"})


def _check_brought(name: str) -> None:
    first = below_data(name).parts[0]
    if first in STAGE_FOLDERS:
        raise ValueError(f"data/{first} is written by the pipeline: put '{name}' elsewhere, say below data/external/")


class EnrichParams(Section):
    """Context enrichment of the transcript. Where a server is and how often it is asked stands in `.mer.toml`."""

    # what writes the enriched text: nothing but rules, an OpenAI-compatible server, or a checkpoint in this process
    backend: Literal["template", "openai", "transformers"] = "template"
    language: Literal["zh", "en"] = "en"  # of the prompt and of the words that are added
    # openai: its name at the server; transformers: dir:PATH or hf:org/name@rev
    model: Annotated[str, Field(pattern=r"\S")] | None = None
    prompt: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "context"  # prompts/NAME.LANGUAGE.md
    neighbours: Annotated[int, Field(ge=0, le=20)] = 0  # utterances before and after, where the dataset has an order
    max_chars: Annotated[int, Field(ge=20, le=4000)] = 600  # of the text that the model adds
    max_tokens: Count = 1000  # of a reply
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0  # 0: greedy; a local checkpoint knows nothing else
    seed: Seed = 0  # of the model's sampling
    offline: bool = False  # ask nobody: a reply that the store does not have is an error

    @model_validator(mode="after")
    def _fits(self) -> EnrichParams:
        if (self.backend == "template") != (self.model is None):
            need = "takes no model" if self.model is not None else "needs a model"
            raise ValueError(f"backend '{self.backend}' {need}")
        if self.backend == "transformers" and self.temperature > 0:
            raise ValueError("backend 'transformers' is greedy: temperature must be 0")
        return self


# Sources of one family are not independent of each other (labels/votes.py).
# Any name will do: human, text-llm, audio, face, scene and own are those that the pipeline gives by itself.
Family = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
JudgeKind = Literal["open-clip", "hf-image", "hf-audio", "llm-scores", "csv", "fusion-head"]


class JudgeParams(Section):
    """One judge: a source that gives every clip a distribution over the classes, or abstains."""

    kind: JudgeKind  # which code: docs/judges.md
    input: str  # what it reads below data/: frames, faces, audio, enriched, features; csv: the file's path there
    family: Family | None = None  # whom it is not independent of; by its kind and input where not given
    checkpoint: str | None = None  # open-clip, hf-image, hf-audio: dir:PATH, hf:org/name@rev, openclip:ARCH/TAG
    captions: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] = "face"  # open-clip: prompts/captions-NAME.tsv
    # hf-image, hf-audio: the checkpoint's labels to classes, null for one that has none; or the name of a known map
    map: str | dict[str, str | None] | None = None
    min_score: Fraction = 0.0  # abstain where no class has this much
    head: HeadName = "logreg"  # fusion-head

    @model_validator(mode="after")
    def _fits(self) -> JudgeParams:
        reads = JUDGE_INPUTS[self.kind]
        if reads and self.input not in reads:
            raise ValueError(f"kind '{self.kind}' reads {' or '.join(reads)}, not '{self.input}'")
        if self.kind == "csv":
            if below_data(self.input).suffix != ".csv":
                raise ValueError(f"'{self.input}' must be a .csv below data/, where DVC sees that it changes")
            if self.family is None:
                raise ValueError("kind 'csv' needs a family: whom the predictions are not independent of")
        if (self.kind in CHECKPOINT_JUDGES) != (self.checkpoint is not None):
            need = "needs a checkpoint (e.g. dir:models/name)" if self.checkpoint is None else "takes no checkpoint"
            raise ValueError(f"kind '{self.kind}' {need}")
        if (self.kind in MAPPED_JUDGES) != (self.map is not None):
            need = "needs a map from the checkpoint's labels to classes" if self.map is None else "takes no map"
            raise ValueError(f"kind '{self.kind}' {need}")
        return self

    @property
    def home(self) -> Family:
        """The family, given or implied."""
        implied: dict[str, Family] = {"faces": "face", "frames": "scene", "audio": "audio", "enriched": "text-llm"}
        return self.family or implied.get(self.input, "own")


JUDGE_INPUTS: dict[JudgeKind, tuple[str, ...]] = {
    "open-clip": ("frames", "faces"),
    "hf-image": ("frames", "faces"),
    "hf-audio": ("audio",),
    "llm-scores": ("enriched",),
    "csv": (),
    "fusion-head": ("features",),
}
CHECKPOINT_JUDGES = frozenset({"open-clip", "hf-image", "hf-audio"})
MAPPED_JUDGES = frozenset({"hf-image", "hf-audio"})


class LabelParams(Section):
    """How the votes on a training clip become the label that is trained on."""

    # given: no refinement; the others: docs/method.md
    method: Literal[
        "given", "majority", "weighted", "one-coin", "dawid-skene", "dirichlet-multinomial", "human-anchored"
    ] = "human-anchored"
    # human-anchored: whose posterior; auto: dirichlet-multinomial where a family has several votes for a clip, else
    # dawid-skene
    model: Literal["auto", "one-coin", "dawid-skene", "dirichlet-multinomial"] = "auto"
    min_posterior: Fraction = 0.8  # human-anchored: change a label only at this posterior or above,
    min_families: Count = 2  # with this many other families in agreement,
    max_changed: Fraction = 0.3  # and never more than this fraction of a class
    join_dependent: bool = True  # human-anchored: families that agree more than their accuracy explains count as one


class PseudoParams(Section):
    """Labels for clips that have none, where the head and others agree (docs/method.md)."""

    rounds: Annotated[int, Field(ge=0)] = 0  # of training, labelling and training again; 0: no pseudo-labels
    head: HeadName = "logreg"  # whose opinion is asked; it is trained as `train` says
    min_families: Annotated[int, Field(ge=2)] = 2  # that must agree, the head's own among them
    # a class is taken only from the probability on at which so many of the labelled clips that pass are right, by the
    # lower bound of a one-sided 95% interval,
    min_precision: Fraction = 0.7
    min_support: Count = 20  # and at least so many of them pass
    max_ratio: Strength = 3.0  # at most so many clips of a class, per labelled clip of it
    max_drift: Annotated[float, Field(ge=0)] = 0.1  # and a class's share among all labels grows by no more than this
    candidates: bool = False  # label the test split's candidates too: transductive, and their features are then seen


Range = tuple[Strength, Strength]
RateRange = tuple[Rate, Rate]


class SearchSpace(Section):
    """What is searched: from low to high, or choices. What is left out stays as `train` says."""

    lr: Range | None = None  # [low, high], by its logarithm
    weight_decay: Range | None = None  # likewise
    dropout: RateRange | None = None  # [low, high]
    modality_dropout: RateRange | None = None  # likewise
    d: tuple[Count, ...] = ()  # choices
    attention_layers: tuple[Annotated[int, Field(ge=0)], ...] = ()  # choices

    @model_validator(mode="after")
    def _ranges(self) -> SearchSpace:
        for name, entry in self.entries.items():
            if name not in CHOICES and entry[0] >= entry[1]:
                raise ValueError(f"{name}: the first of [low, high] must be below the second")
            if name in CHOICES and len(set(entry)) < len(entry):
                raise ValueError(f"{name} has an entry twice")
        return self

    @property
    def entries(self) -> dict[str, tuple[float, ...]]:
        """What is searched, by the name that `train` has for it."""
        return {name: entry for name in type(self).model_fields if (entry := getattr(self, name))}

    def has(self, name: str, value: float) -> bool:
        """Whether an entry allows a value."""
        entry = self.entries[name]
        return value in entry if name in CHOICES else entry[0] <= value <= entry[1]


CHOICES = frozenset({"d", "attention_layers"})


class SearchParams(Section):
    """Settings of the networks on all modalities, chosen without the fold that is scored (docs/method.md)."""

    trials: Annotated[int, Field(ge=0)] = 0  # settings tried per fold, the first as `train` stands; 0: no search
    batch: Count = 8  # trials of a fold that are trained at once; a sampler learns from them together
    sampler: Literal["tpe", "random"] = "tpe"  # tpe: trials near what was good (tree-structured Parzen estimator)
    space: SearchSpace = SearchSpace()  # what is searched, by name: the next section


class TrainParams(Section):
    """The fusion heads. Values are ours where the paper is silent (docs/method.md)."""

    features: tuple[str, ...] = ()  # encoder names, each one modality token; empty: all, in params' order
    heads: Annotated[tuple[HeadName, ...], Field(min_length=1)] = (
        "ecmf",
        "mertools",
        "logreg",
    )  # cross-validation selects among them; ensemble: the mean of those that it keeps
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (
        0,
        1,
        2,
    )  # a member per seed and fold; predictions are their mean
    single_modality: bool = True  # also train every head on each modality alone, for the report
    # encoders that see frames or faces: a token each, or merged into one (`visual`)
    visual: Literal["tokens", "merged"] = "tokens"
    # what is learnt of a clip: its refined label, the refinement's posterior, or the mean posterior of its label's rows
    targets: Literal["hard", "posterior", "smoothed"] = "hard"
    class_weights: Literal["none", "balanced"] = "none"  # balanced: every class counts the same
    d: Count = 64  # width of a modality token
    attention_layers: Annotated[int, Field(ge=0)] = 1  # ecmf; 0: no token sees another
    attention_heads: Count = 4  # ecmf
    residual: bool = True  # ecmf: the second residual, on the tokens before attention
    late_fusion: bool = True  # ecmf: the third: the mean with linear late fusion, logreg's, unless that misleads it
    dropout: Rate = 0.3  # every network
    modality_dropout: Rate = 0.1  # ecmf: chance to hide a present modality
    lr: Annotated[float, Field(gt=0)] = 1e-3  # every network: AdamW, mertools Adam
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5  # likewise
    batch_size: Count = 32  # clips
    epochs: Count = 100  # at most
    patience: Count = 20  # epochs without a better validation score
    refit: bool = True  # then train anew for the best number of epochs, on the validation fold too
    logreg_c: Annotated[tuple[Strength, ...], Field(min_length=1)] = (
        1e-4,
        1e-3,
        1e-2,
        1e-1,
    )  # candidates for the inverse regularisation
    search: SearchParams = SearchParams()  # for better values of some of these: the next section

    @model_validator(mode="after")
    def _divides(self) -> TrainParams:
        for name in ("features", "heads", "seeds", "logreg_c"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name} has an entry twice")
        if self.d % self.attention_heads:
            raise ValueError(f"d ({self.d}) must be a multiple of attention_heads ({self.attention_heads})")
        return self

    @property
    def as_they_stand(self) -> TrainParams:
        """The same without a search."""
        return self.model_copy(update={"search": SearchParams()})

    @model_validator(mode="after")
    def _searchable(self) -> TrainParams:
        if self.search.trials == 0:
            return self
        space = self.search.space
        if not space.entries:
            raise ValueError("search.space is empty: say what is searched, or set search.trials to 0")
        for name in space.entries:
            if not space.has(name, getattr(self, name)):
                raise ValueError(
                    f"search.space.{name} does not have {name} ({getattr(self, name)}), where the search begins"
                )
        for d in space.d:
            if d % self.attention_heads:
                raise ValueError(f"search.space.d: {d} is no multiple of attention_heads ({self.attention_heads})")
        return self


class AblationParams(Section):
    """What each part of the system is worth: one part changed, all else equal. Nothing is chosen by it."""

    enabled: bool = False  # off: the stage writes an empty summary at once
    head: HeadName = "ecmf"  # the reference: this head, on all modalities
    seeds: tuple[Seed, ...] = ()  # empty: those of train, whose heads are then not trained again

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("has an entry twice")
        return seeds


class ShardParams(Section):
    """Canonical shards: a clip's shard is a stable hash of its id modulo `count`."""

    count: Annotated[int, Field(ge=1, le=100_000)] = 4  # files per stage; about 100 MB each is a good size


class QualityParams(Section):
    """When a stage must stop and call a person."""

    max_failed: Fraction = 0.05  # of a stage's clips; above it the stage fails


class Params(Section):
    """The whole of params.yaml."""

    # avx2: all x86-64 machines give the same bytes; native: each machine's own instructions: docs/numerics.md
    numerics: Numerics = "avx2"
    dataset: DatasetParams
    folds: FoldParams = FoldParams()
    frames: FrameParams = FrameParams()
    faces: FaceParams = FaceParams()
    audio: AudioParams = AudioParams()
    encoders: dict[str, EncoderParams]
    enrich: EnrichParams = EnrichParams()
    judges: dict[str, JudgeParams] = {}
    labels: LabelParams = LabelParams()
    pseudo: PseudoParams = PseudoParams()
    train: TrainParams = TrainParams()
    ablation: AblationParams = AblationParams()
    shards: ShardParams = ShardParams()
    quality: QualityParams = QualityParams()

    @model_validator(mode="after")
    def _names(self) -> Params:
        if not self.encoders:
            raise ValueError("encoders: name at least one")
        for section, names in (("encoders", self.encoders), ("judges", self.judges)):
            for name in names:
                if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
                    raise ValueError(f"{section}: '{name}' may only have small letters, digits, '-' and '_'")
        for name, judge in self.judges.items():
            if judge.kind == "llm-scores" and self.enrich.backend == "template":
                raise ValueError(
                    f"judges.{name}: enrich.backend 'template' gives no scores; ask a language model there"
                )
        if VISUAL in self.encoders:
            raise ValueError(f"encoders: '{VISUAL}' is what train.visual merges encoders into; take another name")
        if "given" in self.judges:
            raise ValueError("judges: 'given' is the dataset's own label; take another name")
        others = any(judge.kind != "fusion-head" for judge in self.judges.values())
        if self.pseudo.rounds and not others and self.dataset.votes is None:
            raise ValueError(
                "pseudo.rounds: nobody can agree with the head; add a judge of another kind than fusion-head "
                "(docs/judges.md), or set it to 0"
            )
        for name in self.train.features:
            if name not in self.encoders:
                raise ValueError(f"train.features: unknown encoder '{name}'{did_you_mean(name, self.encoders)}")
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """The encoders that the fusion head reads, in token order."""
        return self.train.features or tuple(self.encoders)

    @property
    def mixed(self) -> tuple[str, ...]:
        """Those of them that read words and measured cues of voice and face at once: no single modality."""
        return tuple(name for name in self.modalities if self.encoders[name].input == "enriched")

    @property
    def visual(self) -> tuple[str, ...]:
        """Those of them that see pictures; of vectors that were made elsewhere nobody says what they saw."""
        return tuple(name for name in self.modalities if self.encoders[name].input in {"frames", "faces"})

    @property
    def merged(self) -> tuple[str, ...]:
        """Those of them that are one modality, VISUAL."""
        return self.visual if self.train.visual == "merged" else ()

    @property
    def plain(self) -> tuple[str, ...]:
        """Encoders of the plain words, read by the fusion head or not: what is left of the text without enrichment."""
        return tuple(name for name, encoder in self.encoders.items() if encoder.input == "transcript")


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or a key or value in it is wrong; one sentence each.
        NumericsError: it is the project's own, and its `numerics` is not how this process computes.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing; run this from the project's root, or make one with `mer init`") from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, Mapping):
        raise ParamsError(f"{path} is empty or not a mapping; make one with `mer init`")
    params = parse_params(raw, str(path))
    if path == PARAMS_FILE:
        agree(params.numerics)
    return params


def parse_params(raw: Mapping[str, object], where: str = "params") -> Params:
    """Check a mapping as `load_params` does; `where` names it in errors."""
    try:
        # What JSON does not know (a YAML date, say) becomes text, and then the wrong type for its key.
        return Params.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ParamsError(f"{where}: " + "; ".join(_sentence(item) for item in error.errors())) from None


def _sentence(item: Mapping[str, object]) -> str:
    """One pydantic error as a short sentence with the key's full path."""
    loc = item["loc"]
    assert isinstance(loc, tuple)
    # A union's branch labels ("int", "tuple[int, ...]") are no keys of the file.
    where = ".".join(str(part) for part in loc if not re.search(r"\[|^(int|float|str|constrained-.*)$", str(part)))
    if item["type"] == "extra_forbidden":
        return f"unknown key '{where}'{did_you_mean(str(loc[-1]), _known_keys(loc[:-1]))}"
    if item["type"] == "missing":
        return f"'{where}' is missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    shown = f" (got {json.dumps(given, ensure_ascii=False)})" if isinstance(given, str | int | float | bool) else ""
    return f"'{where}': {message}{shown}" if where else f"{message}{shown}"


def _known_keys(path: tuple[object, ...]) -> list[str]:
    """The keys allowed at a path such as ("train",) or ("encoders", "voice")."""
    section: type[BaseModel] = Params
    for part in path:
        if section is Params and part in {"encoders", "judges"}:
            section = EncoderParams if part == "encoders" else JudgeParams
            continue
        field = section.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
    return list(section.model_fields)
