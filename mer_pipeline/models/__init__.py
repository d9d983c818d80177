"""Model checkpoints: where they lie, and small seeded ones in the real formats."""
