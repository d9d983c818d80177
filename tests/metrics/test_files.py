"""The metric files: one class builds each of them and reads it, and an older file is one clear sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mer_pipeline.base.errors import StageError
from mer_pipeline.metrics.ablation import AblationMetrics
from mer_pipeline.metrics.base import MetricFile
from mer_pipeline.metrics.ingest import IngestMetrics
from mer_pipeline.metrics.labels import LabelMetrics
from mer_pipeline.metrics.predict import PredictMetrics
from mer_pipeline.metrics.pseudo import PseudoMetrics
from mer_pipeline.metrics.scores import Score
from mer_pipeline.metrics.train import SearchSummary, TrainedRun, TrainMetrics

ROOT = Path(__file__).resolve().parents[2]
FILES: dict[str, type[MetricFile]] = {
    "ingest": IngestMetrics,
    "labels": LabelMetrics,
    "pseudo": PseudoMetrics,
    "train": TrainMetrics,
    "ablation": AblationMetrics,
    "predict": PredictMetrics,
}


def test_every_committed_file_has_its_class() -> None:
    """A metric file that nobody declared cannot be added."""
    assert {path.stem for path in (ROOT / "metrics").glob("*.json")} == set(FILES)
    assert {kind.STAGE for kind in FILES.values()} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_read_and_written_keeps_its_bytes(name: str, tmp_path: Path) -> None:
    """So the class has every key that the file has, with its type, and writes no other."""
    place = ROOT / f"metrics/{name}.json"
    read = FILES[name].read(place)
    read.write(tmp_path / "again" / place.name)
    assert (tmp_path / "again" / place.name).read_bytes() == place.read_bytes()
    assert FILES[name].read(tmp_path / "again" / place.name) == read


def test_numbers_keep_their_kind() -> None:
    """A setting that is a whole number stays one, and a fraction of 1 is 1.0."""
    found = SearchSummary(
        trials=2, nested=1.0, unnested=1.0, optimism=0.0, as_they_stand=0.5, chosen=({"d": 64, "lr": 0.001},)
    )
    assert json.dumps(found.plain()) == (
        '{"trials": 2, "nested": 1.0, "unnested": 1.0, "optimism": 0.0, "as_they_stand": 0.5, '
        '"chosen": [{"d": 64, "lr": 0.001}]}'
    )


def test_what_a_writer_does_not_give_is_not_in_the_file(tmp_path: Path) -> None:
    """The ablation that is off says three things; a field without a default must be given."""
    off = AblationMetrics(enabled=False, empty=None, variants={})
    assert off.plain() == {"enabled": False, "empty": None, "variants": {}}
    off.write(tmp_path / "ablation.json")
    assert AblationMetrics.read(tmp_path / "ablation.json").reference is None
    with pytest.raises(ValueError, match="macro_f1"):
        Score(n=1, weighted_f1=1.0, uar=1.0, weighted_f1_sd=0.0, log_loss=0.0, ece=0.0, brier=0.0)  # type: ignore[call-arg]


def test_an_absent_file_names_its_stage(tmp_path: Path) -> None:
    """`find` is for those that may be absent."""
    with pytest.raises(StageError, match=r"train\.json is missing; make it with `dvc repro train`"):
        TrainMetrics.read(tmp_path / "train.json")
    assert TrainMetrics.find(tmp_path / "train.json") is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda found: found["heads"]["ecmf"]["given"].pop("interval"),
            r"'heads\.ecmf\.given\.interval': Field required",
        ),
        (lambda found: found.update(kept=[]), "'kept': Extra inputs are not permitted"),
        (lambda found: found.update(folds="five"), "'folds': Input should be a valid integer"),
    ],
)
def test_a_file_of_another_version_is_one_sentence(change: object, sentence: str, tmp_path: Path) -> None:
    """The file, the key, what is wrong and how to mend it; whether it has a key less, a key more or another type."""
    found = json.loads((ROOT / "metrics/train.json").read_text())
    change(found)  # type: ignore[operator]
    place = tmp_path / "train.json"
    place.write_text(json.dumps(found))
    whole = rf"train\.json is not what this version writes \({sentence}.*\); make it again with `dvc repro train`$"
    with pytest.raises(StageError, match=whole) as caught:
        TrainMetrics.read(place)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_version_can_be_compared() -> None:
    """Three keys suffice, and others are left alone; data/fusion/config.json has them too."""
    run = TrainedRun.parse(b'{"classes": ["a", "b"], "selected": "ecmf", "empty": null, "kept": 1}', "old.json")
    assert (run.classes, run.selected, run.empty) == (("a", "b"), "ecmf", None)
    assert TrainedRun.parse((ROOT / "metrics/train.json").read_bytes(), "new.json").selected


def test_metrics_need_no_torch() -> None:
    """Whoever reads a file does not wait for what wrote it."""
    names = ", ".join(f"mer_pipeline.metrics.{name}" for name in FILES)
    code = f"import sys, {names}; assert not {{'torch', 'numpy', 'pyarrow'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
