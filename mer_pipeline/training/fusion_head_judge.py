"""The fusion-head judge: a fusion head votes on clips that it has not learnt from, once for every held-out fold.

    held_out_fold = -1   a clip of fold g gets the vote of a head that was trained without fold g
    held_out_fold =  f   a clip of fold g gets the vote of a head that was trained without folds f and g
    other clips          get the mean of all heads of that held-out fold

The labels that train the head of fold f are refined without fold f. A vote by a head that has learnt the labels of
fold f would make the refined labels depend on them after all. So for each f, the dataset is cross-validated as if fold
f did not exist (nested.py). These are k + 1 cross-validations on the *given* labels, with k² members per seed, which
the head cache keeps like all trained heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mer_pipeline.base.clips import Row
from mer_pipeline.base.modalities import Features, Indices, Mask, Matrix
from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import Project
from mer_pipeline.judges.fusion_head import FusionHead, FusionHeadParams
from mer_pipeline.judges.judge import label_of, vote_schema
from mer_pipeline.labels.judges import FINAL, HELD_OUT
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.tables.quarantine import write_problems
from mer_pipeline.tables.rows import complete_row, digest, stage_schema
from mer_pipeline.tables.shards import new_folder, shard_of, write_shard
from mer_pipeline.training.cross_validation import FEWEST_FOLDS, Labels, per_fold, without
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.nested import ask_blind
from mer_pipeline.training.task import Task


@dataclass(frozen=True)
class Dataset:
    """All n clips of a dataset, with the features and labels that a head may learn from.

    Attributes:
        clip_ids: the ids of the clips, sorted.
        features: their features.
        given: int64 (n,), the given labels, MISSING where there is none.
        fold: int64 (n,), the fold of each labelled training clip, MISSING for other clips.
    """

    clip_ids: tuple[str, ...]
    features: Features
    given: Indices
    fold: Indices

    @property
    def held_out(self) -> list[int]:
        """FINAL and all folds, which are held out in turn."""
        return [FINAL, *(f for f in np.unique(self.fold).tolist() if f != MISSING)]

    @property
    def labels(self) -> tuple[Indices, Labels]:
        """The rows of the labelled clips, and their given labels."""
        rows = np.flatnonzero(self.fold != MISSING)
        folds, fold = np.unique(self.fold[rows], return_inverse=True)
        given = self.given[rows]
        seen = np.where(fold == np.arange(len(folds))[:, None], MISSING, given)
        unknown = np.full_like(given, MISSING)
        return rows, Labels(tuple(self.clip_ids[i] for i in rows), fold, given, given, seen, unknown)


@dataclass(frozen=True)
class HeldOutVotes:
    """The votes of heads that have not seen one held-out fold, on the clips outside of it.

    Attributes:
        held_out: the held-out fold, or FINAL.
        scores: float32 (n, C), the probabilities of the heads.
        voted: bool (n,), false where a clip has no modality, and on the held-out fold.
        made_from: the digest of everything that the heads learnt from.
    """

    held_out: int
    scores: Matrix
    voted: Mask
    made_from: str


def own_schema(classes: int) -> pa.Schema:
    """Return the schema of the judge's table.

    The table has one row per clip and held-out fold, except for the clips of fold f where f is held out.
    """
    return stage_schema(vote_schema(classes)).insert(1, pa.field(HELD_OUT, pa.int32(), nullable=False))


def vote_by_head(judge: FusionHead, task: Task, project: Project, cache: HeadCache, progress: Progress = quiet) -> str:
    """Run the judge, and return one line that sums up the result.

    Args:
        judge: the judge.
        task: the classes, encoders and settings of training of its head.
        project: the paths of the tables.
        cache: the head cache, which trains heads or finds them in the store.
        progress: called after every member.

    Raises:
        StageError: a table is missing or does not fit another.
    """
    classes, data = task.classes, read_dataset(task, project)
    labelled = data.fold != MISSING
    why = why_silent(data)
    if why is None:
        with fixed_threads():
            held_out_votes = cast_votes(judge.params, data, task, cache, progress)
    else:
        nothing = np.zeros((len(labelled), len(classes)), np.float32), np.zeros_like(labelled)
        held_out_votes = [HeldOutVotes(held_out, *nothing, digest(why)) for held_out in data.held_out]
    _write(judge, held_out_votes, data, why or "no modality", classes, project)
    if why is not None:
        return f"vote-{judge.name}: no votes: {why}"
    voted = held_out_votes[0].voted.sum()
    return f"vote-{judge.name}: {judge.params.head} votes on {voted} clips, {labelled.sum()} of them labelled"


def read_dataset(task: Task, project: Project) -> Dataset:
    """Read the manifest, the folds and the features.

    Raises:
        StageError: `load_features` can't read a folder of features.
    """
    manifest = pq.read_table(project.manifest, columns=["clip_id", "label"]).sort_by("clip_id")
    clip_ids = manifest["clip_id"].to_pylist()
    index = {label: c for c, label in enumerate(task.classes)}
    dealt = pq.read_table(project.folds)
    fold_of = dict(zip(dealt["clip_id"].to_pylist(), dealt["fold"].to_pylist(), strict=True))
    return Dataset(
        tuple(clip_ids),
        task.load(project, clip_ids),
        np.array([index.get(label, MISSING) for label in manifest["label"].to_pylist()], dtype=np.int64),
        np.array([fold_of.get(clip_id, MISSING) for clip_id in clip_ids], dtype=np.int64),
    )


def why_silent(data: Dataset) -> str | None:
    """Return the reason that the head can't vote at all, or None if it can."""
    if not (data.fold != MISSING).any():
        return "there are no labelled clips"
    if len(np.unique(data.given[data.fold != MISSING])) < 2:
        return "all labelled clips have the same label"
    if len(data.held_out) - 1 < FEWEST_FOLDS:
        return f"there are fewer than {FEWEST_FOLDS} folds: without the held-out one and the clip's own none is left"
    return None


def cast_votes(
    judge: FusionHeadParams, data: Dataset, task: Task, cache: HeadCache, progress: Progress = quiet
) -> list[HeldOutVotes]:
    """Cross-validate with all folds and once without each fold; return the votes in the order of `data.held_out`."""
    params, classes = task.train, len(task.classes)
    done, total = 0, (len(data.held_out) - 1) ** 2 * per_fold(judge.head, params)

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    labelled, labels = data.labels
    others = np.flatnonzero(data.fold == MISSING)
    unseen = data.features.take(others)
    held_out_votes = []
    for at, held_out in enumerate(data.held_out, start=FINAL):  # `at` numbers the folds without gaps, as `labels` does
        left, blind_labels = without(labels, at)
        rows = labelled[left]
        blind = ask_blind(judge.head, data.features.take(rows), blind_labels, unseen, classes, params, cache, tick)
        scores = np.zeros((len(data.fold), classes), dtype=np.float32)
        voted = np.zeros(len(data.fold), dtype=bool)
        scores[rows], voted[rows] = blind.labelled, blind.heard
        scores[others], voted[others] = blind.others.mean(axis=0), blind.others_heard.all(axis=0)
        held_out_votes.append(HeldOutVotes(held_out, scores, voted, blind.made_from))
    return held_out_votes


def _write(
    judge: FusionHead,
    held_out_votes: Sequence[HeldOutVotes],
    data: Dataset,
    silence: str,
    classes: tuple[str, ...],
    project: Project,
) -> None:
    """Write the judge's folder, complete or not at all; `silence` is the reason of the rows without a vote."""
    values, shards = vote_schema(len(classes)), judge.shards.count

    def row(i: int, own: str, held_out_votes: HeldOutVotes) -> Row:
        scores = held_out_votes.scores[i]
        vote = {"scores": scores, "label": label_of(scores, judge.params.min_score, classes)}
        said = vote if held_out_votes.voted[i] else None
        key = digest([held_out_votes.made_from, own])
        whole = complete_row(data.clip_ids[i], key, said, None if said else silence, values)
        return {**whole, HELD_OUT: held_out_votes.held_out}

    clips_of: dict[int, list[int]] = {shard: [] for shard in range(shards)}
    for i, clip_id in enumerate(data.clip_ids):
        clips_of[shard_of(clip_id, shards)].append(i)
    # The family is left out, because it says how a vote counts and not what it is.
    footer = {"transform": f"vote-{judge.name}", "judge": judge.params.model_dump_json(exclude={"family"})}
    write_problems(project.quarantine(f"vote-{judge.name}"), [])
    with new_folder(project.table(f"votes/{judge.name}")) as folder:
        for shard, clips in clips_of.items():
            rows = []
            for i in clips:
                present = zip(data.features.x, data.features.mask[i], strict=True)
                own = digest([x[i] if there else None for x, there in present])
                fold = data.fold[i]
                rows += [row(i, own, b) for b in held_out_votes if fold == MISSING or b.held_out != fold]
            write_shard(folder, shard, rows, own_schema(len(classes)), footer)
