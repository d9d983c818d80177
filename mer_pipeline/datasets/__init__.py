"""Folders of datasets: adapters, which list the clips, and `ingest`, which reads their headers and writes tables."""
