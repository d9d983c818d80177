import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mer_pipeline.base.errors import DatasetError, ParamsError, UsageError
from mer_pipeline.cli.columns import order_classes
from mer_pipeline.cli.init import write_params
from mer_pipeline.cli.plan import make_plan
from mer_pipeline.config.params import load_params
from mer_pipeline.config.project import Project
from mer_pipeline.datasets.ingest import list_dataset

ROOT = Path(__file__).resolve().parent.parent.parent


def mer(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mer_pipeline.cli.main", *words], capture_output=True, text=True, cwd=cwd
    )


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
    write_params("ecmf", Path("mer"), None, force=False)
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
    for profile in ("demo", "ecmf", "mertools"):
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
    words = [sys.executable, str(ROOT / f"stages/{stage}.py"), *(["voice"] if stage == "embed" else [])]
    done = subprocess.run(words, capture_output=True, text=True, cwd=project)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (project / "data").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_stage_cleanly(project: Path, make_film: Callable[..., Path], number: int, code: int) -> None:
    """Ctrl-C and a scheduler's kill: their exit codes, no half-written folder."""
    first = make_film("clips/c0.mp4", frames=40, size=(320, 240))
    for at in range(1, 400):
        os.link(first, project / f"clips/c{at}.mp4")
    write_params("demo", Path("clips"), None, force=False)
    subprocess.run([sys.executable, str(ROOT / "stages/ingest.py")], cwd=project, check=True)
    running = subprocess.Popen([sys.executable, str(ROOT / "stages/frames.py")], cwd=project, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list((project / "data").glob(".frames*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    running.communicate(timeout=120)
    assert running.returncode == code
    assert not list((project / "data").glob("*frames*"))


def test_init_says_that_a_server_is_needed(project: Path, make_film: Callable[..., Path]) -> None:
    """Where the profile's context is written by a language model, before hours of face cropping."""
    make_film("clips/x.mp4", frames=3)
    assert "start a server for Qwen/" in write_params("ecmf", Path("clips"), None, force=False)
    assert "server" not in write_params("demo", Path("clips"), None, force=True)
