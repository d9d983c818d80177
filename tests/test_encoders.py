"""Facts about every encoder family, driven through the real loading code on small seeded checkpoints."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mer_pipeline.base.clips import Clip, Row
from mer_pipeline.base.encoder import ENCODER, Encoder, PooledEncoder, make_encoder
from mer_pipeline.base.errors import BadInput, CheckpointError, ParamsError, Skip
from mer_pipeline.config.components import ENCODERS
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.tables.rows import to_table
from mer_pipeline.vision.appearance import PICTURE_DIM
from mer_pipeline.vision.frames import FrameParams, SampleFrames
from tests.conftest import clip, face_row, listed, pictures, sound_row, tables_of, valid

# The small checkpoints that a family loads. One without a line here needs none.
CHECKPOINTS = {
    "open-clip": ("open-clip",),
    "facenet": ("facenet",),
    "hf-vision": ("clip", "vit", "dinov2"),
    "emotion2vec": ("emotion2vec",),
    "hf-video": ("videomae", "vivit", "timesformer"),
    "hf-text": ("bert", "llama"),
    "hf-speech": ("hubert", "wav2vec2", "wavlm", "data2vec-audio", "whisper", "whisper-words"),
}


def families() -> Iterator[tuple[str, tuple[str, str]]]:
    """Of every line of the table that reads a stage's table: checkpoint (or its own name) to family and input."""
    for family in ENCODERS.built_in:
        tables = tables_of(ENCODERS.load(family).Params)
        for at, kind in enumerate(CHECKPOINTS.get(family, (family,)) if tables else ()):
            yield kind, (family, tables[at % len(tables)])


FAMILIES = dict(families())


def encoder(tiny: Path, kind: str, **options: object) -> Encoder[object]:
    """An encoder, set up."""
    family, source = FAMILIES[kind]
    model = {"checkpoint": f"dir:{tiny / kind}"} if family in CHECKPOINTS else {}
    made = make_encoder("x", ENCODER.parse({"family": family, "input": source, **model, **options}))
    made.setup(torch.device("cpu"))
    return made


def of_model(family: str, source: str, checkpoint: str) -> Encoder[object]:
    """An encoder by its checkpoint."""
    return make_encoder("x", ENCODER.parse({"family": family, "input": source, "checkpoint": checkpoint}))


def noise(seconds: float, seed: int = 0) -> Row:
    return sound_row(np.random.default_rng(seed).normal(0, 0.1, int(16_000 * seconds)))


CLIPS = [
    clip(str(at), frames=valid(jpegs=pictures(n, at), times=[0.1 * i for i in range(n)]), faces=face_row(n, at),
         audio=noise(seconds, at), transcript=valid(zh=words, en=None), enriched=valid(text=f"{words} [calm]"))
    for at, (n, seconds, words) in enumerate([
        (3, 1.0, "今天天气真好"),
        (8, 2.7, "你为什么不告诉我？我很生气，我真的很生气。"),
        (1, 0.06, "好"),
        (5, 1.4, "The bus leaves at nine."),
        (2, 1.45, "我有点担心"),
    ])
]  # fmt: skip


def embed(made: Encoder[object], clips: Sequence[Clip]) -> list[np.ndarray]:
    """Vectors in the clips' order, batched by bucket as an engine does."""
    items = [made.prepare(c) for c in clips]
    buckets: dict[int, list[int]] = {}
    for at, item in enumerate(items):
        buckets.setdefault(made.bucket(item), []).append(at)
    vectors: dict[int, np.ndarray] = {}
    for members in buckets.values():
        for at, row in zip(members, made.infer([items[m] for m in members]), strict=True):
            assert isinstance(row, dict)
            vectors[at] = row["vector"]
    return [vectors[at] for at in range(len(clips))]


# Digital silence, as a companion: the audio stage would skip it, but nothing may depend on that.
CLIPS.append(
    clip("silent", frames=CLIPS[0].rows["frames"], faces=face_row(2, 9), audio=sound_row(np.zeros(16_000)),
         transcript=valid(zh="嗯", en=None), enriched=valid(text="嗯"))
)  # fmt: skip


# Options that take another way through a family's code.
OTHER_WAYS: list[tuple[str, dict[str, object]]] = [
    ("whisper", {"window": "clip"}),
    ("whisper-words", {"states": "decoder", "window": "clip"}),
    ("vit", {"output": "scores"}),
    ("hubert-emotion", {"output": "scores"}),
]
FAMILIES["hubert-emotion"] = FAMILIES["hubert"]  # a checkpoint of the same family that has a classifier


@pytest.mark.parametrize(("kind", "options"), [*((kind, {}) for kind in FAMILIES), *OTHER_WAYS])
def test_a_clip_alone_and_in_any_company_gives_the_same_bytes(
    tiny: Path, kind: str, options: dict[str, object]
) -> None:
    """Longer, shorter and repeated companions, before and after: no bit of a clip's vector changes."""
    made = encoder(tiny, kind, **options)
    alone = [embed(made, [c])[0] for c in CLIPS]
    for company in (CLIPS, CLIPS[::-1], [CLIPS[1]] * 9 + CLIPS, [CLIPS[2], CLIPS[0], CLIPS[2]]):
        for c, vector in zip(company, embed(made, company), strict=True):
            assert np.array_equal(vector, alone[CLIPS.index(c)]), c.clip_id
    assert all(np.isfinite(vector).all() for vector in alone)
    assert not np.array_equal(alone[0], alone[1])


@pytest.mark.parametrize("kind", ["appearance", "clip", "wav2vec2", "whisper", "bert", "logmel"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_fit_the_schema(tiny: Path, kind: str, dtype: str) -> None:
    """Vectors have the promised length and type; the frame-level vectors' mean is the utterance vector."""
    made = encoder(tiny, kind, dtype=dtype, frame_level=True, **({} if kind == "logmel" else {"std": True}))
    row = made.infer([made.prepare(CLIPS[1])])[0]
    assert isinstance(row, dict)
    table = to_table([row], made.schema)
    assert str(table.schema.field("vector").type.value_type) == {"float16": "halffloat", "float32": "float"}[dtype]
    if kind != "logmel":  # its functionals are no mean over frames
        dim = row["sequence"].shape[1]
        mean = row["sequence"].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(row["vector"][:dim], mean, atol=2e-2 if dtype == "float16" else 1e-5)
        assert len(row["vector"]) == 2 * dim


OVER_TIME = [
    *((kind, {}) for kind in FAMILIES),
    *OTHER_WAYS,
    ("hubert", {"chunk_seconds": 1.0}),
    ("hubert-emotion", {"output": "scores", "chunk_seconds": 1.0}),
]


@pytest.mark.parametrize(("kind", "options"), OVER_TIME)
def test_every_step_has_its_time(tiny: Path, kind: str, options: dict[str, object]) -> None:
    """In every family: as many times as steps, ascending, within the clip; none for words. The mean is the vector."""
    family, source = FAMILIES[kind]
    made = encoder(tiny, kind, frame_level=True, **options)
    for c in CLIPS:
        row = made.infer([made.prepare(c)])[0]
        assert isinstance(row, dict)
        stored = to_table([row], made.schema).to_pylist()[0]
        sequence, times = np.array(stored["sequence"], np.float64), stored["times"]
        np.testing.assert_allclose(stored["vector"], sequence.mean(axis=0), atol=1e-5)
        if source in {"transcript", "enriched"}:
            assert times is None
            continue
        given = c.rows[source]
        assert given is not None
        end = len(given["pcm"]) / 32_000 if source == "audio" else given["times"][-1]  # type: ignore[arg-type, index]
        assert len(times) == len(sequence)
        assert (np.diff(times) > 0).all()
        assert times[0] >= 0
        assert times[-1] <= end
        if source != "audio" and family != "hf-video":
            assert times == given["times"]


@pytest.mark.parametrize(("kind", "options"), [("hubert", {}), ("data2vec-audio", {}), ("whisper", {"window": "clip"})])
@pytest.mark.parametrize("chunk_seconds", [20.0, 1.0])
def test_a_click_is_at_the_step_whose_time_is_its_own(
    tiny: Path, kind: str, options: dict[str, object], chunk_seconds: float
) -> None:
    """The step that a click changes most before any attention is at its second, in every chunk: on the average of 16
    clicks within 5 ms, a quarter of a step, and never more than a step away.

    A click is a change of sign, so that no normalisation over the whole sound becomes another one.
    """
    made = encoder(tiny, kind, frame_level=True, layers=(0,), chunk_seconds=chunk_seconds, **options)
    sound = np.random.default_rng(1).normal(0, 0.1, 16_000 * 5 // 2)

    def row_of(samples: np.ndarray) -> Row:
        row = made.infer([made.prepare(clip(audio=sound_row(samples)))])[0]
        assert isinstance(row, dict)
        return row

    plain, late = row_of(sound), []
    for at in np.random.default_rng(2).uniform(0.1, 2.4, 16):
        clicked = sound.copy()
        clicked[int(16_000 * at) - 60 : int(16_000 * at) + 60] *= -1
        row = row_of(clicked)
        change = np.linalg.norm(row["sequence"] - plain["sequence"], axis=1)  # type: ignore[operator]
        late.append(row["times"][change.argmax()] - at)  # type: ignore[index]
    assert max(map(abs, late)) < 0.02
    assert abs(np.mean(late)) < 0.005


def test_a_pictures_time_is_that_of_the_film(make_film: Callable[..., Path]) -> None:
    """The red level of each picture says which one it is; its step has the time at which the film shows it."""
    shown = [0, 40, 90, 500, 510, 700, 1300, 1310, 1340, 1900]  # milliseconds
    path = make_film(frames=10, times=shown, tone=None)
    stage = SampleFrames(FrameParams(mode="all"), path.parent)
    frames = stage.prepare(clip(manifest=listed(path.parent, video=path.name)))
    made = make_encoder("x", ENCODER.parse({"family": "appearance", "input": "frames", "frame_level": True}))
    row = made.infer([made.prepare(clip(frames=valid(**frames)))])[0]
    assert isinstance(row, dict)
    red = row["sequence"][:, PICTURE_DIM] * 255
    which = np.round((red - 10) * 9 / 200).astype(int)
    assert which.tolist() == list(range(10))
    np.testing.assert_allclose(row["times"], np.array(shown) / 1000, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "count", "times"),
    [
        ("videomae", 8, [0.05, 0.25, 0.45, 0.65]),  # two windows of four pictures, each of two tubelets
        ("videomae", 5, [0.05, 0.25, 0.35]),  # the second window is pictures 1 to 4, and 0 to 3 were seen
        ("videomae", 3, [0.05, 0.15]),  # pictures 0 1 1 2
        ("timesformer", 3, [0.0, 0.1, 0.2]),
    ],
)
def test_a_steps_time_is_the_mean_of_its_pictures(tiny: Path, kind: str, count: int, times: list[float]) -> None:
    """Pictures come every tenth of a second. A change of one picture alone changes the states of its steps alone."""
    made = encoder(tiny, kind, frame_level=True, layers=(0,))
    jpegs, shown = pictures(count), [0.1 * at for at in range(count)]

    def steps_of(jpegs: list[bytes]) -> np.ndarray:
        row = made.infer([made.prepare(clip(frames=valid(jpegs=jpegs, times=shown)))])[0]
        assert isinstance(row, dict)
        np.testing.assert_allclose(row["times"], times)
        return row["sequence"]

    other = [*jpegs[:-1], pictures(1, seed=9)[0]]
    changed = np.abs(steps_of(other) - steps_of(jpegs)).max(axis=1) > 1e-4
    assert changed.tolist() == [False] * (len(times) - 1) + [True]


def test_times_that_are_no_times_of_the_steps(tiny: Path) -> None:
    """A family that miscounts is a bug; one that gives no times has null in their place."""
    made = encoder(tiny, "appearance", frame_level=True)
    assert isinstance(made, PooledEncoder)
    steps = np.zeros((3, 2 * (PICTURE_DIM + 3)), np.float32)
    assert made.pooled(steps)["times"] is None
    assert made.row(steps[0])["times"] is None
    with pytest.raises(ValueError, match="2 times of 3 steps"):
        made.pooled(steps, [0.0, 1.0])


def test_whispers_window_is_in_its_key_alone(tiny: Path) -> None:
    """By default no fingerprint tells of a window, so that rows of before are known; the clip's own length is told."""

    def parts(kind: str, **options: object) -> Mapping[str, str]:
        section = {"family": "hf-speech", "input": "audio", "checkpoint": f"dir:{tiny / kind}", **options}
        return fingerprint_of(make_encoder("x", ENCODER.parse(section)), "cpu").parts

    assert not any({"version", "params.window"} & parts(kind).keys() for kind in ("whisper", "hubert"))
    assert parts("whisper", window="clip")["params.window"] == '"clip"'


@pytest.mark.parametrize("kind", ["hubert", "wavlm", "wav2vec2", "data2vec-audio"])
def test_silence_after_the_sound_is_not_in_the_mean(tiny: Path, kind: str) -> None:
    """Pooling covers the clip's own steps: as many as its samples make, none of the padding's."""
    made = encoder(tiny, kind, frame_level=True)
    row = made.infer([made.prepare(clip(audio=noise(1.05)))])[0]
    assert isinstance(row, dict)
    assert len(row["sequence"]) == int(16_000 * 1.05) // 320


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
def test_short_sound_has_its_own_steps_only(tiny: Path, kind: str) -> None:
    """A tenth of a second or less is not filled up; what is too short for the model is skipped."""
    made = encoder(tiny, kind, frame_level=True)
    row = made.infer([made.prepare(clip(audio=noise(0.05)))])[0]
    assert isinstance(row, dict)
    assert len(row["sequence"]) == 2
    with pytest.raises(Skip, match="too short"):
        made.prepare(clip(audio=noise(0.01)))


def test_a_value_that_cannot_be_stored_is_bad_input(tiny: Path) -> None:
    """Infinity in a vector would stop training later; the clip is quarantined where it arises."""
    made = encoder(tiny, "appearance", dtype="float16")
    with pytest.raises(BadInput, match="float16 cannot hold"):
        made.row(np.array([1e6]))
    with pytest.raises(BadInput):
        made.row(np.array([np.nan]))


def test_long_sound_is_cut_into_equal_chunks(tiny: Path) -> None:
    """A clip longer than a chunk keeps all its steps."""
    made = encoder(tiny, "hubert", frame_level=True, chunk_seconds=1.0)
    item = made.prepare(clip(audio=noise(2.5)))
    assert item.inputs.shape[0] == 3  # type: ignore[attr-defined]
    row = made.infer([item])[0]
    assert isinstance(row, dict)
    assert 2.4 < len(row["sequence"]) / 50 < 2.6


def test_special_tokens_are_not_in_the_mean(tiny: Path) -> None:
    """The sequence has a vector per word piece, none for [CLS] and [SEP]."""
    made = encoder(tiny, "bert", frame_level=True)
    row = made.infer([made.prepare(clip(transcript=valid(zh="你好", en=None)))])[0]
    assert isinstance(row, dict)
    assert len(row["sequence"]) == 2


def test_the_other_language_stands_in(tiny: Path) -> None:
    """`language` is a preference: a clip with English words only is not without words."""
    made = encoder(tiny, "char-ngram", language="zh")
    english = embed(made, [clip(transcript=valid(zh=None, en="hello"))])[0]
    assert np.array_equal(english, embed(made, [clip(transcript=valid(zh="hello", en="other"))])[0])


def test_layers(tiny: Path) -> None:
    """The sum of the last two is the sum of the two by index."""
    last, listed = encoder(tiny, "hubert", layers=2), encoder(tiny, "hubert", layers=(2, 3))
    assert np.array_equal(embed(last, CLIPS[:1])[0], embed(listed, CLIPS[:1])[0])
    with pytest.raises(CheckpointError, match="has 3 layers"):
        encoder(tiny, "hubert", layers=5)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("hubert", {"states": "decoder"}, r"encoders\.x: states 'decoder' is of Whisper, and .*hubert is none"),
        ("whisper", {"language": "zh"}, "language is of Whisper's decoder; add states: decoder"),
        ("whisper", {"output": "scores", "window": "clip"}, "output 'scores' is of the whole model"),
        ("vit", {"output": "scores", "layers": 2}, "output 'scores' is of the whole model and reads no layers"),
        ("whisper-words", {"states": "decoder", "language": "xx"}, "does not know 'xx'"),
        ("whisper", {"states": "decoder"}, "lacks 2 of the model's weights|no_timestamps_token_id"),
        ("dinov2", {"output": "scores"}, "lacks 2 of the model's weights"),
        ("hubert", {"output": "scores"}, "lacks 4 of the model's weights"),
    ],
)
def test_options_that_do_not_fit(tiny: Path, kind: str, options: dict[str, object], says: str) -> None:
    """One sentence before any clip: another model's option, two that exclude each other, a part that is missing."""
    with pytest.raises((ParamsError, CheckpointError, ValidationError), match=says):
        encoder(tiny, kind, **options)


@pytest.mark.parametrize("table", ["frames", "faces", "audio", "transcript"])
def test_absent_input_is_a_skip_with_its_reason(tiny: Path, table: str) -> None:
    """No face, no sound, no words: the reason of the stage before is handed on."""
    kind = {"frames": "appearance", "faces": "face-geometry", "audio": "logmel", "transcript": "char-ngram"}[table]
    made = encoder(tiny, kind)
    with pytest.raises(Skip, match="gone fishing"):
        made.prepare(clip(**{table: {"valid": False, "reason": "gone fishing"}}))
    with pytest.raises(Skip, match=f"nothing in {table}"):
        made.prepare(clip(**{table: None}))


def test_the_same_seed_makes_the_same_checkpoint(tmp_path: Path) -> None:
    """Small checkpoints are a function of their seed."""
    a, b, c = (make_tiny("vit", tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    weights = [(folder / "model.safetensors").read_bytes() for folder in (a, b, c)]
    assert weights[0] == weights[1] != weights[2]


class TestBadCheckpoints:
    """Each is one sentence, before any clip is touched."""

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("dir:nowhere", "there is no folder nowhere; make a small one with `mer models tiny`"),
            ("hf:org/name@abc", "there is no folder models/org--name@abc; run `mer models fetch`"),
            ("openclip:ViT-L-14/openai", "models/openclip--ViT-L-14--openai"),
            ("s3:bucket", "is of no known kind"),
            ("hf:../../etc", "has '..' in its name"),
        ],
    )
    def test_specs(self, spec: str, says: str) -> None:
        """The remedy names a command or a folder."""
        with pytest.raises(CheckpointError) as caught:
            of_model("hf-text", "transcript", spec)
        assert says in str(caught.value)

    def test_pickles_are_refused(self, tiny: Path, tmp_path: Path) -> None:
        """A folder with .bin weights holds no safetensors."""
        (tmp_path / "config.json").write_text((tiny / "bert/config.json").read_text())
        (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        with pytest.raises(CheckpointError, match="pickled weights"):
            of_model("hf-text", "transcript", f"dir:{tmp_path}")

    def test_another_kind_of_model(self, tiny: Path) -> None:
        """A text model as a speech encoder."""
        with pytest.raises(CheckpointError, match="is a 'bert' model; this family loads hubert"):
            of_model("hf-speech", "audio", f"dir:{tiny / 'bert'}")
        with pytest.raises(CheckpointError, match="no readable open_clip_config"):
            of_model("open-clip", "frames", f"dir:{tiny / 'bert'}")

    def test_missing_weights_are_not_made_up(self, tiny: Path, tmp_path: Path) -> None:
        """A checkpoint that lacks a layer would run with random numbers in it; it is refused."""
        from safetensors.torch import load_file, save_file

        make_tiny("bert", tmp_path)
        state = load_file(tmp_path / "model.safetensors")
        del state["encoder.layer.1.output.dense.weight"]
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        made = of_model("hf-text", "transcript", f"dir:{tmp_path}")
        with pytest.raises(CheckpointError, match="lacks 1 of the model's weights"):
            made.setup(torch.device("cpu"))

    def test_torn_weights(self, tmp_path: Path) -> None:
        """Half a download is an error and not a crash."""
        make_tiny("bert", tmp_path)
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
            of_model("hf-text", "transcript", f"dir:{tmp_path}")

    def test_code_in_a_checkpoint_is_never_run(self, tmp_path: Path) -> None:
        """A config that points to Python code of its own is loaded without it."""
        make_tiny("bert", tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["auto_map"] = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "evil.py").write_text("raise SystemExit('evil code was run')")
        made = of_model("hf-text", "transcript", f"dir:{tmp_path}")
        made.setup(torch.device("cpu"))
