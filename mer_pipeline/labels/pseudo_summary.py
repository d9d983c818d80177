"""Build metrics/pseudo.json: the rules of the stage `pseudo` and the number of clips that it took.

True labels of clips of the pool are never used here, even if some are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.pseudo import ClassRule, PseudoParams, Selection
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.pseudo import PseudoClass, PseudoMetrics, PseudoRound

Ints = NDArray[np.int64]


def of_round(
    number: int,
    before: Ints,
    selection: Selection,
    of_class: Sequence[ClassRule],
    tried: tuple[Ints, Ints],
    classes: Sequence[str],
    params: PseudoParams,
) -> PseudoRound:
    """Return the metrics of one round.

    Args:
        number: the number of the round, from 1.
        before: int64 (m,), the labels of the previous round, MISSING where a clip had none.
        selection: what this round took.
        of_class: the rule of each class.
        tried: what `checked` returns.
        classes: the classes, in order.
        params: the settings of the stage.
    """
    now = selection.label
    return PseudoRound(
        round=number,
        taken=int((now != MISSING).sum()),
        added=int(((before == MISSING) & (now != MISSING)).sum()),
        withdrawn=int(((before != MISSING) & (now == MISSING)).sum()),
        relabelled=int(((before != MISSING) & (now != MISSING) & (before != now)).sum()),
        classes={
            name: PseudoClass(
                threshold=None if rule.threshold is None else round(rule.threshold, 6),
                support=rule.support,
                precision=share(rule.right, rule.support),
                low=round(rule.low, 6),
                checked_support=int(tried[0][c]),
                checked_precision=share(int(tried[1][c]), int(tried[0][c])),
                quota=int(selection.quota[c]),
                taken=int((now == c).sum()),
                why=why_nothing(rule, params),
            )
            for c, (name, rule) in enumerate(zip(classes, of_class, strict=True))
        },
    )


def why_nothing(rule: ClassRule, params: PseudoParams) -> str | None:
    """Return the reason that no clip can be taken as this class, or None if clips can be taken."""
    if rule.threshold is not None:
        return None
    if not rule.support:
        return "no labelled clip passes"
    return (
        f"no threshold gives a precision of {params.min_precision:g} by its lower bound on {params.min_support} "
        f"labelled clips or more; without one {rule.right} of {rule.support} are right"
    )


def by_class(label: Ints, classes: Sequence[str]) -> dict[str, int]:
    """Return the number of clips of each class, by its name."""
    return {name: int((label == c).sum()) for c, name in enumerate(classes)}


def shares(trained: Ints, taken: Ints, classes: int) -> dict[str, tuple[float, ...]]:
    """Return each class's share of the training labels, without the pseudo-labels ("labelled") and with them.

    Args:
        trained: int64 (n,), the labels of the labelled clips.
        taken: int64 (m,), the pseudo-labels, MISSING where a clip has none.
        classes: the number of classes.

    Returns:
        A tuple of one share per class under "labelled" and under "with_pseudo", rounded to 6 digits.
    """
    count = np.bincount(trained, minlength=classes)
    whole = count + np.bincount(taken[taken != MISSING], minlength=classes)
    return {
        name: tuple(round(float(n) / max(int(of.sum()), 1), 6) for n in of)
        for name, of in (("labelled", count), ("with_pseudo", whole))
    }


def nothing(params: PseudoParams, why: str, pool: int = 0, labelled: int = 0) -> PseudoMetrics:
    """Return the metrics of a run that tried to take no clip, with the reason `why`."""
    return PseudoMetrics(
        asked=params.model_dump(mode="json"), pool=pool, labelled=labelled, empty=why, rounds=(), held_out={}, shares={}
    )


def share(part: int, whole: int) -> float | None:
    """Return part / whole, rounded to 6 digits; None if `whole` is 0."""
    return round(part / whole, 6) if whole else None
