from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mer_pipeline.base.encoder import Encoder
from mer_pipeline.base.transform import Transform
from mer_pipeline.datasets.adapter import MER_CLASSES
from mer_pipeline.enrich.ask import ByServerParams
from mer_pipeline.enrich.cues import MeasureCues
from mer_pipeline.enrich.prompt import RenderPrompt
from mer_pipeline.enrich.template import ByRulesParams
from mer_pipeline.enrich.transform import Enrich
from mer_pipeline.speech.logmel import LogMel, LogMelParams
from mer_pipeline.store.code import Code, code_of
from mer_pipeline.text.char_ngram import CharNgram, CharNgramParams
from mer_pipeline.vision.appearance import Appearance, AppearanceParams
from mer_pipeline.vision.detector import MtcnnParams, PrimaryParams
from mer_pipeline.vision.faces import ChooseFace
from mer_pipeline.vision.frames import FrameParams, SampleFrames
from mer_pipeline.vision.geometry import FaceGeometry, FaceGeometryParams
from mer_pipeline.vision.tracks import FollowFaces
from tests.written import Package, changed

ROOT = Path(__file__).resolve().parent.parent.parent


# One package with every way in which this language lets one definition depend on another.
RICH = {
    "formulas": '''
"""Formulas."""
from __future__ import annotations
import math
from dataclasses import dataclass, field
from functools import cache, partial, singledispatch, wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PKG.seen_by_mypy_only import Thing

SCALE = 2.0  # of everything
LIMITS = (1, 9)
POWER = 2
OFFSET: float = 0.5
try:
    FAST = int("7")
except ValueError:
    FAST = 0
def scaled(by):
    """Multiply what a function gives."""
    def around(function):
        @wraps(function)
        def wrapper(x):
            return function(x) * by + OFFSET
        return wrapper
    return around

@scaled(by=3)
def area(r, power=POWER):
    """Of a circle."""
    return math.pi * r ** power

@cache
def root(x: Thing) -> float:
    return math.sqrt(x) + FAST

TABLE = {"sum": lambda x: x + SCALE, "low": partial(min, LIMITS[0])}

@singledispatch
def kind(x):
    return "other"

@kind.register
def _(x: int):
    return "number"

def first_numbers():
    return [1, 2, 3]

@dataclass
class Shape:
    sides: list = field(default_factory=first_numbers)

    def length(self) -> float:
        return f"{pad(sum(self.sides))}"

def pad(x):
    match x:
        case 0:
            return NOTHING
        case found:
            return found

NOTHING = "none"

class Unrelated:
    pass

def unused(x):
    return x * 99
''',
    "middle": """
from PKG.formulas import Shape, area as circle, kind, root
from PKG.formulas import *
from PKG import stars, tables
from PKG.stars import *

def measure(x):
    parts = [circle(y) + root(y) for y in range(x)]
    return parts, kind(x), Shape().length(), starred(x), tables.HANDLERS["a"](x)

def lazy(x):
    from PKG.late import compute as found
    from PKG import also_late
    import PKG.late
    return found(x) + also_late.other(x) + PKG.late.third(x)
""",
    "stars": "def starred(x):\n    return x + 10\n",
    "late": "def compute(x):\n    return x + 20\ndef third(x):\n    return x + 30\ndef fourth(x):\n    return x + 35\n",
    "also_late": "def other(x):\n    return x + 40\ndef another(x):\n    return x + 45\n",
    "tables": """
HANDLERS = {}

def register(name):
    def add(function):
        HANDLERS[name] = function
        return function
    return add

@register("a")
def handle_a(x):
    return x + 50

LIMIT = {}
LIMIT["x"] = 60
""",
    "base": """
from abc import ABC

class Base(ABC):
    limit = 70
    __slots__ = ("held",)

    def clip(self, x):
        return min(x, type(self).limit) + self.more()

    def more(self):
        return 80
""",
    "tool": """
GAIN = 100

class Tool:
    def use(self, x):
        return x + 90 * GAIN
""",
    "step": """
from PKG.base import Base
from PKG.middle import lazy, measure
from PKG.tool import Tool

class Step(Base):
    def __init__(self, size=5):
        self.tool = Tool()
        self.size = size

    def prepare(self, x):
        return self.clip(super().more())

    def infer(self, x):
        def inner():
            return measure(x)
        return [inner() for _ in range(self.size)], lazy(x)
""",
}

SAME = {
    "comment": ("formulas", "# of everything", "# of nearly everything"),
    "blank lines and quotes": ("formulas", 'NOTHING = "none"', "\n\n\nNOTHING = (\n    'none'\n)"),
    "module docstring": ("formulas", '"""Formulas."""', '"""Formulae."""'),
    "function docstring": ("formulas", '"""Of a circle."""', '"""Of a disc,\n\n    round."""'),
    "docstring taken away": ("formulas", '    """Multiply what a function gives."""\n', ""),
    "unrelated class": ("formulas", "class Unrelated:", "class New:\n    x = 1\n\nclass Unrelated:"),
    "unrelated class edited": ("formulas", "class Unrelated:\n    pass", "class Unrelated:\n    y = SCALE"),
    "unrelated function edited": ("formulas", "x * 99", "x * 98"),
    "a definition before": ("late", "def compute(x):", "NEW = 1\ndef compute(x):"),
    "beside a lazy import's target": ("late", "x + 35", "x + 36"),
    "beside a lazy module's target": ("also_late", "x + 45", "x + 46"),
    "import for the type checker": ("formulas", "mypy_only import Thing", "mypy_only import Other, Thing"),
    "an import that nothing uses": ("formulas", "import math\n", "import math\nimport json\n"),
    "what runs only as a script": ("stars", "def starred", "if __name__ == '__main__':\n    print(1)\n\ndef starred"),
}  # fmt: skip

# What is edited, and a definition whose digest shows it.
CHANGES = {
    "formula behind three modules": ("formulas", "math.pi * r ** power", "math.pi * r ** power + 1", "formulas.area"),
    "constant three modules away": ("formulas", "OFFSET: float = 0.5", "OFFSET: float = 0.25", "formulas.OFFSET"),
    "default argument": ("formulas", "power=POWER", "power=POWER + 1", "formulas.area"),
    "constant in a default": ("formulas", "POWER = 2", "POWER = 3", "formulas.POWER"),
    "decorator's argument": ("formulas", "@scaled(by=3)", "@scaled(by=4)", "formulas.area"),
    "decorator's body": ("formulas", "* by +", "* by -", "formulas.scaled"),
    "decorator taken away": ("formulas", "@scaled(by=3)\n", "", "formulas.area"),
    "behind functools.cache": ("formulas", "math.sqrt(x) + FAST", "math.sqrt(x) - FAST", "formulas.root"),
    "other library function": ("formulas", "math.sqrt(x)", "math.cbrt(x)", "formulas.root"),
    "constant bound in a try": ("formulas", 'int("7")', 'int("8")', "formulas.FAST"),
    "singledispatch registration": ("formulas", '"number"', '"integer"', "formulas.kind"),
    "default_factory": ("formulas", "[1, 2, 3]", "[1, 2, 4]", "formulas.first_numbers"),
    "name in an f-string": ("formulas", "return found", "return found + 1", "formulas.pad"),
    "name in a match statement": ("formulas", 'NOTHING = "none"', 'NOTHING = "nothing"', "formulas.NOTHING"),
    "star import": ("stars", "x + 10", "x + 11", "stars.starred"),
    "import in a function": ("late", "x + 20", "x + 21", "late.compute"),
    "submodule imported in a function": ("also_late", "x + 40", "x + 41", "also_late.other"),
    "dotted import in a function": ("late", "x + 30", "x + 31", "late.third"),
    "function in a module's table": ("tables", "x + 50", "x + 51", "tables.handle_a"),
    "name under which it is registered": ("tables", '@register("a")', '@register("b")', "tables.HANDLERS"),
    "effect of importing a module": ("tables", 'LIMIT["x"] = 60', 'LIMIT["x"] = 61', "tables:<effects>"),
    "base class's method": ("base", "return 80", "return 81", "base.Base"),
    "class attribute": ("base", "limit = 70", "limit = 71", "base.Base"),
    "held object's class": ("tool", "90 * GAIN", "91 * GAIN", "tool.Tool"),
    "constant of a held object's class": ("tool", "GAIN = 100", "GAIN = 101", "tool.GAIN"),
    "held value": ("step", "size=5", "size=6", "value:step.Step.size"),
    "own method": ("step", "super().more()", "super().more() + 1", "step.Step"),
    "nested function": ("step", "return measure(x)", "return measure(x + 1)", "step.Step"),
    "other base": ("step", "class Step(Base)", "class Step(Tool)", "step.Step"),
    "alias of an import": ("middle", "area as circle, kind, root", "root as circle, kind, root", "middle.measure"),
}  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new"), SAME.values(), ids=SAME)
def test_what_decides_no_value_changes_nothing(package: Package, module: str, old: str, new: str) -> None:
    """Comments, format, docstrings and definitions that nothing reaches may be edited at will."""
    before = code_of(package.write(**RICH).load("step").Step())
    package.edit(module, old, new)
    assert code_of(package.load("step").Step()) == before


@pytest.mark.parametrize(("module", "old", "new", "where"), CHANGES.values(), ids=CHANGES)
def test_what_decides_a_value_changes_the_code(package: Package, module: str, old: str, new: str, where: str) -> None:
    """An edit to anything that the root reaches, by whatever way, is seen, and at the definition that was edited."""
    before = package.short(code_of(package.write(**RICH).load("step").Step()))
    package.edit(module, old, new)
    after = package.short(code_of(package.load("step").Step()))
    assert where in changed(before, after)


def test_only_the_edited_definition_differs(package: Package) -> None:
    """So that a person can be told what changed."""
    before = package.short(code_of(package.write(**RICH).load("step").Step()))
    package.edit("formulas", "math.pi * r", "math.e * r")
    assert changed(before, package.short(code_of(package.load("step").Step()))) == {"formulas.area"}


def test_nothing_else_is_reached(package: Package) -> None:
    """The definitions are those that the root needs, and the modules' effects; no module counts as a whole."""
    reached = package.short(code_of(package.write(**RICH).load("step").Step()))
    assert not {"formulas.Unrelated", "formulas.unused", "late.fourth", "also_late.another"} & reached.keys()
    assert not {"formulas", "middle", "late", "also_late", "tables", "stars", "base", "step"} & reached.keys()


# --- what names stand for


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("f as g, h as k", "h as g, f as k"),
        ("f as g, h as k", "f as g, f as k"),
        ("f as g, h as k", "f as g, CONSTANT as k"),
    ],
)
def test_swapped_aliases(package: Package, old: str, new: str) -> None:
    """The text of the function is as before; what its names stand for is not."""
    package.write(
        b="CONSTANT = 1\ndef f(x): return x\ndef h(x): return -x\n",
        a=f"from PKG.b import {old}\ndef run(x): return g(x) + k(x)\n",
    )
    before = code_of(package.load("a").run)
    package.edit("a", old, new)
    assert code_of(package.load("a").run) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("from math import sin as f", "from math import cos as f"),
        ("from numpy import sqrt as f", "from numpy import cbrt as f"),
        ("from numpy import sqrt as f", "from math import sqrt as f"),
        ("from math import pi as f", "from math import tau as f"),
        ("from sys import path as f", "from sys import argv as f"),
        ("import numpy as f", "import math as f"),
        ("import numpy.linalg as f", "import numpy.fft as f"),
        ("from PKG import one as f", "from PKG import two as f"),
        ("import PKG.one as f", "import PKG.two as f"),
        ("from .one import f", "from .two import f"),
    ],
)  # fmt: skip
def test_another_thing_under_the_same_name(package: Package, old: str, new: str) -> None:
    """Libraries' functions and constants, and modules, count by what they are."""
    package.write(one="def f(x): return 1\n", two="def f(x): return 1\n", a="PUT\ndef run(x): return f, f.f\n")
    package.edit("a", "PUT", old)
    before = code_of(package.load("a").run)
    package.edit("a", old.replace("PKG", package.name), new)
    assert code_of(package.load("a").run) != before


def test_rebound_constant(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant counts by the value that it has in the running program, in its own module and where it is imported."""
    package.write(b="N = 1\nM = (1, 'a')\n", a="from PKG.b import N\nfrom PKG import b\ndef run(): return N, b.M\n")
    a = package.load("a")
    before = code_of(a.run)
    with monkeypatch.context() as patch:
        patch.setattr(a, "N", 2)
        two = code_of(a.run)
        patch.setattr(a, "N", 3)
        three = code_of(a.run)
        patch.setattr(a.b, "M", (1, "b"))
        assert len({str(code.definitions) for code in (before, two, three, code_of(a.run))}) == 4
    assert code_of(a.run) == before


@pytest.mark.parametrize(
    "target", ["a.helper", "a.b.helper", "a.b.Tool.use", "a.b.Tool.size", "a.b.Tool.make", "a.b.TABLE"]
)
def test_monkeypatched_code(package: Package, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """A function that was put in another's place counts, in modules, classes and tables."""
    package.write(
        b="""
def helper(x): return x
def other(x): return -x
class Tool:
    size = 1
    def use(self): return 1
    @staticmethod
    def make(): return Tool()
class Other(Tool): pass
TABLE = {"x": helper, "y": Tool(), "z": Other()}
""",
        a="""
from PKG import b
from PKG.b import helper
def run(): return helper(1), b.helper(2), b.Tool.make().use(), b.TABLE
""",
    )
    a = package.load("a")
    before = code_of(a.run)
    *path, name = target.split(".")[1:]
    owner = a
    for part in path:
        owner = getattr(owner, part)
    new = {"size": 2, "make": staticmethod(a.b.other), "TABLE": a.b.TABLE | {"y": a.b.Other(), "z": a.b.Tool()}}.get(
        name, a.b.other
    )
    monkeypatch.setattr(owner, name, new)
    assert code_of(a.run) != before


def test_conditional_import_counts_as_it_turned_out(package: Package) -> None:
    """Of two modules that may give a name, the one that does."""
    package.write(
        slow="def f(x): return 1\n",
        a="try:\n    from PKG.fast import f\nexcept ImportError:\n    from PKG.slow import f\ndef run(): return f(1)\n",
    )
    before = package.short(code_of(package.load("a").run))
    package.write(fast="def f(x): return 1\n")
    after = package.short(code_of(package.load("a").run))
    assert changed(before, after) >= {"slow.f", "fast.f"}


def test_re_exports_are_followed(package: Package) -> None:
    """Through a package's `__init__` and a second module to where a thing is defined."""
    package.write(
        __init__="from PKG.b import VALUE, f\n",
        b="from PKG.c import *\n",
        c="VALUE = 1\ndef f(): return VALUE\n",
        a="import PKG\ndef run(): return PKG.f() + PKG.VALUE\n",
    )
    assert set(package.short(code_of(package.load("a").run))) == {"a.run", "c.f", "c.VALUE", "value:a.run"}


@pytest.mark.parametrize(
    "body",
    [
        "return getattr(b, name)()",
        "return vars(b)[name]()",
        "import importlib\n    return getattr(importlib.import_module('PKG.b'), name)()",
        "import PKG.b as c\n    return getattr(c, name)()",
    ],
)
def test_module_used_as_a_whole(package: Package, body: str) -> None:
    """Where any of its names may be meant, the whole module counts."""
    package.write(b="def f(): return 1\n", a=f"from PKG import b\ndef run(name):\n    {body}\n")
    before = package.short(code_of(package.load("a").run))
    package.edit("b", "return 1", "return 2")
    assert "b" in changed(before, package.short(code_of(package.load("a").run)))


@pytest.mark.parametrize("body", ["globals()['f']()", "eval('f()')", "set_from_elsewhere()"])
def test_unresolved_names_count_the_module(package: Package, body: str) -> None:
    """Where a name cannot be told, the whole module around it counts."""
    package.write(a=f"def f(): return 1\ndef run(): return {body}\n")
    before = package.short(code_of(package.load("a").run))
    package.edit("a", "return 1", "return 2")
    assert "a" in changed(before, package.short(code_of(package.load("a").run)))


def test_local_names_are_not_the_modules(package: Package) -> None:
    """Parameters, assigned and caught names, comprehensions' and walruses' targets hide a module's definitions."""
    names = [f"n{at}" for at in range(10)]
    package.write(
        a="\n".join(f"def {name}(): return 1" for name in [*names, "seen", "used"])
        + """
def run(n0, *n1, n2=1, **n3):
    n4 = 1
    for n5 in [n6 for n6 in n1]:
        try:
            if (n7 := n4): pass
        except ValueError as n8:
            print(n8)
    return (lambda n9: n0 + n9 + n4 + n5 + n7)(n2), n3, [seen for seen in used()]
class Body:
    seen = 1
    def method(self): return seen
"""
    )
    a = package.load("a")
    assert set(package.short(code_of(a.run))) == {"a.run", "a.used", "value:a.run"}
    assert "a.seen" in package.short(code_of(a.Body))


def test_global_statement(package: Package) -> None:
    """A name that a function declares global is the module's, in its value and its binding."""
    package.write(a="COUNT = 1\ndef run():\n    global COUNT\n    COUNT += 1\n    return COUNT\n")
    a = package.load("a")
    before = code_of(a.run)
    a.COUNT = 5
    assert code_of(a.run) != before
    assert "a.COUNT" in package.short(before)


def test_annotations(package: Package) -> None:
    """What fields, arguments and results are said to be counts, for their methods are called; what cannot be found
    and the annotations of local names do not."""
    package.write(
        b="class Field: x = 1\nclass Argument: x = 1\nclass Result: x = 1\nclass Local: x = 1\n",
        a="""
from __future__ import annotations
from dataclasses import dataclass
from PKG.b import Argument, Field, Local, Result
@dataclass
class Run:
    field: Field | Missing
    def go(self, x: Argument, z: Absent = None) -> Result:
        y: Local = x
        return y
""",
    )
    reached = package.short(code_of(package.load("a").Run))
    assert {"b.Field", "b.Argument", "b.Result"} <= reached.keys()
    assert not {"b.Local", "a"} & reached.keys()


# --- what roots hold

HOLDER = """
class Tool:
    def __init__(self, size=1): self.size = size
class Holder:
    def __init__(self, held): self.held = held
def double(x): return 2 * x
def triple(x): return 3 * x
def times(n):
    def multiply(x):
        "Docstring."
        return n * x
    return multiply
def either(first):
    if first:
        def chosen(x): return x + 1
    else:
        def chosen(x): return x + 2
    return chosen
def by_default(n):
    def multiply(x, n=n): return n * x
    return multiply
def marked(n):
    def multiply(x): return multiply.n * x
    multiply.n = n
    return multiply
def extended(base):
    class Extended(base): pass
    return Extended
def pair(): return (lambda x: x + 1), (lambda x: x + 2)
ONE, TWO = (lambda x: x + 1), (lambda x: x + 2)
import enum
class Mode(enum.Enum):
    FAST = 1
    SLOW = 2
from typing import NamedTuple
class Point(NamedTuple):
    x: int
class Slotted:
    __slots__ = ("__x",)
    def __init__(self, x): self.__x = x
"""  # fmt: skip

HELD: dict[str, Callable[[ModuleType], tuple[object, object]]] = {
    "number": lambda m: (1, 2),
    "type of a number": lambda m: (1, 1.0),
    "text": lambda m: ("a", "b"),
    "list": lambda m: ([1, 2], [1, 3]),
    "nested": lambda m: ({"a": [(1, {2})]}, {"a": [(1, {3})]}),
    "array": lambda m: (np.zeros(3), np.ones(3)),
    "array of objects": lambda m: (np.array([None, str(10**20)]), np.array([None, str(10**21)])),
    "numpy scalar": lambda m: (np.float32(1), np.float64(1)),
    "enum": lambda m: (m.Mode.FAST, m.Mode.SLOW),
    "function": lambda m: (m.double, m.triple),
    "class": lambda m: (m.Tool, m.Holder),
    "closure": lambda m: (m.times(2), m.times(3)),
    "closure in a list": lambda m: ([m.times(2)], [m.times(3)]),
    "attribute of a function": lambda m: (m.marked(2), m.marked(3)),
    "functions of one name": lambda m: (m.either(True), m.either(False)),
    "default of an inner function": lambda m: (m.by_default(2), m.by_default(3)),
    "base of an inner class": lambda m: (m.extended(m.Tool), m.extended(m.Holder)),
    "nested lambda": lambda m: m.pair(),
    "lambda": lambda m: (m.ONE, m.TWO),
    "partial": lambda m: (partial(m.double, 1), partial(m.double, 2)),
    "partial's function": lambda m: (partial(m.double, 1), partial(m.triple, 1)),
    "bound method": lambda m: (m.Tool(1).__init__, m.Tool(2).__init__),
    "object": lambda m: (m.Tool(1), m.Tool(2)),
    "object in a list": lambda m: ([m.Tool(1)], [m.Tool(2)]),
    "function in a dict": lambda m: ({"f": m.double}, {"f": m.triple}),
    "named tuple": lambda m: (m.Point(1), m.Point(2)),
    "slot": lambda m: (m.Slotted(1), m.Slotted(2)),
    "pattern": lambda m: (__import__("re").compile("a"), __import__("re").compile("b")),
    "range": lambda m: (range(3), range(4)),
    "library function": lambda m: (np.sqrt, np.cbrt),
    "standard function": lambda m: (len, sum),
    "section by class": lambda m: (FrameParams(), MtcnnParams()),
}  # fmt: skip


@pytest.mark.parametrize("pair", HELD.values(), ids=HELD)
def test_held_values_count(package: Package, pair: Callable[[ModuleType], tuple[object, object]]) -> None:
    """What an instance holds is part of it, whatever it is; the same value again gives the same code."""
    module = package.write(a=HOLDER).load("a")
    (first, second), (again, _) = pair(module), pair(module)
    assert code_of(module.Holder(first)) == code_of(module.Holder(again))
    assert code_of(module.Holder(first)) != code_of(module.Holder(second))


def test_closure_of_a_root(package: Package) -> None:
    """A root function counts with what it closes over; the docstring of an inner function does not count."""
    module = package.write(a=HOLDER).load("a")
    before = package.short(code_of(module.times(2)))
    assert changed(before, package.short(code_of(module.times(3)))) >= {"value:a.times.<locals>.multiply.n"}
    package.edit("a", '"Docstring."', '"Another."')
    assert package.short(code_of(package.load("a").times(2))) == before
    package.edit("a", '        "Another."\n', "")
    assert package.short(code_of(package.load("a").times(2))) == before


def test_held_wrapper(package: Package) -> None:
    """A wrapper counts by its own code, though functools.wraps gives it the wrapped function's name; that one too."""
    deco = "from functools import wraps\ndef deco(f):\n    @wraps(f)\n    def g(x): return f(x) + 5\n    return g\n"
    package.write(a=HOLDER + deco)
    codes = []
    for edit in (("+ 5", "+ 5"), ("+ 5", "+ 6"), ("2 * x", "4 * x")):
        package.edit("a", *edit)
        module = package.load("a")
        codes.append(code_of(module.Holder([module.deco(module.double)])))
    assert len({str(code.definitions) for code in codes}) == 3


def test_paths_do_not_count(package: Package) -> None:
    """They say where things lie, and not what is there."""
    holder = package.write(a=HOLDER).load("a").Holder
    assert code_of(holder(Path("a"))) == code_of(holder(Path("b")))
    assert "value:a.Holder.held" not in package.short(code_of(holder(Path("a"))))


def test_what_the_caller_digests(package: Package) -> None:
    """Of an attribute that is told otherwise only the class counts, also within an object that is held."""
    module = package.write(a=HOLDER).load("a")

    def told(inner: object) -> Code:
        return code_of(module.Holder(module.Tool(inner)), told={"held.size"})

    assert told(1) == told(2) != told("x")
    first, second = (code_of(module.Holder(FrameParams(n=n)), told={"held"}) for n in (1, 2))
    assert first == second


def test_cycles(package: Package) -> None:
    """Objects that hold, functions that call and modules that import each other come to an end."""
    package.write(
        b="from PKG import a\ndef f(n): return a.g(n)\n",
        a=HOLDER + "from PKG import b\ndef g(n): return n and b.f(n - 1)\n",
    )
    a = package.load("a")
    one, two = a.Holder(None), a.Tool()
    one.held, two.size = [two, a.g], one
    one.itself = one
    reached = package.short(code_of(one))
    assert {"a.Holder", "a.Tool", "a.g", "b.f"} <= reached.keys()
    assert package.short(code_of(one)) == reached


REGISTRY = "R = {}\ndef add(name):\n    def keep(f):\n        R[name] = f\n        return f\n    return keep\n"
DISPATCH = "from functools import singledispatch\n@singledispatch\ndef kind(x): return 0\n"
OBJECT = "class Many:\n    def __init__(self): self.all = []\nR = Many()\n"
DYNAMIC = "import importlib\ndef run(): return importlib"

# Ways in which code reaches other code that it does not name: the module `a` with `run`, others, an edit.
WAYS: dict[str, tuple[str, dict[str, str], str, str]] = {
    "registered by a decorator elsewhere": (
        "from PKG.r import R\nimport PKG.p\ndef run(): return R['p']()\n",
        {"r": REGISTRY, "p": "from PKG.r import add\n@add('p')\ndef p(): return 1\n"}, "return 1", "return 2",
    ),
    "object registered elsewhere": (
        "from PKG.r import R\nimport PKG.p\ndef run(): return R.all[0].go()\n",
        {"r": OBJECT, "p": "from PKG.r import R\nclass P:\n    go = 1\nR.all.append(P())\n"}, "go = 1", "go = 2",
    ),
    "singledispatch elsewhere": (
        "from PKG.r import kind\nimport PKG.p\ndef run(x): return kind(x)\n",
        {"r": DISPATCH, "p": "from PKG.r import kind\n@kind.register\ndef _(x: int): return 1\n"},
        "return 1", "return 2",
    ),
    "import_module of what is not loaded": (
        f"{DYNAMIC}.import_module('PKG.p').f()\n", {"p": "def f(): return 1\n"}, "1", "2",
    ),
    "relative import_module": (
        f"{DYNAMIC}.import_module('.p', __package__).f()\n", {"p": "def f(): return 1\n"}, "1", "2",
    ),
    "module in a class": (
        "from PKG import p\nclass K:\n    m = p\ndef run(): return K.m.f()\n", {"p": "def f(): return 1\n"}, "1", "2",
    ),
    "effect of an assignment that is thrown away": (
        "T = {}\n_ = T.setdefault('x', 1)\ndef run(): return T\n", {}, "1", "2",
    ),
    "table built in a loop": (
        "T = {}\nfor k in range(3):\n    T[k] = k * 2\ndef run(): return T\n", {}, "k * 2", "k * 3",
    ),
    "table in a class": (
        "def f(): return 1\nclass K:\n    T = {'f': f}\ndef run(): return K.T\n", {}, "1", "2",
    ),
    "decorator that gives back its function": (
        "K = []\ndef d(f):\n    K.append(1)\n    return f\n@d\ndef run(): return K\n", {}, "1", "2",
    ),
    "constant in a class's keyword": (
        "S = 1\nclass B:\n    def __init_subclass__(c, k): c.k = [k]\nclass C(B, k=S): pass\ndef run(): return C.k\n",
        {}, "S = 1", "S = 2",
    ),
    "__init_subclass__": (
        "class B:\n    def __init_subclass__(c): c.k = [1]\nclass C(B): pass\ndef run(): return C.k\n", {}, "1", "2",
    ),
    "inherited metaclass": (
        "class M(type):\n    def k(c): return 1\nclass B(metaclass=M): pass\nclass C(B): pass\n"
        "def run(): return C.k()\n", {}, "return 1", "return 2",
    ),
    "class made by a call": ("run = type('C', (), {'k': 5})\n", {}, "5", "6"),
    "condition of a definition": ("import sys\nif sys.maxsize > 5:\n    def run(): return 1\n", {}, "5", "6"),
    "constant set by a call": (
        "S = 1\ndef put(v):\n    global S\n    S = v\nput(3)\ndef run(): return S\n", {}, "put(3)", "put(4)",
    ),
    "wrapped by a library": (
        "import numpy as np\n@np.vectorize\ndef f(x): return x + 1\ndef run(): return f(1)\n", {}, "x + 1", "x + 2",
    ),
    "class pattern": (
        "class K:\n    __match_args__ = ('a',)\ndef run(x):\n    match x:\n        case K(a): return a\n",
        {}, "('a',)", "('b',)",
    ),
    "bound several times": (
        "def f(): return 1\ng = f\ndef f(): return g() + 1\ndef run(): return f()\n", {}, "return 1", "return 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "others", "old", "new"), WAYS.values(), ids=WAYS)
def test_code_that_is_not_named(package: Package, text: str, others: dict[str, str], old: str, new: str) -> None:
    """What is put into tables, objects, dispatchers and classes is found in the running program."""
    package.write(a=text, **others)
    before = code_of(package.load("a").run)
    package.edit("p" if "p" in others else "a", old, new)
    assert code_of(package.load("a").run) != before


def test_which_root_counts(package: Package) -> None:
    """Two functions that call each other reach the same definitions and are not the same root."""
    a = package.write(a="def f(n): return g(n)\ndef g(n): return n and f(n - 1)\n").load("a")
    assert code_of(a.f) != code_of(a.g)
    assert code_of(a.f, a.g).definitions.keys() >= code_of(a.f).definitions.keys()


def test_shared_and_equal_objects(package: Package) -> None:
    """Which of an instance's objects an attribute shares is seen."""
    module = package.write(a=HOLDER).load("a")

    def holding(third: int) -> Code:
        tools = [module.Tool(1), module.Tool(2)]
        holder = module.Holder(tools[0])
        holder.other, holder.third = tools[1], tools[third]
        return code_of(holder)

    assert holding(0) == holding(0)
    assert holding(0) != holding(1)


# --- effects, libraries, data


def test_effects_of_imports(package: Package) -> None:
    """A module that is imported for what it does counts, though no name of it is used; and so does a package's."""
    package.write(
        __init__="STATE = {}\nSTATE['x'] = 1\n",
        b="import numpy\nnumpy.seterr(over='ignore')\ndef f(): return 1\n",
        a="import PKG.b\ndef run(): return 1\n",
    )
    before = package.short(code_of(package.load("a").run))
    package.edit("b", "'ignore'", "'warn'")
    assert changed(before, package.short(code_of(package.load("a").run))) == {"b:<effects>"}
    package.edit("__init__", "= 1", "= 2")
    assert f"{package.name}:<effects>" in changed(before, package.short(code_of(package.load("a").run)))
    assert "b.f" not in before


def test_subclasses_found_at_run_time(package: Package) -> None:
    """A definition that asks a class for its subclasses reaches those that there are."""
    package.write(
        base="class Base: pass\ndef run(): return [kind() for kind in Base.__subclasses__()]\n",
        a="from PKG.base import Base, run\nclass Found(Base):\n    x = 1\n",
    )
    before = code_of(package.load("a").run)
    package.edit("a", "x = 1", "x = 2")
    assert code_of(package.load("a").run) != before


def test_docstrings_count_where_they_are_read(package: Package) -> None:
    """A prompt may be a docstring."""
    package.write(a='def run():\n    "Say yes."\n    return run.__doc__\n')
    before = code_of(package.load("a").run)
    package.edit("a", "yes", "no")
    assert code_of(package.load("a").run) != before


def test_a_reloaded_module_is_read_again(package: Package) -> None:
    """The parsed source is kept by content, so an edit in the same instant and of the same length is seen."""
    a = package.write(a="def run(): return 1\n").load("a")
    before, stamp = code_of(a.run), (package.folder / "a.py").stat()
    package.edit("a", "1", "2")
    os.utime(package.folder / "a.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert code_of(importlib.reload(a).run) != before


@pytest.mark.parametrize(
    "text",
    [
        "from PKG import b\ndef run(): return b.made_up\n",
        "from PKG.b import made_up\ndef run(): return made_up\n",
        "from PKG.b import real\ndef run(): return real()\n",
    ],
)
def test_module_getattr(package: Package, text: str) -> None:
    """What a module gives out on demand may be anything in it, and the function that does it counts with the module."""
    package.write(b="def __getattr__(name): return [1]\ndef real(): return 1\n", a=text)
    before = code_of(package.load("a").run)
    package.edit("b", "return [1]", "return [2]")
    assert code_of(package.load("a").run) != before


def test_libraries_are_named_and_not_imported(package: Package) -> None:
    """Third-party packages that reached definitions use; those that only a function imports stay unloaded."""
    package.write(
        a="""
import json
import scipy.signal
import numpy as np
from PIL import Image
def run():
    import sklearn.cluster
    from imageio import imread
    from no_such_library import thing
    return np.zeros(1), Image, json
""",
    )
    script = f"""
import sys
from {package.name}.a import run
from mer_pipeline.store.code import code_of
print(sorted(code_of(run).libraries))
print('sklearn' in sys.modules or 'imageio' in sys.modules)
"""
    out = subprocess.run([sys.executable, "-c", script], env=_env(package), capture_output=True, text=True, check=True)
    assert out.stdout.splitlines() == ["['PIL', 'imageio', 'no_such_library', 'numpy', 'sklearn']", "False"]


def _env(package: Package, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{package.folder.parent}{os.pathsep}{ROOT}", **more}


@pytest.mark.parametrize(
    "body",
    [
        "from importlib import resources\ndef run(): return resources.files(__package__) / 'table.tsv'\n",
        "from importlib.resources import files\ndef run(): return files('PKG') / 'table.tsv'\n",
        "def run():\n    import importlib.resources as r\n    return r.files('PKG')\n",
        "def run():\n    from pkgutil import get_data\n    return get_data('PKG', 'table.tsv')\n",
        "def run():\n    from jinja2 import PackageLoader\n    return PackageLoader('PKG')\n",
        "import jinja2\nLOADER = jinja2.PackageLoader('PKG')\ndef run(): return LOADER\n",
        "from pathlib import Path\nHERE = Path(__file__).parent\ndef run(): return (HERE / 'table.tsv').read_text()\n",
    ],
    ids=["resources", "files", "in a function", "pkgutil", "jinja2", "jinja2 constant", "__file__"],
)  # fmt: skip
def test_package_data(package: Package, body: str) -> None:
    """Files beside a module that reads files of its package, also in folders below, are named; those of others not."""
    package.write(a=body, b="def run(): return 1\n", **{"inner/__init__": ""})
    for name in ("table.tsv", "templates/page.html", "inner/other.tsv", "__pycache__/a.pyc", "__pycache__/b"):
        (package.folder / name).parent.mkdir(exist_ok=True)
        (package.folder / name).write_text("x")
    expected = (package.folder / "table.tsv", package.folder / "templates" / "page.html")
    assert code_of(package.load("a").run).files == expected
    assert code_of(package.load("b").run).files == ()


def test_data_of_another_package(package: Package) -> None:
    """A package that is named in a text is searched for files without being imported."""
    package.write(
        **{"inner/__init__": "raise RuntimeError"},
        a="from importlib import resources\nPLACE = 'PKG.inner'\ndef run(): return resources.files(PLACE)\n",
    )
    (package.folder / "inner" / "table.tsv").write_text("x")
    assert package.folder / "inner" / "table.tsv" in code_of(package.load("a").run).files


# --- the same everywhere


def test_hash_seed_and_place_do_not_matter(package: Package, tmp_path: Path) -> None:
    """Two processes with other hash seeds, and a copy in another folder, give the same code."""
    package.write(
        **RICH,
        here="import os\nHERE = os.path.dirname(__file__)\nSETS = {'a', 'b'}\ndef run(): return HERE, {'x'} | SETS\n",
    )
    script = f"""
from {package.name}.step import Step
from {package.name}.here import run
from mer_pipeline.store.code import code_of
print(code_of(Step({{'p', 'q', 'r'}}), run).definitions)
"""
    shutil.copytree(package.folder, tmp_path / "elsewhere" / package.name)
    outs = [
        subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
        for env in (
            _env(package, PYTHONHASHSEED="1"),
            _env(package, PYTHONHASHSEED="2"),
            _env(package) | {"PYTHONPATH": f"{tmp_path / 'elsewhere'}{os.pathsep}{ROOT}"},
        )
    ]
    assert outs[0] == outs[1] == outs[2]
    assert "here.HERE" in outs[0]
    assert str(tmp_path) not in outs[0]


def test_scripts_are_named_by_their_file(package: Package) -> None:
    """A script's definitions have the same names wherever it lies; what only a script runs is no effect."""
    package.write(
        script="""
from mer_pipeline.store.code import code_of
class Mine:
    def go(self): return helper() * SCALE
def helper(): return 1
if __name__ == "__main__":
    SCALE = 3
    print(*code_of(Mine()).definitions)
"""
    )
    out = subprocess.run(
        [sys.executable, package.folder / "script.py"], env=_env(package), capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["script.Mine", "script.SCALE", "script.helper", "value:script.Mine"]


@pytest.mark.parametrize("root", ["run", "Run"])
def test_code_without_source(root: str) -> None:
    """What exec made counts by its byte code and the names in it."""

    def made(number: int, helper: int) -> Code:
        space: dict[str, object] = {"__name__": "made"}
        exec(f"def helper(): return {helper}\ndef run(): return helper() + {number}\nclass Run:\n    run = run", space)
        return code_of(space[root])

    assert made(1, 1) == made(1, 1)
    assert len({str(code.definitions) for code in (made(1, 1), made(2, 1), made(1, 2))}) == 3


# --- this project

FACES = AppearanceParams(family="appearance", input="faces")


def own_transforms() -> list[Transform]:
    """All that need no checkpoint."""
    return [
        SampleFrames(FrameParams(), Path("x")),
        FollowFaces(MtcnnParams(), Path("x")),
        ChooseFace(PrimaryParams()),
        Enrich(ByRulesParams(), MER_CLASSES),
        RenderPrompt(ByServerParams(model="m"), MER_CLASSES),
        MeasureCues(),
        Appearance("a", FACES),
        FaceGeometry("g", FaceGeometryParams(family="face-geometry", input="faces")),
        LogMel("l", LogMelParams(family="logmel", input="audio")),
        CharNgram("c", CharNgramParams(family="char-ngram", input="transcript")),
    ]


def test_frame_sampling() -> None:
    """From the class over the choice of frames to the decoder, with the libraries that compute."""
    code = code_of(SampleFrames(FrameParams(), Path("x")))
    assert {
        "mer_pipeline.vision.frames.sample_indices",
        "mer_pipeline.media.decode.read_pictures",
    } <= code.definitions.keys()
    assert {"av", "numpy", "PIL"} <= code.libraries
    assert not {"torch", "transformers"} & code.libraries


@pytest.mark.parametrize("transform", own_transforms(), ids=lambda transform: transform.name)
def test_runner_and_engines_are_outside(transform: Transform) -> None:
    """How clips are run decides no value, and no module is too dark to be resolved by definition."""
    names = code_of(transform).definitions.keys()
    outside = {"run", "engines", "runtime", "store", "cli"}
    assert not [name for name in names if outside & set(name.split(".")[1:2])]
    assert not [name for name in names if name in sys.modules]


def test_template_enrichment_reads_its_lexicon() -> None:
    """Package data behind two calls and a cache."""
    assert [path.name for path in code_of(Enrich(ByRulesParams(), MER_CLASSES)).files] == ["polarity.tsv"]


def test_encoders_reach_their_base() -> None:
    """Pooling is in the base of all encoders."""
    assert f"{Encoder.__module__}.Encoder" in code_of(Appearance("a", FACES)).definitions


def test_it_is_fast() -> None:
    """All transforms together take a fraction of a second, so that a stage that has nothing to do is instant."""
    transforms = own_transforms()
    started = time.perf_counter()
    for transform in transforms:
        code_of(transform)
    assert time.perf_counter() - started < 2  # loose: others may use the machine


MUTANTS = [
    ("vision/frames.py", "np.arange(params.n) + 0.5", "np.arange(params.n) + 0.4", "vision.frames.sample_indices"),
    ("vision/frames.py", "MAX_MOMENTS = 1_000_000", "MAX_MOMENTS = 1_000_001", "vision.frames.MAX_MOMENTS"),
    ("vision/frames.py", "moments + 1e-6", "moments + 1e-5", "vision.frames._shown_at"),
    ("media/jpeg.py", "subsampling=2", "subsampling=1", "media.jpeg.encode"),
    ("media/jpeg.py", "reducing_gap=3.0", "reducing_gap=2.0", "media.jpeg.shrink"),
    ("config/section.py", 'extra="forbid"', 'extra="ignore"', "config.section.Section"),
    ("base/errors.py", "exit_code = 1", "exit_code = 3", "base.errors.MerError"),
]  # fmt: skip


def test_mutants_of_this_project_are_seen(package: Package) -> None:
    """In a copy of this package, each changed constant shows at its definition; the others keep their digests."""
    shutil.copytree(ROOT / "mer_pipeline", package.folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in package.folder.rglob("*.py"):
        path.write_text(path.read_text().replace("mer_pipeline", package.name))

    def code() -> dict[str, str]:
        frames, own = package.load("vision.frames"), importlib.import_module(f"{package.name}.store.code")
        return package.short(own.code_of(frames.SampleFrames(frames.FrameParams(), Path("x"))))

    before = code()
    for file, old, new, where in MUTANTS:
        path = package.folder / file
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        difference = {key for key in changed(before, code()) if not key.startswith("value:")}
        path.write_text(text)
        assert difference == {where}
    assert code() == before
