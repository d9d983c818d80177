"""The heat maps of modalities by class: the modality weights, and the importance of each modality."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mer_pipeline.config.head_entry import without_late
from mer_pipeline.report.collect import Facts


@dataclass(frozen=True)
class ModalityMap:
    """The mean weight or importance of each modality, over all clips and over the clips of each predicted class.

    Attributes:
        head: the name of the head; of a combination, the name of the head whose weights it has.
        clips: the number of clips.
        source: which clips these are, as words for the page.
        classes: the name of each class and its number of clips.
        rows: for each modality its name, the mean over all clips, and the means over the clips of each class; None
            where no clip has the modality.
        top: the largest absolute mean, for the scale.
    """

    head: str
    clips: int
    source: str
    classes: tuple[tuple[str, int], ...]
    rows: tuple[tuple[str, float | None, tuple[float | None, ...]], ...]
    top: float


def weights(facts: Facts) -> ModalityMap | None:
    """Return the mean modality weights of the selected head, or of another head if that one has none.

    Return None if no head has modality weights.
    """
    selected = facts.metrics.selected
    ordered = sorted(facts.out_of_fold, key=lambda name: (name != selected, without_late(name) != "ecmf", name))
    sources = [(selected or "", "predicted clips", facts.predictions)]
    sources += [(name, "training clips, out-of-fold", facts.out_of_fold[name]) for name in ordered]
    for head, source, guesses in sources:
        weighted = [(guess.label, guess.weights) for _, guess in sorted(guesses.items()) if guess.weights]
        if weighted:
            return _map_of(facts, without_late(head), source, weighted)
    return None


def importance(facts: Facts) -> ModalityMap | None:
    """Return the mean importance of each modality in the selected head's predictions; None if it was not measured."""
    ordered = [guess for _, guess in sorted(facts.predictions.items())]
    measured = [(guess.label, guess.importance) for guess in ordered if guess.importance]
    return _map_of(facts, facts.metrics.selected or "", "predicted clips", measured) if measured else None


def _map_of(facts: Facts, head: str, source: str, told: list[tuple[str, tuple[float | None, ...]]]) -> ModalityMap:
    """Return the map for a list of predicted labels, each with one value per modality."""
    names = facts.metrics.train.modalities
    groups = [[figures for label, figures in told if label == name] for name in facts.classes]
    rows = tuple(
        (name, _mean(_at([figures for _, figures in told], at)), tuple(_mean(_at(group, at)) for group in groups))
        for at, name in enumerate(names)
    )
    top = max((abs(value) for _, all_, each in rows for value in (all_, *each) if value is not None), default=0.0)
    sizes = tuple((name, len(group)) for name, group in zip(facts.classes, groups, strict=True))
    return ModalityMap(head, len(told), source, sizes, rows, top or 1.0)


def _at(told: Iterable[tuple[float | None, ...]], at: int) -> list[float]:
    """Return the values of one modality for the clips that have it."""
    found = (figures[at] for figures in told if at < len(figures))
    return [value for value in found if value is not None]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
