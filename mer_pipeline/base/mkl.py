"""Make MKL, which is part of torch, compute on every x86-64 CPU as it does on an AMD CPU with AVX2.

MKL looks up the CPU's vendor. On Intel CPUs it uses other code for matrix products, Fourier transforms and elementary
functions, which rounds differently. MKL has no setting for that choice, but it stores the answers of two functions:
`mkl_serv_intel_cpu_true` (is the vendor Intel?) and `mkl_serv_cpuiszen` (is it an AMD CPU with AVX2?). This module
writes "no" and "yes" into the two variables before MKL asks.

Both functions are exported by torch's library, and each begins with an instruction that reads its variable, so the
machine code of the function gives the variable's address. The code is compared with the expected pattern before
anything is written. If the pattern is missing, an error is raised, so that no result can silently differ.
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

UNKNOWN, NO, YES = -1, 0, 1  # values of MKL's variables; UNKNOWN until the function was called
ANSWERS = {"mkl_serv_intel_cpu_true": NO, "mkl_serv_cpuiszen": YES}
# mov DISTANCE(%rip),%eax; test %eax,%eax: the function loads its stored answer and tests it.
READ = re.compile(rb"\x8b\x05(.{4})\x85\xc0", re.DOTALL)
CODE = 96  # how many bytes of a function are searched

_needed = False  # whether this process computes anything, so that a problem with MKL is an error
_problem: NumericsError | None = None  # why MKL's answers could not be set


def hold_on_import() -> None:
    """Set MKL's answers as soon as torch is imported, before anything can compute with it.

    If torch is imported already, they are set now.
    """
    if "torch" in sys.modules:
        _hold()
    elif not any(isinstance(finder, _Torch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Torch())


def check() -> None:
    """Make sure that MKL's answers are set, or will be set when torch is imported.

    A process that only reads features need not call this.

    Raises:
        NumericsError: MKL has already found other answers by itself, or its code does not have the expected form.
    """
    global _needed
    _needed = True
    if _problem is not None:
        raise _problem


def answers() -> dict[str, int]:
    """Return the answers that MKL has stored, by the name of the function; nothing where torch has no MKL."""
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
    """Return torch's library, which contains MKL; None where torch was built without MKL."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    library = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / "libtorch_cpu.so"))
    return library if hasattr(library, "mkl_serv_cpu_detect") else None


def _remembered(library: ctypes.CDLL, function: str) -> ctypes.c_int:
    """Return the variable in which a function of MKL stores its answer.

    Raises:
        NumericsError: the function is missing, or its machine code does not have the expected form.
    """
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
    """An import hook that finds torch as the other finders do, and sets MKL's answers when torch has been loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the import specification of torch; None for other modules, so that Python asks the next finder.

        Python also calls this when a program only asks where torch lies, so MKL is set later, by the loader.
        """
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
