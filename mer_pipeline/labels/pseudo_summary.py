"""metrics/pseudo.json: what each class's rule is, how it does on labelled clips out of fold, and what was taken.

No true label of a clip of the pool is looked at, even where one happens to be known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.atomic import atomic_write
from mer_pipeline.labels.pseudo import Choice, ClassRule, PseudoParams
from mer_pipeline.labels.votes import MISSING

Ints = NDArray[np.int64]


class OfClass(TypedDict):
    """A class's rule; `precision` is of the labelled clips that pass, `low` its lower bound.

    The `checked` precision is of thresholds that were chosen without the fold that they are tried on.
    """

    threshold: float | None
    support: int
    precision: float | None
    low: float
    checked_support: int
    checked_precision: float | None
    quota: int
    taken: int
    why: str | None  # nothing is taken


class Round(TypedDict):
    """One round where no fold is held out; counts of clips, against the round before."""

    round: int
    taken: int
    added: int
    withdrawn: int
    relabelled: int
    classes: dict[str, OfClass]


class HeldOut(TypedDict):
    """What the head that is scored on one fold gets (-1: none is held out)."""

    rounds: int
    taken: dict[str, int]
    thresholds: dict[str, float | None]
    families: list[str]  # independent ones
    excluded: dict[str, str]  # other families, and why


class Summary(TypedDict):
    """metrics/pseudo.json."""

    asked: dict[str, object]  # the params
    pool: int
    labelled: int
    empty: str | None  # why nothing was tried
    rounds: list[Round]
    held_out: dict[str, HeldOut]
    shares: dict[str, list[float]]  # of each class, in order, among labelled clips, and with those that were taken


def of_round(
    number: int,
    before: Ints,
    choice: Choice,
    of_class: Sequence[ClassRule],
    tried: tuple[Ints, Ints],
    classes: Sequence[str],
    params: PseudoParams,
) -> Round:
    """One round's part; `before` is the choice of the round before, `tried` what `checked` gives."""
    now = choice.label
    return {
        "round": number,
        "taken": int((now != MISSING).sum()),
        "added": int(((before == MISSING) & (now != MISSING)).sum()),
        "withdrawn": int(((before != MISSING) & (now == MISSING)).sum()),
        "relabelled": int(((before != MISSING) & (now != MISSING) & (before != now)).sum()),
        "classes": {
            name: {
                "threshold": None if rule.threshold is None else round(rule.threshold, 6),
                "support": rule.support,
                "precision": share(rule.right, rule.support),
                "low": round(rule.low, 6),
                "checked_support": int(tried[0][c]),
                "checked_precision": share(int(tried[1][c]), int(tried[0][c])),
                "quota": int(choice.quota[c]),
                "taken": int((now == c).sum()),
                "why": why_nothing(rule, params),
            }
            for c, (name, rule) in enumerate(zip(classes, of_class, strict=True))
        },
    }


def why_nothing(rule: ClassRule, params: PseudoParams) -> str | None:
    """Why a class takes nothing, or None where it may take some."""
    if rule.threshold is not None:
        return None
    if not rule.support:
        return "no labelled clip passes"
    return (
        f"no threshold gives a precision of {params.min_precision:g} by its lower bound on {params.min_support} "
        f"labelled clips or more; without one {rule.right} of {rule.support} are right"
    )


def by_class(label: Ints, classes: Sequence[str]) -> dict[str, int]:
    """How many of each."""
    return {name: int((label == c).sum()) for c, name in enumerate(classes)}


def shares(trained: Ints, taken: Ints, classes: int) -> dict[str, list[float]]:
    """Shares of the classes among the labels that are trained on, without and with what was taken."""
    count = np.bincount(trained, minlength=classes)
    whole = count + np.bincount(taken[taken != MISSING], minlength=classes)
    return {
        name: [round(float(n) / max(int(of.sum()), 1), 6) for n in of]
        for name, of in (("labelled", count), ("with_pseudo", whole))
    }


def nothing(params: PseudoParams, why: str, pool: int = 0, labelled: int = 0) -> Summary:
    """The summary where nothing was tried."""
    return {
        "asked": params.model_dump(mode="json"),
        "pool": pool,
        "labelled": labelled,
        "empty": why,
        "rounds": [],
        "held_out": {},
        "shares": {},
    }


def write_summary(path: Path, summary: Mapping[str, object]) -> None:
    """Write it, keys sorted."""
    atomic_write(path, json.dumps(summary, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def share(part: int, whole: int) -> float | None:
    """To 6 digits; None of nothing."""
    return round(part / whole, 6) if whole else None
