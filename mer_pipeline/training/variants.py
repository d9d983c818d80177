"""The variants of an ablation: a reference system with one part changed and all else equal.

    part       NAME                a part of the head is off, as its class describes in `ablations`
               late fusion off     of a combination only the head is left
               enrichment off      the encoders of the enriched text are replaced by those of the plain words
               refinement off      training uses the given labels
               pseudo off          training uses no pseudo-labels
               soft targets off    training uses the labels and not the posteriors
               class weights off   every clip has the same weight
               prior shift on      predictions get the prior shift; if they have it already, `prior shift off`
               visual merged       the encoders of pictures are one token; if they are one already, `visual tokens`
    without    without NAME        one modality is left out
    alone      NAME alone          only one modality is left
    head       HEAD                another head of train.heads is used

Each part is a function that takes a setting (head, features, labels, params) and returns it with one change. It returns
None if there is nothing to change, because the reference has the part off or lacks it. Two variants with the same
setting (with two modalities, `without a` and `b alone`) are one row with both names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.head_entry import without_late
from mer_pipeline.config.section import Section
from mer_pipeline.config.train_params import VISUAL, HeadName, Prior, TrainParams
from mer_pipeline.heads.base import Head
from mer_pipeline.heads.make import head_of
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.ablation import Kind
from mer_pipeline.training.labels import Labels


@dataclass(frozen=True)
class Setting:
    """All inputs of one cross-validation, and whether its predictions get the prior shift (`predict.prior`).

    `features` are those of `labels.all_ids`, not standardised.
    """

    head: HeadName
    features: Features
    labels: Labels
    params: TrainParams
    prior: Prior = "training"

    def with_params(self, **changes: object) -> Setting:
        """Return the setting with these changes of `params`."""
        return replace(self, params=self.params.model_copy(update=changes))

    def with_options(self, options: Mapping[str, JsonValue]) -> Setting:
        """Return the setting with these options of its head."""
        return replace(self, params=self.params.with_options(self.head, **options))

    @property
    def trained(self) -> tuple[list[tuple[str, Section]], TrainParams]:
        """What is trained, and the settings that all heads share. The head's name doesn't matter."""
        parts = head_of(self.head, self.params).trained
        return [(part.kind, part.params) for part in parts], self.params.model_copy(update={"heads": {}})

    def on(self, names: Sequence[str]) -> Setting:
        """Return the setting with only these modalities."""
        return replace(self, features=self.features.select(names))

    def equals(self, other: Setting) -> bool:
        """Return whether both would give the same result, provided that they are made from the same dataset."""
        return (
            (self.trained, self.features.names, self.prior) == (other.trained, other.features.names, other.prior)
            and np.array_equal(self.labels.held_out, other.labels.held_out)
            and np.array_equal(self.labels.pseudo, other.labels.pseudo)
            and (self.params.targets == "hard" or (self.labels.posterior is None) == (other.labels.posterior is None))
        )  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A row of the ablation table: its name, its kind and the setting to cross-validate."""

    name: str
    kind: Kind
    setting: Setting


Part = Callable[[Setting], Setting | None]


def head_parts(head: type[Head]) -> dict[str, Part]:
    """Return the parts that a head's class declares in `ablations`, by the name of the row."""

    def off(options: Mapping[str, JsonValue]) -> Part:
        return lambda system: system.with_options(options)

    return {name: off(options) for name, options in head.ablations.items()}


def late_fusion_off(system: Setting) -> Setting | None:
    """Return the setting with the head of a combination alone; None if the head is no combination."""
    alone = without_late(system.head)
    return replace(system, head=alone) if alone != system.head else None


def refinement_off(system: Setting) -> Setting | None:
    """Return the setting in which the heads of all folds are trained on the given labels."""
    labels = system.labels
    held_out = np.where(labels.held_out == MISSING, MISSING, labels.given)
    return replace(system, labels=replace(labels, held_out=held_out, final=labels.given, posterior=None))


def pseudo_off(system: Setting) -> Setting | None:
    """Return the setting without pseudo-labels."""
    labels = system.labels
    return replace(system, labels=replace(labels, pseudo=np.full_like(labels.pseudo, MISSING)))


def soft_targets_off(system: Setting) -> Setting | None:
    """Return the setting with hard targets; None if they are hard already."""
    return system.with_params(targets="hard") if system.params.targets != "hard" else None


def class_weights_off(system: Setting) -> Setting | None:
    """Return the setting without class weights; None if there are none."""
    return system.with_params(class_weights="none") if system.params.class_weights != "none" else None


def prior_other(system: Setting) -> Setting | None:
    """Return the setting with the prior shift, or without it if it is on."""
    return replace(system, prior="em" if system.prior == "training" else "training")


def variants(
    reference: Setting,
    everything: Features,
    mixed: Sequence[str],
    plain: Sequence[str],
    heads: Sequence[HeadName],
    visual: Features | None = None,
) -> list[Variant]:
    """Return all variants that differ from the reference and from each other.

    Args:
        reference: the whole system.
        everything: the features of the reference's modalities and of the encoders in `plain`.
        mixed: the reference's encoders of enriched text.
        plain: the encoders of the plain words. Without any there is no row `enrichment off`, because leaving out
            `mixed` would also leave out the words.
        heads: the names of the heads in `train.heads`.
        visual: the features of the reference with the encoders of pictures merged, or separate if the reference has
            them merged; None if there are fewer than two such encoders.
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
        "late fusion off": late_fusion_off,
        "enrichment off": enrichment_off,
        "refinement off": refinement_off,
        "pseudo off": pseudo_off,
        "soft targets off": soft_targets_off,
        "class weights off": class_weights_off,
        f"prior shift {'on' if reference.prior == 'training' else 'off'}": prior_other,
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
