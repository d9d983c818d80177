"""Write and read `data/fusion/`, which holds one config.json and one safetensors file per member.

    config.json                                       classes, modalities and params; `empty` says why there is no head
    fused/HEAD/seed-S_fold-F.safetensors              a member on all modalities
    single/MODALITY/HEAD/seed-S_fold-F.safetensors    a member on one modality
    out_of_fold.parquet                               the out-of-fold predictions of the heads on all modalities

There is no pickle and no absolute path, and equal values give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mer_pipeline.base.csv_files import write_csv as write_csv
from mer_pipeline.base.errors import StageError
from mer_pipeline.base.kind import Kind, outputs_column
from mer_pipeline.base.modalities import Matrix
from mer_pipeline.base.target import Target, target_of
from mer_pipeline.config.project import CONFIG
from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import VISUAL, HeadName, TrainParams
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.objective import Standard
from mer_pipeline.heads.scaler import Scaler
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.training.member import Combination, Member

OWN, LATE = "own/", "late/"  # the parts of a combination, before the names of their arrays
FUSED = None  # stands for all modalities where otherwise the name of a single modality is given


class FusionConfig(Section):
    """The content of config.json, which is all that is needed to load a member."""

    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    dims: tuple[int, ...]  # the number of values of each modality; empty if there are no heads
    merged: dict[str, int] = Field(default_factory=dict)  # encoders merged into VISUAL, and the columns of each
    folds: int
    params: TrainParams
    selected: HeadName | None
    temperature: float = 1.0  # of the selected head's probabilities; out_of_fold.parquet does not use it
    empty: str | None
    target: dict[str, str] = Field(default_factory=dict)  # `Target.footer`; not written for classes, which have none
    thresholds: tuple[float, ...] | None = None  # of the classes of a set; not written for other kinds
    constant: tuple[float, ...] | None = None  # the mean of the given labels as numbers; not written for classes

    @property
    def predicts(self) -> Target:
        """What is predicted."""
        return target_of(self.target, self.classes)

    def text(self) -> str:
        """Return the content of config.json. Without a target of its own, it is that of older versions."""
        unset = {name for name in ("target", "thresholds", "constant") if not getattr(self, name)}
        return self.model_dump_json(indent=2, exclude=unset) + "\n"

    @property
    def encoders(self) -> dict[str, int]:
        """The encoders to load, in the order of the tokens, with the length of each one's vectors."""
        found: dict[str, int] = {}
        for name, dim in zip(self.modalities, self.dims, strict=True):
            found |= self.merged if self.merged and name == VISUAL else {name: dim}
        return found


def member_path(root: Path, modality: str | None, head: HeadName, seed: int, fold: int) -> Path:
    """Return the path of a member; `modality` is FUSED or the name of a modality.

    Example:
        >>> member_path(Path("data/fusion"), "voice", "logreg", seed=0, fold=2).as_posix()
        'data/fusion/single/voice/logreg/seed-0_fold-2.safetensors'
    """
    parent = root / "fused" if modality is FUSED else root / "single" / modality
    return parent / head / f"seed-{seed}_fold-{fold}.safetensors"


def member_tensors(member: Member | Combination, names: Sequence[str]) -> dict[str, Matrix]:
    """Return all learnt arrays of a member of these modalities, by name."""
    if isinstance(member, Combination):
        each = {OWN: member_tensors(member.own, names), LATE: member_tensors(member.late, names)}
        return {f"{part}{name}": array for part, tensors in each.items() for name, array in tensors.items()}
    tensors = {"prior": member.prior}
    if member.standard is not None:
        tensors |= {"target.mean": member.standard.mean, "target.scale": member.standard.scale}
    for name, mean, inverse in zip(names, member.scaler.mean, member.scaler.inverse, strict=True):
        tensors |= {f"scaler.{name}.mean": mean, f"scaler.{name}.inverse": inverse}
    if member.head is not None:
        tensors |= {f"head.{name}": array for name, array in member.head.tensors().items()}
    if member.chosen:
        tensors["chosen"] = np.frombuffer(json.dumps(dict(member.chosen), sort_keys=True).encode(), np.uint8)
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def member_from(
    tensors: Mapping[str, Matrix],
    names: Sequence[str],
    dims: tuple[int, ...],
    classes: int,
    spec: HeadSpec,
    kind: Kind = "class",
) -> Member | Combination:
    """Return the member that the arrays of `member_tensors` describe.

    Args:
        tensors: the arrays by name.
        names: the names of the modalities.
        dims: the number of values of each modality.
        classes: the number of classes, or of numbers.
        spec: the head.
        kind: the kind of target.

    Raises:
        KeyError: an array is missing.
        RuntimeError: the arrays do not fit the head.
    """
    if spec.late is None:
        return _single(tensors, names, dims, classes, spec, kind)

    def part(prefix: str, own: HeadSpec) -> Member:
        mine = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        return _single(mine, names, dims, classes, own, kind)

    return Combination(part(OWN, spec.alone), part(LATE, spec.late))


def _single(
    tensors: Mapping[str, Matrix],
    names: Sequence[str],
    dims: tuple[int, ...],
    classes: int,
    spec: HeadSpec,
    kind: Kind,
) -> Member:
    """Do the same as `member_from` for a head that is no combination."""
    mean, inverse = ([tensors[f"scaler.{name}.{part}"] for name in names] for part in ("mean", "inverse"))
    learnt = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    chosen = json.loads(tensors["chosen"].tobytes()) if "chosen" in tensors else {}
    built = None
    if learnt:
        adapted = spec.with_values(chosen)
        built = adapted.head(dims, classes, adapted.params)
        built.restore(learnt)
    numbers = kind == "regression"
    standard = Standard(tensors["target.mean"], tensors["target.scale"]) if numbers else None
    return Member(Scaler(tuple(mean), tuple(inverse)), built, tensors["prior"], chosen, kind, standard)


def save_member(path: Path, member: Member | Combination, names: Sequence[str]) -> None:
    """Write a member of these modalities to a safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(member_tensors(member, names), path)


def load_member(path: Path, config: FusionConfig, modality: str | None, head: HeadName) -> Member | Combination:
    """Read a member that `save_member` wrote.

    Raises:
        StageError: the file is missing or incomplete, or is of other features than config.json says.
    """
    dims = dict(zip(config.modalities, config.dims, strict=True))
    names = config.modalities if modality is FUSED else (modality,)
    try:
        sizes = tuple(dims[name] for name in names)
        spec, kind = head_of(head, config.params), config.predicts.kind
        return member_from(load_file(path), names, sizes, len(config.classes), spec, kind)
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise StageError(f"{path} is no member of this fusion ({error}); run `dvc repro train`") from None


def load_config(root: Path) -> FusionConfig:
    """Read config.json.

    Raises:
        StageError: the file is missing, or was written by another version.
    """
    try:
        return FusionConfig.model_validate_json((root / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise StageError(f"{root / CONFIG} cannot be read ({error}); run `dvc repro train`") from None


def predictions_schema(classes: int, *extra: pa.Field, kind: Kind = "class") -> pa.Schema:
    """Return the common columns of out_of_fold.parquet and data/predictions.parquet.

    They are clip_id, the columns in `extra`, and then the head's name, label, probabilities and modality weights. Where
    numbers are predicted, the column `values` stands in place of `probabilities`.
    """
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            *extra,
            pa.field("head", pa.string()),
            pa.field("label", pa.string(), nullable=False),
            pa.field(outputs_column(kind), pa.list_(pa.float32(), classes), nullable=False),
            pa.field("weights", pa.list_(pa.float32())),
        ]
    )
