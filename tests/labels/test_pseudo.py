"""The rule of pseudo-labels, on any opinions: what it may never do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_pipeline.base.clips import VOTES_SCHEMA
from mer_pipeline.judges.fusion_head import FusionHeadParams
from mer_pipeline.labels.corroboration import (
    HEAD,
    OF_GIVEN,
    OF_HEAD,
    OWN,
    as_own,
    find_corroborating,
    may_bear_out,
    said_by,
)
from mer_pipeline.labels.pseudo import (
    ALONE,
    OVER,
    SILENT,
    TAKEN,
    TIED,
    ClassRule,
    Opinions,
    PseudoParams,
    Selection,
    checked,
    quotas,
    rules,
    select,
    wilson_low,
)
from mer_pipeline.labels.votes import MISSING

CLASSES = ("neutral", "angry", "happy")
ASKED = PseudoParams(min_precision=0.4, min_support=3)
Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def opinions(seed: int, n: int, right: float = 0.8, families: int = 2, steps: int = 10) -> tuple[Opinions, Ints]:
    """A head and families that are right so often, with coarse probabilities, so that there are ties; the truth."""
    rng = np.random.default_rng(seed)
    true = rng.integers(3, size=n)
    said = np.where(rng.random((n, families + 1)) < right, true[:, None], rng.integers(3, size=(n, families + 1)))
    said[:, 1:][rng.random((n, families)) < 0.2] = MISSING
    p = np.round(rng.uniform(0.5, 1.0, size=n) * steps) / steps
    scores = np.where(np.eye(3)[said[:, 0]] == 1, p[:, None], (1 - p[:, None]) / 2).astype(np.float32)
    return Opinions(scores, rng.random(n) > 0.1, said[:, 1:]), true


def whole(seed: int, params: PseudoParams) -> tuple[Selection, tuple[ClassRule, ...], Opinions, list[str], Ints, Ints]:
    """60 labelled clips and 90 others through the rule."""
    known, given_labels = opinions(seed, 60)
    pool, true = opinions(seed + 1000, 90)
    of_class = rules(known, given_labels, given_labels, params)
    ids = [f"c{i:03d}" for i in range(90)]
    return select(pool, ids, np.zeros(90, bool), of_class, params), of_class, pool, ids, given_labels, true


SEEDS = st.integers(0, 10_000)
SOME = st.builds(
    PseudoParams,
    min_families=st.sampled_from([2, 3]),
    min_precision=st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.9]),
    min_support=st.integers(1, 20),
    max_ratio=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
    max_drift=st.sampled_from([0.0, 0.1, 0.5]),
)


@given(SEEDS, SOME)
@settings(max_examples=60)
def test_what_is_taken_keeps_every_limit(seed: int, params: PseudoParams) -> None:
    """Threshold, agreement, ratio, proportions; each class takes its most confident clips."""
    selection, of_class, pool, _, labels, _ = whole(seed, params)
    taken = selection.label != MISSING
    assert ((selection.reason == TAKEN) == taken).all()
    assert (selection.label[taken] == pool.scores[taken].argmax(axis=1)).all()
    assert pool.heard[taken].all()
    agree = (pool.families == selection.label[:, None]).sum(axis=1)
    assert (agree[taken] >= params.min_families - 1).all()
    count, labelled = np.bincount(selection.label[taken], minlength=3), np.bincount(labels, minlength=3)
    assert (count <= params.max_ratio * labelled + 1e-6).all()
    assert (count <= selection.quota).all()
    grown = (labelled + count) / (labelled + count).sum()
    assert (grown <= (1 + params.max_drift) * labelled / labelled.sum() + 1e-6).all()
    for c, rule in enumerate(of_class):
        mine = pool.sure[selection.label == c]
        assert rule.threshold is None or (mine >= rule.threshold).all()
        assert rule.threshold is not None or not len(mine)
        over = pool.sure[(selection.reason == OVER) & (pool.leader == c)]
        assert not len(mine) or not len(over) or over.max() <= mine.min()


@given(SEEDS)
@settings(max_examples=40)
def test_asking_for_more_never_lowers_a_threshold(seed: int) -> None:
    """In precision and in support."""
    known, labels = opinions(seed, 80)

    def limits(**asked: float) -> list[float]:
        found = rules(known, labels, labels, PseudoParams.model_validate(asked))
        return [np.inf if rule.threshold is None else rule.threshold for rule in found]

    by_precision = np.array([limits(min_precision=p, min_support=3) for p in (0.2, 0.5, 0.6, 0.7, 0.8, 0.9)])
    by_support = np.array([limits(min_precision=0.5, min_support=n) for n in (1, 3, 10, 20)])
    assert (by_precision[1:] >= by_precision[:-1]).all()
    # Support alone leaves the lowest fit threshold where it is, or shuts the class: low thresholds have most clips.
    assert (by_support[1:] >= by_support[:-1]).all()


@given(SEEDS, SOME)
@settings(max_examples=40)
def test_the_order_of_clips_changes_nothing(seed: int, params: PseudoParams) -> None:
    """Neither that of the labelled ones nor that of the pool."""
    selection, of_class, pool, ids, _, _ = whole(seed, params)
    rng = np.random.default_rng(seed)
    known, labels = opinions(seed, 60)
    mixed = rng.permutation(60)
    again = rules(known.take(mixed), labels[mixed], labels[mixed], params)
    assert again == of_class
    turned = rng.permutation(90)
    other = select(pool.take(turned), [ids[i] for i in turned], np.zeros(90, bool), again, params)
    assert (other.label == selection.label[turned]).all()
    assert (other.reason == selection.reason[turned]).all()


def test_the_head_alone_or_against_others_is_not_enough() -> None:
    """No other family, one that says otherwise, as many for another class as for the head's; silence."""
    scores = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (6, 1))
    said = np.array(
        [[MISSING, MISSING, MISSING], [1, MISSING, MISSING], [2, 1, 1], [2, 1, MISSING], [2, 2, 1], [2, 2, 2]]
    )
    heard = np.array([True] * 5 + [False])
    assert Opinions(scores, heard, said).doubts(2).tolist() == [ALONE, ALONE, TIED, TAKEN, TAKEN, SILENT]
    assert Opinions(scores, heard, said).doubts(3).tolist() == [ALONE, ALONE, ALONE, ALONE, TAKEN, SILENT]
    of_class = (ClassRule(0.0, 9, 9, 1.0, 9),) * 3
    alone = Opinions(scores, np.ones(6, bool), np.full((6, 0), MISSING))
    loose = PseudoParams(min_precision=0.0, min_support=1)
    assert (select(alone, list("abcdef"), np.zeros(6, bool), of_class, loose).label == MISSING).all()
    assert all(rule.threshold is None for rule in rules(alone, np.full(6, 2), np.full(6, 2), loose))


def test_thresholds_by_hand() -> None:
    """Right from .9 on, wrong below: the threshold is where the bound still holds; equal probabilities go together."""
    p = np.array([0.95, 0.95, 0.9, 0.9, 0.9, 0.8, 0.8, 0.7])
    scores = np.stack([p, 1 - p], axis=1).astype(np.float32)
    known = Opinions(scores, np.ones(8, bool), np.zeros((8, 1), np.int64))
    right = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    rule = rules(known, right, right, PseudoParams(min_precision=0.6, min_support=3))[0]
    assert (rule.threshold, rule.support, rule.right, rule.labelled) == (pytest.approx(0.9), 5, 5, 5)
    assert rule.low == pytest.approx(5 / (5 + 1.6448536269514722**2))  # Wilson's bound of n out of n
    shut = rules(known, right, right, PseudoParams(min_precision=0.6, min_support=6))[0]
    assert (shut.threshold, shut.support, shut.right) == (None, 8, 5)
    assert wilson_low(np.array([0, 0]), np.array([0, 5])).tolist() == pytest.approx([0, 0])


def test_proportions_stay_where_only_one_class_is_sure() -> None:
    """Of ten equal classes one may grow by a tenth of its share, and a bit, as the whole grows with it."""
    params = PseudoParams(max_ratio=3.0, max_drift=0.1)
    labelled, found = np.full(10, 100), np.array([500, *[0] * 9])
    assert np.minimum(quotas(labelled, found, params), found).sum() == 11  # (100 + 11) / 1011 < .11 < 112 / 1012
    assert np.minimum(quotas(labelled, np.full(10, 500), params), 500).tolist() == [300] * 10
    assert quotas(np.array([0, 50]), np.array([9, 9]), params).tolist()[0] == 0


def test_a_threshold_is_checked_where_it_was_not_chosen() -> None:
    """On clips of a fold that it has not seen it is as good as on others, or worse, but not by construction."""
    known, labels = opinions(3, 400)
    noisy = np.where(np.random.default_rng(0).random(400) < 0.3, (labels + 1) % 3, labels)
    passed, right = checked(known, noisy, noisy, np.arange(400) % 5, ASKED)
    assert (right <= passed).all()
    assert passed.sum() > 100
    of_class = rules(known, noisy, noisy, ASKED)
    assert abs(right.sum() / passed.sum() - sum(r.right for r in of_class) / sum(r.support for r in of_class)) < 0.1


def votes(columns: dict[tuple[str, str], Ints]) -> pa.Table:
    """By (source, family); clips are called c000 and so on."""
    rows = [
        (f"c{i:03d}", source, family, CLASSES[c])
        for (source, family), said in columns.items()
        for i, c in enumerate(said.tolist())
        if c != MISSING
    ]
    return pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=VOTES_SCHEMA)


class TestWitnesses:
    """Who may bear the head out."""

    @pytest.fixture
    def said(self) -> dict[str, Ints]:
        """Four sources that err independently, on 600 clips."""
        rng = np.random.default_rng(0)
        true = rng.integers(3, size=600)
        return {
            name: np.where(rng.random(600) < 0.7, true, rng.integers(3, size=600))
            for name in ("given", "head", "face", "voice")
        }

    def find(self, said: dict[str, Ints], table: dict[tuple[str, str], Ints], join: bool = True):  # type: ignore[no-untyped-def]
        ids = [f"c{i:03d}" for i in range(600)]
        return find_corroborating(votes(table), ids, said["head"], CLASSES, join=join)

    def test_independent_families_and_no_other(self, said: dict[str, Ints]) -> None:
        """Not the given label's family, whoever is in it, nor the head's own."""
        table = {
            ("given", "human"): said["given"], ("crowd", "human"): said["voice"], ("face", "face"): said["face"],
            ("kin", OWN): said["voice"],
        }  # fmt: skip
        found = self.find(said, table)
        assert found.names == ("face",)
        assert found.excluded == {"human": OF_GIVEN, "own": OF_HEAD}
        assert (found.answer == said["given"]).all()

    def test_who_copies_the_head_is_its_kin(self, said: dict[str, Ints]) -> None:
        """A judge that says what the head says bears nothing out; without `join_dependent` nobody looks."""
        copy = np.where(np.random.default_rng(1).random(600) < 0.9, said["head"], said["face"])
        table = {
            ("given", "human"): said["given"], ("face", "face"): said["face"], ("voice", "voice"): said["voice"],
            ("copy", "copy"): copy,
        }  # fmt: skip
        found = self.find(said, table)
        assert found.names == ("face", "voice")
        assert OF_HEAD in found.excluded.values()
        assert "copy" in self.find(said, table, join=False).names

    def test_gold_is_the_answer(self, said: dict[str, Ints]) -> None:
        """Where experts have settled it."""
        table = {("given", "human"): said["given"], ("gold", "gold"): np.where(np.arange(600) < 9, 2, MISSING)}
        found = self.find(said, table)
        assert (found.answer[:9] == 2).all()
        assert (found.answer[9:] == said["given"][9:]).all()

    def test_one_vote_a_family(self, said: dict[str, Ints]) -> None:
        """The sources of one family speak with one voice, on any clip."""
        table = {("given", "human"): said["given"], ("a", "face"): said["face"], ("b", "face"): said["voice"]}
        found = self.find(said, table)
        heard = found.vote(said_by(votes(table), ["c003", "c001", "nobody"], CLASSES), 3)
        assert heard.tolist() == [[said["face"][3]], [said["face"][1]], [MISSING]]

    def test_families_of_own_heads_are_own(self) -> None:
        """A judge that was declared kin of the fusion-head judge's stays its kin."""
        judges = {"mine": FusionHeadParams(kind="fusion-head", input="features", family="colleagues")}
        table = votes({("given", "human"): np.array([0, 1]), ("theirs", "colleagues"): np.array([0, 1])})
        assert set(as_own(table, judges)["family"].to_pylist()) == {"human", OWN}
        assert may_bear_out(table, ["c000"]) == {"colleagues"}
        assert may_bear_out(as_own(table, judges), ["c000"]) == set()
        assert may_bear_out(table, ["c009"]) == set()
        assert " " in HEAD, "no judge can be called so"


def test_reasons_are_told_apart() -> None:
    """A clip of a barred group, and one over the quota, even if all else is well."""
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2]], np.float32)
    pool = Opinions(scores, np.ones(3, bool), np.zeros((3, 1), np.int64))
    of_class = (ClassRule(0.5, 9, 9, 1.0, 1), ClassRule(None, 0, 0, 0.0, 1))
    params = PseudoParams(max_ratio=1.0, max_drift=5.0)
    selection = select(pool, ["b", "c", "a"], np.array([True, False, False]), of_class, params)
    assert selection.label.tolist() == [MISSING, MISSING, 0], "of equals the first by name"
    assert len(set(selection.reason.tolist())) == 3
    silent = replace(pool, heard=np.zeros(3, bool))
    assert (select(silent, ["b", "c", "a"], np.zeros(3, bool), of_class, params).reason == SILENT).all()
