"""What is predicted: labels as text, as numbers and as cells of a CSV, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.target import Classes, ClassSets, Numbers, Target, target_of

CLASSES = Classes(("neutral", "happy", "sad"))
SETS = ClassSets(CLASSES.names, "|")
NUMBERS = Numbers(("valence", "arousal"), ((-1.0, 1.0), (0.0, 4.0)))


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_set_is_the_same_as_text_as_cells_and_as_numbers(has: list[bool]) -> None:
    """Back and forth, the empty set too."""
    label = SETS.label(np.array(has, dtype=np.float32))
    assert SETS.vector(label).tolist() == [float(one) for one in has]
    (cell,) = SETS.cells(label)
    assert SETS.read({"label": cell}, "label", "here") == label
    assert SETS.read({name: str(int(one)) for name, one in zip(SETS.names, has, strict=True)}, "label", "x") == label


@given(st.tuples(st.floats(-1, 1, width=32), st.floats(0, 4, width=32)))
def test_numbers_are_the_same_as_text_and_as_cells(values: tuple[float, float]) -> None:
    """To six digits, and never outside of their ranges."""
    label = NUMBERS.label(np.array(values, dtype=np.float32))
    np.testing.assert_allclose(NUMBERS.vector(label), values, rtol=1e-5, atol=1e-6)
    assert NUMBERS.read(dict(zip(NUMBERS.names, NUMBERS.cells(label), strict=True)), "label", "here") == label
    assert NUMBERS.label(np.array([7.0, -7.0], dtype=np.float32)) == "1.0;0.0"


@pytest.mark.parametrize("target", [CLASSES, ClassSets(CLASSES.names), NUMBERS])
def test_the_footer_says_what_is_predicted(target: Target) -> None:
    """A table's footer makes the target again; that of classes is empty, as in older tables."""
    assert target_of(target.footer(), CLASSES.names) == target
    assert not CLASSES.footer()


@pytest.mark.outcome("numbers where one class a clip is predicted", "`dataset.target: regression`")
@pytest.mark.parametrize(
    ("target", "row", "says"),
    [
        (CLASSES, {"label": "0.35"}, r"'0.35' is a number and none of the classes.*dataset.target: regression"),
        (CLASSES, {"label": "hapy"}, r"unknown label 'hapy' \(did you mean 'happy'\?\)"),
        (SETS, {"label": "happy|hapy"}, r"unknown label 'hapy'"),
        (SETS, {"neutral": "1", "happy": "2", "sad": "0"}, "column 'happy' must be 0 or 1, not '2'"),
        (SETS, {"neutral": "1", "happy": "", "sad": "0"}, "column 'happy' must be 0 or 1, not ''"),
        (NUMBERS, {"valence": "low", "arousal": "1"}, "column 'valence' must be a number, not 'low'"),
        (NUMBERS, {"valence": "0.1", "arousal": ""}, "column 'arousal' must be a number.*leave the cells of all"),
        (NUMBERS, {"valence": "nan", "arousal": "1"}, "column 'valence' must be a number"),
        (NUMBERS, {"valence": "1.5", "arousal": "1"}, "valence 1.5 lies outside of -1 to 1"),
    ],
)
def test_cells_that_are_no_label(target: Target, row: dict[str, str], says: str) -> None:
    """One sentence that names the file, the clip and the remedy."""
    with pytest.raises(DatasetError, match=f"here: {says}"):
        target.read(row, "label", "here")


@pytest.mark.parametrize("target", [CLASSES, SETS, NUMBERS])
def test_empty_cells_are_no_label(target: Target) -> None:
    """Such a clip belongs to the pool."""
    names = ("label",) if target is CLASSES else target.names
    assert target.read(dict.fromkeys(names, ""), "label", "here") is None


def test_strata_of_numbers_are_quantiles() -> None:
    """Each dimension has five of equal size, and each clip is in one of each dimension."""
    rng = np.random.default_rng(0)
    labels = [NUMBERS.label(row.astype(np.float32)) for row in rng.random((100, 2))]
    strata = NUMBERS.strata(labels)
    assert strata.shape == (100, 10)
    assert strata.sum(axis=0).tolist() == [20] * 10
    assert (strata.sum(axis=1) == 2).all()
