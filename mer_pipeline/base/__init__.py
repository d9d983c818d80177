"""The basis of every transform: clips, outcomes, errors, files, numerics, and the run over all clips."""
