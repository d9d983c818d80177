from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.datasets.folds import FoldParams, make_folds

DRAWN = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), min_size=2, max_size=60)
CLIPS = DRAWN.map(lambda drawn: [(f"clip{at:03d}", label, f"s{group}") for at, (label, group) in enumerate(drawn)])


@given(CLIPS, st.integers(0, 3))
def test_groups_stay_together(clips: list[tuple[str, str, str]], seed: int) -> None:
    """No speaker is in two folds, unless there is only one speaker, and then that is said."""
    folds = make_folds(clips, FoldParams(n=5, seed=seed))
    if folds.n < 2:
        assert "impossible" in folds.note
    assert set(folds.of) == {clip_id for clip_id, _, _ in clips}
    by_group: dict[str, set[int]] = {}
    for clip_id, _, group in clips:
        by_group.setdefault(group, set()).add(folds.of[clip_id])
    if len(by_group) == 1 and folds.n > 1:
        assert "one group" in folds.note
    else:
        assert all(len(found) == 1 for found in by_group.values())
    if 1 < folds.n < 5:
        assert f"{folds.n} folds instead of 5" in folds.note


@given(CLIPS, st.randoms())
def test_folds_are_a_function_of_the_clips(clips: list[tuple[str, str, str]], random: object) -> None:
    """The order in which clips are listed does not matter."""
    shuffled = list(clips)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert make_folds(clips, FoldParams()) == make_folds(shuffled, FoldParams())


def test_folds_are_stratified() -> None:
    """With enough groups every fold has its share of every class."""
    clips = [(f"c{at}", "abc"[at % 3], f"g{at // 6}") for at in range(180)]
    folds = make_folds(clips, FoldParams(n=5))
    counts = {(fold, label): 0 for fold in range(5) for label in "abc"}
    for clip_id, label, _ in clips:
        counts[folds.of[clip_id], label] += 1
    assert set(counts.values()) == {12}


@pytest.mark.outcome("fewer than two clips of any class, or no labels", "with the reason")
def test_clips_without_folds_are_still_listed() -> None:
    """One clip of each class: no cross-validation, but the labels can be read, and the note says why."""
    folds = make_folds([("a", "sad", "s"), ("b", "happy", "s")], FoldParams())
    assert (folds.of, folds.n) == ({"a": 0, "b": 0}, 1)
    assert "no class with two" in folds.note


def pair(number: int, groups: Sequence[str]) -> list[tuple[str, str, str]]:
    """So many clips, by turns happy and sad, and dealt out to the groups by turns."""
    return [(f"c{at}", "happy" if at // 2 % 2 else "sad", groups[at % len(groups)]) for at in range(number)]


@pytest.mark.outcome("fewer groups than folds", "fewer folds")
@pytest.mark.parametrize(
    ("clips", "copies", "note"),
    [
        (pair(12, ["s1", "s2", "s3"]), (), "3 folds instead of 5: there are 3 groups"),
        (
            pair(12, ["s1", "s2", "s3", "s4", "s5"]), [["c0", "c1"], ["c2", "c3"]],
            "groups that have copies of one clip count as one group (2 fewer); "
            "3 folds instead of 5: there are 3 groups (5 before copies were joined)",
        ),
        (
            pair(12, ["s1", "s2"]), [["c0", "c1"]],
            "copies of clips join all groups into one: folds split it, and the scores say nothing about others",
        ),
        (
            pair(6, ["s1"]), [["c0", "c4"], ["c1", "c5"]],
            "all labelled clips are of one group (one speaker): folds split it, and the scores say nothing about "
            "others; 4 folds instead of 5: there are 4 different clips (6 before copies were joined)",
        ),
        (pair(6, list("abcdef")), (), "4 folds instead of 5: no class has more than 4 clips"),
        (pair(12, list("abcdefghijkl")), (), ""),
    ],
)  # fmt: skip
def test_the_note_says_why_there_are_fewer_folds(
    clips: list[tuple[str, str, str]], copies: Sequence[Sequence[str]], note: str
) -> None:
    """Few groups, copies of clips, or few clips of a class: whichever it was."""
    folds = make_folds(clips, FoldParams(n=5), copies)
    assert folds.note == note
    assert (
        folds.n == len(set(folds.of.values())) == (int(note.split(" folds instead")[0][-1]) if "instead" in note else 5)
    )


@pytest.mark.outcome("one group with most of the clips", "say how few clips are left to learn from where it is scored")
def test_a_group_with_most_of_the_clips_is_named() -> None:
    """A head that is scored on its fold has seen few clips; two thirds of the clips are not too many."""
    clips = pair(12, ["anna"] * 9 + ["ben", "carl", "dora"])
    note = make_folds(clips, FoldParams(n=4)).note
    assert note == (
        "group 'anna' has 9 of the 12 labelled clips, and heads that are scored on it learn from the other 3 at most: "
        "the scores say little"
    )
    assert make_folds(pair(12, ["anna"] * 8 + ["ben", "carl", "dora", "emil"]), FoldParams(n=4)).note == ""
