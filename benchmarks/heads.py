"""Every head on real features of two modalities, each alone and fused, and whether one is better than another.

    python benchmarks/heads.py --features FILE

The table has columns name, label, speaker and a fixed-size list of floats per modality. Folds are of whole
speakers, and intervals are over speakers: a bootstrap that resamples them. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.base import ComputeConfig
from mer_pipeline.heads.make import head_of
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.bootstrap import RESAMPLES, Units, resample
from mer_pipeline.scores.calibration import brier, expected_calibration_error, log_loss
from mer_pipeline.scores.confusion import Confusion, weighted_f1
from mer_pipeline.training.cross_validation import Labels, cross_validate
from mer_pipeline.training.member import fixed_threads

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

HERE = Path(__file__).parent
FOLDS = 6
SETTINGS = {
    "default": TrainParams(seeds=(0, 1)),
    "quick": TrainParams(d=256, lr=1e-4, epochs=40, patience=40, seeds=(0, 1)),
}
COMBINED = ("ecmf+late", "mertools+late")
COMPARED: dict[str, Sequence[HeadName]] = {
    "default": [*HEADS.built_in, *COMBINED],
    "quick": ("ecmf", "mertools", "logreg", *COMBINED),
}
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """Weighted F1, that of each resample of speakers, and log loss, ECE and Brier score of the mean over seeds."""

    f1: float
    resamples: NDArray[np.float64]
    probabilities: tuple[float, float, float]


def read(path: Path) -> tuple[Features, Labels, Ints, int]:
    """Features, labels, each clip's speaker and the number of classes; fold f is every sixth speaker from f on."""
    table = pq.read_table(path).sort_by("name")
    names = tuple(name for name in table.column_names if name not in ("name", "label", "speaker"))
    x = []
    for name in names:
        column = table[name].combine_chunks()
        x.append(column.flatten().to_numpy().reshape(len(table), -1).astype(np.float32))
    classes, given = np.unique(table["label"].to_numpy(), return_inverse=True)
    _, speaker = np.unique(table["speaker"].to_numpy(), return_inverse=True)
    fold = speaker % FOLDS
    held_out = np.where(fold == np.arange(FOLDS)[:, None], MISSING, given)
    labels = Labels(tuple(table["name"].to_pylist()), fold, given, given, held_out, given)
    return Features(names, tuple(x), np.ones((len(table), len(names)), dtype=bool)), labels, speaker, len(classes)


def resampled(predicted: Ints, true: Ints, speaker: Ints, classes: int) -> tuple[float, NDArray[np.float64]]:
    """Weighted F1, and that of each resample of speakers, always the same resamples."""
    units = Units(speaker, int(speaker.max()) + 1, "groups", "")
    drawn = resample(true, [predicted], units, classes)[0]
    return Confusion.of(true, predicted, classes).weighted_f1, weighted_f1(drawn)


def interval(values: NDArray[np.float64], sign: str = "") -> str:
    """The middle 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return f"[{low:{sign}.3f}, {high:{sign}.3f}]"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "heads.md")
    parser.add_argument(
        "--without", choices=[*HEADS.built_in, *COMBINED], nargs="*", default=[], help="heads that are left out"
    )
    parser.add_argument("--through-pipeline", action="store_true", help="only show that the real stages load the same")
    args = parser.parse_args()
    features, labels, speaker, classes = read(args.features)
    if args.through_pipeline:
        from external import through_pipeline  # it lies beside this script

        print(through_pipeline(args.features, features, labels.clip_ids, FOLDS))
        return
    compute, sections, started = ComputeConfig(workers=os.cpu_count() or 1), [], time.perf_counter()
    compared = {title: [name for name in heads if name not in args.without] for title, heads in COMPARED.items()}
    known: dict[tuple[HeadName, str, str], Figures] = {}
    for title, params in SETTINGS.items():
        found: dict[tuple[HeadName, str], Figures] = {}
        sets = {**{name: features.only(name) for name in features.names}, "fused": features}
        for name in compared[title]:
            for which, chosen in sets.items():
                if name == "ensemble" and which != "fused":
                    continue  # that is many trainings more, and nobody asks
                once = name == "ensemble" or which != "fused"
                own = params.with_heads(*HEADS.built_in)  # an ensemble chooses among all of them
                own = own.model_copy(update={"seeds": params.seeds[: 1 if once else None]})
                key = (name, which, str((own.seeds, head_of(name, own).key)))
                if key not in known:
                    with fixed_threads():
                        validated = cross_validate(name, chosen, labels, classes, own, compute=compute)
                    said = validated.probabilities.mean(axis=0)
                    measures = (log_loss, expected_calibration_error, brier)
                    each = tuple(measure(said, labels.given) for measure in measures)
                    known[key] = Figures(*resampled(said.argmax(axis=1), labels.given, speaker, classes), each)
                found[name, which] = known[key]
                print(title, name, which, round(found[name, which].f1, 4), flush=True)
        sections += section(title, params, found, compared[title], list(sets))
    minutes = (time.perf_counter() - started) / 60
    page = "\n".join([
        "# Heads on real features", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/heads.py --features {args.features.name}"
        f"{' --without ' * bool(args.without)}{' '.join(args.without)}`: "
        f"{len(features):,} clips, {classes} classes, {int(speaker.max()) + 1} speakers, values per clip: "
        f"{', '.join(f'{n} {d}' for n, d in zip(features.names, features.dims, strict=True))}. {FOLDS} folds of whole "
        f"speakers. {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}; "
        f"{minutes:.0f} minutes.", "",
        "Weighted F1 out of fold of the mean over seeds, with the middle 95 % of "
        f"{RESAMPLES:,} resamples of speakers. A network validates on one fold for its best epoch, so it learns "
        f"from {FOLDS - 2} folds, then anew from {FOLDS - 1}. The ensemble chooses among all heads by cross-validation "
        "inside the folds that it is not scored on.", "", *sections,
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


def section(
    title: str,
    params: TrainParams,
    found: Mapping[tuple[HeadName, str], Figures],
    heads: Sequence[HeadName],
    sets: list[str],
) -> list[str]:
    """The table of one setting, and the paired differences of fused heads."""

    def cell(name: HeadName, which: str) -> str:
        if (name, which) not in found:
            return "–"
        return f"{found[name, which].f1:.3f} {interval(found[name, which].resamples)}"

    def less(ours: HeadName, name: HeadName) -> str:
        if ours == name or ours not in heads:
            return "–"
        one, other = found[ours, "fused"], found[name, "fused"]
        return f"{one.f1 - other.f1:+.3f} {interval(one.resamples - other.resamples, '+')}"

    rows = [f"| `{name}` | " + " | ".join(cell(name, which) for which in sets) + " |" for name in heads]
    pairs = [f"| `{name}` | {less('ecmf', name)} | {less('ensemble', name)} |" for name in heads if name != "ecmf"]
    losses = [
        f"| `{name}` | {' | '.join(f'{value:.3f}' for value in found[name, 'fused'].probabilities)} |" for name in heads
    ]
    return [
        f"## Setting `{title}`", "",
        f"d {params.d}, lr {params.lr:g}, at most {params.epochs} epochs, patience {params.patience}, "
        f"{len(params.seeds)} seeds; one for single modalities and for the ensemble, which trains many.", "",
        f"| head | {' | '.join(sets)} |", f"|---|{'---|' * len(sets)}", *rows, "",
        "Probabilities on all modalities, of which less is better:", "",
        "| probabilities of | log loss | ECE | Brier score |", "|---|---|---|---|", *losses, "",
        "The column's head minus the row's, both on all modalities, paired over the same resamples of speakers:", "",
        "| against | `ecmf` | `ensemble` |", "|---|---|---|", *pairs, "",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
