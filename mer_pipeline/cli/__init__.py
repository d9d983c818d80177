"""The `mer` command, one file per command group, and what the stages' mains share (`stage.py`)."""
