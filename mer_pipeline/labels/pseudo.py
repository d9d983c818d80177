"""The rule by which clips without a label get one: agreement, a threshold per class, a quota per class.

A clip may be taken as class c where the head's most probable class is c, at least min_families - 1 families that are
independent of the head say c too, and no other class has as many on its side. Of those that may:

    t_c = min { t : low(right, passed) >= min_precision and passed >= min_support },   the labelled clips that pass at t
    k_c <= max_ratio * n_c  and  (n_c + k_c) / (N + K) <= (1 + max_drift) n_c / N,     n_c of N labelled, k_c of K taken

The second limit keeps the classes' proportions. Without it the few classes that are easy to be sure of swamp the
others, and labels nearly all of which are right make a head worse (docs/decisions.md).

`low` is the lower end of Wilson's interval (1927), one-sided at 95%. Labelled clips pass by the same rule, with
probabilities of heads that have not seen them, and are right where the class is the given label: a refined one was
moved by the very families that are asked here, and would call them right by construction. Errors of the people who
labelled count against the rule, so the true precision is rather higher.
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

# Why a clip is taken or is not; {} is the class that the head says.
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

    rounds: Annotated[int, Field(ge=0)] = 0  # of training, labelling and training again; 0: no pseudo-labels
    head: HeadName = "logreg"  # whose opinion is asked; it is trained as `train` says
    min_families: Annotated[int, Field(ge=2)] = 2  # that must agree, the head's own among them
    # a class is taken only from the probability on at which so many of the labelled clips that pass are right, by the
    # lower bound of a one-sided 95% interval,
    min_precision: Fraction = 0.7
    min_support: Count = 20  # and at least so many of them pass
    max_ratio: Strength = 3.0  # at most so many clips of a class, per labelled clip of it
    max_drift: Annotated[float, Field(ge=0)] = 0.1  # and a class's share among all labels grows by no more than this
    candidates: bool = False  # label the test split's candidates too: transductive, and their features are then seen


@dataclass(frozen=True)
class Opinions:
    """What the head and W families that are independent of it say of n clips.

    Attributes:
        scores: float32 (n, C), the head's probabilities, out of sample.
        heard: bool (n,), false where the head has nothing to go by.
        families: int64 (n, W), the class that each votes for, MISSING where it does not vote.
    """

    scores: NDArray[np.float32]
    heard: NDArray[np.bool_]
    families: Ints

    @property
    def leader(self) -> Ints:
        """int64 (n,): the class that the head says, MISSING where it says none."""
        return np.where(self.heard, self.scores.argmax(axis=1), MISSING)

    @property
    def sure(self) -> NDArray[np.float64]:
        """float64 (n,): its probability."""
        return np.asarray(self.scores.max(axis=1), dtype=np.float64)

    def doubts(self, min_families: int) -> Ints:
        """int64 (n,): SILENT, ALONE or TIED, and TAKEN where only threshold and quota are left to ask."""
        classes, leader = self.scores.shape[1], self.leader
        backing = (self.families[:, :, None] == np.arange(classes)).sum(axis=1)
        own = np.arange(classes) == leader[:, None]
        behind = np.where(own, backing, 0).sum(axis=1)
        against = np.where(own, 0, backing).max(axis=1, initial=0)
        found = np.where(behind + 1 > against, TAKEN, TIED)
        found = np.where(behind + 1 >= min_families, found, ALONE)
        return np.where(leader == MISSING, SILENT, found)

    def take(self, rows: Ints | NDArray[np.bool_]) -> Opinions:
        """Some of the clips."""
        return Opinions(self.scores[rows], self.heard[rows], self.families[rows])


@dataclass(frozen=True)
class ClassRule:
    """One class: t_c (None: nothing is taken), how it does on the labelled clips, and n_c.

    Attributes:
        threshold: t_c.
        support: labelled clips that pass at t_c, or without any threshold where there is none.
        right: those of them that are right.
        low: the lower bound of right / support.
        labelled: n_c.
    """

    threshold: float | None
    support: int
    right: int
    low: float
    labelled: int


@dataclass(frozen=True)
class Selection:
    """What becomes of m clips.

    Attributes:
        label: int64 (m,), MISSING where a clip is not taken.
        reason: int64 (m,), index among REASONS.
        quota: int64 (C,), the most that could be taken of each class.
    """

    label: Ints
    reason: Ints
    quota: Ints


def wilson_low(right: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """The lower end of Wilson's score interval of right / n; 0 where n is 0."""
    at_least_one = np.maximum(n, 1)
    share, z2 = right / at_least_one, Z * Z
    middle = share + z2 / (2 * at_least_one)
    spread = Z * np.sqrt(share * (1 - share) / at_least_one + z2 / (4 * at_least_one**2))
    return np.where(n > 0, (middle - spread) / (1 + z2 / at_least_one), 0.0)


def rules(known: Opinions, given: Ints, trained: Ints, params: PseudoParams) -> tuple[ClassRule, ...]:
    """The rule of every class, from labelled clips alone.

    Args:
        known: of the labelled clips, each by heads that have not seen it.
        given: int64 (n,), what they are measured by.
        trained: int64 (n,), the labels that heads are trained on: whose proportions are to stay.
        params: how strict.
    """
    passing, leader, sure = known.doubts(params.min_families) == TAKEN, known.leader, known.sure
    found = []
    for c in range(known.scores.shape[1]):
        rows = np.flatnonzero(passing & (leader == c))
        rows = rows[np.argsort(-sure[rows], kind="stable")]
        p, right = sure[rows], np.cumsum(given[rows] == c)
        # All clips that share a probability pass together.
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
    """Apply the rules: in every class the most confident clips, of equals those whose id comes first.

    Args:
        pool: of m clips without a label.
        clip_ids: theirs.
        barred: bool (m,), clips that may not be taken because of their group.
        of_class: C rules.
        params: how strict.
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
    """int64 (C,): the most that may be taken of each class, where so many pass the threshold.

    K counts what is taken, so each limit depends on the others: they are lowered until all hold, which leaves the
    largest numbers that do.
    """
    whisker = 1e-9  # .29 * 100 is 28.999999999999996
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
    """How many labelled clips pass, and how many of them are right, at thresholds chosen without their own fold.

    A threshold looks better on the clips that it was chosen on than on others. Returns int64 (C,) twice.
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
