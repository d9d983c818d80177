"""The page of `competition.py`: its text and its tables, from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

FEW, NOISY = 300, 0.1  # labels; share of wrong ones
OFFICIAL = "official recipe"
OURS = "ecmf+late"  # compared with the official head
GAIN, LOSS = 0.05, -0.01  # the goals against the official head: where labels are few and noisy, and everywhere


class Key(NamedTuple):
    """What one figure is of. `head` is "exact" for the generator's own posterior."""

    world: str
    setting: str
    n: int
    noise: float
    missing: float
    seed: int
    head: str
    measure: str


@dataclass(frozen=True)
class Results:
    """All that was measured."""

    values: Mapping[Key, float]

    def by_seed(
        self, head: str, n: int, noise: float, missing: float, *, world: str = "main", setting: str = "default",
        measure: str = "f1",
    ) -> dict[int, float]:  # fmt: skip
        """The figures of one cell."""
        wanted = (world, setting, n, noise, missing)
        return {k.seed: v for k, v in self.values.items() if k[:5] == wanted and k[6:] == (head, measure)}

    def limits(self, n: int, noise: float, missing: float, *, world: str = "main", measure: str = "f1") -> list[float]:
        """Of the generator's posterior."""
        return list(self.by_seed("exact", n, noise, missing, world=world, measure=measure).values())


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and its 95 % interval by Student's t over seeds."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def paired(one: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """Differences over the seeds that both have."""
    return [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]


def shown(values: Sequence[float]) -> str:
    """Mean and half the interval's width."""
    if not values:
        return "–"
    mean, low, _ = interval(values)
    return f"{mean:.3f}" + (f" ± {mean - low:.3f}" if len(values) > 1 else "")


def difference(values: Sequence[float]) -> str:
    """Mean and interval, signed."""
    if not values:
        return "–"
    mean, low, high = interval(values)
    return f"{mean:+.3f}" + (f" [{low:+.3f}, {high:+.3f}]" if len(values) > 1 else "")


def verdict(values: Sequence[float], goal: float) -> str:
    """Whether the mean difference is at least the goal: surely, by the mean alone, or not."""
    if len(values) < 2:
        return "–"
    mean, low, high = interval(values)
    return "yes" if low >= goal else "no" if high < goal else "mean only" if mean >= goal else "mean below"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column is text."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def grid(results: Results, n: int, cells: Sequence[tuple[float, float]], heads: Sequence[str]) -> str:
    """The cells of one n."""
    rows = []
    for noise, missing in cells:
        found = {head: results.by_seed(head, n, noise, missing) for head in heads}
        ours = paired(found[OURS], found["mertools"])
        official = results.by_seed("mertools", n, noise, missing, setting=OFFICIAL)
        goals = [verdict(ours, GAIN) if n <= FEW and noise >= NOISY else "", verdict(ours, LOSS)]
        rows.append([
            f"{noise:.0%}, {missing:.0%}", f"{len(ours)}", shown(results.limits(n, noise, missing)),
            *(shown(list(found[head].values())) for head in heads), difference(ours), *goals,
            shown(list(official.values())), difference(paired(found[OURS], official)),
        ])  # fmt: skip
    names = [f"`{head}`" for head in heads]
    last = ["`ecmf+late` − `mertools`", "≥ +.05", "≥ −.01", "official recipe", "`ecmf+late` − that"]
    return table(["wrong labels, missing", "seeds", "limit", *names, *last], rows)


def goals(results: Results, cells: Sequence[tuple[int, float, float]], ns: Sequence[int]) -> str:
    """How many cells reach the two goals, and the difference in the worlds of `importance`, of n labels."""
    differences = {cell: paired(results.by_seed(OURS, *cell), results.by_seed("mertools", *cell)) for cell in cells}
    measured = {cell: values for cell, values in differences.items() if len(values) > 1}
    few = {cell: values for cell, values in measured.items() if cell[0] <= FEW and cell[1] >= NOISY}

    def count(of: Mapping[tuple[int, float, float], list[float]], goal: float) -> str:
        met = [verdict(values, goal) for values in of.values()]
        reached = met.count("yes") + met.count("mean only")
        return (
            f"{reached} of {len(met)} cells by the mean, {met.count('yes')} with the whole interval; "
            f"{met.count('no')} miss it with the whole interval"
        )

    elsewhere = []
    for world in ("flat", "overlap"):
        for n in ns:
            ours, theirs = (results.by_seed(head, n, 0.0, 0.0, world=world) for head in (OURS, "mertools"))
            elsewhere.append(f"*{world}* with {n:,} labels {difference(paired(ours, theirs))}")
    lines = [
        f"- At least five points better where labels are few and noisy (n ≤ {FEW}, {NOISY:.0%} or more wrong): "
        f"{count(few, GAIN)}.",
        f"- The same, the mean of the cells: {regime(results, list(few), 'default')}; where 30% are missing "
        f"{regime(results, [cell for cell in few if cell[2] < 0.5], 'default')}, where 60% are "
        f"{regime(results, [cell for cell in few if cell[2] > 0.5], 'default')}.",
        f"- Against the official recipe, the mean of the cells: {regime(results, list(few), OFFICIAL)}; where 30% are "
        f"missing {regime(results, [cell for cell in few if cell[2] < 0.5], OFFICIAL)}, where 60% are "
        f"{regime(results, [cell for cell in few if cell[2] > 0.5], OFFICIAL)}.",
        f"- Nowhere more than one point worse: {count(measured, LOSS)}.",
        f"- In the worlds below that were made for the weights, clean and whole: {', '.join(elsewhere)}.",
    ]
    for n in sorted({cell[0] for cell in measured}):
        means = [float(np.mean(values)) for cell, values in measured.items() if cell[0] == n]
        lines.append(
            f"- n = {n:,}: the mean difference is {min(means):+.3f} to {max(means):+.3f} over {len(means)} cells."
        )
    return "\n".join(lines)


def regime(results: Results, cells: Sequence[tuple[int, float, float]], setting: str) -> str:
    """`ecmf+late` − `mertools` in a setting, the mean over cells of each seed that all cells have."""
    each = []
    for cell in cells:
        ours, theirs = results.by_seed(OURS, *cell), results.by_seed("mertools", *cell, setting=setting)
        each.append({seed: ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()})
    seeds = set.intersection(*map(set, each)) if each else set()
    return difference([float(np.mean([of[seed] for of in each])) for seed in sorted(seeds)])


def rare(results: Results, ns: Sequence[int], cell: tuple[float, float], heads: Sequence[str]) -> str:
    """Macro F1, which weighs a rare class like a common one."""
    rows = [
        [f"`{head}`", *(shown(list(results.by_seed(head, n, *cell, measure="macro_f1").values())) for n in ns)]
        for head in heads
    ]
    limit = ["limit", *(shown(results.limits(n, *cell, measure="macro_f1")) for n in ns)]
    return table(["macro F1", *(f"n = {n:,}" for n in ns)], [*rows, limit])


def curve(results: Results, ns: Sequence[int], cell: tuple[float, float], heads: Sequence[str]) -> str:
    """The learning curve as a table."""
    rows = []
    for n in ns:
        found = {head: results.by_seed(head, n, *cell) for head in heads}
        pairs = [difference(paired(found[OURS], found[head])) for head in ("mertools", "logreg")]
        each = [shown(list(found[head].values())) for head in heads]
        rows.append([f"{n:,}", f"{len(found['ecmf'])}", shown(results.limits(n, *cell)), *each, *pairs])
    names = [f"`{head}`" for head in heads]
    return table(["labels", "seeds", "limit", *names, "`ecmf+late` − `mertools`", "`ecmf+late` − `logreg`"], rows)


def settings(results: Results, ns: Sequence[int], cell: tuple[float, float], names: Sequence[str]) -> str:
    """Other settings beside the default, on the same seeds; last, `ecmf+late` at the default against them."""
    rows = []
    for n in ns:
        for name in names:
            found = {head: results.by_seed(head, n, *cell, setting=name) for head in (OURS, "mertools")}
            seeds = set.intersection(*(set(results.by_seed(h, n, *cell, setting=s)) for h in found for s in names))
            kept = {head: {seed: value for seed, value in of.items() if seed in seeds} for head, of in found.items()}
            each = [shown(list(of.values())) for of in kept.values()]
            pairs = [paired(ours, kept["mertools"]) for ours in (kept[OURS], results.by_seed(OURS, n, *cell))]
            rows.append([f"{n:,}, {name}", f"{len(seeds)}", *each, *map(difference, pairs)])
    return table(
        ["labels, setting", "seeds", "`ecmf+late`", "`mertools`", "difference", "`ecmf+late` at default −"], rows
    )


def importance(results: Results, world: str, ns: Sequence[int], heads: Sequence[str]) -> str:
    """Share of clips in which each way to rank has the informative modality first."""
    measures = ("f1", "alpha", "loo_true", "loo_predicted")
    rows = []
    for n in ns:
        for head in heads:
            found = [list(results.by_seed(head, n, 0.0, 0.0, world=world, measure=m).values()) for m in measures]
            rows.append([f"{n:,}, `{head}`", f"{len(found[0])}", *(shown(values) for values in found)])
    exact = [results.limits(ns[-1], 0.0, 0.0, world=world, measure=m) for m in measures]
    rows.append(["exact", f"{len(exact[0])}", *(shown(values) for values in exact)])
    return table(["labels, head", "seeds", "weighted F1", "α", "left out: true class", "left out: predicted"], rows)


def render(parts: Mapping[str, Callable[[], str]], text: str) -> str:
    """The text with each @NAME on a line of its own replaced."""
    return "\n".join(parts[line[1:]]() if line.startswith("@") else line for line in text.split("\n"))


TEXT = """# A controlled study

{date}, `{command}`. {machine}. {minutes:.0f} minutes of CPU time. {left}

Generated clips (`generated.py`): {classes} classes, of which the rarest has {rarest:.0%}; a strong and easy face
that is in conflict with the truth in a quarter of the clips, a frame that is redundant to it, a voice and words
that are fainter and harder; absent modalities; labels that are wrong in the way confusable classes are, by people
who err alike. Its structure was fixed before any head had been run on it. A head learns from n clips by 5-fold
cross-validation, as in the pipeline; the mean of its members is scored on {test:,} other clips with true labels. A
seed is a new draw of everything, and the heads share it. How `logreg` pools opinions, and that it is averaged
with `ecmf`, was decided on other draws (seeds 1000 to 1007). All networks have the shipped defaults
({defaults}) unless a table says otherwise.

*Limit* is the most probable class by the generator's exact posterior, on the same clips: the best accuracy that
anybody could have (a rule made for weighted F1 might score a little more of that). That posterior mixed by the true
confusion of the labels, what a head would learn from endless noisy labels, scores at most {believed:.3f} less.
Intervals are 95 % by Student's t over seeds.

What the modalities are worth, by the exact posterior (20,000 clips, nothing missing):

@unimodal

## Labels, noise and missing modalities

Goals against the official head (`mertools`): at least .05 better where labels are few and noisy, and nowhere more
than .01 worse. *yes*: so is the whole interval; *mean only*, *mean below*: the interval holds the goal; *no*: the
whole interval misses it. *Seeds* are those that the difference has; another head's mean may be over more. The heads of
a row are trained alike. *Official recipe* is `mertools` as the official code trains it: all folds but one, best epoch
on that one, and never anew.

@goals

### n = 96

@grid96

### n = 300

@grid300

### n = 3,000

@grid3000

### Rare classes

{middle}.

@rare

## Learning curve

{middle}.

@curve

![Weighted F1 by the number of labels](competition.svg)

## Other settings

{middle}; the same seeds for all settings of an n. The last column is
`ecmf+late` as shipped against `mertools` in that setting.

@settings

## Which modality told

Here one modality of each clip, drawn evenly, tells the class: chance is .25. Clean labels, nothing missing, four
modalities of equal strength. α is the largest of the weights that a head reports (`mertools`: by size); *left out*
is the largest drop of a class's log-probability when a modality is masked at prediction time
(`scores/importance.py`), of the true class or of the predicted one. *exact* is what the features allow: for α the
probability that a modality is the one, for the rest the exact posterior.

**Flat**: the others show nothing.

@flat

**Overlap**: each of the others shows a wrong class, just as clearly.

@overlap

With overlap, little in the features says which modality tells the class. No weight that is computed from them, and no
leaving-out that follows the predicted class, can rank it first more often than *exact* under α. Following the true
class uses the label, so it can be had on labelled clips only.
"""
