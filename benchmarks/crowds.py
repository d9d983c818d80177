"""Label fusion on crowds of many kinds: every method of this project beside crowd-kit's and cleanlab's.

    python benchmarks/crowds.py --cremad DIR

DIR holds CREMA-D's tabulatedVotes.csv and summaryTable.csv (Cao et al. 2014, ODbL), which are read and of which nothing
is written down. The generated crowds are those of tests/labels/crowds.py, with seeds that no choice was made on.
crowd-kit and cleanlab are the extra `oracles` of pyproject.toml; a reference that is not installed has no row. A
reference gets a voter per column: every rater, where raters are known one by one, else every family's vote.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import TypeAlias

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread for everybody
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from mer_pipeline.labels.refined import LabelParams  # noqa: E402
from mer_pipeline.labels.refinement import refine  # noqa: E402
from mer_pipeline.labels.votes import MISSING  # noqa: E402
from mer_pipeline.scores.calibration import expected_calibration_error, log_loss  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from benchmarks.labels import FACE, LETTERS, VOICE, read_cremad, votes_of  # noqa: E402
from tests.labels.crowds import KINDS  # noqa: E402

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Found: TypeAlias = tuple[Ints, Floats | None]

FIRST_SEED = 100
METHODS = (
    "given",
    "majority",
    "weighted",
    "one-coin",
    "dawid-skene",
    "dirichlet-multinomial",
    "human-anchored",
    "consensus",
)
DEFAULT = "consensus"
REFERENCES: dict[str, dict[str, object]] = {
    "MajorityVote": {},
    "Wawa": {},
    "ZeroBasedSkill": {},
    "DawidSkene": {},
    "OneCoinDawidSkene": {},
    "GLAD": {"n_iter": 10},
    "MACE": {"n_restarts": 2, "n_iter": 30, "random_state": 0},
}
LARGEST = 0.01  # by how much the default may be below the best reference
ROWS = {"voice": (VOICE,), "face": (FACE,), "voice and face": (VOICE, FACE)}


def reference(name: str, options: dict[str, object], matrix: Ints, classes: int) -> Found:
    """One of crowd-kit's aggregations."""
    import pandas as pd
    from crowdkit import aggregation

    clip, worker = np.nonzero(matrix != MISSING)
    table = pd.DataFrame({"task": clip, "worker": worker, "label": matrix[clip, worker]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas, about how crowd-kit calls it
        model = getattr(aggregation, name)(**options)
        # The check of whether they are fitted does not know scikit-learn 1.9; they are fitted in the same call.
        sys.modules[type(model).__module__].check_is_fitted = lambda *_, **__: None
        found = model.fit_predict_proba(table)
    shares = found.reindex(columns=range(classes)).fillna(0).reindex(range(len(matrix))).fillna(0).to_numpy()
    return shares.argmax(axis=1), shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)


def crowdlab(matrix: Ints, classes: int) -> Found:
    """Cleanlab's multi-annotator labels. It wants a classifier beside the votes: the smoothed shares of the votes."""
    import pandas as pd
    from cleanlab.multiannotator import get_label_quality_multiannotator

    pooled = (matrix[:, :, None] == np.arange(classes)).sum(axis=1) + 1.0
    table = pd.DataFrame(np.where(matrix == MISSING, np.nan, matrix))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_label_quality_multiannotator(
            table.loc[:, table.notna().any()], pooled / pooled.sum(axis=1, keepdims=True), verbose=False
        )
    return found["label_quality"]["consensus_label"].to_numpy().astype(np.int64), None


def references(matrix: Ints, classes: int) -> dict[str, Callable[[], Found]]:
    """What is installed."""
    found: dict[str, Callable[[], Found]] = {}
    if util.find_spec("crowdkit"):
        for name, options in REFERENCES.items():
            found[f"crowd-kit {name}"] = lambda name=name, options=options: reference(name, options, matrix, classes)
    if util.find_spec("cleanlab"):
        found["cleanlab"] = lambda: crowdlab(matrix, classes)
    return found


def figures(found: Found, true: Ints, seconds: float) -> list[float]:
    """Accuracy, UAR, ECE, log loss and seconds."""
    label, posterior = found
    recalls = [(label[true == c] == c).mean() for c in np.unique(true)]
    ece = loss = np.nan
    if posterior is not None:
        small = posterior.astype(np.float32)
        ece, loss = expected_calibration_error(small, true), log_loss(small, true)
    return [float((label == true).mean()), float(np.mean(recalls)), ece, loss, seconds]


def measure(task: tuple[str, int, Path]) -> dict[str, list[float]]:
    """All methods and references on one crowd."""
    kind, seed, folder = task
    if kind in ROWS:
        crowd = read_cremad(folder)
        counted = votes_of(crowd, "no vote", soft=True)
        keep = [0, *(1 + w for w in ROWS[kind])]
        votes = replace(
            counted,
            families=tuple(counted.families[w] for w in keep),
            sources=tuple(counted.sources[w] for w in keep),
            single=tuple(counted.single[w] for w in keep),
            matrix=counted.matrix[:, keep],
            evidence=counted.evidence[:, keep],
        )
        known, true, names, matrix = crowd.truth != MISSING, crowd.truth, tuple(LETTERS), votes.matrix
    else:
        made = KINDS[kind](seed)
        votes, true, names, matrix = made.votes(), made.true, made.names, made.matrix
        known = np.ones(len(true), dtype=bool)

    def ours(method: str, **other: object) -> Found:
        found = refine(votes, names, LabelParams.model_validate({"method": method, **other}))
        return found.label, found.posterior

    runs: dict[str, Callable[[], Found]] = {m: lambda m=m: ours(m) for m in METHODS}
    runs["consensus, independent: true"] = lambda: ours("consensus", independent=True)
    runs |= references(matrix, len(names))
    results = {}
    for name, run in runs.items():
        start = time.perf_counter()
        label, posterior = run()
        seconds = time.perf_counter() - start
        part = None if posterior is None else posterior[known]
        results[name] = figures((label[known], part), true[known], seconds)
    return results


def table(kind: str, drawn: list[dict[str, list[float]]]) -> tuple[list[str], str]:
    """The table of one kind, and its line in the summary."""
    names = list(drawn[0])
    mean = {name: np.mean([each[name] for each in drawn], axis=0) for name in names}
    spread = {name: np.std([each[name][0] for each in drawn], ddof=1) if len(drawn) > 1 else np.nan for name in names}
    lines = ["| method | accuracy | UAR | ECE | log loss | seconds |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name in names:
        accuracy, uar, ece, loss, seconds = mean[name]
        half = 1.96 * spread[name] / np.sqrt(len(drawn))
        around = "" if np.isnan(half) else f" ± {half:.3f}"
        calibration = "– | –" if np.isnan(ece) else f"{ece:.3f} | {loss:.3f}"
        bold = "**" if name == DEFAULT else ""
        lines.append(f"| {bold}{name}{bold} | {accuracy:.3f}{around} | {uar:.3f} | {calibration} | {seconds:.2f} |")
    others = [name for name in names if name == "given" or name not in (*METHODS, "consensus, independent: true")]
    best = max(others, key=lambda name: mean[name][0])
    gap = mean[DEFAULT][0] - mean[best][0]
    told = mean["consensus, independent: true"][0] - mean[best][0]
    held = "yes" if gap >= -LARGEST else "**no**"
    line = (
        f"| {kind.replace('_', ' ')} | {mean['given'][0]:.3f} | {mean[DEFAULT][0]:.3f} | {mean[DEFAULT][2]:.3f} | "
        f"{mean[best][0]:.3f} ({best}) | {gap:+.3f} | {held} | {told:+.3f} |"
    )
    return lines, line


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cremad", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "crowds.md")
    args = parser.parse_args()
    busy = os.getloadavg()[0]
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    real = [(kind, 0, args.cremad) for kind in ROWS] if args.cremad else []
    tasks = [*real, *((kind, seed, Path()) for kind in KINDS for seed in seeds)]
    with ProcessPoolExecutor(args.jobs) as pool:
        drawn: dict[str, list[dict[str, list[float]]]] = {}
        for (kind, _, _), result in zip(tasks, pool.map(measure, tasks), strict=True):
            drawn.setdefault(kind, []).append(result)
            print(kind, f"{result[DEFAULT][0]:.3f}", flush=True)
    parts, summary = [], []
    for kind, results in drawn.items():
        lines, line = table(f"CREMA-D: given and {kind}" if kind in ROWS else kind, results)
        about = (
            f"Given labels (the emotion that was played) and the votes of those with {kind} only."
            if kind in ROWS
            else KINDS[kind].__doc__
        )
        title = f"CREMA-D: given and {kind}" if kind in ROWS else kind.replace("_", " ").capitalize()
        parts.append(f"## {title}\n\n{about}\n\n" + "\n".join(lines))
        summary.append(line)
    packages = ("numpy", "scipy", "crowd-kit", "cleanlab")
    found = [f"{name} {metadata.version(name)}" for name in packages if util.find_spec(name.replace("-", ""))]
    page = f"""# Label fusion on crowds of many kinds

{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/crowds.py --cremad DIR`. {os.cpu_count()} cores, which others used at
the same time (load average {busy:.0f}): seconds compare methods only.
{", ".join([f"Python {platform.python_version()}", *found])}.

The generated crowds have seeds {seeds[0]} to {seeds[-1]}; ± is the 95 % interval of the mean over seeds. `consensus` is
the default of `labels.method`; its design was chosen on CREMA-D and on seeds 0 to 2 of crowds like these. A reference
sees one voter per family, or per rater where raters are known one by one; on CREMA-D, where they are not, the winners
of each crowd. KOS is for two classes and has no row.

The default should be at most {LARGEST} below the best reference and the given labels. Below four families of which
none is a crowd it changes nothing by design, unless `labels.independent` says that they err independently (the last
column).

| crowd | given | default | its ECE | best reference, or given | difference | holds | difference if told independent |
| --- | ---: | ---: | ---: | --- | ---: | --- | ---: |
{chr(10).join(summary)}

{(chr(10) * 2).join(parts)}
"""
    args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
