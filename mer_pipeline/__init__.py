"""Staged, cached feature extraction and ECMF fusion for multimodal emotion recognition (MER2025-SEMI)."""

__version__ = "0.1.0"
