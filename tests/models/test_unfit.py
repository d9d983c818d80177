"""Checkpoints whose files are missing, stand for others or do not fit each other: one sentence at set-up, exit code 2.

Each is a small checkpoint in the real format of which one thing was changed; nothing else would have told before the
first clip, or ever.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.base.encoder import ENCODER, Encoder, make_encoder
from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.generate import ByCheckpointParams, Generate
from mer_pipeline.judges.judge import JUDGE, make_judge
from mer_pipeline.media import jpeg
from mer_pipeline.models.huggingface import load_tokenizer
from mer_pipeline.models.lock import lock_models
from mer_pipeline.models.tiny import CHAT, make_tiny
from tests.conftest import clip, valid
from tests.enrich.project import ROOT, make_project
from tests.forks import python

Damage = Callable[[Path], object]

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 412345678\n"
READS = {
    "hf-text": "transcript",
    "hf-speech": "audio",
    "hf-vision": "frames",
    "open-clip": "frames",
    "facenet": "faces",
}


def without(pattern: str) -> Damage:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def pointer(name: str) -> Damage:
    return lambda folder: (folder / name).write_text(POINTER)


def edit(name: str, **values: object) -> Damage:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def weights(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        (path,) = folder.glob("*.safetensors")
        state = load_file(path)
        state[name] = change(state[name])
        save_file(state, path, {"format": "pt"})

    return damage


def of_another(kind: str, pattern: str) -> Damage:
    """The files of another checkpoint."""

    def damage(folder: Path) -> None:
        other = make_tiny(kind, folder.with_name("other"))
        for path in other.glob(pattern):
            shutil.copy(path, folder)

    return damage


def only_sentencepiece(name: str) -> Damage:
    """A model of SentencePiece: a protocol buffer, whose field 1 has a piece, a score and a kind each."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    def piece(text: str, kind: int) -> bytes:
        return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", -1.0) + bytes([3 << 3, kind]))

    pieces = [piece("<unk>", 2), piece("<s>", 3), piece("</s>", 3), *(piece(char, 1) for char in "▁你好abc")]

    def damage(folder: Path) -> None:
        without("token*")(folder)
        (folder / name).write_bytes(b"".join(pieces))

    return damage


def little_vocabulary(folder: Path) -> None:
    """As transformers makes it by itself."""
    without("token*")(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")


def larger_vocabulary(folder: Path) -> None:
    without("token*")(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(999))]))


def nan(weight: torch.Tensor) -> torch.Tensor:
    weight.view(-1)[3] = torch.nan
    return weight


def to_int8(weight: torch.Tensor) -> torch.Tensor:
    return (weight * 100).to(torch.int8)


PROCESSOR = "preprocessor_config.json"
BERT_WEIGHT = "encoder.layer.0.output.dense.weight"
UNFIT: dict[str, tuple[str, str, Damage, str]] = {
    # of which kind, by which family, what is wrong, what is said
    "no tokenizer": ("bert", "hf-text", without("token*"), "has no tokenizer, without which no word is known"),
    "half a tokenizer": ("bert", "hf-text", without("tokenizer.json"), "has no tokenizer"),
    "no tokenizer, decoder": ("llama", "hf-text", without("token*"), "has no tokenizer"),
    "special tokens only": ("bert", "hf-text", little_vocabulary, "its tokenizer knows 0 of the model's 126 tokens"),
    "another's tokenizer": ("bert", "hf-text", larger_vocabulary, "has token 1003 and the model 126 only"),
    "torn tokenizer": ("bert", "hf-text", lambda folder: (folder / "tokenizer.json").write_text("{"),
                       "its tokenizer cannot be loaded"),
    "tokenizer is a pointer": ("bert", "hf-text", pointer("tokenizer.json"), "tokenizer.json is a Git LFS pointer"),
    "DeBERTa by SentencePiece": ("bert", "hf-text", only_sentencepiece("spm.model"), "SentencePiece's spm.model alone"),
    "XLM-R by SentencePiece": ("bert", "hf-text", only_sentencepiece("sentencepiece.bpe.model"),
                               "SentencePiece's sentencepiece.bpe.model alone"),
    "weights are a pointer": ("bert", "hf-text", pointer("model.safetensors"),
                              "model.safetensors is a Git LFS pointer and not the file itself; run `git lfs pull`"),
    "a pointer, open_clip": ("open-clip", "open-clip", pointer("open_clip_model.safetensors"), "a Git LFS pointer"),
    "a pointer, facenet": ("facenet", "facenet", pointer("model.safetensors"), "a Git LFS pointer"),
    "a pointer, config": ("vit", "hf-vision", pointer("config.json"), "config.json is a Git LFS pointer"),
    "quantised, gptq": ("vit", "hf-vision", edit("config.json", quantization_config={"quant_method": "gptq"}),
                        "is quantised (its config.json has `quantization_config`)"),
    "quantised, mlx": ("llama", "hf-text", edit("config.json", quantization={"bits": 4}),
                       "is quantised (its config.json has `quantization`)"),
    "quantised, unsaid": ("bert", "hf-text", weights(BERT_WEIGHT, to_int8), f"is quantised ({BERT_WEIGHT} is I8)"),
    "quantised, fp8": ("bert", "hf-text", weights(BERT_WEIGHT, lambda w: w.to(torch.float8_e4m3fn)),
                       f"is quantised ({BERT_WEIGHT} is F8_E4M3)"),
    "config of another size": ("bert", "hf-text", edit("config.json", vocab_size=50),
                               "(126, 32) in the file and (50, 32) by the configuration"),
    "config of nonsense": ("bert", "hf-text", edit("config.json", num_hidden_layers="two"), "its config.json"),
    "not a number": ("bert", "hf-text", weights(BERT_WEIGHT, nan), f"{BERT_WEIGHT} has values that are no numbers"),
    "not a number, facenet": ("facenet", "facenet", weights("last_linear.weight", nan), "values that are no numbers"),
    "not a number, open_clip": ("open-clip", "open-clip", weights("visual.proj", nan), "values that are no numbers"),
    "no sound processor": ("hubert", "hf-speech", without(PROCESSOR), f"has no {PROCESSOR}"),
    "no processor, Whisper": ("whisper", "hf-speech", without(PROCESSOR), f"has no {PROCESSOR}"),
    "8 kHz": ("hubert", "hf-speech", edit(PROCESSOR, sampling_rate=8000),
              "is for sound at 8000 Hz, and clips have 16000 Hz here"),
    "128 mels": ("whisper", "hf-speech", edit(PROCESSOR, feature_size=128),
                 "makes (128, 3000) of a second of sound, and the model takes (80, 3000)"),
    "another's processor": ("hubert", "hf-speech", of_another("whisper", PROCESSOR), "does not fit the model"),
    "no picture processor": ("vit", "hf-vision", without(PROCESSOR), f"has no {PROCESSOR}"),
    "picture size": ("vit", "hf-vision", edit(PROCESSOR, size={"height": 32, "width": 32}),
                     "its preprocessing does not fit its model"),
    "picture size, CLIP": ("clip", "hf-vision", edit(PROCESSOR, crop_size={"height": 32, "width": 32}),
                           "its preprocessing does not fit its model"),
    "pictures of several sizes": ("vit", "hf-vision", edit(PROCESSOR, size={"shortest_edge": 64}),
                                  "makes pictures of several sizes"),
}  # fmt: skip


@pytest.mark.outcome("a missing or unfit checkpoint", "what does not fit (encoders.md lists what makes one unfit)")
@pytest.mark.parametrize("case", UNFIT)
def test_an_unfit_checkpoint_is_one_sentence_at_set_up(tmp_path: Path, case: str) -> None:
    """No clip is blamed, because none was looked at."""
    kind, family, damage, says = UNFIT[case]
    folder = make_tiny(kind, tmp_path / "model")
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        of_family(family, folder)
    assert says in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def of_family(family: str, folder: Path) -> Encoder[object]:
    params = ENCODER.parse({"family": family, "input": READS.get(family, "faces"), "checkpoint": f"dir:{folder}"})
    encoder = make_encoder("x", params)
    encoder.setup(torch.device("cpu"))
    return encoder


@pytest.mark.slow
def test_the_stage_ends_before_any_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 and one line; neither a table nor a quarantine is written."""
    project = make_project(tmp_path / "p", {"a": "I am so happy.", "b": "She cried for long."}, backend="template")
    folder = make_tiny("bert", project / "models/bert")
    without("token*")(folder)
    params = (project / "params.yaml").read_text()
    words = "  bert: {family: hf-text, input: transcript, checkpoint: dir:models/bert}"
    (project / "params.yaml").write_text(params.replace("  scene: {", f"{words}\n  scene: {{", 1))
    monkeypatch.chdir(project)
    lock_models({"bert": "dir:models/bert"})
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MER_STORE": ""}
    run = subprocess.run(
        [python(), str(ROOT / "stages/embed.py"), "bert"], env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    assert len(run.stderr.splitlines()) == 1
    assert "models/bert has no tokenizer, without which no word is known" in run.stderr
    assert not (project / "data/features/bert").exists()
    assert not list(project.glob("data/quarantine/*bert*"))


def test_judges_and_the_language_model_look_too(tmp_path: Path) -> None:
    """They load checkpoints by the same functions."""
    face, voice, chat = (make_tiny(kind, tmp_path / kind) for kind in ("vit", "hubert-emotion", "chat"))
    edit(PROCESSOR, size={"height": 32, "width": 32})(face)
    edit(PROCESSOR, sampling_rate=8000)(voice)
    for kind, table, folder, known, says in (
        ("hf-image", "faces", face, "fer2013", "its preprocessing does not fit"),
        ("hf-audio", "audio", voice, "iemocap", "sound at 8000 Hz"),
    ):
        params = JUDGE.parse({"kind": kind, "input": table, "checkpoint": f"dir:{folder}", "map": known})
        judge = make_judge("x", params, (*MER_CLASSES, "disgust", "fear"))
        with pytest.raises(CheckpointError, match=says):
            judge.setup(torch.device("cpu"))
    for damage, says in (
        (without("tokenizer.json"), "has no tokenizer"),
        (edit("config.json", quantization_config={"bits": 4}), "is quantised"),
    ):
        folder = shutil.copytree(chat, tmp_path / says)
        damage(folder)
        with pytest.raises(CheckpointError, match=says):
            asked(folder).setup(torch.device("cpu"))


def asked(folder: Path) -> Generate:
    return Generate(ByCheckpointParams(backend="transformers", model=f"dir:{folder}"), MER_CLASSES)


def test_a_chat_template_that_refuses_the_prompt_is_found_at_set_up(tmp_path: Path) -> None:
    """Some take no message of the role `system`."""
    folder = make_tiny("chat", tmp_path / "chat")
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(refuses + CHAT)
    with pytest.raises(CheckpointError, match=r"chat template cannot write a prompt.*System role not supported"):
        asked(folder).setup(torch.device("cpu"))


@pytest.mark.parametrize("change", ["bf16", "vocab.txt", "special token without a row"])
def test_what_only_looks_odd_is_loaded(tmp_path: Path, change: str) -> None:
    """Half precision, a vocabulary of the older form, and a special token that is never put around a text."""
    folder = make_tiny("bert", tmp_path / "bert")
    if change == "bf16":
        weights(BERT_WEIGHT, lambda weight: weight.to(torch.bfloat16))(folder)
    elif change == "vocab.txt":
        words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        without("token*")(folder)
        (folder / "vocab.txt").write_text("\n".join(sorted(words, key=words.__getitem__)))
    else:
        tokenizer = load_tokenizer(folder)
        tokenizer.add_special_tokens({"additional_special_tokens": ["[NEVER]"]})
        tokenizer.save_pretrained(folder)
        assert max(tokenizer.get_vocab().values()) == 126
    of_family("hf-text", folder)


def test_a_picture_size_that_a_model_interpolates_is_taken(tmp_path: Path) -> None:
    """DINOv2 says 518 pixels and is used at 224."""
    folder = make_tiny("dinov2", tmp_path / "dinov2")
    edit(PROCESSOR, crop_size={"height": 28, "width": 28})(folder)
    encoder = of_family("hf-vision", folder)
    grey = jpeg.encode(np.full((160, 160, 3), 128, np.uint8), 90)
    (row,) = encoder.infer([encoder.prepare(clip(frames=valid(jpegs=[grey], times=[0.0])))])
    assert isinstance(row, dict)
    assert np.isfinite(row["vector"]).all()  # type: ignore[call-overload]
