"""Majority vote: the class that most families name; in a tie the given label stays."""

from __future__ import annotations

import numpy as np

from mer_pipeline.labels.em import clamp, vote_shares
from mer_pipeline.labels.refined import Refined
from mer_pipeline.labels.votes import Votes


def majority(votes: Votes, classes: tuple[str, ...]) -> Refined:
    """Label each clip with the class that most families name; its posterior is each class's share of the votes."""
    shares = clamp(vote_shares(votes.matrix, len(classes)), votes.gold)
    clear = (shares == shares.max(axis=1, keepdims=True)).sum(axis=1) == 1
    label = np.where(clear, shares.argmax(axis=1), votes.given)
    reason = tuple(
        f"most families ({share:.0%}) say {classes[c]}" if sure else f"no label has most votes: {classes[c]} as given"
        for c, share, sure in zip(label, shares.max(axis=1), clear, strict=True)
    )
    return Refined(label, shares, reason)
