"""Staged, cached feature extraction and ECMF fusion for multimodal emotion recognition (MER2025-SEMI).

`mer_pipeline.load("voice")` reads features, and `load_sequences` those over time. They are found when they are first
asked for: every stage imports this package, and none should pay for polars, or run again because of a reader's code.

Importing it decides how libraries compute (`numerics.py`), so it comes before numpy and torch.
"""

from typing import TYPE_CHECKING

from mer_pipeline.base import numerics as numerics

if TYPE_CHECKING:
    from mer_pipeline.features import load as load
    from mer_pipeline.features import load_sequences as load_sequences
else:

    def __getattr__(name: str) -> object:
        if name not in {"load", "load_sequences"}:
            raise AttributeError(f"module 'mer_pipeline' has no attribute '{name}'")
        import importlib

        found: object = getattr(importlib.import_module("mer_pipeline.features"), name)
        return found


__version__ = "0.1.0"
