"""Staged, cached feature extraction and ECMF fusion for multimodal emotion recognition (MER2025-SEMI).

`mer_pipeline.load("voice")` reads features, `load_sequences` those over time, and `predict(["a.mp4"])` predicts files.
They are found when they are first asked for: every stage imports this package, and none should pay for polars, or run
again because of a reader's code.

Importing it decides how libraries compute (`numerics.py`), so it comes before numpy and torch.
"""

from typing import TYPE_CHECKING

from mer_pipeline.base import numerics as numerics

if TYPE_CHECKING:
    from mer_pipeline.features import load as load
    from mer_pipeline.features import load_sequences as load_sequences
    from mer_pipeline.inference.predict import predict as predict
else:

    def __getattr__(name: str) -> object:
        homes = {"load": "features", "load_sequences": "features", "predict": "inference.predict"}
        if name not in homes:
            raise AttributeError(f"module 'mer_pipeline' has no attribute '{name}'")
        import importlib

        found: object = getattr(importlib.import_module(f"mer_pipeline.{homes[name]}"), name)
        return found


__version__ = "0.1.0"
