"""A head that was trained before on the same rows is not trained again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.training import head_cache
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import fixed_threads
from tests.planted import Planted, heads_of
from tests.training.test_cross_validation import bytes_of, features_of, labels_of


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the heads that were trained and not taken from the store."""
    names: list[str] = []
    complete = head_cache.complete_row

    def watch(name: str, *others: object) -> object:
        names.append(name.split()[0])
        return complete(name, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(head_cache, "complete_row", watch)  # what is trained is kept; training is in the fingerprint
    return names


@pytest.mark.parametrize("name", heads_of())
def test_the_second_time_is_the_first_to_the_bit(
    name: HeadName, planted: Planted, params: TrainParams, tmp_path: Path, trained: list[str]
) -> None:
    """Members, histories and out-of-fold predictions; every member still ticks."""
    labels, features, ticks = labels_of(planted), features_of(planted), [0, 0]
    params = params.model_copy(update={"epochs": 3, "patience": 2})  # how well it learns is of no matter
    with fixed_threads():
        results = []
        for at in (0, 1):

            def tick(at: int = at) -> None:
                ticks[at] += 1

            results.append(HeadCache(str(tmp_path)).cross_validate(name, features, labels, 3, params, tick))
    first, second = results
    assert trained == [name]
    assert ticks[0] == ticks[1] > 0
    assert first.probabilities.tobytes() == second.probabilities.tobytes()
    assert first.weights.tobytes() == second.weights.tobytes()
    for one, two in zip(first.members, second.members, strict=True):
        assert (one.seed, one.fold, one.history) == (two.seed, two.fold, two.history)
        assert bytes_of(one.member) == bytes_of(two.member)
    assert [t.member.predict(features).probabilities.tobytes() for t in first.members] == [
        t.member.predict(features).probabilities.tobytes() for t in second.members
    ]


def test_what_it_learns_from_decides(planted: Planted, params: TrainParams, tmp_path: Path, trained: list[str]) -> None:
    """Another label, feature, mask or setting trains again; the truth and the other heads' names do not."""
    labels, features, on = labels_of(planted), features_of(planted), str(tmp_path)

    def go(features: object = features, labels: object = labels, params: TrainParams = params) -> int:
        with fixed_threads():
            HeadCache(on).cross_validate("logreg", features, labels, 3, params)  # type: ignore[arg-type]
        return len(trained)

    assert go() == 1
    assert go(labels=replace(labels, true=np.zeros_like(labels.true))) == 1
    assert go(params=params.with_heads("logreg")) == 1
    x = (features.x[0] + 1, *features.x[1:])
    assert go(features=replace(features, x=x)) == 2
    assert go(features=replace(features, mask=np.ones_like(features.mask))) == 3
    assert go(labels=replace(labels, given=(labels.given + 1) % 3)) == 4
    assert go(params=params.with_options("logreg", c=[0.5])) == 5
    assert go() == 5
