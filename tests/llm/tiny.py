"""Tiny language models of random weights in real formats: a GGUF file for llama.cpp, a chat-ready Hugging Face folder.

What they answer means nothing, but they answer through the real tokenizers, samplers and grammars. The GGUF model
has a token for each byte, so any UTF-8 can be read, and some words and Chinese characters that it prefers to write:
an answer by a JSON schema is then text as a talkative model's, not half characters, escapes and white space.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from mer_pipeline.models.tiny import CORPUS, make_tiny

CONTEXT = 32768
WIDTH, LAYERS, HEADS, KV_HEADS, INNER = 64, 2, 2, 1, 128
SPECIALS = ("<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
END = SPECIALS.index("<|end|>")
FIRST_BYTE = len(SPECIALS)
SPACE = "\u2581"  # SentencePiece's
WORDS = sorted({SPACE + word.strip("?!.") for text in CORPUS if text.isascii() for word in text.split()})
CHARACTERS = sorted({character for text in CORPUS for character in text if not character.isascii()})
PIECES = (SPACE, *WORDS, *CHARACTERS)
FIRST_PIECE = FIRST_BYTE + 256
NEVER = -20.0  # unless a grammar allows nothing else: llama.cpp's lets single bytes form no character
VOCABULARY = FIRST_PIECE + len(PIECES)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# The word-piece vocabulary of `make_tiny("llama", ...)` knows no such marks.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def make_gguf(path: Path, seed: int = 0) -> Path:
    """Write a Llama of random weights as GGUF; the same bytes for the same seed.

    Args:
        path: of the file; its folder is made if need be.
        seed: of the weights.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer)
    for name, values in _weights(seed).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    """A SentencePiece vocabulary that falls back to bytes."""
    kinds = gguf.TokenType
    names = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    types = [kinds.UNKNOWN, *[kinds.CONTROL] * (len(SPECIALS) - 1), *[kinds.BYTE] * 256, *[kinds.NORMAL] * len(PIECES)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores([0.0] * len(names))
    writer.add_token_types(types)
    writer.add_unk_token_id(SPECIALS.index("<unk>"))
    writer.add_bos_token_id(SPECIALS.index("<s>"))
    writer.add_eos_token_id(SPECIALS.index("</s>"))
    writer.add_eot_token_id(END)
    writer.add_add_bos_token(False)  # the template writes it
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the model, with a bias of the output by token."""
    random = np.random.default_rng(seed)

    def draw(rows: int, columns: int, gain: float = 1.0) -> NDArray[np.float32]:
        return np.asarray(random.standard_normal((rows, columns)) * gain / np.sqrt(columns), np.float32)

    kv_width = WIDTH // HEADS * KV_HEADS
    ones = np.ones(WIDTH, np.float32)
    weights: dict[str, NDArray[np.float32]] = {}
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        weights |= {
            f"{block}.attn_norm.weight": ones,
            f"{block}.attn_q.weight": draw(WIDTH, WIDTH, 4.0),
            f"{block}.attn_k.weight": draw(kv_width, WIDTH, 4.0),
            f"{block}.attn_v.weight": draw(kv_width, WIDTH),
            f"{block}.attn_output.weight": draw(WIDTH, WIDTH, 6.0),
            f"{block}.ffn_norm.weight": ones,
            f"{block}.ffn_gate.weight": draw(INNER, WIDTH),
            f"{block}.ffn_up.weight": draw(INNER, WIDTH),
            f"{block}.ffn_down.weight": draw(WIDTH, INNER),
        }
    embeddings = random.standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
    output = draw(VOCABULARY, WIDTH, 1.5)
    # A Llama has no bias. The first channel is kept at about +4 in every state, so a weight on it is one.
    embeddings[:, 0] = 4.0
    for name, values in weights.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            values[0] = 0.0
    output[:, 0] = _preference()
    return {
        "token_embd.weight": embeddings,
        **weights,
        "output_norm.weight": ones,
        "output.weight": output,
    }


def _preference() -> NDArray[np.float32]:
    """How much a token is preferred: pieces, letters and digits, then what closes JSON, then other ASCII."""
    bias = np.full(VOCABULARY, NEVER, np.float32)
    bias[FIRST_BYTE + 0x20 : FIRST_BYTE + 0x7F] = 0.0
    for character in b"abcdefghijklmnopqrstuvwxyz0123456789":
        bias[FIRST_BYTE + character] = 0.8
    for character in b'"},:':
        bias[FIRST_BYTE + character] = 0.8
    bias[FIRST_BYTE + ord("]")] = -4.0
    # A lone surrogate's escape would be legal JSON, too.
    bias[FIRST_BYTE + ord("\\")] = NEVER
    bias[FIRST_BYTE + ord(" ")] = bias[FIRST_PIECE] = -1.0
    bias[FIRST_PIECE + 1 :] = 1.0
    bias[END] = 0.5
    return bias


def make_folder(folder: Path, seed: int = 0) -> Path:
    """Write a Llama of random weights as a Hugging Face folder that can be chatted with.

    Args:
        folder: made if need be.
        seed: of the weights.
    """
    make_tiny("llama", folder, seed)
    (folder / "chat_template.jinja").write_text(PLAIN_TEMPLATE, encoding="utf-8")
    return folder
