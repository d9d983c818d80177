"""How far the sources of labels can be trusted: what the page shows of `metrics/labels.json`.

Each source stands by itself, apart from its family, with how often it is right as all of them together judge it;
families stand in pairs, because a family is what has a vote.
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
    """A clip whose given label confident learning doubts; `card` is its place in the gallery, 1 for the first."""

    clip_id: str
    given: str | None
    suspect: str
    label: str
    card: int | None


@dataclass(frozen=True)
class Trust:
    """The sources by family, the dataset's own first; Cohen's kappa of families; warnings; suspect clips."""

    sources: tuple[tuple[str, SourceTrust], ...]
    families: tuple[str, ...]
    kappa: tuple[tuple[FamilyPair | None, ...], ...]  # rows and columns in the order of `families`; None: itself
    warnings: tuple[str, ...]
    suspects: tuple[Suspicion, ...]


def trust(facts: Facts, cards: Sequence[Card]) -> Trust | None:
    """What there is to say, or None where no label was looked at."""
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
