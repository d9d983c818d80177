"""Components: every line of every table leads to one, other people's work like built-in ones, and faults are told as
theirs."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mer_pipeline.base.encoder import ENCODER, make_encoder
from mer_pipeline.base.errors import ComponentError, MerError, ParamsError
from mer_pipeline.config import components
from mer_pipeline.config.choice import Choice
from mer_pipeline.config.components import ADAPTERS, BACKENDS, DETECTORS, ENCODERS, ENGINES, HEADS, JUDGES, Registry
from mer_pipeline.config.params import CHOICES, ENTRIES, parse_params
from mer_pipeline.datasets.adapter import DATASET, make_adapter
from mer_pipeline.judges.judge import JUDGE, make_judge
from mer_pipeline.store.fingerprint import fingerprint_of
from mer_pipeline.vision.detector import FACES, make_detector
from tests.conftest import clip, valid

TABLES = (ENCODERS, JUDGES, HEADS, ADAPTERS, BACKENDS, DETECTORS, ENGINES)
LINES = [(table, name) for table in TABLES for name in table.built_in]

GAZE = '''
"""`gaze`: how long what is said is."""

import numpy as np

from mer_pipeline.base.encoder import Encoder, EncoderParams
from mer_pipeline.config.section import Count

SCALE = 1.0


class GazeParams(EncoderParams):
    """How long what is said is."""

    power: Count = 1  # of the length


class Gaze(Encoder[str]):
    """Words to their length."""

    Params = GazeParams
    params: GazeParams

    def __init__(self, name, params):
        super().__init__(name, params, 1)

    def prepare(self, clip):
        """The words."""
        return str(clip.need(self.params.input)["zh"])

    def infer(self, items):
        """Their lengths."""
        return [self.row(np.array([SCALE * len(item) ** self.params.power])) for item in items]
'''


def raw(family: str, **options: object) -> dict[str, object]:
    """A params.yaml with one encoder."""
    encoders = {"gaze": {"family": family, "input": "transcript", **options}}
    return {"dataset": {"root": "d", "csv": "d"}, "encoders": encoders}


def forget() -> None:
    """As in a new process."""
    importlib.invalidate_caches()
    components._entry_points.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("components", "my_lab")]:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "components").mkdir()
    forget()
    yield tmp_path
    forget()


def write(project: Path, name: str, text: str) -> str:
    """A file of the project; its name."""
    (project / name).write_text(text)
    return name


def install(project: Path, text: str, *entry_points: str, requires: str = "") -> Path:
    """The package my_lab as an installer leaves it, in a folder of libraries that is on the path."""
    libraries = project / "site-packages"
    record = libraries / "my_lab-1.0.dist-info"
    for folder in (libraries / "my_lab", record):
        folder.mkdir(parents=True, exist_ok=True)
    (libraries / "my_lab/__init__.py").write_text("")
    (libraries / "my_lab/encoders.py").write_text(text)
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-lab\nVersion: 1.0\n{requires}")
    (record / "RECORD").write_text(f"my_lab/__init__.py,,\nmy_lab/encoders.py,,\n{record.name}/METADATA,,\n")
    (record / "entry_points.txt").write_text("\n".join(entry_points))
    if str(libraries) not in sys.path:
        sys.path.append(str(libraries))
    forget()
    return libraries


ENTRY = ("[mer_pipeline.encoders]", "gaze = my_lab.encoders:Gaze")


# --- the tables


@pytest.mark.parametrize(("table", "name"), LINES, ids=[f"{table.what}-{name}" for table, name in LINES])
def test_every_line_leads_to_a_component(table: Registry[object], name: str) -> None:
    """The class is there, it and its params say what they are, and it derives from the table's base."""
    kind = table.load(name)
    assert kind.__doc__
    if table is not ENGINES:  # .mer.toml has one section for all of them
        assert kind.Params.__doc__  # type: ignore[attr-defined]
    if name not in {"fusion-head", "openface"}:  # runs on all clips at once; has no pictures to search
        assert issubclass(kind, tuple(map(components._class_at, table._bases)))


@pytest.mark.parametrize(
    ("choice", "name"),
    [(choice, name) for choice in (*CHOICES.values(), *ENTRIES.values()) for name in choice.table.built_in],
    ids=lambda item: item if isinstance(item, str) else item.key,
)
def test_every_component_has_options_of_its_own(choice: Choice, name: str) -> None:
    """An option of another one is an error that names the component and what it knows."""
    mine = choice.table.params_of(name, choice.base)
    others = {
        option: other
        for other in choice.table.built_in
        for option in choice.table.params_of(other, choice.base).model_fields.keys() - mine.model_fields.keys()
    }
    section = next(where for where, known in {**CHOICES, **ENTRIES}.items() if known is choice)
    for option in others:
        entry = {choice.key: name, option: "x"}
        changed = {**raw("logmel"), section: {"it": entry} if section in ENTRIES else entry}
        where = f"{section}.it" if section in ENTRIES else section
        with pytest.raises(ParamsError, match=re.escape(f"unknown key '{where}.{option}' of {choice.key} '{name}' (")):
            parse_params(changed)


def test_what_is_made_is_what_is_named(tmp_path: Path) -> None:
    """A section leads to its component, whichever table it is."""
    folder = {"adapter": "folder", "root": str(tmp_path), "csv": str(tmp_path)}
    assert isinstance(make_encoder("x", ENCODER.parse({"family": "logmel", "input": "audio"})), ENCODERS.load("logmel"))
    assert isinstance(make_adapter(DATASET.parse(folder)), ADAPTERS.load("folder"))
    assert isinstance(make_detector(FACES.parse({})), DETECTORS.load("mtcnn"))
    llm = make_judge("x", JUDGE.parse({"kind": "llm-scores", "input": "enriched"}), ("a", "b"))
    assert isinstance(llm, JUDGES.load("llm-scores"))


# --- a file of the project


def test_a_file_of_the_project_is_an_encoder(project: Path) -> None:
    """With options of its own, checked and at their defaults like those of built-in ones."""
    family = f"{write(project, 'components/gaze.py', GAZE)}:Gaze"
    params = parse_params(raw(family, power=2)).encoders["gaze"]
    made = make_encoder("gaze", params)
    row = made.infer([made.prepare(clip(transcript=valid(zh="好的吗")))])[0]
    assert isinstance(row, dict)
    assert np.array_equal(row["vector"], np.float32([9.0]))
    with pytest.raises(
        ParamsError,
        match=re.escape(f"unknown key 'encoders.gaze.powr' of family '{family}' (did you mean 'power'?)"),
    ):
        parse_params(raw(family, powr=2))


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.what)
def test_every_table_is_open(project: Path, table: Registry[object]) -> None:
    """A class that derives from its base is one more of its components."""
    for at, base in enumerate(table._bases):
        module, _, name = base.partition(":")
        write(project, f"components/one{at}.py", f"from {module} import {name}\n\nclass Mine({name}):\n    pass\n")
        assert table.load(f"components/one{at}.py:Mine").__name__ == "Mine"


def key(family: str, **options: object) -> str:
    """Of the rows of an encoder, in a new process."""
    forget()
    return fingerprint_of(make_encoder("gaze", parse_params(raw(family, **options)).encoders["gaze"]), "cpu").id


def test_its_code_and_options_are_in_the_key(project: Path) -> None:
    """A formula, a constant and a helper beside it count; a comment, a docstring and an option that is off do not."""
    family = f"{write(project, 'components/gaze.py', GAZE)}:Gaze"
    before = key(family)
    assert key(family, power=1) == before
    assert key(family, power=2) != before
    write(project, "components/gaze.py", GAZE.replace('"""Words to their length."""', '"""Other words."""  # a remark'))
    assert key(family) == before
    write(project, "components/gaze.py", GAZE.replace("power: Count", "other: bool = False  # new\n    power: Count"))
    assert key(family) == before
    write(project, "components/gaze.py", GAZE.replace("SCALE = 1.0", "SCALE = 2.0"))
    assert key(family) != before
    write(project, "components/helper.py", "SCALE = 1.0\n")
    helped = GAZE.replace("SCALE = 1.0", "from components.helper import SCALE")
    write(project, "components/gaze.py", helped)
    with_helper = key(family)
    write(project, "components/helper.py", "SCALE = 3.0\n")
    assert key(family) != with_helper


BROKEN = {
    "nowhere": ("components/none.py:Gaze", None, "there is no file components/none.py; it is looked for from"),
    "elsewhere": ("mine/gaze.py:Gaze", "", "the file must lie below components/, where DVC sees that it changes"),
    "above": ("components/../gaze.py:Gaze", "", "the file must lie below components/"),
    "no class": ("components/gaze.py:Gazer", GAZE, "components/gaze.py has no class 'Gazer' (did you mean 'Gaze'?)"),
    "a function": ("components/gaze.py:np", GAZE, "components/gaze.py has no class 'np'"),
    "another class": ("components/gaze.py:GazeParams", GAZE,
                      "the class 'GazeParams' does not derive from mer_pipeline.base.encoder.Encoder"),
    "syntax": ("components/gaze.py:Gaze", "x = 1\ndef broken(:\n", "components/gaze.py, line 2: SyntaxError"),
    "bug": ("components/gaze.py:Gaze", "TABLE = {}\nONE = TABLE['one']\n",
            "components/gaze.py, line 2: KeyError: 'one'"),
    "import": ("components/gaze.py:Gaze", "\nimport no_such_library\n",
               "components/gaze.py, line 2: ModuleNotFoundError: No module named 'no_such_library'"),
    "no module": ("my_lab.none:Gaze", None, "there is no module 'my_lab' here; install it, or give a file as"),
    "no name": ("components/my gaze.py:Gaze", "", "is no dotted name of a module and no path of Python names"),
    "params": ("components/gaze.py:Gaze", GAZE.replace("Params = GazeParams", "Params = int"),
               "has no params: set the class's attribute Params to a class that derives from "
               "mer_pipeline.base.encoder."),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_it_is_told_as_its_fault(project: Path, case: str) -> None:
    """One sentence that names the component, with file and line where its code fails; no work was done."""
    family, text, says = BROKEN[case]
    if text is not None:
        place = project / family.rpartition(":")[0]
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
    with pytest.raises(ComponentError, match=re.escape(says)) as caught:
        parse_params(raw(family))
    assert str(caught.value).startswith(f"encoder '{family}'")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_another_module_hides(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is taken by something that was imported before: that one is never used in its place."""
    write(project, "components/gaze.py", GAZE)
    sys.path.append(str(project))
    monkeypatch.setattr(importlib.import_module("components.gaze"), "__file__", "/elsewhere/gaze.py")
    with pytest.raises(ComponentError, match=r"'components.gaze' is already the module /elsewhere/gaze.py; give"):
        parse_params(raw("components/gaze.py:Gaze"))


def test_a_table_that_is_not_there(project: Path) -> None:
    """What an encoder reads has to be a table of the pipeline, unless it says what else it is."""
    family = f"{write(project, 'components/gaze.py', GAZE)}:Gaze"
    params = parse_params({**raw(family), "encoders": {"gaze": {"family": family, "input": "transcripts"}}})
    with pytest.raises(MerError, match=r"there is no table 'transcripts' to read \(did you mean 'transcript'\?\)"):
        make_encoder("gaze", params.encoders["gaze"])


# --- an installed package


def test_an_installed_package_is_found_by_its_entry_point(project: Path) -> None:
    """By name, like a built-in family; a misspelled one is offered it."""
    install(project, GAZE, *ENTRY)
    assert "gaze" in ENCODERS.names()
    assert parse_params(raw("gaze", power=3)).encoders["gaze"].power == 3  # type: ignore[attr-defined]
    assert type(make_encoder("gaze", parse_params(raw("gaze")).encoders["gaze"])).__module__ == "my_lab.encoders"
    with pytest.raises(ParamsError, match=r"there is no encoder 'gazee' \(did you mean 'gaze'\?\)"):
        parse_params(raw("gazee"))


def test_the_code_of_an_installed_package_is_in_the_key(project: Path) -> None:
    """Who works on a component does not raise its version at each edit; what it imports counts as elsewhere."""
    install(project, GAZE, *ENTRY)
    before = key("gaze")
    assert key("gaze") == before
    install(
        project, GAZE.replace("len(item)", "2 * len(item)"), "[mer_pipeline.encoders]", "gaze = my_lab.encoders:Gaze"
    )
    assert key("gaze") != before


def test_a_built_in_name_is_not_taken_by_an_installed_package(project: Path) -> None:
    """What a committed params.yaml means does not depend on what is installed."""
    install(project, GAZE, "[mer_pipeline.encoders]", "logmel = my_lab.encoders:Gaze")
    assert ENCODERS.load("logmel").__module__ == "mer_pipeline.speech.logmel"
    assert ENCODERS.names().count("logmel") == 1


def test_a_broken_package_hurts_only_who_names_it(project: Path) -> None:
    """Its fault is told with file and line; another encoder is made as always."""
    libraries = install(project, "raise RuntimeError('no')\n", *ENTRY)
    assert parse_params(raw("char-ngram")).encoders
    with pytest.raises(ComponentError) as caught:
        parse_params(raw("gaze"))
    assert f"{libraries / 'my_lab/encoders.py'}, line 1: RuntimeError: no" in str(caught.value)
