"""`params.yaml` as frozen, typed values: the sections put together. Each section's class stands where it is read.

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

from pydantic import BaseModel, Field, ValidationError, model_validator

from mer_pipeline.datasets.adapter import DatasetParams
from mer_pipeline.datasets.folds import FoldParams
from mer_pipeline.encoder import EncoderParams
from mer_pipeline.enrich.backend import EnrichParams
from mer_pipeline.errors import ParamsError, did_you_mean
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.pseudo import PseudoParams
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.numerics import Numerics, agree
from mer_pipeline.project import Project
from mer_pipeline.section import Section
from mer_pipeline.speech.track import AudioParams
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams
from mer_pipeline.train_params import VISUAL, AblationParams, EncoderNames, TrainParams
from mer_pipeline.vision.faces import FaceParams
from mer_pipeline.vision.frames import FrameParams

PARAMS_FILE = Project().params


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
    judges: dict[str, JudgeParams] = Field(default_factory=dict)
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
    def encoder_names(self) -> EncoderNames:
        """The encoders by what the fusion heads make of them."""
        read = self.train.features or tuple(self.encoders)
        visual = tuple(name for name in read if self.encoders[name].input in {"frames", "faces"})
        return EncoderNames(
            all=read,
            mixed=tuple(name for name in read if self.encoders[name].input == "enriched"),
            visual=visual,
            merged=visual if self.train.visual == "merged" else (),
            plain=tuple(name for name, encoder in self.encoders.items() if encoder.input == "transcript"),
        )


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
