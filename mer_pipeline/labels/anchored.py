"""Human-anchored, the default: the given label stands unless there is reason enough against it.

It changes only where the posterior of a model is sure, enough *independent* families speak for the other label, and no
more than a set fraction of its class has changed. Independence is not taken on trust: families that agree more than
their accuracy explains count as one (dependence.py), or a clique would outvote the person who labelled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.dawid_skene import dawid_skene
from mer_pipeline.labels.dependence import join_dependent
from mer_pipeline.labels.dirichlet_multinomial import MORE_THAN_ONE, dirichlet_multinomial
from mer_pipeline.labels.em import Estimate
from mer_pipeline.labels.one_coin import one_coin
from mer_pipeline.labels.refined import LabelParams, Refined
from mer_pipeline.labels.votes import MISSING, Votes


def estimate(model: str, votes: Votes, classes: int) -> Estimate:
    """The posterior by a model's name.

    "auto" is the Dirichlet-multinomial where some family has more than one vote for a clip, which no other model can
    weigh, and Dawid-Skene where none has.
    """
    if model == "auto":
        several = bool((votes.evidence.sum(axis=2) > MORE_THAN_ONE).any())
        model = "dirichlet-multinomial" if several else "dawid-skene"
    if model == "dirichlet-multinomial":
        return dirichlet_multinomial(votes.evidence, classes, votes.gold)
    return (one_coin if model == "one-coin" else dawid_skene)(votes.matrix, classes, votes.gold)


def human_anchored(votes: Votes, classes: tuple[str, ...], params: LabelParams) -> Refined:
    """Change the given label to the posterior's where it is sure, other families agree, and the cap allows."""
    if params.join_dependent:
        votes, _ = join_dependent(votes, len(classes))
    posterior = estimate(params.model, votes, len(classes)).posterior
    best = posterior.argmax(axis=1)
    sure = posterior.max(axis=1)
    others = votes.matrix[:, 1:]  # the given label's own family is the first
    agree = (others == best[:, None]).sum(axis=1)
    settled = votes.gold != MISSING
    wanted = (best != votes.given) & (sure >= params.min_posterior) & (agree >= params.min_families) & ~settled
    allowed = most_certain(wanted, sure, votes.given, params.max_changed)

    def reason(i: int) -> str:
        old, new, families = classes[votes.given[i]], classes[best[i]], int(agree[i])
        if (others[i] == MISSING).all():
            return f"{old} as given: no other family voted"
        if best[i] == votes.given[i]:
            return f"{old} as given: the votes bear it out (posterior {sure[i]:.2f})"
        said = f"{families} other {'family says' if families == 1 else 'families say'} {new}, posterior {sure[i]:.2f}"
        if allowed[i]:
            return f"{old} changed to {new}: {said}"
        if wanted[i]:
            return f"{old} as given although {said}: no more than {params.max_changed:.0%} of {old} may change"
        return f"{old} as given: {said}; {params.min_families} and {params.min_posterior:g} are needed"

    label = np.where(allowed | settled, best, votes.given)
    return Refined(label, posterior, tuple(reason(i) for i in range(len(label))))


def most_certain(
    wanted: NDArray[np.bool_], sure: NDArray[np.float64], given: NDArray[np.int64], max_changed: float
) -> NDArray[np.bool_]:
    """Of the wanted changes, the most certain ones up to this fraction of each given class (rounded down)."""
    allowed = np.zeros_like(wanted)
    for c in np.unique(given):
        # The whisker: 0.29 * 100 is 28.999999999999996 in floating point.
        cap = int(max_changed * int((given == c).sum()) + 1e-9)
        rows = np.flatnonzero(wanted & (given == c))
        allowed[rows[np.argsort(-sure[rows], kind="stable")][:cap]] = True
    return allowed
