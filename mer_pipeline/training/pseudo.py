"""The stage `pseudo`: train a head and let it label, with corroborating families, the clips of the pool, in rounds.

It does the following for every held-out fold f and for FINAL, independently of each other:

    round 1   Train heads as if fold f did not exist (nested.py), on the labels that were refined without it. Apply the
              rule (labels/pseudo.py), which gives pseudo-labels for the pool.
    round r   Train the same heads with the pseudo-labels of the round before, and apply the rule again to the whole
              pool. Stop when nothing changes, or after `pseudo.rounds` rounds.

Inside a round, the head without folds f and g learns only from pseudo-labels that it gave itself, by a rule that was
measured on clips outside f and g. The pseudo-labels of all heads together depend on the labels of fold g. With those,
the probabilities of the clips of fold g would no longer be out of fold, and all later thresholds would be too low.

Where fold f is held out, no clip of the pool is taken whose group is in fold f, because folds keep groups apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mer_pipeline.base.modalities import Features, Indices, Mask
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import Project
from mer_pipeline.judges.judge import JudgeParams
from mer_pipeline.labels.corroboration import CorroboratingFamilies, find_corroborating
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.pseudo import Opinions, PseudoParams, checked, rules, select
from mer_pipeline.labels.pseudo_summary import (
    by_class,
    nothing,
    of_round,
    shares,
)
from mer_pipeline.labels.pseudo_table import Decided, write_pseudo
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.metrics.pseudo import HeldOutFold, PseudoMetrics, PseudoRound
from mer_pipeline.training.cross_validation import Labels, per_fold, without
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.nested import Blind, ask_blind
from mer_pipeline.training.pseudo_inputs import PseudoInputs, check_families, read_pseudo_inputs, why_nothing
from mer_pipeline.training.task import Task


@dataclass(frozen=True)
class Means:
    """The settings of a run that all held-out folds share.

    Attributes:
        params: the settings of the stage.
        task: the classes, encoders and settings of training.
        join: whether dependent families count as one.
        cache: the head cache, which trains heads or finds them in the store.
        tick: called after each member.
    """

    params: PseudoParams
    task: Task
    join: bool
    cache: HeadCache
    tick: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Outcome:
    """The result for one held-out fold: its part of the table, its rounds and its part of the metric file."""

    decided: Decided
    rounds: list[PseudoRound]
    held_out: HeldOutFold


@dataclass(frozen=True)
class Others:
    """The sources that must agree with the head, besides those of the dataset.

    Attributes:
        judges: the judges by name.
        join: whether dependent families count as one (`labels.join_dependent`).
    """

    judges: Mapping[str, JudgeParams]
    join: bool = True


def pseudo(
    params: PseudoParams,
    task: Task,
    others: Others,
    project: Project,
    cache: HeadCache,
    progress: Progress = quiet,
) -> str:
    """Run the stage, and return one line that sums up the result.

    Args:
        params: the settings of the stage.
        task: the classes, encoders and settings of training of the head.
        others: the sources that must agree with the head.
        project: the paths of the tables.
        cache: the head cache, which trains heads or finds them in the store.
        progress: called after every member.

    Raises:
        ParamsError: there are too few families that could agree.
        StageError: a table is missing or does not fit another.
        DatasetError: `read_votes` does not accept a vote.
    """
    classes, inputs = task.classes, read_pseudo_inputs(params, task, others.judges, project)
    why = why_nothing(inputs)
    if why is not None:
        write_pseudo(project.pseudo, (), (), classes)
        nothing(params, why, len(inputs.pool_ids), len(inputs.labels.clip_ids)).write(project.metrics("pseudo"))
        return f"pseudo: nothing is taken: {why}"
    check_families(inputs, params)
    held_out = [FINAL, *range(inputs.labels.folds)]
    members = inputs.labels.folds**2 * per_fold(params.head, task.train)  # of one round
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, members * params.rounds)

    with fixed_threads():
        means = Means(params, task, others.join, cache, tick)
        outcomes = [decide(f, inputs, means) for f in held_out]
    progress(members * params.rounds, members * params.rounds)
    write_pseudo(project.pseudo, inputs.pool_ids, [one.decided for one in outcomes], classes)
    final = outcomes[0]
    label = final.decided.selection.label
    metrics = PseudoMetrics(
        asked=params.model_dump(mode="json"),
        pool=len(inputs.pool_ids),
        labelled=len(inputs.labels.clip_ids),
        empty=None,
        rounds=tuple(final.rounds),
        held_out={str(f): one.held_out for f, one in zip(held_out, outcomes, strict=True)},
        shares=shares(inputs.labels.final, label, len(classes)),
    )
    metrics.write(project.metrics("pseudo"))
    taken = int((label != MISSING).sum())
    return f"pseudo: {taken} of {len(inputs.pool_ids)} clips without a label are taken after {len(final.rounds)} rounds"


def decide(held_out: int, inputs: PseudoInputs, means: Means) -> Outcome:
    """Run all rounds of one held-out fold, independently of its labels and of the other held-out folds."""
    params, classes = means.params, means.task.classes
    rows, labels = without(inputs.labels, held_out)
    features, fold = inputs.features.take(rows), labels.fold
    said = {source: column[rows] for source, column in inputs.said.items()}
    away = inputs.groups[inputs.labels.fold == held_out]  # empty for FINAL, which is no fold
    barred: Mask = np.isin(inputs.pool_groups, away)
    each_barred = [barred | np.isin(inputs.pool_groups, inputs.groups[rows[fold == g]]) for g in range(labels.folds)]

    told: list[PseudoRound] = []
    inner = np.full((labels.folds, len(inputs.pool_ids)), MISSING, dtype=np.int64)
    before, since = np.full((2, len(inputs.pool_ids)), MISSING, dtype=np.int64)
    for number in range(1, params.rounds + 1):
        blind = _train(features, labels, inner, inputs, means)
        known = Opinions(blind.labelled, blind.heard, np.zeros((len(rows), 0), dtype=np.int64))
        corroborating = find_corroborating(inputs.votes, labels.clip_ids, known.leader, classes, join=means.join)
        known = replace(known, families=corroborating.vote(said, len(classes)))
        heard = np.asarray(blind.others_heard.all(axis=0))
        pool = Opinions(blind.others.mean(axis=0), heard, corroborating.vote(inputs.pool_said, len(classes)))
        of_class = rules(known, corroborating.answer, labels.final, params)
        selection = select(pool, inputs.pool_ids, barred, of_class, params)
        tried = checked(known, corroborating.answer, labels.final, fold, params)
        told.append(of_round(number, before, selection, of_class, tried, classes, params))
        since = np.where(selection.label == MISSING, MISSING, np.where(selection.label == before, since, number))
        before = selection.label
        decided = Decided(held_out, pool, corroborating.names, of_class, selection, since)
        if number == params.rounds:
            break
        again = _inner(blind, known, corroborating, pool, labels, each_barred, inputs, means)
        if (again == inner).all():  # the next round would give the same result
            break
        inner = again
    return Outcome(decided, told, _held_out(decided, told, corroborating, means))


def _train(features: Features, labels: Labels, inner: Indices, inputs: PseudoInputs, means: Means) -> Blind:
    """Cross-validate the head, where each member learns from the pseudo-labels made without its fold."""
    taken = np.flatnonzero((inner != MISSING).any(axis=0))
    names = tuple(inputs.pool_ids[i] for i in taken)
    labels = replace(labels, pseudo_ids=names, pseudo=inner[:, taken])
    added = inputs.pool.take(taken)
    x = tuple(np.concatenate(pair) for pair in zip(features.x, added.x, strict=True))
    whole = Features(features.names, x, np.concatenate([features.mask, added.mask]))
    task = means.task
    return ask_blind(
        means.params.head, whole, labels, inputs.pool, len(task.classes), task.train, means.cache, means.tick
    )


def _inner(
    blind: Blind,
    known: Opinions,
    corroborating: CorroboratingFamilies,
    pool: Opinions,
    labels: Labels,
    barred: Sequence[Mask],
    inputs: PseudoInputs,
    means: Means,
) -> Indices:
    """Return, at [g], the pseudo-labels that the head without fold g learns from in the next round, int64 (k', m)."""
    params = means.params
    found = []
    for g in range(labels.folds):
        left = labels.fold != g
        of_class = rules(known.take(left), corroborating.answer[left], labels.final[left], params)
        own = Opinions(blind.others[g], blind.others_heard[g], pool.families)
        found.append(select(own, inputs.pool_ids, barred[g], of_class, params).label)
    return np.stack(found)


def _held_out(
    decided: Decided, told: Sequence[PseudoRound], corroborating: CorroboratingFamilies, means: Means
) -> HeldOutFold:
    limits, classes = [rule.threshold for rule in decided.rules], means.task.classes
    return HeldOutFold(
        rounds=len(told),
        taken=by_class(decided.selection.label, classes),
        thresholds={name: None if t is None else round(t, 6) for name, t in zip(classes, limits, strict=True)},
        families=tuple(corroborating.names),
        excluded=dict(corroborating.excluded),
    )
