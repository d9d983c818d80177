"""How numbers are made: every library that computes is held to AVX2, so that all x86-64 machines give the same bytes.

NumPy, torch, OpenBLAS, MKL, oneDNN and FFmpeg choose their code by the CPU, and another choice is another rounding.
Importing `mer_pipeline` imports this module, which sets the variables that they read when they are loaded, and has
`mkl.py` hold what no variable holds; `check` runs before anything is computed, and is an error where one of them was
loaded too early; `key` is a part of every fingerprint. `numerics: native` in params.yaml leaves the choice to the
libraries, under another key. docs/numerics.md says what it costs and what cannot be held.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from mer_pipeline.base import mkl
from mer_pipeline.base.errors import NumericsError
from mer_pipeline.config.project import Project

Numerics: TypeAlias = Literal["avx2", "native"]
AVX2: Numerics = "avx2"
NATIVE: Numerics = "native"

# By the library that reads them when it is loaded. NumPy and SciPy each bring an OpenBLAS, torch brings MKL and oneDNN.
_OPENBLAS = {"OPENBLAS_CORETYPE": "Haswell"}
PINS: Mapping[str, Mapping[str, str]] = {
    "numpy": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", **_OPENBLAS},
    "scipy": _OPENBLAS,
    "torch": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2,STRICT"},
}
# Names of libavutil. CPUs of one instruction set differ in hints, such as slow gathers, that choose code as well.
FFMPEG = "mmx+mmxext+sse+sse2+sse3+ssse3+sse4.1+sse4.2+cmov+avx+avx2+fma3+bmi1+bmi2"
NEEDED = frozenset({"avx2", "fma", "bmi1", "bmi2"})  # flags of a CPU, as Linux calls them

CPU_INFO = Path("/proc/cpuinfo")
PARAMS = Project().params

_mode: Numerics = AVX2
_late: tuple[str, ...] = ()  # libraries that were loaded before their variables were set


def pin(params: Path = PARAMS) -> None:
    """Set, or with `numerics: native` in that file take away, the variables by which libraries choose their code."""
    global _mode, _late
    _mode = _asked(params)
    if not is_x86():
        return
    late = []
    for library, variables in PINS.items():
        wanted = variables if _mode == AVX2 else {}
        as_wanted = all(os.environ.get(name) == wanted.get(name) for name in variables)
        if library in sys.modules and not as_wanted:
            late.append(library)
    for variables in PINS.values():
        for name, value in variables.items():
            if _mode == AVX2:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
    _late = tuple(late)
    if _mode == AVX2 and "torch" not in late:
        mkl.hold_on_import()


def _asked(params: Path) -> Numerics:
    """What the file says. It is searched for one line, because a YAML reader is not there yet; `agree` compares."""
    try:
        found = re.search(r"^numerics:[ \t]*native\b", params.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return AVX2
    return NATIVE if found else AVX2


def agree(numerics: Numerics) -> None:
    """Compare params.yaml, as it was parsed, with how this process computes.

    Raises:
        NumericsError: they differ.
    """
    if numerics != _mode:
        raise NumericsError(
            f"params.yaml says numerics: {numerics}, but this process computes with numerics: {_mode}, which was "
            "decided when mer_pipeline was imported; write the key at the beginning of a line, and start from the "
            "project's folder"
        )


def check() -> None:
    """Make sure that the libraries compute as `numerics` says.

    Raises:
        NumericsError: one was loaded too early, a variable was changed since, or the CPU has no AVX2.
    """
    if not is_x86():
        return
    names = sorted({name for variables in PINS.values() for name in variables})
    if _late:
        raise NumericsError(
            f"{_late[-1]} was loaded before mer_pipeline, which therefore could not say by {', '.join(names)} how it "
            "computes; import mer_pipeline first, or set these variables before Python starts (docs/numerics.md)"
        )
    if _mode == NATIVE:
        return
    changed = [n for variables in PINS.values() for n, value in variables.items() if os.environ.get(n) != value]
    if changed:
        raise NumericsError(
            f"{', '.join(sorted(set(changed)))} was changed after mer_pipeline was imported; leave it alone, or say "
            "numerics: native in params.yaml"
        )
    flags = _cpu_flags()
    if flags is not None and not flags >= NEEDED:
        raise NumericsError(
            f"this CPU has no {', '.join(sorted(NEEDED - flags))}, to which results are held; "
            "say numerics: native in params.yaml"
        )
    mkl.check()


@cache
def hold_ffmpeg() -> None:
    """Hold FFmpeg to AVX2, for all files that are opened from now on. It reads no variable.

    Raises:
        NumericsError: PyAV's FFmpeg lets nobody choose.
    """
    if _mode == NATIVE or not is_x86():
        return
    import av._core

    flags = ctypes.c_uint()
    try:
        # A symbol is looked for in what the module links to as well: in the FFmpeg that it has loaded.
        library = ctypes.CDLL(av._core.__file__)
        if library.av_parse_cpu_caps(ctypes.byref(flags), FFMPEG.encode()) < 0:
            raise NumericsError(f"FFmpeg does not know one of {FFMPEG}; install the version of PyAV in the lock")
        library.av_force_cpu_flags(flags)
    except (OSError, AttributeError) as error:
        raise NumericsError(
            f"FFmpeg cannot be held to AVX2 ({error}); install PyAV from its wheel, or say numerics: native"
        ) from None


def key() -> str:
    """What a fingerprint says of it: "avx2" with all that is set, or "native" with what libraries choose by here."""
    if _mode == NATIVE or not is_x86():
        return f"{NATIVE} {cpu()}"
    pins = {name: value for variables in PINS.values() for name, value in variables.items()}
    told = [*sorted(pins.items()), ("ffmpeg", FFMPEG), *mkl.ANSWERS.items()]
    return " ".join([AVX2, *(f"{name}={value}" for name, value in told)])


def is_x86() -> bool:
    """Whether this machine's CPU is of the kind that there is a choice for."""
    return platform.machine().lower() in {"x86_64", "amd64"}


@cache
def cpu() -> str:
    """This machine's CPU in one line: kind, maker, model and vector instructions, as far as the system tells."""
    told = _cpu_info()
    parts = [platform.machine()]
    for name in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part"):
        if name in told:
            parts.append(f"{name} {told[name]}")
    flags = told.get("flags", told.get("Features", "")).split()
    vector = r"sse|ssse|avx|fma|f16c|bmi|amx|asimd|sve|sme2?$|bf16|i8mm|fphp"
    return " ".join([*parts, *sorted(flag for flag in flags if re.match(vector, flag))])


def _cpu_flags() -> frozenset[str] | None:
    """None where the system does not tell."""
    told = _cpu_info()
    return frozenset(told["flags"].split()) if "flags" in told else None


@cache
def _cpu_info() -> Mapping[str, str]:
    """What Linux says of the first CPU; nothing elsewhere."""
    try:
        first = CPU_INFO.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


pin()
