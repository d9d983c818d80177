"""The command `mer compare A B`: test whether B's predictions are better than A's, on the same clips.

Out-of-fold predictions are scored against the given labels, or against the labels of a CSV file. Clips that one side
lacks, or whose given labels differ between the sides, are left out and counted.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mer_pipeline.base.errors import UsageError
from mer_pipeline.cli.answers import (
    FILES,
    Answers,
    classes_of,
    groups_of,
    indices,
    printable,
    read_answers,
    read_truth,
)
from mer_pipeline.cli.diff import WORKSPACE
from mer_pipeline.cli.score import about_blind, about_interval, blind_to, measure_title
from mer_pipeline.cli.target_scores import compare_target, show, target_here
from mer_pipeline.config.project import Project
from mer_pipeline.metrics.base import Figures
from mer_pipeline.metrics.scores import Baselines
from mer_pipeline.scores.paired import Difference, Paired, paired


class Compared(Figures):
    """The result of `mer compare`, as `--json` prints it.

    Attributes:
        a, b: the titles of the two sides.
        against: the name of the labels that both are scored against.
        only_a, only_b: the number of clips that only this side predicts.
        without_label: the number of clips of both sides without a label to score against.
        classes: the classes, in order.
        paired: the scores of both sides and their differences.
        baselines: what is had without looking at a clip, by one who knows how frequent each class is.
    """

    a: str
    b: str
    against: str
    only_a: int
    only_b: int
    without_label: int
    classes: tuple[str, ...]
    paired: Paired
    baselines: Baselines


def compare_runs(
    a: str | None,
    b: str | None,
    head: str | None,
    against: str | None,
    truth: Path | None,
    test: bool,
    project: Project,
) -> Compared:
    """Compare two sides (`answers.py` lists what a side may be).

    Args:
        a: side A; None: the workspace.
        b: side B; None: the same as A if `against` is given, else the workspace.
        head: the head of A, and of B unless `against` is given; None: the selected head of each.
        against: the head of B; None: `head`.
        truth: a CSV file with the labels to score against; None: the labels of the runs themselves.
        test: whether to compare the predictions of the test candidates.
        project: the project in which revisions are looked up.

    Raises:
        UsageError: a side or the truth cannot be read, the sides are the same, they have no labels to score against,
            no clip in common or different classes.
        StageError: a table is damaged, has no predictions, or is not in DVC's cache.
    """
    a = a or WORKSPACE
    b = b or (a if against else WORKSPACE)
    if a == b and (against or head) == head:
        raise UsageError("A and B are the same predictions; name two runs, or two heads with --head and --against")
    if against and Path(b).suffix == ".csv":
        raise UsageError(f"{b} is a CSV, and a CSV has no heads: leave out --against")
    side_a = read_answers(a, head, project, test=test)
    side_b = read_answers(b, against or head, project, test=test)
    true_of, title = _yardstick(side_a, side_b, truth, test)
    both = sorted(side_a.labels.keys() & side_b.labels.keys())
    names = [name for name in both if name in true_of]
    if not names:
        raise UsageError(f"{side_a.title} and {side_b.title} have no clip in common that has a label in {title}")
    if side_a.classes and side_b.classes and set(side_a.classes) != set(side_b.classes):
        raise UsageError(
            f"A is about the classes {', '.join(side_a.classes)}, B about {', '.join(side_b.classes)}; "
            "only runs on the same classes can be compared"
        )
    classes = side_b.classes or side_a.classes or classes_of(true_of, project)
    group_of = side_b.groups or side_a.groups or groups_of(project)
    true, said_a, said_b = (
        np.array(indices(labels, names, classes, where), dtype=np.int64)
        for labels, where in ((true_of, title), (side_a.labels, side_a.title), (side_b.labels, side_b.title))
    )
    return Compared(
        a=side_a.title,
        b=side_b.title,
        against=title,
        only_a=len(side_a.labels.keys() - side_b.labels.keys()),
        only_b=len(side_b.labels.keys() - side_a.labels.keys()),
        without_label=len(both) - len(names),
        classes=classes,
        paired=paired(true, said_a, said_b, [group_of.get(name, name) for name in names], classes),
        baselines=blind_to(true, classes),
    )


def _yardstick(a: Answers, b: Answers, truth: Path | None, test: bool) -> tuple[dict[str, str], str]:
    """Return the labels that both sides are scored against, by clip, and their name for messages."""
    if truth is not None:
        return read_truth(truth), str(truth)
    if not a.given and not b.given:
        of = "no true labels" if test else f"labels only where the sides are runs, not {' or '.join(FILES)} files"
        raise UsageError(f"there are {of}: say what both are to be compared with, --truth FILE.csv")
    title = "the true labels" if test else "the given labels"
    if not a.given or not b.given:
        return a.given or b.given, title
    return {name: label for name, label in b.given.items() if a.given.get(name) == label}, title


def compare_text(found: Compared) -> str:
    """Return the result as text."""
    of = found.paired
    left = [
        f"{count} {why}"
        for count, why in (
            (found.only_a, "only in A"),
            (found.only_b, "only in B"),
            (found.without_label, "without a label that both are judged by"),
        )
        if count
    ]
    wide = max(12, *(len(name) for name in found.classes))
    lines = [
        f"A: {found.a}",
        f"B: {found.b}",
        f"{of.n} clips against {found.against}" + (f"; left out: {', '.join(left)}" if left else ""),
        "",
        f"{'':<{wide}}      A      B   B - A",
    ]
    lines += [_line(measure_title(name), row, wide) for name, row in of.scores.items()]
    lines += about_interval(of.resamples, of.units, of.over, of.caveat)
    lines += about_blind(found.baselines)
    lines += ["", "F1 of each class"] + [_line(name, row, wide) for name, row in of.per_class.items()]
    right = of.right
    lines += [
        "",
        f"weighted F1: B is better in {100 * of.b_better:.1f} % of the resamples; p = {of.p:.3g}, two-sided",
        f"right: both {right.both}, only A {right.only_a}, only B {right.only_b}, neither {right.neither}",
    ]
    return "\n".join(lines)


def _line(title: str, row: Difference, wide: int) -> str:
    span = f"[{row.low:+.3f}, {row.high:+.3f}]"
    return f"{title:<{wide}}  {row.a:.3f}  {row.b:.3f}  {row.difference:+.3f}  {span}"


def run_compare(
    a: str | None,
    b: str | None,
    head: str | None,
    against: str | None,
    truth: Path | None,
    project: Project,
    *,
    test: bool,
    json_wanted: bool,
) -> None:
    """Compare two sides, and print the result. The arguments are those of `compare_runs`."""
    if (target := target_here(project)) is not None:
        show(compare_target(target, (a, b), (head, against), truth, project, test=test), json_wanted=json_wanted)
        return
    found = compare_runs(a, b, head, against, truth, test, project)
    print(json.dumps(found.plain(), indent=1, ensure_ascii=False) if json_wanted else printable(compare_text(found)))
