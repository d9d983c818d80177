"""A head of somebody else's: an ordinary torch module in a file of the project, or any class with the contract."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mer_pipeline.base.errors import Bug, ComponentError, ParamsError
from mer_pipeline.base.modalities import Features
from mer_pipeline.config import components
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import PredictParams, SearchParams, SearchSpace, TrainParams
from mer_pipeline.heads.base import ComputeConfig, Examples
from mer_pipeline.heads.make import check_heads, head_of
from mer_pipeline.heads.mean_logits import MeanLogits
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.training.artifacts import FUSED, load_config, load_member, member_path
from mer_pipeline.training.cross_validation import cross_validate, split
from mer_pipeline.training.head_cache import HeadCache, key_of
from mer_pipeline.training.member import Member, fit_members, fixed_threads
from mer_pipeline.training.predict import predict
from mer_pipeline.training.train import train
from mer_pipeline.training.variants import Setting, variants
from tests.planted import CLASSES, NAMES, Planted, heads_of, plant, task_of
from tests.recipes import recipes
from tests.training.test_cross_validation import bytes_of, features_of, labels_of

RECIPE = recipes()["head"].module


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Write a module below a project of this test's own, where the test then is; gives the head's kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    folder = f"components/lab_{abs(hash(request.node.nodeid))}"  # modules are remembered by name

    def write(source: str = RECIPE, name: str = "Pooled", file: str = "heads.py") -> str:
        path = Path(folder) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return f"{path}:{name}"

    return write


def described(params: TrainParams, kind: str, **options: object) -> TrainParams:
    """The same training with a head `mine` of this kind beside logreg."""
    heads = {"mine": {"kind": kind, **options}, "logreg": {}}
    return TrainParams.model_validate({**params.model_dump(exclude={"heads"}), "heads": heads})


def test_the_recipe_goes_through_the_stages(
    lab: Callable[..., str], planted: Planted, project: Callable[..., Project], params: TrainParams
) -> None:
    """One file and one entry of params.yaml: it is trained, scored, selected from, loaded again and predicts."""
    own = described(params, lab(), noise=0.1).model_copy(update={"epochs": 4})
    check_heads(own, {})
    at = project(planted)
    train(task_of(own), 5, at, HeadCache(None))
    predict(PredictParams(), at)
    found = json.loads(at.metrics("train").read_text())
    assert set(found["heads"]) == {"mine", "logreg"}
    assert set(json.loads(at.metrics("predict").read_text())["test"]["heads"]) == {"mine", "logreg"}
    member = load_member(member_path(at.fusion, FUSED, "mine", 0, 0), load_config(at.fusion), FUSED, "mine")
    assert member.head is not None
    assert member.head.tensors()["gain"].shape == (3,)


def test_it_learns(lab: Callable[..., str], planted: Planted, params: TrainParams) -> None:
    """Out of fold, well above chance (one in three), and with a history that a validation fold ends."""
    own = described(params, lab()).model_copy(update={"epochs": 40, "patience": 8, "lr": 1e-2, "seeds": (0,)})
    with fixed_threads():
        found = cross_validate("mine", features_of(planted), labels_of(planted), 3, own)
    assert (found.probabilities.argmax(axis=2) == labels_of(planted).true).mean() > 0.7
    assert {len(one.history) for one in found.members} != {40}


def test_company_and_order_change_nothing(lab: Callable[..., str], params: TrainParams) -> None:
    """To the bit: a member together with others, alone, in another order, and with more workers; seeds differ."""
    own, planted = described(params, lab(), noise=0.1), plant()
    features, labels = features_of(planted), labels_of(planted)
    splits = [split(labels, f, f != 3, len(CLASSES)) for f in range(4)]

    def fit(splits: list[tuple[Examples, Examples | None]], seeds: tuple[int, ...], workers: int = 1) -> list[Member]:
        torch.rand(3)  # whatever was drawn before
        before = torch.get_rng_state()
        with fixed_threads():
            fitted = fit_members("mine", features, splits, seeds, 3, own, ComputeConfig(workers=workers))
        assert torch.equal(before, torch.get_rng_state())
        return [member for member, _ in fitted]

    together = [bytes_of(one) for one in fit(splits, (0, 7))]
    assert [bytes_of(one) for one in fit(splits, (0, 7), workers=2)] == together
    alone = [bytes_of(one) for seed in (0, 7) for each in splits for one in fit([each], (seed,))]
    assert alone == together
    assert [bytes_of(one) for one in fit(splits[::-1], (7, 0))] == together[::-1]
    assert len({b"".join(each.values()) for each in together}) == len(together)


def test_a_clip_is_its_own_and_what_is_masked_says_nothing(
    lab: Callable[..., str], planted: Planted, params: TrainParams
) -> None:
    """Alone and in any batch the same bytes; absent inputs are zeros; a clip with nothing gets the prior."""
    own = described(params, lab()).model_copy(update={"epochs": 3, "seeds": (0,)})
    with fixed_threads():
        member = cross_validate("mine", features_of(planted), labels_of(planted), 3, own).members[0].member
        whole = member.predict(planted.features)
        mask = planted.features.mask
        lies = tuple(np.where(mask[:, [m]], x, x + 9) for m, x in enumerate(planted.features.x))
        assert member.predict(Features(NAMES, lies, mask)).probabilities.tobytes() == whole.probabilities.tobytes()
        for i in (0, 37, 99):
            alone = member.predict(planted.features.take(np.array([i])))
            assert alone.probabilities.tobytes() == whole.probabilities[i : i + 1].tobytes()
    assert whole.by_prior.tolist() == (~mask.any(axis=1)).tolist()
    assert (whole.weights[~mask] == 0).all()


MEAN_LOGITS = '''
import torch
from torch import nn


class Twin(nn.Module):
    """mean-logits as anybody would write it."""

    def __init__(self, dims, classes, params):
        super().__init__()
        d = params.d
        drop = nn.Dropout(params.dropout)
        self.encode = nn.ModuleList(nn.Sequential(drop, nn.Linear(dim, d), nn.ReLU()) for dim in dims)
        self.classify = nn.ModuleList(nn.Sequential(drop, nn.Linear(d, classes)) for _ in dims)

    def forward(self, x, mask):
        said = torch.stack([c(e(m)) for c, e, m in zip(self.classify, self.encode, x)], dim=1)
        return (said * (mask / mask.sum(dim=1, keepdim=True).clamp(min=1)).unsqueeze(2)).sum(dim=1)
'''


def test_the_plain_loop_learns_what_the_stack_learns(
    lab: Callable[..., str], planted: Planted, params: TrainParams
) -> None:
    """Without dropout, which is drawn differently, a built-in network written as a plain module becomes the same one:
    same first weights, order of the rows, steps, best epoch and refit; to rounding."""
    own = described(params, lab(MEAN_LOGITS, "Twin")).model_copy(update={"dropout": 0.0, "seeds": (0, 1)})
    features, labels = features_of(planted), labels_of(planted)
    with fixed_threads():
        plain, stacked = (cross_validate(name, features, labels, 3, own) for name in ("mine", "mean-logits"))
    assert head_of("mean-logits", own).head is MeanLogits
    np.testing.assert_allclose(plain.probabilities, stacked.probabilities, atol=2e-4)
    np.testing.assert_allclose(plain.weights, stacked.weights, atol=1e-6)
    for one, two in zip(plain.members, stacked.members, strict=True):
        assert [at.validation_f1 for at in one.history] == [at.validation_f1 for at in two.history]
        np.testing.assert_allclose(
            [at.train_loss for at in one.history], [at.train_loss for at in two.history], rtol=1e-3
        )


def test_its_own_params_are_told_by_its_class(lab: Callable[..., str], params: TrainParams) -> None:
    """Settings of `train` reach it; an option of its own has its type; any other is an error with the nearest known."""
    kind = lab()
    own = head_of("mine", described(params, kind, layers=2)).params
    assert own.model_dump(include={"d", "lr", "layers", "gated"}) == {"d": 16, "lr": 3e-3, "layers": 2, "gated": True}
    for options, says in (
        ({"layer": 2}, "has no option 'layer' (did you mean 'layers'?)"),
        ({"layers": "two"}, "'train.heads.mine.layers': Input should be a valid integer (got \"two\")"),
        ({"d": 8}, "train.heads.mine.d: it is set for all heads at once, as train.d"),
    ):
        with pytest.raises(ParamsError) as error:
            check_heads(described(params, kind, **options), {})
        assert says in str(error.value)


def test_its_options_can_be_searched(lab: Callable[..., str], params: TrainParams) -> None:
    """A number with a fraction from low to high, any other by choices; another head's options are not its own."""
    space = SearchSpace(lr=(1e-3, 1e-2), **{"mine.noise": (0.0, 0.5), "mine.layers": (0, 1), "ecmf.residual": (True,)})
    small, own = plant(labelled=24, folds=3), described(params, lab())
    own = own.model_copy(update={"epochs": 2, "seeds": (0,), "search": SearchParams(trials=3, batch=3, space=space)})
    with fixed_threads():
        found = cross_validate("mine", features_of(small), labels_of(small), 3, own)
    assert found.searches is not None
    for one in found.searches:
        assert {key for trial in one.trials for key in trial} == {"lr", "mine.noise", "mine.layers"}
        assert {trial["mine.layers"] for trial in one.trials} <= {0, 1}
        assert one.trials[0] == {"lr": 3e-3, "mine.noise": 0.0, "mine.layers": 1}
    assert found.members[0].member.chosen == found.searches[0].chosen


def test_it_brings_its_own_rows_of_the_ablation(lab: Callable[..., str], params: TrainParams) -> None:
    """Each part that its class names, where it is on."""
    planted = plant()
    system = Setting("mine", features_of(planted), labels_of(planted), described(params, lab()))

    def names(system: Setting) -> set[str]:
        return {one.name for one in variants(system, system.features, (), (), ("mine", "logreg")) if one.kind == "part"}

    assert "gain off" in names(system)
    assert "attention off" not in names(system)
    assert "gain off" not in names(system.with_options({"gated": False}))
    assert "gain off" not in names(replace(system, head="logreg"))


def test_an_ensemble_may_be_made_of_it(lab: Callable[..., str], planted: Planted, params: TrainParams) -> None:
    """It stands in `train.heads`, so it is a candidate, with its options, after the built-in ones."""
    own = described(params, lab(), layers=2)
    own = own.model_copy(update={"heads": {**own.heads, **TrainParams(heads=["ensemble"]).heads}, "seeds": (0,)})
    parts = head_of("ensemble", own).parts
    assert [part.name for part in parts] == ["logreg", "mine"]
    assert parts[1].params == head_of("mine", own).params
    with fixed_threads():
        found = cross_validate("ensemble", features_of(planted), labels_of(planted), 3, own)
    assert Confusion.of(labels_of(planted).given, found.probabilities[0].argmax(axis=1), 3).weighted_f1 > 0.5


def test_an_installed_head_is_known_by_its_entry_point(
    lab: Callable[..., str], params: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands in `train.heads` under the name that its package gives it, as a built-in one does."""
    value = lab().replace("/", ".").replace(".py:", ":")
    point = EntryPoint("gaze", value, "mer_pipeline.heads")
    monkeypatch.setattr(components, "_entry_points", lambda group: {"gaze": point} if group == point.group else {})
    own = TrainParams(heads={"gaze": {"layers": 2}, "logreg": {}})
    assert list(own.heads) == ["logreg", "gaze"]
    assert head_of("gaze", own).params.model_dump(include={"layers", "d"}) == {"layers": 2, "d": 64}
    with pytest.raises(ValidationError, match=r"there is no head 'gaz'.*did you mean 'gaze'"):
        TrainParams(heads=["gaz"])


def test_one_kind_stands_twice_under_two_names(planted: Planted, params: TrainParams) -> None:
    """Each with its own options; what is the same is remembered once."""
    heads = {"ecmf": {}, "ecmf-flat": {"kind": "ecmf", "attention_layers": 0}, "again": {"kind": "ecmf"}}
    own = TrainParams.model_validate({**params.model_dump(exclude={"heads"}), "heads": heads})
    assert head_of("ecmf-flat", own).params != head_of("ecmf", own).params
    features, labels = features_of(planted), labels_of(planted)
    assert key_of("again", features, labels, 3, own) == key_of("ecmf", features, labels, 3, own)
    assert key_of("ecmf-flat", features, labels, 3, own) != key_of("ecmf", features, labels, 3, own)


def kept(store: Path) -> set[str]:
    """What a store has of trained heads: a folder for each code, with its packs."""
    return {path.relative_to(store).as_posix() for path in store.rglob("*.parquet")}


def test_its_code_and_its_options_decide_what_is_taken_from_the_store(
    lab: Callable[..., str], planted: Planted, params: TrainParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option given at its default, and another head beside it, train nothing anew; another value does, and so does
    other code, which is then not what the first code left in the store."""
    features, labels, store = features_of(planted), labels_of(planted), tmp_path / "store"
    quick = params.model_copy(update={"epochs": 1, "seeds": (0,)})

    def go(kind: str, **options: object) -> int:
        with fixed_threads():
            HeadCache(str(store)).cross_validate("mine", features, labels, 3, described(quick, kind, **options))
        return len(kept(store))

    first = go(kind := lab())
    assert first > 0
    assert go(kind) == go(kind, layers=1, gated=True) == first
    second = go(kind, layers=2)
    assert second > first
    lab(RECIPE.replace("nn.ReLU()", "nn.Tanh()"))
    monkeypatch.delitem(sys.modules, kind.partition(".py:")[0].replace("/", "."))  # as in the next process
    third = go(kind)
    assert third > second
    lab()
    monkeypatch.delitem(sys.modules, kind.partition(".py:")[0].replace("/", "."))
    assert go(kind) == third


def test_shared_settings_that_it_does_not_read_are_not_in_its_key(planted: Planted, params: TrainParams) -> None:
    """The learning rate of the networks is nothing to logreg, nor another head's option, nor which heads there are."""
    features, labels = features_of(planted), labels_of(planted)

    def key(name: str, params: TrainParams) -> str:
        return key_of(name, features, labels, 3, params)

    changed = params.model_copy(update={"lr": 0.5, "d": 32, "epochs": 3, "seeds": (0, 5, 6)})
    assert key("logreg", changed) == key("logreg", params)
    assert key("mertools", changed) != key("mertools", params)
    assert key("mertools", params.with_options("ecmf", residual=False)) == key("mertools", params)
    assert key("ecmf", params.with_options("ecmf", residual=False)) != key("ecmf", params)
    assert key("ecmf", params.with_options("ecmf", residual=True)) == key("ecmf", params)
    assert key("ecmf", params.with_heads("ecmf", "gated")) == key("ecmf", params)


FAULTY = """
import torch
from torch import nn


class KeyOfNothing(nn.Module):
    def __init__(self, dims, classes, params):
        super().__init__()
        self.out = nn.Linear(sum(dims), classes)

    def forward(self, x, mask):
        return self.out({"a": x}["b"])


class NoSuchOption(KeyOfNothing):
    def __init__(self, dims, classes, params):
        super().__init__(dims, classes, params)
        self.gain = params.gain


class TooManyClasses(KeyOfNothing):
    def forward(self, x, mask):
        return torch.cat([self.out(torch.cat(x, dim=1))] * 2, dim=1)


class NoNumbers(KeyOfNothing):
    def forward(self, x, mask):
        return self.out(torch.cat(x, dim=1)) / 0


class Nothing(KeyOfNothing):
    def forward(self, x, mask):
        pass


class WrongWeights(KeyOfNothing):
    def forward(self, x, mask):
        return self.out(torch.cat(x, dim=1)), mask[:, :1]


class WrongParams(KeyOfNothing):
    Params = dict


class NoHead:
    pass
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("KeyOfNothing", ["KeyError at ", "heads.py:12: 'b'"]),
        ("NoSuchOption", ["AttributeError at ", "heads.py:18: ", "'gain'"]),
        ("TooManyClasses", ["forward gives logits (32, 6), not (32, 3)"]),
        ("NoNumbers", ["forward gives logits that are infinite or no numbers"]),
        ("Nothing", ["forward gives logits NoneType, not (32, 3)"]),
        ("WrongWeights", ["forward gives modality weights (32, 1), not (32, 3)"]),
        ("WrongParams", ["its Params must derive from mer_pipeline.config.train_params.NetworkParams"]),
        ("NoHead", ["does not derive from mer_pipeline.heads.base.Head or torch.nn.Module"]),
        ("Absent", ["has no class 'Absent'"]),
    ],
)
def test_its_faults_are_told_as_its_own(
    name: str, says: list[str], lab: Callable[..., str], planted: Planted, params: TrainParams
) -> None:
    """One sentence with the head, and where code failed its file and line."""
    own = described(params, lab(FAULTY, name))
    with pytest.raises(Bug if " at " in says[0] else ComponentError) as error, fixed_threads():
        cross_validate("mine", features_of(planted), labels_of(planted), 3, own)
    assert "lab_" in str(error.value)
    for part in says:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


NORMED = """
from torch import nn


class Normed(nn.Module):
    def __init__(self, dims, classes, params):
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(dims[0]), nn.Linear(dims[0], classes)

    def forward(self, x, mask):
        return self.out(self.norm(x[0]))
"""


def test_batch_norm_works(lab: Callable[..., str], planted: Planted, params: TrainParams, tmp_path: Path) -> None:
    """Also where the last batch would be of one row; its running statistics are saved and loaded."""
    own = described(params, lab(NORMED, "Normed")).model_copy(update={"batch_size": 5, "epochs": 2, "seeds": (0,)})
    labels = labels_of(planted)
    train, validation = split(labels, 0, True, 3)
    train = train.at(np.arange(21))
    with fixed_threads():
        ((member, _),) = fit_members("mine", features_of(planted), [(train, validation)], [0], 3, own)
        assert member.head is not None
        again = head_of("mine", own).head(planted.features.dims, 3, head_of("mine", own).params)
        again.restore({name: np.ascontiguousarray(array) for name, array in member.head.tensors().items()})
        one, two = member.predict(planted.features), replace(member, head=again).predict(planted.features)
    assert one.probabilities.tobytes() == two.probabilities.tobytes()


SUBCLASS = '''
import numpy as np

from mer_pipeline.heads.base import Head, Logits


class Majority(Head):
    """Says what is most frequent."""

    seeded = False
    uses_validation = False

    @classmethod
    def fit_all(cls, features, jobs, classes, compute, tick):
        fitted = []
        for job in jobs:
            head = cls(features.dims, classes, job.params)
            head.prior = np.bincount(job.train.label, minlength=classes).astype(np.float32)
            fitted.append((head, []))
            tick()
        return fitted

    def score(self, group):
        return Logits(np.tile(self.prior, (len(group), 1)), group.mask.astype(np.float32))

    def tensors(self):
        return {"prior": self.prior}

    def restore(self, tensors):
        self.prior = tensors["prior"]
'''


def test_a_head_need_be_no_network(lab: Callable[..., str], planted: Planted, params: TrainParams) -> None:
    """Whatever keeps the contract of `Head` is one."""
    with fixed_threads():
        found = cross_validate(
            "mine", features_of(planted), labels_of(planted), 3, described(params, lab(SUBCLASS, "Majority"))
        )
    labels = labels_of(planted)
    for f in range(5):  # each fold by what is most frequent in the others
        scored = (labels.fold == f) & ~found.by_prior
        most = np.bincount(labels.held_out[f, labels.fold != f]).argmax()
        assert (found.probabilities[0, scored].argmax(axis=1) == most).all()


def test_the_built_in_heads_are_in_the_table_alone(params: TrainParams) -> None:
    """Every one loads, has options of its own class, and stands for itself."""
    check_heads(params, {name: name for name in heads_of()})
    for name in heads_of():
        head = head_of(name, params)
        assert (head.name, head.kind) == (name, name)
        assert head.head.__doc__
