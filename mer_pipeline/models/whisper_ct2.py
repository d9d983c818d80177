"""Whisper's weights from a file of CTranslate2 to a checkpoint as transformers has it.

CTranslate2 joins the query, key and value of self-attention, and the key and value of cross-attention, in one matrix
each, and calls everything by names of its own. Nothing is computed here: matrices are cut and renamed, so that the
weights have the bits that they had (float16). The configuration is that of OpenAI's multilingual models.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mer_pipeline.base.errors import CheckpointError

FORMAT = 6  # version of CTranslate2's files
FLOAT16 = 4  # CTranslate2's number of this type
HEAD_SIZE = 64  # of every Whisper model
EXTRACTOR = {
    "chunk_length": 30,
    "feature_extractor_type": "WhisperFeatureExtractor",
    "hop_length": 160,
    "n_fft": 400,
    "n_samples": 480_000,
    "nb_max_frames": 3000,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": False,
    "sampling_rate": 16_000,
}
END = "<|endoftext|>"
START = "<|startoftranscript|>"
Weights = dict[str, NDArray[np.float16]]


def convert(model: bytes, config: bytes, tokenizer: bytes, folder: Path) -> None:
    """Write a checkpoint for transformers.

    Args:
        model: CTranslate2's model.bin, in float16.
        config: the config.json beside it: which tokens are never to be written, and which heads follow the time.
        tokenizer: the tokenizer.json beside it.
        folder: must exist.

    Raises:
        CheckpointError: the file is of another kind or version, is torn, or has weights that no Whisper model has.
    """
    from safetensors.numpy import save

    weights = renamed(dict(variables(model)))
    (folder / "model.safetensors").write_bytes(save(weights, {"format": "pt"}))
    ids = {token["content"]: token["id"] for token in json.loads(tokenizer)["added_tokens"]}
    given = json.loads(config)
    special = {
        "begin_suppress_tokens": given["suppress_ids_begin"],
        "bos_token_id": ids[END],
        "decoder_start_token_id": ids[START],
        "eos_token_id": ids[END],
        "pad_token_id": ids[END],
    }
    languages = {token: at for token, at in ids.items() if at in set(given["lang_ids"])}
    files = {
        "config.json": {**_shape(weights), **special},
        "generation_config.json": {
            **special,
            "alignment_heads": given["alignment_heads"],
            "is_multilingual": True,
            "lang_to_id": languages,
            "max_initial_timestamp_index": 50,
            "max_length": len(weights["model.decoder.embed_positions.weight"]),
            "no_timestamps_token_id": ids["<|notimestamps|>"],
            "prev_sot_token_id": ids["<|startofprev|>"],
            "return_timestamps": False,
            "suppress_tokens": given["suppress_ids"],
            "task_to_id": {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        },
        "preprocessor_config.json": {**EXTRACTOR, "feature_size": weights["model.encoder.conv1.weight"].shape[1]},
        "tokenizer_config.json": {
            "tokenizer_class": "WhisperTokenizer",
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END),
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_bytes(tokenizer)


def variables(model: bytes) -> Iterator[tuple[str, NDArray[np.float16]]]:
    """Read the float16 matrices of a file of CTranslate2, by CTranslate2's names.

    All numbers are little-endian: version u32; kind (length u16, text, 0); revision u32; count u32; then of each
    variable its name (as the kind), rank u8, sizes u32 each, type u8, bytes u32, values. Numbers that only CTranslate2
    needs, such as the count of heads, are variables of other types and are left out.

    Raises:
        CheckpointError: it is of another kind or version, or ends too soon.
    """
    at = 0

    def take(form: str) -> tuple[int, ...]:
        nonlocal at
        values = struct.unpack_from(form, model, at)
        at += struct.calcsize(form)
        return values

    def text() -> str:
        nonlocal at
        (length,) = take("<H")
        raw = model[at : at + length]
        at += length
        return raw.decode("ascii").rstrip("\0")

    try:
        (version,), kind = take("<I"), text()
        if (version, kind) != (FORMAT, "WhisperSpec"):
            raise CheckpointError(f"the model is '{kind}' of version {version} and not 'WhisperSpec' of {FORMAT}")
        _, count = take("<II")
        for _ in range(count):
            name, (rank,) = text(), take("<B")
            shape = take(f"<{rank}I")
            of_type, size = take("<BI")
            values, at = model[at : at + size], at + size
            if of_type == FLOAT16:
                yield name, np.frombuffer(values, "<f2").reshape(shape)
    except (struct.error, ValueError) as error:
        raise CheckpointError(f"the model cannot be read as a file of CTranslate2 ({error})") from None


def renamed(found: Mapping[str, NDArray[np.float16]]) -> Weights:
    """Cut and rename matrices to those of transformers' WhisperForConditionalGeneration.

    Args:
        found: by CTranslate2's names; all must be used, but for the last projection, which is the token embeddings.

    Raises:
        CheckpointError: one is missing, left over, or a key has a bias, which Whisper's have not.
    """
    left, made = dict(found), Weights()

    def put(name: str, of: str, part: str = "weight", source: str | None = None) -> None:
        made[f"{name}.{part}"] = np.ascontiguousarray(left.pop(f"{of}/{source or part}"))

    def whole(name: str, of: str) -> None:
        put(name, of)
        put(name, of, "bias")

    def norm(name: str, of: str) -> None:
        put(name, of, source="gamma")
        put(name, of, "bias", "beta")

    def cut(name: str, of: str, parts: str) -> None:
        weight, bias = (np.split(left.pop(f"{of}/{part}"), len(parts)) for part in ("weight", "bias"))
        for part, w, b in zip(parts, weight, bias, strict=True):
            made[f"{name}.{part}_proj.weight"] = np.ascontiguousarray(w)
            if part != "k":
                made[f"{name}.{part}_proj.bias"] = np.ascontiguousarray(b)
            elif b.any():
                raise CheckpointError(f"{of} has a bias of its keys, which no Whisper model has")

    try:
        for side in ("encoder", "decoder"):
            layers = len({name.split("/")[1] for name in found if name.startswith(f"{side}/layer_")} - {"layer_norm"})
            for number in range(layers):
                name, of = f"model.{side}.layers.{number}", f"{side}/layer_{number}"
                norm(f"{name}.self_attn_layer_norm", f"{of}/self_attention/layer_norm")
                cut(f"{name}.self_attn", f"{of}/self_attention/linear_0", "qkv")
                whole(f"{name}.self_attn.out_proj", f"{of}/self_attention/linear_1")
                if side == "decoder":
                    norm(f"{name}.encoder_attn_layer_norm", f"{of}/attention/layer_norm")
                    whole(f"{name}.encoder_attn.q_proj", f"{of}/attention/linear_0")
                    cut(f"{name}.encoder_attn", f"{of}/attention/linear_1", "kv")
                    whole(f"{name}.encoder_attn.out_proj", f"{of}/attention/linear_2")
                norm(f"{name}.final_layer_norm", f"{of}/ffn/layer_norm")
                whole(f"{name}.fc1", f"{of}/ffn/linear_0")
                whole(f"{name}.fc2", f"{of}/ffn/linear_1")
            norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
            put(f"model.{side}.embed_positions", f"{side}/position_encodings", source="encodings")
        for name in ("conv1", "conv2"):
            whole(f"model.encoder.{name}", f"encoder/{name}")
        put("model.decoder.embed_tokens", "decoder/embeddings")
    except KeyError as error:
        raise CheckpointError(f"the model lacks {error}, which every Whisper model has") from None
    left.pop("decoder/projection/weight", None)
    if left:
        raise CheckpointError(f"the model has {min(left)}, which no Whisper model has")
    return made


def _shape(weights: Weights) -> dict[str, object]:
    """The configuration that the sizes of the weights say."""
    vocabulary, d = weights["model.decoder.embed_tokens.weight"].shape
    shape: dict[str, object] = {
        "architectures": ["WhisperForConditionalGeneration"],
        "d_model": d,
        "dtype": "float16",
        "is_encoder_decoder": True,
        "max_source_positions": len(weights["model.encoder.embed_positions.weight"]),
        "max_target_positions": len(weights["model.decoder.embed_positions.weight"]),
        "model_type": "whisper",
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "scale_embedding": False,
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
    }
    for side in ("encoder", "decoder"):
        shape[f"{side}_attention_heads"] = d // HEAD_SIZE
        shape[f"{side}_ffn_dim"] = len(weights[f"model.{side}.layers.0.fc1.weight"])
        shape[f"{side}_layers"] = sum(name.startswith(f"model.{side}.") and ".fc1.bias" in name for name in weights)
    return shape
