"""MKL, which is part of torch, does on every x86-64 CPU what it does on an AMD one with AVX2.

MKL asks for the CPU's maker and takes other products, Fourier transforms and functions on Intel CPUs, which round
otherwise. It has no setting for that, but it remembers the two answers, and here they are written before it asks:
`mkl_serv_intel_cpu_true` (is the maker Intel?) is no, and `mkl_serv_cpuiszen` (AMD with AVX2?) is yes. Both functions
are exported, and each begins by reading its remembered answer, so the function's code says where that is. The code is
compared with what is expected before anything is written: a torch whose MKL looks otherwise is an error, not another
value.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from mer_pipeline.base.errors import NumericsError

UNKNOWN, NO, YES = -1, 0, 1  # what MKL has remembered
ANSWERS = {"mkl_serv_intel_cpu_true": NO, "mkl_serv_cpuiszen": YES}
# mov DISTANCE(%rip),%eax; test %eax,%eax: the remembered answer is read, and looked at.
READ = re.compile(rb"\x8b\x05(.{4})\x85\xc0", re.DOTALL)
CODE = 96  # bytes of a function that are searched

_needed = False  # whether anything is computed here
_problem: NumericsError | None = None  # why MKL is not held


def hold_on_import() -> None:
    """Hold MKL as soon as torch is imported, which is before anything can compute with it; now, if it is already."""
    if "torch" in sys.modules:
        _hold()
    elif not any(isinstance(finder, _Torch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Torch())


def check() -> None:
    """Make sure that MKL is held, or will be when torch is imported. Who only reads features never needs it.

    Raises:
        NumericsError: MKL has asked already and computes otherwise, or it is of a make that is not known here.
    """
    global _needed
    _needed = True
    if _problem is not None:
        raise _problem


def answers() -> dict[str, int]:
    """What MKL remembers, by function; nothing where torch has no MKL."""
    library = _library()
    return {} if library is None else {name: _remembered(library, name).value for name in ANSWERS}


def _hold() -> None:
    global _problem
    try:
        library = _library()
        if library is None:
            return
        for function, answer in ANSWERS.items():
            place = _remembered(library, function)
            if place.value not in {UNKNOWN, answer}:
                raise NumericsError(
                    "torch has computed before mer_pipeline was imported, and MKL rounds by this CPU's maker since; "
                    "import mer_pipeline first"
                )
            place.value = answer
    except NumericsError as error:
        _problem = error
        if _needed:
            raise


def _library() -> ctypes.CDLL | None:
    """What has MKL in it; None where torch was built without."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    library = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / "libtorch_cpu.so"))
    return library if hasattr(library, "mkl_serv_cpu_detect") else None


def _remembered(library: ctypes.CDLL, function: str) -> ctypes.c_int:
    """The variable in which a function of MKL keeps its answer."""
    there = hasattr(library, function)
    start = ctypes.cast(getattr(library, function), ctypes.c_void_p).value if there else None
    read = READ.search(ctypes.string_at(start, CODE)) if start else None
    if start is None or read is None:
        raise NumericsError(
            f"this torch has an MKL that cannot be held to one rounding ({function} is not as expected); "
            "install the torch of requirements.lock, or say numerics: native in params.yaml"
        )
    after = start + read.end(1)
    return ctypes.c_int.from_address(after + int.from_bytes(read[1], "little", signed=True))


class _Torch:
    """Finds torch as the other finders do, and holds MKL when torch has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Only torch's; None lets Python go on. It may be asked by somebody who only wants to know where torch is."""
        if name != "torch":
            return None
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, found), None)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_hold(module: ModuleType) -> None:
            load(module)
            _hold()

        spec.loader.exec_module = load_and_hold  # type: ignore[method-assign]
        return spec
