"""Load the tensors of a pickle that also holds objects of classes, without making these objects.

FunASR and fairseq save the settings of the training beside the weights. torch's `weights_only=True` refuses such a file
as a whole. Here the unpickler knows the functions that put a tensor together, and no others: every other name in the
file stands for `Inert`, whose objects take whatever they are given and do nothing. No class or function that the file
names is looked up, so nothing of it can run. `convert.py` uses it, in its process without network and secrets.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

# What torch's own files of tensors name, besides storages, which torch finds before it asks.
TENSORS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


class Inert:
    """Stands for an object, a class or a function of the file. Whatever is done with it has no effect."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> Inert:
        """Of a function or a class that is none."""
        return Inert()

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __hash__(self) -> int:
        return 0

    def append(self, value: object) -> None:
        """Of a list that is no list."""

    def extend(self, values: object) -> None:
        """The same, with many values."""

    def add(self, value: object) -> None:
        """Of a set that is no set."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        return super().find_class(module, name) if (module, name) in TENSORS else Inert


def _load(file: IO[bytes], **options: Any) -> Any:
    return _Unpickler(file, **options).load()


def load_tensors(source: Path) -> object:
    """Load a file that torch saved.

    Args:
        source: the file.

    Returns:
        What it holds, with an `Inert` in the place of everything that is neither a tensor nor a plain value.
    """
    import torch

    module = SimpleNamespace(__name__="inert", Unpickler=_Unpickler, load=_load)
    return torch.load(source, map_location="cpu", pickle_module=module, weights_only=False)
