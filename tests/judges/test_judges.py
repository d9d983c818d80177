"""Facts about every kind of judge, driven through the real loading code on small seeded checkpoints."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mer_pipeline.base.clips import Clip
from mer_pipeline.base.errors import BadInput, CheckpointError, ParamsError, Skip
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.judges.captions import captions_file, read_captions
from mer_pipeline.judges.hf_audio import CHUNK_SECONDS
from mer_pipeline.judges.hf_image import MODELS
from mer_pipeline.judges.judge import Judge, make_judge
from mer_pipeline.judges.llm_scores import LlmScoresParams
from mer_pipeline.judges.open_clip import ZeroShot, ZeroShotParams, load_tokenizer
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.models.tiny_vision import EXPRESSIONS
from mer_pipeline.speech.track import Sound
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.tables.rows import to_table
from tests.conftest import clip, sound_row, valid
from tests.judges.conftest import CLIPS, KINDS, Make, noise

ROOT = Path(__file__).resolve().parent.parent.parent


def judged(judge: Judge[object], clips: Sequence[Clip]) -> list[Mapping[str, object]]:
    """Rows in the clips' order, batched by bucket as an engine does."""
    items = [judge.prepare(c) for c in clips]
    buckets: dict[int, list[int]] = {}
    for at, item in enumerate(items):
        buckets.setdefault(judge.bucket(item), []).append(at)
    rows: dict[int, Mapping[str, object]] = {}
    for members in buckets.values():
        for at, row in zip(members, judge.infer([items[m] for m in members]), strict=True):
            assert not isinstance(row, Skip)
            rows[at] = row
    return [rows[at] for at in range(len(clips))]


def scores(row: Mapping[str, object]) -> np.ndarray:
    assert isinstance(row["scores"], np.ndarray)
    return row["scores"]


@pytest.mark.parametrize("name", KINDS)
def test_a_clip_alone_and_in_any_company_gets_the_same_bytes(make: Make, name: str) -> None:
    """Longer, shorter and repeated companions, before and after: no bit of a clip's scores changes."""
    judge = make(name)
    alone = [scores(judged(judge, [c])[0]) for c in CLIPS]
    for company in (CLIPS, CLIPS[::-1], [CLIPS[1]] * 9 + CLIPS, [CLIPS[2], CLIPS[0], CLIPS[2]]):
        for c, row in zip(company, judged(judge, company), strict=True):
            assert np.array_equal(scores(row), alone[CLIPS.index(c)]), c.clip_id
    assert not np.array_equal(alone[0], alone[1])


@pytest.mark.parametrize("name", KINDS)
def test_a_row_is_a_distribution_and_its_greatest_class(make: Make, name: str) -> None:
    """Six scores that sum to 1 and the label of the largest; they fit the schema."""
    judge = make(name)
    rows = judged(judge, CLIPS)
    table = to_table(rows, judge.schema)
    assert str(table.schema.field("scores").type) == "fixed_size_list<item: float>[6]"
    for row in table.to_pylist():
        assert sum(row["scores"]) == pytest.approx(1, abs=1e-6)
        assert min(row["scores"]) >= 0
        assert row["label"] in (None, MER_CLASSES[int(np.argmax(row["scores"]))])


@pytest.mark.parametrize("name", ["open-clip", "vit"])
def test_pictures_logits_are_averaged(make: Make, name: str) -> None:
    """A clip's scores are the geometric mean of its pictures', so the same picture twice changes nothing."""
    judge, table = make(name), KINDS[name]["input"]
    key = {"faces": "crops", "frames": "jpegs"}[table]
    row = CLIPS[0].rows[table]
    assert row is not None
    pictures = row[key]
    assert isinstance(pictures, list)

    def of(*chosen: bytes) -> np.ndarray:
        chosen_row = {**row, key: list(chosen), "times": [0.0] * len(chosen)}
        return scores(judged(judge, [clip(**{table: chosen_row})])[0]).astype(float)

    np.testing.assert_allclose(of(pictures[0], pictures[0]), of(pictures[0]), atol=1e-6)
    if name == "open-clip":  # with a map, what has no class is left out after the mean
        product = of(pictures[0]) * of(pictures[1])
        np.testing.assert_allclose(of(*pictures[:2]), np.sqrt(product) / np.sqrt(product).sum(), atol=1e-6)


def test_long_sound_is_the_mean_of_its_chunks_by_length(make: Make) -> None:
    """A clip of more than a chunk: logits averaged, each chunk normalised as the checkpoint wants it."""
    judge = make("hubert-emotion")
    samples = Sound.of(noise(2 * CHUNK_SECONDS + 5)).samples
    pieces = np.array_split(samples, 3)
    assert {len(piece) for piece in pieces} == {240_000}
    parts = [scores(judged(judge, [clip(audio=sound_row(piece))])[0])[:4].astype(float) for piece in pieces]
    assert not np.allclose(parts[0], parts[1], atol=1e-7)
    product = np.prod(parts, axis=0) ** (1 / 3)
    whole = scores(judged(judge, [clip(audio=sound_row(samples))])[0])[:4]
    np.testing.assert_allclose(whole, product / product.sum(), atol=1e-5)


def test_padding_is_not_judged(make: Make) -> None:
    """Random rubbish where a shorter sound is padded changes nothing: the mask covers it."""
    judge = make("hubert-emotion")
    item = judge.prepare(clip(audio=noise(1.2)))
    clean = judge.infer([item])[0]
    item.inputs[:, item.lengths[0] + 400 :] = 3.0  # type: ignore[attr-defined]
    dirty = judge.infer([item])[0]
    assert not isinstance(clean, Skip)
    assert not isinstance(dirty, Skip)
    assert np.array_equal(scores(clean), scores(dirty))


@pytest.mark.parametrize(("name", "table"), [("open-clip", "faces"), ("vit", "frames"), ("hubert-emotion", "audio")])
def test_where_there_is_nothing_the_row_says_so(make: Make, name: str, table: str) -> None:
    """No face, no picture, silence: the reason of the stage before is handed on."""
    judge = make(name)
    with pytest.raises(Skip, match="gone fishing"):
        judge.prepare(clip(**{table: {"valid": False, "reason": "gone fishing"}}))
    with pytest.raises(Skip, match=f"nothing in {table}"):
        judge.prepare(clip(**{table: None}))


def test_too_short_a_sound_is_a_skip(make: Make) -> None:
    """Less than one step of the model."""
    with pytest.raises(Skip, match="too short"):
        make("hubert-emotion").prepare(clip(audio=noise(0.01)))


class TestVerdict:
    """From weights to a row."""

    @pytest.fixture
    def judge(self) -> Judge[object]:
        params = LlmScoresParams(kind="llm-scores", input="enriched", min_score=0.4)
        return make_judge("x", params, ("a", "b", "c"))

    @pytest.mark.parametrize(
        ("weights", "label"),
        [
            ([2, 1, 1], "a"),
            ([0, 0, 7], "c"),
            ([0.35, 0.33, 0.32], None),  # nobody has min_score
            ([0.45, 0.45, 0.1], None),  # a tie
        ],
    )
    def test_label(self, judge: Judge[object], weights: list[float], label: str | None) -> None:
        """The greatest, unless it is below `min_score` or has an equal; the scores are there all the same."""
        row = judge.verdict(np.array(weights, float))
        assert row["label"] == label
        np.testing.assert_allclose(scores(row), np.array(weights) / sum(weights), atol=1e-7)

    @pytest.mark.parametrize("weights", [[0, 0, 0], [1, -1, 1], [np.nan, 1, 1], [np.inf, 1, 1], [1, 1]])
    def test_no_distribution_is_bad_input(self, judge: Judge[object], weights: list[float]) -> None:
        """A broken number is found where it arises."""
        with pytest.raises(BadInput, match="no distribution over the 3 classes"):
            judge.verdict(np.array(weights, float))


class TestLlmScores:
    """The enriched table's scores as votes."""

    def test_scores_become_a_vote(self) -> None:
        """As they are; null is a skip that says why."""
        judge = make_judge("llm", LlmScoresParams(kind="llm-scores", input="enriched"), MER_CLASSES)
        given = [0.1, 0.5, 0.1, 0.1, 0.1, 0.1]
        row = judged(judge, [clip(enriched=valid(scores=given, status="ok"))])[0]
        assert row["label"] == "angry"
        np.testing.assert_allclose(scores(row), given, atol=1e-7)
        with pytest.raises(Skip, match=r"no scores \(status: fallback\)"):
            judge.prepare(clip(enriched=valid(scores=None, status="fallback")))
        with pytest.raises(Skip, match="nothing in enriched"):
            judge.prepare(clip(enriched=None))

    def test_no_checkpoint_and_no_torch(self) -> None:
        """It only reads."""
        judge = make_judge("llm", LlmScoresParams(kind="llm-scores", input="enriched"), MER_CLASSES)
        assert not judge.uses_torch
        assert not judge.files()


class TestFingerprint:
    """What makes a row decides its key, and nothing else."""

    def id_of(self, judge: Judge[object]) -> str:
        return fingerprint_of(judge, "cpu").id

    def test_captions_count_by_their_content(self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another word in a caption is another judge."""
        before = self.id_of(make("open-clip", setup=False))
        shutil.copytree(ROOT / "prompts", tmp_path / "prompts")
        monkeypatch.chdir(tmp_path)
        assert self.id_of(make("open-clip", setup=False)) == before
        path = tmp_path / "prompts/captions-face.tsv"
        path.write_text(path.read_text().replace("an angry face", "a very angry face"))
        assert self.id_of(make("open-clip", setup=False)) != before

    def test_the_family_does_not_count(self, make: Make) -> None:
        """How a vote counts is decided later."""
        ids = {self.id_of(make("vit", setup=False, family=family)) for family in (None, "face", "scene")}
        assert len(ids) == 1

    def test_map_classes_and_weights_do(self, make: Make, tiny: Path, tmp_path: Path) -> None:
        """Each of them is another judge."""
        to_sad = dict.fromkeys(EXPRESSIONS, "sad")
        other = make_tiny("vit", tmp_path / "vit", seed=1)
        judges = [
            make("vit", setup=False),
            make("vit", setup=False, map=to_sad),
            make("vit", setup=False, checkpoint=f"dir:{other}"),
            make("vit", MER_CLASSES[::-1], setup=False),
            make("vit", setup=False, min_score=0.5),
        ]
        assert len({self.id_of(judge) for judge in judges}) == len(judges)


class TestCaptions:
    """prompts/captions-NAME.tsv."""

    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "prompts").mkdir()
        monkeypatch.chdir(tmp_path)
        return tmp_path / "prompts/captions-mine.tsv"

    def make(self, tiny: Path, classes: tuple[str, ...] = ("a", "b")) -> ZeroShot:
        spec = f"dir:{tiny / 'open-clip'}"
        params = ZeroShotParams(kind="open-clip", input="faces", checkpoint=spec, captions="mine")
        return ZeroShot("x", params, classes)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (None, "captions 'mine': there is no prompts/captions-mine.tsv; write it"),
            ("a\tone\nb two\n", "line 2: write a class, one tab and a caption"),
            ("a\tone\nb\t\n", "line 2: write a class, one tab and a caption"),
        ],
    )
    def test_errors_are_one_sentence(self, tiny: Path, place: Path, text: str | None, says: str) -> None:
        """They come before any clip is touched."""
        if text is not None:
            place.write_text(text)
        with pytest.raises(ParamsError) as caught:
            self.make(tiny)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_class_is_the_mean_direction_of_its_captions(self, tiny: Path, place: Path) -> None:
        """Normalised, averaged, normalised again; classes that the dataset lacks are passed over."""
        place.write_text("a\ta smile\nother\tnothing\nb\ta frown\n\na\ta grin\n")
        judge = self.make(tiny)
        judge.setup(torch.device("cpu"))
        with torch.inference_mode():
            tokens = load_tokenizer(judge.folder)(["a smile", "a grin", "a frown"])
            vectors = torch.nn.functional.normalize(judge._model.encode_text(tokens), dim=-1)
        mean = vectors[:2].mean(dim=0)
        torch.testing.assert_close(judge._classes[0], mean / mean.norm(), atol=1e-5, rtol=0)
        torch.testing.assert_close(judge._classes[1], vectors[2], atol=1e-5, rtol=0)

    def test_a_class_without_a_caption_stands_for_itself(self, tiny: Path, place: Path) -> None:
        """Its name is its caption, and the stage's line says so; a synonym or another case is no such class."""
        place.write_text("angry\ta frown\n悲伤\ta tear\n")
        classes = ("Anger", "sad", "bored")
        assert read_captions(place, classes) == [["a frown"], ["a tear"], ["bored"]]
        note = self.make(tiny, classes).note(tuple)
        assert note.endswith("captions-mine.tsv has no caption for 'bored', so the class's own name is the caption")
        assert self.make(tiny, classes[:2]).note(tuple) == ""

    def test_two_classes_never_share_captions(self, place: Path) -> None:
        """Nothing could tell them apart: synonyms of one another stand for themselves."""
        place.write_text("angry\ta frown\n")
        assert read_captions(place, ["anger", "愤怒"]) == [["anger"], ["愤怒"]]
        assert read_captions(place, ["anger", "angry"]) == [["anger"], ["a frown"]]

    @pytest.mark.parametrize("name", ["face", "scene", "face-zh", "scene-zh"])
    def test_ours_have_several_for_every_class(self, name: str) -> None:
        """Of MER in English and Chinese, of RAVDESS, and of nouns: at least three each, none twice for one class."""
        ravdess = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
        chinese, nouns = ("中性", "生气", "高兴", "悲伤", "担心", "惊讶"), ("anger", "happiness", "sadness", "fear")
        found = [read_captions(captions_file(name), classes) for classes in (MER_CLASSES, ravdess, chinese, nouns)]
        for captions in (captions for of in found for captions in of):
            assert len(captions) >= 3
            assert all("\u4e00" <= text[0] <= "\u9fff" for text in captions) == name.endswith("-zh")
            assert len(set(captions)) == len(captions)


class TestTokenizer:
    """open_clip's, for the checkpoint's folder, without a network."""

    def test_clips_own_ships_with_open_clip(self, tiny: Path) -> None:
        """Start, words, end, padding, as long as the checkpoint's context."""
        tokens = load_tokenizer(tiny / "open-clip")(["a photo of a sad face"])
        assert tokens.shape == (1, 16)
        assert tokens[0, 0] == 49406
        assert int(tokens.max()) == 49407

    def hugging_face(self, folder: Path, tokenizer: bool, **options: object) -> Path:
        make_tiny("open-clip", folder)
        if tokenizer:
            make_tiny("bert", folder / "bert")
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(folder / "bert" / name, folder)
        path = folder / "open_clip_config.json"
        config = json.loads(path.read_text())
        config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "org/elsewhere", **options}
        path.write_text(json.dumps(config))
        return folder

    def test_hugging_faces_comes_from_the_folder(self, tmp_path: Path) -> None:
        """Whatever name the configuration has; a Chinese CLIP brings its own."""
        folder = self.hugging_face(tmp_path, tokenizer=True)
        a, b = load_tokenizer(folder)(["我很高兴", "非常难过"])
        assert not torch.equal(a, b)

    def test_one_that_is_missing_is_one_sentence(self, tmp_path: Path) -> None:
        """Nothing is looked for elsewhere."""
        with pytest.raises(CheckpointError, match="has no tokenizer"):
            load_tokenizer(self.hugging_face(tmp_path, tokenizer=False))

    def test_code_in_a_checkpoint_is_never_run(self, tmp_path: Path) -> None:
        """Not even where its configuration asks to be trusted."""
        folder = self.hugging_face(tmp_path, tokenizer=True, tokenizer_kwargs={"trust_remote_code": True})
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["auto_map"] = {"AutoTokenizer": ["evil.Evil", None]}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "evil.py").write_text("raise SystemExit('evil code was run')")
        load_tokenizer(folder)


class TestCheckpoints:
    """What does not fit is one sentence."""

    def test_a_model_without_its_classifier_is_refused(self, make: Make, tmp_path: Path) -> None:
        """Random weights on top would vote by chance; an encoder would not mind."""
        from safetensors.torch import load_file, save_file

        for name in ("vit", "hubert-emotion"):
            folder = make_tiny(name, tmp_path / name)
            state = load_file(folder / "model.safetensors")
            kept = {key: value for key, value in state.items() if not key.startswith("classifier.")}
            assert len(kept) < len(state)
            save_file(kept, folder / "model.safetensors", {"format": "pt"})
            with pytest.raises(CheckpointError, match="lacks 2 of the model's weights"):
                make(name, checkpoint=f"dir:{folder}")

    def test_another_kind_of_model(self, make: Make, tiny: Path) -> None:
        """A sound model on pictures, and the other way round."""
        with pytest.raises(CheckpointError, match="is a 'hubert' model; this family loads vit"):
            make("vit", checkpoint=f"dir:{tiny / 'hubert-emotion'}")
        with pytest.raises(CheckpointError, match="is a 'vit' model; this family loads hubert"):
            make("hubert-emotion", checkpoint=f"dir:{tiny / 'vit'}")

    @pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "vit"])
    def test_every_image_classifier_that_is_promised(self, make: Make, tmp_path: Path, kind: str) -> None:
        """It loads, and judges each clip the same in company."""
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

        side = 64 if kind == "convnext" else 56
        shape: dict[str, object] = {"image_size": side, "patch_size": 14, "id2label": dict(enumerate(EXPRESSIONS))}
        if kind == "swin":
            shape |= {"patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 7}
        elif kind == "convnext":
            shape |= {"patch_size": 4, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
        else:
            shape |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        architecture = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[kind]
        shape["architectures"] = [architecture if isinstance(architecture, str) else architecture[0]]
        config = transformers.AutoConfig.for_model(kind, **shape)
        transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path)
        size = {"height": side, "width": side}
        transformers.ViTImageProcessor(size=size).save_pretrained(tmp_path)
        judge = make("vit", checkpoint=f"dir:{tmp_path}")
        alone = [scores(judged(judge, [c])[0]) for c in CLIPS]
        for row, expected in zip(judged(judge, CLIPS), alone, strict=True):
            assert np.array_equal(scores(row), expected)
