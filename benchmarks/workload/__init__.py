"""What every contender computes. `store.py` copies this package into each workspace, where it may be edited."""
