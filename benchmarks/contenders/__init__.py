"""One module per contender; each is run in a process of its own: `python -m contenders.NAME`, inside a workspace.

A workspace has `clips.csv` (clip_id, path), `wavs/`, `weights.npy`, `params.json` and the package `workload`.
"""

import os
import sys

# Peers lie in a folder of their own and come last, so that all use the same NumPy and PyArrow.
sys.path += [os.environ["BENCH_PEERS"]] if "BENCH_PEERS" in os.environ else []
