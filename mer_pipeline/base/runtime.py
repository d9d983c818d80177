"""Settings that belong to this machine (workers, device, batch size, store; from `.mer.toml`), and signals.

None of them is a parameter of a stage, and none may change a result: whatever is set here, the same params and clips
give the same rows on the same kind of device.
"""

from __future__ import annotations

import os
import re
import signal
import tomllib
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from mer_pipeline.base.errors import ParamsError, did_you_mean
from mer_pipeline.config.project import Project
from mer_pipeline.config.section import Section

if TYPE_CHECKING:
    import torch

NO_STORE = "none"
SETTINGS = Project().settings

# A library splits sums among its threads, so their rounding depends on the number of threads. That number is therefore
# constant on every machine. Further cores are used by running clips in parallel.
INTRA_OP_THREADS = 1


class Stopped(KeyboardInterrupt):
    """The process was asked to stop, by Ctrl-C or SIGTERM.

    Args:
        number: the number of the signal; the exit status is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


_stops: list[int] = []


def stop_on_signals() -> None:
    """Have SIGINT and SIGTERM raise Stopped in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    _stops.append(number)
    raise Stopped(number)


def raise_if_stopped() -> None:
    """Raise Stopped if a signal came earlier.

    This is needed because C code that the main thread is running may clear the exception that the handler raised.

    Raises:
        Stopped: Ctrl-C or SIGTERM came.
    """
    if _stops:
        raise Stopped(_stops[0])


def is_stopping() -> bool:
    """Return whether Ctrl-C or SIGTERM came. Threads that wait for something ask this."""
    return bool(_stops)


# The host may be an IPv6 address in brackets; group 1 is the port.
URL = re.compile(
    r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~%!$&'()*+,;=:/-]*)?"
)


class StoreSettings(Section):
    """Where computed rows are kept (`[store]` in .mer.toml)."""

    url: Annotated[str, Field(min_length=1)] = ".mer/store"  # a path or an fsspec URL; $MER_STORE comes first
    flush_s: Annotated[float, Field(gt=0)] = 30.0  # rows are stored at least this often, in seconds


class LlmSettings(Section):
    """The server that answers the enrichment's prompts (`[llm]` in .mer.toml).

    The server's key is read from an environment variable and is stored nowhere.
    """

    url: str = "http://127.0.0.1:8000/v1"  # of an OpenAI-compatible API; $MER_LLM_URL comes first
    # the name of the environment variable that holds the key, where the server needs one
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    in_flight: Annotated[int, Field(ge=1, le=1024)] = 16  # requests at once
    timeout_s: Annotated[float, Field(gt=0)] = 120.0  # seconds that one request may take
    tries: Annotated[int, Field(ge=1, le=20)] = 6  # requests for one clip, when the server is busy or fails
    max_pause_s: Annotated[float, Field(gt=0)] = 60.0  # longest pause between two tries, whatever the server asks for
    price_in: Annotated[float, Field(ge=0)] = 0.0  # price of a million prompt tokens, in your currency
    price_out: Annotated[float, Field(ge=0)] = 0.0  # price of a million reply tokens

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        match = URL.fullmatch(url)
        if match is None or int(match[1] or 0) > 65_535:
            raise ValueError(
                "must be http://HOST[:PORT]/v1 or https://..., in ASCII, without a user, password or query"
            )
        return url.rstrip("/")


def llm_url(settings: LlmSettings) -> str:
    """Return the address of the language model's server: $MER_LLM_URL if it is set, else `llm.url`.

    Raises:
        ParamsError: the variable is not a valid address. The message does not show it, because it may hold a password.
    """
    try:
        return LlmSettings(url=os.environ.get("MER_LLM_URL") or settings.url).url
    except ValidationError as error:
        raise ParamsError(f"MER_LLM_URL: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


class RaySettings(Section):
    """The cluster of `engine = "ray"` (`[ray]` in .mer.toml)."""

    address: Annotated[str, Field(min_length=1)] = "auto"  # auto: the cluster that this machine belongs to
    workers: Annotated[int, Field(ge=0)] = 0  # at most so many; 0: as many as the cluster has room for
    cpus: Annotated[int, Field(ge=1)] = 1  # CPU cores of a worker
    gpus: Annotated[float, Field(ge=0)] = 0.0  # GPUs of a worker; 0.5: two workers share one
    at_least: Annotated[int, Field(ge=1)] = 64  # clips; fewer are computed without the cluster


class Runtime(Section):
    """Settings of this machine; every one has a default that works."""

    workers: Annotated[int, Field(ge=1)] = max(1, os.cpu_count() or 1)
    batch: Annotated[int, Field(ge=1)] = 8  # clips that the device is given at a time
    engine: Annotated[str, Field(min_length=1)] = "local"  # local, ray, or `module:Class`
    device: Literal["auto", "cpu", "cuda"] = "auto"
    store: StoreSettings = StoreSettings()
    llm: LlmSettings = LlmSettings()
    ray: RaySettings = RaySettings()

    @property
    def store_url(self) -> str | None:
        """The storage root: $MER_STORE if it is set, else `store.url`; None if no rows are kept (MER_STORE=none)."""
        url = os.environ.get("MER_STORE") or self.store.url
        return None if url == NO_STORE else url

    def device_kind(self) -> str:
        """Return the kind of `torch_device`, "cpu" or "cuda". Torch is not imported if there can be no GPU.

        Raises:
            ParamsError: as `torch_device`.
        """
        if self.device == "cpu" or (self.device == "auto" and not any(Path("/dev").glob("nvidia*"))):
            return "cpu"
        return self.torch_device().type

    def torch_device(self) -> torch.device:
        """Return the device that models run on.

        Raises:
            ParamsError: the settings ask for "cuda" and torch finds no CUDA device.
        """
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ParamsError('.mer.toml asks for device = "cuda" and torch sees none; use "cpu" or "auto"')
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def load_runtime(path: Path = SETTINGS) -> Runtime:
    """Read `.mer.toml`. If there is no such file, the defaults hold.

    Raises:
        ParamsError: the file cannot be read as TOML, or a key or value in it is wrong.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return Runtime.model_validate(raw, strict=True)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ParamsError(f"{path} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        sections: dict[object, type[Section]] = {"store": StoreSettings, "llm": LlmSettings, "ray": RaySettings}
        known = sections.get(first["loc"][0], Runtime) if len(first["loc"]) > 1 else Runtime
        hint = did_you_mean(str(first["loc"][-1]), known.model_fields) if first["type"] == "extra_forbidden" else ""
        raise ParamsError(f"{path}: '{key}': {first['msg']}{hint}") from None
