"""`data/labels.parquet`: every label with its evidence, refined once for good and once without each fold.

    held_out_fold = -1   all votes: what a person reads
    held_out_fold =  f   without any vote on fold f's clips: what the head that is scored on fold f trains on

Otherwise a scored clip's own votes would shape the sources' confusions, and through them its head's labels. For the
same reason a judge that learnt from given labels has other votes for each held-out fold (`judges.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mer_pipeline.labels.fusion import fuse
from mer_pipeline.labels.judges import FINAL, serving, with_judges
from mer_pipeline.labels.votes import MISSING, Votes, read_votes
from mer_pipeline.params import JudgeParams, LabelParams
from mer_pipeline.store.shards import write_table


class Family(TypedDict):
    """A family of sources and how many clips it votes on."""

    sources: list[str]
    votes: int


class Coverage(TypedDict):
    """On how many labelled clips a judge votes, and on how many it does not."""

    votes: int
    abstentions: int


class Pair(TypedDict):
    """Agreement of two families on the n clips that both vote on; null where it is not defined."""

    a: str
    b: str
    n: int
    agreement: float | None
    kappa: float | None


class Agreement(TypedDict):
    """metrics/labels.json."""

    method: str
    labelled: int
    changed: int
    changed_by_class: dict[str, int]  # by given class
    given_by_class: dict[str, int]
    families: dict[str, Family]
    judges: dict[str, Coverage]
    pairs: list[Pair]


@dataclass(frozen=True)
class LabelPaths:
    """Where the labels stage reads and writes."""

    votes: Path  # folder: given.parquet (VOTES_SCHEMA) and a folder per judge
    folds: Path  # clip_id, fold
    labels: Path
    metrics: Path


def label_schema(classes: int) -> pa.Schema:
    """The schema of data/labels.parquet for so many classes."""
    return pa.schema(
        [
            pa.field("clip_id", pa.string(), nullable=False),
            pa.field("held_out_fold", pa.int32(), nullable=False),
            pa.field("given", pa.string(), nullable=False),
            pa.field("label", pa.string(), nullable=False),
            pa.field("posterior", pa.list_(pa.float32(), classes), nullable=False),
            pa.field("changed", pa.bool_(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("votes", pa.string(), nullable=False),
        ]
    )


def write_labels(
    classes: tuple[str, ...], judges: Mapping[str, JudgeParams], params: LabelParams, paths: LabelPaths
) -> Agreement:
    """The labels stage: read votes and folds, write data/labels.parquet and metrics/labels.json.

    Raises:
        DatasetError: a vote is not what `read_votes` takes.
        ParamsError, StageError: a judge's votes are not what `with_judges` takes.
    """
    given, folds = pq.read_table(paths.votes / "given.parquet"), pq.read_table(paths.folds)
    votes = with_judges(given, paths.votes, judges, folds)
    labels = refine(votes, folds, classes, params)
    agreement = agree(votes, labels, classes, params, judges)
    write_table(paths.labels, labels, {"stage": "labels", "params": params.model_dump_json()})
    paths.metrics.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(agreement, indent=2, sort_keys=True, ensure_ascii=False)
    paths.metrics.write_text(text + "\n", encoding="utf-8")
    return agreement


def refine(votes: pa.Table, folds: pa.Table, classes: tuple[str, ...], params: LabelParams) -> pa.Table:
    """The rows of data/labels.parquet, sorted by held_out_fold and clip.

    Args:
        votes: VOTES_SCHEMA, and HELD_OUT where a vote does not serve every fold.
        folds: clip_id, fold (int32): the labelled training clips.
        classes: in order.
        params: how.

    Raises:
        DatasetError: a vote is not what `read_votes` takes.
    """
    fold_of = dict(zip(folds["clip_id"].to_pylist(), folds["fold"].to_pylist(), strict=True))
    schema = label_schema(len(classes))
    parts = []
    for f in [FINAL, *sorted(set(fold_of.values()))]:
        seen = [clip_id for clip_id, fold in fold_of.items() if fold != f]
        parts.append(_table(f, read_votes(serving(votes, f), seen, classes), classes, params, schema))
    return pa.concat_tables(parts).combine_chunks()


def _table(held_out: int, votes: Votes, classes: tuple[str, ...], params: LabelParams, schema: pa.Schema) -> pa.Table:
    fused = fuse(votes, classes, params)
    posterior = pa.array(fused.posterior.astype(np.float32).ravel(), pa.float32())
    columns = [
        pa.array(votes.clip_ids, pa.string()),
        pa.array(np.full(len(votes.given), held_out), pa.int32()),
        pa.array([classes[c] for c in votes.given], pa.string()),
        pa.array([classes[c] for c in fused.label], pa.string()),
        pa.FixedSizeListArray.from_arrays(posterior, len(classes)),
        pa.array(fused.label != votes.given, pa.bool_()),
        pa.array(fused.reason, pa.string()),
        pa.array(votes.spoken, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def agree(
    votes: pa.Table, labels: pa.Table, classes: tuple[str, ...], params: LabelParams, judges: Iterable[str] = ()
) -> Agreement:
    """How far the families agree with each other, and what refining changed; floats to 6 digits.

    `votes` and `labels` are what `refine` took and gave; `judges` are the sources whose coverage is counted.
    """
    final = labels.filter(pc.equal(labels["held_out_fold"], FINAL))
    votes = serving(votes, FINAL)
    votes = votes.filter(pc.is_in(votes["clip_id"], value_set=final["clip_id"].combine_chunks()))
    voted = Counter(votes["source"].to_pylist())
    read = read_votes(votes, final["clip_id"].to_pylist(), classes)
    given = final["given"].to_pylist()
    changed = [label for label, moved in zip(given, final["changed"].to_pylist(), strict=True) if moved]
    return {
        "method": params.method,
        "labelled": len(given),
        "changed": len(changed),
        "changed_by_class": {label: changed.count(label) for label in classes},
        "given_by_class": {label: given.count(label) for label in classes},
        "families": {
            name: {"sources": list(sources), "votes": int((column != MISSING).sum())}
            for name, sources, column in zip(read.families, read.sources, read.matrix.T, strict=True)
        },
        "judges": {name: {"votes": voted[name], "abstentions": len(given) - voted[name]} for name in judges},
        "pairs": [
            _pair(read.families[i], read.families[j], read.matrix[:, i], read.matrix[:, j], classes)
            for i, j in combinations(range(len(read.families)), 2)
        ],
    }


def _pair(a: str, b: str, x: NDArray[np.int64], y: NDArray[np.int64], classes: Sequence[str]) -> Pair:
    """Observed agreement p_o and Cohen's kappa (p_o - p_e) / (1 - p_e), p_e from the two families' marginals."""
    both = (x != MISSING) & (y != MISSING)
    n = int(both.sum())
    if not n:
        return {"a": a, "b": b, "n": 0, "agreement": None, "kappa": None}
    x, y, count = x[both], y[both], len(classes)
    observed = float((x == y).mean())
    chance = float((np.bincount(x, minlength=count) / n) @ (np.bincount(y, minlength=count) / n))
    kappa = None if chance == 1 else round((observed - chance) / (1 - chance), 6)
    return {"a": a, "b": b, "n": n, "agreement": round(observed, 6), "kappa": kappa}
