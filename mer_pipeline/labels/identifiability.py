"""Say what the votes can't tell, because there are too few families or a crowd is given as one vote."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.base.clips import GIVEN
from mer_pipeline.labels.crowd import weigh_crowd
from mer_pipeline.labels.few import GIVEN_RIGHT, TESTABLE, is_crowd, voting
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.votes import MISSING, Votes
from mer_pipeline.metrics.labels import CrowdFigures


def measured_crowds(votes: Votes, classes: int) -> dict[str, CrowdFigures]:
    """Return each crowd's own reliability, measured beside the given labels alone, by the name of its family."""
    given = np.where(np.eye(classes, dtype=bool)[votes.given], GIVEN_RIGHT, (1 - GIVEN_RIGHT) / (classes - 1))
    found = {}
    for w, name in enumerate(votes.families):
        counts = votes.counts(w)
        if GIVEN not in votes.sources[w] and is_crowd(counts):
            crowd = weigh_crowd(counts, given)
            voted = counts.any(axis=1)
            found[name] = CrowdFigures(
                raters=_mean(counts.sum(axis=1)[voted]),
                accuracy=round(crowd.accuracy, 4),
                correlation=round(crowd.correlation, 4),
                worth=_mean(crowd.worth[voted]),
            )
    return found


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(np.sort(values).mean()), 4)


def cannot_tell(votes: Votes, params: LabelParams, crowds: dict[str, CrowdFigures]) -> tuple[str, ...]:
    """Return a sentence, without its stop, about each thing that these votes can't tell."""
    count, said = voting(votes), []
    others = [
        name
        for w, name in enumerate(votes.families)
        if GIVEN not in votes.sources[w] and (votes.matrix[:, w] != MISSING).any()
    ]
    if not others:
        return ()
    if count < TESTABLE and not (params.independent and count == TESTABLE - 1):
        said.append(
            f"with {count} families nobody can tell whether families that agree are right or copies of each other "
            "(that takes four): accuracies have no interval, and the method 'consensus' changes a label only where a "
            "crowd says so. If three families are known to err independently, set labels.independent: true"
        )
    for name, of in crowds.items():
        said.append(
            f"the crowd '{name}' has {of.raters:.1f} raters a clip. If {GIVEN_RIGHT:.0%} of given labels are right, "
            f"one rater is right in {of.accuracy:.0%}, and together they are worth {of.worth:.1f} independent raters"
        )
    alone = [name for name in others if name not in crowds]
    if params.method == "human-anchored" and len(others) == 1 < params.min_families:
        said.append(
            f"no label can change: labels.min_families is {params.min_families}, and beside that of the given labels "
            f"there is only the family '{others[0]}'"
        )
    if count < TESTABLE and len(alone) == 1 and not crowds:
        said.append(
            f"the family '{alone[0]}' has one vote a clip and can change no label alone. If it is a crowd, give its "
            "raters' votes: a row for each in dataset.votes with the column 'worker', or the number of raters for each "
            "label with the column 'count', or a judge 'csv' with counts for each class"
        )
    return tuple(said)
