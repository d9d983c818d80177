"""The profile `mertools`, as shipped, gives the features of the official baseline.

Each extraction is written down here as zeroQiaoba/MERTools does it (MER2025, track 1), with plain transformers, on
small checkpoints in the layouts of the real repositories. What differs on purpose is shown: zeros that fill up the last
chunk of a sound, and pictures without a face, are in the official mean and not in ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import EncoderParams, make_encoder
from mer_pipeline.base.errors import Skip
from mer_pipeline.cli.profiles import plain, read_profile
from mer_pipeline.cli.release import set_best
from mer_pipeline.config.params import Params, parse_params
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.media.container import file_sha256
from mer_pipeline.models.checkpoint import folder_of
from mer_pipeline.vision.faces import ChooseFace
from mer_pipeline.vision.openface import OpenFace, OpenFaceParams
from tests.conftest import clip, sound_row, valid
from tests.models.hub import ROOT, miniatures, put

RATE = 16_000


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Params]]:
    """The profile for each release, in a project that has its checkpoints."""
    folder = tmp_path_factory.mktemp("official")
    (folder / "profiles").symlink_to(ROOT / "profiles")
    repos = miniatures(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        profiles = {}
        for release in ("mer2025", "mer2026"):
            params = read_profile("mertools")
            set_best(params, release)
            profiles[release] = parse_params(plain(params), "params.yaml")
            for spec in {*checkpoints(profiles[release]).values()}:
                put(spec, repos)
        yield profiles


def vector(section: EncoderParams, of: Clip) -> np.ndarray:
    """Our row of a clip."""
    encoder = make_encoder("x", section)
    encoder.setup(torch.device("cpu"))
    (row,) = encoder.infer([encoder.prepare(of)])
    assert not isinstance(row, Skip)
    assert isinstance(row["vector"], np.ndarray)
    return row["vector"]


def folder_for(section: EncoderParams) -> Path:
    """Of its checkpoint."""
    return folder_of(section.checkpoint)  # type: ignore[attr-defined]


def last_four(output: object) -> torch.Tensor:
    """The sum of the last four hidden states: the last one after the final normalisation, as transformers 4 gave it."""
    states = [*output.hidden_states[:-1], output.last_hidden_state]  # type: ignore[attr-defined]
    return torch.stack(states)[[-4, -3, -2, -1]].sum(dim=0)


def noise(seconds: float) -> np.ndarray:
    """Sound, (samples,) float32."""
    return np.random.default_rng(1).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@torch.inference_mode()
def official_sound(folder: Path, row: Row) -> np.ndarray:
    """The whole sound normalised, in lines of 10 s, zeros at the end; the mean over all steps of all lines."""
    import transformers

    samples = np.frombuffer(row["pcm"], "<i2") / 2**15  # type: ignore[arg-type]
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    values = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_values
    if values.shape[1] > 10 * RATE:
        lines = torch.zeros(math.ceil(values.shape[1] / (10 * RATE)), 10 * RATE)
        lines.view(-1)[: values.shape[1]] = values[0]
        values = lines
    steps = last_four(model(values, output_hidden_states=True))
    return steps.flatten(end_dim=1).numpy().mean(axis=0)


@pytest.mark.parametrize("release", ["mer2025", "mer2026"])
@pytest.mark.parametrize("seconds", [3.21, 10.0, 20.0])
def test_sound(fetched: dict[str, Params], release: str, seconds: float) -> None:
    """HuBERT: equal wherever nothing is filled up, with layer norm (large) and with group norm (base)."""
    section, row = fetched[release].encoders["voice"], sound_row(noise(seconds))
    expected = official_sound(folder_for(section), row)
    np.testing.assert_allclose(vector(section, clip(audio=row)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("release", ["mer2025", "mer2026"])
def test_zeros_that_fill_up_a_sound_are_not_in_the_mean(fetched: dict[str, Params], release: str) -> None:
    """13 s are 10 and 3: the official mean has 7 s of zeros in it. Ours is that of the two pieces, each as it is."""
    import transformers

    section, row = fetched[release].encoders["voice"], sound_row(noise(13.0))
    folder, found = folder_for(section), vector(fetched[release].encoders["voice"], clip(audio=row))
    assert np.abs(found - official_sound(folder, row)).max() > 1e-2
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    samples = np.frombuffer(row["pcm"], "<i2") / 2**15  # type: ignore[arg-type]
    values = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        pieces = [last_four(model(piece, output_hidden_states=True))[0] for piece in values.split(10 * RATE, dim=1)]
    np.testing.assert_allclose(found, torch.cat(pieces).numpy().mean(axis=0), rtol=0, atol=1e-5)


def test_a_rest_too_short_for_a_step_is_left_out(fetched: dict[str, Params]) -> None:
    """10 s and one sample are 10 s, but for the one more in the normalisation; a clip of one sample has no sound."""
    section = fetched["mer2025"].encoders["voice"]
    longer, whole = (vector(section, clip(audio=sound_row(noise(10.1)[:n]))) for n in (160_001, 160_000))
    np.testing.assert_allclose(longer, whole, rtol=0, atol=1e-3)
    encoder = make_encoder("x", section)
    encoder.setup(torch.device("cpu"))
    with pytest.raises(Skip, match="too short for the model"):
        encoder.prepare(clip(audio=sound_row(noise(1.0)[:1])))


def faces_of(folder: Path, array: np.ndarray, params: OpenFaceParams) -> Row:
    """The row of the table of faces for a released array."""
    np.save(folder / "a.npy", array)
    listed = {"faces": "a.npy", "faces_sha256": file_sha256(folder / "a.npy"), "fps": None, "frame_rate": None}
    people = OpenFace(params, folder).prepare(clip(manifest={**listed}))
    row = ChooseFace(params.choice()).prepare(clip(tracks=valid(**people), audio=None))
    assert isinstance(row, dict)
    return valid(**row)


def released(count: int) -> np.ndarray:
    """An array as the release has it, (count, 112, 112, 3) uint8 with blue first: soft colours that move."""
    across, down, time = np.meshgrid(np.arange(112), np.arange(112), np.arange(count), indexing="ij")
    colours = [np.sin(across / 20 + time / 5), np.cos(down / 30 - time / 7), np.sin((across + down) / 40 + time)]
    return np.stack([np.moveaxis(127 + 100 * one, 2, 0) for one in colours], axis=3).astype(np.uint8)


@torch.inference_mode()
def official_faces(folder: Path, array: np.ndarray) -> np.ndarray:
    """CLIP's image features of every picture of the array, and their mean."""
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    pictures = [Image.fromarray(picture[..., ::-1].copy()) for picture in array]
    values = processor(images=pictures, return_tensors="pt")["pixel_values"]
    features = model.get_image_features(values)
    features = getattr(features, "pooler_output", features)  # transformers 5 wraps it
    return features.numpy().mean(axis=0)


def test_faces(fetched: dict[str, Params], tmp_path: Path) -> None:
    """Every picture of the array, as released: equal for the stored JPEGs, and close for the pictures before."""
    params = fetched["mer2025"]
    assert isinstance(params.faces, OpenFaceParams)
    array, section = released(70), params.encoders["face"]
    row = faces_of(tmp_path, array, params.faces)
    found = vector(section, clip(faces=row))
    stored = np.stack([decoded(data) for data in row["crops"]])  # type: ignore[attr-defined]
    assert len(stored) == 70
    np.testing.assert_allclose(found, official_faces(folder_for(section), stored[..., ::-1]), rtol=0, atol=1e-5)
    expected = official_faces(folder_for(section), array)
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def decoded(data: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_picture_without_a_face_is_not_in_the_mean(fetched: dict[str, Params], tmp_path: Path) -> None:
    """OpenFace writes it black. The official mean has it; ours is that of the others."""
    params, array = fetched["mer2025"], released(30)
    section = params.encoders["face"]
    alone = vector(section, clip(faces=faces_of(tmp_path, array[:20], params.faces)))  # type: ignore[arg-type]
    array[20:] = 0
    found = vector(section, clip(faces=faces_of(tmp_path, array, params.faces)))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, alone)
    assert np.abs(found - official_faces(folder_for(section), array)).max() > 1e-2


@torch.inference_mode()
def official_words(folder: Path, sentence: str) -> np.ndarray:
    """The tokens between the first and the last, which are [CLS] and [SEP]; their mean."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(sentence, return_tensors="pt")
    return last_four(model(**inputs, output_hidden_states=True))[0, 1:-1].numpy().mean(axis=0)


@pytest.mark.parametrize("release", ["mer2025", "mer2026"])
@pytest.mark.parametrize("sentence", ["我有点担心。", "你为什么不告诉我？\U0001f620 Why?", "哦"])
def test_words(fetched: dict[str, Params], release: str, sentence: str) -> None:
    """Of the Chinese column, also with tokens that are not known."""
    section = fetched[release].encoders["words"]
    found = vector(section, clip(transcript=valid(zh=sentence, en="something else")))
    np.testing.assert_allclose(found, official_words(folder_for(section), sentence), rtol=0, atol=1e-5)


def test_no_words_are_no_zeros(fetched: dict[str, Params]) -> None:
    """The official feature of an empty cell is zeros. Ours is absent."""
    encoder = make_encoder("x", fetched["mer2025"].encoders["words"])
    encoder.setup(torch.device("cpu"))
    with pytest.raises(Skip, match="no words"):
        encoder.prepare(clip(transcript=valid(zh="", en=None)))
