"""The tables of docs/results.md, made from benchmarks/ and metrics/ so that no figure is copied by hand.

In the page a table stands between `<!-- NAME -->` and `<!-- /NAME -->`; NAME is a key of TABLES. `python docs/write.py`
writes them all. A test compares BENCHMARK_TABLES; the tables of metrics/ change with every run of the demo.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

from mer_pipeline.metrics.predict import CandidateScores, PredictMetrics
from mer_pipeline.metrics.scores import Blind, Calibration, Score
from mer_pipeline.metrics.train import HeadScores, TrainMetrics

ROOT = Path(__file__).resolve().parent.parent
RESULTS_PAGE = ROOT / "docs/results.md"
BENCHMARKS = ROOT / "benchmarks"


def results_page() -> str:
    """The page with its tables made anew."""
    text = RESULTS_PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, _, after = text.partition(begin)
        _, ended, after = after.partition(end)
        if not ended:
            raise SystemExit(f"error: docs/results.md has no place for the table '{name}': write {begin}{end}")
        text = before + begin + "\n".join(table()) + "\n" + end + after
    return text


def heads_table() -> list[str]:
    """Heads on all modalities of real features, at both settings, and `ecmf` minus each."""
    page = _page("heads")
    columns = {"default": "d 64, lr 1e-3 (default)", "quick": "d 256, lr 1e-4"}
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: {title: ["", ""] for title in columns})
    for title in columns:
        for name, *cells in _rows(page, f"## Setting `{title}`", "| head |"):
            found[name][title][0] = cells[-1]
        for name, less, _ in _rows(page, f"## Setting `{title}`", "| against |"):
            found[name][title][1] = less
        off = f"## Setting `{title}, late fusion off`"  # of pages from before `ecmf` was the network alone
        if off in page:
            alone = _rows(page, off, "| head |")[0]
            found[f"{alone[0]}, its network alone"][title][0] = alone[-1]
    header = " | ".join(f"{column} | `ecmf` minus it" for column in columns.values())
    return _table(f"head | {header}", [[name, *chain.from_iterable(each.values())] for name, each in found.items()])


def competition_table() -> list[str]:
    """`ecmf` minus `mertools` on generated clips, the mean over draws."""
    f1: dict[tuple[str, ...], float] = {}
    with (BENCHMARKS / "competition.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["world"], row["setting"], row["measure"]) == ("main", "default", "f1"):
                f1[row["missing"], row["noise"], row["n"], row["seed"], row["head"]] = float(row["value"])
    gains: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for (*of, seed, head), value in f1.items():
        theirs = f1.get((*of, seed, "mertools"))
        if head == "ecmf" and of[2] in ("96", "300", "3000") and theirs is not None:
            gains[tuple(of)].append(value - theirs)
    columns = [n for n in ("96", "300", "3000") if any(of[2] == n for of in gains)]
    rows = []
    for missing, noise in sorted({of[:2] for of in gains}, key=lambda of: tuple(map(float, of))):
        each = [gains.get((missing, noise, n)) for n in columns]
        cells = [f"{sum(of) / len(of):+.3f}" if of else "" for of in each]
        rows.append([f"{float(missing):.0%}", f"{float(noise):.0%}", *cells])
    return _table("missing | wrong labels | " + " | ".join(f"{int(n):,} labels" for n in columns), rows)


def settings_table() -> list[str]:
    """`ecmf` and `mertools` on generated clips in other settings."""
    rows = _rows(_page("competition"), "## Other settings", "| labels, setting |")
    return _table("labels, setting | draws | `ecmf` | `mertools` | difference", [row[:5] for row in rows])


def worlds_table() -> list[str]:
    """How often a head's weights, or leaving out, name the one modality that tells the class."""
    page, rows = _page("competition"), []
    for title, section in (
        ("nothing", "**Flat**: the others show nothing."),
        ("a wrong class", "**Overlap**: each of the others shows a wrong class, just as clearly."),
    ):
        for name, _, f1, alpha, true, predicted in _rows(page, section, "| labels, head |"):
            if "`ecmf`" in name or "`mertools`" in name or name == "exact":
                rows.append([title, name, f1, alpha, predicted, true])
    return _table(
        "the others show | labels, head | weighted F1 | α | left out: predicted class | left out: true class", rows
    )


def ablation_table() -> list[str]:
    """One part off at a time, on real features and on the demo split."""
    found: dict[str, list[str]] = defaultdict(lambda: [""] * 6)
    for at, title in enumerate(("## Real features", "## The demo split")):
        for name, *cells in _rows(_page("ablation"), title, "| variant |"):
            found[name][3 * at : 3 * at + 3] = cells[:3]
    header = "variant | real features | minus all of it | p | demo split, true labels | minus all of it | p"
    return _table(header, [[name, *cells] for name, cells in found.items()])


def labels_table() -> list[str]:
    """Label models on CREMA-D's votes, where a tied crowd has no vote."""
    rows = []
    for votes, method, accuracy, interval in _rows(_page("labels"), "## Real votes", "| votes |"):
        if "first letter" not in votes:
            rows.append([votes.removesuffix(", ties: no vote"), method.replace("**", ""), accuracy, interval])
    return _table("votes | method | accuracy | 95 % over actors", rows)


def pseudo_table() -> list[str]:
    """What pseudo-labels gain, by the stage's rule and by one set of pseudo-labels for all folds."""
    rows = _rows(_page("pseudo"), "# Pseudo-labels on real features", "| judge right |")
    header = (
        "judge right | taken | right of them | head | out of fold | test | gain by the stage: out of fold | test"
        " | gain by one set for all folds: out of fold | test"
    )
    return _table(header, [row[:10] for row in rows])


def copied(page: str, section: str, begin: str) -> list[str]:
    """A table as it stands in a page of benchmarks/."""
    return [_short(line) for line in _lines(_page(page), section, begin)]


def demo_table() -> list[str]:
    """Heads on all modalities, and the best head on each alone: of metrics/."""
    train, test = _demo()
    columns = ("F1, given labels", "log loss", "ECE", "Brier", "F1, true", "F1, test (mean ± sd over seeds)")
    header = " | ".join(["head", *columns, "log loss", "ECE", "Brier"])
    rows = []
    for name, of in train.heads.items():
        rows.append(_scores(f"{name} (selected)" if name == train.selected else name, of, test.heads[name]))
    for modality in train.modalities:
        each = train.single[modality]
        name = max(each, key=lambda head: each[head].given.weighted_f1)  # as `train` selects: never by the test
        mixed = ", mixed" if modality in train.mixed else ""
        rows.append(_scores(f"{modality} alone ({name}{mixed})", each[name], test.single[modality][name]))
    if train.baselines is not None:
        given, true = train.baselines.given, train.baselines.true
        for title, one, other, tested in (
            (f"always {given.label}", given.majority, true and true.majority, test.baselines.majority),
            ("drawn by the shares", given.prior, true and true.prior, test.baselines.prior),
        ):
            f1 = f"{other.weighted_f1:.3f}" if other else ""
            rows.append([title, *_blind(one), f1, *_blind(tested)])
    return _table(header, rows)


def calibration_table() -> list[str]:
    """The selected head's calibration on the demo split: of metrics/."""
    train, test = _demo()
    head = train.heads[train.selected or ""].out_of_fold
    rows = [
        _calibration("out of fold, given labels", head.temperature, head.calibration),
        _calibration("test, true labels", head.temperature, test.selected.calibration),
    ]
    return _table(f"`{train.selected}` | T | ECE | ECE, tempered | ECE, if it were calibrated", rows)


BENCHMARK_TABLES: dict[str, Callable[[], list[str]]] = {
    "heads": heads_table,
    "ablation": ablation_table,
    "competition": competition_table,
    "settings": settings_table,
    "worlds": worlds_table,
    "search": partial(copied, "search", "# A search for settings on real features", "| mean over"),
    "labels": labels_table,
    "clique": partial(copied, "labels", "## A clique", "| |"),
    "label speed": partial(copied, "labels", "## Speed", "| |"),
    "pseudo": pseudo_table,
    "enrichment": partial(copied, "enrichment", "# Enriched text beside plain words", "| text |"),
    "emodb": partial(copied, "emodb", "# Sound through the whole pipeline", "| head |"),
    "training speed": partial(copied, "train", "# Training heads", "| |"),
}
TABLES = BENCHMARK_TABLES | {"demo": demo_table, "calibration": calibration_table}


def _page(name: str) -> str:
    return (BENCHMARKS / f"{name}.md").read_text(encoding="utf-8")


def _lines(page: str, section: str, begin: str) -> list[str]:
    """The lines of a table; it is the first in its section that begins so."""
    table = page.partition(f"{section}\n")[2].partition("\n## ")[0].partition(f"\n{begin}")[2].partition("\n\n")[0]
    if not table:
        raise SystemExit(f"error: no table in benchmarks/ begins {begin!r} below {section!r}; write that page anew")
    return f"{begin}{table}".rstrip().splitlines()


def _rows(page: str, section: str, begin: str) -> list[list[str]]:
    """The cells of the rows below its header."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in _lines(page, section, begin)[2:]]


def _table(header: str, rows: list[list[str]]) -> list[str]:
    rule = "|---" * (header.count(" | ") + 1) + "|"
    return [f"| {header} |", rule, *(_short(f"| {' | '.join(row)} |") for row in rows)]


def _short(cells: str) -> str:
    """Figures as the page has them: .630 and −.001."""
    return re.sub(r"-(?=\.)", "−", re.sub(r"\b0\.(?=\d{3})", ".", cells))


def _demo() -> tuple[TrainMetrics, CandidateScores]:
    train = TrainMetrics.read(ROOT / "metrics/train.json")
    test = PredictMetrics.read(ROOT / "metrics/predict.json").test
    if test is None or train.selected is None:
        raise SystemExit("error: metrics/ has no scores of the test; run `make repro` on the demo split")
    return train, test


def _scores(title: str, fold: HeadScores, test: Score) -> list[str]:
    true = "" if fold.true is None else f"{fold.true.weighted_f1:.3f}"
    given, tested = ([f"{value:.3f}" for value in (of.log_loss, of.ece, of.brier)] for of in (fold.given, test))
    f1 = f"{test.weighted_f1:.3f} ± {test.weighted_f1_sd:.3f}"
    return [title, f"{fold.given.weighted_f1:.3f}", *given, true, f1, *tested]


def _blind(of: Blind) -> list[str]:
    loss, brier = ("" if value is None else f"{value:.3f}" for value in (of.log_loss, of.brier))
    return [f"{of.weighted_f1:.3f}", loss, "", brier]


def _calibration(title: str, temperature: float, of: Calibration) -> list[str]:
    return [title, f"{temperature:.2f}", *(f"{ece:.3f}" for ece in (of.ece, of.ece_tempered, of.ece_if_calibrated))]
