"""What belongs to this machine and not to the values: workers, device, batch (from `.mer.toml`), signals.

None of it is a parameter of a stage and none of it may change a result: whatever is set here,
the same params and clips give the same rows (on one device kind).
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

# Sums are split by thread, so their rounding depends on the thread count: it is a constant of the value
# path, whatever the machine has. Cores are used by running clips in parallel instead.
INTRA_OP_THREADS = 1


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


_stops: list[int] = []


def stop_on_signals() -> None:
    """Turn SIGINT and SIGTERM into Stopped, in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    _stops.append(number)
    raise Stopped(number)


def raise_if_stopped() -> None:
    """Raise a Stopped that was lost: C code that the main thread was in may clear whatever a handler raises."""
    if _stops:
        raise Stopped(_stops[0])


def is_stopping() -> bool:
    """Whether Ctrl-C or SIGTERM came, for threads that wait for something."""
    return bool(_stops)


# The host may be an IPv6 address in brackets; group 1 is the port.
URL = re.compile(
    r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~%!$&'()*+,;=:/-]*)?"
)


class StoreSettings(Section):
    """Where computed rows are kept (`[store]` in .mer.toml)."""

    url: Annotated[str, Field(min_length=1)] = ".mer/store"  # a path or an fsspec URL; $MER_STORE comes first
    flush_s: Annotated[float, Field(gt=0)] = 30.0  # at most so much work is lost by a kill


class LlmSettings(Section):
    """The server that the enrichment asks (`[llm]` in .mer.toml). The key is read from the environment and kept
    nowhere."""

    url: str = "http://127.0.0.1:8000/v1"  # of an OpenAI-compatible API; $MER_LLM_URL comes first
    # the environment variable that has the key, where the server wants one
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    in_flight: Annotated[int, Field(ge=1, le=1024)] = 16  # requests at once
    timeout_s: Annotated[float, Field(gt=0)] = 120.0  # of one request
    tries: Annotated[int, Field(ge=1, le=20)] = 6  # of one clip, when the server is busy or fails
    max_pause_s: Annotated[float, Field(gt=0)] = 60.0  # between two tries, also where the server asks for more
    price_in: Annotated[float, Field(ge=0)] = 0.0  # of a million prompt tokens, in your currency
    price_out: Annotated[float, Field(ge=0)] = 0.0  # of a million tokens of replies

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
    """Where the server is: $MER_LLM_URL, else `llm.url`.

    Raises:
        ParamsError: the variable is no such address; it is not shown, because it may hold a password.
    """
    try:
        return LlmSettings(url=os.environ.get("MER_LLM_URL") or settings.url).url
    except ValidationError as error:
        raise ParamsError(f"MER_LLM_URL: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


class Runtime(Section):
    """Settings of this machine; every one has a default that works."""

    workers: Annotated[int, Field(ge=1)] = max(1, os.cpu_count() or 1)
    batch: Annotated[int, Field(ge=1)] = 8  # clips handed to the device at a time
    engine: Annotated[str, Field(min_length=1)] = "local"  # of mer_pipeline.engines, or `module:Class`
    device: Literal["auto", "cpu", "cuda"] = "auto"
    store: StoreSettings = StoreSettings()
    llm: LlmSettings = LlmSettings()

    @property
    def store_url(self) -> str | None:
        """Where rows are kept: $MER_STORE, else `store.url`; None for nowhere (MER_STORE=none)."""
        url = os.environ.get("MER_STORE") or self.store.url
        return None if url == NO_STORE else url

    def device_kind(self) -> str:
        """ "cpu" or "cuda", as `torch_device`; torch is not imported where there can be no GPU."""
        if self.device == "cpu" or (self.device == "auto" and not any(Path("/dev").glob("nvidia*"))):
            return "cpu"
        return self.torch_device().type

    def torch_device(self) -> torch.device:
        """The device that models run on.

        Raises:
            ParamsError: `device = "cuda"` on a machine without one.
        """
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ParamsError('.mer.toml asks for device = "cuda" and torch sees none; use "cpu" or "auto"')
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def load_runtime(path: Path = SETTINGS) -> Runtime:
    """Read `.mer.toml`; without the file, the defaults.

    Raises:
        ParamsError: the file is not TOML, or a key or value in it is wrong.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return Runtime.model_validate(raw, strict=True)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ParamsError(f"{path} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        sections: dict[object, type[Section]] = {"store": StoreSettings, "llm": LlmSettings}
        known = sections.get(first["loc"][0], Runtime) if len(first["loc"]) > 1 else Runtime
        hint = did_you_mean(str(first["loc"][-1]), known.model_fields) if first["type"] == "extra_forbidden" else ""
        raise ParamsError(f"{path}: '{key}': {first['msg']}{hint}") from None
