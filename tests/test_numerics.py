"""Libraries are held to AVX2 wherever rows or heads are computed, or it is an error."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mer_pipeline.base import numerics
from mer_pipeline.base.encoder import make_encoder
from mer_pipeline.base.errors import NumericsError
from mer_pipeline.base.runtime import Runtime
from mer_pipeline.config.params import load_params
from mer_pipeline.engines.base import set_up
from mer_pipeline.speech.track import AudioParams, ExtractAudio
from mer_pipeline.tables.rows import complete_row
from tests.conftest import clip, listed, valid
from tests.golden import values
from tests.project import ROOT

x86 = pytest.mark.skipif(not numerics.is_x86(), reason="not an x86-64 CPU: there is nothing to hold")

# What each library says of itself, as JSON.
SAYS = """
def says():
    import ctypes, scipy.linalg, torch, av._core
    from mer_pipeline.base import mkl
    from mer_pipeline.base.numerics import hold_ffmpeg
    from numpy._core._multiarray_umath import __cpu_features__ as numpy_has
    from threadpoolctl import threadpool_info
    hold_ffmpeg()
    libtorch = ctypes.CDLL(torch.__path__[0] + "/lib/libtorch_cpu.so")
    return {
        "numpy": sorted(name for name, has in numpy_has.items() if has and name in ("X86_V3", "X86_V4", "AVX512_ICL")),
        "openblas": [pool["architecture"] for pool in threadpool_info() if pool["internal_api"] == "openblas"],
        "torch": torch.backends.cpu.get_cpu_capability(),
        "mkl is held": libtorch.mkl_serv_cbwr_get(1) != 1,
        "mkl takes the CPU for": mkl.answers(),
        "ffmpeg has AVX-512": bool(ctypes.CDLL(av._core.__file__).av_get_cpu_flags() & 0x300000),
    }
"""
AVX2 = {
    "numpy": ["X86_V3"],
    "openblas": ["Haswell", "Haswell"],
    "torch": "AVX2",
    "mkl is held": True,
    "mkl takes the CPU for": {"mkl_serv_intel_cpu_true": 0, "mkl_serv_cpuiszen": 1},
    "ffmpeg has AVX-512": False,
}


def python(code: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own that no other has told what to do."""
    clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder), **environment}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True)


def project(folder: Path, first_line: str) -> Path:
    """A params.yaml that begins so."""
    (folder / "params.yaml").write_text(f"{first_line}\n{(ROOT / 'params.yaml').read_text().replace('numerics:', '#')}")
    return folder


@x86
def test_every_library_is_held_in_a_stage() -> None:
    """Each says so itself after a stage's script was loaded, in the main thread and in another."""
    done = python(f"""{SAYS}
import json, runpy
from concurrent.futures import ThreadPoolExecutor
runpy.run_path("stages/embed.py")
with ThreadPoolExecutor(1) as pool:
    print(json.dumps([says(), pool.submit(says).result()]))
""")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [AVX2, AVX2]


@x86
def test_every_library_is_held_in_the_tests() -> None:
    """No plugin and no conftest.py was faster; threads compute as the main one does."""
    names: dict[str, object] = {}
    exec(SAYS, names)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(names["says"]).result() == AVX2  # type: ignore[arg-type]
    numerics.check()


@x86
@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_a_library_that_was_loaded_first_is_an_error(library: str) -> None:
    """A stage says which and how to mend it, and computes nothing."""
    done = python(f"import {library}, runpy; runpy.run_path('stages/frames.py')['main']()")
    assert done.returncode == 2
    assert f"{library} was loaded before mer_pipeline" in done.stderr
    assert "import mer_pipeline first" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@x86
def test_heads_are_not_trained_with_a_library_that_was_loaded_first() -> None:
    """Also where somebody trains without a stage."""
    done = python("""
        import torch
        from mer_pipeline.training.member import fit_plans
        fit_plans("logreg", None, [], 2)
    """)
    assert "NumericsError: torch was loaded before mer_pipeline" in done.stderr


@x86
def test_a_library_that_was_loaded_first_may_have_been_told_already() -> None:
    """The variables can be set before Python starts instead."""
    variables = {name: value for pins in numerics.PINS.values() for name, value in pins.items()}
    done = python("import numpy; from mer_pipeline.base.numerics import check; check()", **variables)
    assert done.returncode == 0, done.stderr


@x86
def test_native_leaves_the_libraries_alone(tmp_path: Path) -> None:
    """No variable is set, also where one was inherited from a process that sets them."""
    code = """
        import os
        from mer_pipeline.base.numerics import PINS
        print([name for pins in PINS.values() for name in pins if name in os.environ])
    """
    done = python(code, project(tmp_path, "numerics: native"), ATEN_CPU_CAPABILITY="avx2", OPENBLAS_CORETYPE="Zen")
    assert done.stdout == "[]\n", done.stderr


def test_native_rows_have_a_key_of_their_own(tmp_path: Path) -> None:
    """It names the CPU; the one of AVX2 names no machine, but all that is set."""
    code = "from mer_pipeline.base import numerics; numerics.check(); print(numerics.key())"
    native = python(code, project(tmp_path, "numerics: native")).stdout.strip()
    assert native == f"native {numerics.cpu()}"
    if numerics.is_x86():
        assert numerics.key().startswith("avx2 ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2,STRICT ")
        assert "vendor_id" not in numerics.key()


@pytest.mark.parametrize("line", ['"numerics": native', "numerics: !!str native"])
def test_what_the_early_reader_does_not_understand_is_an_error(tmp_path: Path, line: str) -> None:
    """It reads one line before there is a YAML reader; where the two differ nothing is computed."""
    done = python("from mer_pipeline.config.params import load_params; load_params()", project(tmp_path, line))
    assert "params.yaml says numerics: native, but this process computes with numerics: avx2" in done.stderr


@x86
def test_a_variable_that_somebody_changes_later_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is loaded after that would compute otherwise."""
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    with pytest.raises(NumericsError, match="MKL_CBWR was changed after"):
        numerics.check()


@x86
def test_a_cpu_without_avx2_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what is missing, and what to do."""
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nflags\t\t: fpu sse2 avx bmi1\n\nprocessor\t: 1\nflags\t\t: avx2\n"
    )
    monkeypatch.setattr(numerics, "CPU_INFO", tmp_path / "cpuinfo")
    numerics._cpu_info.cache_clear()
    with pytest.raises(NumericsError, match=r"no avx2, bmi2, fma, .* numerics: native"):
        numerics.check()
    numerics._cpu_info.cache_clear()


def test_mer_pipeline_is_imported_before_any_library() -> None:
    """In every script that imports it; ruff sorts so (mend: ruff check --fix)."""
    for path in [*ROOT.glob("stages/*.py"), *ROOT.glob("benchmarks/**/*.py")]:
        body = ast.parse(path.read_text()).body
        tops = []
        for node in (node for node in body if isinstance(node, ast.Import | ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            tops += [name.partition(".")[0] for name in names]
        foreign = [top for top in tops if top not in sys.stdlib_module_names]
        assert "mer_pipeline" not in foreign or foreign[0] == "mer_pipeline", path


MKL_SAYS = "print(mkl.answers(), libtorch.mkl_serv_intel_cpu_true(), libtorch.mkl_serv_cpuiszen())"
LIBTORCH = "import ctypes; libtorch = ctypes.CDLL(torch.__path__[0] + '/lib/libtorch_cpu.so'); "
MAKER_OF_CPU = "{'mkl_serv_intel_cpu_true': 0, 'mkl_serv_cpuiszen': 1} 0 1\n"


@x86
def test_mkl_is_held_also_where_somebody_asked_for_torch_before() -> None:
    """As libraries do that can use torch and can do without; MKL itself then answers what it was told."""
    done = python(f"""
        import importlib.util
        from mer_pipeline.base import mkl
        assert importlib.util.find_spec("torch")
        import torch
        {LIBTORCH}{MKL_SAYS}
    """)
    assert done.stdout == MAKER_OF_CPU, done.stderr


@x86
def test_native_leaves_mkl_alone(tmp_path: Path) -> None:
    """It finds out by itself what CPU this is."""
    code = f"from mer_pipeline.base import mkl; import torch; {LIBTORCH}{MKL_SAYS}"
    done = python(code, project(tmp_path, "numerics: native"))
    assert done.stdout.startswith("{'mkl_serv_intel_cpu_true': -1, 'mkl_serv_cpuiszen': -1} "), done.stderr


@x86
def test_mkl_that_has_computed_for_this_cpus_maker_is_an_error() -> None:
    """Whoever sets the variables before Python starts can use torch first, but has to import mer_pipeline before that
    computes; who computes nothing is not stopped."""
    variables = {name: value for pins in numerics.PINS.values() for name, value in pins.items()}
    code = f"""
        import torch
        {LIBTORCH}
        {{}}
        import mer_pipeline
        from mer_pipeline.base.numerics import check
        print("reads")
        check()
    """
    done = python(code.format("pass"), **variables)
    assert done.returncode == 0, done.stderr
    asked = "libtorch.mkl_serv_cpuiszen(), libtorch.mkl_serv_intel_cpu_true()"
    done = python(code.format(asked), **variables)
    if "AuthenticAMD" in numerics.cpu():
        assert done.returncode == 0, done.stderr
    else:
        assert done.stdout == "reads\n"
        assert "NumericsError: torch has computed before mer_pipeline was imported" in done.stderr


@x86
def test_an_mkl_that_is_not_known_is_an_error_where_something_is_computed() -> None:
    """Another release of torch may have another MKL. It stops at once where a stage has begun, and reading goes on."""
    strange = "from mer_pipeline.base import mkl; mkl.ANSWERS = {'mkl_serv_cpu_detect': 1}; "
    done = python(f"{strange}import torch; print('reads'); mkl.check()")
    assert done.stdout == "reads\n"
    assert "NumericsError: this torch has an MKL that cannot be held to one rounding" in done.stderr
    assert "say numerics: native" in done.stderr
    done = python(f"{strange}mkl.check(); import torch; print('computes')")
    assert done.stdout == ""
    assert "cannot be held" in done.stderr


# The golden digests are those of an AMD CPU without AVX-512, where nothing has to be held.
GOLDEN = json.loads(values.GOLDEN.read_text())
CLIP, FILM = values.SAMPLE, f"video/{values.SAMPLE}.mp4"


@pytest.fixture(scope="module")
def sound() -> dict[str, object]:
    """The row of a demo clip's sound."""
    params = load_params(ROOT / "params.yaml")
    root = ROOT / params.dataset.root
    transform = ExtractAudio(AudioParams(), root)
    row = transform.infer([transform.prepare(clip(CLIP, manifest=listed(root, FILM)))])[0]
    assert isinstance(row, dict)
    return complete_row(CLIP, "", row, None, transform.schema)


@x86
def test_sound_is_that_of_a_cpu_with_nothing_but_avx2(sound: dict[str, object]) -> None:
    """FFmpeg's AAC decoder and resampler compute in float."""
    assert sound["digest"] == GOLDEN["audio"]["sample"]


@x86
def test_spectra_are_those_of_a_cpu_with_nothing_but_avx2(sound: dict[str, object]) -> None:
    """MKL's Fourier transform, torch's kernels and NumPy's, one after the other."""
    encoder = make_encoder("voice", load_params(ROOT / "params.yaml").encoders["voice"])
    set_up(encoder, Runtime(device="cpu"))
    row = encoder.infer([encoder.prepare(clip(CLIP, audio=valid(**sound)))])[0]
    assert isinstance(row, dict)
    assert complete_row(CLIP, "", row, None, encoder.schema)["digest"] == GOLDEN["features/voice"]["sample"]
