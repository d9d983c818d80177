"""The report: all results of the pipeline on one static page, which needs no other files."""
