"""The default method on crowds of many kinds: as good as the given labels and the best of simpler methods, and as sure
as it is right. The faults of an audit are each a test."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from mer_pipeline.labels.hierarchical import hierarchical
from mer_pipeline.labels.refined import LabelParams, Refined
from mer_pipeline.labels.refinement import refine
from mer_pipeline.labels.source_accuracy import source_accuracies
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.calibration import expected_calibration_error, log_loss
from tests.labels import crowds
from tests.labels.crowds import KINDS, Made

SEED = 100


def refined(made: Made, method: str = "consensus", **other: object) -> Refined:
    """The made votes, refined."""
    return refine(made.votes(), made.names, LabelParams.model_validate({"method": method, **other}))


def right(made: Made, found: Refined) -> float:
    """Its accuracy."""
    return float((found.label == made.true).mean())


def recall(made: Made, label: np.ndarray) -> float:
    """The mean recall over the classes (UAR)."""
    return float(np.mean([(label[made.true == c] == c).mean() for c in np.unique(made.true)]))


def error(made: Made, found: Refined) -> float:
    """The ECE of its posterior."""
    return expected_calibration_error(found.posterior.astype(np.float32), made.true)


SURE = {
    "independent",
    "clique",
    "misled",
    "copied",
    "two",
    "adversaries",
    "rare",
    "biased",
    "nine_workers",
    "two_crowds",
}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("three", "workers")])
def test_no_simpler_method_is_better(kind: str) -> None:
    """It is at most .01 worse than the given labels, and than the majority of all voters where that is better; on 150
    clips one standard error is .02. The posteriors are as sure as they are right (ECE at most .08)."""
    made = KINDS[kind](SEED)
    found = refined(made)
    shares = (made.matrix[:, :, None] == np.arange(made.classes)).sum(axis=1)
    majority = float((shares.argmax(axis=1) == made.true).mean())
    allowed = 0.03 if kind == "little" else 0.01
    assert right(made, found) >= max(float((made.given == made.true).mean()), majority) - allowed
    if kind in SURE:
        assert error(made, found) <= 0.08


@pytest.mark.parametrize("method", ["dirichlet-multinomial", "consensus", "dawid-skene", "one-coin"])
def test_two_families_are_never_worse_than_the_better(method: str) -> None:
    """Good given labels beside a poor crowd stay; beside nine good raters poor given labels are mended. EM on two
    families believed either the one or the other."""
    poor = crowds.poor_crowd(SEED)
    assert right(poor, refined(poor, method)) >= (poor.given == poor.true).mean() - 0.01
    nine = crowds.nine_workers(SEED)
    assert right(nine, refined(nine, method)) >= (nine.given == nine.true).mean() + 0.12


def test_counts_without_names_mend_labels_too() -> None:
    """Nine raters of whom only the counts are known."""
    nine = crowds.nine_workers(SEED)
    found = refine(nine.votes(raters=False), nine.names, LabelParams())
    assert right(nine, found) >= (nine.given == nine.true).mean() + 0.1


def test_three_families_of_which_two_may_be_copies_change_nothing() -> None:
    """Neither where one copies the other nor where they are independent, unless told so. No source has an interval."""
    copied = crowds.copied(SEED)
    found = refined(copied)
    assert (found.label == copied.given).all()
    assert error(copied, found) <= 0.08
    trust = source_accuracies(copied.votes(), copied.classes)
    assert all(of.low is None and of.high is None for of in trust)
    truth = [float((column == copied.true).mean()) for column in copied.matrix.T]
    assert [of.accuracy for of in trust] == pytest.approx(truth, abs=0.06)
    three = crowds.three(SEED)
    assert (refined(three).label == three.given).all()
    assert right(three, refined(three, independent=True)) > (three.given == three.true).mean() + 0.04


def test_reasons_say_what_held_a_label_back() -> None:
    """Three sources, of which two contradict the given label and may be copies."""
    made = crowds.poor_given(SEED)
    votes = Made(made.true, made.given, made.families[:2], made.classes).votes()
    assert not any("changed to" in why for why in refine(votes, made.names, LabelParams()).reason)


def test_rare_classes_do_not_starve() -> None:
    """One-coin and Dirichlet-multinomial find them nearly as often as the majority does, on eight skewed classes."""
    gaps = []
    for seed in range(SEED, SEED + 3):
        made = crowds.rare(seed)
        majority = recall(made, refined(made, "majority").label)
        gaps += [majority - recall(made, refined(made, m).label) for m in ("one-coin", "dirichlet-multinomial")]
    assert np.mean(gaps) <= 0.06


def test_misled_together_is_less_sure() -> None:
    """Dawid-Skene believes .95 where .78 is right; the ambiguous clips are what makes the difference."""
    made = crowds.misled(SEED)
    sure = refined(made, "dawid-skene").posterior.max(axis=1).mean()
    assert sure - right(made, refined(made, "dawid-skene")) > 0.12
    fitted = hierarchical(made.matrix, made.classes)
    assert fitted.ambiguous > 0.2
    assert abs(fitted.posterior.max(axis=1).mean() - right(made, refined(made))) < 0.06
    assert hierarchical(crowds.independent(SEED).matrix, 6).ambiguous < 0.1


def test_confusions_are_shrunk_as_far_as_the_votes_say() -> None:
    """Voters who err evenly have one accuracy; voters with habits have a confusion each."""
    assert hierarchical(crowds.independent(SEED).matrix, 6).kappa >= 500
    assert hierarchical(crowds.biased(SEED).matrix, 6).kappa <= 50


def test_without_ambiguous_clips_and_shrinkage_it_is_dawid_skene() -> None:
    """The posteriors of biased voters hardly differ from those of Dawid-Skene, which is right there."""
    made = crowds.biased(SEED)
    ours = hierarchical(made.matrix, made.classes, kappas=(5.0,)).posterior.argmax(axis=1)
    theirs = refined(made, "dawid-skene").label
    assert (ours == theirs).mean() > 0.99


def test_gold_tempers() -> None:
    """Where the run is told that copies are independent, posteriors are far too sure: 300 gold labels make those of the
    other clips less so. One temperature can't mend that copies are believed more than the others."""
    made = crowds.copied(SEED)
    votes, params = made.votes(), LabelParams(independent=True)
    known = np.arange(len(made.true)) % 5 == 0
    with_gold = replace(votes, gold=np.where(known, made.true, MISSING))
    plain, tempered = (refine(v, made.names, params).posterior[~known].astype(np.float32) for v in (votes, with_gold))
    true = made.true[~known]
    assert log_loss(tempered, true) < log_loss(plain, true) - 0.4
    assert plain.max(axis=1).mean() > 0.95
    assert tempered.max(axis=1).mean() < 0.9


def test_many_workers_take_seconds() -> None:
    """109 families with 5,242 answers. The limit is generous: four seconds where nothing else runs."""
    made = crowds.workers(SEED)
    start = time.process_time()
    found = refined(made)
    assert time.process_time() - start < 20
    assert right(made, found) >= (made.given == made.true).mean() + 0.02


def test_a_crowd_that_is_always_tied_votes_by_its_counts() -> None:
    """It has no vote on any clip, and its counts are read all the same."""
    true = np.arange(60) % 3
    tied = np.column_stack([true, (true + 1) % 3])
    made = Made(true, true, (tied,), 3)
    votes = made.votes(raters=False)
    votes = replace(votes, matrix=np.column_stack([true, np.full(60, MISSING)]))
    assert (refine(votes, made.names, LabelParams()).label == true).all()


@pytest.mark.parametrize("raters", [False, True])
def test_the_order_of_clips_and_raters_does_not_matter(*, raters: bool) -> None:
    """For crowds as for single votes, bit for bit (clips) or but for rounding (raters)."""
    made = crowds.two_crowds(SEED)
    made = Made(made.true[:200], made.given[:200], tuple(f[:200] for f in made.families[:1]), 6)
    found = refine(made.votes(raters=raters), made.names, LabelParams())
    order = np.random.default_rng(0).permutation(200)
    moved = Made(made.true[order], made.given[order], tuple(f[order] for f in made.families), 6)
    assert (refine(moved.votes(raters=raters), made.names, LabelParams()).posterior == found.posterior[order]).all()
    other = Made(made.true, made.given, tuple(f[:, ::-1] for f in made.families), 6)
    again = refine(other.votes(raters=raters), made.names, LabelParams())
    np.testing.assert_allclose(again.posterior, found.posterior, atol=1e-5)
