"""Staged, cached feature extraction and ECMF fusion for multimodal emotion recognition (MER2025-SEMI).

`mer_pipeline.load("voice")` reads features. It is found when it is first asked for: every stage imports this package,
and none should pay for polars, or run again because of a reader's code.

Importing it decides how libraries compute (`numerics.py`), so it comes before numpy and torch.
"""

from typing import TYPE_CHECKING

from mer_pipeline.base import numerics as numerics

if TYPE_CHECKING:
    from mer_pipeline.features import load as load
else:

    def __getattr__(name: str) -> object:
        if name != "load":
            raise AttributeError(f"module 'mer_pipeline' has no attribute '{name}'")
        import importlib

        return importlib.import_module("mer_pipeline.features").load


__version__ = "0.1.0"
