"""Refinement: estimate one label per clip from all votes, by the method that `labels.method` names.

    given                   no refinement
    majority                the class that most families name
    weighted                the same, but reliable families weigh more
    one-coin                EM with one accuracy per family
    dawid-skene             EM with one confusion matrix per family
    dirichlet-multinomial   EM on the counts or scores behind the votes
    human-anchored          the given label, unless a model's posterior is high for another class and enough independent
                            families vote for it
    consensus               the most probable class by what can be known from these votes (default)

Each method has its own module. EM alone takes agreement for accuracy: if sources copy each other and are not declared
as one family, its labels are worse than the given ones although its posteriors are high (measured: accuracy .755 at a
mean confidence of .962).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mer_pipeline.labels.anchored import human_anchored, posterior_by
from mer_pipeline.labels.consensus import consensus
from mer_pipeline.labels.majority import majority
from mer_pipeline.labels.refined import LabelParams, Refined, most_likely
from mer_pipeline.labels.votes import MISSING, Votes
from mer_pipeline.labels.weighted import weighted


def refine(votes: Votes, classes: tuple[str, ...], params: LabelParams) -> Refined:
    """Return one label per clip by the method of `params`.

    Every method except "given" keeps gold labels. If fewer than two families vote, every other clip keeps its given
    label.
    """
    if params.method == "given":
        return _as_given(votes, classes, "as given: labels.method is 'given'")
    if not len(votes.given):
        return _as_given(votes, classes, "")
    if len(votes.families) < 2:
        refined = _as_given(votes, classes, "as given: there is no vote of another family")
    elif params.method == "majority":
        refined = majority(votes, classes)
    elif params.method == "weighted":
        refined = weighted(votes, classes)
    elif params.method == "human-anchored":
        refined = human_anchored(votes, classes, params)
    elif params.method == "consensus":
        refined = consensus(votes, classes, params)
    else:
        refined = most_likely(posterior_by(params.method, votes, len(classes), params), votes, classes)
    return _with_gold(refined, votes, classes)


def _as_given(votes: Votes, classes: tuple[str, ...], reason: str) -> Refined:
    return Refined(votes.given, np.eye(len(classes))[votes.given], (reason,) * len(votes.given))


def _with_gold(refined: Refined, votes: Votes, classes: tuple[str, ...]) -> Refined:
    """Replace label, posterior and reason by those of the gold label where there is one."""
    settled = votes.gold != MISSING
    label = np.where(settled, votes.gold, refined.label)
    posterior = np.where(settled[:, None], np.eye(len(classes))[votes.gold], refined.posterior)
    reason = tuple(
        f"{classes[c]} is gold" if sure else why for c, sure, why in zip(label, settled, refined.reason, strict=True)
    )
    return replace(refined, label=label, posterior=posterior, reason=reason)
