"""Build metrics/labels.json, which describes the votes and the refined labels of the stage `labels`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mer_pipeline.labels.dependence import Excess, join_dependent, within
from mer_pipeline.labels.identifiability import cannot_tell, measured_crowds
from mer_pipeline.labels.judges import FINAL, serving
from mer_pipeline.labels.refined import LabelParams
from mer_pipeline.labels.source_accuracy import SourceAccuracy, source_accuracies
from mer_pipeline.labels.votes import MISSING, read_votes
from mer_pipeline.metrics.labels import DependentPair, FamilyPair, FamilyVotes, JudgeVotes, LabelMetrics, SourceTrust

SHOWN = 12  # the most families whose pairs are listed; of 109 there would be 5,886 pairs


def agree(
    votes: pa.Table, labels: pa.Table, classes: tuple[str, ...], params: LabelParams, judges: Iterable[str] = ()
) -> LabelMetrics:
    """Return how far the families agree with each other, and how many labels refinement changed.

    Agreement and kappa are rounded to 6 digits, source accuracies to 4.

    Args:
        votes: the votes that `label_table` took.
        labels: the table that `label_table` returned.
        classes: the classes, in order.
        params: the method of refinement and its settings.
        judges: the names of the judges, whose votes and abstentions are counted.
    """
    final = labels.filter(pc.equal(labels["held_out_fold"], FINAL))
    votes = serving(votes, FINAL)
    votes = votes.filter(pc.is_in(votes["clip_id"], value_set=final["clip_id"].combine_chunks()))
    voted = Counter(votes["source"].to_pylist())
    read = read_votes(votes, final["clip_id"].to_pylist(), classes)
    given = final["given"].to_pylist()
    members = within(read, len(classes))
    _, joined = join_dependent(read, len(classes)) if not params.independent else (read, ())
    trust = source_accuracies(read, len(classes), independent=params.independent)
    crowds = measured_crowds(read, len(classes))
    changed = [label for label, moved in zip(given, final["changed"].to_pylist(), strict=True) if moved]
    return LabelMetrics(
        method=params.method,
        labelled=len(given),
        changed=len(changed),
        changed_by_class={label: changed.count(label) for label in classes},
        given_by_class={label: given.count(label) for label in classes},
        families={
            name: FamilyVotes(sources=sources, votes=int((column != MISSING).sum()))
            for name, sources, column in zip(read.families, read.sources, read.matrix.T, strict=True)
        },
        judges={name: JudgeVotes(votes=voted[name], abstentions=len(given) - voted[name]) for name in judges},
        sources={of.source: _source(of) for of in trust},
        crowds=crowds,
        pairs=tuple(
            _pair(read.families[i], read.families[j], read.matrix[:, i], read.matrix[:, j], classes)
            for i, j in combinations(range(min(len(read.families), SHOWN)), 2)
        ),
        dependent=tuple(_excess(pair) for pair in joined),
        within_families=tuple(_excess(pair) for pair in members),
        warnings=(
            *(_warning(pair, "families") for pair in joined),
            *(_warning(pair, "sources of one family") for pair in members if pair.suspicious),
            *cannot_tell(read, params, crowds),
        ),
        suspect=len(given) - final["suspect"].null_count,
    )


def _source(of: SourceAccuracy) -> SourceTrust:
    return SourceTrust(
        family=of.family,
        votes=of.votes,
        accuracy=_rounded(of.accuracy),
        low=_rounded(of.low),
        high=_rounded(of.high),
    )


def _excess(pair: Excess) -> DependentPair:
    return DependentPair(
        a=pair.a, b=pair.b, n=pair.n, agreement=round(pair.agreement, 6), expected=round(pair.expected, 6)
    )


def _warning(pair: Excess, what: str) -> str:
    return (
        f"the {what} '{pair.a}' and '{pair.b}' agree on {pair.agreement:.0%} of {pair.n} clips, and their accuracy "
        f"explains {pair.expected:.0%}: one may copy the other, or they err on the same clips"
    )


def _rounded(value: float | None) -> float | None:
    """Round to 4 digits, because the tolerance of EM leaves the further digits uncertain."""
    return None if value is None else round(value, 4)


def _pair(a: str, b: str, x: NDArray[np.int64], y: NDArray[np.int64], classes: Sequence[str]) -> FamilyPair:
    """Return the observed agreement p_o of two families and Cohen's kappa, (p_o - p_e) / (1 - p_e).

    The expected agreement p_e comes from the two families' shares of the classes on the clips that both vote on.

    Args:
        a: the name of one family.
        b: the name of the other.
        x: int64 (n,), the votes of the first, MISSING where it has none.
        y: int64 (n,), the votes of the second.
        classes: the classes, in order.
    """
    both = (x != MISSING) & (y != MISSING)
    n = int(both.sum())
    if not n:
        return FamilyPair(a=a, b=b, n=0, agreement=None, kappa=None)
    x, y, count = x[both], y[both], len(classes)
    observed = float((x == y).mean())
    chance = float((np.bincount(x, minlength=count) / n) @ (np.bincount(y, minlength=count) / n))
    kappa = None if chance == 1 else round((observed - chance) / (1 - chance), 6)
    return FamilyPair(a=a, b=b, n=n, agreement=round(observed, 6), kappa=kappa)
