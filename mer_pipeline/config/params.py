"""Read `params.yaml` as frozen, typed values.

The class of each section stands in the module that reads it; this module puts the classes together. A section that
names a component has the class of that component (`choice.py`).

Nothing in params.yaml depends on the machine, so the same params give the same values everywhere. The workers, the
device, the batch size and the storage root are settings in `.mer.toml` (`runtime.py`). An unknown key is an error that
names the nearest known one. Only `stages/`, `inference/` and `cli/` use a whole `Params`; other code gets only the
section that it needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, WrapValidator, model_validator
from pydantic_core import ErrorDetails

from mer_pipeline.base.encoder import ENCODER, EncoderParams
from mer_pipeline.base.errors import ParamsError, did_you_mean
from mer_pipeline.base.numerics import Numerics, agree
from mer_pipeline.config.choice import Choice
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import VISUAL, AblationParams, EncoderNames, HeadName, PredictParams, TrainParams
from mer_pipeline.datasets.adapter import DATASET, DatasetParams
from mer_pipeline.datasets.folds import FoldParams
from mer_pipeline.enrich.backend import ENRICH, EnrichParams, LanguageModelParams
from mer_pipeline.judges.fusion_head import FusionHeadParams
from mer_pipeline.judges.judge import JUDGE, JudgeParams
from mer_pipeline.labels.pseudo import PseudoParams
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.speech.track import AudioParams
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams
from mer_pipeline.text.transcribe import TranscriptParams
from mer_pipeline.vision.detector import FACES, FaceParams
from mer_pipeline.vision.frames import FrameParams

PARAMS_FILE = Project().params

# The sections that name a component, and the sections in which each entry names one.
CHOICES: dict[str, Choice[Section]] = {"dataset": DATASET, "faces": FACES, "enrich": ENRICH}
ENTRIES: dict[str, Choice[Section]] = {"encoders": ENCODER, "judges": JUDGE}

# Renamed keys, and renamed values of keys ("KEY: VALUE"): from the name in older versions to the present one.
RENAMED = {
    **{
        f"train.{name}": f"train.heads.ecmf.{name}"
        for name in ("attention_layers", "attention_heads", "residual", "modality_dropout")
    },
    "train.late_fusion": "train.heads.ecmf+late",
    "train.logreg_c": "train.heads.logreg.c",
    "train.search.draws": "train.search.trials",
    "judges.NAME.kind: own-head": "fusion-head",
}


class Params(Section):
    """The whole of params.yaml."""

    # avx2: all x86-64 machines give the same bytes; native: each machine uses its own instructions (docs/numerics.md)
    numerics: Numerics = "avx2"
    dataset: Annotated[DatasetParams, WrapValidator(DATASET)]
    folds: FoldParams = FoldParams()
    frames: FrameParams = FrameParams()
    faces: Annotated[FaceParams, WrapValidator(FACES)] = Field(default_factory=partial(FACES.parse, {}))
    audio: AudioParams = AudioParams()
    transcript: TranscriptParams = TranscriptParams()
    encoders: dict[str, Annotated[EncoderParams, WrapValidator(ENCODER)]]
    enrich: Annotated[EnrichParams, WrapValidator(ENRICH)] = Field(default_factory=partial(ENRICH.parse, {}))
    judges: dict[str, Annotated[JudgeParams, WrapValidator(JUDGE)]] = Field(default_factory=dict)
    labels: LabelParams = LabelParams()
    pseudo: PseudoParams = PseudoParams()
    train: TrainParams = TrainParams()
    predict: PredictParams = PredictParams()
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
            if judge.reads_scores and not isinstance(self.enrich, LanguageModelParams):
                raise ValueError(
                    f"judges.{name}: enrich.backend '{self.enrich.backend}' gives no scores; "
                    f"take judges.{name} out, or let a language model write the context"
                )
        self._check_target()
        if VISUAL in self.encoders:
            raise ValueError(f"encoders: '{VISUAL}' is what train.visual merges encoders into; take another name")
        if "given" in self.judges:
            raise ValueError("judges: 'given' is the dataset's own label; take another name")
        others = any(not judge.is_head for judge in self.judges.values())
        if self.pseudo.rounds and not others and self.dataset.votes is None:
            raise ValueError(
                "pseudo.rounds: nobody can agree with the head; add a judge of another kind than fusion-head "
                "(docs/judges.md), or set it to 0"
            )
        for where, head in self.heads_elsewhere.items():
            if not self.train.has(head):
                raise ValueError(f"{where}: {self.train.unknown(head)}")
        for name in self.train.features:
            if name not in self.encoders:
                raise ValueError(f"train.features: unknown encoder '{name}'{did_you_mean(name, self.encoders)}")
        return self

    def _check_target(self) -> None:
        """Check that sections which only know classes are off where sets of classes or numbers are predicted."""
        kind = self.dataset.target
        if kind == "class":
            return
        one = f"with dataset.target '{kind}'"
        if self.labels.method != "given":
            raise ValueError(f"labels.method: '{self.labels.method}' estimates one class a clip; {one} set it to given")
        for name in self.judges:
            raise ValueError(f"judges.{name}: a judge votes for one class a clip; {one} take it out")
        for where, on in {
            "dataset.votes": self.dataset.votes is not None,
            "pseudo.rounds": self.pseudo.rounds > 0,
            "ablation.enabled": self.ablation.enabled,
            "predict.prior": self.predict.prior != "training",
            "train.targets": self.train.targets != "hard",
            "train.class_weights": self.train.class_weights != "none",
        }.items():
            if on:
                raise ValueError(f"{where}: it is for one class a clip; {one} leave it out")

    @property
    def encoder_names(self) -> EncoderNames:
        """The names of the encoders, sorted by how the heads use them."""
        read = self.train.features or tuple(self.encoders)
        visual = tuple(name for name in read if self.encoders[name].input in {"frames", "faces"})
        return EncoderNames(
            all=read,
            mixed=tuple(name for name in read if self.encoders[name].input == "enriched"),
            visual=visual,
            merged=visual if self.train.visual == "merged" else (),
            plain=tuple(name for name, encoder in self.encoders.items() if encoder.input == "transcript"),
        )

    @property
    def heads_elsewhere(self) -> dict[str, HeadName]:
        """The heads that other sections than `train` name, by the path of the key that names them."""
        judges = {name: judge for name, judge in self.judges.items() if isinstance(judge, FusionHeadParams)}
        own = {f"judges.{name}.head": judge.head for name, judge in judges.items()}
        return {"pseudo.head": self.pseudo.head, "ablation.head": self.ablation.head, **own}


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or a key or value in it is wrong. The message has one sentence
            for each wrong key.
        NumericsError: `path` is the project's own params.yaml, and this process does not compute as its `numerics`
            says.
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
    """Check a mapping as `load_params` does.

    Args:
        raw: the content of a params file.
        where: the name of the file for messages.

    Raises:
        ParamsError: a key or value is wrong.
    """
    try:
        # A value that JSON cannot express, such as a YAML date, becomes text, which is then an error of type.
        return Params.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        raise ParamsError(f"{where}: " + "; ".join(_sentence(item, raw) for item in error.errors())) from None


def _sentence(item: ErrorDetails, raw: Mapping[str, object]) -> str:
    """Return one pydantic error as a short sentence with the key's full path."""
    loc, given, message = item["loc"], item["input"], item["msg"].removeprefix("Value error, ")
    # Pydantic puts the branches of a union ("int", "tuple[int, ...]") into the path; they are not keys of the file.
    where = ".".join(str(part) for part in loc if not re.search(r"\[|^(int|float|str|constrained-.*)$", str(part)))
    shown = f" (got {json.dumps(given, ensure_ascii=False)})" if isinstance(given, str | int | float | bool) else ""
    if not loc:
        return f"{message}{shown}"
    if item["type"] in {"extra_forbidden", "unknown_component"} and (renamed := _renamed(where, given)):
        return renamed
    if item["type"] == "unknown_component":
        return f"'{where}': {message}"
    section, owner = _section_at(loc[:-1], raw)
    match item["type"]:
        case "extra_forbidden":
            of = f" of {owner}" if owner else ""
            return f"unknown key '{where}'{of}{did_you_mean(str(loc[-1]), section.model_fields)}"
        case "missing":
            needs = f": {owner} needs it" if owner else ""
            examples = section.model_fields[str(loc[-1])].examples
            return f"'{where}' is missing{needs}{f', e.g. {examples[0]}' if examples else ''}"
        case "literal_error" if owner:
            return f"'{where}': {owner} takes {item['ctx']['expected']}{shown}"
    return f"'{where}': {message}{shown}"


def _renamed(where: str, given: object) -> str:
    """Return a sentence about a key or value that had this name in an older version; "" for any other."""
    path = re.sub(rf"^({'|'.join(ENTRIES)})\.[^.]+", r"\1.NAME", where)
    if path in RENAMED:
        return f"'{where}' is called '{RENAMED[path]}' now"
    new = RENAMED.get(f"{path}: {given}")
    return f"'{where}': '{given}' is called '{new}' now" if new else ""


def _section_at(loc: Sequence[int | str], raw: Mapping[str, object]) -> tuple[type[BaseModel], str]:
    """Return the class of a section, and a phrase about what chose it, as in `Choice.class_of`.

    Args:
        loc: the path of the section, such as ("train", "search") or ("encoders", "voice").
        raw: the content of the params file.
    """
    section: type[BaseModel] = Params
    owner, keys = "", [str(part) for part in loc]
    for depth, choices in ((1, CHOICES), (2, ENTRIES)):
        if len(keys) >= depth and keys[0] in choices:
            at: object = raw
            for key in keys[:depth]:
                at = at[key] if isinstance(at, Mapping) else None
            section, owner = choices[keys[0]].class_of(at)
            keys = keys[depth:]
            break
    for key in keys:
        field = section.model_fields.get(key)
        if field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
    return section, owner
