"""What every head promises: masked means without influence, a row is its own, a saved head is the same head."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mer_pipeline.base.errors import StageError
from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.base import Examples
from mer_pipeline.heads.concat import ConcatNetwork
from mer_pipeline.heads.ecmf import EcmfNetwork, EcmfParams, drop_modalities
from mer_pipeline.heads.gated import GatedNetwork
from mer_pipeline.heads.layers import Noise
from mer_pipeline.heads.linear import fit_linear, log_softmax
from mer_pipeline.heads.mean_logits import MeanLogitsNetwork
from mer_pipeline.heads.mertools import MertoolsNetwork
from mer_pipeline.heads.network import Network
from mer_pipeline.heads.opinion_pool import likeliest
from mer_pipeline.training.artifacts import FUSED, FusionConfig, load_member, save_member
from mer_pipeline.training.member import Member, fit_members, fixed_threads
from tests.planted import CLASSES, NAMES, Planted, heads_of, plant

NETWORKS = [EcmfNetwork, MertoolsNetwork, ConcatNetwork, GatedNetwork, MeanLogitsNetwork]
STRENGTHS = [1e-2, 1e-1]
PARAMS = TrainParams(d=16, epochs=5, patience=5, lr=3e-3)
PARAMS = PARAMS.with_options("logreg", c=STRENGTHS)
OWN = EcmfParams(d=16)  # all that the other networks read, too


def fitted(name: HeadName, planted: Planted, seed: int = 0) -> Member:
    """Trained on folds 0 to 3, with fold 4 validation."""

    def examples(rows: np.ndarray) -> Examples:
        return Examples.of(rows, planted.given[rows], planted.fold[rows], len(CLASSES))

    fold = planted.fold
    train, validation = np.flatnonzero((fold >= 0) & (fold < 4)), np.flatnonzero(fold == 4)
    with fixed_threads():
        splits = [(examples(train), examples(validation))]
        return fit_members(name, planted.features, splits, [seed], len(CLASSES), PARAMS)[0][0]


@cache
def known(name: HeadName) -> Member:
    """The same, trained once for all tests that only look at it."""
    return fitted(name, plant())


def one_hot(label: np.ndarray, classes: int) -> np.ndarray:
    """The targets of hard labels."""
    return np.eye(classes, dtype=np.float32)[label]


@pytest.fixture(params=heads_of())
def member(request: pytest.FixtureRequest) -> Member:
    """Each head's."""
    return known(request.param)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mask=arrays(np.bool_, (5, 3)), noise=arrays(np.float32, (5, 12), elements=st.floats(-9, 9, width=16)))
def test_a_masked_modality_has_no_weight_and_no_influence(
    member: Member, planted: Planted, mask: np.ndarray, noise: np.ndarray
) -> None:
    """Other values behind the mask give the same bytes; a clip with nothing gets the prior, and nothing is NaN."""
    x = tuple(matrix[:5] for matrix in planted.features.x)
    lies = tuple(
        np.where(mask[:, m : m + 1], values, values + noise[:, : values.shape[1]]) for m, values in enumerate(x)
    )
    one, two = (member.predict(Features(NAMES, values, mask)) for values in (x, lies))
    assert one.probabilities.tobytes() == two.probabilities.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()
    assert (one.weights[~mask] == 0).all()
    np.testing.assert_allclose(one.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (one.by_prior == ~mask.any(axis=1)).all()
    assert (one.probabilities[one.by_prior] == member.prior).all()


def test_a_clip_alone_and_in_any_batch_has_the_same_bytes(member: Member, planted: Planted) -> None:
    """Alone, in another order, and among a hundred (which is more than one group)."""
    whole = member.predict(planted.features)
    order = np.random.default_rng(1).permutation(len(planted.features))
    shuffled = member.predict(planted.features.take(order))
    assert shuffled.probabilities.tobytes() == whole.probabilities[order].tobytes()
    assert shuffled.weights.tobytes() == whole.weights[order].tobytes()
    for i in range(0, 100, 7):
        alone = member.predict(planted.features.take(np.array([i])))
        assert alone.probabilities.tobytes() == whole.probabilities[i : i + 1].tobytes()


@pytest.mark.parametrize("name", heads_of())
def test_fitting_twice_gives_the_same_bytes(name: HeadName, planted: Planted) -> None:
    """Whatever was drawn from torch's global generator in between, which training leaves as it was."""
    one = known(name)
    torch.rand(3)
    before = torch.get_rng_state()
    two = fitted(name, planted)
    assert torch.equal(before, torch.get_rng_state())
    assert one.head is not None
    assert two.head is not None
    assert {k: v.tobytes() for k, v in one.head.tensors().items()} == {
        k: v.tobytes() for k, v in two.head.tensors().items()
    }
    if one.head.seeded:
        other = fitted(name, planted, seed=1).predict(planted.features).probabilities
        assert (other != one.predict(planted.features).probabilities).any()


@pytest.mark.parametrize("name", heads_of())
def test_a_loaded_member_is_the_saved_one(name: HeadName, planted: Planted, tmp_path: Path) -> None:
    """Same predictions to the bit, same bytes when saved again, and a torn file is one clear error."""
    member = known(name)
    config = FusionConfig(
        classes=CLASSES, modalities=NAMES, dims=(12, 10, 8), folds=5, params=PARAMS, selected=name, empty=None
    )
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_member(path, member, NAMES)
    loaded = load_member(path, config, FUSED, name)
    assert loaded.predict(planted.features).probabilities.tobytes() == (
        member.predict(planted.features).probabilities.tobytes()
    )
    save_member(again, loaded, NAMES)
    assert path.read_bytes() == again.read_bytes()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StageError, match="dvc repro train"):
        load_member(path, config, FUSED, name)


def test_ecmf_weights_sum_to_one(planted: Planted) -> None:
    """Over the present modalities."""
    weights = known("ecmf").predict(planted.features).weights
    present = planted.features.mask.any(axis=1)
    np.testing.assert_allclose(weights[present].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("network", [EcmfNetwork, MertoolsNetwork])
def test_the_order_of_the_modalities_is_a_name_only(network: type[EcmfNetwork | MertoolsNetwork]) -> None:
    """Permuting the modalities together with their parameters gives the same logits and permuted weights."""
    dims, order, d = (4, 6, 8), [2, 0, 1], PARAMS.d
    torch.manual_seed(0)
    one = network(dims, 3, OWN)
    two = network(tuple(dims[m] for m in order), 3, OWN)
    state = {}
    for key, tensor in one.state_dict().items():
        part, _, rest = key.partition(".")
        if part in ("project", "norm", "encode"):
            m, _, tail = rest.partition(".")
            state[f"{part}.{order.index(int(m))}.{tail}"] = tensor
        elif part in ("embedding", "beta") or (part == "weigh" and network is MertoolsNetwork):
            state[key] = tensor[..., order, :] if key == "embedding" else tensor[..., order]
        elif key == "attend.layers.0.weight":
            state[key] = tensor.unflatten(1, (3, d))[:, order].flatten(1, 2)
        else:
            state[key] = tensor
    two.load_state_dict(state)
    x, mask = [torch.randn(1, 5, dim) for dim in dims], torch.tensor([[[True, True, False]] * 5])
    with torch.no_grad():
        logits, weights = one(x, mask)
        permuted, moved = two([x[m] for m in order], mask[..., order])
    torch.testing.assert_close(permuted, logits)
    torch.testing.assert_close(moved, weights[..., order])


@given(mask=arrays(np.bool_, (20, 4)), p=st.floats(0, 0.99))
def test_modality_dropout_hides_only_what_is_there_and_never_all(mask: np.ndarray, p: float) -> None:
    """A row that has something keeps something."""
    noise = Noise([0], [EcmfParams(modality_dropout=p)], torch.device("cpu"))
    kept = drop_modalities(torch.from_numpy(mask)[None], noise)[0].numpy()
    assert (kept <= mask).all()
    assert (kept.any(axis=1) == mask.any(axis=1)).all()


def test_modality_dropout_has_its_rate() -> None:
    """0 hides nothing; 0.3 hides about three in ten."""
    mask, rates = torch.ones(2, 4000, 6, dtype=torch.bool), [EcmfParams(modality_dropout=p) for p in (0.0, 0.3)]
    kept = drop_modalities(mask, Noise([0, 0], rates, torch.device("cpu")))
    assert torch.equal(kept[0], mask[0])
    assert kept[1].float().mean() == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("network", NETWORKS)
def test_inputs_are_dropped_in_training_only(network: type[Network]) -> None:
    """A value that is dropped has no slope."""
    torch.manual_seed(0)
    one, mask = network((40, 30), 3, OWN), torch.ones(1, 64, 2, dtype=torch.bool)
    params = OWN.model_copy(update={"modality_dropout": 0.0})
    for noise, dropped in ((None, 0.0), (Noise([0], [params], torch.device("cpu")), params.dropout)):
        x = [torch.randn(1, 64, dim, requires_grad=True) for dim in (40, 30)]
        one(x, mask, noise)[0].logsumexp(dim=2).sum().backward()
        still = torch.cat([matrix.grad.flatten() == 0 for matrix in x if matrix.grad is not None])
        assert still.float().mean().item() == pytest.approx(dropped, abs=0.02)


def test_the_linear_fit_in_the_span_of_the_rows_is_exact() -> None:
    """More columns than rows: the same probabilities as scikit-learn on all columns; two classes and one work too."""
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 50)).astype(np.float32), np.arange(20) % 3
    for label in (y, np.minimum(y, 1)):
        ((weights, bias, _),) = fit_linear(x, one_hot(label, 4), np.ones(20, np.float32), [0.1])
        expected = LogisticRegression(C=0.1).fit(x, label).predict_proba(x)
        found = np.exp(log_softmax(x @ weights.T + bias))
        np.testing.assert_allclose(found[:, : expected.shape[1]], expected, atol=2e-3)
        assert (found[:, expected.shape[1] :] < 1e-9).all()
    ((weights, bias, _),) = fit_linear(x, one_hot(np.full(20, 2), 4), np.ones(20, np.float32), [0.1])
    assert ((x @ weights.T + bias).argmax(axis=1) == 2).all()


def test_the_pool_trusts_the_modality_that_knows() -> None:
    """One opinion is right, one is noise: the noise gets next to nothing."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=200)
    knows = log_softmax((2 * np.eye(3)[y] + rng.normal(size=(200, 3))).astype(np.float32))
    noise = log_softmax(rng.normal(size=(200, 3)).astype(np.float32))
    a = likeliest(np.stack([noise, knows]), one_hot(y, 3), np.ones(200, np.float32), np.zeros(3, np.float32))
    assert a[1] > 0.5
    assert a[0] < 0.2 * a[1]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_itself_lets_nothing_through_the_mask(network: type[Network]) -> None:
    """Even where masked inputs are not zeros, as the scaler would make them."""
    torch.manual_seed(0)
    built = network((4, 6, 8), 3, OWN)
    x, mask = [torch.randn(1, 9, dim) for dim in (4, 6, 8)], torch.rand(1, 9, 3) > 0.4
    mask[..., 0] = True
    lies = [torch.where(mask[..., m : m + 1], matrix, matrix + 5) for m, matrix in enumerate(x)]
    with torch.no_grad():
        one, two = built(x, mask), built(lies, mask)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert (one[1][~mask] == 0).all()
