"""Checkpoints of models: where they are, how they are loaded and locked, and small random ones for tests."""
