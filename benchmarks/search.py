"""A search for settings on real features: what it finds, what it would have claimed without nesting, what is true.

    python benchmarks/search.py --features FILE

The table of `heads.py`. Six speakers are labelled, each a fold; the others are new speakers, and nobody learns from
them. All speakers get their turn, six at a time. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import SearchParams, SearchSpace, TrainParams
from mer_pipeline.heads.base import ComputeConfig
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.spec import HeadSpec
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.scores.score import score
from mer_pipeline.training.cross_validation import Labels, Validated, validate
from mer_pipeline.training.member import fixed_threads

import numpy as np
import torch
from heads import Ints, read  # it lies beside this script

HERE = Path(__file__).parent
LABELLED = 6  # speakers
HEAD = "ecmf"
SPACE = SearchSpace(
    lr=(1e-4, 1e-2), weight_decay=(1e-6, 1e-1), dropout=(0.1, 0.6), d=(16, 32), **{"ecmf.modality_dropout": (0.0, 0.4)}
)
PARAMS = TrainParams(d=32, epochs=30, patience=6, seeds=(0,), search=SearchParams(space=SPACE))


@dataclass(frozen=True)
class Turn:
    """One set of six speakers: weighted F1 out of fold, and of single members on new speakers."""

    nested: float
    unnested: float
    default: float
    new_nested: float
    new_unnested: float
    new_default: float
    folds_apart: int  # that chose something else than the un-nested search


def take_turn(features: Features, labels: Labels, speaker: Ints, first: int, classes: int, params: TrainParams) -> Turn:
    """Search on the speakers first .. first + 5."""
    own = (speaker >= first) & (speaker < first + LABELLED)
    rows, others = np.flatnonzero(own), np.flatnonzero(~own)
    fold, given = speaker[rows] - first, labels.given[rows]
    held_out = np.where(fold == np.arange(LABELLED)[:, None], MISSING, given)
    part = Labels(tuple(labels.clip_ids[i] for i in rows), fold, given, given, held_out, given)
    mine, compute = features.take(rows), ComputeConfig(workers=os.cpu_count() or 1)

    def validated(head: HeadSpec, params: TrainParams) -> Validated:
        with fixed_threads():
            return validate(head, mine, part, classes, params, compute=compute)

    def out_of_fold(one: Validated) -> float:
        return score(given, list(one.probabilities)).weighted_f1

    def new(one: Validated) -> float:
        """Mean over members, each of which learnt from as many speakers as one that is scored out of fold."""
        unseen, true = features.take(others), labels.given[others]
        said = [each.member.predict(unseen).probabilities.argmax(axis=1) for each in one.members]
        return float(np.mean([Confusion.of(true, predicted, classes).weighted_f1 for predicted in said]))

    head, still = head_of(HEAD, params), params.as_they_stand
    found = validated(head, params)
    assert found.searches is not None
    *own, plain = found.searches
    default, unnested = validated(head, still), validated(plain.apply(head), still)
    return Turn(
        out_of_fold(found), out_of_fold(unnested), out_of_fold(default), new(found), new(unnested), new(default),
        sum(one.chosen != plain.chosen for one in own),
    )  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--out", type=Path, default=HERE / "search.md")
    args = parser.parse_args()
    features, labels, speaker, classes = read(args.features)
    params = PARAMS.model_copy(update={"search": PARAMS.search.model_copy(update={"trials": args.trials})})
    turns, started = [], time.perf_counter()
    for at in range(args.turns):
        turns.append(take_turn(features, labels, speaker, at * LABELLED, classes, params))
        print(turns[-1], round(time.perf_counter() - started), "s", flush=True)
    page = write(args, params, turns, time.perf_counter() - started, labels, classes)
    args.out.write_text(page, encoding="utf-8")
    print(page)


def write(
    args: argparse.Namespace, params: TrainParams, turns: Sequence[Turn], seconds: float, labels: Labels, classes: int
) -> str:
    """The page."""
    space = ", ".join(f"{name} {list(entry)}" for name, entry in params.search.space.entries.items())
    members = params.search.trials * LABELLED**2 + LABELLED
    rows = [
        f"| {at * LABELLED + 1}–{(at + 1) * LABELLED} | {t.default:.3f} | {t.nested:.3f} | {t.unnested:.3f} "
        f"| {t.unnested - t.nested:+.3f} | {t.new_default:.3f} | {t.new_nested:.3f} | {t.new_unnested:.3f} "
        f"| {t.folds_apart} |"
        for at, t in enumerate(turns)
    ]

    def over_turns(values: Sequence[float]) -> str:
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
        return f"{np.mean(values):+.3f} ± {error:.3f}"

    findings = [
        ("optimism: un-nested minus nested, out of fold", [t.unnested - t.nested for t in turns]),
        ("un-nested out of fold minus the same settings on new speakers", [t.unnested - t.new_unnested for t in turns]),
        ("nested out of fold minus the same members on new speakers", [t.nested - t.new_nested for t in turns]),
        ("params as they stand, out of fold minus on new speakers", [t.default - t.new_default for t in turns]),
        ("what the search gains on new speakers, nested", [t.new_nested - t.new_default for t in turns]),
        ("what it gains on new speakers, un-nested", [t.new_unnested - t.new_default for t in turns]),
        ("what it seems to gain out of fold, nested", [t.nested - t.default for t in turns]),
        ("what it seems to gain out of fold, un-nested", [t.unnested - t.default for t in turns]),
    ]
    return "\n".join([
        "# A search for settings on real features", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/search.py --features {args.features.name} "
        f"--trials {args.trials} --turns {args.turns}`: {len(labels.clip_ids):,} clips, {classes} classes; {LABELLED} "
        f"speakers labelled, each a fold, the others new. `{HEAD}`, {params.search.trials} trials by "
        f"{params.search.sampler} from {space}; at most {params.epochs} epochs, patience {params.patience}, one seed. "
        f"{members} members a turn, {seconds / len(turns):.0f} s a turn on {os.cpu_count()} cores that others used "
        f"too; Python {platform.python_version()}, torch {torch.__version__}, optuna {metadata.version('optuna')}.", "",
        "Weighted F1. *Out of fold*: on the labelled speakers, by params as they stand, by what was chosen without "
        "each fold (nested), and by the best of the trials on all folds (un-nested). *New speakers*: mean over the "
        "same members, on speakers that nobody has seen.", "",
        "| speakers | out of fold: as they stand | nested | un-nested | optimism | new speakers: as they stand "
        "| nested | un-nested | folds that chose otherwise |",
        "|---|---|---|---|---|---|---|---|---|", *rows, "",
        f"| mean over {len(turns)} turns ± standard error | |", "|---|---|",
        *[f"| {name} | {over_turns(values)} |" for name, values in findings], "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
