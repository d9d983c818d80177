"""The pipeline as a user runs it: real DVC on a part of the demo split, in a copy of the project."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import project as projects
from tests.conftest import rows_of
from tests.llm.server import llama_server
from tests.llm.tiny import make_gguf
from tests.project import copy_project, dvc, mer

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "data/demo"
SETTINGS = {
    "epochs: 100": "epochs: 4",
    "seeds: [0, 1, 2]": "seeds: [0]",
    "    mertools: {}\n": "",
    "c: [1.0e-4, 1.0e-3, 1.0e-2, 1.0e-1]": "c: [1.0e-3]",  # of logreg and late fusion: most of the time of training
    "single_modality: true": "single_modality: false",
    "n: 8,": "n: 4,",
    "max_failed: 0.05": "max_failed: 0.1",
}

pytestmark = pytest.mark.slow


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new))


def some_of_the_demo(out: Path) -> None:
    """All odd clips, every third training clip, every eighth candidate."""
    odd = {row["name"] for row in csv.DictReader((DEMO / "odd.csv").open(encoding="utf-8"))}
    tables = {path.name: list(csv.DictReader(path.open(encoding="utf-8"))) for path in DEMO.glob("*.csv")}
    train = [row["name"] for row in tables["track1_train_disdim.csv"]][::3]
    test = [row["name"] for row in tables["track_all_candidates.csv"]][::8]
    kept = {*odd, *train, *test}
    (out / "video").mkdir(parents=True)
    for path in (DEMO / "video").iterdir():
        if path.stem in kept:
            shutil.copy(path, out / "video")
    for name, rows in tables.items():
        with (out / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(row for row in rows if row["name"] in kept)


def repro(project: Path, *words: str, forked: bool = True) -> list[str]:
    """The names of the stages that were run. What earlier runs did is forgotten: DVC skips a stage that it has seen."""
    shutil.rmtree(project / ".mer/runs", ignore_errors=True)
    return projects.repro(project, *words, forked=forked)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tracked files with a small split, after its first `dvc repro`."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    some_of_the_demo(folder / "data/demo")
    for old, new in SETTINGS.items():
        edit(folder, old, new)
    ran = repro(folder)
    assert {name.split("@")[0] for name in ran} == {
        "ingest", "frames", "faces", "audio", "transcribe", "enrich", "embed", "labels", "pseudo", "train", "ablation",
        "predict", "report",
    }  # fmt: skip
    return folder


def test_odd_clips_become_what_the_docs_say(project: Path) -> None:
    """Each of data/demo/odd.csv's outcomes, read from the tables."""
    quarantined = {
        stage: pq.read_table(project / f"data/quarantine/{stage}.parquet").to_pylist()
        for stage in ("ingest", "frames", "audio")
    }
    rows = {
        table: {r["clip_id"]: r for r in rows_of(project / "data" / table)}
        for table in ("frames", "faces", "audio", "transcript")
    }
    table_of = {"audio": "audio", "face": "faces", "text": "transcript"}
    for odd in csv.DictReader((DEMO / "odd.csv").open(encoding="utf-8")):
        name, expected = odd["name"], odd["expected"]
        if expected == "quarantine":
            assert any(p["clip_id"] == name for p in quarantined["frames"]), odd
            assert name not in rows["frames"]
        elif expected == "problem":
            assert [p["error"] for p in quarantined["ingest"] if p["clip_id"] == name] == ["NoClip"]
        else:
            skipped = table_of.get(expected.removeprefix("skip "))
            for table, by_clip in rows.items():
                assert by_clip[name]["valid"] == (table != skipped), (odd, table, by_clip[name]["reason"])


def test_two_faces_rotation_rate_and_one_frame(project: Path) -> None:
    """The larger face is the primary one; a turned film is upright; times are the file's own; one picture is enough."""
    what = {row["what"]: row["name"] for row in csv.DictReader((DEMO / "odd.csv").open(encoding="utf-8"))}
    faces = {row["clip_id"]: row for row in rows_of(project / "data/faces")}
    frames = {row["clip_id"]: row for row in rows_of(project / "data/frames")}
    two = faces[what["two faces"]]
    areas = {True: [], False: []}
    primary = {(at, tuple(box)) for at, box in zip(two["frame_index"], two["boxes"], strict=True)}
    for candidate in two["candidates"]:
        left, top, right, bottom = candidate["box"]
        areas[(candidate["frame"], tuple(candidate["box"])) in primary].append((right - left) * (bottom - top))
    assert min(areas[True]) > max(areas[False])
    turned = frames[what["rotated"]]
    assert (turned["width"], turned["height"]) == (240, 320)
    assert faces[what["rotated"]]["coverage"] == 1.0
    upright = faces[what["rotated"]]["landmarks"][0]
    assert upright[1] < upright[5] < upright[7], "eyes above nose above mouth"
    assert frames[what["one frame"]]["times"] == [0.0]
    steps = [
        b - a
        for a, b in zip(
            frames[what["variable frame rate"]]["times"], frames[what["variable frame rate"]]["times"][1:], strict=False
        )
    ]
    assert max(steps) - min(steps) > 0.01


def test_every_candidate_is_in_the_submission(project: Path) -> None:
    """Joined by name; only known labels."""
    asked = [
        row["name"] for row in csv.DictReader((project / "data/demo/track_all_candidates.csv").open(encoding="utf-8"))
    ]
    given = list(csv.DictReader((project / "data/submission.csv").open(encoding="utf-8")))
    assert sorted(row["name"] for row in given) == sorted(asked)
    classes = {"neutral", "angry", "happy", "sad", "worried", "surprise"}
    assert {row["discrete"] for row in given} <= classes


def test_the_documented_reader_reads_the_features(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of docs/encoders.md are executed as they stand."""
    monkeypatch.chdir(project)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/encoders.md").read_text(), re.S):
        exec(block, names)
    matrix = names["matrix"]
    assert matrix.ndim == 2  # type: ignore[attr-defined]
    assert isinstance(names["features"], pl.DataFrame)


def test_metrics_are_functions_of_the_inputs(project: Path) -> None:
    """No time, no path and no host in what DVC tracks."""
    for path in [*(project / "metrics").iterdir(), *(project / "plots").iterdir()]:
        assert str(project) not in path.read_text()
    train = json.loads((project / "metrics/train.json").read_text())
    assert train["selected"] in train["heads"]
    assert (project / "report/index.html").stat().st_size > 10_000


def computed(project: Path) -> dict[str, int]:
    """Rows that the last run of each transform computed; those that re-used all are left out."""
    runs = [json.loads(path.read_text()) for path in (project / ".mer/runs").glob("*.json")]
    return {run["stage"]: run["computed"] for run in runs if run["computed"]}


def edit_code(project: Path, name: str, old: str, new: str) -> None:
    path = project / "mer_pipeline" / name
    assert old in path.read_text(), name
    path.write_text(path.read_text().replace(old, new))


class TestWhatIsComputed:
    """In order: each test changes one thing. DVC runs stages; the store knows rows."""

    def test_nothing_to_do(self, project: Path) -> None:
        """`mer plan` agrees with DVC, and the commands that look at all stages know what the stages' scripts ran."""
        assert "Nothing to do" in mer(project, "plan").stdout
        assert computed(project).keys() == {
            "frames", "tracks", "faces", "audio", "cues", "enriched",
            "embed-scene", "embed-face", "embed-voice", "embed-words", "embed-context",
        }  # fmt: skip

    def test_rows_come_out_the_same_when_computed_again(self, project: Path) -> None:
        """`mer verify` recomputes a sample of every stage; an altered value is named."""
        done = mer(project, "verify", "--sample", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        part = project / "data/features/words/part-00000.parquet"
        kept, table = part.read_bytes(), pq.read_table(part)
        old = pa.concat_arrays(table["vector"].chunks)
        values = old.values.to_numpy(zero_copy_only=False) + np.float32(1)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values), type=old.type, mask=old.is_null())
        part.unlink()
        pq.write_table(table.set_column(table.schema.get_field_index("vector"), "vector", column), part)
        done = mer(project, "verify", "words", "--sample", "20")
        part.write_bytes(kept)
        assert done.returncode == 1
        assert "embed-words: " in done.stdout
        assert "vector differs" in done.stdout

    def test_a_comment_and_an_unrelated_class(self, project: Path) -> None:
        """In a module that everything imports: DVC runs all stages, and no row is computed; the head is not trained
        again either."""
        with (project / "mer_pipeline/base/errors.py").open("a") as file:
            file.write("\n\n# A comment.\nclass Unrelated(MerError):\n    x: int = 1\n")
        plan = mer(project, "plan").stdout
        assert "to compute" not in plan
        before = (project / "dvc.lock").read_text()
        assert len(repro(project)) == 17
        assert computed(project) == {}
        outs = re.compile(r"path: data/\S+\n\s+hash: md5\n\s+md5: \S+")
        assert outs.findall((project / "dvc.lock").read_text()) == outs.findall(before)

    def test_a_formula_two_modules_away(self, project: Path) -> None:
        """Every row of what reaches it is computed, `mer explain` names it, and `mer plan` says so before."""
        edit_code(project, "text/words.py", "return str(row[column])", "return str(row[column]).lower()")
        clip_id = pq.read_table(project / "data/manifest.parquet")["clip_id"][0].as_py()
        said = mer(project, "explain", "words", clip_id).stdout
        assert "not in the store" in said
        assert "code.mer_pipeline.text.words.text_of: " in said
        plan = mer(project, "plan").stdout
        assert "changed: code.mer_pipeline.text.words.text_of" in plan
        repro(project, "embed@words", "embed@context")
        clips = pq.read_metadata(project / "data/manifest.parquet").num_rows
        assert computed(project) == {"embed-words": clips, "embed-context": clips}
        assert "in the store" in mer(project, "explain", "embed@words", clip_id).stdout
        edit_code(project, "text/words.py", "return str(row[column]).lower()", "return str(row[column])")
        repro(project, "embed@words", "embed@context")
        assert computed(project) == {}, "back to what it was"

    def test_a_value_changed_and_changed_back(self, project: Path) -> None:
        """Nothing is computed the second time."""
        edit(project, "language: zh, dim: 1024", "language: zh, dim: 512")
        repro(project, "embed@words")
        assert computed(project).keys() == {"embed-words"}
        edit(project, "language: zh, dim: 512", "language: zh, dim: 1024")
        repro(project)
        assert computed(project) == {}

    def test_one_clip_more(self, project: Path) -> None:
        """Only its rows are computed, by every stage; `mer plan` says that before anything runs.

        The text of the one other clip whose speaker has too few is computed, too: it is compared with all clips.
        """
        shutil.copy(min((project / "data/demo/video").glob("s02*.mp4")), project / "data/demo/video/s99_0001.mp4")
        with (project / "data/demo/track_all_candidates.csv").open("a", encoding="utf-8") as file:
            file.write("s99_0001\n")
        plan = mer(project, "plan").stdout
        assert re.search(r"ingest .*\n +→ \d+ of \d+ rows known, 1 to compute \(new or altered files\)", plan), plan
        repro(project, "embed@voice", "embed@face", "embed@context")
        # The copy has the content of another clip, so what was made from that content is known already.
        assert computed(project) == {"cues": 1, "enriched": 2, "embed-context": 2}

    def test_an_altered_clip(self, project: Path) -> None:
        """Its rows, and no others."""
        film = project / "data/demo/video/s99_0001.mp4"
        shutil.copy(min((project / "data/demo/video").glob("s03*.mp4")), film)
        with film.open("ab") as file:
            file.write(b"\0\0\0\x08free")
        repro(project, "embed@voice", "embed@face", "embed@context")
        ran = computed(project)
        assert (ran["frames"], ran["audio"]) == (1, 1)
        assert set(ran.values()) == {1}

    def test_what_a_colleague_has_in_the_store_is_not_computed(self, project: Path) -> None:
        """Without data/, dvc.lock and DVC's cache: all rows are known, and the bytes are the same."""
        repro(project, "embed")
        before = {path: path.read_bytes() for path in (project / "data/features").rglob("*.parquet")}
        for name in ("data/frames", "data/faces", "data/audio", "data/features", "data/cues", "data/enriched"):
            shutil.rmtree(project / name)
        shutil.rmtree(project / ".dvc/cache")
        (project / "dvc.lock").unlink()
        repro(project)
        assert computed(project) == {}
        assert {path: path.read_bytes() for path in before} == before

    @pytest.mark.outcome(
        "the same broken clip in the next run",
        "`mer quarantine list` shows it, `mer quarantine retry STAGE` tries it again",
    )
    def test_the_quarantine_can_be_listed_and_tried_again(self, project: Path) -> None:
        """A clip that is still broken stays; what is known of it is made anew."""
        listed = mer(project, "quarantine", "list", "frames").stdout
        name = listed.split()[1]
        done = mer(project, "quarantine", "retry", "frames", name)
        assert "1 tried again (1 were known to be broken), 0 now done, 1 still fail" in done.stdout, done
        assert mer(project, "quarantine", "list", "frames").stdout == listed
        wrong = mer(project, "quarantine", "retry", "frames", "nobody")
        assert (wrong.returncode, len(wrong.stderr.splitlines())) == (2, 1)

    def test_store_commands(self, project: Path) -> None:
        """What is there, that it is sound, and that old rows can go; the last used stay."""
        assert "embed-words" in mer(project, "store", "stat").stdout
        assert mer(project, "store", "verify").stdout == "every pack is sound\n"
        assert "removed 0 fingerprints" in mer(project, "store", "gc", "--keep-days", "1").stdout
        assert "frames" in mer(project, "runs").stdout
        assert mer(project, "diff", "workspace", "workspace").returncode == 0


class TestWhatReruns:
    """In order: each test changes one thing and puts nothing back."""

    def test_nothing_changed(self, project: Path) -> None:
        """Nothing runs, and `dvc status -q` says so."""
        assert repro(project) == []
        assert dvc(project, "status", "-q").returncode == 0

    def test_a_training_param(self, project: Path) -> None:
        """Training and what follows."""
        edit(project, "  dropout: 0.3", "  dropout: 0.4")
        assert dvc(project, "status", "-q").returncode == 1
        assert set(repro(project)) == {"pseudo", "train", "ablation", "predict", "report"}

    def test_one_encoders_params(self, project: Path) -> None:
        """That encoder and what follows."""
        edit(project, "language: zh, dim: 1024", "language: en, dim: 1024")
        assert set(repro(project)) == {"embed@words", "pseudo", "train", "ablation", "predict", "report"}

    def test_another_encoder(self, project: Path) -> None:
        """The new entry and what follows; the others' features stay as they are."""
        edit(project, "  voice: {", "  crop: {family: appearance, input: faces}\n  voice: {")
        before = {path: path.stat().st_mtime_ns for path in (project / "data/features/voice").iterdir()}
        assert set(repro(project)) == {"embed@crop", "pseudo", "train", "ablation", "predict", "report"}
        assert {path: path.stat().st_mtime_ns for path in before} == before

    def test_an_encoder_less(self, project: Path) -> None:
        """Its features go, so that `data/features` is what a colleague's clone has."""
        edit(project, "  crop: {family: appearance, input: faces}\n", "")
        mine = project / "data/features/mine"
        mine.mkdir()
        (mine / "notes.txt").write_text("not the pipeline's")
        assert set(repro(project)) == {"pseudo", "train", "ablation", "predict", "report"}
        assert not (project / "data/features/crop").exists()
        assert not (project / "data/quarantine/embed-crop.parquet").exists()
        shutil.rmtree(mine)
        # Now data/features is what it was before the encoder came, and DVC remembers that run.
        assert repro(project) == []
        assert dvc(project, "status", "-q").returncode == 0

    def test_another_machine_makes_the_same_bytes(self, project: Path) -> None:
        """Everything again, each stage a process of its own, with one worker and batches of one: dvc.lock, which has a
        hash of every output, is the same."""
        before = (project / "dvc.lock").read_text()
        (project / ".mer.toml").write_text("workers = 1\nbatch = 1\n")
        assert len(repro(project, "--force", forked=False)) == 17
        assert (project / "dvc.lock").read_text() == before

    def test_a_language_model_and_judges(self, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server with a grammar writes the context; its scores, predictions from outside and a fusion-head judge
        vote. Only what follows runs, and once the server is gone nobody misses it."""
        edit(project, "enrich: {backend: template,", "enrich: {backend: openai, model: tiny, max_chars: 40,")
        judges = {
            "llm": "{kind: llm-scores, input: enriched}",
            "outside": "{kind: csv, input: judges/outside.csv, family: video-llm}",
            "own": "{kind: fusion-head, input: features}",
        }
        lines = "".join(f"\n  {name}: {judge}" for name, judge in judges.items())
        edit(project, "judges: {} ", f"judges:{lines}\n")
        labelled = pq.read_table(project / "data/folds.parquet")["clip_id"].to_pylist()
        (project / "data/judges").mkdir()
        rows = "".join(f"{name},{('sad', 'happy', '')[at % 3]}\n" for at, name in enumerate(labelled))
        (project / "data/judges/outside.csv").write_text(f"name,label\n{rows}", encoding="utf-8")
        assert "enrich" in mer(project, "plan").stdout
        with llama_server(make_gguf(tmp_path / "tiny.gguf")) as server:
            monkeypatch.setenv("MER_LLM_URL", server.url)
            assert "0 replies are known" in mer(project, "enrich", "estimate").stdout
            ran = repro(project)
        assert set(ran) == {
            "enrich", "embed@context", "vote@llm", "vote@outside", "vote@own", "labels", "pseudo", "train", "ablation",
            "predict", "report",
        }  # fmt: skip
        replies = rows_of(project / "data/replies")
        assert {row["mode"] for row in replies if row["valid"]} == {"json_schema"}
        assert not pq.read_table(project / "data/quarantine/replies.parquet").num_rows
        metrics = json.loads((project / "metrics/labels.json").read_text())
        assert metrics["families"].keys() >= {"human", "text-llm", "video-llm", "own"}
        assert metrics["judges"]["outside"]["votes"] == sum(at % 3 < 2 for at in range(len(labelled)))
        assert repro(project) == []
        assert repro(project, "--force", "--single-item", "enrich") == ["enrich"]
        assert computed(project).get("replies", 0) == 0
        assert "replies of tiny" in mer(project, "enrich", "ledger").stdout
