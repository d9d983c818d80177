"""The command `mer doctor`: look at all that a run needs, and say what is wrong and how to mend it.

Each check is a function that returns findings, and they are printed as they come. Nothing is changed, repaired or
downloaded.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from mer_pipeline.base.errors import MerError, ReadOnlyStore
from mer_pipeline.base.runtime import Runtime, load_runtime
from mer_pipeline.cli.units import size_text
from mer_pipeline.config.params import Params, load_params
from mer_pipeline.config.project import Project

State = Literal["ok", "note", "wrong"]

LITTLE = 5e9  # bytes of free disk below which it is mentioned
TOO_LITTLE = 5e8  # bytes of free disk below which it is wrong
WAIT_S = 5.0  # seconds that a server has for its answer
HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        what: was looked at, in a word or two.
        state: "wrong" where a run would fail; "note" where it works and something is worth knowing.
        text: what was found; where it is wrong, also how to mend it.
    """

    what: str
    state: State
    text: str

    def __str__(self) -> str:
        return f"{self.state:<6}{self.what:<12}{self.text}"


def doctor(project: Project) -> int:
    """Print all findings, and return 1 if any is wrong, else 0."""
    wrong = 0
    for finding in findings(project):
        print(finding, flush=True)
        wrong += finding.state == "wrong"
    print(f"{wrong} to mend" if wrong else "all is well")
    return int(wrong > 0)


def findings(project: Project) -> Iterator[Finding]:
    """Look at everything, the cheap first. What cannot be looked at because something before it is wrong is left out.

    Args:
        project: the project in the current folder.
    """
    yield from _guarded("Python", _python)
    yield from _guarded("libraries", _libraries)
    yield from _guarded("code", partial(_code, project))
    yield from _guarded("decoder", _decoder)
    settings: list[Runtime] = []
    params: list[Params] = []
    yield from _guarded("settings", partial(_settings, project, settings))
    yield from _guarded("params", partial(_params, project, params))
    yield from _guarded("disk", partial(_disk, project))
    yield from _guarded("DVC", partial(_dvc, project))
    for runtime in settings:
        yield from _guarded("device", partial(_device, runtime))
        yield from _guarded("store", partial(_store, runtime))
    for read in params:
        yield from _guarded("dataset", partial(_dataset, read))
        yield from _checkpoints(read)
        for runtime in settings:
            yield from _guarded("LLM server", partial(_server, read, runtime))
    yield from _guarded("hub", _hub)


def _guarded(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Run a check. An error that this project raises on purpose is what it found: its message has the remedy."""
    try:
        yield from check()
    except MerError as error:
        yield Finding(what, "wrong", str(error))


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("Python", "ok", found)


def _libraries() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in metadata.requires("mer-pipeline") or ()]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = []
    for one in needed:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if version not in one.specifier:
            wrong.append(f"{one.name} is {version} and not {one.specifier}")
    if wrong:
        yield Finding("libraries", "wrong", f"{'; '.join(wrong)}: run `make setup`, and use .venv/bin")
    else:
        yield Finding("libraries", "ok", f"all {len(needed)} in versions that fit, torch {metadata.version('torch')}")


def _code(project: Project) -> Iterator[Finding]:
    import mer_pipeline
    from mer_pipeline.stage.checkout import check_code

    check_code(project.root)
    yield Finding("code", "ok", f"mer_pipeline in {Path(mer_pipeline.__file__).parent}")


def _decoder() -> Iterator[Finding]:
    import av

    number = av.library_versions["libavcodec"][0]
    own = "in processes of its own" if sys.platform == "linux" else "in the stage's own process: isolation needs Linux"
    yield Finding("decoder", "ok", f"FFmpeg by PyAV {metadata.version('av')} (libavcodec {number}), {own}")


def _settings(project: Project, found: list[Runtime]) -> Iterator[Finding]:
    found.append(load_runtime(project.settings))
    runtime = found[0]
    where = project.name_of(project.settings) if project.settings.exists() else "defaults; there is no .mer.toml"
    yield Finding("settings", "ok", f"{where}: {runtime.workers} workers, batch {runtime.batch}")


def _params(project: Project, found: list[Params]) -> Iterator[Finding]:
    found.append(load_params(project.params))
    params = found[0]
    yield Finding("params", "ok", f"{len(params.encoders)} encoders, {len(params.judges)} judges")


def _disk(project: Project) -> Iterator[Finding]:
    from mer_pipeline.store.root import free_bytes

    free = free_bytes(project.data)
    text = f"{size_text(free)} free for data/"
    state: State = "wrong" if free < TOO_LITTLE else "note" if free < LITTLE else "ok"
    yield Finding("disk", state, text if state == "ok" else f"{text}; `mer plan` says what a run needs")


def _dvc(project: Project) -> Iterator[Finding]:
    from mer_pipeline.base.atomic import left_behind
    from mer_pipeline.stage.leftovers import torn_locks

    root = project.root.absolute()
    at = next((above for above in (root, *root.parents) if (above / ".dvc").is_dir()), None)
    if at is None:
        yield Finding("DVC", "wrong", "this folder is in no DVC repository: run `git init` and `dvc init` in it")
        return
    torn = torn_locks(project)
    for path in torn:
        text = f"{path.relative_to(at)} is torn: run `make repro`, or remove it while no dvc runs"
        yield Finding("DVC", "wrong", text)
    if not torn:
        yield Finding("DVC", "ok", f"{metadata.version('dvc')}, repository {'here' if at == root else at}")
    for folder in project.folders:
        for path in sorted(left_behind(folder)):
            text = f"{project.name_of(path)} was left behind by a run that was killed; the next stage removes it"
            yield Finding("leftovers", "note", text)


def _device(runtime: Runtime) -> Iterator[Finding]:
    kind = runtime.device_kind()
    if kind == "cuda":
        import torch

        card = torch.cuda.get_device_properties(0)
        yield Finding("device", "ok", f"{card.name}, {size_text(card.total_memory)}, CUDA {torch.version.cuda}")
    elif any(Path("/dev").glob("nvidia[0-9]*")) and runtime.device == "auto":
        yield Finding("device", "note", "there is an NVIDIA device and torch sees none (driver?); the CPU is used")
    else:
        yield Finding("device", "ok", "CPU")


def _store(runtime: Runtime) -> Iterator[Finding]:
    from mer_pipeline.base.atomic import TEMPORARY
    from mer_pipeline.store.root import StorageRoot, free_bytes

    url = runtime.store_url
    if url is None:
        yield Finding("store", "note", "none (MER_STORE=none): every row is computed")
        return
    root = StorageRoot(url)
    root.folders()
    place = root.local("")
    room = "" if place is None else f", {size_text(free_bytes(place))} free"
    if place is not None and not place.exists():
        above = next(folder for folder in place.absolute().parents if folder.exists())
        if above.is_dir() and os.access(above, os.W_OK):
            yield Finding("store", "ok", f"{url}, is not there yet and can be made{room}")
            return
    probe = f".doctor.{os.getpid()}{TEMPORARY}"
    try:
        root.write(probe, b"")
        root.remove(probe)
    except ReadOnlyStore as error:
        yield Finding("store", "note", f"{error}; known rows are used, and new ones cannot be kept")
    else:
        yield Finding("store", "ok", f"{url}, can be read and written{room}")


def _dataset(params: Params) -> Iterator[Finding]:
    from mer_pipeline.datasets.adapter import make_adapter

    listing = make_adapter(params.dataset).listing()
    yield Finding("dataset", "ok", f"{params.dataset.root}: {len(listing.entries)} clips")


def _checkpoints(params: Params) -> Iterator[Finding]:
    """Each encoder and judge is made, which is when a stage refuses an unfit checkpoint, too."""
    from mer_pipeline.config.steps import checkpoints, embed, vote
    from mer_pipeline.models.lock import check_locked

    specs = checkpoints(params)
    judges = [name for name, judge in params.judges.items() if not judge.is_head]
    steps = {name: embed(params, name) for name in params.encoders} | {
        f"vote-{name}": vote(params, name) for name in judges
    }

    def look(name: str) -> Iterator[Finding]:
        if name in steps:
            steps[name].make()
        if name not in specs:
            return
        check_locked({name: specs[name]})
        yield Finding("checkpoint", "ok", f"{name}: {specs[name]}")

    for name in dict.fromkeys([*steps, *specs]):
        yield from _guarded("checkpoint", partial(look, name))


def _server(params: Params, runtime: Runtime) -> Iterator[Finding]:
    from mer_pipeline.base.runtime import llm_url
    from mer_pipeline.enrich.backend import LanguageModelParams

    if not (isinstance(params.enrich, LanguageModelParams) and params.enrich.by_server):
        return
    url = llm_url(runtime.llm)
    key = os.environ.get(runtime.llm.key_env, "").strip()
    status = _status(url, "/models", {"Authorization": f"Bearer {key}"} if key else {})
    if status is None:
        text = f"nothing answers at {url}: start it, or set url under [llm] in .mer.toml, or MER_LLM_URL"
        yield Finding("LLM server", "wrong", text)
    elif status in {401, 403}:
        text = f"{url} answers HTTP {status}: set the environment variable {runtime.llm.key_env} to its key"
        yield Finding("LLM server", "wrong", text)
    else:
        yield Finding("LLM server", "ok", f"{url} answers")


def _hub() -> Iterator[Finding]:
    url = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if _status(url, "/api/models?limit=1", {}) is None:
        text = f"{url} cannot be reached; only a download of checkpoints needs it (HF_ENDPOINT names a mirror)"
        yield Finding("hub", "note", text)
    else:
        yield Finding("hub", "ok", f"{url} answers")


def _status(url: str, path: str, headers: dict[str, str]) -> int | None:
    """Ask a server, and return the status of its answer; None if there is none within WAIT_S."""
    import time

    from mer_pipeline.enrich.http import CannotConnect, Cut, Http, TooLong

    until = time.monotonic() + WAIT_S

    def patience() -> None:
        if time.monotonic() > until:
            raise TimeoutError

    http = Http(url, headers)
    try:
        return http.request("GET", path, None, WAIT_S, patience).status
    except (CannotConnect, Cut, TimeoutError):
        return None
    except TooLong:
        return 200
    finally:
        http.close()
