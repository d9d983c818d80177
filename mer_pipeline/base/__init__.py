"""What every transform stands on: clips, outcomes, errors, files, numerics, and the run over clips."""
