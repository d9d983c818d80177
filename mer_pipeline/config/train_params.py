"""The sections `train`, `predict` and `ablation` of params.yaml.

They are apart from the modules of the heads, which import torch, because stages that do not train read them too. An
entry of `train.heads` is therefore read here as a name, a kind and unchecked options. The class of the options is in
the head's own module, and `heads/make.py` checks the options by it. It does so before any work is done (in `mer init`,
`mer plan` and the stage `ingest`), and again wherever heads are trained or loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from mer_pipeline.base.errors import did_you_mean
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.head_entry import LATE, HeadEntry, check_entries, in_order, is_kind, without_late
from mer_pipeline.config.head_entry import HeadName as HeadName
from mer_pipeline.config.section import Count, Rate, Section, Seed, Strength, distinct

VISUAL = "visual"  # the modality that train.visual merges encoders into
Range = tuple[Strength, Strength]
RateRange = tuple[Rate, Rate]
Prior = Literal["training", "em"]
Value = bool | int | float | str  # a value of an option that is searched
RENAMED = {name: f"ecmf.{name}" for name in ("modality_dropout", "attention_layers")}  # in `search.space`


class NetworkParams(Section):
    """The settings in `train` that every network reads."""

    d: Count = 64  # every network: width of a modality token
    dropout: Rate = 0.3  # every network: probability that a value is set to zero in training
    lr: Annotated[float, Field(gt=0)] = 1e-3  # every network: learning rate of AdamW (mertools: of Adam)
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5  # every network: weight decay of that optimiser
    batch_size: Count = 32  # number of clips in a training batch
    epochs: Count = 100  # largest number of epochs
    patience: Count = 20  # training stops after this many epochs without a better validation score
    refit: bool = True  # then train anew for the best number of epochs, on the validation fold too


BY_DEFAULT = {name: HeadEntry() for name in ("ecmf", "ecmf+late", "mertools", "logreg")}


class SearchSpace(Section):
    """The settings that are searched. A setting that is left out here keeps its value in `train`.

    An option of one head is named `HEAD.OPTION`. Its value is [low, high] for a real number, else a list of choices.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(init=False)

    lr: Range | None = None  # [low, high]; searched on a logarithmic scale
    weight_decay: Range | None = None  # [low, high]; searched on a logarithmic scale
    dropout: RateRange | None = None  # [low, high]
    d: tuple[Count, ...] = ()  # list of choices

    @model_validator(mode="after")
    def _ranges(self) -> SearchSpace:
        for name in self.__pydantic_extra__:
            head, dot, _ = name.partition(".")
            if name in RENAMED:
                raise ValueError(f"'{name}' is called '{RENAMED[name]}' now")
            if not dot or not head:
                raise ValueError(f"unknown key '{name}'{did_you_mean(name, type(self).model_fields)}")
        for name in ("lr", "weight_decay", "dropout"):
            check_entry(name, getattr(self, name) or (), is_range=True)
        check_entry("d", self.d, is_range=False)
        return self

    @property
    def entries(self) -> dict[str, tuple[Value, ...]]:
        """All settings that are searched, by their names in `train`, and then the options of single heads."""
        shared = {name: entry for name in type(self).model_fields if (entry := getattr(self, name))}
        return {**shared, **self.__pydantic_extra__}


def check_entry(name: str, entry: tuple[Value, ...], *, is_range: bool) -> None:
    """Check an entry of the search space.

    Args:
        name: the name of the entry, for messages.
        entry: its values; an empty range is accepted.
        is_range: whether the entry is a range [low, high] and not a list of choices.

    Raises:
        ValueError: a range does not have two values in ascending order, or two choices are equal.
    """
    if is_range and entry and (len(entry) != 2 or not entry[0] < entry[1]):  # type: ignore[operator]
        raise ValueError(f"{name}: the first of [low, high] must be below the second")
    if not is_range and len(set(entry)) < len(entry):
        raise ValueError(f"{name} has an entry twice")


class SearchParams(Section):
    """The search for settings of the networks on all modalities, without the fold that is scored (docs/method.md)."""

    trials: Annotated[int, Field(ge=0)] = 0  # trials per fold, of which the first has the values in `train`; 0: none
    batch: Count = 8  # trials of a fold that are trained at once; the sampler learns from them together
    # tpe: trials near good earlier ones (tree-structured Parzen estimator); random: independent trials
    sampler: Literal["tpe", "random"] = "tpe"
    space: SearchSpace = SearchSpace()  # the settings that are searched: the next section


class CrossValidationParams(Section):
    """The settings in `train` for the cross-validation of every head."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (
        0,
        1,
        2,
    )  # there is one member per seed and fold, and predictions are the members' mean
    # training target of a clip. hard: its refined label; posterior: the refinement's posterior;
    # smoothed: the mean posterior of the training clips with its label
    targets: Literal["hard", "posterior", "smoothed"] = "hard"
    class_weights: Literal["none", "balanced"] = "none"  # balanced: every class has the same total weight
    search: SearchParams = SearchParams()  # the search for better settings: section train.search

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return distinct(seeds)


class TrainParams(NetworkParams, CrossValidationParams):
    """The fusion heads. Where the paper gives no value, the default is this project's choice (docs/method.md)."""

    # names of the encoders that the heads use, each one modality token; empty: all, in the order of params.yaml
    features: tuple[str, ...] = ()
    # the heads to train: a mapping from names to their own options (train.heads.NAME), or a list of names.
    # Cross-validation selects one of them; ensemble is the mean of the heads that ensemble selection keeps, and
    # HEAD+late the mean of HEAD and of logreg
    heads: Annotated[dict[HeadName, HeadEntry], Field(min_length=1)] = BY_DEFAULT
    single_modality: bool = True  # also train every head on each modality alone, for the report
    # encoders that read frames or faces. tokens: each is a modality; merged: all are one modality (`visual`)
    visual: Literal["tokens", "merged"] = "tokens"

    @field_validator("heads", mode="before")
    @classmethod
    def _by_name(cls, heads: object) -> object:
        """Turn a list of names, or a name with an empty value, into a mapping to empty options."""
        if isinstance(heads, list | tuple) and all(isinstance(name, str) for name in heads):
            if len(set(heads)) < len(heads):
                raise ValueError("has an entry twice")
            return {name: {} for name in heads}
        if isinstance(heads, Mapping):
            return {name: {} if entry is None else entry for name, entry in heads.items()}
        return heads

    @field_validator("heads")
    @classmethod
    def _known(cls, heads: dict[HeadName, HeadEntry]) -> dict[HeadName, HeadEntry]:
        check_entries(heads)
        return in_order(heads)

    @field_validator("features")
    @classmethod
    def _distinct_features(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(features)

    @model_validator(mode="after")
    def _searchable(self) -> TrainParams:
        space = self.search.space.entries
        for name in space:
            head, dot, _ = name.partition(".")
            if head.endswith(LATE):
                raise ValueError(f"search.space.{name}: a combination has no options; those of its head are searched")
            if dot and not self.has(head):
                raise ValueError(f"search.space.{name}: {self.unknown(head)}")
        if self.search.trials and not space:
            raise ValueError("search.space is empty: say what is searched, or set search.trials to 0")
        return self

    @property
    def as_they_stand(self) -> TrainParams:
        """The same params without a search."""
        return self.model_copy(update={"search": SearchParams()})

    def has(self, head: HeadName) -> bool:
        """Return whether there is a head of this name: an entry of `heads` or a kind, with late fusion or without."""
        own = without_late(head)
        return own in self.heads or is_kind(own)

    def unknown(self, head: HeadName) -> str:
        """Return the message about a head that does not exist."""
        return f"there is no head '{head}'{did_you_mean(head, dict.fromkeys((*self.heads, *HEADS.names())))}"

    def entry(self, head: HeadName) -> HeadEntry:
        """Return a head's entry. For a head that has none, the entry is empty: its kind is its name."""
        return self.heads.get(head, HeadEntry())

    def with_heads(self, *names: HeadName) -> TrainParams:
        """Return the same params with only the named heads, each with its entry here."""
        return self.model_copy(update={"heads": in_order({name: self.entry(name) for name in names})})

    def with_options(self, head: HeadName, **options: JsonValue) -> TrainParams:
        """Return the same params with some of a head's options changed; of a combination, those of its head."""
        head = without_late(head)
        entry = self.entry(head)
        changed = HeadEntry.model_validate({"kind": entry.kind, **entry.options, **options})
        return self.model_copy(update={"heads": in_order({**self.heads, head: changed})})


@dataclass(frozen=True)
class EncoderNames:
    """The names of encoders, sorted by how the fusion heads use them; each tuple is in the order of the tokens.

    Attributes:
        all: the encoders whose features the heads read.
        mixed: those of `all` that read the context-enriched text, which has words and cues of voice and face.
        visual: those of `all` that read frames or faces. External features are not among them, because their input is
            not known.
        merged: those of `visual` that are merged into the one modality `VISUAL`; empty if each is its own modality.
        plain: the encoders that read the plain transcript, whether or not the heads read them; an ablation without
            enrichment uses them.
    """

    all: tuple[str, ...]
    mixed: tuple[str, ...] = ()
    visual: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


class PredictParams(Section):
    """The final predictions of the candidates and the pool."""

    # training: probabilities as the heads give them; em: the prior shift, which corrects them to the shares that the
    # classes have among the predicted clips. These are fitted without labels, by EM on calibrated probabilities
    prior: Prior = "training"


class AblationParams(Section):
    """The ablation: each variant changes one part of the system and leaves all else equal. No choice depends on it."""

    enabled: bool = False  # false: the stage writes an empty summary at once
    head: HeadName = "ecmf+late"  # the reference, which is this head on all modalities
    seeds: tuple[Seed, ...] = ()  # empty: the seeds of `train`, whose heads are then not trained again

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return distinct(seeds)
