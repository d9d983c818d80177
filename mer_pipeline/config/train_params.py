"""The sections `train` and `ablation` of params.yaml.

They stand apart from the heads, whose modules load torch: a stage that does not train reads them too. So an entry of
`train.heads` is read here as a name, a kind and options that nobody has looked at. The head's own module has the class
that says which options there are, and `heads/make.py` checks them against it: before any work is done (`mer init`,
`mer plan`, the stage `ingest`), and again wherever heads are trained or loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, field_validator, model_validator

from mer_pipeline.base.errors import did_you_mean
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.section import Count, Rate, Section, Seed, Strength, distinct

VISUAL = "visual"  # the modality that train.visual merges encoders into
HeadName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Range = tuple[Strength, Strength]
RateRange = tuple[Rate, Rate]
Value = bool | int | float | str  # of an option that is searched
RENAMED = {name: f"ecmf.{name}" for name in ("modality_dropout", "attention_layers")}  # in `search.space`


class NetworkParams(Section):
    """The settings in `train` that every network reads."""

    d: Count = 64  # every network: width of a modality token
    dropout: Rate = 0.3  # likewise
    lr: Annotated[float, Field(gt=0)] = 1e-3  # every network: AdamW, mertools Adam
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5  # likewise
    batch_size: Count = 32  # clips
    epochs: Count = 100  # at most
    patience: Count = 20  # epochs without a better validation score
    refit: bool = True  # then train anew for the best number of epochs, on the validation fold too


class HeadEntry(Section):
    """An entry of `train.heads`: the head's kind, where that is not its name, and its own options."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    kind: str | None = None  # which code: a built-in kind, MODULE:CLASS or PATH.py:CLASS; absent: the head's name

    @property
    def options(self) -> dict[str, JsonValue]:
        """The head's own options as they are given; heads/make.py checks them."""
        return dict(self.__pydantic_extra__)


BY_DEFAULT = {"ecmf": HeadEntry(), "mertools": HeadEntry(), "logreg": HeadEntry()}


class SearchSpace(Section):
    """What is searched. What is left out stays as `train` says. An option of one head is named `HEAD.OPTION`, with
    [low, high] where it is a number with a fraction, else with choices."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]] = Field(init=False)

    lr: Range | None = None  # [low, high], by its logarithm
    weight_decay: Range | None = None  # likewise
    dropout: RateRange | None = None  # [low, high]
    d: tuple[Count, ...] = ()  # choices

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
        """All that is searched: settings by the name that `train` has for them, then options of single heads."""
        shared = {name: entry for name in type(self).model_fields if (entry := getattr(self, name))}
        return {**shared, **self.__pydantic_extra__}


def check_entry(name: str, entry: tuple[Value, ...], *, is_range: bool) -> None:
    """A range has two ends, and choices are different from each other.

    Raises:
        ValueError: they are not.
    """
    if is_range and entry and (len(entry) != 2 or not entry[0] < entry[1]):  # type: ignore[operator]
        raise ValueError(f"{name}: the first of [low, high] must be below the second")
    if not is_range and len(set(entry)) < len(entry):
        raise ValueError(f"{name} has an entry twice")


class SearchParams(Section):
    """Settings of the networks on all modalities, chosen without the fold that is scored (docs/method.md)."""

    trials: Annotated[int, Field(ge=0)] = 0  # settings tried per fold, the first as `train` stands; 0: no search
    batch: Count = 8  # trials of a fold that are trained at once; a sampler learns from them together
    sampler: Literal["tpe", "random"] = "tpe"  # tpe: trials near what was good (tree-structured Parzen estimator)
    space: SearchSpace = SearchSpace()  # what is searched, by name: the next section


class CrossValidationParams(Section):
    """The settings in `train` by which any head is cross-validated, whichever heads there are."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (
        0,
        1,
        2,
    )  # a member per seed and fold; predictions are their mean
    # what is learnt of a clip: its refined label, the refinement's posterior, or the mean posterior of its label's rows
    targets: Literal["hard", "posterior", "smoothed"] = "hard"
    class_weights: Literal["none", "balanced"] = "none"  # balanced: every class counts the same
    search: SearchParams = SearchParams()  # for better values of some of these: section train.search

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return distinct(seeds)


class TrainParams(NetworkParams, CrossValidationParams):
    """The fusion heads. Values are ours where the paper is silent (docs/method.md)."""

    features: tuple[str, ...] = ()  # encoder names, each one modality token; empty: all, in params' order
    # name to own options (train.heads.NAME), or a list of names. Cross-validation
    # selects among them; ensemble: the mean of those that it keeps.
    heads: Annotated[dict[HeadName, HeadEntry], Field(min_length=1)] = BY_DEFAULT
    single_modality: bool = True  # also train every head on each modality alone, for the report
    # encoders that see frames or faces: a token each, or merged into one (`visual`)
    visual: Literal["tokens", "merged"] = "tokens"

    @field_validator("heads", mode="before")
    @classmethod
    def _by_name(cls, heads: object) -> object:
        """A list of names is a mapping without options, and so is a name with nothing after it."""
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
        for name, entry in heads.items():
            kind = entry.kind or name
            if ":" not in kind and not _is_kind(kind):
                raise ValueError(f"there is no head '{kind}'{did_you_mean(kind, HEADS.names())}")
        return _in_order(heads)

    @field_validator("features")
    @classmethod
    def _distinct_features(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        return distinct(features)

    @model_validator(mode="after")
    def _searchable(self) -> TrainParams:
        space = self.search.space.entries
        for name in space:
            head, dot, _ = name.partition(".")
            if dot and not self.has(head):
                raise ValueError(f"search.space.{name}: {self.unknown(head)}")
        if self.search.trials and not space:
            raise ValueError("search.space is empty: say what is searched, or set search.trials to 0")
        return self

    @property
    def as_they_stand(self) -> TrainParams:
        """The same without a search."""
        return self.model_copy(update={"search": SearchParams()})

    def has(self, head: HeadName) -> bool:
        """Whether a head can be trained by this name: it is described here, or it is a kind's own name."""
        return head in self.heads or _is_kind(head)

    def unknown(self, head: HeadName) -> str:
        """The sentence for a head that there is not."""
        return f"there is no head '{head}'{did_you_mean(head, dict.fromkeys((*self.heads, *HEADS.names())))}"

    def entry(self, head: HeadName) -> HeadEntry:
        """A head's kind and options; one that is not described here is of the kind of its name, without options."""
        return self.heads.get(head, HeadEntry())

    def with_heads(self, *names: HeadName) -> TrainParams:
        """The same with these heads alone, each as it is described here."""
        return self.model_copy(update={"heads": _in_order({name: self.entry(name) for name in names})})

    def with_options(self, head: HeadName, **options: JsonValue) -> TrainParams:
        """The same with other values of some of a head's options."""
        entry = self.entry(head)
        changed = HeadEntry.model_validate({"kind": entry.kind, **entry.options, **options})
        return self.model_copy(update={"heads": _in_order({**self.heads, head: changed})})


def _is_kind(name: str) -> bool:
    return name in HEADS.built_in or name in HEADS.names()  # the latter looks at what is installed


def _in_order(heads: Mapping[HeadName, HeadEntry]) -> dict[HeadName, HeadEntry]:
    """Built-in kinds in their table's order, then others by name: DVC does not see the order of a mapping's keys."""
    built_in = list(HEADS.built_in)

    def rank(name: HeadName) -> tuple[int, HeadName]:
        kind = heads[name].kind or name
        return (built_in.index(kind) if kind in built_in else len(built_in), name)

    return {name: heads[name] for name in sorted(heads, key=rank)}


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
        return distinct(seeds)
