"""Facts about label maps: no label of a checkpoint is silently dropped."""

import json
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.clips import Row
from mer_pipeline.base.errors import CheckpointError, ParamsError, Skip
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.judges.hf_image import HfImageParams
from mer_pipeline.judges.judge import make_judge
from mer_pipeline.judges.label_map import Columns, columns_of, known_maps, labels_of
from mer_pipeline.judges.llm_scores import LlmScoresParams
from mer_pipeline.models.huggingface import load_config
from mer_pipeline.models.tiny import make_tiny
from mer_pipeline.models.tiny_vision import EXPRESSIONS

ROOT = Path(__file__).resolve().parent.parent.parent

# The label sets as their publishers name them.
SETS = {
    "fer2013": [("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")],
    "affectnet": [("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")],
    "ravdess": [("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")],
    "iemocap": [("neu", "hap", "ang", "sad"), ("neutral", "happy", "angry", "sad")],
    "meld": [("neutral", "joy", "sadness", "anger", "surprise", "fear", "disgust")],
    "crema-d": [("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), ("anger", "disgust", "fear", "happy", "neutral", "sad")],
}
LABELS = ("angry", "disgust", "happy")


class TestKnownMaps:
    """maps.tsv."""

    @pytest.mark.parametrize("name", SETS)
    def test_every_map_covers_its_whole_set(self, name: str) -> None:
        """In its publisher's words, in capitals too; each label has a class or says that it has none."""
        for labels in SETS[name]:
            for spelled in (labels, [label.upper() for label in labels], [label.capitalize() for label in labels]):
                columns = columns_of("x", name, spelled, MER_CLASSES)
                assert len(columns.of) == len(labels)

    def test_no_map_without_its_set(self) -> None:
        """Each is checked above."""
        assert set(known_maps()) == set(SETS)

    def test_targets_are_classes_of_mer(self) -> None:
        """Or none."""
        assert {target for of in known_maps().values() for target in of.values()} == {*MER_CLASSES, None}

    def test_no_label_stands_twice_and_all_are_in_lower_case(self) -> None:
        """What is looked up is in lower case; a second line would hide the first."""
        lines = (ROOT / "mer_pipeline/judges/maps.tsv").read_text().splitlines()[1:]
        keys = [tuple(line.split("\t")[:2]) for line in lines]
        assert len(keys) == len(set(keys)) == sum(map(len, known_maps().values()))
        assert all(label == label.lower().strip() for _, label in keys)

    def test_the_same_word_means_the_same_everywhere(self) -> None:
        """Fear is worried, calm is neutral, disgust and contempt have no class."""
        meanings: dict[str, set[str | None]] = {}
        for of in known_maps().values():
            for label, target in of.items():
                meanings.setdefault(label, set()).add(target)
        assert all(len(targets) == 1 for targets in meanings.values())
        said = {label: meanings[label] for label in ("fear", "calm", "disgust", "contempt")}
        assert said == {"fear": {"worried"}, "calm": {"neutral"}, "disgust": {None}, "contempt": {None}}


class TestOwnMaps:
    """Written out in params.yaml."""

    def test_a_complete_map(self) -> None:
        """Outputs in the checkpoint's order, classes in the dataset's; null has none."""
        columns = columns_of("x", {"happy": "happy", "angry": "angry", "disgust": None}, LABELS, MER_CLASSES)
        assert columns == Columns((1, None, 2), 6)

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ({"angry": "angry", "happy": "happy"}, "judges.x.map: the checkpoint's label 'disgust' is not in it"),
            (
                {"angry": "angry", "disgust": None, "happy": "happy", "hapy": "happy"},
                "the checkpoint has no label 'hapy' (did you mean 'happy'?)",
            ),
            ({"Angry": "angry"}, "the checkpoint has no label 'Angry' (did you mean 'angry'?)"),
            (
                {"angry": "angri", "disgust": None, "happy": "happy"},
                "'angry' leads to 'angri', which is not in dataset.classes (did you mean 'angry'?)",
            ),
            (dict.fromkeys(LABELS), "no label of the checkpoint has a class"),
            ("whatever", "judges.x.map 'whatever' is no known map (known: "),
            ("fer2031", "is no known map (did you mean 'fer2013'?)"),
            ("iemocap", "judges.x.map 'iemocap': the checkpoint's label 'disgust' is not in it"),
        ],
    )
    def test_what_does_not_fit_is_named(self, given: str | dict[str, str | None], says: str) -> None:
        """One sentence with the label and what to do."""
        with pytest.raises(ParamsError) as caught:
            columns_of("x", given, LABELS, MER_CLASSES)
        assert says in str(caught.value)

    def test_a_known_map_needs_its_classes(self) -> None:
        """It leads to those of MER; a dataset with others writes out its own."""
        with pytest.raises(ParamsError, match=r"'fear' leads to 'worried', which is not in dataset\.classes"):
            columns_of("x", "fer2013", EXPRESSIONS, ("neutral", "angry", "happy", "sad", "surprise"))

    def test_generic_labels_are_asked_for(self, tmp_path: Path) -> None:
        """A checkpoint that calls its outputs LABEL_0 says nothing; nobody guesses."""
        folder = make_tiny("vit", tmp_path)
        config = json.loads((folder / "config.json").read_text())
        config["id2label"] = {str(at): f"LABEL_{at}" for at in range(7)}
        (folder / "config.json").write_text(json.dumps(config))
        params = HfImageParams(kind="hf-image", input="faces", checkpoint=f"dir:{folder}", map="fer2013")
        with pytest.raises(ParamsError, match=r"'LABEL_0' is not in it; .*its labels: LABEL_0, LABEL_1"):
            make_judge("x", params, MER_CLASSES)

    def test_labels_come_in_the_order_of_the_outputs(self, tmp_path: Path) -> None:
        """Whatever order the file has them in; a gap is an error."""
        folder = make_tiny("vit", tmp_path)
        path = folder / "config.json"
        config = json.loads(path.read_text())
        config["id2label"] = dict(reversed(config["id2label"].items()))
        path.write_text(json.dumps(config))
        assert labels_of(load_config(folder, ("vit",))) == list(EXPRESSIONS)
        del config["id2label"]["3"]
        path.write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match="names no labels"):
            labels_of(load_config(folder, ("vit",)))


class TestVote:
    """From a checkpoint's logits to a row."""

    def vote(self, probabilities: list[float], given: dict[str, str | None]) -> Row | Skip:
        judge = make_judge("x", LlmScoresParams(kind="llm-scores", input="enriched"), ("angry", "happy"))
        columns = columns_of("x", given, LABELS, judge.classes)
        with np.errstate(divide="ignore"):
            return columns.vote(judge, np.log(probabilities))

    def row(self, probabilities: list[float], **given: str | None) -> Row:
        row = self.vote(probabilities, given)
        assert not isinstance(row, Skip)
        return row

    def test_labels_of_one_class_add_up(self) -> None:
        """Two labels that lead to one class have the sum of their shares."""
        row = self.row([0.3, 0.3, 0.4], angry="angry", disgust="angry", happy="happy")
        np.testing.assert_allclose(row["scores"], [0.6, 0.4], atol=1e-6)  # type: ignore[arg-type]
        assert row["label"] == "angry"

    def test_what_has_no_class_is_left_out(self) -> None:
        """The rest is divided by what remains."""
        row = self.row([0.2, 0.3, 0.5], angry="angry", disgust=None, happy="happy")
        np.testing.assert_allclose(row["scores"], [2 / 7, 5 / 7], atol=1e-6)  # type: ignore[arg-type]
        assert row["label"] == "happy"

    def test_where_it_sees_none_of_the_classes_it_abstains(self) -> None:
        """Disgust above all: what little is left to the others is no vote for one of them."""
        row = self.row([0.02, 0.9, 0.08], angry="angry", disgust=None, happy="happy")
        assert row["label"] is None
        np.testing.assert_allclose(row["scores"], [0.2, 0.8], atol=1e-6)  # type: ignore[arg-type]

    def test_where_nothing_remains_the_row_says_so(self) -> None:
        """All of it on a label without a class."""
        skip = self.vote([0.0, 1.0, 0.0], {"angry": "angry", "disgust": None, "happy": "happy"})
        assert isinstance(skip, Skip)
        assert "no class here" in str(skip)
