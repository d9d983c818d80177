import datetime
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mer_pipeline.base.errors import ParamsError
from mer_pipeline.cli.profiles import plain, read_profile, without_language_model
from mer_pipeline.config.components import HEADS
from mer_pipeline.config.head_entry import LATE
from mer_pipeline.config.params import Params, load_params, parse_params
from mer_pipeline.config.steps import checkpoints, steps
from mer_pipeline.config.train_params import TrainParams

ROOT = Path(__file__).resolve().parent.parent
GOOD = {
    "dataset": {"root": "data/demo", "csv": "data/demo"},
    "encoders": {"voice": {"family": "logmel", "input": "audio"}},
}


def changed(**sections: object) -> dict[str, object]:
    return {**GOOD, **sections}


@pytest.mark.parametrize("path", ["params.yaml", *(p.as_posix() for p in (ROOT / "profiles").glob("*.yaml"))])
def test_committed_params_are_valid(path: str) -> None:
    """params.yaml and every profile parse."""
    assert load_params(ROOT / path).encoder_names.all


def test_params_are_the_demo_profile() -> None:
    """What is committed as params.yaml is the demo profile, so that `mer init` knows an untouched file."""
    assert (ROOT / "params.yaml").read_text() == (ROOT / "profiles/demo.yaml").read_text()


def test_the_starters_differ_in_their_encoders_only() -> None:
    """The one with trained encoders has those of the other, and two more; all else is the same."""
    plain, trained = (
        YAML(typ="safe").load(ROOT / f"profiles/{name}.yaml") for name in ("starter", "starter-pretrained")
    )
    fewer, more = plain.pop("encoders"), trained.pop("encoders")
    assert plain == trained
    assert fewer.items() < more.items()
    assert {name for name in more if "checkpoint" in more[name]} == more.keys() - fewer.keys()


def test_the_starter_is_the_demo_for_real_pictures() -> None:
    """Its encoders are those of the demo, and its pictures are larger."""
    demo, starter = (load_params(ROOT / f"profiles/{name}.yaml") for name in ("demo", "starter"))
    assert starter.encoders == demo.encoders
    assert (starter.frames.max_side, starter.faces.detect_side) == (640, 480)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "profiles").glob("*.yaml")))
def test_every_profile_does_without_a_language_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `mer init --no-llm` changes it, it is read and makes its steps, but those whose checkpoint is not there."""
    monkeypatch.chdir(ROOT)
    raw = read_profile(name)
    without_language_model(raw)
    params = parse_params(plain(raw))
    assert params.enrich.backend == "template"
    lacking = checkpoints(params)
    made = [step.make().name for step in steps(params) if step.name.removeprefix("embed-") not in lacking]
    assert {"frames", "tracks", "faces", "audio", "cues", "enriched"} <= set(made)
    assert not {"prompts", "replies"} & set(made)


def test_a_judge_of_scores_without_a_language_model_is_named() -> None:
    """Where a person sets the backend alone, one sentence says which judge to take out."""
    raw = plain(YAML(typ="safe").load(ROOT / "profiles/ecmf.yaml"))
    with pytest.raises(ParamsError, match=r"judges\.llm: .* gives no scores; take judges\.llm out, or let a language"):
        parse_params({**raw, "enrich": {"backend": "template", "language": "zh"}})


@pytest.mark.parametrize("name", ["starter", "starter-pretrained", "ecmf", "mertools"])
def test_profiles_state_every_section(name: str) -> None:
    """A profile leaves nothing to a default of this version of the code."""
    raw = YAML(typ="safe").load(ROOT / f"profiles/{name}.yaml")
    assert set(raw) == set(Params.model_fields)
    assert set(raw["train"]) | {"features"} == set(Params.model_fields["train"].annotation.model_fields)
    for head, options in raw["train"]["heads"].items():
        if head.endswith(LATE):
            assert not options
            continue
        assert set(options) == HEADS.load(head).Params.model_fields.keys() - TrainParams.model_fields.keys()


DATA = {"root": "d", "csv": "d"}
VALENCE = {"target": "regression", "values": {"valence": [-1, 1]}}
GIVEN = {"labels": {"method": "given"}}
CSV = {"kind": "csv", "input": "v.csv", "family": "x"}


@pytest.mark.outcome("an unknown key", "the key, and the nearest known one")
@pytest.mark.outcome("a value of a wrong type", "the key, and what it should be")
@pytest.mark.outcome("an unknown encoder", "the nearest known family")
@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"train": {"droput": 0.2}}, "unknown key 'train.droput' (did you mean 'dropout'?)"),
        ({"trian": {}}, "unknown key 'trian' (did you mean 'train'?)"),
        ({"encoders": {"v": {"family": "logmel", "input": "audio", "layers": 1}}},
         "unknown key 'encoders.v.layers' of family 'logmel' (known: family, input, dtype, frame_level)"),
        ({"encoders": {"v": {"family": "logmel", "input": "audio", "d_type": "x"}}}, "(did you mean 'dtype'?)"),
        ({"encoders": {"v": {"family": "hf-speech", "input": "audio", "checkpoint": "dir:x", "layer": 1}}},
         "unknown key 'encoders.v.layer' of family 'hf-speech' (did you mean 'layers'?)"),
        ({"encoders": {"v": {"input": "audio", "layers": 1}}}, "params: 'encoders.v.family' is missing"),
        ({"encoders": {"v": None}}, "'encoders.v': Input should be an object"),
        ({"encoders": {"v": {"family": 3, "input": "audio"}}}, "'encoders.v.family': Input should be a valid string"),
        ({"train": {"epochs": "ten"}}, "'train.epochs': Input should be a valid integer (got \"ten\")"),
        ({"train": {"epochs": 2.5}}, "'train.epochs'"),
        ({"train": {"features": ["vioce"]}}, "unknown encoder 'vioce' (did you mean 'voice'?)"),
        ({"train": {"attention_heads": 4}}, "'train.attention_heads' is called 'train.heads.ecmf.attention_heads' now"),
        ({"train": {"search": {"space": {"modality_dropout": [0, 0.1]}}}}, "is called 'ecmf.modality_dropout' now"),
        ({"train": {"search": {"space": {"emcf.residual": [True, False]}}}}, "no head 'emcf' (did you mean 'ecmf'?)"),
        ({"train": {"heads": {"ecfm": {}}}}, "there is no head 'ecfm' (did you mean 'ecmf'?)"),
        ({"train": {"heads": {"a": {"kind": "gatet"}}}}, "there is no head 'gatet' (did you mean 'gated'?)"),
        ({"train": {"heads": {"a.b": {"kind": "gated"}}}}, "'train.heads.a.b'"),
        ({"train": {"heads": {}}}, "at least 1 item"),
        ({"ablation": {"head": "gaited"}}, "ablation.head: there is no head 'gaited' (did you mean 'gated'?)"),
        ({"pseudo": {"head": "logrec"}}, "pseudo.head: there is no head 'logrec' (did you mean 'logreg'?)"),
        (
            {"judges": {"own": {"kind": "fusion-head", "input": "features", "head": "ours"}}},
            "judges.own.head: there is no head 'ours'",
        ),
        ({"train": {"seeds": []}}, "'train.seeds'"),
        ({"train": {"seeds": [-1]}}, "'train.seeds.0'"),
        ({"enrich": {"backend": "openai"}}, "'enrich.model' is missing: backend 'openai' needs it"),
        ({"enrich": {"backend": "openai", "model": " "}}, "'enrich.model'"),
        ({"enrich": {"model": "m"}}, "unknown key 'enrich.model' of backend 'template'"),
        ({"enrich": {"backend": "transformers", "model": "dir:x", "temperature": 0.5}},
         "unknown key 'enrich.temperature' of backend 'transformers'"),
        ({"enrich": {"backend": "opnai"}}, "'enrich.backend': there is no backend 'opnai' (did you mean 'openai'?)"),
        ({"faces": {"detector": "mtcn"}}, "'faces.detector': there is no detector 'mtcn' (did you mean 'mtcnn'?)"),
        ({"faces": {"min_faces": 20}}, "unknown key 'faces.min_faces' of detector 'mtcnn' (did you mean 'min_face'?)"),
        ({"judges": {"llm": {"kind": "llm-scores", "input": "enriched"}}}, "gives no scores"),
        ({"judges": {"v": {"kind": "csv", "input": "data/v.csv", "family": "x"}}}, "below data/: write 'v.csv'"),
        ({"judges": {"v": {"kind": "csv", "input": "v.csv"}}},
         "'judges.v.family' is missing: kind 'csv' needs it, e.g. video-llm"),
        ({"judges": {"given": {"kind": "llm-scores", "input": "enriched"}}}, "template"),
        ({"judges": {"v": {"kind": "csv", "input": "v.csv", "map": "x"}}}, "unknown key 'judges.v.map' of kind 'csv'"),
        ({"judges": {"v": {"kind": "hf-image", "input": "faces", "checkpoint": "dir:x"}}},
         "'judges.v.map' is missing: kind 'hf-image' needs it, e.g. fer2013"),
        ({"dataset": {"root": "d", "csv": "d", "columns": {}}}, "unknown key 'dataset.columns' of adapter 'mer2025'"),
        ({"dataset": {"root": "d", "csv": "e"}}, "adapter 'mer2025' reads the CSVs in root; write 'd' here again"),
        ({"dataset": {"adapter": "folder", "root": "d", "csv": "d", "columns": {"nam": "x"}}},
         "unknown key 'dataset.columns.nam' of adapter 'folder' (did you mean 'name'?)"),
        ({"dataset": {"root": "d", "csv": "d", "classes": ["sad", ""]}}, "'' is empty"),
        ({"dataset": {"root": "d", "csv": "d", "classes": ["sad", "a\nb"]}}, "control characters"),
        ({"dataset": {"root": "d", "csv": "d", "classes": ["sad", " glad"]}}, "blanks around it"),
        (
            {"train": {"heads": {"ecmf": {"late_fusion": True}}}},
            "'ecmf' is the network alone now, without the options late_fusion and late_fusion_c; name the head "
            "'ecmf+late' too for its mean with late fusion, whose strengths are the option c of 'logreg'",
        ),
        ({"train": {"late_fusion": True}}, "'train.late_fusion' is called 'train.heads.ecmf+late' now"),
        (
            {"train": {"heads": {"ecmf+late": {"residual": False}}}},
            "'ecmf+late' has no options; those of its two heads are in the entries 'ecmf' and 'logreg'",
        ),
        ({"train": {"heads": ["logreg+late"]}}, "'logreg+late': 'logreg' is late fusion already; name 'logreg' alone"),
        ({"train": {"heads": ["ecfm+late"]}}, "there is no head 'ecfm' (did you mean 'ecmf'?)"),
        ({"ablation": {"head": "gaited+late"}}, "ablation.head: there is no head 'gaited+late'"),
        (
            {"train": {"search": {"space": {"ecmf+late.residual": [True]}}}},
            "search.space.ecmf+late.residual: a combination has no options; those of its head are searched",
        ),
        ({"predict": {"prior": "flat"}}, "'predict.prior': Input should be 'training' or 'em' (got \"flat\")"),
        ({"train": {"heads": ["ecmf", "ecmf"]}}, "'train.heads': has an entry twice"),
        ({"train": {"logreg_c": [0.1]}}, "'train.logreg_c' is called 'train.heads.logreg.c' now"),
        ({"pseudo": {"rounds": 1}}, "pseudo.rounds: nobody can agree with the head; add a judge of another kind"),
        ({"pseudo": {"min_families": 1}}, "'pseudo.min_families'"),
        ({"folds": {"seed": -1}}, "'folds.seed'"),
        ({"folds": {"n": datetime.date(2025, 1, 1)}}, "'folds.n'"),
        ({"encoders": {}}, "encoders: name at least one"),
        ({"encoders": {"a.b": {"family": "logmel", "input": "audio"}}}, "'a.b' may only have small letters"),
        ({"encoders": {"v": {"family": "logmel", "input": "faces"}}},
         "'encoders.v.input': family 'logmel' takes 'audio' (got \"faces\")"),
        ({"encoders": {"v": {"family": "hf-speech", "input": "audio"}}},
         "'encoders.v.checkpoint' is missing: family 'hf-speech' needs it, e.g. dir:models/name"),
        ({"encoders": {"v": {"family": "logmel", "input": "audio", "checkpoint": "dir:x"}}},
         "unknown key 'encoders.v.checkpoint' of family 'logmel'"),
        ({"encoders": {"v": {"family": "logmel", "input": "audio", "std": True}}}, "unknown key 'encoders.v.std'"),
        ({"encoders": {"v": {"family": "logmell", "input": "audio"}}},
         "'encoders.v.family': there is no encoder 'logmell' (did you mean 'logmel'?)"),
        ({"encoders": {"v": {"family": "file", "input": "data/x.parquet"}}}, "below data/: write 'x.parquet'"),
        ({"encoders": {"v": {"family": "file", "input": "../x.parquet"}}}, "must lie below data/"),
        ({"encoders": {"v": {"family": "file", "input": "features/x"}}}, "data/features is written by the pipeline"),
        ({"dataset": {"csv": "x"}}, "'dataset.root' is missing"),
        ({"dataset": {"root": "x", "csv": "x", "group_pattern": "("}}, "is not a regular expression"),
        ({"dataset": {"root": "x", "csv": "x", "group_pattern": "s"}}, "needs a (group)"),
        ({"dataset": {"root": "x", "csv": "x", "classes": ["a", "a"]}}, "different class names"),
        ({"dataset": {**DATA, "classes": ["sad", "0.35"]}}, "'0.35' is a number with a fraction and no name of a"),
        ({"dataset": {**DATA, "classes": [str(n) for n in range(21)]}}, "21 numbers are more than codes of classes"),
        ({"dataset": {**DATA, "target": "regression"}}, "needs the columns with numbers and their ranges"),
        ({"dataset": {**DATA, "values": {"valence": [0, 1]}}}, "they are for dataset.target 'regression'"),
        ({"dataset": {**DATA, **VALENCE, "values": {"valence": [1, 0]}}}, "values.valence: the first of [low, high]"),
        ({"dataset": {**DATA, "target": "multilabel", "classes": ["a;b", "c"]}}, "'a;b' has ';' or the delimiter"),
        ({"dataset": {**DATA, "target": "numbers"}}, "'dataset.target': adapter 'mer2025' takes 'class', 'multilabel'"),
        ({"dataset": {**DATA, **VALENCE}}, "labels.method: 'consensus' estimates one class a clip; with "
         "dataset.target 'regression' set it to given"),
        ({"dataset": {**DATA, **VALENCE}, **GIVEN, "judges": {"v": CSV}},
         "judges.v: a judge votes for one class a clip; with dataset.target 'regression' take it out"),
        ({"dataset": {**DATA, "target": "multilabel", "votes": "v.csv"}, **GIVEN}, "dataset.votes: it is for one"),
        ({"dataset": {**DATA, **VALENCE}, **GIVEN, "ablation": {"enabled": True}}, "ablation.enabled: it is for one"),
        ({"dataset": {**DATA, **VALENCE}, **GIVEN, "train": {"targets": "posterior"}}, "train.targets: it is for one"),
        ({"dataset": {**DATA, **VALENCE}, **GIVEN, "predict": {"prior": "em"}}, "predict.prior: it is for one class"),
        ({"dataset": {**DATA, **VALENCE}, **GIVEN, "train": {"class_weights": "balanced"}}, "train.class_weights: it"),
    ],
)  # fmt: skip
def test_bad_params_are_one_sentence_with_the_remedy(section: dict[str, object], says: str) -> None:
    """Each mistake names the key and what was expected."""
    with pytest.raises(ParamsError, match=re.escape(says)) as caught:
        parse_params(changed(**section))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "not valid YAML"), ("", "empty or not a mapping"), ("- a", "mapping")]
)
def test_bad_yaml(tmp_path: Path, text: str, says: str) -> None:
    """A file that is no params file is named."""
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=says):
        load_params(tmp_path / "params.yaml")


def test_missing_file_names_the_command(tmp_path: Path) -> None:
    """Outside a project the remedy is `mer init`."""
    with pytest.raises(ParamsError, match="mer init"):
        load_params(tmp_path / "params.yaml")


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    """YAML 1.2 reads 1e-4 as a number, as DVC does."""
    (tmp_path / "p.yaml").write_text(
        "dataset: {root: a, csv: a}\nencoders: {v: {family: logmel, input: audio}}\ntrain: {lr: 1e-4}"
    )
    assert load_params(tmp_path / "p.yaml").train.lr == 1e-4


def test_sections_are_frozen() -> None:
    """Params cannot be changed behind a stage's back."""
    with pytest.raises(ValueError, match="frozen"):
        parse_params(GOOD).train.epochs = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"train": {"search": {"draws": 1}}}, "'train.search.draws' is called 'train.search.trials' now"),
        ({"judges": {"me": {"kind": "own-head", "input": "features"}}},
         "'judges.me.kind': 'own-head' is called 'fusion-head' now"),
    ],
)  # fmt: skip
def test_an_old_name_is_told_its_new_one(section: dict[str, object], says: str) -> None:
    """A params.yaml of an older version says what to change."""
    with pytest.raises(ParamsError, match=re.escape(says)):
        parse_params(changed(**section))


def test_only_what_is_named_is_imported() -> None:
    """Parsing a file with one family loads the module of no other, and no large library."""
    code = (
        "import sys; from mer_pipeline.config.params import parse_params; "
        f"parse_params({GOOD!r}); print('mer_pipeline.speech.logmel' in sys.modules, "
        "sorted({'mer_pipeline.text.hf_text', 'mer_pipeline.vision.open_clip', 'mer_pipeline.judges.hf_audio', "
        "'mer_pipeline.enrich.ask', 'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"
