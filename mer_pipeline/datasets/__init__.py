"""Dataset folders: adapters that list clips, and `ingest`, which probes them and writes the manifest."""
