"""Choose pseudo-labels: a clip of the pool gets a label by agreement, a threshold per class and a quota per class.

A clip may be taken as class c if three conditions hold: c is the head's most probable class, at least
min_families - 1 corroborating families vote for c, and no other class has as many families on its side as c, with the
head counted for c. Of these clips, those with a probability of at least t_c are taken, the most probable first, up to a
quota. With n_c of the N labelled clips and k_c of the K taken clips in class c,

    t_c = min { t : low(right, passed) >= min_precision and passed >= min_support }
    k_c <= max_ratio * n_c   and   (n_c + k_c) / (N + K) <= (1 + max_drift) n_c / N

`passed` counts the labelled clips that pass the same rule at threshold t, and `right` those of them whose given label
is c. `low` is the lower end of the interval of Wilson (1927), one-sided at 95 %. The probabilities of the labelled
clips come from heads that have not seen them.

- The limit on k_c by max_drift keeps the proportions of the classes. Without it, classes that are easy to predict
  outnumber the others, and a head gets worse even if nearly all pseudo-labels are right (docs/decisions.md).
- Precision is measured with the given label and not with the refined one. The families that support a pseudo-label
  also helped to refine the labels, so the refined labels would agree with them by construction. Errors in the given
  labels count against the rule, so the true precision tends to be higher than the measured one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mer_pipeline.config.section import Count, Fraction, Section, Strength
from mer_pipeline.config.train_params import HeadName
from mer_pipeline.labels.votes import MISSING

Ints = NDArray[np.int64]
Z = 1.6448536269514722  # standard normal quantile of .95

# Why a clip is taken or not; {} stands for the class that the head predicts.
REASONS = (
    "taken as {}",
    "no modality, so the head has no opinion",
    "its group is in the held-out fold",
    "too few other families say {}",
    "another class has as many families on its side as {}",
    "nothing is taken as {}: no threshold is precise enough on the labelled clips",
    "below the threshold of {}",
    "over the quota of {}",
)
TAKEN, SILENT, GROUP, ALONE, TIED, NO_THRESHOLD, BELOW, OVER = range(len(REASONS))


class PseudoParams(Section):
    """Labels for clips that have none, where the head and others agree (docs/method.md)."""

    rounds: Annotated[int, Field(ge=0)] = 0  # rounds of training and labelling; 0: no pseudo-labels
    head: HeadName = "logreg"  # the head that labels clips; it is trained with the settings of `train`
    min_families: Annotated[int, Field(ge=2)] = 2  # families that must agree, the head counted as one of them
    # the least precision of a class: its threshold is the lowest probability at which this share of the labelled clips
    # that pass is right, by the lower bound of a one-sided 95 % interval
    min_precision: Fraction = 0.7
    min_support: Count = 20  # the fewest labelled clips that must pass at this threshold
    max_ratio: Strength = 3.0  # the most clips that are taken of a class, per labelled clip of it
    max_drift: Annotated[float, Field(ge=0)] = 0.1  # the most that a class's share of all labels may grow, relatively
    # label the candidates too; this is transductive, because training then uses their features
    candidates: bool = False


@dataclass(frozen=True)
class Opinions:
    """The predictions of the head and the votes of W corroborating families on n clips.

    Attributes:
        scores: float32 (n, C), the probabilities of heads that have not seen the clip.
        heard: bool (n,), false where the clip has no modality, so that the head predicts nothing.
        families: int64 (n, W), the class that each family votes for, MISSING where it has no vote.
    """

    scores: NDArray[np.float32]
    heard: NDArray[np.bool_]
    families: Ints

    @property
    def leader(self) -> Ints:
        """The class that the head predicts, int64 (n,); MISSING where it predicts none."""
        return np.where(self.heard, self.scores.argmax(axis=1), MISSING)

    @property
    def sure(self) -> NDArray[np.float64]:
        """The probability of the head's most probable class, float64 (n,)."""
        return np.asarray(self.scores.max(axis=1), dtype=np.float64)

    def doubts(self, min_families: int) -> Ints:
        """Return whether enough families agree with the head, as an index into REASONS, int64 (n,).

        It is SILENT, ALONE or TIED where the clip can't be taken, and TAKEN where only threshold and quota are left.
        """
        classes, leader = self.scores.shape[1], self.leader
        backing = (self.families[:, :, None] == np.arange(classes)).sum(axis=1)
        own = np.arange(classes) == leader[:, None]
        behind = np.where(own, backing, 0).sum(axis=1)
        against = np.where(own, 0, backing).max(axis=1, initial=0)
        found = np.where(behind + 1 > against, TAKEN, TIED)
        found = np.where(behind + 1 >= min_families, found, ALONE)
        return np.where(leader == MISSING, SILENT, found)

    def take(self, rows: Ints | NDArray[np.bool_]) -> Opinions:
        """Return the opinions on some of the clips, by index or by mask."""
        return Opinions(self.scores[rows], self.heard[rows], self.families[rows])


@dataclass(frozen=True)
class ClassRule:
    """The rule of one class, and its result on the labelled clips.

    Attributes:
        threshold: t_c; None if no clip can be taken as this class.
        support: how many labelled clips pass at t_c; if t_c is None, how many pass without a threshold.
        right: how many of them have the class as their given label.
        low: the lower bound of right / support.
        labelled: n_c, how many labelled clips are of the class.
    """

    threshold: float | None
    support: int
    right: int
    low: float
    labelled: int


@dataclass(frozen=True)
class Selection:
    """The outcome for m clips of the pool.

    Attributes:
        label: int64 (m,), the pseudo-label, MISSING where a clip is not taken.
        reason: int64 (m,), an index into REASONS.
        quota: int64 (C,), the most clips that may be taken of each class.
    """

    label: Ints
    reason: Ints
    quota: Ints


def wilson_low(right: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lower end of the score interval of Wilson (1927) for right / n, one-sided at 95 %; 0 where n is 0.

    Example:
        >>> wilson_low(np.array([20, 19, 0]), np.array([20, 20, 0])).round(3).tolist()
        [0.881, 0.804, 0.0]
    """
    at_least_one = np.maximum(n, 1)
    share, z2 = right / at_least_one, Z * Z
    middle = share + z2 / (2 * at_least_one)
    spread = Z * np.sqrt(share * (1 - share) / at_least_one + z2 / (4 * at_least_one**2))
    return np.where(n > 0, (middle - spread) / (1 + z2 / at_least_one), 0.0)


def rules(known: Opinions, given: Ints, trained: Ints, params: PseudoParams) -> tuple[ClassRule, ...]:
    """Return the rule of every class, derived from labelled clips only.

    Args:
        known: the opinions on the labelled clips, by heads that have not seen them.
        given: int64 (n,), their given labels, by which precision is measured.
        trained: int64 (n,), the labels that heads are trained on, whose proportions are to be kept.
        params: the settings of the stage.
    """
    passing, leader, sure = known.doubts(params.min_families) == TAKEN, known.leader, known.sure
    found = []
    for c in range(known.scores.shape[1]):
        rows = np.flatnonzero(passing & (leader == c))
        rows = rows[np.argsort(-sure[rows], kind="stable")]
        p, right = sure[rows], np.cumsum(given[rows] == c)
        # Clips with equal probabilities pass a threshold together, so only the last of them can set it.
        ends = np.flatnonzero(np.append(p[1:] != p[:-1], True)) if len(p) else np.zeros(0, dtype=np.int64)
        n, hits = ends + 1, right[ends]
        low = wilson_low(hits, n)
        fit = np.flatnonzero((low >= params.min_precision) & (n >= params.min_support))
        at = fit[-1] if len(fit) else len(ends) - 1
        labelled = int((trained == c).sum())
        if not len(ends):
            found.append(ClassRule(None, 0, 0, 0.0, labelled))
        else:
            threshold = float(p[ends[at]]) if len(fit) else None
            found.append(ClassRule(threshold, int(n[at]), int(hits[at]), float(low[at]), labelled))
    return tuple(found)


def select(
    pool: Opinions,
    clip_ids: Sequence[str],
    barred: NDArray[np.bool_],
    of_class: Sequence[ClassRule],
    params: PseudoParams,
) -> Selection:
    """Apply the rules: take the most probable clips of each class, and of equally probable ones the first by id.

    Args:
        pool: the opinions on m clips without a label.
        clip_ids: the ids of these clips.
        barred: bool (m,), true where a clip may not be taken because its group is in the held-out fold.
        of_class: the rules of the C classes.
        params: the settings of the stage.
    """
    leader, sure = pool.leader, pool.sure
    reason = pool.doubts(params.min_families)
    reason = np.where(barred & (reason != SILENT), GROUP, reason)
    names = np.array(clip_ids, dtype=str)
    ranked = []
    for c, rule in enumerate(of_class):
        rows = np.flatnonzero((reason == TAKEN) & (leader == c))
        if rule.threshold is None:
            reason[rows] = NO_THRESHOLD
            rows = rows[:0]
        else:
            reason[rows[sure[rows] < rule.threshold]] = BELOW
            rows = rows[sure[rows] >= rule.threshold]
        ranked.append(rows[np.lexsort((names[rows], -sure[rows]))])
    labelled = np.array([rule.labelled for rule in of_class])
    quota = quotas(labelled, np.array([len(rows) for rows in ranked]), params)
    for rows, most in zip(ranked, quota, strict=True):
        reason[rows[most:]] = OVER
    return Selection(np.where(reason == TAKEN, leader, MISSING), reason, quota)


def quotas(labelled: Ints, found: Ints, params: PseudoParams) -> Ints:
    """Return the most clips that may be taken of each class, int64 (C,).

    Each limit depends on the number of clips taken in all classes. So the limits are lowered in turn until all of them
    hold, which gives the largest quotas that satisfy them.

    Args:
        labelled: int64 (C,), n_c, the number of labelled clips of each class.
        found: int64 (C,), how many clips of the pool pass the threshold of each class.
        params: the settings of the stage; `max_ratio` and `max_drift` are used.

    Example:
        With 50 labelled clips of each of two classes, 100 passing clips of one class and 10 of the other:

        >>> quotas(np.array([50, 50]), np.array([100, 10]), PseudoParams(max_ratio=3.0, max_drift=0.1)).tolist()
        [23, 23]
    """
    whisker = 1e-9  # makes up for rounding: .29 * 100 is 28.999999999999996
    by_ratio = np.floor(params.max_ratio * labelled + whisker).astype(np.int64)
    share = (1 + params.max_drift) * labelled / max(int(labelled.sum()), 1)
    quota = by_ratio
    while True:
        whole = labelled.sum() + np.minimum(found, quota).sum()
        lower = np.minimum(quota, np.floor(share * whole - labelled + whisker).astype(np.int64))
        if (np.minimum(found, lower) == np.minimum(found, quota)).all():
            return np.asarray(lower, dtype=np.int64)
        quota = lower


def checked(known: Opinions, given: Ints, trained: Ints, fold: Ints, params: PseudoParams) -> tuple[Ints, Ints]:
    """Return how many labelled clips pass at thresholds chosen without their own fold, and how many of them are right.

    A threshold looks better on the clips that it was chosen on than on other clips, so this is the fairer measure.

    Args:
        known: the opinions on the labelled clips, by heads that have not seen them.
        given: int64 (n,), their given labels.
        trained: int64 (n,), the labels that heads are trained on.
        fold: int64 (n,), the fold of each clip.
        params: the settings of the stage.

    Returns:
        int64 (C,), the clips that pass as each class.
        int64 (C,), those of them whose given label is that class.
    """
    classes = known.scores.shape[1]
    passed, right = np.zeros(classes, dtype=np.int64), np.zeros(classes, dtype=np.int64)
    for out in np.unique(fold):
        inside, outside = fold != out, fold == out
        of_class = rules(known.take(inside), given[inside], trained[inside], params)
        here = known.take(outside)
        limit = np.array([np.inf if rule.threshold is None else rule.threshold for rule in of_class])
        passes = (here.doubts(params.min_families) == TAKEN) & (here.sure >= limit[here.leader])
        passed += np.bincount(here.leader[passes], minlength=classes)
        right += np.bincount(here.leader[passes & (here.leader == given[outside])], minlength=classes)
    return passed, right
