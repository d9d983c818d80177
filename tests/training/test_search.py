"""Settings are chosen without the fold that is scored, in batches, and again the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.base.modalities import Features
from mer_pipeline.config.params import parse_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import PredictParams, SearchParams, SearchSpace, TrainParams
from mer_pipeline.heads.base import ComputeConfig
from mer_pipeline.heads.make import check_heads, head_of
from mer_pipeline.labels.votes import MISSING
from mer_pipeline.scores.confusion import Confusion
from mer_pipeline.scores.score import score
from mer_pipeline.training.artifacts import FUSED, load_config, load_member, member_path
from mer_pipeline.training.cross_validation import Labels, Validated, cross_validate, members_of, problems, validate
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.member import HERE, fit_plans, fixed_threads
from mer_pipeline.training.member import Plan as MemberPlan
from mer_pipeline.training.predict import predict
from mer_pipeline.training.search import FoldSearch
from mer_pipeline.training.train import train
from tests.planted import CLASSES, Planted, plant, task_of, with_strengths
from tests.training.test_cross_validation import bytes_of, features_of, labels_of

SPACE = SearchSpace(
    lr=(1e-5, 1e-2), weight_decay=(1e-6, 1e-1), dropout=(0.0, 0.6), **{"ecmf.modality_dropout": (0.0, 0.5)}
)


@pytest.fixture
def params() -> TrainParams:
    """A search that is over in seconds."""
    wanted = SearchParams(trials=4, batch=3, space=SPACE.model_copy(update={"d": (8, 16)}))
    return with_strengths(TrainParams(d=16, epochs=4, patience=3, seeds=(0, 1), lr=3e-3, search=wanted), 1e-2)


@pytest.fixture
def small() -> Planted:
    """36 labelled clips in 4 folds."""
    return plant(labelled=36, folds=4)


def searched(params: TrainParams, **changes: object) -> TrainParams:
    return params.model_copy(update={"search": params.search.model_copy(update=changes)})


def go(features: Features, labels: Labels, params: TrainParams, compute: ComputeConfig = HERE) -> Validated:
    with fixed_threads():
        return cross_validate("ecmf", features, labels, len(CLASSES), params, compute=compute)


def searches_of(validated: Validated) -> list[FoldSearch]:
    assert validated.searches is not None
    return validated.searches


def changed_on(fold: int, labels: Labels) -> Labels:
    """Other given labels on a fold, and other refined ones wherever its labels had a part in the refinement."""
    given = np.where(labels.fold == fold, (labels.given + 1) % 3, labels.given)
    final = (labels.final + 1) % 3
    held_out = np.where(labels.held_out == MISSING, MISSING, final)
    held_out[fold] = labels.held_out[fold]
    return replace(labels, given=given, final=final, true=given, held_out=held_out)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_no_choice_sees_the_fold_that_is_scored(sampler: str, small: Planted, params: TrainParams) -> None:
    """Other labels and features on fold 2: trials, their values and the member of fold 2 are the same to the bit."""
    labels, features = labels_of(small), features_of(small)
    params = searched(params, sampler=sampler, trials=12, batch=6).model_copy(update={"seeds": (0,)})
    own = labels.fold == 2
    moved = replace(features, x=tuple(np.where(own[:, None], x + 3, x) for x in features.x))
    one, two = go(features, labels, params), go(moved, changed_on(2, labels), params)
    before, after = searches_of(one), searches_of(two)
    assert repr(before[2]) == repr(after[2])
    assert bytes_of(one.members[2].member) == bytes_of(two.members[2].member)
    for f in (0, 1, 3, 4):  # 4: the search of no fold
        assert before[f].values != after[f].values


def test_no_study_of_a_fold_scores_or_learns_its_clips(small: Planted) -> None:
    """Its inner folds are the others, each scored once and learnt by labels that were refined without the outer one."""
    labels = labels_of(small)
    k = labels.folds
    refined = np.where(labels.held_out == MISSING, MISSING, (labels.given + 1 + np.arange(k)[:, None]) % 3)
    labels = replace(labels, held_out=refined, pseudo_ids=("p",), pseudo=np.zeros((k, 1), np.int64))
    each = problems(head_of("ecmf", TrainParams()), labels, len(CLASSES), TrainParams())
    assert len(each) == k + 1
    for f, folds in enumerate(each[:-1]):
        assert sorted(np.concatenate([fold.scored for fold in folds])) == np.flatnonzero(labels.fold != f).tolist()
        for fold in folds:
            train, validation = fold.split
            assert validation is not None
            learnt = np.concatenate([train.rows, validation.rows])
            assert sorted([*learnt, *fold.scored]) == np.flatnonzero(labels.fold != f).tolist()
            assert (np.concatenate([train.label, validation.label]) == refined[f][learnt]).all()
    for f, fold in enumerate(each[-1]):
        assert (labels.fold[fold.scored] == f).all()
        assert len(labels.fold) in fold.split[0].rows  # pseudo-labels that do not know it


def test_the_first_draw_is_params_as_they_stand(small: Planted, params: TrainParams) -> None:
    """In the search of no fold it is worth what plain cross-validation scores; so no best is below it."""
    labels, features = labels_of(small), features_of(small)
    validated = go(features, labels, params)
    plain = go(features, labels, params.as_they_stand)
    ecmf = head_of("ecmf", params)
    for one in searches_of(validated):
        assert one.trials[0] == {key: ecmf.value(key) for key in params.search.space.entries}
        assert len(one.trials) == len(one.values) == params.search.trials
        assert one.values[one.best] >= one.values[0]
        assert len({repr(trial) for trial in one.trials}) == params.search.trials
        for trial in one.trials:
            for key, value in trial.items():
                entry = params.search.space.entries[key]
                assert value in entry if key == "d" else entry[0] <= value <= entry[1]
    first = Confusion.of(labels.given, plain.probabilities[0].argmax(axis=1), 3).weighted_f1
    assert searches_of(validated)[-1].values[0] == first


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_draws_together_are_draws_alone(sampler: str, small: Planted, params: TrainParams) -> None:
    """Each is worth what its members, trained one by one, score; and workers change nothing."""
    labels, features = labels_of(small), features_of(small)
    params = searched(params, sampler=sampler)
    validated = go(features, labels, params)
    head, searches = head_of("ecmf", params), searches_of(validated)
    for f in (1, 4):
        for trial, value in zip(searches[f].trials, searches[f].values, strict=True):
            scored, said = [], []
            for fold in problems(head, labels, 3, TrainParams())[f]:
                with fixed_threads():
                    plan = MemberPlan(fold.split, 0, head.with_values(trial))
                    ((member, _),) = fit_plans(features, [plan], 3)
                scored.append(labels.given[fold.scored])
                said.append(member.predict(features.take(fold.scored)).probabilities.argmax(axis=1))
            assert Confusion.of(np.concatenate(scored), np.concatenate(said), 3).weighted_f1 == value
    again = go(features, labels, params, ComputeConfig(workers=2))
    assert repr(searches_of(again)) == repr(searches)
    assert again.probabilities.tobytes() == validated.probabilities.tobytes()


def test_a_fold_is_trained_as_was_chosen_for_it(small: Planted, params: TrainParams) -> None:
    """Every seed's member is what it would be with these params."""
    labels, features = labels_of(small), features_of(small)
    validated = go(features, labels, params)
    searches = searches_of(validated)
    for one in validated.members:
        head = searches[one.fold].apply(head_of("ecmf", params))
        with fixed_threads():
            own = validate(head, features, labels, len(CLASSES), params.as_they_stand).members
        twin = next(other for other in own if (other.seed, other.fold) == (one.seed, one.fold))
        assert one.member.chosen == searches[one.fold].chosen
        assert bytes_of(one.member) == bytes_of(twin.member)


def test_a_good_rate_is_chosen_where_the_first_is_bad() -> None:
    """A head that hardly learns as params stand learns after a search."""
    planted = plant(labelled=60, folds=4)
    wanted = SearchParams(trials=8, batch=8, space=SearchSpace(lr=(1e-7, 1e-1)))
    params = TrainParams(d=16, epochs=20, patience=6, seeds=(0,), lr=1e-7, search=wanted)
    validated = go(features_of(planted), labels_of(planted), params)
    assert all(one.chosen["lr"] > 1e-4 for one in searches_of(validated))
    plain = go(features_of(planted), labels_of(planted), params.as_they_stand)
    given = labels_of(planted).given
    found, before = (score(given, list(v.probabilities)).weighted_f1 for v in (validated, plain))
    assert found > before + 0.1


def test_few_folds(params: TrainParams) -> None:
    """Three: two inner folds, and nothing is validation. Two: none is left to choose on, and params stay."""
    params = searched(params, trials=2)
    three = plant(labelled=30, folds=3)
    assert all(fold.split[1] is None for fold in problems(head_of("ecmf", params), labels_of(three), 3, params)[0])
    assert len(searches_of(go(features_of(three), labels_of(three), params))) == 4
    two = plant(labelled=30, folds=2)
    assert go(features_of(two), labels_of(two), params).searches is None


def test_every_member_ticks_and_all_is_remembered(small: Planted, params: TrainParams, tmp_path: Path) -> None:
    """Trained or taken from the store; the space counts there where it is searched and nowhere else."""
    labels, features = labels_of(small), features_of(small)
    ticks: list[int] = []

    def ask(params: TrainParams, search: bool) -> Validated:
        ticks.append(0)

        def tick() -> None:
            ticks[-1] += 1

        with fixed_threads():
            known = HeadCache(str(tmp_path))
            return known.cross_validate("ecmf", features, labels, 3, params, tick, search=search)

    one, two, other = ask(params, True), ask(params, True), ask(searched(params, trials=3), True)
    assert ticks == [members_of("ecmf", labels, params)] * 2 + [members_of("ecmf", labels, searched(params, trials=3))]
    assert repr(one.searches) == repr(two.searches)
    assert repr(one.searches) != repr(other.searches)
    for a, b in zip(one.members, two.members, strict=True):
        assert a.member.chosen == b.member.chosen
        assert bytes_of(a.member) == bytes_of(b.member)
    assert ask(params, False).searches is None
    kept = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert ask(searched(params, trials=0, batch=2), True).searches is None
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == kept
    assert not members_of("logreg", labels, params) > labels.folds


def run(project: Project, params: TrainParams) -> dict[str, object]:
    seen: list[tuple[int, int]] = []
    train(task_of(params), 5, project, HeadCache(None), lambda done, total: seen.append((done, total)))
    assert seen == [(at, len(seen)) for at in range(1, len(seen) + 1)]
    predict(PredictParams(), project)
    whole: dict[str, object] = json.loads(project.metrics("train").read_text())
    return whole


def test_through_the_stages(
    project: Callable[..., Project], params: TrainParams, capfd: pytest.CaptureFixture[str]
) -> None:
    """Members of different sizes are loaded again, and the summary says what was found; nothing is printed."""
    planted = plant(labelled=36, folds=4)
    params = params.with_heads("ecmf", "logreg").model_copy(update={"seeds": (0,)})
    done = project(planted)
    heads = run(done, params)["heads"]
    assert capfd.readouterr() == ("", "")
    assert isinstance(heads, dict)
    found = heads["ecmf"]["search"]
    assert heads["logreg"]["search"] is None
    assert found["nested"] == heads["ecmf"]["given"]["weighted_f1"]
    assert found["optimism"] == pytest.approx(found["unnested"] - found["nested"], abs=2e-6)
    assert found["unnested"] >= found["as_they_stand"]
    assert len({chosen["d"] for chosen in found["chosen"]}) > 1, "the example says nothing"
    config = load_config(done.fusion)
    for f, chosen in enumerate(found["chosen"]):
        path = member_path(done.fusion, FUSED, "ecmf", 0, f)
        member = load_member(path, config, FUSED, "ecmf")
        assert member.chosen == chosen
        assert json.loads(load_file(path)["chosen"].tobytes()) == chosen
        assert load_file(path)["head.embedding"].shape[-1] == chosen["d"]
    alone = load_file(member_path(done.fusion, "voice", "ecmf", 0, 0))
    assert "chosen" not in alone
    assert alone["head.embedding"].shape[-1] == params.d


def test_without_draws_nothing_changes(project: Callable[..., Project], params: TrainParams) -> None:
    """What is written is the same to the byte, whatever the space; only config.json repeats the space."""
    planted = plant(labelled=36, folds=4)
    params = params.with_heads("ecmf").model_copy(update={"seeds": (0,)})
    one, two = project(planted, "one"), project(planted, "two")
    off = searched(params, trials=0)
    assert run(one, off) == run(two, off.as_they_stand)

    def files(of: Project) -> dict[str, bytes]:
        found = [path for path in of.fusion.rglob("*") if path.is_file() and path.suffix != ".json"]
        return {path.relative_to(of.fusion).as_posix(): path.read_bytes() for path in found}

    assert files(one) == files(two)
    assert all("chosen" not in load_file(path) for path in one.fusion.rglob("*.safetensors"))


def test_two_folds_say_why_nothing_is_searched_for(project: Callable[..., Project], params: TrainParams) -> None:
    """In metrics/train.json."""
    whole = run(project(plant(labelled=30, folds=2)), params.with_heads("ecmf").model_copy(update={"seeds": (0,)}))
    assert "params are as they stand" in str(whole["search_note"])


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"trials": 4}, "search.space is empty"),
        (
            {"trials": 4, "space": {"lr": [1e-5, 1e-4]}},
            "search.space.lr does not have 0.001, where the search begins",
        ),
        (
            {"trials": 4, "space": {"d": [64, 66]}},
            "go together: 'head ecmf': d (66) must be a multiple of attention_heads (4)",
        ),
        (
            {"trials": 4, "space": {"ecmf.residual": [True, False], "ecmf.attention_layers": [0, 2]}},
            "search.space.ecmf.attention_layers does not have 1, where the search begins",
        ),
        ({"space": {"ecmf.modality_dropout": [0.2, 0.1]}}, "the first of [low, high] must be below the second"),
        ({"space": {"ecmf.modality_dropout": [0.2, 1.0]}}, "modality_dropout': Input should be less than 1"),
        ({"space": {"ecmf.residual": [True, True]}}, "ecmf.residual has an entry twice"),
        ({"space": {"ecmf.residuel": [True]}}, "head 'ecmf' has no option 'residuel' (did you mean 'residual'?)"),
        ({"space": {"logreg.c": [1.0]}}, "'head logreg.c': Input should be a valid"),
        ({"space": {"lr": [1e-3, 1e-4]}}, "lr: the first of [low, high] must be below the second"),
        ({"space": {"weight_decay": [0, 0.1]}}, "greater than 0"),
        ({"space": {"dropout": [0.1, 1.0]}}, "less than 1"),
        ({"space": {"d": [64, 64]}}, "d has an entry twice"),
        ({"space": {"lrr": [1e-4, 1e-3]}}, "(did you mean 'lr'?)"),
        ({"sampler": "grid"}, "'train.search.sampler'"),
        ({"trials": -1}, "greater than or equal to 0"),
        ({"batch": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_search_is_an_error_that_says_so(search: dict[str, object], says: str) -> None:
    """Before anything runs."""
    base = {
        "dataset": {"root": "data/demo", "csv": "data/demo"},
        "encoders": {"voice": {"family": "logmel", "input": "audio"}},
    }
    with pytest.raises(ParamsError, match="train") as error:
        check_heads(parse_params({**base, "train": {"search": search}}).train, {})
    assert says in str(error.value)


def test_a_space_that_nobody_searches_may_lie_elsewhere() -> None:
    """Without trials a changed `lr` is no error."""
    params = TrainParams(lr=0.5, search=SearchParams(space=SPACE))
    assert (params.lr, params.search.space) == (0.5, SPACE)
