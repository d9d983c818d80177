"""Hold every numerical library to the AVX2 instruction set, so that all x86-64 machines compute the same bytes.

NumPy, torch, OpenBLAS, MKL, oneDNN and FFmpeg choose their code by the CPU, and other code rounds differently.
Importing `mer_pipeline` imports this module. It sets the environment variables that these libraries read when they are
loaded; `mkl.py` sets what MKL offers no variable for. `check` runs before anything is computed, and raises an error if
a library was loaded too early. `key` is a part of every fingerprint. `numerics: native` in params.yaml leaves the
choice to the libraries, and changes the fingerprint. docs/numerics.md says what AVX2 costs and what it cannot ensure.
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

# The variables by the library that reads them when it is loaded. NumPy and SciPy each contain an OpenBLAS; torch
# contains MKL and oneDNN.
_OPENBLAS = {"OPENBLAS_CORETYPE": "Haswell"}
PINS: Mapping[str, Mapping[str, str]] = {
    "numpy": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR", **_OPENBLAS},
    "scipy": _OPENBLAS,
    "torch": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2,STRICT"},
}
# CPU flags by their names in libavutil. FFmpeg also chooses code by flags for slow instructions, such as slow gathers,
# which differ between CPUs with the same instruction set; they are therefore left out.
FFMPEG = "mmx+mmxext+sse+sse2+sse3+ssse3+sse4.1+sse4.2+cmov+avx+avx2+fma3+bmi1+bmi2"
NEEDED = frozenset({"avx2", "fma", "bmi1", "bmi2"})  # CPU flags by their names in Linux

CPU_INFO = Path("/proc/cpuinfo")
PARAMS = Project().params

_mode: Numerics = AVX2
_late: tuple[str, ...] = ()  # libraries that were loaded before their variables were set


def pin(params: Path = PARAMS) -> None:
    """Set the environment variables by which libraries choose their code.

    If the params file says `numerics: native`, the variables are removed instead.

    Args:
        params: the params file.
    """
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
    """Return what the params file says of `numerics`.

    The file is only searched for one line, because a YAML parser should not be imported this early. Later, `agree`
    compares the result with the parsed file.
    """
    try:
        found = re.search(r"^numerics:[ \t]*native\b", params.read_text(encoding="utf-8"), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return AVX2
    return NATIVE if found else AVX2


def agree(numerics: Numerics) -> None:
    """Make sure that this process computes as the parsed params.yaml says.

    Args:
        numerics: the value in the parsed params.yaml.

    Raises:
        NumericsError: this process computes otherwise.
    """
    if numerics != _mode:
        raise NumericsError(
            f"params.yaml says numerics: {numerics}, but this process computes with numerics: {_mode}, which was "
            "decided when mer_pipeline was imported; write the key at the beginning of a line, and start from the "
            "project's folder"
        )


def check() -> None:
    """Make sure that the libraries compute as `numerics` in params.yaml says. On other CPUs than x86-64, do nothing.

    Raises:
        NumericsError: a library was loaded too early, a variable was changed since, the CPU has no AVX2, or MKL's
            answers could not be set (`mkl.check`).
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
    """Hold FFmpeg to AVX2 for all files that are opened from now on.

    FFmpeg reads no environment variable for this, so a function of its library is called.

    Raises:
        NumericsError: the FFmpeg inside PyAV has no such function, or does not know one of the flags.
    """
    if _mode == NATIVE or not is_x86():
        return
    import av._core

    flags = ctypes.c_uint()
    try:
        # The loader also searches the libraries that this module links to, so it finds the FFmpeg that PyAV uses.
        library = ctypes.CDLL(av._core.__file__)
        if library.av_parse_cpu_caps(ctypes.byref(flags), FFMPEG.encode()) < 0:
            raise NumericsError(f"FFmpeg does not know one of {FFMPEG}; install the version of PyAV in the lock")
        library.av_force_cpu_flags(flags)
    except (OSError, AttributeError) as error:
        raise NumericsError(
            f"FFmpeg cannot be held to AVX2 ({error}); install PyAV from its wheel, or say numerics: native"
        ) from None


def key() -> str:
    """Return the part of a fingerprint that says how libraries compute.

    Returns:
        "avx2" and all settings that were made; or "native" and a description of this machine's CPU, by which the
        libraries choose their code.
    """
    if _mode == NATIVE or not is_x86():
        return f"{NATIVE} {cpu()}"
    pins = {name: value for variables in PINS.values() for name, value in variables.items()}
    told = [*sorted(pins.items()), ("ffmpeg", FFMPEG), *mkl.ANSWERS.items()]
    return " ".join([AVX2, *(f"{name}={value}" for name, value in told)])


def is_x86() -> bool:
    """Return whether this machine's CPU is an x86-64 one; only these are held to AVX2."""
    return platform.machine().lower() in {"x86_64", "amd64"}


@cache
def cpu() -> str:
    """Return one line about this machine's CPU: architecture, vendor, model and vector instructions.

    Outside Linux it has the architecture only.
    """
    told = _cpu_info()
    parts = [platform.machine()]
    for name in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part"):
        if name in told:
            parts.append(f"{name} {told[name]}")
    flags = told.get("flags", told.get("Features", "")).split()
    vector = r"sse|ssse|avx|fma|f16c|bmi|amx|asimd|sve|sme2?$|bf16|i8mm|fphp"
    return " ".join([*parts, *sorted(flag for flag in flags if re.match(vector, flag))])


def _cpu_flags() -> frozenset[str] | None:
    """Return the flags of the CPU; None where the system does not list them."""
    told = _cpu_info()
    return frozenset(told["flags"].split()) if "flags" in told else None


@cache
def _cpu_info() -> Mapping[str, str]:
    """Return the entries of /proc/cpuinfo for the first CPU; nothing on systems without that file."""
    try:
        first = CPU_INFO.read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


pin()
