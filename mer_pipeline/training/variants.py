"""The variants of an ablation: one part of a reference system changed, all else equal.

    part       NAME                a part of the head off, as its class says in `ablations`
               enrichment off      the enriched text's encoders replaced by those of the plain words
               refinement off      trained on the given labels
               pseudo off           without the clips of the pool that were labelled by agreement
               soft targets off    trained on the labels and not on posteriors
               class weights off   every clip counts the same
               visual merged       encoders that see pictures as one token; or, where they are one, `visual tokens`
    without    without NAME        one modality less
    alone      NAME alone          one modality
    head       HEAD                another of train.heads in the reference's place

A variant is a function of a setting (head, features, labels, params) that gives the setting with its one change, or
None where there is nothing to change: the part is off in the reference, or does not exist there. Two variants that come
to the same setting (with two modalities, `without a` and `b alone`) are one row with both names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import VISUAL, HeadName, TrainParams
from mer_pipeline.heads.base import Head
from mer_pipeline.heads.make import head_of
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.ablation import Kind
from mer_pipeline.training.cross_validation import Labels


@dataclass(frozen=True)
class Setting:
    """All that decides what one cross-validation finds; `features` are of `labels.all_ids`, raw."""

    head: HeadName
    features: Features
    labels: Labels
    params: TrainParams

    def with_params(self, **changes: object) -> Setting:
        """Other settings of training."""
        return replace(self, params=self.params.model_copy(update=changes))

    def with_options(self, options: Mapping[str, JsonValue]) -> Setting:
        """Other options of its head."""
        return replace(self, params=self.params.with_options(self.head, **options))

    @property
    def trained(self) -> tuple[str, Section, TrainParams]:
        """What is trained and how: the head's kind and params, whatever its name is, and what is the same for all."""
        spec = head_of(self.head, self.params)
        return spec.kind, spec.params, self.params.model_copy(update={"heads": {}})

    def on(self, names: Sequence[str]) -> Setting:
        """Other modalities."""
        return replace(self, features=self.features.select(names))

    def equals(self, other: Setting) -> bool:
        """Whether they would find the same, given that both are made of one dataset."""
        return (
            (self.trained, self.features.names) == (other.trained, other.features.names)
            and np.array_equal(self.labels.held_out, other.labels.held_out)
            and np.array_equal(self.labels.pseudo, other.labels.pseudo)
            and (self.params.targets == "hard" or (self.labels.posterior is None) == (other.labels.posterior is None))
        )  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A row of the ablation's table."""

    name: str
    kind: Kind
    setting: Setting


Part = Callable[[Setting], Setting | None]


def head_parts(head: type[Head]) -> dict[str, Part]:
    """The parts that a head's class names, by the name of the row."""

    def off(options: Mapping[str, JsonValue]) -> Part:
        return lambda system: system.with_options(options)

    return {name: off(options) for name, options in head.ablations.items()}


def refinement_off(system: Setting) -> Setting | None:
    """Every fold's head is trained on the labels as they were given."""
    labels = system.labels
    held_out = np.where(labels.held_out == MISSING, MISSING, labels.given)
    return replace(system, labels=replace(labels, held_out=held_out, final=labels.given, posterior=None))


def pseudo_off(system: Setting) -> Setting | None:
    """Only clips that somebody labelled are learnt from."""
    labels = system.labels
    return replace(system, labels=replace(labels, pseudo=np.full_like(labels.pseudo, MISSING)))


def soft_targets_off(system: Setting) -> Setting | None:
    """One class is learnt of every clip."""
    return system.with_params(targets="hard") if system.params.targets != "hard" else None


def class_weights_off(system: Setting) -> Setting | None:
    """Rare classes count as often as they occur."""
    return system.with_params(class_weights="none") if system.params.class_weights != "none" else None


def variants(
    reference: Setting,
    everything: Features,
    mixed: Sequence[str],
    plain: Sequence[str],
    heads: Sequence[HeadName],
    visual: Features | None = None,
) -> list[Variant]:
    """All that are different from the reference and from each other.

    Args:
        reference: the whole system.
        everything: features of the reference's modalities and of `plain`.
        mixed: the reference's encoders of enriched text.
        plain: encoders of the plain words; without one, dropping `mixed` would drop the words too, which is no
            ablation of enrichment, and there is no such row.
        heads: train.heads.
        visual: the reference's encoders with those that see pictures as one modality, or not; None: there are no two.
    """

    def enrichment_off(system: Setting) -> Setting | None:
        if not mixed or not plain:
            return None
        kept = [name for name in system.features.names if name not in mixed]
        words = [name for name in plain if name not in kept]
        return replace(system, features=everything).on([*kept, *words])

    def visual_other(system: Setting) -> Setting | None:
        return None if visual is None else replace(system, features=visual)

    parts: dict[str, Part] = {
        **head_parts(head_of(reference.head, reference.params).head),
        "enrichment off": enrichment_off,
        "refinement off": refinement_off,
        "pseudo off": pseudo_off,
        "soft targets off": soft_targets_off,
        "class weights off": class_weights_off,
        f"visual {'tokens' if VISUAL in reference.features.names else 'merged'}": visual_other,
    }

    def each() -> Iterator[tuple[str, Kind, Setting | None]]:
        names = reference.features.names
        for name, part in parts.items():
            yield name, "part", part(reference)
        for name in names:
            others = [other for other in names if other != name]
            yield f"without {name}", "without", reference.on(others) if others else None
        for name in names:
            yield f"{name} alone", "alone", reference.on([name])
        for head in heads:
            yield head, "head", replace(reference, head=head)

    found: list[Variant] = []
    for name, kind, setting in each():
        if setting is None or setting.equals(reference):
            continue
        twin = next((at for at, one in enumerate(found) if one.setting.equals(setting)), None)
        if twin is None:
            found.append(Variant(name, kind, setting))
        else:
            found[twin] = replace(found[twin], name=f"{found[twin].name}, {name}")
    return found
