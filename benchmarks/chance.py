"""Every head, combination, ensemble and search on pure noise: is a score ever above chance where nothing can be learnt?

    python benchmarks/chance.py [--draws 20]

Labels and features are independent. Labels are balanced, so chance is one over the number of classes for accuracy, as
for weighted F1 to within the noise of few clips. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import platform
import time
from datetime import UTC, datetime
from pathlib import Path

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.head_entry import LATE
from mer_pipeline.config.train_params import SearchParams, SearchSpace, TrainParams
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.near_copies import near_copies
from mer_pipeline.scores.warnings import SPAN
from mer_pipeline.training.cross_validation import Labels, cross_validate
from mer_pipeline.training.member import fixed_threads

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
CLASSES, FOLDS, CLIPS, DIMS = 4, 5, 80, (32, 32, 16)
PARAMS = TrainParams(d=16, epochs=6, patience=3, lr=3e-3, seeds=(0,)).with_options("logreg", c=[1e-2])
SEARCH = SearchParams(trials=3, batch=3, space=SearchSpace(lr=(1e-4, 1e-2), dropout=(0.1, 0.6)))
SEARCHED = "ecmf, searched: nested"
PLAIN = "ecmf, searched: the best trial of all folds"
SELECTED = "the best head of each draw"
COPIED = "logreg, each clip twice, in two folds"
FLOATS = NDArray[np.float64]


def noise(draw: int) -> tuple[Features, Labels]:
    """80 clips of four classes in five folds; no feature tells anything."""
    rng = np.random.default_rng(draw)
    y = rng.permutation(np.arange(CLIPS) % CLASSES)
    x = tuple(rng.normal(size=(CLIPS, dim)).astype(np.float32) for dim in DIMS)
    fold = np.empty(CLIPS, dtype=np.int64)
    fold[np.argsort(y, kind="stable")] = np.arange(CLIPS) % FOLDS
    features = Features(("face", "voice", "words"), x, rng.random((CLIPS, len(DIMS))) > 0.1)
    return features, labels_of(y, fold)


def labels_of(y: NDArray[np.int64], fold: NDArray[np.int64]) -> Labels:
    """Nothing is refined, and the given labels are the true ones."""
    held_out = np.where(fold == np.arange(FOLDS)[:, None], MISSING, y)
    return Labels(tuple(f"{i:04}" for i in range(len(y))), fold, y, y, held_out, y)


def copied(features: Features, labels: Labels) -> tuple[Features, Labels]:
    """Every clip once more, in the next fold: what a folder with copies is where nobody has seen that they are."""
    twice = features.take(np.tile(np.arange(len(features)), 2))
    return twice, labels_of(np.tile(labels.given, 2), np.concatenate([labels.fold, (labels.fold + 1) % FOLDS]))


def accuracy(name: str, features: Features, labels: Labels, params: TrainParams = PARAMS) -> float:
    """The share of the clips that is right out of fold."""
    said = cross_validate(name, features, labels, CLASSES, params).probabilities.mean(axis=0)
    return float((said.argmax(axis=1) == labels.given).mean())


def measure(draw: int, heads: list[str]) -> dict[str, float]:
    """The accuracy of every row of the table on one draw."""
    features, labels = noise(draw)
    params = PARAMS.with_heads(*heads)  # an ensemble chooses among all of them
    found = {name: accuracy(name, features, labels, params) for name in heads}
    found[SELECTED] = max(found.values())
    searched = cross_validate("ecmf", features, labels, CLASSES, params.model_copy(update={"search": SEARCH}))
    assert searched.searches is not None
    found[SEARCHED] = float((searched.probabilities[0].argmax(axis=1) == labels.given).mean())
    found[PLAIN] = max(searched.searches[-1].values)
    found[COPIED] = accuracy("logreg", *copied(features, labels))
    return found


def table(figures: dict[str, FLOATS]) -> list[str]:
    """Mean over draws with its 95 % interval, and the draws above chance by two standard errors of a draw."""
    chance = 1 / CLASSES
    error = (chance * (1 - chance) / CLIPS) ** 0.5
    lines = ["| head | mean | 95 % of the mean | highest draw | draws above chance by two errors |", f"|{'---|' * 5}"]
    for name, values in figures.items():
        reach = SPAN / 2 * values.std(ddof=1) / len(values) ** 0.5
        beyond = int((values > chance + 2 * error).sum())
        span = f"[{values.mean() - reach:.3f}, {values.mean() + reach:.3f}]"
        lines.append(f"| {name} | {values.mean():.3f} | {span} | {values.max():.3f} | {beyond} of {len(values)} |")
    return lines


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, default=HERE / "chance.md")
    args = parser.parse_args()
    single = [name for name in HEADS.built_in if name != "ensemble"]
    heads = [*single, *(f"{name}{LATE}" for name in ("ecmf", "mertools")), "ensemble"]
    started, figures = time.perf_counter(), dict[str, list[float]]()
    with fixed_threads():
        for draw in range(args.draws):
            for name, value in measure(draw, heads).items():
                figures.setdefault(name, []).append(value)
            print(f"{draw + 1}/{args.draws} {(time.perf_counter() - started) / 60:.1f} min", flush=True)
    pairs = near_copies(copied(*noise(0))[0], copied(*noise(0))[1].fold)
    text = [
        "# Pure noise", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/chance.py`, Python {platform.python_version()}.", "",
        f"{args.draws} draws of {CLIPS} clips, {CLASSES} classes, {FOLDS} folds; three modalities of noise.",
        f"Accuracy out of fold; chance is {1 / CLASSES:.2f}. d {PARAMS.d}, {PARAMS.epochs} epochs, one seed; the",
        f"search has {SEARCH.trials} trials.", "",
        *table({name: np.array(values) for name, values in figures.items()}), "",
        "Two rows are meant to be above chance. *The best head of each draw* is what choosing among heads makes of",
        f"luck. With every clip twice a head is scored on what it has learnt by heart; of these {CLIPS} pairs",
        f"`near_copies` finds {len(pairs)}, and the stage `train` warns. *The best trial of all folds* is the weighted",
        "F1 of a search that is not nested, which is less than accuracy on noise; few trials have little luck.", "",
    ]  # fmt: skip
    args.out.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
