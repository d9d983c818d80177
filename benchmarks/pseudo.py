"""Do pseudo-labels help, and does cross-validation tell the truth about it? On real features with simulated judges.

    python benchmarks/pseudo.py --features FILE

Of the speakers a few are labelled, more are the pool, and others, whom nothing ever sees, are the test. Beside the
stage's own pseudo-labels stand those that the field makes: one set for all folds, by heads that know all labels. And
the stage's own again, without the limit that keeps the classes' proportions. README.md says what is measured.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mer_pipeline.base.clips import GIVEN, VOTES_SCHEMA
from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.labels.corroboration import said_by
from mer_pipeline.labels.judges import FINAL
from mer_pipeline.labels.pseudo import PseudoParams
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.cross_validation import Labels, cross_validate
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.pseudo import Means, decide
from mer_pipeline.training.pseudo_inputs import PseudoInputs

import numpy as np
import pyarrow as pa
from heads import Ints, read

HERE = Path(__file__).parent
LABELLED, POOL, FOLDS = 6, 12, 3  # speakers; the rest is the test
NOISE = 0.1  # of the given labels
TRAIN = TrainParams(seeds=(0,), epochs=60, patience=15, lr=1e-3)
ASKED = PseudoParams(rounds=2, min_precision=0.7, min_support=10)


class Figures(NamedTuple):
    """Weighted F1 out of fold on given labels, and on the test's true ones, of one way of training."""

    validated: float
    test: float


class Drawn(NamedTuple):
    """One division of the speakers: what is known, the rows of the test, the true labels."""

    inputs: PseudoInputs
    test: Features
    pool_true: Ints
    test_true: Ints
    classes: int


def draw(path: Path, seed: int, right: float) -> Drawn:
    """Who is who, wrong given labels, and one judge that is right so often, its errors independent of all else."""
    features, labels, speaker, classes = read(path)
    rng = np.random.default_rng(seed)
    people = rng.permutation(int(speaker.max()) + 1)
    rank = np.argsort(people)[speaker]
    parts = np.searchsorted([LABELLED, LABELLED + POOL], rank, side="right")
    known, pool, test = (np.flatnonzero(parts == part) for part in range(3))
    true = labels.given

    def flipped(share: float) -> Ints:
        other = (true + rng.integers(1, classes, size=len(true))) % classes
        return np.where(rng.random(len(true)) < share, other, true)

    given, judge = flipped(NOISE), flipped(1 - right)
    fold = rank[known] % FOLDS
    held_out = np.where(fold == np.arange(FOLDS)[:, None], MISSING, given[known])
    names = np.array(labels.clip_ids)
    rows = [(names[i], GIVEN, "human", str(given[i])) for i in known]
    rows += [(names[i], "judge", "judge", str(judge[i])) for i in (*known, *pool)]
    votes = pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=VOTES_SCHEMA)
    index = tuple(str(c) for c in range(classes))
    groups = np.array([str(s) for s in speaker])
    said, pool_said = (said_by(votes, tuple(names[at]), index) for at in (known, pool))
    inputs = PseudoInputs(
        labels=Labels(tuple(names[known]), fold, given[known], given[known], held_out, true[known]),
        features=features.take(known), groups=groups[known],
        pool_ids=tuple(names[pool]), pool=features.take(pool), pool_groups=groups[pool],
        votes=votes, said=said, pool_said=pool_said,
    )  # fmt: skip
    return Drawn(inputs, features.take(test), true[pool], true[test], classes)


def figures(drawn: Drawn, head: HeadName, pseudo: Ints | None) -> Figures:
    """Train with these pseudo-labels (k, m), or without."""
    inputs = drawn.inputs
    labels, features = inputs.labels, inputs.features
    if pseudo is not None:
        x = tuple(np.concatenate(pair) for pair in zip(features.x, inputs.pool.x, strict=True))
        features = Features(features.names, x, np.concatenate([features.mask, inputs.pool.mask]))
        labels = replace(labels, pseudo_ids=inputs.pool_ids, pseudo=pseudo)
    validated = cross_validate(head, features, labels, drawn.classes, TRAIN)
    said = np.mean([one.member.predict(drawn.test).probabilities for one in validated.members], axis=0)
    pairs = ((labels.given, validated.probabilities.mean(axis=0)), (drawn.test_true, said))
    return Figures(*(Confusion.of(true, p.argmax(axis=1), drawn.classes).weighted_f1 for true, p in pairs))


def labelled_pool(drawn: Drawn, asked: PseudoParams) -> tuple[Ints, Ints, float]:
    """The stage's pseudo-labels by held-out fold, the final ones for all of them, and how many of these are right."""
    classes = tuple(str(c) for c in range(drawn.classes))
    means = Means(asked, TRAIN, classes, True, HeadCache(None))
    each = [decide(f, drawn.inputs, means).decided.selection.label for f in (FINAL, *range(FOLDS))]
    final = each[0]
    taken = final != MISSING
    precision = float((final[taken] == drawn.pool_true[taken]).mean()) if taken.any() else float("nan")
    return np.stack(each[1:]), np.stack([final] * FOLDS), precision


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--heads", nargs="+", default=["logreg", "ecmf"])
    parser.add_argument("--out", type=Path, default=HERE / "pseudo.md")
    args = parser.parse_args()
    rows = []
    for right in (0.65, 0.85):
        found: dict[str, list[list[Figures]]] = {head: [] for head in args.heads}
        told = []
        for seed in range(args.draws):
            drawn = draw(args.features, seed, right)
            with fixed_threads():
                own, one_set, precision = labelled_pool(drawn, ASKED)
                loose, _, _ = labelled_pool(drawn, ASKED.model_copy(update={"max_drift": 100.0}))
                told.append((precision, float((one_set[0] != MISSING).sum())))
                for head in args.heads:
                    found[head].append([figures(drawn, head, pseudo) for pseudo in (None, own, one_set, loose)])
            print(right, seed, told[-1], {h: np.round(v[-1], 3).tolist() for h, v in found.items()}, flush=True)
        precision, taken = np.nanmean(told, axis=0)
        for head, each in found.items():
            values = np.array(each)  # draws, ways, figures
            base, gains = values[:, 0].mean(axis=0), values[:, 1:] - values[:, :1]
            mean, error = gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(gains))
            cells = [f"{mean[w, k]:+.3f} ± {error[w, k]:.3f}" for w in range(3) for k in range(2)]
            start = f"| {right:.2f} | {taken:.0f} | {precision:.2f} | {head} | {base[0]:.3f} | {base[1]:.3f} | "
            rows.append(start + " | ".join(cells) + " |")
    ways = ("stage", "one set for all folds", "stage, proportions free")
    header = ["judge right", "taken", "right of them", "head", "out of fold", "test"]
    header += [f"{way}: {where}" for way in ways for where in ("out of fold", "test")]
    page = "\n".join([
        "# Pseudo-labels on real features", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/pseudo.py --features {args.features.name} "
        f"--draws {args.draws}`. {LABELLED} speakers labelled ({NOISE:.0%} of their labels wrong) in {FOLDS} folds, "
        f"{POOL} the pool, the others the test; one simulated judge whose errors are independent of all else. "
        f"{ASKED.rounds} rounds, lower bound {ASKED.min_precision:g} on {ASKED.min_support} clips, at most "
        f"{ASKED.max_ratio:g} to a labelled one, drift {ASKED.max_drift:g}. Weighted F1: without pseudo-labels, then "
        "gains, mean over the draws ± standard error.", "",
        "| " + " | ".join(header) + " |", "|---" * len(header) + "|", *rows, "",
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
