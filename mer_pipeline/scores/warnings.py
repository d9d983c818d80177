"""Warnings about scores: what a careful reviewer of the labels, folds, features and scores would ask about.

Each warning is one plain sentence with figures. The stages `train` and `predict` keep them in their metric files, and
print them; `mer summary` and the report show them. An empty list means that nothing here was found, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

import numpy as np

from mer_pipeline.base.modalities import Features, Indices
from mer_pipeline.metrics.scores import Baselines, GroupedScore, Interval
from mer_pipeline.scores.baselines import best_blind, shares
from mer_pipeline.scores.near_copies import near_copies

RARE = 5  # a class with fewer labelled clips than this is called rare
PURE = 0.9  # the share of the clips in groups of one class only from which on label and group are called the same
BY_CHANCE = 0.5  # unless so many would be in such groups if labels had nothing to do with groups
FAR, ERRORS = 0.1, 2.0  # cross-validation is far above a test by at least FAR and by ERRORS standard errors
SPAN = 2 * 1.96  # standard errors in a 95 % interval


def about_labels(given: Indices, groups: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return warnings about the labelled clips: speakers that are not known or the same, and rare classes.

    Args:
        given: int64 (n,), the given labels.
        groups: the group of each clip.
        classes: the classes, in order.

    Example:
        >>> about_labels(np.array([0] * 6 + [1] * 2), ["anna"] * 8, ["calm", "sad"])[1]
        "the class 'sad' has 2 labelled clips: its scores are chance"
    """
    found, (names, of) = [], np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(given) and len(names) == 1:
        found.append("all labelled clips are of one speaker: no score says anything about other speakers")
    elif len(names) == len(given) > 1:
        found.append(
            "no two labelled clips are known to be of one speaker: if speakers recur, scores are too good; give the "
            "speaker of each clip"
        )
    elif (pure := _pure(given, of, len(classes))) is not None:
        found.append(
            f"{100 * pure:.0f} % of the labelled clips are of speakers with clips of one class only: a head that knows "
            "the speaker knows the label, so no score tells emotion from speaker"
        )
    for name, count in zip(classes, np.bincount(given, minlength=len(classes)).tolist(), strict=True):
        if 0 < count < RARE:
            clips = "clip" if count == 1 else "clips"
            found.append(f"the class '{name}' has {count} labelled {clips}: its scores are chance")
    return found


def _pure(given: Indices, of: Indices, classes: int) -> float | None:
    """Return the share of the clips that are in groups of one class only, or None if there is nothing to suspect.

    Groups of one clip are left out. A share is not suspect below PURE, or where random labels would give about as much.
    """
    counts = np.zeros((int(of.max(initial=-1)) + 1, classes))
    np.add.at(counts, (of, given), 1)
    counts = counts[counts.sum(axis=1) > 1]
    size, pure = counts.sum(axis=1), counts.max(axis=1, initial=0) == counts.sum(axis=1)
    if len(counts) < 2 or (counts.sum(axis=0) > 0).sum() < 2:
        return None
    share, p = float(size[pure].sum() / size.sum()), shares(given, classes).astype(np.float64)
    expected = float((size * (p ** size[:, None]).sum(axis=1)).sum() / size.sum())
    return share if share >= PURE and expected < BY_CHANCE else None


def about_copies(features: Features, part: Indices, clip_ids: Sequence[str], where: str) -> list[str]:
    """Return a warning if clips in different parts have nearly equal features in all modalities (near_copies.py).

    Args:
        features: the features of n clips, not standardised.
        part: int64 (n,), the part of each clip.
        clip_ids: the ids of the clips.
        where: where a clip of another part is, such as "in another fold".
    """
    pairs = near_copies(features, part)
    if not pairs:
        return []
    count, (i, j) = len({clip for pair in pairs for clip in pair}), pairs[0]
    return [
        f"{count} clips have nearly the same features as a clip {where}, such as '{clip_ids[i]}' and '{clip_ids[j]}': "
        "a head is scored on what it has learnt by heart; give copies of a clip one group, or take them out"
    ]


def about_score(score: GroupedScore, blind: Baselines, what: str) -> list[str]:
    """Return a warning if a score is not above what is had without looking at a clip.

    Args:
        score: the score.
        blind: the baselines on the same clips.
        what: what the score is, such as "cross-validation of ecmf".
    """
    if score.interval.low > best_blind(blind):
        return []
    return [
        f"the weighted F1 of {what}, {score.weighted_f1:.3f} {_shown(score.interval)}, is not told from "
        f"{best_blind(blind):.3f}, which is had without looking at a clip"
    ]


def about_test(cross_validated: GroupedScore, test: GroupedScore) -> list[str]:
    """Return a warning if a head's cross-validation is far above its score on a test with known true labels."""
    gap = cross_validated.weighted_f1 - test.weighted_f1
    error = hypot(*((one.interval.high - one.interval.low) / SPAN for one in (cross_validated, test)))
    if gap < FAR or gap < ERRORS * error:
        return []
    return [
        f"the weighted F1 is {cross_validated.weighted_f1:.3f} in cross-validation and {test.weighted_f1:.3f} on the "
        "test: features that have seen the labels, or copies and speakers in several folds, would do that; believe the "
        "test"
    ]


def with_warnings(line: str, warnings: Sequence[str]) -> str:
    """Return the line that a stage prints, followed by a line for each warning."""
    return "\n".join([line, *(f"warning: {one}" for one in warnings)])


def _shown(interval: Interval) -> str:
    return f"[{interval.low:.3f}, {interval.high:.3f}]"
