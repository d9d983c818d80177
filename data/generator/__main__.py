"""``python data/generator --help``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a folder, Python puts the folder itself on the path, not the place where the package lies.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from generator.cli import app

    app()
