"""`mer init` where clips have several classes or numbers: what it finds, what it says, and what it writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mer_pipeline.base.errors import UsageError
from mer_pipeline.base.kind import Kind
from mer_pipeline.base.target import ClassSets, Numbers
from mer_pipeline.cli.init import write_params
from mer_pipeline.cli.profiles import is_untouched
from mer_pipeline.config.params import load_params
from tests.datasets.test_adapters import MER, gen

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the profiles and prompts, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for name in ("profiles", "prompts"):
        shutil.copytree(ROOT / name, tmp_path / name)


def init(csv: str, kind: Kind | None = None, profile: str = "starter") -> str:
    """`mer init` for a CSV of this text, without media."""
    Path("clips").mkdir(exist_ok=True)
    Path("clips.csv").write_text(csv)
    return write_params(profile, Path("clips"), None, force=False, media=False, kind=kind)


def test_numbers() -> None:
    """The usual columns are found, with a range that fits; labels are given, and the heads are those that can."""
    said = init("name,Valence,arousal\na,-0.5,3.5\nb,0.25,1\nc,,\n", "regression")
    params = load_params()
    assert params.dataset.predicts == Numbers(("Valence", "arousal"), ((-1, 1), (1, 5)))
    assert params.labels.method == "given"
    assert "ridge" in params.train.heads
    assert "logreg" not in params.train.heads
    assert "numbers: Valence from -1 to 1, arousal from 1 to 5; correct a range that is wrong" in said
    assert ["labelled", "2", "0", "0"] in [line.split() for line in said.splitlines()]
    assert "Valence: [-1, 1]" in Path("params.yaml").read_text()
    assert "every clip is unlabelled" not in said
    assert is_untouched(Path("params.yaml").read_text())


def test_numbers_in_the_column_of_labels() -> None:
    """If no column is called like a dimension, it is taken; numbers beyond all usual ranges get their own."""
    init("name,label\na,0\nb,73.5\n", "regression")
    assert load_params().dataset.predicts == Numbers(("label",), ((0, 74),))
    with pytest.raises(UsageError, match="no column has numbers to predict"):
        init("name,label\na,happy\n", "regression")


def test_sets_in_cells_and_in_columns() -> None:
    """The delimiter is found; columns of 0 and 1 are classes where there is no column of labels."""
    said = init("name,label\na,happy|sad\nb,happy\nc,\n", "multilabel")
    assert load_params().dataset.predicts == ClassSets(("happy", "sad"), "|")
    assert ["happy", "2", "0", "0"] in [line.split() for line in said.splitlines()]
    assert "binary" in load_params().train.heads
    init("name,happy,sad,other\na,1,1,x\nb,1,0,y\n", "multilabel")
    assert load_params().dataset.predicts == ClassSets(("happy", "sad"))
    with pytest.raises(UsageError, match="no cell of column 'label' has several classes"):
        init("name,label\na,happy\n", "multilabel")


@pytest.mark.outcome("cells with several classes", "`--target multilabel`, or class if it is the name of one")
def test_what_looks_like_sets_is_asked_about() -> None:
    """Only where every part stands alone in another cell; `--target class` takes it for a name."""
    with pytest.raises(UsageError, match=r"'happy;sad' in column 'label' looks like several classes: say --target mul"):
        init("name,label\na,happy;sad\nb,happy\nc,sad\n")
    init("name,label\na,happy;sad\nb,happy\nc,sad\n", "class")
    assert load_params().dataset.classes == ("happy", "sad", "happy;sad")
    init("name,label\na,anger/disgust\nb,happy\n")
    assert load_params().dataset.target == "class"


@pytest.mark.parametrize("profile", ["starter", "ecmf", "mertools", "demo"])
@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_every_profile_can_be_of_every_kind(profile: str, kind: Kind) -> None:
    """Judges are taken out, and that is said; what is written is valid, and counts as untouched."""
    text = "name,label,valence\na,happy;sad,0.5\nb,sad,0.7\n"
    init(text, kind, profile)
    assert load_params().dataset.target == kind
    assert not load_params().judges
    init(text, kind, profile)  # once more: nobody has edited the file


def test_valence_of_the_release() -> None:
    """MER2025's own CSV has a column of it; the test's truth has none, and is left out."""
    gen(Path("clips"), {**MER, "track1_test_dis.csv": "name,discrete\na_2,sad\n"})
    write_params("starter", Path("clips"), None, force=False, kind="regression")
    params = load_params()
    assert params.dataset.adapter == "mer2025"
    assert params.dataset.predicts == Numbers(("valence",), ((0, 1),))
    assert params.dataset.truth == ()
