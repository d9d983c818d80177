"""`python` without its start: commands run in forks of one process that has imported the heavy libraries.

Starting Python with torch, scikit-learn or DVC takes seconds, and `dvc repro` starts a process for each stage. `tools`
is a folder with a `python` and a `dvc` that hand their words, folder, environment and streams to that process, and end
as its child does; a child whose client is killed is killed, too. The child runs the same files as a process of its own
would, by the same rules for `sys.path`; of the project nothing is loaded before. What forks have in common, and
processes do not, is the seed of `hash`: a test of bytes that must not depend on it compares a fork with a process.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent

# What the commands import, but for the project itself, and for polars: it starts threads, which a fork lacks. The
# threads of OpenBLAS and of pyarrow's allocator are started anew by these libraries.
LIBRARIES = (
    "torch", "torchaudio", "torchvision", "facenet_pytorch", "numpy.ma", "scipy.signal", "scipy.ndimage",
    "scipy.optimize", "scipy.stats", "sklearn.linear_model", "sklearn.metrics", "sklearn.model_selection",
    "sklearn.feature_extraction.text", "av", "PIL.Image", "optuna", "pyarrow.compute", "pyarrow.dataset",
    "pyarrow.parquet", "dateutil.relativedelta", "pydantic.main", "pydantic.dataclasses", "pydantic.json_schema",
    "pydantic.type_adapter", "typer", "typer._click.decorators", "rich.progress", "rich.markdown", "jinja2",
    "ruamel.yaml", "tomllib", "logging.handlers", "fsspec.implementations.local", "aiohttp", "anyio", "s3fs",
    "tenacity", "truststore", "httpcore2", "safetensors.numpy", "dvc.cli.parser", "dvc.repo.reproduce", "dvc.cachemgr",
    "dvc.data_cloud", "dvc.lock", "dvc.rwlock", "dvc.scm", "dvc_render.vega", "networkx", "scmrepo.git",
    "dulwich.worktree", "configobj", "pyparsing", "platformdirs",
)  # fmt: skip

# The standard library is all that it loads.
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, struct, sys

words = [*{words}, *sys.argv[1:]]
if words[:1] and words[0].startswith("-") and words[0] not in ("-m", "-c", "-P"):
    os.execv({python!r}, [{python!r}, *words])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
os.umask(umask := os.umask(0))
order = json.dumps({{"words": words, "cwd": os.getcwd(), "env": dict(os.environ), "umask": umask}}).encode()
server.sendmsg([struct.pack(">I", len(order))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(order)
pid, = struct.unpack(">i", server.recv(4, socket.MSG_WAITALL))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(pid, number))
status, = struct.unpack(">i", server.recv(4, socket.MSG_WAITALL))
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@functools.cache
def tools() -> Path:
    """A folder for PATH with `python` and `dvc`. The first call starts the server, which ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="forks-"))
    address = str(folder / "server")
    for name, words in (("python", []), ("dvc", ["-m", "dvc"])):
        path = folder / name
        path.write_text(CLIENT.format(python=sys.executable, address=address, words=words))
        path.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # -P: neither the current folder nor a script's in sys.path.
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, address], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n", "the server did not start"
    atexit.register(_end, server, folder)
    return folder


def python() -> str:
    """The `python` of `tools`, to be used where `sys.executable` would be."""
    return str(tools() / "python")


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def serve(address: str) -> None:
    """Import the libraries, then fork a child for each connection, until standard input is closed."""
    before = set(os.environ)
    sys.path.insert(0, str(ROOT))
    import mer_pipeline  # noqa: F401  # it may decide by environment variables how the libraries compute

    set_by_import = {name: os.environ[name] for name in set(os.environ) - before}
    for name in LIBRARIES:
        __import__(name)
    sys.path.remove(str(ROOT))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mer_pipeline"]:
        del sys.modules[name]
    assert "polars" not in sys.modules
    gc.freeze()  # else a child's first collection would touch, and thereby copy, every page
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(1, b"ready\n")
    with selectors.DefaultSelector() as waiting:
        waiting.register(0, selectors.EVENT_READ)
        waiting.register(listener, selectors.EVENT_READ)
        while True:
            # Who asked comes before who ended: a number that is killed here is still that child's.
            for key, _ in sorted(waiting.select(), key=lambda event: isinstance(event[0].data, tuple)):
                if key.fileobj == 0:
                    return
                if key.fileobj is listener:
                    pid, client = _start(listener, set_by_import)
                    waiting.register(client, selectors.EVENT_READ, pid)
                    waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, client))
                elif isinstance(key.data, int):  # the client was killed, and its child is to end as it did
                    waiting.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
                else:
                    pid, client = key.data
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    with contextlib.suppress(KeyError):
                        waiting.unregister(client)
                    _tell(client, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    client.close()


def _start(listener: socket.socket, env: dict[str, str]) -> tuple[int, socket.socket]:
    client, _ = listener.accept()
    head, rights, _, _ = client.recvmsg(4, socket.CMSG_SPACE(12))
    streams = array.array("i", rights[0][2])
    order = json.loads(client.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL))
    pid = os.fork()
    if pid == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 1024)
        _run(order, env)
    for stream in streams:
        os.close(stream)
    _tell(client, pid)
    return pid, client


def _tell(client: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever asked may have been killed
        client.sendall(struct.pack(">i", number))


def _run(order: dict[str, Any], env: dict[str, str]) -> NoReturn:
    """In the child: what `python WORDS` does in that folder and environment, up to the end of the process."""
    import numpy as np
    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    os.umask(order["umask"])
    os.environ.clear()
    os.environ.update({**order["env"], **env})
    np.random.seed()
    torch.seed()
    status: object = 1
    try:
        _execute(order["words"])
        status = 0
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        traceback.print_exc()
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status or 0) & 0xFF)


def _execute(words: list[str]) -> None:
    found = os.environ.get("PYTHONPATH", "")
    sys.path[:0] = [str(Path(place).resolve()) for place in found.split(os.pathsep) if place]
    if words[0] == "-P":
        words = words[1:]
    else:
        sys.path.insert(0, {"-m": str(Path.cwd()), "-c": ""}.get(words[0], str(Path(words[0]).resolve().parent)))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    serve(sys.argv[1])
