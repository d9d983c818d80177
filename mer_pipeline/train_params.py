"""The sections `train` and `ablation` of params.yaml.

They stand apart from the heads, whose modules load torch: a stage that does not train reads them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from mer_pipeline.section import Count, Rate, Section, Seed, Strength

VISUAL = "visual"  # the modality that train.visual merges encoders into
HeadName = Literal["ecmf", "mertools", "concat", "gated", "mean-logits", "logreg", "ensemble"]
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


@dataclass(frozen=True)
class EncoderNames:
    """Names of encoders by what the fusion heads make of them, each in token order.

    Attributes:
        all: those that the heads read.
        mixed: of these, those that read words and measured cues of voice and face at once: no single modality.
        visual: of these, those that see pictures; of vectors made elsewhere nobody says what they saw.
        merged: those of `visual` that are one modality, VISUAL; none, where each is its own.
        plain: those that read the plain words, whether the heads read them or not: what is left without enrichment.
    """

    all: tuple[str, ...]
    mixed: tuple[str, ...] = ()
    visual: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


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
