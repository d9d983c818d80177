"""Sets of classes and numbers in a dataset's CSVs, and the folds of clips that are labelled so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mer_pipeline.base.errors import DatasetError
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.base.target import ClassSets, Numbers, Target, target_of
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.adapter import DATASET, DatasetParams
from mer_pipeline.datasets.folds import FoldParams, make_folds
from mer_pipeline.datasets.ingest import IngestParams, ingest, list_dataset
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.shards import ShardParams, provenance_of
from tests.datasets.test_adapters import mer

CLASSES = ["happy", "sad", "angry"]


def folder(root: Path, text: str, **section: object) -> DatasetParams:
    """A dataset without media, with a CSV of this text."""
    (root / "clips.csv").write_text(text)
    paths = {"root": str(root), "csv": str(root / "clips.csv")}
    return DATASET.parse({"adapter": "folder", "media": False, "classes": CLASSES, **paths, **section})


def labels(params: DatasetParams) -> dict[str, str | None]:
    return {name: entry.label for name, entry in list_dataset(params).entries.items()}


def test_sets_in_one_column_or_in_one_per_class(tmp_path: Path) -> None:
    """Both give the same labels, in the order of the classes."""
    cells = folder(tmp_path, "name,label\na,sad|happy\nb,angry\nc,\n", target="multilabel", delimiter="|")
    assert labels(cells) == {"a": "happy;sad", "b": "angry", "c": None}
    flags = folder(tmp_path, "name,happy,sad,angry\na,1,1,0\nb,0,0,1\nc,,,\n", target="multilabel")
    assert labels(flags) == labels(cells)
    with pytest.raises(DatasetError, match="no column 'angry'"):
        list_dataset(folder(tmp_path, "name,happy,sad\na,1,1\n", target="multilabel"))


def test_numbers_and_truth(tmp_path: Path) -> None:
    """The columns are called like the dimensions; a test clip's numbers are true labels, and never shown to a head."""
    text = "name,split,valence,arousal\na,train,0.5,3\nb,test,-1,0\nc,,,\n"
    params = folder(tmp_path, text, target="regression", values={"valence": [-1, 1], "arousal": [0, 4]})
    listing = list_dataset(params)
    assert labels(params) == {"a": "0.5;3.0", "b": None, "c": None}
    assert listing.truth == {"b": "-1.0;0.0"}
    assert [vote.label for vote in listing.votes] == ["0.5;3.0"]
    with pytest.raises(DatasetError, match="no column 'arousal'"):
        list_dataset(folder(tmp_path, "name,valence\na,0.5\n", target="regression",
                            values={"valence": [-1, 1], "arousal": [0, 4]}))  # fmt: skip


def test_valence_of_the_release(tmp_path: Path) -> None:
    """MER2025's first track has a column of valence beside the discrete label."""
    params = mer(tmp_path).model_copy(update={"target": "regression", "values": {"valence": (-5.0, 5.0)}})
    assert list_dataset(params).entries["a_1"].label == "1.0"


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_folds_keep_groups_and_shares(kind: Kind) -> None:
    """No group is in two folds, each fold has its share of each class or quantile, and the order does not matter."""
    rng = np.random.default_rng(0)
    if kind == "multilabel":
        target: Target = ClassSets(tuple(CLASSES))
        values = rng.random((400, 3)) < [0.5, 0.2, 0.05]
    else:
        target, values = Numbers(("valence",), ((-1, 1),)), rng.uniform(-1, 1, size=(400, 1))
    clips = [(f"c{i:03d}", target.label(row.astype(np.float32)), f"g{i // 4}") for i, row in enumerate(values)]
    folds = make_folds(clips, FoldParams(n=4), (), target)
    fold = np.array([folds.of[clip_id] for clip_id, _, _ in clips])
    assert folds.n == 4
    assert all(len(set(fold[4 * g : 4 * g + 4])) == 1 for g in range(100))
    assert np.ptp(np.bincount(fold)) <= 8
    strata = target.strata([label for _, label, _ in clips])
    shares = np.stack([strata[fold == f].sum(axis=0) / strata.sum(axis=0) for f in range(4)])
    assert shares.min() > 0.15
    assert shares.max() < 0.35
    assert make_folds(clips[::-1], FoldParams(n=4), (), target) == folds
    assert make_folds(clips, FoldParams(n=4, seed=1), (), target) != folds


def test_an_adapter_that_knows_classes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels are refused where numbers are predicted, and do as sets of one class."""
    (tmp_path / "components").mkdir()
    monkeypatch.chdir(tmp_path)
    text = (
        "from mer_pipeline.datasets.adapter import Adapter\nfrom mer_pipeline.datasets.listing import Entry, Listing\n"
    )
    text += "class Own(Adapter):\n    def listing(self):\n"
    text += "        return Listing(entries={'a': Entry('a', split='train', label='sad')})\n"
    (tmp_path / "components/own_labels.py").write_text(text)
    section = {"adapter": "components/own_labels.py:Own", "root": str(tmp_path), "csv": "x", "classes": CLASSES}
    assert labels(DATASET.parse({**section, "target": "multilabel"})) == {"a": "sad"}
    with pytest.raises(DatasetError, match="the adapter's label of 'a': column 'valence' must be a number, not 'sad'"):
        list_dataset(DATASET.parse({**section, "target": "regression", "values": {"valence": [0, 1]}}))


def test_too_few_for_folds() -> None:
    """One clip of each class is said to be too few, as for classes."""
    clips = [("a", "happy", "s"), ("b", "sad", "t")]
    assert "no class with two" in make_folds(clips, FoldParams(), (), ClassSets(tuple(CLASSES))).note


def test_ingest_notes_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later stages read from the table of folds what is predicted; for classes the footer is that of older versions."""
    monkeypatch.chdir(tmp_path)
    text = "name,label,valence\n" + "".join(f"c{i},{CLASSES[i % 2]},{i / 10}\n" for i in range(8))

    def footer(**section: object) -> dict[str, str]:
        params = folder(tmp_path, text, **section)
        ingest(IngestParams(params, FoldParams(n=2), ShardParams(), QualityParams()), Project(tmp_path), Runtime())
        return provenance_of(Project(tmp_path).folds)

    assert footer().keys() == {"note"}
    assert target_of(footer(target="regression", values={"valence": [0, 1]}), ()) == Numbers(("valence",), ((0, 1),))
    assert pq.read_table(Project(tmp_path).given)["label"][3].as_py() == "0.3"
