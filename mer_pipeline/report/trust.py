"""The part of the page on the sources of labels, from `metrics/labels.json`.

The accuracy is shown for each single source, as all sources together judge it. The agreement is shown for pairs of
families, because a family and not a source has a vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mer_pipeline.base.clips import GIVEN
from mer_pipeline.metrics.labels import FamilyPair, LabelMetrics, SourceTrust
from mer_pipeline.report.collect import Facts
from mer_pipeline.report.gallery import Card


@dataclass(frozen=True)
class Suspicion:
    """A clip with a suspect given label.

    Attributes:
        clip_id: the id of the clip.
        given: its given label.
        suspect: the class that confident learning finds for it.
        label: its refined label.
        card: the position of its card in the gallery, from 1; None if it has no card.
    """

    clip_id: str
    given: str | None
    suspect: str
    label: str
    card: int | None


@dataclass(frozen=True)
class Trust:
    """What the page shows of the sources of labels.

    Attributes:
        sources: the name and accuracy of each source, by family, that of the given label first.
        families: the names of the families.
        kappa: the agreement of each pair of families, in the order of `families`; None for a family with itself.
        warnings: sentences about dependent families and sources.
        suspects: the clips with a suspect given label.
    """

    sources: tuple[tuple[str, SourceTrust], ...]
    families: tuple[str, ...]
    kappa: tuple[tuple[FamilyPair | None, ...], ...]
    warnings: tuple[str, ...]
    suspects: tuple[Suspicion, ...]


def trust(facts: Facts, cards: Sequence[Card]) -> Trust | None:
    """Return what the page shows of the sources of labels, or None if there are no sources."""
    metrics = facts.agreement
    if metrics is None or not metrics.sources:
        return None
    home = metrics.sources[GIVEN].family if GIVEN in metrics.sources else ""
    ordered = sorted(
        metrics.sources.items(), key=lambda item: (item[1].family != home, item[1].family, item[0] != GIVEN)
    )
    families = tuple(dict.fromkeys(of.family for _, of in ordered))
    place = {card.clip_id: at for at, card in enumerate(cards, 1)}
    suspects = tuple(
        Suspicion(row.clip_id, row.given, row.suspect, row.label, place.get(row.clip_id))
        for row in facts.labels.values()
        if row.suspect is not None
    )
    return Trust(tuple(ordered), families, _kappa(metrics, families), metrics.warnings, suspects)


def _kappa(metrics: LabelMetrics, families: Sequence[str]) -> tuple[tuple[FamilyPair | None, ...], ...]:
    pairs = {frozenset((pair.a, pair.b)): pair for pair in metrics.pairs}
    return tuple(tuple(pairs.get(frozenset((a, b))) for b in families) for a in families)
