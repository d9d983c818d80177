"""The method `consensus`, which is the default: the most probable class by what can be known from these votes.

    four families and more   dependent families are joined (dependence.py), and the others are fitted by the
                             hierarchical label model (hierarchical.py)
    two or three             dependence can't be tested, so the given label is the anchor (few.py). A label changes only
                             if a crowd says so whose raters vouch for each other: two other families that agree may
                             be copies. With `labels.independent` three families are treated as four are

The counts of a crowd are evidence (crowd.py) and never outvote the other families by their number. Where gold labels
are known, the posteriors of all other clips are tempered by them (temper.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.ambiguity import ambiguous_posterior
from mer_pipeline.labels.crowd import Crowd, weigh_crowd
from mer_pipeline.labels.dependence import join_dependent
from mer_pipeline.labels.em import TINY, clamp
from mer_pipeline.labels.few import IDENTIFIABLE, TESTABLE, Few, believe_few, supported, voting
from mer_pipeline.labels.hierarchical import Hierarchical, hierarchical
from mer_pipeline.labels.refined import LabelParams, Refined
from mer_pipeline.labels.temper import temper_by_gold
from mer_pipeline.labels.votes import MISSING, Votes


@dataclass(frozen=True)
class Belief:
    """What the votes say about the clips.

    Attributes:
        posterior: float64 (n, C), tempered; one-hot where a gold label is known.
        votes: the votes, with dependent families joined.
        few: what few families say, where dependence can't be tested, else None.
        temperature: what the posteriors were tempered by; 1 without gold labels.
    """

    posterior: NDArray[np.float64]
    votes: Votes
    few: Few | None
    temperature: float


def believe(votes: Votes, classes: int, params: LabelParams) -> Belief:
    """Return the posteriors of the method `consensus`, which serve `human-anchored` too."""
    count = voting(votes)
    if count >= TESTABLE and params.join_dependent and not params.independent:
        votes, _ = join_dependent(votes, classes)
    tested = count >= TESTABLE or params.independent
    few = None
    if tested and voting(votes) >= IDENTIFIABLE:
        blind = _believe_many(votes, classes)
    else:
        few = believe_few(votes, classes)
        blind = few.blind
    tempered, temperature = temper_by_gold(blind, votes.gold)
    return Belief(clamp(tempered, votes.gold), votes, few, temperature)


def _believe_many(votes: Votes, classes: int) -> NDArray[np.float64]:
    fitted = hierarchical(votes.matrix, classes, votes.gold)
    counts = [votes.counts(w) for w in range(len(votes.families))]
    if max(each.sum(axis=1).max() for each in counts) <= 1:
        return fitted.blind
    evidence = [
        _one_vote(fitted, w, votes.matrix[:, w])
        if each.sum(axis=1).max() <= 1
        else weigh_crowd(each, fitted.posterior, own=True).log
        for w, each in enumerate(counts)
    ]
    return ambiguous_posterior(evidence, fitted.prior)


def _one_vote(fitted: Hierarchical, family: int, said: NDArray[np.int64]) -> NDArray[np.float64]:
    log = np.log(np.maximum(fitted.confusion[family], TINY))
    return np.where((said == MISSING)[:, None], 0.0, log[:, said].T)


def consensus(votes: Votes, classes: tuple[str, ...], params: LabelParams) -> Refined:
    """Label each clip with the most probable class; the given label stays in a tie and against a possible pair."""
    belief = believe(votes, len(classes), params)
    posterior, given = belief.posterior, votes.given
    most = posterior.max(axis=1)
    best = np.where(posterior[np.arange(len(given)), given] == most, given, posterior.argmax(axis=1))
    settled = votes.gold != MISSING
    held = np.zeros(len(given), dtype=bool)
    if belief.few is not None:
        crowds: tuple[Crowd, ...] = belief.few.crowds
        held = (best != given) & ~settled & ~supported(votes, crowds, best)
        held &= not belief.few.one_by_one

    def reason(i: int) -> str:
        old, new = classes[given[i]], classes[best[i]]
        if (votes.matrix[i, 1:] == MISSING).all():
            return f"{old} as given: no other family voted"
        if held[i]:
            return (
                f"{old} as given, although {new} has posterior {most[i]:.2f}: who says so may be copies of one source"
            )
        if best[i] == given[i]:
            return f"{old} as given: it has posterior {most[i]:.2f}"
        return f"{old} changed to {new}: it has posterior {most[i]:.2f}"

    return Refined(np.where(held, given, best), posterior, tuple(reason(i) for i in range(len(given))))
