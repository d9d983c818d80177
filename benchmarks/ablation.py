"""What each part of the system is worth: the stage's ablation, on real features and on the demo split.

    python benchmarks/ablation.py --features FILE

The table is that of heads.py; the demo split is this project's, after `make repro`. README.md says what is measured.
"""

from __future__ import annotations

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

from mer_pipeline.base.runtime import load_runtime
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import EncoderNames, TrainParams
from mer_pipeline.heads.base import ComputeConfig
from mer_pipeline.metrics.ablation import AblationMetrics
from mer_pipeline.metrics.scores import Score
from mer_pipeline.training.ablation import measure, measure_project
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from mer_pipeline.training.task import Task
from mer_pipeline.training.variants import Setting

import torch
from heads import FOLDS, read

HERE = Path(__file__).parent
REFERENCE = "ecmf+late"
SINGLE = [*(head for head in HEADS.built_in if head != "ensemble"), "mertools+late"]
SEEDS = (0, 1, 2)


def on_features(path: Path, compute: ComputeConfig) -> AblationMetrics:
    """Of clips whose labels are right and whose text nobody has: what late fusion, attention and residual are worth."""
    features, labels, speaker, classes = read(path)
    task = Task(tuple(map(str, range(classes))), EncoderNames(features.names), TrainParams(heads=SINGLE, seeds=SEEDS))
    reference, groups = Setting(REFERENCE, features, labels, task.train), [str(one) for one in speaker]
    with fixed_threads():
        return measure(reference, task, features, groups, HeadCache(None, compute))


def on_demo(compute: ComputeConfig) -> AblationMetrics:
    """As the stage has it, with all heads; what `train` has trained is taken from the store."""
    params = load_params()
    task = Task(params.dataset.classes, params.encoder_names, params.train.with_heads(*SINGLE))
    asked = params.ablation.model_copy(update={"head": REFERENCE, "seeds": SEEDS})
    measured = measure_project(asked, params.predict, task, Project(), HeadCache(load_runtime().store_url, compute))
    assert not isinstance(measured, str), measured
    return measured


def probabilities(score: Score) -> str:
    """Log loss, ECE and Brier score, as cells."""
    return f"{score.log_loss:.3f} | {score.ece:.3f} | {score.brier:.3f}"


def table(measured: AblationMetrics, basis: str) -> list[str]:
    """A row per variant, the largest loss first, for labels that are `given` or `true`."""
    of, variants = measured.reference, measured.variants.items()
    assert of is not None
    reference = of.given if basis == "given" else of.true
    assert reference is not None
    rows = {name: row.given if basis == "given" else row.true for name, row in variants}
    lines = [
        "| variant | weighted F1, mean ± sd over seeds | minus the reference [95 %] | p after Holm "
        "| log loss | ECE | Brier |",
        f"|{'---|' * 7}",
        f"| `{measured.head}`, all of it | {reference.weighted_f1:.3f} ± {reference.weighted_f1_sd:.3f} | | | "
        f"{probabilities(reference)} |",
    ]
    known = [(name, row) for name, row in rows.items() if row is not None]
    for name, row in sorted(known, key=lambda item: item[1].difference):
        score = f"{row.weighted_f1:.3f} ± {row.weighted_f1_sd:.3f}"
        interval = "" if row.low is None else f" [{row.low:+.3f}, {row.high:+.3f}]"
        p = "" if row.p_holm is None else "< .001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"
        lines.append(f"| {name} | {score} | {row.difference:+.3f}{interval} | {p} | {probabilities(row)} |")
    return [*lines, ""]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "ablation.md")
    args = parser.parse_args()
    compute = ComputeConfig(workers=os.cpu_count() or 1)
    demo, real = on_demo(compute), on_features(args.features, compute)
    page = "\n".join([
        "# What each part is worth", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/ablation.py --features {args.features.name}`: one part "
        f"of `{REFERENCE}` changed, all else equal; out of fold, seeds {', '.join(map(str, SEEDS))} (the sd divides "
        f"by their number). Intervals and p, over {real.over} and seeds: docs/method.md. {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}.", "",
        f"## Real features\n\n{args.features.name}, {FOLDS} folds of whole speakers, {real.units} of them; d 64, "
        "the shipped settings. There is no text, so there is nothing enriched; the labels are as they were played.", "",
        *table(real, "given"),
        f"## The demo split\n\nGenerated clips of {demo.units} speakers, against the true labels; what is learnt "
        "from has 15 % wrong ones.", "",
        *table(demo, "true"),
    ])  # fmt: skip
    args.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
