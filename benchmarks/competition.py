"""Every head on generated clips with known structure, and beside them the best that anybody could do.

    python benchmarks/competition.py [--only grid|curve|settings|importance] [--jobs 2] [--page]

The clips are those of `generated.py`. What was measured stays in competition.csv, with a digest of the head's and the
generator's code: a run that was interrupted goes on, and a head that changed is measured anew. README.md says what is
measured.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process per core, each with one thread
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from mer_pipeline.base.modalities import Features, Indices, Matrix  # noqa: E402
from mer_pipeline.config.components import HEADS  # noqa: E402
from mer_pipeline.config.train_params import HeadName, TrainParams  # noqa: E402
from mer_pipeline.heads.base import Examples  # noqa: E402
from mer_pipeline.heads.make import head_of  # noqa: E402
from mer_pipeline.labels.votes import MISSING  # noqa: E402
from mer_pipeline.scores.confusion import Confusion  # noqa: E402
from mer_pipeline.scores.importance import leave_one_out  # noqa: E402
from mer_pipeline.store.fingerprint import code_parts  # noqa: E402
from mer_pipeline.tables.rows import digest  # noqa: E402
from mer_pipeline.training.cross_validation import Labels, cross_validate  # noqa: E402
from mer_pipeline.training.head_cache import head_fingerprint  # noqa: E402
from mer_pipeline.training.member import Member, fit_members, fixed_threads  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import competition_page as page  # noqa: E402
from benchmarks.competition_page import Key, Results  # noqa: E402
from benchmarks.competition_plot import plot  # noqa: E402
from benchmarks.generated import CLASSES, NAMES, PRIOR, Clips, World, transition  # noqa: E402

Figures = dict[Key, float]
FOLDS, TEST = 5, 3000
MIDDLE = (0.2, 0.3)  # wrong labels, missing: the cell of everything that is no grid
CORNERS = [(0.0, 0.0), MIDDLE, (0.4, 0.6)]
CELLS = [*CORNERS, (0.1, 0.3), (0.4, 0.3), (0.2, 0.6)]
GRID = {96: CELLS, 300: CELLS, 3000: [(0.0, 0.0), MIDDLE, (0.4, 0.3)]}
GRID_SEEDS = {96: 20, 300: 20, 3000: 20}
OTHERS_AT = {96: CELLS, 300: CELLS, 3000: [MIDDLE]}  # cells of the other heads
ENSEMBLE_SEEDS = {96: 20, 300: 20, 3000: 0}  # in the middle: it trains five times as much as all the others together
CURVE_SEEDS = {100: 20, 200: 20, 400: 10, 800: 10, 1600: 6, 3000: 20, 7369: 3}
SETTINGS = {
    "default": {},
    "d 256, lr 1e-4": {"d": 256, "lr": 1e-4},
}
SETTING_SEEDS = {96: 10, 300: 6}
OFFICIAL = {
    "refit": False,
    "patience": TrainParams().epochs,
}  # and each member validates on the fold that it leaves out
SPOT_NS, SPOT_SEEDS = (1000, 4000), 4
WORLDS: dict[str, Literal["flat", "overlap"] | None] = {"main": None, "flat": "flat", "overlap": "overlap"}
COMBINED = ("ecmf+late", "mertools+late")
HEADS_OF_ALL = [*HEADS.built_in, *COMBINED]
MAIN_HEADS = [head for head in HEADS_OF_ALL if head in ("ecmf", "mertools", "logreg", *COMBINED)]
SPOT_HEADS = [head for head in HEADS_OF_ALL if head in ("ecmf", "mertools", "gated", "logreg", *COMBINED)]
SECTIONS = ("grid", "curve", "settings", "importance")


@dataclass(frozen=True)
class Task:
    """One draw of clips, and the heads that learn from it."""

    world: str
    setting: str
    n: int
    noise: float
    missing: float
    seed: int
    heads: tuple[HeadName, ...]

    def key(self, head: str, measure: str) -> Key:
        """Of one figure."""
        return Key(self.world, self.setting, self.n, self.noise, self.missing, self.seed, head, measure)


def plan(section: str) -> Iterator[Task]:
    """Seed by seed, so that an interrupted run has every cell, with fewer seeds."""
    if section == "grid":
        for seed in range(max(GRID_SEEDS.values())):
            for n, seeds in GRID_SEEDS.items():
                for cell in GRID[n] if seed < seeds else ():
                    heads = (
                        [head for head in HEADS_OF_ALL if head != "ensemble"] if cell in OTHERS_AT[n] else MAIN_HEADS
                    )
                    if cell == MIDDLE and seed < ENSEMBLE_SEEDS[n]:
                        heads = list(HEADS_OF_ALL)
                    yield Task("main", "default", n, *cell, seed, tuple(heads))
                    if n <= page.FEW:
                        yield Task("main", page.OFFICIAL, n, *cell, seed, ("mertools",))
    elif section == "curve":
        for seed in range(max(CURVE_SEEDS.values())):
            for n, seeds in CURVE_SEEDS.items():
                if seed < seeds:
                    yield Task("main", "default", n, *MIDDLE, seed, tuple(MAIN_HEADS))
    elif section == "settings":
        for seed in range(max(SETTING_SEEDS.values())):
            for n, seeds in SETTING_SEEDS.items():
                for name in SETTINGS if seed < seeds else ():
                    yield Task("main", name, n, *MIDDLE, seed, ("ecmf", "ecmf+late", "mertools"))
    else:
        for seed in range(SPOT_SEEDS):
            for n in SPOT_NS:
                for world in ("flat", "overlap"):
                    yield Task(world, "default", n, 0.0, 0.0, seed, tuple(SPOT_HEADS))


def measure(task: Task) -> Figures:
    """Train on noisy labels, and score on TEST other clips by their true class."""
    world = World(task.seed, WORLDS[task.world])
    train = world.draw(task.n, "train", task.missing, task.noise)
    test = world.draw(TEST, "test", task.missing)
    spot = None if task.world == "main" else world.informative(TEST, "test")

    def exact(features: Features) -> Matrix:
        return world.posterior(features).astype(np.float32)

    found = scores(task, "exact", test, exact(test.features))
    believed = (world.posterior(test.features) @ transition(task.noise)).argmax(axis=1)
    found[task.key("exact", "believed")] = Confusion.of(test.true, believed, len(CLASSES)).weighted_f1
    if spot is not None:
        found |= ranks(task, "exact", test, spot, exact, world.spot(test.features).astype(np.float32))
    official = task.setting == page.OFFICIAL
    params = TrainParams(seeds=(task.seed,), **(OFFICIAL if official else SETTINGS[task.setting]))  # type: ignore[arg-type]
    for head in task.heads:
        started = time.process_time()
        with fixed_threads():
            members = (officially if official else as_shipped)(head, train.features, labels_of(train), params)
            probabilities, weights = predict(members, test.features)
            found |= scores(task, head, test, probabilities)
            if spot is not None:
                said = partial(probabilities_of, members)
                found |= ranks(task, head, test, spot, said, weights)
        found[task.key(head, "cpu_s")] = time.process_time() - started
    return found


def labels_of(clips: Clips) -> Labels:
    """Folds that have each label in equal shares; nothing refines the labels."""
    n = len(clips.label)
    fold = np.empty(n, dtype=np.int64)
    fold[np.argsort(clips.label, kind="stable")] = np.arange(n) % FOLDS
    held_out = np.where(fold == np.arange(FOLDS)[:, None], MISSING, clips.label)
    return Labels(tuple(f"{i:05d}" for i in range(n)), fold, clips.label, clips.label, held_out, clips.true)


def as_shipped(head: HeadName, features: Features, labels: Labels, params: TrainParams) -> list[Member]:
    """By cross-validation: a fold is scored, one is validation, and then learnt from as well."""
    return [one.member for one in cross_validate(head, features, labels, len(CLASSES), params).members]


def officially(head: HeadName, features: Features, labels: Labels, params: TrainParams) -> list[Member]:
    """By the official code's recipe: a member learns from all folds but one, and is best where that one says so."""

    def examples(rows: Indices) -> Examples:
        return Examples.of(rows, labels.given[rows], labels.fold[rows], len(CLASSES))

    splits = [
        (examples(np.flatnonzero(labels.fold != f)), examples(np.flatnonzero(labels.fold == f))) for f in range(FOLDS)
    ]
    return [member for member, _ in fit_members(head, features, splits, params.seeds, len(CLASSES), params)]


def predict(members: list[Member], features: Features) -> tuple[Matrix, Matrix]:
    """Their mean probabilities and weights, as the stage `predict` has it."""
    said = [one.predict(features) for one in members]
    probabilities = np.mean([one.probabilities for one in said], axis=0)
    return probabilities, np.mean([one.weights for one in said], axis=0)


def probabilities_of(members: list[Member], features: Features) -> Matrix:
    """The first of `predict`."""
    return predict(members, features)[0]


def scores(task: Task, head: str, test: Clips, probabilities: Matrix) -> Figures:
    """Weighted and macro F1 of the most probable class."""
    confusion = Confusion.of(test.true, probabilities.argmax(axis=1), len(CLASSES))
    return {task.key(head, "f1"): confusion.weighted_f1, task.key(head, "macro_f1"): confusion.macro_f1}


def ranks(
    task: Task, head: str, test: Clips, spot: Indices, said: Callable[[Features], Matrix], weights: Matrix
) -> Figures:
    """How often the informative modality is first: by the weights, and by leaving each out."""
    found = {task.key(head, "alpha"): float((np.abs(weights).argmax(axis=1) == spot).mean())}
    for name, label in (("loo_true", test.true), ("loo_predicted", None)):
        first = leave_one_out(said, test.features, label).argmax(axis=1)
        found[task.key(head, name)] = float((first == spot).mean())
    return found


@cache
def code_of_head(head: str) -> str:
    """Changes when the head does, or how heads are trained, or the generator; not when another head does."""
    if head == "exact":
        return digest(code_parts(World))[:8]
    return digest([head_fingerprint(head_of(head, TrainParams()), "cpu").id, code_parts(World)])[:8]


def read(path: Path) -> Figures:
    """What was measured with the present code."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            Key(world, setting, int(n), float(noise), float(missing), int(seed), head, measure): float(value)
            for world, setting, n, noise, missing, seed, head, measure, value, code in list(csv.reader(file))[1:]
            if head in (*HEADS_OF_ALL, "exact") and code == code_of_head(head)
        }


def write(path: Path, figures: Figures) -> None:
    """All of them, in order."""
    with path.with_suffix(".tmp").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*Key._fields, "value", "code"])
        writer.writerows([*key, f"{value:.6g}", code_of_head(key.head)] for key, value in sorted(figures.items()))
    path.with_suffix(".tmp").replace(path)


def run(tasks: list[Task], figures: Figures, path: Path, jobs: int) -> None:
    """Measure in processes of their own, and write after every task."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        started = time.perf_counter()
        futures = [pool.submit(measure, task) for task in tasks]
        for done, future in enumerate(as_completed(futures), start=1):
            figures |= future.result()
            write(path, figures)
            print(f"{done}/{len(tasks)} {(time.perf_counter() - started) / 60:.1f} min", flush=True)


def missing_from(figures: Figures, section: str) -> list[Task]:
    """What is still to be measured."""
    left = []
    for task in plan(section):
        heads = tuple(head for head in task.heads if task.key(head, "f1") not in figures)
        if heads:
            left.append(replace(task, heads=heads))
    return left


def unimodal() -> str:
    """The limit of each modality alone, and of some together, on clips that have all."""
    world = World(0)
    test = world.draw(20_000, "test")
    rows = []
    for names in [*((name,) for name in NAMES), ("voice", "words"), ("face", "voice", "words"), NAMES]:
        mask = np.tile(np.isin(NAMES, names), (len(test.true), 1))
        said = world.posterior(Features(NAMES, test.features.x, mask)).argmax(axis=1)
        confusion = Confusion.of(test.true, said, len(CLASSES))
        rows.append([" + ".join(names), f"{confusion.weighted_f1:.3f}", f"{confusion.macro_f1:.3f}"])
    return page.table(["seen", "weighted F1", "macro F1"], rows)


def compose(figures: Figures) -> str:
    """The page; its plot is written beside it."""
    results = Results(figures)
    defaults = TrainParams()
    left = {section: len(missing_from(figures, section)) for section in SECTIONS}
    still = ", ".join(f"{section} {count}" for section, count in left.items() if count)
    figures_of = [
        figures[key._replace(measure="f1")] - value for key, value in figures.items() if key.measure == "believed"
    ]
    text = page.TEXT.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        command="python benchmarks/competition.py",
        machine=f"{os.cpu_count()} cores, one thread each, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "scikit-learn")),
        minutes=sum(value for key, value in figures.items() if key.measure == "cpu_s") / 60,
        left=f"**Not all is measured yet**: draws missing: {still}." if still else "",
        classes=len(CLASSES), rarest=PRIOR.min(), test=TEST,
        defaults=f"d {defaults.d}, lr {defaults.lr:g}, at most {defaults.epochs} epochs, patience {defaults.patience}, "
        f"{'then anew on the validation fold, too' if defaults.refit else 'not trained anew on the validation fold'}",
        believed=max(figures_of, default=float("nan")),
        middle=f"{MIDDLE[0]:.0%} wrong labels, {MIDDLE[1]:.0%} missing",
    )  # fmt: skip
    heads = list(HEADS_OF_ALL)
    parts: dict[str, Callable[[], str]] = {
        "unimodal": unimodal,
        "goals": lambda: page.goals(results, [(n, *cell) for n in GRID for cell in GRID[n]], SPOT_NS),
        **{f"grid{n}": partial(page.grid, results, n, GRID[n], heads) for n in GRID},
        "rare": lambda: page.rare(results, list(GRID_SEEDS), MIDDLE, heads),
        "curve": lambda: page.curve(results, list(CURVE_SEEDS), MIDDLE, MAIN_HEADS),
        "settings": lambda: page.settings(results, list(SETTING_SEEDS), MIDDLE, list(SETTINGS)),
        **{world: partial(page.importance, results, world, SPOT_NS, SPOT_HEADS) for world in ("flat", "overlap")},
    }
    return page.render(parts, text)


def main() -> None:
    """Measure what is not known yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SECTIONS, action="append", help="measure this part; may be given again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seeds", type=int, default=1000, help="no more than so many of each cell")
    parser.add_argument("--max-n", type=int, default=10**6, help="no more labels than that")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page of what is known")
    parser.add_argument("--out", type=Path, default=HERE / "competition.md")
    args = parser.parse_args()
    known = args.out.with_suffix(".csv")
    figures = read(known)
    for section in [] if args.page else args.only or SECTIONS:
        tasks = [task for task in missing_from(figures, section) if task.seed < args.seeds and task.n <= args.max_n]
        print(section, len(tasks), "draws", flush=True)
        run(tasks, figures, known, args.jobs)
    curve = plot(Results(figures), list(CURVE_SEEDS), MIDDLE, MAIN_HEADS)
    args.out.with_suffix(".svg").write_text(curve, encoding="utf-8")
    args.out.write_text(compose(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
