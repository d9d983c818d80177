"""Few families: what can be said where dependence can't be tested, below four families.

From two families nobody can tell how often each is right: the votes give one number, how often they agree. From three
families one can, but only if they err independently, and that can't be tested: two that copy each other look like two
that are nearly always right (dependence.py). So nothing is estimated by EM here. The given label is the anchor:

    a_given   GIVEN_RIGHT, which is an assumption. Where a crowd votes and there are three families, it is the mean of
              that and of what their agreement says if they are independent,
              e_given^2 = e(given, s) e(given, t) / e(s, t) with e = (agreement - 1 / C) / (1 - 1 / C)
    others    measured beside the given label (crowd.py); a family with one vote per clip is not believed to be better
              than that label
    a pair    two other families without raters of their own may be copies: each vote counts half
    doubt     a crowd and the given label may err on the same clips: the posteriors are tempered by UNTESTED

A crowd whose raters are known one by one may also be a set of voters without a family (hierarchical.py). The held-out
votes of its raters decide which of the two it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.ambiguity import ambiguous_posterior
from mer_pipeline.labels.crowd import Crowd, held_out_raters, weigh_crowd
from mer_pipeline.labels.em import TINY, smoothed_prior, softmax
from mer_pipeline.labels.hierarchical import hierarchical
from mer_pipeline.labels.votes import MISSING, Votes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

IDENTIFIABLE = 3  # the fewest independent families whose accuracies the votes tell
TESTABLE = 4  # the fewest families whose dependence can be tested
GIVEN_RIGHT = 0.8  # the accuracy of the given labels, where nothing can tell it; people's labels are about so good
BOUNDS = (0.5, 0.95)  # of what agreement says about the given labels
ENOUGH = 2.0  # how many independent raters make a crowd: its raters vouch for each other
HALF = 0.5
UNTESTED = 1.25  # evidence of two sources whose errors have the correlation .25 is worth 1 / 1.25 of what it seems


@dataclass(frozen=True)
class Few:
    """What few families say.

    Attributes:
        blind: float64 (n, C), the posterior, of clips with a gold label too.
        crowds: what each other family says, in the order of `votes.families` without the first.
        given_right: the accuracy of the given labels that was assumed or found.
        one_by_one: whether the raters of the crowd are taken for voters without a family.
    """

    blind: Floats
    crowds: tuple[Crowd, ...]
    given_right: float
    one_by_one: bool


def voting(votes: Votes) -> int:
    """Return the number of families that vote on any clip."""
    return int((votes.matrix != MISSING).any(axis=0).sum())


def believe_few(votes: Votes, classes: int) -> Few:
    """Return the posterior by at most three families, of which that of the given label is the first."""
    counts = [votes.counts(w) for w in range(1, len(votes.families))]
    counts = [each for each in counts if each.any()]
    prior = smoothed_prior(np.bincount(votes.given, minlength=classes).astype(np.float64))
    vouched = [is_crowd(each) for each in counts]
    right = _given_right(votes.given, counts, classes) if any(vouched) and len(counts) > 1 else GIVEN_RIGHT
    likelihood = np.where(np.eye(classes, dtype=bool)[votes.given], right, (1 - right) / (classes - 1))
    log_given = np.log(likelihood)
    anchor = softmax(log_given)
    crowds = tuple(
        weigh_crowd(each, anchor, most=1.0 if crowd else right) for each, crowd in zip(counts, vouched, strict=True)
    )
    copies = len(crowds) > 1 and not any(vouched)
    evidence = [log_given, *((HALF if copies else 1.0) * crowd.log for crowd in crowds)]
    posterior = ambiguous_posterior(evidence, prior)
    if any(vouched):
        posterior = softmax(np.log(np.maximum(posterior, TINY)) / UNTESTED)
    raters = votes.raters[1] if len(crowds) == 1 and len(votes.raters) > 1 else None
    if raters is not None:
        alone = hierarchical(np.column_stack([votes.given, raters]), classes, votes.gold)
        if alone.held_out_votes(range(1, raters.shape[1] + 1)) > held_out_raters(
            counts[0], crowds[0], np.log(prior) + log_given
        ):
            return Few(alone.blind, crowds, right, one_by_one=True)
    return Few(posterior, crowds, right, one_by_one=False)


def is_crowd(counts: Floats) -> bool:
    """Whether several raters of this family vote on a clip, in the mean over the clips that it votes on."""
    raters = counts.sum(axis=1)
    return bool(raters.sum() >= ENOUGH * (raters > 0).sum() and raters.any())


def _given_right(given: Ints, counts: list[Floats], classes: int) -> float:
    """Return the mean of GIVEN_RIGHT and of what the agreement of three families says."""
    named = [np.eye(classes)[given], *counts[:2]]
    shares = [each / np.maximum(each.sum(axis=1, keepdims=True), 1) for each in named]

    def beyond_chance(s: int, t: int) -> float:
        both = shares[s].any(axis=1) & shares[t].any(axis=1)
        agreement = np.sort((shares[s] * shares[t]).sum(axis=1)[both])
        mean = float(agreement.sum()) / max(int(both.sum()), 1)
        return max((mean - 1 / classes) / (1 - 1 / classes), 1e-3)

    squared = beyond_chance(0, 1) * beyond_chance(0, 2) / beyond_chance(1, 2)
    found = float(np.clip(1 / classes + np.sqrt(squared) * (1 - 1 / classes), *BOUNDS))
    return (GIVEN_RIGHT + found) / 2


def supported(votes: Votes, crowds: tuple[Crowd, ...], label: Ints) -> NDArray[np.bool_]:
    """Whether a crowd that is worth ENOUGH independent raters on the clip names this label, bool (n,)."""
    found = np.zeros(len(label), dtype=bool)
    every = [votes.counts(w) for w in range(1, len(votes.families))]
    for counts, crowd in zip([each for each in every if each.any()], crowds, strict=True):
        most = counts.max(axis=1) == counts[np.arange(len(label)), label]
        found |= most & (crowd.worth >= ENOUGH)
    return found
