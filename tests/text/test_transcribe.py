"""The words of clips without a subtitle: a small Whisper with random weights, and the real base model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.csv_files import read_csv
from mer_pipeline.base.errors import CheckpointError, ParamsError, Skip
from mer_pipeline.base.run import run
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.cli.plan import UNKNOWN, transcript_parts
from mer_pipeline.config.params import parse_params
from mer_pipeline.config.steps import checkpoints, steps
from mer_pipeline.media.sound import read_sound
from mer_pipeline.models.packages import ARCHIVES, PACKAGED, install, obtain
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.speech.track import Sound
from mer_pipeline.store.inputs import table_parts
from mer_pipeline.tables.quarantine import QualityParams
from mer_pipeline.tables.rows import Encoded, complete_row, digest, encode, stage_schema
from mer_pipeline.tables.shards import ShardParams, new_folder, shard_of, write_no_rows, write_shard
from mer_pipeline.tables.transcript import SCHEMA, transcript_row, write_transcript
from mer_pipeline.text.transcribe import HAS_SUBTITLE, NO_WORDS, Transcribe, TranscriptParams
from tests.conftest import clip, rows_of, sound_row
from tests.project import ROOT

RATE = 16_000
# A network with random weights is never sure of anything, so all thresholds are out of reach.
LOOSE = {"no_speech_threshold": 1.0, "logprob_threshold": -1e3, "compression_ratio_threshold": 1e3}
SHARDS = ShardParams(count=2)
SOUND = pa.schema([pa.field("pcm", pa.binary())])


def tone(hertz: float, seconds: float) -> np.ndarray:
    """A sine that becomes louder, (samples,) float32."""
    at = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * at / seconds * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def spoken(samples: np.ndarray, en: str | None = None) -> Clip:
    """A clip with this sound, and a subtitle if one is given."""
    return clip(subtitles=transcript_row("a", None, en), audio=sound_row(samples))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Whisper."""
    return make_tiny("whisper-words", tmp_path_factory.mktemp("tiny") / "whisper")


def of(folder: Path, **options: object) -> Transcribe:
    """The transform with a checkpoint, ready to run."""
    made = Transcribe(TranscriptParams(backend="whisper", checkpoint=f"dir:{folder}", **{**LOOSE, **options}))  # type: ignore[arg-type]
    made.setup(torch.device("cpu"))
    return made


@pytest.fixture(scope="module")
def small(folder: Path) -> Transcribe:
    """The small Whisper with its words as they come."""
    return of(folder)


def heard(made: Transcribe, *clips: Clip) -> list[Row | Skip]:
    """What is heard in clips, in one batch."""
    return made.infer([made.prepare(one) for one in clips])


def row_of(made: Transcribe, samples: np.ndarray) -> Row:
    """What is heard in a sound, which has words."""
    (row,) = heard(made, spoken(samples))
    assert isinstance(row, dict), row
    return row


def of_library(folder: Path, samples: np.ndarray, language: str) -> tuple[str, float]:
    """The text by transformers alone, as its documentation has it, and the mean of its tokens' log-probabilities.

    The sound must give one segment that begins in it.
    """
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    mel = extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
    made = model.generate(mel, language=language, task="transcribe", return_timestamps=True, return_segments=True)
    (first,) = [one for one in made["segments"][0] if one["start"] < len(samples) / RATE]
    start = [tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("startoftranscript", language, "transcribe")]
    written = first["tokens"].tolist()
    with torch.no_grad():
        logits = model(input_features=mel, decoder_input_ids=torch.tensor([[*start, *written]])).logits[0]
    logs = torch.log_softmax(logits[len(start) - 1 : -1], dim=-1)[range(len(written)), written]
    words = [token < tokenizer.eos_token_id for token in written]
    text = tokenizer.decode([token for token, is_word in zip(written, words, strict=True) if is_word])
    return text.strip(), float(logs[words].mean())


def test_the_words_are_those_of_transformers(small: Transcribe, folder: Path) -> None:
    """The text and the confidence are what the library gives for the same folder."""
    samples = tone(700, 0.5)
    row = row_of(small, samples)
    text, mean = of_library(folder, Sound.of(sound_row(samples)).samples, str(row["language"]))
    assert row["text"] == text != ""
    assert row["confidence"] == pytest.approx(np.exp(mean), rel=1e-4)


def test_a_clip_has_the_same_words_in_any_company(small: Transcribe) -> None:
    """Alone, first, last, and beside a clip of more than 30 s."""
    sounds = [tone(700, 0.5), tone(300, 61.0), tone(900, 1.0)]
    alone = [row_of(small, samples) for samples in sounds]
    assert heard(small, *map(spoken, sounds)) == alone
    assert heard(small, *map(spoken, reversed(sounds))) == alone[::-1]


def test_higher_temperatures_begin_at_the_same_seed(folder: Path) -> None:
    """Words that are drawn at random are the same again, whatever was drawn before."""
    made = of(folder, compression_ratio_threshold=0.01)  # every result seems to repeat itself
    samples = tone(200, 20.0)
    first = row_of(made, samples)
    torch.rand(7)
    assert row_of(made, samples) == first
    assert first["text"] != row_of(of(folder), samples)["text"]


def test_a_clip_longer_than_a_window_is_heard_to_its_end(small: Transcribe) -> None:
    """The times are seconds of the clip, and they go on behind 30 s."""
    row = row_of(small, tone(300, 61.0))
    times = row["times"]
    assert isinstance(times, list)
    assert max(time["end"] for time in times) > 45
    assert all(0 <= time["start"] <= time["end"] <= 90 for time in times)


def test_words_and_segments(small: Transcribe, folder: Path, tmp_path: Path) -> None:
    """With alignment heads the times are of words, without them of segments; the text is the same."""
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "generation_config.json").read_text())
    del config["alignment_heads"]
    (other / "generation_config.json").write_text(json.dumps(config))
    samples = tone(300, 2.0)
    words, segments = row_of(small, samples), row_of(of(other), samples)
    assert (words["unit"], segments["unit"]) == ("word", "segment")
    assert words["text"] == segments["text"]


def test_the_language_is_found_or_given(small: Transcribe, folder: Path) -> None:
    """The found one has a probability; a given one has none; one that the model does not know is an error."""
    samples = tone(300, 1.0)
    found = row_of(small, samples)
    assert found["language"] in {"en", "zh", "de", "fr"}
    assert 0.25 <= float(str(found["language_probability"])) <= 1
    given = row_of(of(folder, language="de"), samples)
    assert (given["language"], given["language_probability"]) == ("de", None)
    with pytest.raises(ParamsError, match=r"does not know 'xx'.*; write auto or one of its codes"):
        of(folder, language="xx")


@pytest.mark.outcome(
    "no subtitle, and `transcript.backend: whisper`",
    'where there is no speech, a row with `valid=false`, "no words heard"',
)
def test_without_speech_there_are_no_words(folder: Path, small: Transcribe) -> None:
    """Where the model finds no speech, or does not believe its own words; silence says so before the model is asked."""
    no_speech = of(folder, no_speech_threshold=0.0, logprob_threshold=0.0)
    (row,) = heard(no_speech, spoken(tone(300, 1.0)))
    assert isinstance(row, Skip)
    assert str(row) == NO_WORDS
    (row,) = heard(of(folder, logprob_threshold=-0.01), spoken(tone(300, 1.0)))
    assert isinstance(row, Skip)
    with pytest.raises(Skip, match="silent"):
        small.prepare(clip(subtitles=transcript_row("a", None, None), audio={"valid": False, "reason": "silent"}))
    with pytest.raises(Skip, match="nothing in audio"):
        small.prepare(clip(subtitles=transcript_row("a", None, None), audio=None))


def test_a_subtitle_is_never_replaced(small: Transcribe) -> None:
    """The model is not asked about a clip that has one."""
    with pytest.raises(Skip, match=HAS_SUBTITLE):
        small.prepare(spoken(tone(300, 1.0), en="Hello."))


def test_unfit_checkpoints(folder: Path, tmp_path: Path) -> None:
    """One sentence each: another kind of model, and a configuration that cannot write times."""
    with pytest.raises(CheckpointError, match="is a 'bert' model; this family loads whisper"):
        of(make_tiny("bert", tmp_path / "bert"))
    (shutil.copytree(folder, tmp_path / "whisper") / "generation_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"generation_config\.json has no `no_timestamps_token_id`"):
        of(tmp_path / "whisper")
    with pytest.raises(ParamsError, match="'transcript': checkpoint is missing"):
        parse_params({**BASE, "transcript": {"backend": "whisper"}})


BASE: dict[str, object] = {
    "dataset": {"adapter": "folder", "root": "x", "csv": "x", "classes": ["happy", "sad"]},
    "encoders": {"words": {"family": "char-ngram", "input": "transcript"}},
}


def test_off_is_no_step_and_locks_nothing() -> None:
    """With a recogniser there is a step, and its checkpoint is one of those that are locked and fetched."""
    off = parse_params({**BASE, "transcript": {"checkpoint": "hf:openai/whisper-base"}})
    assert "heard" not in {step.name for step in steps(off)}
    assert not checkpoints(off)
    on = parse_params({**BASE, "transcript": {"backend": "whisper", "checkpoint": "hf:openai/whisper-base"}})
    assert "heard" in {step.name for step in steps(on)}
    assert checkpoints(on) == {"transcript/model": "hf:openai/whisper-base"}


def write(at: Path, rows: Sequence[Row], schema: pa.Schema) -> Path:
    """Write a stage's table."""
    with new_folder(at) as out:
        for shard in range(SHARDS.count):
            own = [row for row in rows if shard_of(str(row["clip_id"]), SHARDS.count) == shard]
            write_shard(out, shard, own, stage_schema(schema), {})
    return at


@pytest.mark.outcome(
    "no subtitle, and `transcript.backend: whisper`",
    "`transcript` has the words that were heard",
    "where there is no sound, the reason of `audio`",
)
def test_the_table_transcript(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Subtitles stay, words that were heard fill gaps, reasons are told; one worker and four give the same bytes."""
    subtitles = [transcript_row(name, None, "Hello." if name == "b" else None) for name in "abcd"]
    sounds = {"a": tone(700, 0.5), "b": tone(700, 0.5), "c": tone(900, 1.0)}
    audio = [complete_row(n, digest(n), {"pcm": sound_row(x)["pcm"]}, None, SOUND) for n, x in sounds.items()]
    audio.append(complete_row("d", digest("d"), None, "silent", SOUND))
    places = {
        "subtitles": write(tmp_path / "subtitles", subtitles, SCHEMA),
        "audio": write(tmp_path / "audio", audio, SOUND),
    }
    params = TranscriptParams(backend="whisper", checkpoint=f"dir:{folder}", language="de", **LOOSE)  # type: ignore[arg-type]
    monkeypatch.setenv("MER_STORE", "none")
    bytes_of = []
    for workers, batch in ((1, 1), (4, 3)):
        out, quality = tmp_path / f"heard{workers}", QualityParams()
        runtime = Runtime(workers=workers, batch=batch, device="cpu")
        made = Transcribe(params)
        run(made, places, out, tmp_path / "quarantine.parquet", shards=SHARDS, quality=quality, runtime=runtime)
        bytes_of.append([path.read_bytes() for path in sorted(out.iterdir())])
    assert bytes_of[0] == bytes_of[1]
    assert write_transcript(places["subtitles"], tmp_path / "heard1", tmp_path / "transcript", SHARDS) == 3
    words = {str(row["clip_id"]): row for row in rows_of(tmp_path / "heard1")}
    found = {str(row["clip_id"]): row for row in rows_of(tmp_path / "transcript")}
    assert found["b"] == {**subtitles[1], "heard": False}
    assert [found[name]["heard"] for name in "acd"] == [True, True, None]
    assert (found["a"]["zh"], found["a"]["en"]) == (None, words["a"]["text"])  # `en` is all that is not Chinese
    assert words["a"]["language"] == "de"
    assert (found["d"]["valid"], found["d"]["reason"]) == (False, "silent")


@pytest.mark.outcome("no or NaN subtitle", "`transcript` has the same row")
def test_without_a_recogniser_the_transcript_is_the_subtitles(tmp_path: Path) -> None:
    """Row for row, with their digests, so that no key of what reads them changes."""
    rows = [transcript_row("a", "你好", "Hello."), transcript_row("b", None, None)]
    subtitles = write(tmp_path / "subtitles", rows, SCHEMA)
    write_no_rows(tmp_path / "heard", stage_schema(Transcribe.schema), SHARDS)
    write_transcript(subtitles, tmp_path / "heard", tmp_path / "transcript", SHARDS)
    assert rows_of(tmp_path / "transcript") == [{**rows[0], "heard": False}, {**rows[1], "heard": None}]


def test_the_plan_knows_the_transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the stage runs: as it would write it, where the words of a clip are known, and unknown elsewhere."""
    monkeypatch.chdir(tmp_path)
    subtitles = [transcript_row("a", None, "Hello."), transcript_row("b", None, None), transcript_row("c", None, None)]
    values = {"text": "Guten Tag.", "language": "de", "language_probability": 0.9, "confidence": 0.9, "unit": "word"}
    said = complete_row("b", digest("b"), {**values, "times": []}, None, Transcribe.schema)
    words = [said, complete_row("c", digest("c"), None, NO_WORDS, Transcribe.schema)]
    write(Path("data/subtitles"), subtitles, SCHEMA)
    heard_parts = table_parts(pa.table({"clip_id": ["b", "c"], "digest": [row["digest"] for row in words]}), None)
    write_transcript(Path("data/subtitles"), write(Path("data/heard"), words, Transcribe.schema), Path("out"), SHARDS)
    written = {str(row["clip_id"]): Encoded(encode(row["digest"])) for row in rows_of(Path("out"))}
    assert transcript_parts(heard_parts, None) == written
    assert transcript_parts({**heard_parts, "b": Encoded(encode("other"))}, None) == {**written, "b": UNKNOWN}
    off = {str(row["clip_id"]): Encoded(encode(row["digest"])) for row in subtitles}
    assert transcript_parts({}, None) == off


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Transcribe:
    """OpenAI's Whisper base, from packages that are kept in $MER_PACKAGES or in .mer/packages of this clone."""
    (packaged,) = [one for one in PACKAGED if one.spec == "hf:openai/whisper-base"]
    kept = Path(os.environ.get(ARCHIVES) or ROOT / ".mer/packages")
    out = tmp_path_factory.mktemp("base") / "whisper"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_RETRIES", "0")
        patch.setenv("PIP_TIMEOUT", "10")
        try:
            for archive in packaged.archives:
                obtain(archive, kept)
        except CheckpointError as error:
            pytest.skip(f"real weights are not to be had here: {error}")
    install(packaged, out, kept)
    made = Transcribe(TranscriptParams(backend="whisper", checkpoint=f"dir:{out}"))
    made.setup(torch.device("cpu"))
    return made


@pytest.mark.slow
def test_real_sentences(base: Transcribe, real: Path) -> None:
    """What actors say, in English and in German; times within the clip; noise and a tone have no words."""
    rows = read_csv(real / "ravdess/clips.csv", ("name", "transcript"))
    said = {row["transcript"]: row["name"] for row in rows}
    assert len(said) == 2
    for words, name in said.items():
        samples = read_sound(real / f"ravdess/clips/{name}.mp4", 120.0)
        row = row_of(base, samples)
        assert str(row["text"]).strip(".").lower() == words.strip(".").lower()
        assert row["language"] == "en"
        assert float(str(row["language_probability"])) > 0.9
        assert float(str(row["confidence"])) > 0.8
        times = row["times"]
        assert isinstance(times, list)
        assert [time["text"] for time in times] == str(row["text"]).split()
        assert 0.5 < times[1]["start"] < times[-1]["end"] <= len(samples) / RATE + 0.05
    german = read_sound(real / "emodb/audio/03a01Fa.flac", 120.0)
    row = row_of(base, german)
    assert (row["text"], row["language"]) == ("Der Lappen liegt auf dem Eisschrank.", "de")
    noise = np.random.default_rng(0).normal(0, 0.05, 3 * RATE).astype(np.float32)
    for samples in (noise, tone(300, 3.0)):
        (nothing,) = heard(base, spoken(samples))
        assert isinstance(nothing, Skip)
