"""The human-anchored method: the given label stays unless strong evidence speaks against it.

A label changes only if three conditions hold: a label model's posterior for another class is high, enough
*independent* families vote for that class, and no more than a set fraction of the given class changes. Independence is
tested, not assumed: families that agree more often than their accuracies explain count as one (dependence.py).
Otherwise several sources that copy each other would outvote the person who gave the label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.labels.consensus import believe
from mer_pipeline.labels.dawid_skene import dawid_skene
from mer_pipeline.labels.dependence import join_dependent
from mer_pipeline.labels.dirichlet_multinomial import dirichlet_multinomial
from mer_pipeline.labels.few import IDENTIFIABLE, voting
from mer_pipeline.labels.one_coin import one_coin
from mer_pipeline.labels.refined import LabelParams, Refined
from mer_pipeline.labels.votes import MISSING, Votes


def posterior_by(model: str, votes: Votes, classes: int, params: LabelParams) -> NDArray[np.float64]:
    """Return the posterior by the label model of this name, float64 (n, C).

    "auto" stands for the posterior of `consensus`. Two families do not tell how often each is right, and EM then takes
    one of the two for the truth. So what two families believe is that of `consensus` with every model.
    """
    if model == "auto" or voting(votes) < IDENTIFIABLE:
        return believe(votes, classes, params).posterior
    if model == "dirichlet-multinomial":
        return dirichlet_multinomial(votes.evidence, classes, votes.gold).posterior
    return (one_coin if model == "one-coin" else dawid_skene)(votes.matrix, classes, votes.gold).posterior


def human_anchored(votes: Votes, classes: tuple[str, ...], params: LabelParams) -> Refined:
    """Change a given label to the class with the highest posterior where all conditions of `params` hold.

    The conditions are `min_posterior`, `min_families` and `max_changed`. The posterior of the result is the model's.
    """
    if params.join_dependent and not params.independent:
        votes, _ = join_dependent(votes, len(classes))
    posterior = posterior_by(params.model, votes, len(classes), params)
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
    """Return which of the wanted changes are allowed: the most certain ones, up to a fraction of each given class.

    Args:
        wanted: bool (n,), the changes that are wanted.
        sure: float64 (n,), how certain each of them is.
        given: int64 (n,), the given labels.
        max_changed: the largest fraction of a given class that may change; the number of clips is rounded down.

    Example:
        Half of three clips may change, which is one clip:

        >>> wanted, sure = np.array([True, True, False]), np.array([0.8, 0.9, 0.99])
        >>> most_certain(wanted, sure, given=np.array([0, 0, 0]), max_changed=0.5).tolist()
        [False, True, False]
    """
    allowed = np.zeros_like(wanted)
    for c in np.unique(given):
        # 1e-9 makes up for rounding: 0.29 * 100 is 28.999999999999996 in floating point.
        cap = int(max_changed * int((given == c).sum()) + 1e-9)
        rows = np.flatnonzero(wanted & (given == c))
        allowed[rows[np.argsort(-sure[rows], kind="stable")][:cap]] = True
    return allowed
