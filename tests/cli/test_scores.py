"""`mer score` and `mer compare`, as typed, on a small trained project; and each wrong input in one sentence."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import f1_score

from mer_pipeline.base.errors import MerError, StageError, UsageError
from mer_pipeline.cli.compare import compare_runs
from mer_pipeline.cli.score import score_files, score_text
from mer_pipeline.config.project import Project
from mer_pipeline.config.train_params import PredictParams, TrainParams
from mer_pipeline.training.head_cache import HeadCache
from mer_pipeline.training.predict import predict
from mer_pipeline.training.train import train
from tests.forks import python
from tests.planted import CLASSES, plant, task_of, write

ROOT = Path(__file__).resolve().parent.parent.parent
PLANTED = plant()
QUICK = TrainParams(d=16, epochs=3, seeds=(0,), heads=("logreg", "mertools"), single_modality=False)


def mer(*words: object, cwd: Path) -> str:
    """What the command prints."""
    command = [python(), "-m", "mer_pipeline.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_csv(path: Path, rows: dict[str, str], header: str = "name,discrete") -> Path:
    """A CSV of names and labels."""
    path.write_text(f"{header}\n" + "".join(f"{name},{label}\n" for name, label in rows.items()))
    return path


def true_of(split: str) -> dict[str, str]:
    """True labels of the planted clips of a split."""
    chosen = zip(PLANTED.clip_ids, PLANTED.true, PLANTED.split, strict=True)
    return {name: CLASSES[c] for name, c, where in chosen if where == split}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's root: data/ as the stages write it, metrics/, and truth CSVs."""
    root = tmp_path_factory.mktemp("project")
    at = write(root, PLANTED)
    train(task_of(QUICK), 5, at, HeadCache(None))
    predict(PredictParams(), at)
    write_csv(root / "test.csv", true_of("test"))
    write_csv(root / "train.csv", true_of("train"))
    return root


@pytest.fixture
def project(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(trained)
    return trained


def submitted(root: Path) -> dict[str, str]:
    """data/submission.csv."""
    with (root / "data/submission.csv").open() as file:
        return {row["name"]: row["discrete"] for row in csv.DictReader(file)}


class TestScore:
    """`mer score`."""

    def test_the_submission(self, trained: Path) -> None:
        """Typed in the project: scikit-learn's figure, intervals over the manifest's groups, every class."""
        text = mer("score", "test.csv", cwd=trained)
        truth, said = true_of("test"), submitted(trained)
        f1 = f1_score(list(truth.values()), [said[name] for name in truth], average="weighted")
        assert text.splitlines()[0] == "data/submission.csv against test.csv: 30 clips"
        assert f"weighted F1  {f1:.3f}  [" in text
        assert "the middle 95 % of 2000 resamples of 10 groups" in text
        assert all(f"\n{name} " in text for name in CLASSES)
        found = json.loads(mer("score", "test.csv", "data/predictions.parquet", "--json", cwd=trained))
        assert found["scores"]["weighted_f1"]["value"] == pytest.approx(f1, abs=1e-6)
        assert (found["n"], found["without_truth"], found["over"], found["units"]) == (30, 10, "groups", 10)
        assert found["ece"] is None  # three classes here, and no params.yaml that says which

    def test_outside_a_project(self, trained: Path, tmp_path: Path) -> None:
        """Two files suffice; other columns and names without a truth are left alone, and no group is known."""
        rows = "".join(f"{name},x,{label}\n" for name, label in true_of("test").items())
        (tmp_path / "truth.csv").write_text(f"\ufeffname,valence,discrete\n{rows}unknown,y,\n", encoding="utf-8")
        shutil.copy(trained / "data/submission.csv", tmp_path / "mine.csv")
        text = mer("score", "truth.csv", "mine.csv", cwd=tmp_path)
        assert "30 clips" in text
        assert "resamples of 30 clips" in text
        assert "note: no clips are known to share a group" in text

    def test_a_run_out_of_fold(self, project: Path) -> None:
        """A project or its data/fusion is a source too, with the head's probabilities judged beside."""
        found = score_files(Path("train.csv"), ".", "mertools", Project(project))
        assert found.predictions == "., mertools, out of fold"
        same = score_files(Path("train.csv"), "data/fusion", "mertools", Project(project))
        assert found == same.model_copy(update={"predictions": found.predictions})
        metrics = json.loads(Path("metrics/train.json").read_text())["heads"]["mertools"]
        assert found.plain()["confusion"] != metrics["out_of_fold"]["confusion"]  # true labels here, given ones there
        assert found.scores["weighted_f1"].value == metrics["true"]["weighted_f1"]  # one seed
        assert found.scores["weighted_f1"].low == metrics["true"]["interval"]["low"]
        assert found.ece is not None
        assert "calibration error 0." in score_text(found)

    def test_few_groups_are_told(self, project: Path, tmp_path: Path) -> None:
        """An interval over two speakers is nothing to rely on."""
        names = [name for name in true_of("test") if name[-1] in "12"]
        truth = write_csv(tmp_path / "truth.csv", {name: true_of("test")[name] for name in names})
        assert "note: 2 groups are too few" in score_text(score_files(truth, None, None, Project(project)))

    @pytest.mark.parametrize(
        ("truth", "predictions", "sentence"),
        [
            ({"a": "happy", "b": "sad"}, {"a": "happy"}, "lacks a prediction for 1 of the 2 names of .*truth.csv: 'b'"),
            ({"a": "happy"}, {"b": "happy"}, "has none of the 1 names of .*truth.csv: are they of one dataset"),
            ({"a": "happy"}, {"a": "hapy"}, r"mine.csv, 'a': unknown label 'hapy' \(did you mean 'happy'"),
            ({"a": "happy"}, {"a": ""}, "mine.csv, 'a': unknown label ''"),
            ({"a": ""}, {"a": "happy"}, "truth.csv has no labels in its column 'discrete'"),
            ({}, {"a": "happy"}, "truth.csv has no labels"),
        ],
    )
    def test_wrong_content(
        self, truth: dict[str, str], predictions: dict[str, str], sentence: str, tmp_path: Path
    ) -> None:
        """What, where and how to mend it; exit code 2."""
        one, two = write_csv(tmp_path / "truth.csv", truth), write_csv(tmp_path / "mine.csv", predictions)
        with pytest.raises(UsageError, match=sentence) as caught:
            score_files(one, str(two), None, Project(tmp_path))
        assert caught.value.exit_code == 2

    def test_wrong_files(self, project: Path, tmp_path: Path) -> None:
        """Missing, doubled, of another kind, torn, or with heads to choose from."""
        truth = write_csv(tmp_path / "truth.csv", {"a": "happy"})
        torn = tmp_path / "torn.parquet"
        torn.write_bytes(b"PAR1")
        doubled = tmp_path / "doubled.parquet"
        pq.write_table(pa.table({"clip_id": ["a", "a"], "label": ["happy", "sad"]}), doubled)
        (tmp_path / "twice.csv").write_text("name,discrete\na,happy\na,sad\n")
        for predictions, sentence in (
            ("nothing.csv", "there is no file nothing.csv"),
            (str(write_csv(tmp_path / "other.csv", {}, "name,emotion")), "no column 'discrete'"),
            (str(tmp_path / "twice.csv"), "'a' stands there twice"),
            (str(doubled), "'a' stands there twice"),
            (str(torn), "torn or no Parquet file"),
            ("data/truth.parquet", "has none of the 1 names"),
            ("data/folds.parquet", "has no column 'label'"),
            ("data/fusion/out_of_fold.parquet", "predictions of logreg, mertools; say which with --head"),
            ("nowhere", "is no folder with data/"),
        ):
            with pytest.raises(MerError, match=sentence):
                score_files(truth, predictions, None, Project(project))
        with pytest.raises(UsageError, match=r"there is no file .*submission\.csv"):
            score_files(truth, None, None, Project(tmp_path))
        with pytest.raises(UsageError, match=r"no predictions of a head 'mertool' \(did you mean 'mertools'"):
            score_files(truth, "data/fusion", "mertool", Project(project))

    def test_a_hostile_name_is_text(self, tmp_path: Path) -> None:
        """A terminal gets no escape sequence from a Parquet file's names or labels."""
        truth = write_csv(tmp_path / "truth.csv", {"a": "\x1b[2Jred", "b": "sad"})
        assert "\x1b" not in mer("score", truth, truth, cwd=tmp_path)

    def test_it_starts_quickly(self, trained: Path) -> None:
        """Neither torch nor scikit-learn is imported for it."""
        code = (
            "import sys; from mer_pipeline.config.project import Project\n"
            "from mer_pipeline.cli.compare import compare_runs\n"
            "compare_runs(None, None, 'logreg', 'mertools', None, False, Project())\n"
            "assert not {'torch', 'sklearn', 'scipy', 'dvc'} & set(sys.modules)"
        )
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", code], check=True, cwd=trained, env=env)


class TestCompare:
    """`mer compare`."""

    def test_two_heads(self, trained: Path) -> None:
        """Typed in the project: both scores against the given labels, the difference, and who is right."""
        text = mer("compare", "--head", "logreg", "--against", "mertools", cwd=trained)
        assert text.startswith("A: workspace, logreg, out of fold\nB: workspace, mertools, out of fold\n")
        assert "60 clips against the given labels\n" in text
        found = json.loads(mer("compare", "--head", "logreg", "--against", "mertools", "--json", cwd=trained))
        heads = json.loads((trained / "metrics/train.json").read_text())["heads"]
        f1 = found["paired"]["scores"]["weighted_f1"]
        assert (f1["a"], f1["b"]) == tuple(heads[name]["given"]["weighted_f1"] for name in ("logreg", "mertools"))
        assert f"weighted F1   {f1['a']:.3f}  {f1['b']:.3f}  {f1['difference']:+.3f}  [{f1['low']:+.3f}, " in text
        assert sum(found["paired"]["right"].values()) == found["paired"]["n"] == 60
        assert (found["paired"]["over"], found["paired"]["units"]) == ("groups", 10)

    def test_what_a_side_may_be(self, project: Path, tmp_path: Path) -> None:
        """A project, its data/fusion and its out-of-fold table are the same run."""
        whole = compare_runs(".", None, "logreg", "mertools", None, False, Project(project))
        for other in ("data/fusion", str(project)):
            assert compare_runs(other, ".", "logreg", "mertools", None, False, Project(project)).paired == whole.paired
        table = "data/fusion/out_of_fold.parquet"
        assert compare_runs(".", table, "logreg", "mertools", None, False, Project(project)).paired == whole.paired
        shutil.copytree("data/fusion", tmp_path / "kept")
        kept = str(tmp_path / "kept")
        assert compare_runs(kept, ".", "logreg", "mertools", None, False, Project(project)).paired == whole.paired
        with pytest.raises(UsageError, match="there are labels only where the sides are runs"):
            compare_runs(kept, None, "logreg", "mertools", None, False, Project(project))
        truth = Path("train.csv")
        found = compare_runs(kept, None, "logreg", "mertools", truth, False, Project(project))
        assert (found.against, found.paired.n, found.paired.over) == ("train.csv", 60, "groups")

    def test_the_test_candidates(self, project: Path, tmp_path: Path) -> None:
        """What predict wrote, against the true labels; a CSV may stand on one side."""
        found = compare_runs(".", "data/submission.csv", None, None, None, True, Project(project))
        assert (found.against, found.paired.n, found.paired.p) == ("the true labels", 30, 1)
        truth = write_csv(tmp_path / "truth.csv", dict(list(true_of("test").items())[:20]))
        other = write_csv(tmp_path / "other.csv", dict.fromkeys(list(true_of("test"))[5:], "angry"))
        found = compare_runs("data/submission.csv", str(other), None, None, truth, False, Project(project))
        assert (found.paired.n, found.only_a, found.only_b, found.without_label) == (15, 5, 0, 10)
        with pytest.raises(UsageError, match="a CSV has no heads"):
            compare_runs("data/submission.csv", None, None, "mertools", truth, False, Project(project))
        with pytest.raises(UsageError, match="leave out --head, or --test"):
            compare_runs(".", str(other), "logreg", None, None, True, Project(project))

    def test_clips_that_are_judged_differently_are_left_out(self, project: Path, tmp_path: Path) -> None:
        """Two runs on labels that were partly corrected in between."""
        shutil.copytree("data", tmp_path / "data")
        shutil.copytree("metrics", tmp_path / "metrics")
        manifest = pq.read_table("data/manifest.parquet")
        labels = manifest["label"].to_pylist()
        labels[:4] = [CLASSES[(CLASSES.index(label) + 1) % 3] for label in labels[:4]]
        changed = manifest.set_column(3, "label", pa.array(labels))
        pq.write_table(changed, tmp_path / "data/manifest.parquet")
        found = compare_runs(".", str(tmp_path), "logreg", "mertools", None, False, Project(project))
        assert (found.paired.n, found.without_label) == (56, 4)

    def test_nothing_to_compare(self, project: Path, tmp_path: Path) -> None:
        """The same on both sides, no clip in common, other classes, no head, no such table: one sentence each."""
        for words in ((None, None, None, None), (".", ".", None, None), (None, None, "logreg", "logreg")):
            with pytest.raises(UsageError, match="are the same predictions"):
                compare_runs(*words, None, False, Project(project))
        with pytest.raises(UsageError, match=r"no clip in common that has a label in test\.csv"):
            compare_runs(None, None, "logreg", "mertools", Path("test.csv"), False, Project(project))
        other = tmp_path / "other"
        shutil.copytree("data/fusion", other)
        config = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps(config | {"classes": ["x", "y", "z"]}))
        with pytest.raises(UsageError, match="only runs on the same classes"):
            compare_runs(".", str(other), "logreg", None, None, False, Project(project))
        (other / "config.json").write_text(json.dumps(config | {"selected": None, "empty": "there are no labels"}))
        with pytest.raises(UsageError, match=r"has no head \(there are no labels\)"):
            compare_runs(".", str(other), None, None, None, False, Project(project))
        (other / "config.json").write_text("{")
        with pytest.raises(StageError, match=r"train\.json of .* is not what this version writes \(Invalid JSON"):
            compare_runs(".", str(other), None, None, None, False, Project(project))
        (tmp_path / "store/packs").mkdir(parents=True)
        with pytest.raises(MerError, match="store"):
            compare_runs(".", str(tmp_path / "store"), None, None, None, False, Project(project))


@pytest.fixture(scope="module", params=["", "deep/project"])
def history(trained: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A repository with a tag of the trained project, which is the repository or a folder in it."""
    top = tmp_path_factory.mktemp("history") / "repository"
    root = top / request.param
    shutil.copytree(trained, root)
    names = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    mine = {"DVC_SITE_CACHE_DIR": str(top.parent / "site"), "DVC_NO_ANALYTICS": "1"}
    tools = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    outs = ["data/fusion", "data/manifest.parquet", "data/predictions.parquet", "data/truth.parquet"]
    (root / "dvc.yaml").write_text(json.dumps({"stages": {"all": {"cmd": "true", "outs": outs}}}))
    (root / ".gitignore").write_text("".join(f"/{out}\n" for out in outs))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in mine.items():
            patch.setenv(name, value)
        for words in (
            f"git init -q {top}",
            "dvc init -q --subdir" if request.param else "dvc init -q",
            "dvc commit -q -f",
            "git add -A",
            "git commit -qm v1",
            "git tag v1",
        ):
            done = subprocess.run(words.split(), cwd=root, env=os.environ | names | tools, capture_output=True)
            assert done.returncode == 0, done.stderr
        yield root


def test_a_revision(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tagged run against what lies here now: its tables come from DVC's cache."""
    monkeypatch.chdir(history)
    table = history / "data/fusion/out_of_fold.parquet"
    rows = pq.read_table(table)
    right = {name: CLASSES[c] for name, c in zip(PLANTED.clip_ids, PLANTED.given, strict=True)}
    better = pa.array([right[clip_id] for clip_id in rows["clip_id"].to_pylist()])
    table.unlink()
    pq.write_table(rows.set_column(rows.schema.get_field_index("label"), "label", better), table)
    found = compare_runs("v1", None, "mertools", None, None, False, Project(history))
    assert found.a.startswith("v1 (")
    assert found.b == "workspace, mertools, out of fold"
    f1 = found.paired.scores["weighted_f1"]
    heads = json.loads(Path("metrics/train.json").read_text())["heads"]
    assert (f1.a, f1.b) == (heads["mertools"]["given"]["weighted_f1"], 1)
    assert found.paired.right.only_a == found.paired.right.neither == 0
    assert np.isclose(found.paired.b_better, 1)
