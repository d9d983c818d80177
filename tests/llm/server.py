"""Real language-model servers on this machine, each a process of its own that can be killed.

    with llama_server(make_gguf(folder / "tiny.gguf")) as server:
        client = Client(server.url, model=server.model)

`llama_server` is llama.cpp's own HTTP server (in the wheel of xllamacpp) and keeps to `response_format`;
`transformers_server` is `transformers serve`, which ignores it. A server ends with the process that started it,
however that ends. Run as a program this file is such a server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESS = re.compile(r"http://127\.0\.0\.1:[1-9]\d*(?=\s)")  # whole: others write to the same log


@dataclass(frozen=True)
class Server:
    """A server that answers; `url` is what an OpenAI client calls its base URL."""

    url: str
    model: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """Of the loopback interface."""
        return int(self.url.removesuffix("/v1").rpartition(":")[2])

    def kill(self) -> None:
        """End it at once, as a machine that fails."""
        self.process.kill()
        self.process.wait()


@contextmanager
def llama_server(
    model: Path,
    *,
    slots: int = 4,
    context: int = 16384,
    threads: int = 1,
    port: int = 0,
    api_key: str | None = None,
    log: Path | None = None,
) -> Iterator[Server]:
    """Run llama.cpp's server; its model is named "tiny".

    Args:
        model: a GGUF file.
        slots: answers in parallel.
        context: tokens of one slot, prompt and answer.
        threads: of the arithmetic. On shared cores two wait for each other longer than one computes.
        port: to listen on; 0 for a free one.
        api_key: that requests must bear, if any.
        log: file of what it prints; default: a temporary one.
    """
    options = {
        "model": str(model), "slots": slots, "context": context, "threads": threads, "port": port, "key": api_key,
    }  # fmt: skip
    with _running("llama", options, "tiny", {}, log, wait_s=60) as server:
        yield server


@contextmanager
def transformers_server(folder: Path, *, port: int = 0, log: Path | None = None) -> Iterator[Server]:
    """Run `transformers serve` on a local folder; its model is named by the folder's path.

    Args:
        folder: of a Hugging Face checkpoint with a chat template.
        port: to listen on; 0 for a free one.
        log: file of what it prints; default: a temporary one.
    """
    with tempfile.TemporaryDirectory() as cache:
        # Without a folder there `GET /v1/models` fails.
        env = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": cache, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        with _running("transformers", {"folder": str(folder), "port": port}, str(folder), env, log, 120) as server:
            yield server


@contextmanager
def _running(
    kind: str, options: Mapping[str, object], model: str, env: Mapping[str, str], log: Path | None, wait_s: float
) -> Iterator[Server]:
    """Start this file as a program, wait until it answers, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        log = log or Path(folder) / "log.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", __file__, kind, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
            )
        try:
            yield Server(f"{_ready(process, log, wait_s)}/v1", model, process, log)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _ready(process: subprocess.Popen[bytes], log: Path, wait_s: float) -> str:
    """The address that it has written, once it answers there."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until and process.poll() is None:
        for address in dict.fromkeys(ADDRESS.findall(log.read_text("utf-8", errors="replace"))):
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    return address
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
        time.sleep(0.05)
    raise RuntimeError(f"no server (exit status {process.poll()}): {log.read_text('utf-8', errors='replace')[-2000:]}")


def _until_orphaned() -> None:
    """Return when the process that started this one has ended or let go."""
    sys.stdin.buffer.read()


def _serve_llama(options: Mapping[str, object]) -> None:
    """Serve a GGUF file until orphaned."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["model"]
    params.model_alias = {"tiny"}
    params.port = options["port"]
    params.n_parallel = options["slots"]
    params.n_ctx = options["slots"] * options["context"]  # type: ignore[operator]
    params.n_predict = 2048  # random weights may never end
    if options["key"]:
        params.api_keys = [options["key"]]
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = options["threads"]
        cpu.poll = 0
    # An answer is to depend on its prompt, not on those before it nor, through halves' rounding, on those beside it.
    params.cache_prompt = False
    params.cache_ram_mib = params.n_ctx_checkpoints = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.fit_params = params.warmup = params.ui = False
    server = xllamacpp.Server(params)
    # In one write: `print` may end its line after a thread of the server's has begun another there.
    os.write(sys.stdout.fileno(), f"{server.listening_address}\n".encode())
    _until_orphaned()
    os._exit(0)


def _serve_transformers(options: Mapping[str, object]) -> None:
    """Be `transformers serve` until orphaned."""
    from transformers.cli.transformers import main

    def watch() -> None:
        _until_orphaned()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    where = ["--host", "127.0.0.1", "--port", str(options["port"])]
    sys.argv = ["transformers", "serve", str(options["folder"]), "--device", "cpu", *where]
    main()


if __name__ == "__main__":
    {"llama": _serve_llama, "transformers": _serve_transformers}[sys.argv[1]](json.loads(sys.argv[2]))
