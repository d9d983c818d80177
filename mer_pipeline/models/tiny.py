"""Write small checkpoints with random weights in the formats of real ones.

With them the code that loads real models runs without a download. Their features mean nothing. `mer models tiny` writes
them, and the tests run every family of encoders with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mer_pipeline.base.errors import UsageError, did_you_mean
from mer_pipeline.models import tiny_emotion2vec, tiny_vision
from mer_pipeline.models.huggingface import quiet
from mer_pipeline.models.tiny_vision import VISION

if TYPE_CHECKING:
    import transformers

CORPUS = [
    "今天天气真好，我很高兴。", "你为什么不告诉我？我很生气。", "我有点担心明天的考试。", "她哭了很久，非常难过。",
    "The bus leaves at nine.", "I am so happy for you!", "Why did you not tell me?", "I am worried about tomorrow.",
]  # fmt: skip


def make_tiny(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write one small checkpoint with random weights.

    Args:
        kind: a key of KINDS.
        folder: where it is written; made if it does not exist.
        seed: of the random weights.

    Returns:
        The folder.

    Raises:
        UsageError: if there is no such kind.
    """
    import torch

    if kind not in KINDS:
        raise UsageError(f"no small model '{kind}'{did_you_mean(kind, KINDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    quiet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        KINDS[kind](folder)
    return folder


# The labels of IEMOCAP as checkpoints that were trained on it abbreviate them.
TONES = ("neu", "hap", "ang", "sad")


def _speech(name: str, norm: str, labels: Sequence[str] = ()) -> Callable[[Path], None]:
    """Return a function that writes a speech encoder; with labels, its last layer is a classifier."""

    def make(folder: Path) -> None:
        import transformers

        config_class = getattr(transformers, f"{name}Config")
        model_class = getattr(transformers, f"{name}{'ForSequenceClassification' if labels else 'Model'}")
        shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
        convolutions = {"conv_dim": (16, 16, 16), "conv_stride": (10, 8, 4), "conv_kernel": (10, 8, 4)}
        positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
        extra = {} if name == "Data2VecAudio" else {"feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}
        if name == "Data2VecAudio":
            positions = {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5, "num_conv_pos_embedding_groups": 2}
        if labels:
            extra |= {"id2label": dict(enumerate(labels)), "classifier_proj_size": 16}
        model_class(config_class(**shape, **convolutions, **positions, **extra)).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer").save_pretrained(
            folder
        )

    return make


def _whisper(labels: Sequence[str] = ()) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import transformers

        config = transformers.WhisperConfig(
            d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=64, num_mel_bins=80,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            **({"id2label": dict(enumerate(labels)), "classifier_proj_size": 16} if labels else {}),
        )  # fmt: skip
        model_class = transformers.WhisperForAudioClassification if labels else transformers.WhisperModel
        model_class(config).save_pretrained(folder)
        transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)

    return make


# Whisper's special tokens, in its order. The real ones have 99 languages.
LANGUAGES = ("en", "zh", "de", "fr")
WHISPER_TOKENS = (
    "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES),
    "<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip


def _whisper_words(folder: Path) -> None:
    """Write a whole Whisper, whose vocabulary is the 256 bytes; what it writes is noise."""
    import tokenizers
    import transformers

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    ids = {token: at for at, token in enumerate((*alphabet, *WHISPER_TOKENS))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({byte: ids[byte] for byte in alphabet}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in WHISPER_TOKENS])
    tokenizer.add_tokens([tokenizers.AddedToken(f"<|{at / 50:.2f}|>", normalized=False) for at in range(1501)])
    end = WHISPER_TOKENS[0]
    names = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end)
    transformers.WhisperTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    special = {
        "bos_token_id": ids[end],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": ids[end],
        "pad_token_id": ids[end],
    }
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=tokenizer.get_vocab_size(), num_mel_bins=80, init_std=0.5,
        max_target_positions=64, begin_suppress_tokens=None, suppress_tokens=None, **special,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        **special,
        alignment_heads=[[1, 0], [1, 1]],
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES},
        max_initial_timestamp_index=50,
        max_length=64,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        prev_sot_token_id=ids["<|startofprev|>"],
        return_timestamps=False,
        task_to_id={task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
    )
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)


def _bert(folder: Path) -> None:
    import transformers

    size = _tokenizer(folder, "[CLS]", "[SEP]")
    shape = {**VISION, "vocab_size": size, "max_position_embeddings": 128}
    transformers.BertModel(transformers.BertConfig(**shape)).save_pretrained(folder)


def _llama(folder: Path) -> None:
    import transformers

    size = _tokenizer(folder, "<s>", None)
    shape = {**VISION, "vocab_size": size, "max_position_embeddings": 128, "num_key_value_heads": 2}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)).save_pretrained(folder)


# A chat template that writes the role of each message as a word, so that messages can be told apart.
CHAT = """{% for message in messages %}<s> {{ message.role }} : {{ message.content }}
{% endfor %}{% if add_generation_prompt %}<s> assistant :{% endif %}"""


def _chat(folder: Path) -> None:
    import transformers

    size = _tokenizer(folder, "<s>", None, CHAT)
    shape = {**VISION, "vocab_size": size, "max_position_embeddings": 4096, "num_key_value_heads": 2}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape)).save_pretrained(folder)


def _tokenizer(folder: Path, first: str, last: str | None, chat: str | None = None) -> int:
    """Train a word-piece tokeniser on CORPUS, write it, and return the size of its vocabulary."""
    import tokenizers
    import transformers
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", first, *([last] if last else [])]
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    ids = [(token, tokenizer.token_to_id(token)) for token in (first, last) if token]
    template = f"{first} $A {last}" if last else f"{first} $A"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token" if last else "bos_token": first}
    fast: transformers.PreTrainedTokenizerFast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **names, **({"sep_token": last} if last else {})
    )
    fast.chat_template = chat
    fast.save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


KINDS: dict[str, Callable[[Path], None]] = {
    "open-clip": tiny_vision.write_open_clip,
    "facenet": tiny_vision.write_facenet,
    "clip": tiny_vision.write_clip,
    "vit": tiny_vision.write_vit,
    "dinov2": tiny_vision.write_dinov2,
    "videomae": tiny_vision.write_videomae,
    "vivit": tiny_vision.write_vivit,
    "timesformer": tiny_vision.write_timesformer,
    "hubert": _speech("Hubert", "layer"),
    "wav2vec2": _speech("Wav2Vec2", "group"),
    "wavlm": _speech("WavLM", "layer"),
    "data2vec-audio": _speech("Data2VecAudio", "layer"),
    "whisper": _whisper(),
    "whisper-words": _whisper_words,
    "emotion2vec": tiny_emotion2vec.write_emotion2vec,
    "hubert-emotion": _speech("Hubert", "layer", TONES),
    "wav2vec2-emotion": _speech("Wav2Vec2", "group", TONES),
    "whisper-emotion": _whisper(TONES),
    "bert": _bert,
    "llama": _llama,
    "chat": _chat,
}
