"""Pickled weights become safetensors in a process without network or secrets that loads nothing but tensors."""

from __future__ import annotations

import argparse
import collections
import fractions
import os
import pathlib
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mer_pipeline.base.errors import CheckpointError
from mer_pipeline.models.convert import KEPT, convert, convert_config, plain, write_index
from mer_pipeline.models.wanted import RemoteFile, Repository, wanted


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    """One sentence, and nothing is written, neither by it nor by the conversion."""
    source, ran = tmp_path / "pytorch_model.bin", tmp_path / "ran"
    torch.save({"w": torch.ones(2), "x": Evil(ran)}, source)
    with pytest.raises(
        CheckpointError, match=r"pytorch_model.bin cannot be converted .* nothing else is loaded"
    ) as told:
        convert(source, tmp_path / "model.safetensors")
    assert "\n" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]
    torch.load(source, weights_only=False)
    assert ran.exists()  # the file is as bad as it is meant to be


def test_objects_beside_the_weights_of_funasr_are_not_made(tmp_path: Path) -> None:
    """FunASR and fairseq keep settings of the training there: the tensors under `model` are taken, and nothing runs."""
    source, ran = tmp_path / "model.pt", tmp_path / "ran"
    weights = {"w": torch.arange(6.0).reshape(2, 3), "tied": torch.ones(2), "p": torch.nn.Parameter(torch.zeros(1))}
    others = {
        "cfg": Evil(ran), "args": argparse.Namespace(lr=1.0, name="x"), "when": np.float64(3.0),
        "history": [collections.Counter("ab"), {fractions.Fraction(1, 3)}, pathlib.PurePosixPath("a/b")],
    }  # fmt: skip
    torch.save({**others, "model": collections.OrderedDict(weights)}, source)
    with pytest.raises(CheckpointError, match="nothing else is loaded"):
        convert(source, tmp_path / "model.safetensors")
    convert(source, tmp_path / "model.safetensors", funasr=True)
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert not ran.exists()


def test_an_object_among_the_weights_of_funasr_is_refused(tmp_path: Path) -> None:
    """What stands for an object is no tensor; and a file without the entry `model` has no weights."""
    source, ran = tmp_path / "model.pt", tmp_path / "ran"
    for state in ({"model": {"w": torch.ones(2), "x": Evil(ran)}}, {"w": torch.ones(2)}, {"model": Evil(ran)}):
        torch.save(state, source)
        with pytest.raises(CheckpointError, match="it is no dictionary of tensors"):
            convert(source, tmp_path / "model.safetensors", funasr=True)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: Paraformer\nmodel_conf: {}", "is of the model Paraformer; of FunASR's, emotion2vec is known"),
        ("model: Emotion2vec", "cannot be used"),
        ("model: [", "cannot be used"),
        ("model: !!python/object/apply:os.getcwd []", "cannot be used"),
        ("- 1", "cannot be used"),
    ],
)
def test_a_config_yaml_of_another_model(tmp_path: Path, text: str, says: str) -> None:
    """One sentence, and no config.json."""
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=says):
        convert_config(tmp_path / "config.yaml", tmp_path / "config.json")
    assert not (tmp_path / "config.json").exists()


def test_values_types_and_shapes_are_kept(tmp_path: Path) -> None:
    """Half precision, integers, numbers that are none, scalars and empty tensors."""
    state = {
        "half": torch.arange(4).half(),
        "bf16": torch.ones(2, 2).bfloat16(),
        "count": torch.tensor(7),
        "nan": torch.tensor([float("nan"), float("inf")]),
        "none": torch.empty(0, 3),
    }
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].nan_to_num(5), value.nan_to_num(5)), name
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_tensors_that_share_memory_get_their_own() -> None:
    """Tied weights, and views of one tensor; all others are not copied."""
    table, alone = torch.arange(6.0).reshape(2, 3), torch.ones(2)
    found = plain({"a": table, "tied": table, "view": table[1], "turned": table.T, "alone": alone})
    assert found is not None
    assert len({value.untyped_storage().data_ptr() for value in found.values()}) == len(found)
    assert torch.equal(found["tied"], table)
    assert torch.equal(found["view"], table[1])
    assert torch.equal(found["turned"], table.T)
    assert found["alone"].data_ptr() == alone.data_ptr()


@pytest.mark.parametrize("loaded", [[], {}, {"w": 3}, {3: torch.ones(1)}, torch.ones(1), {"a": {"b": torch.ones(1)}}])
def test_what_is_no_dictionary_of_tensors(loaded: object) -> None:
    assert plain(loaded) is None


def test_shards_get_an_index(tmp_path: Path) -> None:
    """It has every weight and its file, so that transformers loads them as one."""
    names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    listed = [*names, "pytorch_model.bin.index.json", "config.json"]
    repository = Repository("o/n", "c", None, False, tuple(RemoteFile(name, 1) for name in listed))
    chosen = wanted("hf", repository)
    assert [file.name for file in chosen.files] == ["config.json", *names]
    for at, safe in enumerate(chosen.converted.values()):
        save_file({f"w{at}": torch.ones(at + 1)}, tmp_path / safe)
    write_index(tmp_path, chosen.converted.values())
    text = (tmp_path / "model.safetensors.index.json").read_text()
    assert '"w0": "model-00001-of-00002.safetensors"' in text
    assert '"w1": "model-00002-of-00002.safetensors"' in text


def test_the_process_has_no_network() -> None:
    """Not even this machine's own address, where the system lets a process give the network up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import os, socket
from mer_pipeline.base.network import leave_network
before = os.readlink("/proc/self/ns/net")
leave_network()
print(before != os.readlink("/proc/self/ns/net"))
socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2)
"""
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if ran.stdout.strip() == "False":
        pytest.skip("this system lets no process give the network up")
    assert ran.returncode != 0
    assert "Network is unreachable" in ran.stderr


def test_no_secret_is_in_its_environment() -> None:
    """What is let through is listed, and tokens and keys are not."""
    assert not [name for name in KEPT if "TOKEN" in name or "KEY" in name or "HF_" in name]
