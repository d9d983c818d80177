"""Networks that are trained together become what they would have become alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mer_pipeline.base.modalities import Features
from mer_pipeline.config.train_params import HeadName, TrainParams
from mer_pipeline.heads.attention import Attention
from mer_pipeline.heads.base import ComputeConfig, Examples
from mer_pipeline.heads.layers import LayerNorm, Linear, Noise, drop
from mer_pipeline.heads.make import head_of
from mer_pipeline.heads.mertools import MertoolsNetwork
from mer_pipeline.training.cross_validation import split
from mer_pipeline.training.member import Member, Plan, fit_members, fit_plans, fixed_threads
from tests.planted import CLASSES, Planted, heads_of, plant
from tests.training.test_cross_validation import bytes_of, features_of, labels_of

NETWORK_HEADS = [name for name in heads_of() if head_of(name, TrainParams()).head.searched]
CPU = torch.device("cpu")


def uneven() -> tuple[Planted, Features, list[tuple[Examples, Examples | None]]]:
    """Folds of very different sizes: members differ in rows, in steps an epoch, and in watching at all."""
    planted = plant(labelled=90)
    fold = np.where(planted.fold < 0, -1, np.repeat(np.arange(5), [40, 5, 10, 15, 20]).tolist() + [-1] * 40)
    planted = replace(planted, fold=fold)
    labels = labels_of(planted)
    splits = [split(labels, f, f != 3, len(CLASSES)) for f in range(5)]
    return planted, features_of(planted), splits


@pytest.mark.parametrize("name", NETWORK_HEADS)
def test_a_member_of_a_stack_is_the_member_trained_alone(name: HeadName, params: TrainParams) -> None:
    """To the bit on a CPU: weights and history, though they take different numbers of steps and end apart."""
    _, features, splits = uneven()
    params = params.model_copy(update={"epochs": 20, "patience": 3, "batch_size": 16, "lr": 1e-2})
    seeds = (0, 7)
    with fixed_threads():
        together = fit_members(name, features, splits, seeds, len(CLASSES), params)
        alone = [one for s in seeds for each in splits for one in fit_members(name, features, [each], [s], 3, params)]
    assert len({len(history) for _, history in together}) > 1
    assert len({len(train.rows) for train, _ in splits}) > 1
    for (one, history), (other, same) in zip(together, alone, strict=True):
        assert bytes_of(one) == bytes_of(other)
        assert history == same


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("dims", [(37,), (1, 582)])
@pytest.mark.parametrize("name", NETWORK_HEADS)
def test_nothing_need_be_a_round_number(
    name: HeadName, dims: tuple[int, ...], workers: int, params: TrainParams
) -> None:
    """Also with sizes that put a member's matrices anywhere in memory, and with more threads than one."""
    rng = np.random.default_rng(0)
    n, classes = 60, 7
    mask = rng.random((n, len(dims))) > 0.1
    x = tuple((rng.normal(size=(n, dim)) * mask[:, [m]]).astype(np.float32) for m, dim in enumerate(dims))
    features = Features(tuple(f"m{m}" for m in range(len(dims))), x, mask)
    every = Examples.of(np.arange(n), np.arange(n) % classes, np.arange(n) % 5, classes)
    splits = [(every.at(np.arange(n - 9 - f)), every.at(np.arange(n - 9, n))) for f in range(5)]
    changed = {"epochs": 4, "patience": 2, "batch_size": 11, "d": 20, "refit": True}
    params = params.with_options("ecmf", attention_heads=2).model_copy(update=changed)
    with fixed_threads():
        together = fit_members(name, features, splits, (0, 1, 2), classes, params, ComputeConfig(workers=workers))
        alone = [fit_members(name, features, [one], [s], classes, params)[0] for s in range(3) for one in splits]
    assert [bytes_of(one) for one, _ in together] == [bytes_of(one) for one, _ in alone]


def test_members_of_a_stack_may_have_rates_of_their_own(params: TrainParams) -> None:
    """Learning rate, decay and dropouts: each is what it would have become alone; other sizes go to another stack."""
    _, features, splits = uneven()
    others = ({}, {"lr": 1e-2}, {"dropout": 0.6}, {"ecmf.modality_dropout": 0.4}, {"weight_decay": 0.1}, {"d": 8})
    head = head_of("ecmf", params)
    plans = [Plan(splits[0], 3, head.with_values(change)) for change in others]
    with fixed_threads():
        together = [bytes_of(member) for member, _ in fit_plans(features, plans, len(CLASSES))]
        alone = [bytes_of(m) for plan in plans for m, _ in fit_plans(features, [plan], len(CLASSES))]
    assert together == alone
    assert len({b"".join(each.values()) for each in together}) == len(plans)


def test_a_stack_trained_twice_has_the_same_bytes(params: TrainParams) -> None:
    """Deterministic by seed, whatever happened to torch's global generator in between; another seed differs."""
    _, features, splits = uneven()

    def go(seed: int) -> list[dict[str, bytes]]:
        torch.rand(3)
        with fixed_threads():
            return [bytes_of(m) for m, _ in fit_members("ecmf", features, splits, [seed, 5], len(CLASSES), params)]

    one, two = go(0), go(0)
    assert one == two
    assert all(a != b for a, b in zip(one[:5], go(1)[:5], strict=True))
    assert one[5:] == go(1)[5:]


def test_every_member_has_dropout_of_its_own_at_its_rate() -> None:
    """Bits do not depend on the company, are not those of a neighbour, and drop as often as asked, to scale."""
    rates = [TrainParams(dropout=p) for p in (0.4, 0.0)]
    noise, other, shape = Noise([3, 4], rates, CPU), Noise([4, 9], rates, CPU), (2, 300, 333)
    same = torch.tensor([0.3, 0.3])
    one, two = noise.keep(shape, same), other.keep(shape, same)
    assert torch.equal(one[1], two[0])
    assert (one[0] != one[1]).any()
    assert one.float().mean().item() == pytest.approx(0.7, abs=0.005)
    for p, q in ((0.0, 0.5), (0.97, 0.2), (0.9999999, 0.0)):
        kept = noise.keep(shape, torch.tensor([p, q])).float().mean(dim=(1, 2))
        torch.testing.assert_close(kept, torch.tensor([1 - p, 1 - q]), atol=0.005, rtol=0)
    x = torch.ones(shape)
    dropped = drop(x, noise)
    assert dropped[0].mean().item() == pytest.approx(1, abs=0.01)
    assert (dropped[0] == 0).float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert torch.equal(dropped[1], x[1])
    assert drop(x, None) is x


def test_stacked_layers_are_torchs_layers() -> None:
    """Member by member the values of nn.Linear, nn.LayerNorm and nn.MultiheadAttention with the same parameters."""
    torch.manual_seed(0)
    x, present = torch.randn(1, 6, 3, 8), torch.tensor([True, True, False]).expand(1, 6, 3)
    linear, norm, attention = Linear(8, 5), LayerNorm(8), Attention(8, 2)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    inner = attention.queries_keys_values
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data, theirs.out_proj.weight.data = inner.weight[0].T, attention.out.weight[0].T
    expected, _ = theirs(x[0], x[0], x[0], key_padding_mask=~present[0])
    torch.testing.assert_close(attention(x, present, None)[0], expected)
    torch.testing.assert_close(linear(x)[0], x[0] @ linear.weight[0] + linear.bias[0])
    torch.testing.assert_close(norm(x)[0], nn.functional.layer_norm(x[0], (8,), norm.weight[0, 0], norm.bias[0, 0]))


class Official(nn.Module):
    """The attention head as zeroQiaoba/MERTools writes it, for M modalities that are all there."""

    def __init__(self, dims: tuple[int, ...], d: int, classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(self.mlp(dim, d) for dim in dims)
        self.attention_mlp = self.mlp(d * len(dims), d)
        self.fc_att, self.fc_out = nn.Linear(d, len(dims)), nn.Linear(d, classes)

    @staticmethod
    def mlp(inputs: int, d: int) -> nn.Sequential:
        layers = [nn.Dropout(0.3), nn.Linear(inputs, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d)]
        return nn.Sequential(*layers, nn.ReLU())

    def forward(self, x: list[Tensor]) -> Tensor:
        hidden = [encode(matrix) for encode, matrix in zip(self.encoders, x, strict=True)]
        attention = self.fc_att(self.attention_mlp(torch.cat(hidden, dim=1))).unsqueeze(2)
        out: Tensor = self.fc_out(torch.matmul(torch.stack(hidden, dim=2), attention).squeeze(2))
        return out


def test_mertools_is_the_official_head() -> None:
    """Drawn from the same seed it has the official head's parameters, and gives its logits."""
    dims = (6, 9, 4)
    torch.manual_seed(0)
    ours = MertoolsNetwork(dims, 5, TrainParams(d=8))
    torch.manual_seed(0)
    theirs = Official(dims, 8, 5).eval()
    x = [torch.randn(7, dim) for dim in dims]
    logits, _ = ours([matrix.unsqueeze(0) for matrix in x], torch.ones(1, 7, 3, dtype=torch.bool))
    torch.testing.assert_close(logits[0], theirs(x))


def test_a_member_without_rows_has_no_head_among_others_that_have(planted: Planted, params: TrainParams) -> None:
    """The prior speaks for it; the others are as ever."""
    labels, features = labels_of(planted), features_of(planted)
    train, validation = split(labels, 0, True, len(CLASSES))
    blind = replace(features, mask=features.mask & (labels.fold != 4)[:, None])
    nothing = train.at(np.flatnonzero(train.fold == 4))
    with fixed_threads():
        (none, _), (some, _) = fit_members("ecmf", blind, [(nothing, None), (train, validation)], [0], 3, params)
        ((alone, _),) = fit_members("ecmf", blind, [(train, validation)], [0], 3, params)
    assert none.head is None
    assert isinstance(some, Member)
    assert bytes_of(some) == bytes_of(alone)
