"""The pseudo stage: rounds of training a head and letting it label, with others, the clips that nobody labelled.

For every held-out fold f, and for FINAL, by itself:

    round 1   heads as if fold f did not exist (nested.py), on the labels that were refined without it
              rule (labels/pseudo.py) ─► labels for the pool
    round r   the same heads with the last round's pseudo-labels, and the rule anew on the whole pool
              until nothing changes, or `pseudo.rounds`

Inside a round the head without folds f and g learns from pseudo-labels of its own: those that it gave itself, by a
rule that was measured on clips outside f and g. Were it given those of all the heads, which know g's labels, the
probabilities on g's clips would be out of fold in name only, and every later threshold too low.

A clip of the pool whose group fold f has is not taken where f is held out: folds keep groups apart, and so does this.
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
from mer_pipeline.training.cross_validation import Labels, seeds_of, without
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.nested import Blind, ask_blind
from mer_pipeline.training.pseudo_inputs import PseudoInputs, check_families, read_pseudo_inputs, why_nothing
from mer_pipeline.training.task import Task


@dataclass(frozen=True)
class Means:
    """How: the stage's params, what its head learns, and what trains or remembers it."""

    params: PseudoParams
    task: Task
    join: bool  # dependent families count as one
    cache: HeadCache
    tick: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Outcome:
    """What came out for one held-out fold: the table's part and the summary's."""

    decided: Decided
    rounds: list[PseudoRound]
    held_out: HeldOutFold


@dataclass(frozen=True)
class Others:
    """Who must agree with the head.

    Attributes:
        judges: by name.
        join: families that agree more than their accuracy explains count as one (`labels.join_dependent`).
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
    """Run the stage; returns one line that says what came out.

    Args:
        params: how strict, and how often.
        task: what the head learns, from which encoders, and how.
        others: who must agree with it.
        project: where tables lie.
        cache: trains the head, or remembers it.
        progress: told after every member.

    Raises:
        ParamsError: there are too few families that could agree.
        StageError: a table is missing or does not fit another.
        DatasetError: a vote is not what `read_votes` takes.
    """
    classes, inputs = task.classes, read_pseudo_inputs(params, task, others.judges, project)
    why = why_nothing(inputs)
    if why is not None:
        write_pseudo(project.pseudo, (), (), classes)
        nothing(params, why, len(inputs.pool_ids), len(inputs.labels.clip_ids)).write(project.metrics("pseudo"))
        return f"pseudo: nothing is taken: {why}"
    check_families(inputs, params)
    held_out = [FINAL, *range(inputs.labels.folds)]
    members = inputs.labels.folds**2 * len(seeds_of(params.head, task.train))  # of one round
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
    """All rounds of one held-out fold; nothing in it depends on that fold's labels, or on another held-out fold."""
    params, classes = means.params, means.task.classes
    rows, labels = without(inputs.labels, held_out)
    features, fold = inputs.features.take(rows), labels.fold
    said = {source: column[rows] for source, column in inputs.said.items()}
    away = inputs.groups[inputs.labels.fold == held_out]  # FINAL is no fold
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
        if (again == inner).all():  # the next round would be this one
            break
        inner = again
    return Outcome(decided, told, _held_out(decided, told, corroborating, means))


def _train(features: Features, labels: Labels, inner: Indices, inputs: PseudoInputs, means: Means) -> Blind:
    """Cross-validate, each member with the pseudo-labels of its own fold."""
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
    """int64 (k', m): what the head without fold g learns from in the next round, at [g]."""
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
