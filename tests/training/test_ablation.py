"""The ablation stage: its reference is the train stage's head, its marks are where the worth is, its bytes stay."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from mer_pipeline.base.runs import Progress, quiet
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import AblationParams, HeadName, PredictParams, TrainParams
from mer_pipeline.scores.ablation_table import FIGURES
from mer_pipeline.training import head_cache
from mer_pipeline.training.ablation import ablate
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.train import train
from tests.planted import NAMES, Planted, plant, task_of
from tests.project import command

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = """
dataset: {root: data, csv: data, classes: [neutral, angry, happy]}
encoders:
  scene: {family: appearance, input: frames}
  face: {family: face-geometry, input: faces}
  voice: {family: logmel, input: audio}
train:
  {heads: {ecmf: {}, ecmf+late: {}, logreg: {c: [0.01]}}, seeds: [0], d: 8, epochs: 3, patience: 3}
"""


def run(
    project: Project, params: TrainParams, head: HeadName = "ecmf", store: str | None = None, told: Progress = quiet
) -> dict[str, object]:
    """The stage's summary."""
    ablate(AblationParams(enabled=True, head=head), PredictParams(), task_of(params), project, HeadCache(store), told)
    found: dict[str, object] = json.loads(project.metrics("ablation").read_text())
    return found


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was trained and not taken from the store."""
    names: list[str] = []
    complete = head_cache.complete_row

    def watch(name: str, *others: object) -> object:
        names.append(name)
        return complete(name, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(head_cache, "complete_row", watch)
    return names


def test_the_reference_is_the_train_stages_head(
    planted: Planted, project: Callable[..., Project], params: TrainParams, tmp_path: Path, trained: list[str]
) -> None:
    """The same scores to the digit; of what that stage has trained nothing is trained again, nor the reverse."""
    at, store = project(planted), str(tmp_path / "store")
    quick = params.with_heads("ecmf", "logreg").model_copy(update={"epochs": 2})
    ticks: list[tuple[int, int]] = []
    train(task_of(quick), 5, at, HeadCache(store))
    of_train = json.loads(at.metrics("train").read_text())
    assert len(trained) == 2 * (1 + 3)
    trained.clear()
    found = run(at, quick, store=store, told=lambda done, total: ticks.append((done, total)))
    # Attention off, residual off, and one modality less, three times; nothing was refined here.
    assert [name.split()[0] for name in trained] == ["ecmf"] * 5  # and nothing for the prior shift
    assert len(set(trained)) == 4
    assert ticks == [(i + 1, len(ticks)) for i in range(5 * (10 * 2 + 1))]
    reference, rows = found["reference"], found["variants"]
    assert isinstance(reference, dict)
    assert isinstance(rows, dict)
    for basis in ("given", "true"):
        told = of_train["heads"]["ecmf"][basis]
        assert reference[basis].items() <= told.items()
        assert set(told) - set(reference[basis]) == {"interval"}
    score = {key: value for key, value in of_train["heads"]["logreg"]["given"].items() if key != "interval"}
    assert {key: rows["logreg"]["given"][key] for key in score} == score
    for name in NAMES:
        alone = of_train["single"][name]["ecmf"]["true"]
        assert {key: rows[f"{name} alone"]["true"][key] for key in alone} == alone
    trained.clear()
    train(task_of(quick), 5, at, HeadCache(store))
    run(at, quick, store=store)
    assert trained == []


def test_what_matters_is_marked_and_what_does_not_is_not(project: Callable[..., Project], params: TrainParams) -> None:
    """All that there is to know is in the scene: dropping it is significantly worse by both yardsticks, dropping the
    voice, which is noise, is not; and an interval of the difference is on the side that p says."""
    planted = plant(labelled=200)
    noise = np.random.default_rng(5).normal(size=planted.features.x[2].shape).astype(np.float32)
    x = (*planted.features.x[:2], np.where(planted.features.mask[:, 2:], noise, 0))
    at = project(replace(planted, features=replace(planted.features, x=x)))
    for head in ("logreg", "ecmf"):
        changes = {"seeds": (0, 1), "epochs": 20, "patience": 8}
        found = run(at, params.with_heads(head).model_copy(update=changes), head)
        assert (found["over"], found["units"]) == ("groups", 10)
        rows = found["variants"]
        assert isinstance(rows, dict)
        for basis in ("given", "true"):
            lost, kept = rows["without scene"][basis], rows["without voice"][basis]
            assert lost["difference"] < -0.3
            assert lost["high"] < 0
            assert lost["p"] <= lost["p_holm"] < 0.01
            assert abs(kept["difference"]) < 0.1
            assert kept["p_holm"] > 0.05
            assert abs(rows["scene alone"][basis]["difference"]) < 0.1
            assert rows["voice alone"][basis]["p_holm"] < 0.01


def test_without_truth_there_is_one_yardstick(
    planted: Planted, project: Callable[..., Project], params: TrainParams
) -> None:
    """And what is scored against given labels is what it was with a truth."""
    quick = params.with_heads("logreg")
    one, two = (run(project(planted, name=str(truth), truth=truth), quick, "logreg") for truth in (True, False))
    for found in (one["reference"], *one["variants"].values()):  # type: ignore[attr-defined]
        assert found["true"] is not None
    for found in (two["reference"], *two["variants"].values()):  # type: ignore[attr-defined]
        assert found["true"] is None
    assert one["reference"]["given"] == two["reference"]["given"]  # type: ignore[index]


@pytest.mark.parametrize("case", ["no labels", "no modality"])
def test_nothing_to_learn_is_said(
    case: str, planted: Planted, project: Callable[..., Project], params: TrainParams
) -> None:
    """No error; the reason is in the summary, as in the train stage's."""
    if case == "no modality":
        planted = replace(planted, features=replace(planted.features, mask=np.zeros_like(planted.features.mask)))
    at = project(planted, labelled=case != "no labels")
    found = run(at, params)
    train(task_of(params), 5, at, HeadCache(None))
    assert found == {"enabled": True, "empty": json.loads(at.metrics("train").read_text())["empty"], "variants": {}}
    assert isinstance(found["empty"], str)


def script(folder: Path, *words: str, forked: bool = False, python: Sequence[str] = ()) -> CompletedProcess[str]:
    """The stage as DVC runs it, with its own arguments and Python's."""
    env = {"PYTHONPATH": str(ROOT), "MER_STORE": str(folder / ".mer/store")}
    done = command(folder, "python", *python, str(ROOT / "stages/ablation.py"), *words, forked=forked, env=env)
    assert done.returncode == 0, done.stderr
    return done


def test_the_stages_script(planted: Planted, project: Callable[..., Project]) -> None:
    """On: a row per variant in both files, and the same bytes again without what was remembered. Off: an empty
    summary, without torch."""
    folder = project(planted, "tiny").root
    files = [folder / "metrics/ablation.json", folder / "plots/ablation.csv"]
    (folder / "params.yaml").write_text(PARAMS + "ablation: {enabled: true}\n")
    made = []
    for words in ((), ("--no-store",)):
        done = script(folder, *words, forked=bool(words))
        assert done.stdout.startswith("ablation: 12 variants of ecmf+late, ")
        made.append([path.read_bytes() for path in files])
    assert made[0] == made[1]
    rows = list(csv.reader(files[1].open(encoding="utf-8", newline="")))
    assert tuple(rows[0]) == ("variant", "kind", *FIGURES)
    table = json.loads(files[0].read_text())["variants"]
    assert {row[0]: row[1:] for row in rows[1:]} == {
        name: [row["kind"], *(str(row["given"][key]) for key in FIGURES)] for name, row in table.items()
    }

    (folder / "params.yaml").write_text(PARAMS)
    done = script(folder, python=("-X", "importtime"))
    assert done.stdout == "ablation: off (ablation.enabled)\n"
    assert not [line for line in done.stderr.splitlines() if line.endswith((" torch", " sklearn", " transformers"))]
    assert json.loads(files[0].read_text()) == {"enabled": False, "empty": None, "variants": {}}
    assert files[1].read_text() == ",".join(("variant", "kind", *FIGURES)) + "\n"
