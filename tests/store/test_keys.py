"""What makes a row's key another one, and what does not: each is a way in which keys were once wrong."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from mer_pipeline.base.errors import Undigestible
from mer_pipeline.store import fingerprint
from mer_pipeline.store.code import code_of, libraries
from mer_pipeline.store.code.libraries import CARRIERS, versions_of
from mer_pipeline.store.fingerprint import Fingerprint, fingerprint_of, names_of
from tests.written import Package, changed

STEP = """
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
import pyarrow as pa
from mer_pipeline.config.section import Section
from mer_pipeline.base.transform import Transform

class Options(Section):
    size: int = 1
    checkpoint: str | None = None

class Step(Transform):
    name, sources, schema = "step", (), pa.schema([pa.field("x", pa.int8())])
    places: Sequence[Path] = ()

    def __init__(self, held=None) -> None:
        self.held, self.params = held, Options()

    def files(self) -> Sequence[Path]:
        return self.places

    @cached_property
    def worked_out(self) -> float:
        return 2.0

    def prepare(self, clip): return clip
    def infer(self, items): return items
"""


@pytest.fixture
def step(package: Package) -> ModuleType:
    """A module with a transform and its options."""
    return package.write(a=STEP).load("a")


def key(transform: object) -> str:
    return fingerprint_of(transform, "any").id  # type: ignore[arg-type]


# --- params


def test_a_param_at_its_default_is_not_in_the_key(step: ModuleType) -> None:
    """Whether it is said or not; another value is."""
    plain, said, other = (step.Step() for _ in range(3))
    said.params, other.params = step.Options(size=1), step.Options(size=2)
    assert key(plain) == key(said) != key(other)
    assert fingerprint_of(other, "any").parts["params.size"] == "2"


OFF = ("    size: int = 1\n", "    size: int = 1\n    louder: bool = False\n")
CHECKED = (
    "    checkpoint: str",
    "    louder: float = 3.0\n    @field_validator('louder')\n    @classmethod\n"
    "    def _positive(cls, x):\n        if x <= 0: raise ValueError('x')\n        return x\n    checkpoint: str",
)


@pytest.mark.parametrize("edit", [OFF, CHECKED], ids=["option", "option with a validator"])
def test_an_option_that_is_off_changes_no_key(package: Package, edit: tuple[str, str]) -> None:
    """A new option counts from when it is set; what else its class has, such as a method, counts at once."""
    text = STEP.replace("import Section", "import Section\nfrom pydantic import field_validator")
    before = key(package.write(a=text).load("a").Step())
    package.edit("a", *edit)
    module = package.load("a")
    assert key(module.Step()) == before
    louder = module.Step()
    louder.params = module.Options(louder=True)
    assert key(louder) != before
    package.edit("a", "    size: int = 1\n", "    size: int = 1\n    @property\n    def twice(self): return 2\n")
    assert key(package.load("a").Step()) != before


def test_version_makes_another_key(step: ModuleType) -> None:
    """The first is not written down, so that keys of before there were versions stay what they were."""
    before = fingerprint_of(step.Step(), "any")
    assert "version" not in before.parts
    step.Step.version = 2
    assert fingerprint_of(step.Step(), "any").parts["version"] == "2"


def test_a_reply_that_was_paid_for_keeps_its_key() -> None:
    """Exactly this one: an upgrade of this project may not ask a server again for what it has answered."""
    from mer_pipeline.base.runtime import LlmSettings
    from mer_pipeline.datasets.adapter import MER_CLASSES
    from mer_pipeline.enrich.ask import Ask, ByServerParams

    params = ByServerParams(backend="openai", model="some-model")
    assert key(Ask(params, MER_CLASSES, LlmSettings(url="http://localhost:1"))) == "3f8e5307863234436c4c9ef47b1649b2"


# --- what a transform holds


@pytest.mark.parametrize(
    "pair",
    [
        lambda m: (m.Options(size=1), m.Options(size=2)),
        lambda m: (m.Options(checkpoint="dir:a"), m.Options(checkpoint="dir:b")),
        lambda m: ({"x": [m.Options(size=1)]}, {"x": [m.Options(size=2)]}),
        lambda m: (pa.table({"x": [1, 2]}), pa.table({"x": [1, 3]})),
        lambda m: (pa.table({"x": [1]}), pa.table({"x": pa.array([1], pa.int8())})),
        lambda m: (pa.array(["a"]), pa.array(["b"])),
        lambda m: (pa.schema([("x", pa.int8())]), pa.schema([("x", pa.int16())])),
        lambda m: ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ],
    ids=["section", "its checkpoint", "section in a list", "table", "type", "array", "schema", "order of a mapping"],
)
def test_what_is_held_counts_by_value(step: ModuleType, pair: Callable[[ModuleType], tuple[object, object]]) -> None:
    """A second section of the params, and tables, beside the things of test_code.py."""
    (first, second), (again, _) = pair(step), pair(step)
    assert key(step.Step(first)) == key(step.Step(again)) != key(step.Step(second))


def test_tensors_count_by_value(step: ModuleType) -> None:
    """Also where they want a gradient."""
    import torch

    ones = torch.nn.Parameter(torch.ones(2))
    assert key(step.Step(ones)) == key(step.Step(torch.nn.Parameter(torch.ones(2))))
    assert key(step.Step(ones)) != key(step.Step(torch.nn.Parameter(torch.zeros(2))))


UNKNOWN: dict[str, Callable[[Path], object]] = {
    "generator": lambda _: (x for x in "ab"),
    "open file": lambda folder: (folder / "file").open("w"),
    "random numbers": lambda _: np.random.default_rng(0),
    "model": lambda _: __import__("torch").nn.Linear(2, 2),
    "in a list": lambda _: [np.random.default_rng(0)],
}


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_things_are_refused(step: ModuleType, tmp_path: Path, make: Callable[[Path], object]) -> None:
    """With the attribute's name and what to do; nothing that a transform holds is passed over."""
    with pytest.raises(Undigestible, match=r"a\.Step\.held holds a .*: let Step\.key\(\) say under 'held'"):
        key(step.Step(make(tmp_path)))


def test_what_coordinates_or_logs_is_no_value(step: ModuleType) -> None:
    """A lock and a logger decide nothing."""
    import logging
    import threading

    things = [threading.Lock(), threading.RLock(), threading.Event(), threading.local(), logging.getLogger("a")]
    assert key(step.Step(things)) == key(step.Step([*things[:-1], logging.getLogger("b")]))


def test_key_says_what_counts(package: Package) -> None:
    """An entry stands for the attribute of its name, also within an object that is held; any other is one more part."""
    text = STEP + (
        "\nclass Inner:\n    def __init__(self, net): self.net, self.size = net, 1\n"
        "class Told(Step):\n    said = 1\n"
        "    def key(self): return {'held': self.said, 'inner.net': None, 'words': ['a']}\n"
    )
    module = package.write(a=text).load("a")

    def told(said: object = 1, size: int = 1) -> Fingerprint:
        made = module.Told(np.random.default_rng(0))
        made.inner, module.Told.said = module.Inner(iter("x")), 1
        made.inner.size, made.said = size, said
        return fingerprint_of(made, "any")

    assert {"key.held", "key.inner.net", "key.words"} <= told().parts.keys()
    assert told().id == told().id
    assert len({told().id, told(said=2).id, told(said={"b": np.ones(2)}).id, told(size=2).id}) == 4


def test_key_must_be_plain(package: Package) -> None:
    """What it gives out is refused like anything else that cannot be digested."""
    module = package.write(a=STEP + "    def key(self): return {'x': object()}\n").load("a")
    with pytest.raises(Undigestible, match=r"Step\.key\(\)\['x'\]: no digest for a object"):
        key(module.Step())


def test_a_cached_property_is_no_value(step: ModuleType) -> None:
    """Whether it was asked for already or not."""
    transform = step.Step()
    before = key(transform)
    assert transform.worked_out == 2.0
    assert "worked_out" in vars(transform)
    assert key(transform) == before


# --- files


def files(folder: Path, **texts: str) -> list[Path]:
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_files_of_one_name(step: ModuleType, tmp_path: Path) -> None:
    """Each of them counts, in one checkpoint and in two that lie side by side."""
    transform = step.Step()
    for names in (("config_json", "pool__config_json"), ("text__config_json", "sound__config_json")):
        seen = set()
        for texts in (("a", "b"), ("b", "a"), ("a", "a")):
            transform.places = files(tmp_path / names[0], **dict(zip(names, texts, strict=True)))
            seen.add(key(transform))
        assert len(seen) == 3


def test_a_renamed_folder_is_the_same_checkpoint(step: ModuleType, tmp_path: Path) -> None:
    """Alone, and beside files from another place."""
    transform, captions = step.Step(), files(tmp_path / "prompts", captions_tsv="x")
    before = files(tmp_path / "models" / "old", config_json="a", pool__config_json="b")
    transform.places = before
    alone = key(transform)
    transform.places = [*before, *captions]
    beside = key(transform)
    (tmp_path / "models" / "old").rename(tmp_path / "models" / "new")
    transform.places = after = files(tmp_path / "models" / "new")
    assert key(transform) == alone
    transform.places = [*after, *captions]
    assert key(transform) == beside
    (tmp_path / "models" / "new" / "pool").rename(tmp_path / "models" / "new" / "other")
    transform.places = files(tmp_path / "models" / "new")
    assert key(transform) != alone


def test_names_of_files(tmp_path: Path) -> None:
    """Relative to what they share; a place each where they share nothing; the working folder decides nothing."""
    one, two = tmp_path / "m/one", tmp_path / "n/two"
    assert list(names_of([one / "a", one / "b/a"])) == ["a", "b/a"]
    assert list(names_of([one / "a", one / "b/a", two / "a"])) == ["1/a", "1/b/a", "2/a"]
    assert list(names_of([two / "a", one / "a"])) == ["1/a", "2/a"]
    assert list(names_of([Path("x/a"), Path("x/b")])) == ["a", "b"]
    assert names_of([]) == {}


# --- what a module holds


def changes(package: Package, edit: Callable[[ModuleType], None]) -> bool:
    """Whether something done between two loads of the module `a` makes the code of its `run` another."""
    before = code_of(package.load("a").run)
    edit(sys.modules[f"{package.name}.a"])
    return code_of(package.load("a").run) != before


def test_an_array_that_a_module_reads(package: Package, tmp_path: Path) -> None:
    """It counts by what it is, wherever the file lies."""
    np.save(tmp_path / "table.npy", np.zeros(3))
    package.write(a=f"import numpy as np\nTABLE = np.load({str(tmp_path / 'table.npy')!r})\ndef run(): return TABLE\n")
    assert not changes(package, lambda _: None)
    assert changes(package, lambda _: np.save(tmp_path / "table.npy", np.ones(3)))


def test_presets_that_another_module_puts_into_a_table(package: Package) -> None:
    """Plain data, put there by a module that nothing else reaches."""
    package.write(
        a="PRESETS = {}\ndef run(): return PRESETS['soft']\n",
        presets="from PKG.a import PRESETS\nPRESETS['soft'] = {'gain': 1}\n",
        start="import PKG.presets\nfrom PKG.a import run\n",
    )
    before = code_of(package.load("start").run)
    assert code_of(package.load("start").run) == before
    package.edit("presets", "'gain': 1", "'gain': 2")
    assert code_of(package.load("start").run) != before


def test_a_library_object_of_a_module_is_refused(package: Package) -> None:
    """As one that a transform holds, by its name."""
    package.write(a="import numpy as np\nRNG = np.random.default_rng(0)\ndef run(): return RNG\n")
    with pytest.raises(Undigestible, match=r"a\.RNG has a numpy\.random\.\S+Generator, which cannot be digested"):
        code_of(package.load("a").run)


def test_a_callable_object_of_a_library_counts_by_its_name(package: Package) -> None:
    """scipy.fft's functions are objects that pass calls on; the library's version is part of the key, as for any."""
    package.write(a="from scipy.fft import dctn\ndef run(x): return dctn(x)\n")
    found = code_of(package.load("a").run)
    assert "scipy" in found.libraries


HERE = "from pathlib import Path\nROOT = Path(__file__).parent"
NAMED, COMPUTED = "ROOT / 'inner' / 'table.tsv'", "ROOT / name / f'{name}.tsv'"


@pytest.mark.parametrize(
    ("root", "path", "place"),
    [
        (HERE, NAMED, "inner/table.tsv"),
        (HERE, COMPUTED, "inner/table.tsv"),
        ("from importlib.resources import files\nROOT = files(__name__)", NAMED, "inner/table.tsv"),
        (f"{HERE}.parent / 'beside'", NAMED, "../beside/inner/table.tsv"),
        (f"{HERE}.parent", "ROOT / 'beside.tsv'", "../beside.tsv"),
    ],
    ids=["in a package within", "by a computed name", "by resources", "in a folder beside", "a file beside"],
)
def test_data_reached_through_a_packages_root(package: Package, root: str, path: str, place: str) -> None:
    """A table in another package of the project, or beside it, found by a constant that says where the package is."""
    text = f"from PKG import ROOT\ndef run(name): return ({path}).read_text()\n"
    package.write(__init__=f"{root}\n", **{"inner/__init__": ""}, a=text)
    file = package.folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    assert [found.resolve() for found in code_of(package.load("a").run).files] == [file.resolve()]


def test_a_table_of_components(package: Package) -> None:
    """Who takes one out of it holds it; what else is in the table does not count."""
    package.write(
        table="from mer_pipeline.config.components import Registry\n"
        "T = Registry('tool', 'PKG.a:Tool', {'one': 'PKG.one:One'})\n",
        one="from PKG.a import Tool\nclass One(Tool):\n    size = 1\n",
        a="from PKG.table import T\nclass Tool: pass\nclass Run:\n    table = T\n"
        "    def __init__(self): self.tool = T.load('one')()\nrun = Run\n",
    )

    def held() -> dict[str, str]:
        return package.short(code_of(package.load("a").Run()))

    before = held()
    assert "one.One" in before
    package.edit("table", "{'one'", "{'two': 'PKG.two:Two', 'one'")
    assert held() == before
    package.edit("one", "size = 1", "size = 2")
    assert changed(before, held()) == {"one.One"}


def test_data_of_one_name_in_two_packages(tmp_path: Path) -> None:
    """Each has a part of its own, which is the same wherever the project lies."""
    for name in ("one/deep/__init__.py", "one/__init__.py", "two/deep/x.tsv", "one/deep/x.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = fingerprint.data_names([tmp_path / "one/deep/x.tsv", tmp_path / "two/deep/x.tsv"])
    assert list(names) == ["one/deep/x.tsv", "deep/x.tsv"]


# --- the environment

READS = [
    "import os\ndef run(): return os.environ['X']\n",
    "import os\ndef run(): return os.environ.get('X')\n",
    "import os\ndef run(): return os.getenv('X')\n",
    "from os import environ as e\ndef run(): return 'X' in e\n",
    "from os import getenv\ndef run(): return helper()\ndef helper(): return getenv('X')\n",
    "def run():\n    import os\n    return {**os.environ}\n",
    "import os\nrun = lambda: os.environ['X']\n",
    "import os\nclass Run:\n    def go(self): return os.environ['X']\nrun = Run\n",
    "import os\nimport numpy\nif os.environ.get('X'):\n    numpy.seterr(all='raise')\ndef run(): return 1\n",
]


@pytest.mark.parametrize("text", READS)
def test_a_variable_of_the_environment_is_refused(package: Package, text: str) -> None:
    """Where it is read, with file and line, and what to do."""
    package.write(a=text)
    with pytest.raises(Undigestible, match=r"a\.py:\d+: \w+\.a reads a variable of the environment.*make it a param"):
        code_of(package.load("a").run)


def test_a_constant_made_of_the_environment_counts(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its value, for that is what the code uses."""
    package.write(a="import os\nGAIN = float(os.environ.get('GAIN', '1'))\ndef run(): return GAIN\n")
    assert not changes(package, lambda _: monkeypatch.setenv("GAIN", "1.0"))
    assert changes(package, lambda _: monkeypatch.setenv("GAIN", "2"))


def test_the_environment_may_be_set(package: Package) -> None:
    """As one does for a library's threads."""
    text = "import os\nos.environ.setdefault('X', '1')\ndef pin(): os.environ['Y'] = '2'\npin()\ndef run(): return 1\n"
    package.write(a=text)
    assert changes(package, lambda _: package.edit("a", "'2'", "'3'"))


# --- libraries


def installed(folder: Path, name: str, version: str, *requires: str, text: str = "def f(): return 1\n") -> None:
    """Write a library as `pip install --target` does."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "__init__.py").write_text(text)
    for old in folder.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    (record / "METADATA").write_text("\n".join(lines) + "\n")
    (record / "RECORD").write_text(f"{name}/__init__.py,,\n{record.name}/METADATA,,\n")
    (record / "top_level.txt").write_text(f"{name}\n")
    forget(name)


def forget(name: str) -> None:
    """As in a new process."""
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    for cache in (libraries.version_of, libraries.built_on, libraries._header, libraries._every):
        cache.cache_clear()
    from mer_pipeline.store.code import origins

    origins._origin.cache_clear()


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of libraries that is on the path and called neither site-packages nor dist-packages."""
    folder = tmp_path / "libs"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_library_in_a_target_folder_is_no_project_code(package: Package, target: Path) -> None:
    """It counts by its version; an edit of the code that its installer put there does not show, as in site-packages."""
    installed(target, "outer_lib", "1.0")
    package.write(a="import outer_lib\ndef run(): return outer_lib.f()\n")
    code = code_of(package.load("a").run)
    assert code.libraries == {"outer_lib"}
    assert not [name for name in code.definitions if name.startswith("outer_lib")]
    assert versions_of(code.libraries) == {"outer-lib": "1.0"}
    (target / "own_code.py").write_text("def f(): return 1\n")
    package.write(a="import own_code\ndef run(): return own_code.f()\n")
    assert "own_code.f" in code_of(package.load("a").run).definitions
    forget("own_code")


def test_libraries_behind_a_library(target: Path) -> None:
    """An upgrade of what a library is built on is seen, however far behind; of what only carries values, it is not."""
    installed(target, "first_lib", "1.0", "second-lib>=1", 'third_lib; extra == "more"', "tqdm", "absent_lib")
    installed(target, "second_lib", "2.0", "fourth_lib; python_version > '3'")
    installed(target, "third_lib", "3.0")
    installed(target, "fourth_lib", "4.0")
    assert versions_of(["first_lib"]) == {"first-lib": "1.0", "second-lib": "2.0", "fourth-lib": "4.0"}
    installed(target, "fourth_lib", "4.1")
    assert versions_of(["first_lib"])["fourth-lib"] == "4.1"


def test_timm_behind_open_clip() -> None:
    """A tower of open_clip may be one of timm's. What downloads, prints and carries is left out."""
    behind = versions_of(["open_clip"]).keys()
    assert {"open-clip-torch", "timm", "torch", "torchvision", "pillow", "regex", "ftfy", "transformers"} <= behind
    assert not behind & {*CARRIERS, "requests", "tqdm", "huggingface-hub", "safetensors"}


def test_kernels_count_where_values_are_computed_on_a_gpu() -> None:
    """On a CPU nobody calls cuBLAS; torch itself counts on both."""
    cpu, gpu = versions_of(["torch"]), versions_of(["torch"], on_gpu=True)
    assert list(cpu) == ["torch"]
    assert all(libraries.ON_GPU.match(name) for name in gpu.keys() - cpu.keys())


def test_what_nobody_recorded_counts_by_content(package: Package, target: Path) -> None:
    """A compiled module without a version: a hash of the file. One that is not there is absent."""
    (target / "_fast_part.so").write_bytes(b"one")
    assert versions_of(["no_such_thing"]) == {"no-such-thing": "absent"}
    spec = importlib.util.spec_from_loader("_fast_part", None, origin=str(target / "_fast_part.so"))
    module = ModuleType("_fast_part")
    module.__spec__ = spec
    sys.modules["_fast_part"] = module
    try:
        before = versions_of(["_fast_part"])
        (target / "_fast_part.so").write_bytes(b"two")
        assert len(before["-fast-part"]) == 64
        assert versions_of(["_fast_part"]) != before
    finally:
        forget("_fast_part")


def test_the_working_folder_is_not_in_a_key(step: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files given relative to it are the same from elsewhere."""
    transform = step.Step()
    (place,) = files(tmp_path / "m", config_json="a")
    transform.places = [place]
    before = key(transform)
    monkeypatch.chdir(tmp_path)
    transform.places = [Path(os.path.relpath(place))]
    assert key(transform) == before
