"""Each encoder family and each judge on a checkpoint gives what the reference library's own pipeline gives.

The reference takes one clip alone, from the stored JPEGs, samples or text, by the library's documented way of use: its
own preprocessing, its own model class, no padding, no batches. What the project adds is written out here: the mean over
time, and which steps are the clip's own.
"""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.encoder import ENCODER, Encoder, make_encoder
from mer_pipeline.base.errors import Skip
from mer_pipeline.models.tiny import CORPUS, TONES
from mer_pipeline.models.tiny_vision import EXPRESSIONS
from tests.conftest import clip, sound_row, valid
from tests.judges.conftest import Make
from tests.judges.conftest import make as make  # the fixture
from tests.test_encoders import CLIPS, FAMILIES, embed, encoder

RATE = 16_000
PICTURES = {"frames": "jpegs", "faces": "crops"}
READS = {"bert": {"input": "transcript"}, "llama": {"input": "transcript"}}
SPEECH = ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "whisper", "whisper-words")


def images(of: Clip, table: str) -> list[Image.Image]:
    """A clip's pictures as any library takes them."""
    row = of.rows[table]
    assert row is not None
    stored = row[PICTURES[table]]
    assert isinstance(stored, list)
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in stored]


def samples(of: Clip) -> np.ndarray:
    """A clip's sound, (samples,) float32 in [-1, 1), as sound libraries read 16 bits."""
    row = of.rows["audio"]
    assert row is not None
    assert isinstance(row["pcm"], bytes)
    return np.frombuffer(row["pcm"], "<i2").astype(np.float32) / 2**15


def text(of: Clip) -> str:
    """A clip's transcript."""
    row = of.rows["transcript"]
    assert row is not None
    return str(row["zh"])


def assert_close(found: np.ndarray, expected: np.ndarray, within: float = 3e-6) -> None:
    """Equal but for the rounding of another order of summation, in units of the vector's own size."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=within * float(np.abs(expected).max()))


Reference = Callable[[Path, Clip], np.ndarray]


def open_clip_vectors(folder: Path, of: Clip) -> np.ndarray:
    """open_clip: its transform for inference and `encode_image`, as its README has it."""
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    return np.stack([model.encode_image(preprocess(image)[None])[0].numpy() for image in images(of, "frames")])


def facenet_vectors(folder: Path, of: Clip) -> np.ndarray:
    """facenet_pytorch: `extract_face` with the whole crop as the box, its standardisation, its network."""
    from facenet_pytorch import InceptionResnetV1, extract_face, fixed_image_standardization
    from safetensors.torch import load_file

    model = InceptionResnetV1(pretrained=None, classify=False).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    vectors = []
    for image in images(of, "faces"):
        face = extract_face(image, [0, 0, image.width, image.height], image_size=160)
        vectors.append(model(fixed_image_standardization(face)[None])[0].numpy())
    return np.stack(vectors)


def clip_vectors(folder: Path, of: Clip) -> np.ndarray:
    """transformers: CLIP's projected image features."""
    import transformers

    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    inputs = [processor(images=image, return_tensors="pt") for image in images(of, "frames")]
    vectors = []
    for each in inputs:
        seen = model.vision_model(**each).pooler_output
        vectors.append(model.visual_projection(seen)[0].numpy())
    return np.stack(vectors)


def class_tokens(table: str) -> Reference:
    """transformers: the first token of the last hidden state."""

    def of_folder(folder: Path, of: Clip) -> np.ndarray:
        import transformers

        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
        inputs = [processor(images=image, return_tensors="pt") for image in images(of, table)]
        return np.stack([model(**each).last_hidden_state[0, 0].numpy() for each in inputs])

    return of_folder


# Which pictures of a clip a model of four sees at once, by the clip's number of pictures; and which of the tubelets of
# all windows make each step, by the number of pictures in a tubelet.
WINDOWS = {
    1: [[0, 0, 0, 0]], 2: [[0, 0, 1, 1]], 3: [[0, 1, 1, 2]], 5: [[0, 1, 2, 3], [1, 2, 3, 4]],
    8: [[0, 1, 2, 3], [4, 5, 6, 7]],
}  # fmt: skip
STEPS = {
    2: {1: [[0, 1]], 2: [[0], [1]], 3: [[0], [1]], 5: [[0], [1], [3]], 8: [[0], [1], [2], [3]]},
    1: {1: [[0, 1, 2, 3]], 2: [[0, 1], [2, 3]], 3: [[0], [1, 2], [3]], 5: [[0], [1], [2], [3], [7]],
        8: [[at] for at in range(8)]},
}  # fmt: skip


def film_states(table: str, layers: tuple[int, ...] = ()) -> Reference:
    """transformers: the image processor on a window's pictures, and the mean of its states over each tubelet's places.

    The class token is left out. With layers, these are summed instead of the last hidden state.
    """

    def of_folder(folder: Path, of: Clip) -> np.ndarray:
        import transformers

        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        model = transformers.AutoModel.from_pretrained(folder).eval()
        kind, every = model.config.model_type, images(of, table)
        tubelets: list[np.ndarray] = []
        for window in WINDOWS[len(every)]:
            output = model(**processor([every[at] for at in window], return_tensors="pt"), output_hidden_states=True)
            states = output.last_hidden_state if not layers else sum(output.hidden_states[at] for at in layers)
            tokens = states[0].numpy() if kind == "videomae" else states[0, 1:].numpy()
            if kind == "timesformer":  # four places of four pictures, by place
                tubelets += [tokens[at::4].mean(axis=0) for at in range(4)]
            else:  # four places of two tubelets, by tubelet
                tubelets += [tokens[at : at + 4].mean(axis=0) for at in (0, 4)]
        plan = STEPS[1 if kind == "timesformer" else 2][len(every)]
        return np.stack([np.mean([tubelets[at] for at in step], axis=0) for step in plan])

    return of_folder


def whisper_inputs(folder: Path, sound: np.ndarray) -> torch.Tensor:
    """transformers: the log-mel of a sound that is filled up to whole steps of 20 ms, (1, mels, 2 · steps)."""
    import transformers

    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    filled = np.pad(sound, (0, -len(sound) % 320))
    return extractor(filled, sampling_rate=RATE, return_tensors="pt", padding="longest")["input_features"]


def whisper_encoder(folder: Path, steps: int) -> torch.nn.Module:
    """transformers: Whisper's encoder as its configuration makes it for another length, with the first positions."""
    import transformers

    state = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).state_dict()
    state["encoder.embed_positions.weight"] = state["encoder.embed_positions.weight"][:steps]
    config = transformers.WhisperConfig.from_pretrained(folder, max_source_positions=steps)
    model = transformers.WhisperModel(config).eval()
    model.load_state_dict(state)
    return model.get_encoder()


def own_length_states(folder: Path, of: Clip) -> np.ndarray:
    """transformers: all steps of Whisper's last hidden state of the sound alone, by a model of that length."""
    mel = whisper_inputs(folder, samples(of))
    return whisper_encoder(folder, mel.shape[2] // 2)(mel).last_hidden_state[0].numpy()


def speech_states(folder: Path, of: Clip) -> np.ndarray:
    """transformers: all steps of the last hidden state of the sound alone; Whisper's window ends with the clip."""
    import transformers

    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    sound = samples(of)
    inputs = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    if model.config.model_type == "whisper":
        states = model.get_encoder()(inputs["input_features"]).last_hidden_state[0].numpy()
        assert len(states) == 1500  # 30 seconds
        return states[: int(np.ceil(len(sound) / RATE * 50))]
    return model(**inputs).last_hidden_state[0].numpy()


def emotion2vec_states(folder: Path, of: Clip) -> np.ndarray:
    """FunASR: its class by its configuration, the sound normalised, `extract_features`. Skipped where it is not there.

    tests/speech/test_emotion2vec.py has recorded states for that case.
    """
    import json

    from safetensors.torch import load_file

    oracle = pytest.importorskip("funasr.models.emotion2vec.model", exc_type=ImportError)
    model = oracle.Emotion2vec(**json.loads((folder / "config.json").read_text()), vocab_size=9).eval()
    state = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("d2v_model."): value for name, value in state.items()})
    sound = torch.from_numpy(samples(of))
    normalised = torch.nn.functional.layer_norm(sound, sound.shape)[None]
    return model.extract_features(normalised, padding_mask=None)["x"][0].numpy()


def word_states(folder: Path, of: Clip) -> np.ndarray:
    """transformers: the last hidden state of every token that is no special one."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(text(of), return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    own = [
        at for at, token in enumerate(ids) if token not in tokenizer.all_special_ids or token == tokenizer.unk_token_id
    ]
    return (
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state[0].numpy()[own]
    )


REFERENCES: dict[str, Reference] = {
    "open-clip": open_clip_vectors,
    "facenet": facenet_vectors,
    "clip": clip_vectors,
    "vit": class_tokens("faces"),
    "dinov2": class_tokens("frames"),
    "videomae": film_states("frames"),
    "vivit": film_states("faces"),
    "timesformer": film_states("frames"),
    **dict.fromkeys(SPEECH, speech_states),
    "emotion2vec": emotion2vec_states,
    "bert": word_states,
    "llama": word_states,
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_an_encoder_gives_the_reference_librarys_vectors(tiny: Path, kind: str) -> None:
    """Every number of every step, and their mean, of every clip in the company of all."""
    assert_equals(encoder(tiny, kind, frame_level=True, **READS.get(kind, {})), REFERENCES[kind], tiny / kind)


def test_a_clips_own_length_gives_the_reference_librarys_vectors(tiny: Path) -> None:
    """With `window: clip` Whisper is the library's model of that length, with the first positions."""
    assert_equals(encoder(tiny, "whisper", frame_level=True, window="clip"), own_length_states, tiny / "whisper")


def test_chunks_of_a_long_sound_are_whispers_of_each(tiny: Path) -> None:
    """2.7 s in three chunks: each is a sound of its own, also where one is shorter than the others by a sample."""
    made = encoder(tiny, "whisper", frame_level=True, chunk_seconds=1.0, window="clip")
    row = made.infer([made.prepare(CLIPS[1])])[0]
    assert isinstance(row, dict)
    parts = np.array_split(samples(CLIPS[1]), 3)
    with torch.inference_mode():
        states = [own_length_states(tiny / "whisper", clip(audio=sound_row(part * 2**15 / 32767))) for part in parts]
    assert_close(row["sequence"], np.concatenate(states))


@torch.inference_mode()
def assert_equals(made: Encoder[object], reference: Reference, folder: Path) -> None:
    """Every number of every step, and their mean, of every clip in the company of all."""
    items = [made.prepare(c) for c in CLIPS]
    rows: dict[int, Mapping[str, object]] = {}
    for bucket in {made.bucket(item) for item in items}:
        members = [at for at, item in enumerate(items) if made.bucket(item) == bucket]
        for at, row in zip(members, made.infer([items[at] for at in members]), strict=True):
            assert not isinstance(row, Skip)
            rows[at] = row
    for at, each in enumerate(CLIPS):
        expected = reference(folder, each)
        sequence, vector = rows[at]["sequence"], rows[at]["vector"]
        assert isinstance(sequence, np.ndarray)
        assert isinstance(vector, np.ndarray)
        assert_close(sequence, expected)
        assert_close(vector, expected.mean(axis=0))


@pytest.mark.parametrize("kind", ["vit", *SPEECH, "bert", "llama"])
@pytest.mark.parametrize("layers", [(0, 2), 2])
@torch.inference_mode()
def test_layers_are_the_reference_librarys_hidden_states(tiny: Path, kind: str, layers: int | tuple[int, ...]) -> None:
    """The sum of the states after the embeddings and the second layer; and of the last two.

    The last state of sound and text is the one after the final normalisation, as `layers: 1` alone has it.
    """
    import transformers

    one = CLIPS[1]
    model = transformers.AutoModel.from_pretrained(tiny / kind).eval()
    if kind == "vit":
        processor = transformers.AutoImageProcessor.from_pretrained(tiny / kind)
        inputs = processor(images=images(one, "faces"), return_tensors="pt")
    elif kind in SPEECH:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(tiny / kind)
        inputs = extractor(samples(one), sampling_rate=RATE, return_tensors="pt")
    else:
        inputs = transformers.AutoTokenizer.from_pretrained(tiny / kind)(text(one), return_tensors="pt")
        inputs.pop("token_type_ids", None)
    output = (model.get_encoder() if kind.startswith("whisper") else model)(**inputs, output_hidden_states=True)
    states = list(output.hidden_states)
    if kind != "vit":
        states[-1] = output.last_hidden_state
    summed = (states[0] + states[2] if layers == (0, 2) else states[-2] + states[-1]).numpy()
    if kind == "vit":
        own = summed[:, 0]
    elif kind in SPEECH:
        own = summed[0, : int(np.ceil(2.7 * 50))]
    else:  # without [CLS] and [SEP], or <s>
        own = summed[0, 1:-1] if kind == "bert" else summed[0, 1:]
    assert_close(embed(encoder(tiny, kind, layers=layers, **READS.get(kind, {})), [one])[0], own.mean(axis=0))


@pytest.mark.parametrize("language", ["auto", "zh"])
@torch.inference_mode()
def test_whispers_decoder_gives_the_reference_librarys_states(tiny: Path, language: str) -> None:
    """The state of the last token of the prompt, over the window of 30 s, in the language that transformers finds."""
    import transformers

    folder = tiny / "whisper-words"
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    made = encoder(tiny, "whisper-words", states="decoder", language=language)
    for each in CLIPS[:2]:
        mel = extractor(samples(each), sampling_rate=RATE, return_tensors="pt")["input_features"]
        spoken = tokenizer.decode(model.detect_language(mel)[0]) if language == "auto" else "<|zh|>"
        prompt = f"<|startoftranscript|>{spoken}<|transcribe|><|notimestamps|>"
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        assert ids.shape == (1, 4)
        expected = model.model(input_features=mel, decoder_input_ids=ids).last_hidden_state[0, -1].numpy()
        assert_close(embed(made, [each])[0], expected)
    if language == "auto":  # another language is another vector
        assert spoken != "<|zh|>"
        chinese = encoder(tiny, "whisper-words", states="decoder", language="zh")
        assert np.abs(embed(chinese, [each])[0] - expected).max() > 1e-3


@torch.inference_mode()
def test_layers_of_a_film(tiny: Path) -> None:
    """The states after the embeddings and the first layer."""
    expected = film_states("frames", (0, 1))(tiny / "videomae", CLIPS[1])
    assert_close(embed(encoder(tiny, "videomae", layers=(0, 1)), [CLIPS[1]])[0], expected.mean(axis=0))


@pytest.mark.parametrize("layers", [(0, 2), 2])
@torch.inference_mode()
def test_layers_of_a_clips_own_length(tiny: Path, layers: int | tuple[int, ...]) -> None:
    """The same of Whisper without its window of 30 s."""
    mel = whisper_inputs(tiny / "whisper", samples(CLIPS[1]))
    output = whisper_encoder(tiny / "whisper", mel.shape[2] // 2)(mel, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    own = (states[0] + states[2] if layers == (0, 2) else states[-2] + states[-1])[0].numpy()
    assert_close(embed(encoder(tiny, "whisper", layers=layers, window="clip"), [CLIPS[1]])[0], own.mean(axis=0))


@torch.inference_mode()
def test_a_model_that_counts_positions_by_its_padding(tiny: Path, tmp_path: Path) -> None:
    """RoBERTa: padding is token 1, and positions begin after its number. Other padding would be counted on, beyond the
    last position; and a text that is too long is cut to what fits."""
    import transformers

    config = transformers.RobertaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=26, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.RobertaModel(config).eval()
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny / "bert").save_pretrained(tmp_path)
    texts = ["今天", "你为什么不告诉我？我很生气，你为什么不告诉我？我很生气，我很担心。"]
    clips = [clip(transcript=valid(zh=text, en=None)) for text in texts]
    params = {"family": "hf-text", "input": "transcript", "checkpoint": f"dir:{tmp_path}", "frame_level": True}
    made = make_encoder("x", ENCODER.parse(params))
    made.setup(torch.device("cpu"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    lengths = []
    for each, text in zip(clips, texts, strict=True):
        row = made.infer([made.prepare(each)])[0]
        assert isinstance(row, dict)
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=24)["input_ids"]
        assert 1 not in ids  # in this vocabulary, an unknown word
        assert_close(row["sequence"], model(input_ids=ids).last_hidden_state[0, 1:-1].numpy())
        lengths.append(ids.shape[1])
    assert lengths[0] < lengths[1] == 24


@torch.inference_mode()
def test_roberta_with_the_files_of_the_english_profiles(tmp_path: Path) -> None:
    """A masked language model without a pooler, and byte pairs in vocab.json and merges.txt beside tokenizer.json."""
    import tokenizers
    import transformers

    said = "Why didn't you tell me? I am so angry!"
    pairs = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pairs.train_from_iterator([said, "What a day."] * 4, vocab_size=300, special_tokens=special)
    pairs.save_model(str(tmp_path))
    transformers.RobertaTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
    config = transformers.RobertaConfig(
        vocab_size=pairs.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, max_position_embeddings=514, type_vocab_size=1, architectures=["RobertaForMaskedLM"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.RobertaForMaskedLM(config).eval()
    model.save_pretrained(tmp_path)
    params = {"family": "hf-text", "input": "transcript", "checkpoint": f"dir:{tmp_path}", "language": "en"}
    made = make_encoder("x", ENCODER.parse({**params, "layers": 4}))
    made.setup(torch.device("cpu"))
    (row,) = made.infer([made.prepare(clip(transcript=valid(zh="我很生气", en=said)))])
    assert isinstance(row, dict)
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path)(said, return_tensors="pt")
    states = torch.stack(model(**ids, output_hidden_states=True).hidden_states[-4:]).sum(dim=0)[0, 1:-1]
    assert len(states) > 9
    assert_close(row["vector"], states.mean(dim=0).numpy())


def test_logmel_has_torchaudios_mel_mfcc_and_deltas(tiny: Path) -> None:
    """Noise sounds from the first frame to the last, so nothing is left out of the means and deviations."""
    import torchaudio

    one = CLIPS[0]
    sound = torch.from_numpy(samples(one))
    shape = {"n_fft": 400, "hop_length": 160, "n_mels": 40}
    mel = torch.log(torchaudio.transforms.MelSpectrogram(RATE, **shape)(sound) + 1e-6)
    mfcc = torchaudio.transforms.MFCC(RATE, n_mfcc=13, log_mels=True, melkwargs=shape)(sound)
    deltas = torchaudio.functional.compute_deltas(mfcc)
    parts = [f(each.numpy().astype(np.float64), axis=1) for each in (mel, mfcc, deltas) for f in (np.mean, np.std)]
    expected = np.concatenate(parts)
    found = embed(encoder(tiny, "logmel"), [one])[0][-len(expected) :]
    assert_close(found, expected)


def test_logmel_leaves_pauses_out_of_the_spectrum(tiny: Path) -> None:
    """Silence before and after the noise moves no mean by more than the frames at the edges can."""
    made = encoder(tiny, "logmel")
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
    quiet = np.zeros(RATE)
    alone, among = embed(
        made, [clip(audio=sound_row(noise)), clip(audio=sound_row(np.concatenate([quiet, noise, quiet])))]
    )
    mel = slice(-(2 * 40 + 4 * 13), -(40 + 4 * 13))
    np.testing.assert_allclose(among[mel], alone[mel], atol=0.15)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_char_ngram_is_scikit_learns_hashing_vectorizer(tiny: Path, language: str) -> None:
    """Signed hashes of one to four characters within words, of unit length."""
    from sklearn.feature_extraction.text import HashingVectorizer

    words = {"zh": "你为什么不告诉我？", "en": "Why did you not TELL me?"}
    hasher = HashingVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), n_features=512, norm="l2", alternate_sign=True, lowercase=True
    )
    found = embed(encoder(tiny, "char-ngram", language=language), [clip(transcript=valid(**words))])[0]
    np.testing.assert_array_equal(found, hasher.transform([words[language]]).toarray()[0].astype(np.float32))
    assert np.linalg.norm(found) == pytest.approx(1)


@torch.inference_mode()
def test_a_multilingual_model_with_a_prefix(tmp_path: Path) -> None:
    """The layout of XLM-R and multilingual E5: a Unigram `tokenizer.json` beside SentencePiece's own file, token 1 as
    padding. The prefix is read with the text and is in the mean, as E5's own pooling has it; <s> and </s> are not."""
    import tokenizers
    import transformers

    trained = tokenizers.Tokenizer(tokenizers.models.Unigram())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trained.decoder = tokenizers.decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = tokenizers.trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>")
    trained.train_from_iterator([*CORPUS, "query: passage:"], trainer)
    ends = [(token, trained.token_to_id(token)) for token in ("<s>", "</s>")]
    trained.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    trained.save(str(tmp_path / "tokenizer.json"))
    names = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    names |= {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    told = {**names, "model_max_length": 512, "tokenizer_class": "XLMRobertaTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(names))
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"read by another library")
    config = transformers.XLMRobertaConfig(
        vocab_size=trained.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.XLMRobertaModel(config).eval()
    model.save_pretrained(tmp_path)
    params = {"family": "hf-text", "input": "transcript", "checkpoint": f"dir:{tmp_path}", "frame_level": True}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for prefix in ("", "query: "):
        made = make_encoder("x", ENCODER.parse({**params, "prefix": prefix}))
        made.setup(torch.device("cpu"))
        for said in ("我有点担心明天的考试。", "Why did you not tell me?", "我很生气 so happy"):
            row = made.infer([made.prepare(clip(transcript=valid(zh=said, en=None)))])[0]
            assert isinstance(row, dict)
            states = model(**tokenizer(f"{prefix}{said}", return_tensors="pt")).last_hidden_state[0, 1:-1].numpy()
            assert_close(row["sequence"], states)
            assert_close(row["vector"], states.mean(axis=0))


def votes(make: Make, name: str, clips: Sequence[Clip], **options: object) -> list[np.ndarray]:
    """A judge's scores, each clip alone."""
    judge = make(name, **options)
    found = []
    for each in clips:
        row = judge.infer([judge.prepare(each)])[0]
        assert isinstance(row, dict)
        found.append(row["scores"])
    return found


def shares(logits: np.ndarray) -> np.ndarray:
    """Softmax."""
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def logits_by_label(results: Sequence[Mapping[str, object]], labels: Sequence[str]) -> np.ndarray:
    """A pipeline's answer, which it gives in the order of the scores, in the order of the labels."""
    by_label = {str(each["label"]): float(str(each["score"])) for each in results}
    return np.array([by_label[label] for label in labels])


def test_hf_image_votes_as_transformers_pipeline(make: Make, tiny: Path) -> None:
    """`image-classification`: the mean of the pictures' logits."""
    import transformers

    pipeline = transformers.pipeline("image-classification", model=str(tiny / "vit"), device="cpu")
    every = dict(zip(EXPRESSIONS, EXPRESSIONS, strict=True))
    for each, found in zip(CLIPS, votes(make, "vit", CLIPS, classes=EXPRESSIONS, map=every), strict=True):
        answers = [
            pipeline(image, top_k=len(EXPRESSIONS), function_to_apply="none") for image in images(each, "frames")
        ]
        logits = np.mean([logits_by_label(answer, EXPRESSIONS) for answer in answers], axis=0)
        assert_close(found, shares(logits))


def test_encoder_and_judge_agree_on_a_face(make: Make, tiny: Path) -> None:
    """One checkpoint serves both: the softmax of the vector of `output: scores` is the vote of `hf-image`."""
    every = dict(zip(EXPRESSIONS, EXPRESSIONS, strict=True))
    vectors = embed(encoder(tiny, "vit", input="faces", output="scores"), CLIPS)
    judged = votes(make, "vit", CLIPS, classes=EXPRESSIONS, map=every, input="faces")
    for vector, vote in zip(vectors, judged, strict=True):
        assert_close(shares(vector.astype(np.float64)), vote)


@pytest.mark.parametrize("chunk_seconds", [20.0, 1.0])
@pytest.mark.parametrize("name", ["hubert-emotion", "wav2vec2-emotion", "whisper-emotion"])
def test_encoder_and_judge_agree_on_a_sound(
    make: Make, tiny: Path, name: str, chunk_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of `hf-speech` and `hf-audio`; a long sound is cut into equal chunks by both."""
    monkeypatch.setattr("mer_pipeline.judges.hf_audio.CHUNK_SECONDS", chunk_seconds)
    section = {"family": "hf-speech", "input": "audio", "checkpoint": f"dir:{tiny / name}", "output": "scores"}
    made = make_encoder("x", ENCODER.parse({**section, "chunk_seconds": chunk_seconds}))
    made.setup(torch.device("cpu"))
    every = dict(zip(TONES, TONES, strict=True))
    for vector, vote in zip(embed(made, CLIPS), votes(make, name, CLIPS, classes=TONES, map=every), strict=True):
        assert_close(shares(vector.astype(np.float64)), vote, within=1e-5)


@pytest.mark.parametrize("name", ["hubert-emotion", "wav2vec2-emotion", "whisper-emotion"])
def test_hf_audio_votes_as_transformers_pipeline(make: Make, tiny: Path, name: str) -> None:
    """`audio-classification` of the sound alone."""
    import transformers

    pipeline = transformers.pipeline("audio-classification", model=str(tiny / name), device="cpu")
    every = dict(zip(TONES, TONES, strict=True))
    for each, found in zip(CLIPS, votes(make, name, CLIPS, classes=TONES, map=every), strict=True):
        answer = pipeline(samples(each), top_k=None, function_to_apply="none")
        assert_close(found, shares(logits_by_label(answer, TONES)))


@torch.inference_mode()
def test_zero_shot_votes_as_open_clips_classifier(
    make: Make, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`build_zero_shot_classifier` on the same captions; logits are those of the model's own forward pass."""
    import open_clip

    classes, templates = ("angry", "happy", "sad"), ("a photo of a {} face", "somebody {}", "{}")
    (tmp_path / "prompts").mkdir()
    lines = [f"{name}\t{template.format(name)}\n" for name in classes for template in templates]
    (tmp_path / "prompts/captions-mine.tsv").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    spec = f"local-dir:{tiny / 'open-clip'}"
    model, _, preprocess = open_clip.create_model_and_transforms(spec)
    model.eval()
    columns = open_clip.build_zero_shot_classifier(model, open_clip.get_tokenizer(spec), classes, templates)
    for each, found in zip(CLIPS, votes(make, "open-clip", CLIPS, classes=classes, captions="mine"), strict=True):
        pictures = torch.stack([preprocess(image) for image in images(each, "faces")])
        logits = model.logit_scale.exp() * model.encode_image(pictures, normalize=True) @ columns
        assert_close(found, shares(logits.numpy().astype(np.float64).mean(axis=0)))


def test_every_family_with_a_checkpoint_has_its_reference() -> None:
    """A family that is added without one is noticed here."""
    own = {"appearance", "face-geometry", "logmel", "char-ngram"}  # logmel and char-ngram above; the others are ours
    assert set(FAMILIES) - own - {"hubert-emotion"} == set(REFERENCES)
