"""The variants of an ablation: one part of a reference system changed, all else equal.

    part       attention off       ecmf without self-attention; α, now of the bare tokens, stays
               residual off        ecmf without Σ β_m h_m
               late fusion off     ecmf's network alone
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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.ablation import Kind
from mer_pipeline.modalities import Features
from mer_pipeline.train_params import VISUAL, HeadName, TrainParams
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

    def on(self, names: Sequence[str]) -> Setting:
        """Other modalities."""
        return replace(self, features=self.features.select(names))

    def equals(self, other: Setting) -> bool:
        """Whether they would find the same, given that both are made of one dataset."""
        return (
            (self.head, self.params, self.features.names) == (other.head, other.params, other.features.names)
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


def attention_off(system: Setting) -> Setting | None:
    """No token sees another."""
    has = system.head == "ecmf" and system.params.attention_layers > 0
    return system.with_params(attention_layers=0) if has else None


def residual_off(system: Setting) -> Setting | None:
    """What attention made of the tokens, and nothing beside it."""
    return system.with_params(residual=False) if system.head == "ecmf" and system.params.residual else None


def late_fusion_off(system: Setting) -> Setting | None:
    """The network's opinion alone."""
    return system.with_params(late_fusion=False) if system.head == "ecmf" and system.params.late_fusion else None


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
        "attention off": attention_off,
        "residual off": residual_off,
        "late fusion off": late_fusion_off,
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
