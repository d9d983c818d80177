"""A hub on this machine: http.server with the routes that the client of Hugging Face's hub uses.

It can do what real ones do: send a wrong byte, break off, be slow, gate, rename and miss repositories. `miniatures` has
the repositories that the full profiles name, in their layouts, with small random weights and with what else lies there.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mer_pipeline.cli.language import ENGLISH
from mer_pipeline.cli.release import BEST
from mer_pipeline.config.params import load_params
from mer_pipeline.config.steps import checkpoints
from mer_pipeline.models.checkpoint import folder_of
from mer_pipeline.models.convert import plain
from mer_pipeline.models.tiny import CORPUS, make_tiny

ROOT = Path(__file__).resolve().parents[2]
FULL = ("ecmf", "mertools")  # the profiles that name checkpoints of the hub
TIMM = "timm/vit_large_patch14_clip_224.openai"

LARGE = (".bin", ".safetensors", ".pt", ".h5", ".msgpack")  # kept by Git LFS, and known by their SHA-256
JUNK = {".gitattributes": b"*.bin lfs\n", "README.md": b"---\nlicense: mit\n---\n"}
GETS = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)|/release/(?P<asset>.+)")
ASKS = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/(?P<what>revision|tree)/(?P<revision>.+))?")


@dataclass
class Repo:
    """A repository: for each of its revisions a commit, and for each commit its files."""

    revisions: dict[str, str]
    commits: dict[str, dict[str, bytes]]
    licence: str | None = "mit"
    gated: bool = False


def repo(files: dict[str, bytes], commit: str = "c" * 40, **options: Any) -> Repo:
    """A repository with one commit."""
    return Repo({"main": commit, commit: commit}, {commit: files}, **options)


@dataclass
class LocalHub:
    """The hub: change it while it runs."""

    repos: dict[str, Repo] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    assets: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)  # of a file, one for each time that it is asked for
    rate: float | None = None  # bytes in a second
    served: list[tuple[str, str]] = field(default_factory=list)  # the file and the range of each GET
    url: str = ""

    def got(self) -> list[str]:
        """The files that were asked for."""
        return [name for name, _ in self.served]


class Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        del args

    def answer(self, status: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        found = GETS.fullmatch(path) or ASKS.fullmatch(path)
        asked = found.groupdict() if found else {}
        if asset := asked.get("asset"):
            self.file(asset, self.hub.assets[asset])
            return
        name = asked.get("repo") or ""
        if name in self.hub.renamed:
            self.answer(307, Location=self.path.replace(name, self.hub.renamed[name]))
        elif name not in self.hub.repos:
            self.answer(404, X_Error_Code="RepoNotFound")
        else:
            self.repository(name, self.hub.repos[name], asked)

    def repository(self, name: str, one: Repo, asked: dict[str, str | None]) -> None:
        commit = one.revisions.get(asked["revision"] or "main")
        if commit is None:
            self.answer(404, X_Error_Code="RevisionNotFound")
            return
        files = one.commits[commit]
        if "file" not in asked and asked["what"] == "tree":
            self.answer(200, json.dumps([listed(*entry) for entry in files.items()]).encode())
        elif "file" not in asked:
            card = {} if one.licence is None else {"cardData": {"license": one.licence}}
            info = {"id": name, "sha": commit, "gated": "manual" if one.gated else False, "siblings": [], **card}
            self.answer(200, json.dumps(info).encode())
        elif one.gated and self.headers["Authorization"] != "Bearer right":
            self.answer(403, X_Error_Code="GatedRepo")
        elif asked["file"] not in files:
            self.answer(404, X_Error_Code="EntryNotFound")
        else:
            self.file(str(asked["file"]), files[str(asked["file"])], X_Repo_Commit=commit)

    def file(self, name: str, data: bytes, **headers: object) -> None:
        tags = {"ETag": f'"{etag(name, data)}"', "X_Linked_Etag": f'"{etag(name, data)}"', "X_Linked_Size": len(data)}
        if self.command == "HEAD":
            self.send_response(200)
            for key, value in {"Content-Length": len(data), **tags, **headers}.items():
                self.send_header(key.replace("_", "-"), str(value))
            self.end_headers()
            return
        span = self.headers["Range"] or ""
        self.hub.served.append((name, span))
        fault = self.hub.faults[name].pop(0) if self.hub.faults.get(name) else ""
        start = int(span.removeprefix("bytes=").rstrip("-") or 0)
        if fault == "flip":
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(206 if span else 200)
        for key, value in {"Content-Length": len(data) - start, **tags, **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()
        end = start + (len(data) - start) // 2 if fault == "cut" else len(data)
        step = len(data) if self.hub.rate is None else max(1, int(self.hub.rate / 50))
        for at in range(start, end, step):
            self.wfile.write(data[at : min(at + step, end)])
            time.sleep(0.02 if self.hub.rate else 0)
        if fault == "cut":
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True


def etag(name: str, data: bytes) -> str:
    """SHA-256 of a large file, and what git says of a small one."""
    return hashlib.sha256(data).hexdigest() if name.endswith(LARGE) else hashlib.sha1(git_blob(data)).hexdigest()


def git_blob(data: bytes) -> bytes:
    return b"blob %d\0" % len(data) + data


def listed(name: str, data: bytes) -> dict[str, object]:
    """A file in the list of a commit."""
    entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(git_blob(data)).hexdigest()}
    lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return {**entry, "lfs": lfs} if name.endswith(LARGE) else entry


@contextmanager
def serving(hub: LocalHub) -> Iterator[LocalHub]:
    """Run a hub; `url` is its address."""
    handler = type("OfHub", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pickled(safe: bytes) -> bytes:
    """The same weights as torch pickles them."""
    from safetensors.torch import load

    return saved(load(safe))


def saved(state: object) -> bytes:
    import torch

    to = io.BytesIO()
    torch.save(state, to)
    return to.getvalue()


def named() -> set[str]:
    """The specs of all checkpoints that `mer init` may name for the full profiles, in each language and release."""
    specs = {*ENGLISH.values(), *(spec for best in BEST.values() for spec in best.values())}
    return specs.union(*(checkpoints(load_params(ROOT / f"profiles/{name}.yaml")).values() for name in FULL))


def miniatures(folder: Path) -> dict[str, Repo]:
    """The repositories of `named`, by their names, each at the commit that is named; and those of two other families.

    Args:
        folder: for what is made.
    """
    parts = [spec.partition(":")[2].partition("@") for spec in named()]
    commits = {TIMM if name.startswith("ViT") else name: commit or "c" * 40 for name, _, commit in parts}
    others = {"tf_model.h5": b"H5", "flax_model.msgpack": b"flax"}
    hubert, hubert_base = hubert_files(folder / "hubert", "layer"), hubert_files(folder / "hubert-base", "group")
    safe = {"model.safetensors": hubert.pop("model.safetensors")}
    del hubert_base["model.safetensors"]
    large = hubert | {"chinese-hubert-large-fairseq-ckpt.pt": b"fairseq" * 1000}
    bert = bert_files(folder / "bert") | JUNK | others
    roberta = (
        roberta_files(folder / "roberta") | JUNK | others | {"dict.txt": b"13 850314647\n", "rust_model.ot": b"ot"}
    )
    clip = contents(make_tiny("clip", folder / "clip")) | words(folder / "words")
    clip_of_timm = contents(make_tiny("open-clip", folder / "open-clip"))
    timm = {"open_clip_pytorch_model.bin": b"pickle", "pytorch_model.bin": b"pickle", "model.safetensors": b"of timm"}
    made = {
        "openai/clip-vit-large-patch14": clip | {"pytorch_model.bin": b"pickle"} | JUNK | others,
        "TencentGameMate/chinese-hubert-large": large,
        "TencentGameMate/chinese-hubert-base": hubert_base | {"chinese-hubert-base-fairseq-ckpt.pt": b"fairseq" * 1000},
        "facebook/hubert-large-ll60k": hubert | {"tf_model.h5": b"H5"},
        "hfl/chinese-roberta-wwm-ext": bert,
        "hfl/chinese-roberta-wwm-ext-large": bert,
        "hfl/chinese-macbert-large": bert,
        "FacebookAI/roberta-base": roberta,
        "FacebookAI/roberta-large": roberta,
        TIMM: clip_of_timm | timm | words(folder / "words") | JUNK,
    }
    assert made.keys() == commits.keys()
    # What no profile names, and a user may.
    videomae = contents(make_tiny("videomae", folder / "videomae"))
    made["MCG-NJU/videomae-base"] = videomae | JUNK | {"pytorch_model.bin": b"pickle"}
    made["emotion2vec/emotion2vec_plus_large"] = emotion2vec_files(folder / "emotion2vec")
    repos = {name: repo(files, commits.get(name, "c" * 40)) for name, files in made.items()}
    with_pull_request = repos["TencentGameMate/chinese-hubert-large"]
    with_pull_request.revisions["refs/pr/1"] = "083a604" + "0" * 33
    with_pull_request.commits["083a604" + "0" * 33] = large | safe
    return repos


def hubert_files(folder: Path, norm: str) -> dict[str, bytes]:
    """A HuBERT of four layers, pickled and as safetensors. The large ones have layer norm, the base ones group norm."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    kind = make_tiny("hubert", folder)
    config = transformers.HubertConfig.from_pretrained(
        kind, num_hidden_layers=4, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.HubertModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer").save_pretrained(
        folder
    )
    files = contents(folder)
    return files | JUNK | {"pytorch_model.bin": pickled(files["model.safetensors"])}


def emotion2vec_files(folder: Path) -> dict[str, bytes]:
    """emotion2vec+ as FunASR publishes it: a config.yaml, and a pickle with the weights under `model`."""
    import argparse

    from ruamel.yaml import YAML
    from safetensors.torch import load_file

    make_tiny("emotion2vec", folder)
    config = json.loads((folder / "config.json").read_text())
    text = io.StringIO()
    YAML(typ="safe").dump({"model": "Emotion2vec", "model_conf": config["model_conf"], "train_conf": {}}, text)
    state = load_file(folder / "model.safetensors")
    return JUNK | {
        "config.yaml": text.getvalue().encode(), "configuration.json": b'{"framework": "pytorch"}',
        "model.pt": saved({"args": argparse.Namespace(seed=1), "model": state}), "tokens.txt": b"angry\nunuse_0\n",
    }  # fmt: skip


def words(folder: Path) -> dict[str, bytes]:
    """The files of a tokenizer."""
    return {name: data for name, data in contents(make_tiny("bert", folder)).items() if name.startswith("token")}


def bert_files(folder: Path) -> dict[str, bytes]:
    """A BERT as those of hfl: a masked language model whose table of embeddings is tied to its last layer, pickled."""
    import torch
    import transformers

    files = words(folder)
    config = transformers.BertConfig.from_pretrained(folder, num_hidden_layers=4)
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config)
    config.architectures = ["BertForMaskedLM"]
    config.save_pretrained(folder)
    state = model.state_dict()
    assert (
        state["cls.predictions.decoder.weight"].data_ptr() == state["bert.embeddings.word_embeddings.weight"].data_ptr()
    )
    words_of = json.loads(files["tokenizer.json"])["model"]["vocab"]
    vocabulary = "\n".join(sorted(words_of, key=words_of.__getitem__)).encode()
    config_json = (folder / "config.json").read_bytes()
    return files | {"pytorch_model.bin": saved(state), "config.json": config_json, "vocab.txt": vocabulary}


def roberta_files(folder: Path) -> dict[str, bytes]:
    """A RoBERTa as those of FacebookAI: byte pairs, padding as token 1, safetensors beside a pickle."""
    import tokenizers
    import torch
    import transformers

    trained = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(CORPUS, vocab_size=400, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True)
    trained.save_model(str(folder))
    transformers.RobertaTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    config = transformers.RobertaConfig(
        vocab_size=trained.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, max_position_embeddings=130, type_vocab_size=1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return contents(folder) | {"pytorch_model.bin": b"pickle"}


def put(spec: str, repos: dict[str, Repo]) -> None:
    """Write what `mer models fetch` makes of a miniature below models/, in this process and without the hub."""
    import torch
    from safetensors.torch import save_file

    name, _, commit = spec.partition(":")[2].partition("@")
    one = repos[TIMM if name.startswith("ViT") else name]
    files = one.commits[one.revisions[commit or "main"]]
    folder = folder_of(spec)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [file for file in files if file.endswith((".json", ".txt", ".safetensors"))]
    for file in chosen:
        (folder / file).write_bytes(files[file])
    if not any(file.endswith(".safetensors") for file in chosen):
        state = plain(torch.load(io.BytesIO(files["pytorch_model.bin"]), weights_only=True))
        assert state is not None
        save_file(state, folder / "model.safetensors", {"format": "pt"})
